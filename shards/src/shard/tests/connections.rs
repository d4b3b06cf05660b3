//! Connections: where they go, who takes them over, when they end.

use protocol::wire::Version;

use super::node::{Node, Setup};
use super::packet::{self, Connect, DISCONNECT, PINGREQ, Publish, Will};
use super::received::Received;
use crate::settings::Mqtt;

const TAKEN_OVER: Received = Received::Disconnect { reason: 0x8e };
const KEEP_ALIVE_TIMEOUT: Received = Received::Disconnect { reason: 0x8d };

#[test]
fn a_connection_moves_to_the_shard_of_its_client_with_all_it_has_sent() {
    for accepting in 0..3 {
        let mut node = Node::new(3);
        let name = node.name_at(1, "client");
        let client = node.open(accepting, Version::V5);
        node.send(client, &Connect::new(&name).encode());
        node.send(client, &PINGREQ);
        node.settle();
        let connack = Received::ConnAck {
            present: false,
            reason: 0,
        };
        assert_eq!(node.take(client), [connack, Received::PingResp]);
        let connections: Vec<usize> = node.shards.iter().map(|s| s.connections.len()).collect();
        assert_eq!(connections, [0, 1, 0]);
        assert_eq!(node.shards[1].sessions.len(), 1);
    }
}

#[test]
fn a_client_that_connects_through_another_shard_takes_over() {
    for home in 0..3 {
        let mut node = Node::new(3);
        let name = node.name_at(home, "client");
        let connect = Connect::new(&name).resume().expiry(100);
        let (first, present) = node.connect_at(0, &connect);
        assert!(!present);
        let (second, present) = node.connect_at(1, &connect);
        assert!(present);
        assert_eq!(node.take(first), [TAKEN_OVER]);
        assert!(node.is_closed(first) && !node.is_closed(second));
        let sessions: usize = node.shards.iter().map(|shard| shard.sessions.len()).sum();
        assert_eq!(sessions, 1);
    }
}

#[test]
fn clients_that_connect_at_once_through_all_shards_leave_one_of_them() {
    for seed in 0..20 {
        let mut node = Node::with(Setup {
            shards: 4,
            seed,
            ..Setup::default()
        });
        let connect = Connect::new("client").resume().expiry(100);
        let clients: Vec<usize> = (0..8).map(|n| node.open(n % 4, Version::V5)).collect();
        for client in &clients {
            node.send(*client, &connect.encode());
        }
        node.settle();
        let open = clients.iter().filter(|client| !node.is_closed(**client));
        assert_eq!(open.count(), 1, "seed {seed}");
        let connected: u64 = node.shards.iter().map(|s| s.stats.connections.get()).sum();
        assert_eq!(connected, 1, "seed {seed}");
    }
}

#[test]
fn a_client_of_3_1_1_that_is_taken_over_is_closed_without_a_packet() {
    let mut node = Node::new(2);
    let connect = Connect::new("client").version(Version::V311);
    let first = node.connect(&connect);
    let second = node.connect(&connect);
    assert_eq!(node.take(first), []);
    assert!(node.is_closed(first) && !node.is_closed(second));
}

#[test]
fn a_connection_without_a_whole_connect_is_closed_at_the_timeout() {
    let mut node = Node::new(2);
    let silent = node.open(0, Version::V5);
    let slow = node.open(1, Version::V5);
    let connect = Connect::new("slow").encode();
    node.send(slow, &connect[..connect.len() - 1]);
    node.advance(9_999);
    assert!(!node.is_closed(silent) && !node.is_closed(slow));
    node.advance(1);
    assert!(node.is_closed(silent) && node.is_closed(slow));
    node.assert_empty();
}

#[test]
fn a_connected_client_outlives_the_connect_timeout() {
    let mut node = Node::new(2);
    let client = node.connect(&Connect::new("client"));
    node.advance(1_000_000);
    assert!(!node.is_closed(client));
}

#[test]
fn a_client_is_closed_after_one_and_a_half_keep_alives_of_silence() {
    let mut node = Node::new(2);
    let client = node.connect(&Connect::new("client").keep_alive(10));
    node.advance(14_999);
    assert_eq!(node.take(client), []);
    node.advance(1);
    assert_eq!(node.take(client), [KEEP_ALIVE_TIMEOUT]);
    assert!(node.is_closed(client));
}

#[test]
fn every_packet_of_a_client_starts_its_keep_alive_again() {
    let mut node = Node::new(2);
    let client = node.connect(&Connect::new("client").keep_alive(10));
    for _ in 0..5 {
        node.advance(14_000);
        node.publish(client, &Publish::new("a", "x"));
    }
    node.advance(14_999);
    assert!(!node.is_closed(client));
    node.advance(1);
    assert_eq!(node.take(client), [KEEP_ALIVE_TIMEOUT]);
}

#[test]
fn messages_to_a_client_do_not_keep_it_alive() {
    let mut node = Node::new(2);
    let subscriber = node.connect(&Connect::new("subscriber").keep_alive(10));
    node.subscribe(subscriber, "a", 0);
    let publisher = node.connect(&Connect::new("publisher"));
    for _ in 0..15 {
        node.publish(publisher, &Publish::new("a", "x"));
        node.advance(1_000);
    }
    assert!(node.is_closed(subscriber));
}

#[test]
fn nothing_behind_a_disconnect_counts() {
    let mut node = Node::new(1);
    let subscriber = node.connect(&Connect::new("subscriber"));
    node.subscribe(subscriber, "a", 0);
    let client = node.connect(&Connect::new("client"));
    node.send(client, &DISCONNECT);
    node.publish(client, &Publish::new("a", "x"));
    node.settle();
    assert_eq!(node.take(subscriber), []);
    assert!(node.is_closed(client));
}

#[test]
fn the_end_of_the_broker_is_told_to_every_client() {
    let mut node = Node::new(3);
    let clients: Vec<usize> = (0..9)
        .map(|n| node.connect(&Connect::new(&format!("client-{n}"))))
        .collect();
    node.open(0, Version::V5);
    for shard in &mut node.shards {
        shard.shut_down();
    }
    node.settle();
    for client in clients {
        assert_eq!(node.take(client), [Received::Disconnect { reason: 0x8b }]);
        assert!(node.is_closed(client));
    }
    node.assert_empty();
}

#[test]
fn a_client_that_does_not_take_its_last_packet_is_cut_off() {
    let mut node = Node::with(Setup {
        shards: 1,
        mqtt: Mqtt::default(),
        ..Setup::default()
    });
    let client = node.connect(&Connect::new("client").keep_alive(10));
    node.set_reading(client, false);
    node.advance(20_000);
    assert!(node.is_closed(client));
    node.assert_empty();
}

#[test]
fn a_client_whose_connack_is_too_large_for_it_is_no_connection() {
    let mut node = Node::new(1);
    let other = node.connect(&Connect::new("other"));
    let client = node.open(0, Version::V5);
    let connect = Connect::new("client").maximum_packet_size(5);
    node.send(client, &connect.encode());
    node.settle();
    assert!(node.is_closed(client));
    assert_eq!(node.shards[0].stats.connections.get(), 1);
    node.close(other);
    node.settle();
    node.assert_empty();
}

#[test]
fn a_refused_resumption_leaves_a_member_of_a_group_offline() {
    let mut node = Node::new(1);
    let here = node.connect(&Connect::new("here"));
    let away = Connect::new("away").resume().expiry(100);
    let client = node.connect(&away);
    node.subscribe(here, "$share/g/a", 1);
    node.subscribe(client, "$share/g/a", 1);
    node.cut(client);
    node.settle();
    let refused = node.open(0, Version::V5);
    node.send(refused, &away.maximum_packet_size(5).encode());
    node.settle();
    let publisher = node.connect(&Connect::new("publisher"));
    for id in 1..=4 {
        node.publish(publisher, &Publish::new("a", "x").qos(1, id));
    }
    node.settle();
    assert_eq!(node.take_messages(here).len(), 4);
}

#[test]
fn what_waits_behind_a_subscribe_counts_even_if_the_client_has_gone() {
    for seed in 0..20 {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let watcher = node.connect(&Connect::new("watcher"));
        node.subscribe(watcher, "#", 0);
        let will = Will::new("will", "gone");
        let client = node.connect(&Connect::new("client").will(will));
        node.hold_routes(true);
        node.send(client, &packet::subscribe(Version::V5, 1, 0, &[("b", 0)]));
        node.publish(client, &Publish::new("a", "x"));
        node.send(client, &DISCONNECT);
        node.close(client);
        node.settle();
        node.hold_routes(false);
        node.settle();
        assert_eq!(node.take_texts(watcher), ["x"], "seed {seed}");
    }
}
