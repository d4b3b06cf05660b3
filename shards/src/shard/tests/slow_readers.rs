//! Clients that do not read what is sent to them.

use super::node::{Client, Node, Setup};
use super::packet::{Connect, PINGREQ, Publish};
use super::received::Received;
use crate::settings::{Mqtt, QueueFull};

/// Bytes of a large payload.
const LARGE: usize = 1000;

/// Output that may wait for a client.
const OUTPUT_MAX: usize = 20 * LARGE;

/// A node whose clients may have little output waiting, and two subscribers to `a` on
/// shard 1: one that does not read, and one that does.
fn slow_and_quick(qos: u8) -> (Node, Client, Client) {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            max_output_bytes: OUTPUT_MAX as u32,
            max_inflight: 5,
            max_mqueue_len: 50,
            mqueue_full: QueueFull::DropNewest,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let (slow, quick) = (node.client_on(1, "slow"), node.client_on(1, "quick"));
    for subscriber in [slow, quick] {
        node.subscribe(subscriber, "a", qos);
    }
    node.set_reading(slow, false);
    (node, slow, quick)
}

fn dropped(node: &Node) -> u64 {
    node.shards.iter().map(|s| s.stats.dropped.get()).sum()
}

/// The most output that waits for any client, or is on its way to it, in bytes.
fn output(node: &Node) -> usize {
    let shards = node.shards.iter();
    let outputs = shards.flat_map(|shard| {
        let keys = shard.connections.keys();
        keys.filter_map(|key| shard.connections.get(key))
    });
    let on_the_way = node.sockets.iter().map(|socket| socket.stuck());
    let waiting = outputs.map(|connection| connection.output.len());
    waiting.chain(on_the_way).max().unwrap_or_default()
}

#[test]
fn qos_0_messages_beyond_the_output_limit_are_dropped_for_the_slow_client_only() {
    let (mut node, slow, quick) = slow_and_quick(0);
    let publisher = node.client_on(0, "publisher");
    for number in 0..200 {
        let payload = format!("{number:>LARGE$}");
        node.publish(publisher, &Publish::new("a", payload));
        node.settle();
        assert!(output(&node) < OUTPUT_MAX + 2 * LARGE);
    }
    assert_eq!(node.take_messages(quick).len(), 200);
    let lost = dropped(&node);
    assert!(lost > 150, "{lost} dropped");
    node.set_reading(slow, true);
    node.settle();
    let messages = node.take_messages(slow);
    assert_eq!(messages.len() as u64, 200 - lost);
    assert!(messages.is_sorted_by_key(|message| message.payload.clone()));
}

#[test]
fn qos_1_messages_for_the_slow_client_wait_in_its_window_and_its_queue() {
    let (mut node, slow, quick) = slow_and_quick(1);
    let publisher = node.client_on(0, "publisher");
    for id in 1..=200 {
        let payload = format!("{id:>LARGE$}");
        node.publish(publisher, &Publish::new("a", payload).qos(1, id));
        node.settle();
        for message in node.take_messages(quick) {
            node.acknowledge(quick, &message);
        }
        assert!(output(&node) < OUTPUT_MAX + 2 * LARGE);
    }
    assert_eq!(node.take(publisher).len(), 200, "all are acknowledged");
    assert_eq!(
        dropped(&node),
        200 - 55,
        "the window and the queue are full"
    );
    node.set_reading(slow, true);
    node.settle();
    assert_eq!(node.take_messages(slow).len(), 5);
}

#[test]
fn a_client_that_asks_and_does_not_read_the_answers_is_not_read_either() {
    let mut node = Node::with(Setup {
        shards: 1,
        mqtt: Mqtt {
            max_output_bytes: 1000,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let client = node.connect(&Connect::new("client"));
    node.set_reading(client, false);
    for _ in 0..200_000 {
        node.send(client, &PINGREQ);
    }
    node.settle();
    assert!(node.waiting_input(client) > 200_000, "half of it at least");
    assert!(output(&node) < 1010);
    node.set_reading(client, true);
    node.settle();
    assert_eq!(node.waiting_input(client), 0);
    assert_eq!(node.take(client).len(), 200_000);
}

#[test]
fn a_queue_goes_on_when_the_client_reads_again() {
    let (mut node, slow, _) = slow_and_quick(1);
    let publisher = node.client_on(0, "publisher");
    for id in 1..=40 {
        let payload = format!("{id:>LARGE$}");
        node.publish(publisher, &Publish::new("a", payload).qos(1, id));
    }
    // Messages of QoS 0 fill the output in front of the queue.
    for _ in 0..40 {
        node.publish(publisher, &Publish::new("a", [b'x'; LARGE]));
    }
    node.settle();
    node.set_reading(slow, true);
    let mut numbers: Vec<u16> = Vec::new();
    while numbers.len() < 40 {
        node.settle();
        let messages = node.take_messages(slow);
        assert!(!messages.is_empty(), "{} of 40 came", numbers.len());
        for message in messages.iter().filter(|message| message.qos == 1) {
            numbers.push(message.text().trim().parse().unwrap());
            node.acknowledge(slow, message);
        }
    }
    assert!(numbers.is_sorted());
}

#[test]
fn a_resumed_session_with_a_long_queue_fills_the_output_no_further_than_its_limit() {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            max_output_bytes: OUTPUT_MAX as u32,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let connect = Connect::new("slow").resume().expiry(100);
    let away = node.connect(&connect);
    node.subscribe(away, "a", 1);
    node.cut(away);
    let publisher = node.connect(&Connect::new("publisher"));
    for id in 1..=100 {
        let payload = format!("{id:>LARGE$}");
        node.publish(publisher, &Publish::new("a", payload).qos(1, id));
    }
    node.settle();
    let slow = node.open(0, connect.version);
    node.set_reading(slow, false);
    node.send(slow, &connect.encode());
    node.settle();
    assert!(output(&node) < OUTPUT_MAX + 2 * LARGE);
    node.set_reading(slow, true);
    let mut numbers: Vec<u16> = Vec::new();
    while numbers.len() < 100 {
        node.settle();
        for packet in node.take(slow) {
            if let Received::Publish(message) = packet {
                numbers.push(message.text().trim().parse().unwrap());
                node.acknowledge(slow, &message);
            }
        }
    }
    assert!(numbers.is_sorted());
}
