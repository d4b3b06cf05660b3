//! What shards count.

use std::sync::Arc;

use super::super::{GAUGES, METRICS, sum};
use super::node::Node;
use super::packet::{self, Connect, Publish};

/// A number of the whole node by its name.
#[track_caller]
fn count(node: &Node, name: &str) -> u64 {
    let metrics = METRICS.iter().chain(GAUGES);
    let mut found = metrics.filter(|metric| metric.0 == name);
    let (_, metric) = found.next().expect("a metric of this name");
    let stats: Vec<_> = node.shards.iter().map(|s| Arc::clone(&s.stats)).collect();
    sum(*metric, &stats)
}

#[test]
fn names_are_given_once() {
    let mut names: Vec<_> = METRICS
        .iter()
        .chain(GAUGES)
        .map(|metric| metric.0)
        .collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn messages_are_counted_by_qos_and_acknowledgements_by_kind() {
    let mut node = Node::new(3);
    let subscriber = node.client_on(1, "subscriber");
    let publisher = node.client_on(2, "publisher");
    node.subscribe(subscriber, "a", 2);
    for qos in 0..=2 {
        for id in 0..=u16::from(qos) {
            let id = 10 * u16::from(qos) + id + 1;
            node.publish(publisher, &Publish::new("a", "x").qos(qos, id));
            node.settle();
            let mut packets = node.take(publisher);
            if qos == 2 {
                packets.clear();
                node.send(publisher, &packet::pubrel(id));
                node.settle();
            }
        }
    }
    for message in node.take_messages(subscriber) {
        node.acknowledge(subscriber, &message);
        node.settle();
    }
    for (qos, messages) in [(0, 1), (1, 2), (2, 3)] {
        for way in ["received", "sent"] {
            assert_eq!(count(&node, &format!("messages/qos{qos}/{way}")), messages);
        }
    }
    for (name, packets) in [
        ("packets/connect/received", 2),
        ("packets/connack/sent", 2),
        ("packets/subscribe/received", 1),
        ("packets/suback/sent", 1),
        ("packets/publish/received", 6),
        ("packets/puback/sent", 2),
        ("packets/puback/received", 2),
        ("packets/pubrec/sent", 3),
        ("packets/pubrec/received", 3),
        ("packets/pubrel/sent", 3),
        ("packets/pubrel/received", 3),
        ("packets/pubcomp/sent", 3),
        ("packets/pubcomp/received", 3),
        ("messages/acked", 5),
        ("messages/dropped", 0),
        ("subscriptions", 1),
        ("topics", 1),
    ] {
        assert_eq!(count(&node, name), packets, "{name}");
    }
}

#[test]
fn a_message_that_nobody_wants_is_counted_as_dropped() {
    let mut node = Node::new(2);
    let publisher = node.client_on(0, "publisher");
    node.publish(publisher, &Publish::new("a", "x"));
    node.publish(publisher, &Publish::new("$SYS/a", "x"));
    node.settle();
    assert_eq!(count(&node, "messages/dropped/no_subscribers"), 1);
    assert_eq!(count(&node, "packets/publish/error"), 1);
    assert_eq!(count(&node, "messages/dropped"), 2);
}

#[test]
fn the_life_of_a_session_is_counted() {
    let mut node = Node::new(2);
    let kept = Connect::new("kept").resume().expiry(10);
    node.connect(&kept);
    node.connect(&kept);
    let last = node.connect(&Connect::new("kept"));
    assert_eq!(
        (count(&node, "session/created"), count(&node, "sessions")),
        (2, 1)
    );
    node.cut(last);
    node.settle();
    for (name, expected) in [
        ("session/resumed", 1),
        ("session/takenover", 2),
        ("session/discarded", 1),
        ("session/terminated", 1),
        ("client/connected", 3),
        ("client/disconnected", 3),
        ("sessions", 0),
        ("connections", 0),
    ] {
        assert_eq!(count(&node, name), expected, "{name}");
    }
}
