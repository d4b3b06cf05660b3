//! Queues of sessions whose client is away or does not acknowledge.

use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish, Will};
use super::received::Received;
use crate::settings::{Mqtt, QueueFull};

/// A node on two shards with few places in the queues and the window.
fn node(mqtt: Mqtt) -> Node {
    Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            max_inflight: 1,
            max_mqueue_len: 3,
            ..mqtt
        },
        ..Setup::default()
    })
}

fn kept(name: &str) -> Connect {
    Connect::new(name).resume().expiry(1000)
}

/// Publishes payloads 1, 2, … to `a` with QoS 1.
fn publish(node: &mut Node, publisher: Client, numbers: impl IntoIterator<Item = u16>) {
    for number in numbers {
        let publish = Publish::new("a", number.to_string()).qos(1, number);
        node.publish(publisher, &publish);
        node.settle();
        let acknowledged = Received::PubAck {
            id: number,
            reason: 0,
        };
        assert_eq!(node.take_first(publisher), acknowledged);
    }
}

/// The payloads of everything that comes for a client that acknowledges.
fn drain(node: &mut Node, client: Client) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        node.settle();
        let messages = node.take_messages(client);
        if messages.is_empty() {
            return texts;
        }
        for message in messages {
            texts.push(message.text().to_owned());
            node.acknowledge(client, &message);
        }
    }
}

#[test]
fn a_queue_that_is_full_while_the_client_is_away_keeps_what_its_policy_says() {
    for (policy, expected) in [
        (QueueFull::DropOldest, ["3", "4", "5"]),
        (QueueFull::DropNewest, ["1", "2", "3"]),
        (QueueFull::Disconnect, ["1", "2", "3"]),
    ] {
        let mut node = node(Mqtt {
            mqueue_full: policy,
            ..Mqtt::default()
        });
        let away = node.connect(&kept("away"));
        node.subscribe(away, "a", 1);
        node.cut(away);
        let publisher = node.client_on(0, "publisher");
        publish(&mut node, publisher, 1..=5);
        let back = node.connect(&kept("away"));
        assert_eq!(drain(&mut node, back), expected, "{policy:?}");
    }
}

#[test]
fn a_client_that_does_not_acknowledge_is_told_and_finds_its_backlog_again() {
    let mut node = node(Mqtt::default());
    let slow = node.connect(&kept("slow"));
    node.subscribe(slow, "a", 1);
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 1..=4);
    assert_eq!(node.take_texts(slow), ["1"], "the others wait");
    publish(&mut node, publisher, 5..=6);
    let disconnected = Received::Disconnect { reason: 0x97 };
    assert_eq!(node.take_first(slow), disconnected);
    assert!(node.is_closed(slow));
    let back = node.connect(&kept("slow"));
    assert_eq!(drain(&mut node, back), ["1", "2", "3", "4"]);
}

#[test]
fn one_message_too_many_for_many_clients_with_wills_ends_all_of_them_once() {
    let mut node = node(Mqtt::default());
    let publisher = node.client_on(0, "publisher");
    let watcher = node.client_on(1, "watcher");
    node.subscribe(watcher, "gone", 0);
    let slow: Vec<Client> = (0..50)
        .map(|number| {
            // The will of each is too much for the others.
            let name = format!("slow-{number}");
            let slow = node.connect(&Connect::new(&name).will(Will::new("gone", &name)));
            node.subscribe(slow, "a", 1);
            node.subscribe(slow, "gone", 1);
            slow
        })
        .collect();
    publish(&mut node, publisher, 1..=5);
    assert!(slow.iter().all(|client| node.is_closed(*client)));
    let mut wills = node.take_texts(watcher);
    wills.sort();
    wills.dedup();
    assert_eq!(wills.len(), 50);
}
