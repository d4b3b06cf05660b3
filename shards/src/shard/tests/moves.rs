//! Sessions that follow their client to another node.

use super::super::NONE;
use super::cluster::Cluster;
use super::node::Client;
use super::packet::{self, Connect, Publish, Will};
use super::received::{Delivery, Received};
use crate::nodes::OwnerEvent;

fn kept(name: &str) -> Connect {
    Connect::new(name).resume().expiry(1000)
}

/// A subscriber with a session on the first node, away, and a publisher on another node.
fn away(cluster: &mut Cluster, filter: &str, qos: u8, publisher: usize) -> Client {
    let (client, present) = cluster.connect(0, &kept("mover"));
    assert!(!present);
    cluster.nodes[0].subscribe(client, filter, qos);
    cluster.settle();
    cluster.nodes[0].cut(client);
    cluster.settle();
    cluster.connect(publisher, &Connect::new("publisher")).0
}

fn texts(messages: &[Delivery]) -> Vec<&str> {
    messages.iter().map(Delivery::text).collect()
}

/// Sessions on a node.
fn sessions(cluster: &Cluster, node: usize) -> usize {
    let shards = cluster.nodes[node].shards.iter();
    shards.map(|shard| shard.sessions.len()).sum()
}

#[test]
fn a_session_follows_its_client_with_its_queue_and_its_subscriptions() {
    for durable in [false, true] {
        let mut cluster = Cluster::new(3, durable);
        let publisher = away(&mut cluster, "t/+", 2, 2);
        for number in 0..20 {
            let qos = 1 + number % 2;
            let message = Publish::new("t/a", number.to_string());
            cluster.publish(2, publisher, &message.qos(qos as u8, number + 1));
        }
        let (client, present) = cluster.connect(1, &kept("mover"));
        assert!(present);
        let messages = cluster.nodes[1].take_messages(client);
        let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(texts(&messages), expected);
        assert!(messages.iter().all(|message| !message.dup));
        cluster.advance(1000);
        assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (0, 1));
        cluster.publish(2, publisher, &Publish::new("t/b", "later").qos(1, 30));
        assert_eq!(texts(&cluster.nodes[1].take_messages(client)), ["later"]);
        assert_eq!(cluster.owner("mover"), Some(1));
    }
}

#[test]
fn what_was_in_flight_follows_with_its_identifiers_and_dup() {
    let mut cluster = Cluster::new(2, true);
    let (client, _) = cluster.connect(0, &kept("mover"));
    cluster.nodes[0].subscribe(client, "t", 2);
    let publisher = cluster.connect(0, &Connect::new("publisher")).0;
    for (text, qos, id) in [("one", 1, 1), ("two", 2, 2), ("three", 2, 3)] {
        cluster.publish(0, publisher, &Publish::new("t", text).qos(qos, id));
    }
    let messages = cluster.nodes[0].take_messages(client);
    assert_eq!(texts(&messages), ["one", "two", "three"]);
    // The second one is half-way: PUBREC has come.
    cluster.nodes[0].send(client, &packet::pubrec(messages[1].id));
    cluster.settle();
    let (moved, present) = cluster.connect(1, &kept("mover"));
    assert!(present);
    assert!(cluster.nodes[0].is_closed(client));
    let packets = cluster.nodes[0].take(client);
    assert_eq!(packets.last(), Some(&Received::Disconnect { reason: 0x8E }));
    let packets = cluster.nodes[1].take(moved);
    let [
        Received::Publish(one),
        Received::PubRel { id, .. },
        Received::Publish(three),
    ] = packets.as_slice()
    else {
        panic!("{packets:?}");
    };
    assert_eq!((one.text(), one.id, one.dup), ("one", messages[0].id, true));
    assert_eq!(*id, messages[1].id);
    let seen = (three.text(), three.id, three.dup);
    assert_eq!(seen, ("three", messages[2].id, true));
}

#[test]
fn a_qos_2_message_that_the_client_has_begun_to_send_is_routed_once() {
    let mut cluster = Cluster::new(2, true);
    let subscriber = cluster.connect(1, &Connect::new("subscriber")).0;
    cluster.nodes[1].subscribe(subscriber, "t", 2);
    cluster.settle();
    let (client, _) = cluster.connect(0, &kept("mover"));
    cluster.publish(0, client, &Publish::new("t", "once").qos(2, 7));
    let (moved, _) = cluster.connect(1, &kept("mover"));
    cluster.publish(1, moved, &Publish::new("t", "once").qos(2, 7).dup());
    cluster.nodes[1].send(moved, &packet::pubrel(7));
    cluster.settle();
    let packets = cluster.nodes[1].take(moved);
    let answers = [
        Received::PubRec { id: 7, reason: 0 },
        Received::PubComp { id: 7, reason: 0 },
    ];
    assert_eq!(packets, answers);
    assert_eq!(texts(&cluster.nodes[1].take_messages(subscriber)), ["once"]);
}

#[test]
fn a_clean_start_elsewhere_discards_the_session() {
    let mut cluster = Cluster::new(2, true);
    let publisher = away(&mut cluster, "t", 1, 1);
    cluster.publish(1, publisher, &Publish::new("t", "queued").qos(1, 1));
    let (client, present) = cluster.connect(1, &Connect::new("mover").expiry(1000));
    assert!(!present);
    assert!(cluster.nodes[1].take(client).is_empty());
    assert_eq!(sessions(&cluster, 0), 0);
    let (_, present) = cluster.connect(0, &kept("mover"));
    assert!(present, "the one that began anew");
}

#[test]
fn a_will_goes_out_once_wherever_its_session_is() {
    let will = |delay| kept("mover").will(Will::new("will", "gone").qos(1).delay(delay));
    let mut cluster = Cluster::new(2, true);
    let watcher = cluster.connect(1, &Connect::new("watcher")).0;
    cluster.nodes[1].subscribe(watcher, "will", 1);
    cluster.settle();
    // Without a delay it goes out when the connection is taken over.
    cluster.connect(0, &will(0));
    cluster.connect(1, &will(5));
    assert_eq!(texts(&cluster.nodes[1].take_messages(watcher)), ["gone"]);
    cluster.advance(1000);
    // The client is back before it is due.
    let (client, _) = cluster.connect(0, &will(5));
    cluster.advance(10_000);
    assert!(cluster.nodes[1].take(watcher).is_empty());
    // It is due on the node to which the session has moved.
    cluster.nodes[0].cut(client);
    cluster.advance(1000);
    let client = cluster.begin(1, &kept("mover"));
    cluster.nodes[1].turn_all();
    cluster.nodes[1].cut(client);
    cluster.settle();
    assert_eq!(
        (sessions(&cluster, 1), cluster.owner("mover")),
        (2, Some(1))
    );
    cluster.advance(3000);
    assert!(cluster.nodes[1].take(watcher).is_empty());
    cluster.advance(2000);
    assert_eq!(texts(&cluster.nodes[1].take_messages(watcher)), ["gone"]);
}

#[test]
fn a_connect_that_waits_is_overtaken_by_the_next_one() {
    let mut cluster = Cluster::new(2, false);
    away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    let first = cluster.begin(1, &kept("mover"));
    cluster.settle();
    assert!(cluster.nodes[1].take(first).is_empty());
    let second = cluster.begin(1, &kept("mover"));
    cluster.settle();
    assert!(cluster.nodes[1].is_closed(first));
    let refused = Received::ConnAck {
        present: false,
        reason: 0x88,
    };
    assert_eq!(cluster.nodes[1].take(first), [refused]);
    cluster.held = None;
    cluster.settle();
    assert!(cluster.connack(1, second));
}

#[test]
fn a_connect_does_not_wait_for_ever() {
    let mut cluster = Cluster::new(2, false);
    away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    let client = cluster.begin(1, &kept("mover"));
    cluster.nodes[1].send(
        client,
        &packet::subscribe(protocol::wire::Version::V5, 1, 0, &[("x", 0)]),
    );
    cluster.advance(7_000);
    assert!(cluster.nodes[1].take(client).is_empty());
    cluster.advance(2_000);
    assert!(cluster.nodes[1].is_closed(client));
}

#[test]
fn a_session_that_does_not_come_in_time_is_not_lost() {
    let mut cluster = Cluster::new(2, false);
    let publisher = away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    for _ in 0..3 {
        let client = cluster.begin(1, &kept("mover"));
        cluster.advance(9_000);
        assert!(cluster.nodes[1].is_closed(client));
    }
    let client = cluster.begin(1, &kept("mover"));
    cluster.held = None;
    cluster.settle();
    assert!(cluster.connack(1, client));
    cluster.advance(1000);
    cluster.nodes[1].publish(publisher, &Publish::new("t", "still subscribed").qos(1, 9));
    cluster.settle();
    let came = cluster.nodes[1].take_messages(client);
    assert_eq!(texts(&came), ["still subscribed"]);
}

#[test]
fn when_the_former_node_dies_the_client_begins_anew() {
    let mut cluster = Cluster::new(2, false);
    away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    let client = cluster.begin(1, &kept("mover"));
    cluster.settle();
    cluster.lose(0);
    cluster.settle();
    assert!(!cluster.connack(1, client));
}

#[test]
fn when_the_new_node_dies_before_it_has_the_session_that_is_where_it_was() {
    let mut cluster = Cluster::new(3, true);
    let publisher = away(&mut cluster, "t", 1, 2);
    cluster.publish(2, publisher, &Publish::new("t", "before").qos(1, 1));
    cluster.held = Some((0, 1));
    cluster.begin(1, &kept("mover"));
    cluster.settle();
    cluster.publish(2, publisher, &Publish::new("t", "meanwhile").qos(1, 2));
    cluster.lose(1);
    let (client, present) = cluster.connect(0, &kept("mover"));
    assert!(present);
    let messages = cluster.nodes[0].take_messages(client);
    assert_eq!(texts(&messages), ["before", "meanwhile"]);
}

#[test]
fn a_session_that_moves_on_takes_along_what_had_not_come() {
    let mut cluster = Cluster::new(3, true);
    let publisher = away(&mut cluster, "t", 1, 0);
    for number in 0..10 {
        let message = Publish::new("t", number.to_string()).qos(1, number + 1);
        cluster.publish(0, publisher, &message);
    }
    cluster.held = Some((0, 1));
    let first = cluster.begin(1, &kept("mover"));
    cluster.settle();
    let second = cluster.begin(2, &kept("mover"));
    cluster.settle();
    assert!(cluster.nodes[2].take(second).is_empty());
    cluster.held = None;
    cluster.settle();
    cluster.advance(2000);
    assert!(cluster.connack(2, second));
    assert!(cluster.nodes[1].is_closed(first));
    let messages = cluster.nodes[2].take_messages(second);
    let expected: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    assert_eq!(texts(&messages), expected);
    cluster.advance(2000);
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (1, 0));
    let shards = cluster.nodes.iter().flat_map(|node| &node.shards);
    let mut sessions = shards.flat_map(|shard| shard.sessions.keys().map(move |key| (shard, key)));
    assert!(sessions.all(|(shard, key)| shard.sessions.get(key).unwrap().connection != NONE));
}

#[test]
fn a_node_that_comes_back_drops_the_sessions_that_others_have_by_now() {
    let mut cluster = Cluster::new(2, true);
    for name in ["stays", "goes"] {
        let (client, _) = cluster.connect(0, &kept(name));
        cluster.nodes[0].cut(client);
    }
    cluster.settle();
    cluster.lose(0);
    let (client, present) = cluster.connect(1, &kept("goes"));
    assert!(!present);
    cluster.restart(0);
    assert_eq!(sessions(&cluster, 0), 1);
    assert_eq!(
        (cluster.owner("stays"), cluster.owner("goes")),
        (Some(0), Some(1))
    );
    assert!(!cluster.nodes[1].is_closed(client));
    assert!(cluster.connect(1, &kept("stays")).1);
}

#[test]
fn a_client_that_comes_back_while_its_session_is_to_move_on_is_not_let_in() {
    let mut cluster = Cluster::new(3, false);
    away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    let first = cluster.begin(1, &kept("mover"));
    cluster.settle();
    let next = cluster.begin(2, &kept("mover"));
    cluster.settle();
    assert!(cluster.nodes[1].is_closed(first));
    let back = cluster.begin(1, &kept("mover"));
    cluster.settle();
    assert!(cluster.nodes[1].take(back).is_empty());
    cluster.lose(0);
    cluster.settle();
    assert!(cluster.nodes[1].is_closed(back));
    cluster.connack(2, next);
    assert_eq!((sessions(&cluster, 1), sessions(&cluster, 2)), (1, 1));
    assert_eq!(cluster.owner("mover"), Some(2));
}

#[test]
fn a_node_that_has_just_come_waits_to_meet_the_one_that_has_the_session() {
    for (meets, new_owner_first) in [(true, true), (true, false), (false, true)] {
        let mut cluster = Cluster::new(2, false);
        away(&mut cluster, "t", 1, 1);
        let (at, other) = if new_owner_first { (1, 0) } else { (0, 1) };
        cluster.meets(at, other, false);
        let client = cluster.begin(1, &kept("mover"));
        cluster.settle();
        assert!(cluster.nodes[1].take(client).is_empty());
        if meets {
            cluster.meets(at, other, true);
        }
        cluster.settle();
        if !meets {
            cluster.advance(6_000);
        }
        assert_eq!(cluster.connack(1, client), meets, "{at} {other}");
    }
}

#[test]
fn a_node_drops_what_it_keeps_when_others_have_had_the_client_since() {
    let mut cluster = Cluster::new(2, true);
    away(&mut cluster, "t", 1, 1);
    cluster.held = Some((0, 1));
    cluster.begin(1, &kept("mover"));
    cluster.settle();
    assert_eq!(sessions(&cluster, 0), 1);
    let client = "mover".into();
    cluster.tell(0, OwnerEvent::Drop { client });
    cluster.settle();
    assert_eq!(sessions(&cluster, 0), 0);
}
