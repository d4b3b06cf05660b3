//! Another shard that does not keep up: who waits, what is lost, what is not.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish};
use super::received::Received;

/// Bytes of a large payload.
const LARGE: usize = 1000;

/// Two shards with little room between them, a publisher on the first and a subscriber to
/// `#` on the second.
fn narrow() -> (Node, Client, Client) {
    narrow_with(1, 10 * LARGE)
}

fn narrow_with(seed: u64, peer_bytes_max: usize) -> (Node, Client, Client) {
    let mut node = Node::with(Setup {
        shards: 2,
        seed,
        peer_bytes_max,
        ring_batches: 2,
        ..Setup::default()
    });
    let subscriber = node.client_on(1, "subscriber");
    node.subscribe(subscriber, "#", 2);
    let publisher = node.client_on(0, "publisher");
    (node, publisher, subscriber)
}

fn large(text: &str) -> Vec<u8> {
    format!("{text:>LARGE$}").into_bytes()
}

fn dropped(node: &Node) -> u64 {
    node.shards.iter().map(|s| s.stats.dropped.get()).sum()
}

#[test]
fn a_publisher_waits_while_a_ring_is_full_and_loses_nothing() {
    for (qos, seed) in [(1, 1), (2, 2), (1, 3), (2, 4)] {
        let (mut node, publisher, subscriber) = narrow_with(seed, 10 * LARGE);
        node.hold_ring(0, 1, true);
        for id in 1..=200 {
            let payload = large(&id.to_string());
            node.publish(publisher, &Publish::new("a", payload).qos(qos, id));
        }
        node.settle();
        assert_eq!(node.take(publisher), []);
        let waiting = node.waiting_input(publisher);
        assert!(waiting > 50 * LARGE, "{waiting} bytes were not read");
        node.hold_ring(0, 1, false);
        let mut received: Vec<u16> = Vec::new();
        while received.len() < 200 {
            node.settle();
            let messages = node.take_messages(subscriber);
            assert!(!messages.is_empty(), "{} of 200 came", received.len());
            for message in messages {
                received.push(message.text().trim().parse().unwrap());
                node.acknowledge(subscriber, &message);
            }
        }
        assert!(received.is_sorted());
        assert_eq!(node.take(publisher).len(), 200);
        assert_eq!(dropped(&node), 0);
    }
}

#[test]
fn qos_0_messages_are_dropped_and_counted_while_a_ring_is_full() {
    let (mut node, publisher, subscriber) = narrow();
    node.hold_ring(0, 1, true);
    for n in 0..200 {
        node.publish(publisher, &Publish::new("a", large(&n.to_string())));
        node.settle();
    }
    let lost = dropped(&node);
    assert!(lost > 150, "{lost} dropped");
    assert_eq!(node.waiting_input(publisher), 0);
    node.hold_ring(0, 1, false);
    node.settle();
    assert_eq!(node.take_messages(subscriber).len() as u64, 200 - lost);
}

#[test]
fn other_packets_of_a_publisher_do_not_wait_for_a_full_ring() {
    let (mut node, publisher, _) = narrow();
    node.hold_ring(0, 1, true);
    for _ in 0..200 {
        node.publish(publisher, &Publish::new("a", large("x")));
    }
    node.settle();
    let other = node.client_on(0, "other");
    node.send(other, &packet::PINGREQ);
    node.settle();
    assert_eq!(node.take(other), [Received::PingResp]);
}

#[test]
fn a_publisher_that_waits_is_not_taken_for_silent() {
    let (mut node, _, subscriber) = narrow();
    let name = node.name_at(0, "alive");
    let publisher = node.connect(&Connect::new(&name).keep_alive(10));
    node.hold_ring(0, 1, true);
    for id in 1..=200 {
        node.publish(publisher, &Publish::new("a", large("x")).qos(1, id));
    }
    node.advance(100_000);
    assert!(!node.is_closed(publisher));
    node.hold_ring(0, 1, false);
    node.settle();
    assert_eq!(node.take_messages(subscriber).len(), 128, "the window");
    assert_eq!(node.take(publisher).len(), 200);
    node.advance(14_999);
    assert!(!node.is_closed(publisher));
    node.advance(1);
    assert!(node.is_closed(publisher));
}

#[test]
fn a_publisher_that_waits_may_go_away() {
    let (mut node, publisher, subscriber) = narrow();
    node.hold_ring(0, 1, true);
    for id in 1..=100 {
        node.publish(publisher, &Publish::new("a", large("x")).qos(1, id));
    }
    node.settle();
    node.cut(publisher);
    node.hold_ring(0, 1, false);
    node.settle();
    assert!(node.is_closed(publisher));
    node.cut(subscriber);
    node.settle();
    node.assert_empty();
}

#[test]
fn a_publisher_that_met_a_full_batch_goes_on_without_anything_from_outside() {
    for seed in 0..20 {
        let (mut node, publisher, subscriber) = narrow_with(seed, 2 * LARGE);
        // Messages of QoS 0 fill the batch, and are not answered by the other shard.
        for _ in 0..3 {
            node.publish(publisher, &Publish::new("a", large("x")));
        }
        node.publish(publisher, &Publish::new("a", "y").qos(1, 1));
        node.settle();
        let last = node.take_texts(subscriber).pop();
        assert_eq!(last.as_deref(), Some("y"), "seed {seed}");
        assert_eq!(node.take(publisher).len(), 1, "seed {seed}");
    }
}

#[test]
fn messages_for_a_member_of_a_group_count_against_its_ring() {
    let mut node = Node::with(Setup {
        shards: 2,
        peer_bytes_max: 10 * LARGE,
        ring_batches: 2,
        ..Setup::default()
    });
    let publisher = node.client_on(0, "publisher");
    let member = node.client_on(1, "member");
    let group_here = (0..).find(|group| {
        node.subscribe(member, &format!("$share/{group}/a"), 1);
        let here = !node.shards[0].subscriptions.is_empty();
        if !here {
            let filter = format!("$share/{group}/a");
            node.send(member, &packet::unsubscribe(Version::V5, 1, &[&filter]));
            node.settle();
            node.take(member);
        }
        here
    });
    assert!(group_here.is_some());
    node.hold_ring(0, 1, true);
    for id in 1..=200 {
        node.publish(publisher, &Publish::new("a", large("x")).qos(1, id));
    }
    node.settle();
    assert!(node.waiting_input(publisher) > 50 * LARGE);
    node.hold_ring(0, 1, false);
    node.settle();
    assert_eq!(node.take(publisher).len(), 200);
}

#[test]
fn retained_messages_for_another_shard_count_against_its_ring() {
    let (mut node, publisher, _) = narrow();
    node.hold_ring(0, 1, true);
    for n in 0..200 {
        let topic = node.name_at(1, &format!("topic-{n}"));
        node.publish(publisher, &Publish::new(&topic, large("x")).retain());
        node.settle();
    }
    assert!(dropped(&node) > 150, "{} dropped", dropped(&node));
    node.hold_ring(0, 1, false);
    node.settle();
    let retained = node.shards[1].retained.len();
    assert!((1..50).contains(&retained), "{retained} retained");
}
