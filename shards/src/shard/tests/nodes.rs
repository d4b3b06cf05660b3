//! Messages to other nodes and from them.

use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use protocol::wire::QoS;
use shard_sync::routes::Destination;

use super::super::nodes::Acceptance;
use super::super::{Batch, Item, foreign_publisher};
use super::disk::Disk;
use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish, Will};
use super::received::Received;

/// The number of the other node.
const NODE: u16 = 3;

/// Two shards that know one other node.
fn node(disk: Option<Disk>) -> Node {
    node_of(Setup {
        disk,
        ..Setup::default()
    })
}

/// The same, with `cluster.publish_ack = "local"`.
fn local_node(disk: Option<Disk>) -> Node {
    let mut setup = Setup {
        disk,
        ..Setup::default()
    };
    setup.common.publish_ack_local = true;
    node_of(setup)
}

fn node_of(setup: Setup) -> Node {
    let mut node = Node::with(Setup { shards: 2, ..setup });
    for shard in &mut node.shards {
        shard.join_cluster(4096);
        shard.common.nodes_known.store(1 << NODE, Ordering::Relaxed);
    }
    lease(&node, u64::MAX);
    node
}

/// The node may acknowledge until then.
fn lease(node: &Node, until_ms: u64) {
    let common = &node.shards[0].common;
    common.lease_until_ms.store(until_ms, Ordering::Relaxed);
}

/// The other node is there: it hears of clients and gets retained messages.
fn up(node: &Node) {
    let common = &node.shards[0].common;
    common.nodes_up.store(1 << NODE, Ordering::Relaxed);
}

/// The other node is there and subscribes.
fn route(node: &mut Node, filter: &str) {
    up(node);
    let index = node.routes.index.as_mut().unwrap();
    index.add(filter, Destination::Node(NODE.into())).unwrap();
}

/// A message comes from the other node.
fn arrives(node: &mut Node, shard: usize, topic: &str, text: &str, qos: QoS, retain: bool) {
    let mut batch = Box::<Batch>::default();
    let message = MessageRef {
        topic,
        properties: &[],
        payload: text.as_bytes(),
        qos,
        retain,
        expires_ms: u64::MAX,
        publisher: foreign_publisher(0, 0, shard as u16),
    };
    batch.publish(&message, false, 0);
    node.shards[shard].handle_node_batch(NODE, batch);
}

/// What a shard has for the other node, as texts.
fn forwarded(node: &mut Node, shard: usize) -> Vec<String> {
    let shard = &mut node.shards[shard];
    let Some(batch) = shard.take_batch(shard.node_peer(NODE)) else {
        return Vec::new();
    };
    let texts = batch.items.iter().map(|item| match item {
        Item::Publish(packed) => {
            let message = packed.message(&batch.bytes).unwrap();
            String::from_utf8_lossy(message.payload).into_owned()
        }
        other => panic!("{other:?} for another node"),
    });
    texts.collect()
}

/// What somebody waits for.
fn told(count: u64) -> Option<Acceptance> {
    let is_urgent = true;
    Some(Acceptance { count, is_urgent })
}

fn acknowledged(node: &mut Node, client: Client) -> Vec<u16> {
    let packets = node.take(client).into_iter();
    let ids = packets.map(|packet| match packet {
        Received::PubAck { id, .. } => id,
        other => panic!("{other:?} instead of PUBACK"),
    });
    ids.collect()
}

#[test]
fn a_node_that_is_down_gets_nothing_though_its_routes_are_still_there() {
    let mut node = node(None);
    route(&mut node, "there/+");
    let common = &node.shards[0].common;
    common.nodes_up.store(0, Ordering::Relaxed);
    let publisher = node.client_on(0, "publisher");
    node.publish(publisher, &Publish::new("there/a", "x").qos(1, 1));
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [1]);
    assert_eq!(forwarded(&mut node, 0), [""; 0]);
}

#[test]
fn a_message_goes_to_a_node_that_has_subscribers_and_is_acknowledged_when_it_has_accepted_it() {
    let mut node = node(None);
    route(&mut node, "there/+");
    let publisher = node.client_on(0, "publisher");
    for (topic, qos, id) in [("there/a", 1, 1), ("here", 1, 2), ("there/b", 0, 0)] {
        node.publish(publisher, &Publish::new(topic, topic).qos(qos, id));
    }
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [0_u16; 0]);
    assert_eq!(forwarded(&mut node, 0), ["there/a", "there/b"]);
    node.shards[0].node_accepted(NODE, 1);
    node.settle();
    // PUBACKs keep the order of the packets.
    assert_eq!(acknowledged(&mut node, publisher), [1, 2]);
}

#[test]
fn a_message_of_a_node_reaches_all_shards_and_no_node() {
    let mut node = node(None);
    route(&mut node, "a");
    let subscribers = [node.client_on(0, "zero"), node.client_on(1, "one")];
    for subscriber in subscribers {
        node.subscribe(subscriber, "a", 1);
    }
    arrives(&mut node, 0, "a", "x", QoS::AtLeastOnce, false);
    assert_eq!(node.shards[0].take_accepted(NODE), None);
    node.turn_all();
    for subscriber in subscribers {
        assert_eq!(node.take_texts(subscriber), ["x"]);
    }
    assert_eq!(node.shards[0].take_accepted(NODE), told(1));
    assert!(forwarded(&mut node, 0).is_empty() && forwarded(&mut node, 1).is_empty());
}

#[test]
fn messages_of_a_node_are_accepted_in_their_order() {
    let mut node = node(None);
    let subscriber = node.client_on(1, "one");
    node.subscribe(subscriber, "elsewhere", 1);
    arrives(&mut node, 0, "elsewhere", "1", QoS::AtLeastOnce, false);
    arrives(&mut node, 0, "nobody", "2", QoS::AtMostOnce, false);
    arrives(&mut node, 0, "wrong/+", "3", QoS::AtMostOnce, false);
    assert_eq!(node.shards[0].take_accepted(NODE), None);
    node.turn_all();
    assert_eq!(node.shards[0].take_accepted(NODE), told(3));
}

#[test]
fn nobody_is_woken_for_qos_0_before_there_is_room_to_be_made() {
    let mut node = node(None);
    let mut accepted = |size: usize, qos| {
        arrives(&mut node, 0, "nobody", &"x".repeat(size), qos, false);
        node.turn_all();
        let acceptance = node.shards[0].take_accepted(NODE).unwrap();
        (acceptance.count, acceptance.is_urgent)
    };
    assert_eq!(accepted(10, QoS::AtMostOnce), (1, false));
    assert_eq!(accepted(10, QoS::AtMostOnce), (2, false));
    assert_eq!(accepted(10, QoS::AtLeastOnce), (3, true));
    assert_eq!(accepted(40 << 10, QoS::AtMostOnce), (4, false));
    assert_eq!(accepted(40 << 10, QoS::AtMostOnce), (5, true));
    assert_eq!(accepted(40 << 10, QoS::AtMostOnce), (6, false));
}

#[test]
fn a_message_of_a_node_is_accepted_when_it_is_stored() {
    let mut node = node(Some(Disk::new(2)));
    let name = node.name_at(1, "subscriber");
    let connect = Connect::new(&name).resume().expiry(100);
    let (subscriber, _) = node.connect_at(1, &connect);
    node.subscribe(subscriber, "stored", 1);
    node.cut(subscriber);
    node.settle();
    arrives(&mut node, 0, "stored", "x", QoS::AtLeastOnce, false);
    assert_eq!(node.shards[0].take_accepted(NODE), None);
    node.turn_all();
    assert_eq!(node.shards[0].take_accepted(NODE), told(1));
    let mut node = node.crash(2);
    let (subscriber, present) = node.connect_at(0, &connect);
    node.settle();
    assert!(present);
    assert_eq!(node.take_texts(subscriber), ["x"]);
}

#[test]
fn a_retained_message_goes_to_every_node_and_is_kept_there() {
    let mut node = node(None);
    let publisher = node.client_on(1, "publisher");
    up(&node);
    node.publish(publisher, &Publish::new("kept", "mine").retain());
    node.settle();
    let sent = forwarded(&mut node, 1);
    assert!(sent.len() == 1 && sent[0].ends_with("keptmine"), "{sent:?}");
    arrives(&mut node, 1, "kept", "theirs", QoS::AtMostOnce, true);
    node.turn_all();
    node.subscribe(publisher, "other", 0);
    let late = node.client_on(0, "late");
    node.send(
        late,
        &super::packet::subscribe(protocol::wire::Version::V5, 1, 0, &[("kept", 0)]),
    );
    node.settle();
    let packets = node.take(late);
    let text = packets.iter().find_map(|packet| match packet {
        Received::Publish(delivery) => Some(delivery.text().to_owned()),
        _ => None,
    });
    assert_eq!(text.as_deref(), Some("theirs"));
}

#[test]
fn a_node_that_takes_nothing_slows_only_those_who_publish_to_it() {
    let mut node = node(None);
    route(&mut node, "slow");
    let (slow, fast) = (node.client_on(0, "slow"), node.client_on(0, "fast"));
    let large = "x".repeat(1500);
    for id in 1..=20 {
        node.publish(slow, &Publish::new("slow", &large).qos(1, id));
        node.publish(fast, &Publish::new("nobody", &large).qos(1, id));
    }
    node.settle();
    assert_eq!(acknowledged(&mut node, fast).len(), 20);
    let first = forwarded(&mut node, 0).len();
    assert!((1..20).contains(&first), "{first} messages");
    // QoS 0 would grow without bound.
    let other = node.client_on(0, "other");
    for _ in 0..20 {
        node.publish(other, &Publish::new("slow", &large));
    }
    node.settle();
    let mut taken = first;
    for _ in 0..20 {
        let peer = node.shards[0].node_peer(NODE);
        node.shards[0].ring_holds(peer, 0);
        node.shards[0].node_accepted(NODE, taken as u64);
        node.turn_all();
        taken += forwarded(&mut node, 0).len();
    }
    assert!((20..40).contains(&taken), "{taken} messages");
    assert_eq!(acknowledged(&mut node, slow).len(), 20);
}

#[test]
fn the_links_to_other_nodes_stay_when_the_clients_are_sent_away() {
    let mut node = node(None);
    node.shards[0].shut_down();
    node.turn_all();
    arrives(&mut node, 0, "nobody", "x", QoS::AtLeastOnce, false);
    assert_eq!(node.shards[0].take_accepted(NODE), told(1));
}

#[test]
fn without_a_lease_nothing_of_qos_1_and_2_is_taken_from_clients_and_with_one_it_goes_on() {
    for qos in [1, 2] {
        let mut node = node(None);
        let subscriber = node.client_on(1, "subscriber");
        node.subscribe(subscriber, "a", qos);
        let publisher = node.client_on(0, "publisher");
        let end_ms = node.now_ms + 100;
        lease(&node, end_ms);
        node.advance(99);
        node.publish(publisher, &Publish::new("a", "before").qos(qos, 1));
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["before"]);
        assert_eq!(node.take(publisher).len(), 1);
        node.advance(1);
        let other = node.client_on(0, "other");
        node.publish(other, &Publish::new("a", "anyway"));
        node.publish(publisher, &Publish::new("a", "after").qos(qos, 2));
        node.publish(publisher, &Publish::new("a", "behind it"));
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["anyway"], "QoS {qos}");
        assert!(node.take(publisher).is_empty());
        lease(&node, u64::MAX);
        node.turn_all();
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["after", "behind it"]);
        assert_eq!(node.take(publisher).len(), 1);
    }
}

#[test]
fn what_comes_by_itself_waits_for_a_lease() {
    // The session goes on, or ends with its will.
    for expiry_s in [100, 2] {
        let mut node = node(None);
        let subscriber = node.client_on(1, "subscriber");
        node.subscribe(subscriber, "#", 1);
        let publisher = node.client_on(0, "publisher");
        let delayed = Publish::new("$delayed/1/late", "delayed").qos(1, 1);
        node.publish(publisher, &delayed);
        let will = Will::new("will", "will").delay(2);
        let name = node.name_at(0, "mortal");
        let mortal = Connect::new(&name).resume().expiry(expiry_s).will(will);
        let (mortal, _) = node.connect_at(0, &mortal);
        node.cut(mortal);
        node.settle();
        lease(&node, node.now_ms);
        node.advance(5_000);
        assert!(node.take_texts(subscriber).is_empty(), "{expiry_s}");
        lease(&node, u64::MAX);
        node.advance(1_000);
        assert_eq!(node.take_texts(subscriber), ["delayed", "will"]);
        node.advance(200_000);
        assert!(node.take_texts(subscriber).is_empty(), "{expiry_s}");
    }
}

#[test]
fn what_is_owed_when_the_lease_ends_is_acknowledged_with_the_next_one() {
    let mut node = node(None);
    route(&mut node, "there");
    let publisher = node.client_on(0, "publisher");
    let from_node = |node: &mut Node| arrives(node, 0, "here", "x", QoS::AtLeastOnce, false);
    for id in [1, 2] {
        node.publish(publisher, &Publish::new("there", "x").qos(1, id));
    }
    node.settle();
    assert_eq!(forwarded(&mut node, 0).len(), 2);
    lease(&node, node.now_ms);
    node.turn_all();
    node.shards[0].node_accepted(NODE, 1);
    node.settle();
    node.shards[0].node_accepted(NODE, 2);
    from_node(&mut node);
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [0_u16; 0]);
    assert_eq!(node.shards[0].take_accepted(NODE), None);
    lease(&node, u64::MAX);
    node.turn_all();
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [1, 2]);
    assert_eq!(node.shards[0].take_accepted(NODE), told(1));
}

#[test]
fn what_is_stored_without_a_lease_is_acknowledged_with_the_next_one() {
    let mut node = node(Some(Disk::new(2)));
    let name = node.name_at(0, "subscriber");
    let (away, _) = node.connect_at(0, &Connect::new(&name).resume().expiry(100));
    node.subscribe(away, "stored", 1);
    node.cut(away);
    let publisher = node.client_on(0, "publisher");
    node.settle();
    node.disk.as_mut().unwrap().held = true;
    node.publish(publisher, &Publish::new("stored", "x").qos(1, 1));
    node.settle();
    lease(&node, node.now_ms);
    node.turn_all();
    node.disk.as_mut().unwrap().held = false;
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [0_u16; 0]);
    lease(&node, u64::MAX);
    node.turn_all();
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [1]);
}

#[test]
fn with_local_a_message_is_acknowledged_while_it_is_under_way_to_a_node() {
    let mut node = local_node(None);
    route(&mut node, "there/+");
    let publisher = node.client_on(0, "publisher");
    for (topic, qos, id) in [("there/a", 1, 1), ("there/b", 2, 2), ("there/c", 0, 0)] {
        node.publish(publisher, &Publish::new(topic, topic).qos(qos, id));
    }
    let kept = Publish::new("kept", "kept").retain().qos(1, 3);
    node.publish(publisher, &kept);
    node.settle();
    let answers = node.take(publisher);
    let ids = answers.iter().map(|packet| match packet {
        Received::PubAck { id, .. } | Received::PubRec { id, .. } => *id,
        other => panic!("{other:?}"),
    });
    assert_eq!(ids.collect::<Vec<_>>(), [1, 2, 3]);
    let sent = forwarded(&mut node, 0);
    assert_eq!(sent[..3], ["there/a", "there/b", "there/c"]);
    assert!(sent[3].ends_with("keptkept"), "{sent:?}");
    // It is released and sent anew before the node has accepted it.
    node.send(publisher, &super::packet::pubrel(2));
    node.publish(publisher, &Publish::new("there/d", "again").qos(2, 2));
    node.settle();
    assert_eq!(node.take(publisher).len(), 2);
    assert_eq!(forwarded(&mut node, 0), ["again"]);
    node.shards[0].node_accepted(NODE, 5);
    node.settle();
    assert!(node.take(publisher).is_empty());
}

#[test]
fn with_local_an_acknowledgement_still_waits_for_this_node() {
    for (qos, topic) in [(1, "stored"), (2, "stored"), (1, "kept"), (2, "kept")] {
        let mut node = local_node(Some(Disk::new(2)));
        route(&mut node, "#");
        let name = node.name_at(1, "subscriber");
        let (away, _) = node.connect_at(1, &Connect::new(&name).resume().expiry(100));
        node.subscribe(away, "stored", 2);
        node.cut(away);
        let publisher = node.client_on(0, "publisher");
        node.settle();
        node.disk.as_mut().unwrap().held = true;
        let publish = Publish::new(topic, "x").qos(qos, 1);
        let publish = if topic == "kept" {
            publish.retain()
        } else {
            publish
        };
        node.publish(publisher, &publish);
        node.settle();
        assert!(node.take(publisher).is_empty(), "{topic}, QoS {qos}");
        assert_eq!(forwarded(&mut node, 0).len(), 1, "{topic}, QoS {qos}");
        node.disk.as_mut().unwrap().held = false;
        node.settle();
        assert_eq!(node.take(publisher).len(), 1, "{topic}, QoS {qos}");
    }
}

#[test]
fn with_local_what_finds_no_room_on_the_way_to_a_node_waits_for_it_and_nothing_is_dropped() {
    let mut node = local_node(None);
    route(&mut node, "slow");
    let (slow, fast) = (node.client_on(0, "slow"), node.client_on(0, "fast"));
    let text = |id| format!("{id:02}{}", "x".repeat(1500));
    for id in 1..=20 {
        node.publish(slow, &Publish::new("slow", text(id)).qos(1, id));
        node.publish(fast, &Publish::new("nobody", text(id)).qos(1, id));
    }
    node.settle();
    assert_eq!(acknowledged(&mut node, fast).len(), 20);
    let mut sent = forwarded(&mut node, 0);
    let acknowledged_at_once = acknowledged(&mut node, slow).len();
    // The last one is beyond what may be under way.
    assert_eq!(acknowledged_at_once + 1, sent.len());
    assert!((2..20).contains(&sent.len()), "{} messages", sent.len());
    let mut later = Vec::new();
    for _ in 0..20 {
        let peer = node.shards[0].node_peer(NODE);
        node.shards[0].ring_holds(peer, 0);
        node.shards[0].node_accepted(NODE, sent.len() as u64);
        node.turn_all();
        sent.extend(forwarded(&mut node, 0));
        later.extend(acknowledged(&mut node, slow));
    }
    assert_eq!(sent, (1..=20).map(text).collect::<Vec<_>>());
    assert_eq!(acknowledged_at_once + later.len(), 20);
    assert!(later.is_sorted());
}

#[test]
fn with_local_nothing_is_acknowledged_without_a_lease() {
    let mut node = local_node(None);
    route(&mut node, "there");
    let publisher = node.client_on(0, "publisher");
    node.settle();
    lease(&node, node.now_ms);
    node.turn_all();
    node.publish(publisher, &Publish::new("there", "x").qos(1, 1));
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [0_u16; 0]);
    lease(&node, u64::MAX);
    node.turn_all();
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [1]);
    assert_eq!(forwarded(&mut node, 0), ["x"]);
}

#[test]
fn with_local_the_node_still_has_what_is_under_way_when_it_stops() {
    let mut node = local_node(None);
    route(&mut node, "there");
    let publisher = node.client_on(0, "publisher");
    node.publish(publisher, &Publish::new("there", "x").qos(1, 1));
    node.settle();
    assert_eq!(acknowledged(&mut node, publisher), [1]);
    node.shards[0].shut_down();
    node.turn_all();
    assert!(node.shards[0].has_node_batch());
    assert_eq!(forwarded(&mut node, 0), ["x"]);
}
