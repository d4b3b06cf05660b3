//! Queues of sessions whose client is away or does not acknowledge.

use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish, Will};
use super::received::Received;
use crate::settings::{DefaultPriority, Mqtt, QueueFull, TopicPriority};

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

#[test]
fn messages_of_topics_with_a_higher_priority_are_sent_first() {
    for (default, expected) in [
        (DefaultPriority::Lowest, ["high", "mid 1", "mid 2", "other"]),
        (
            DefaultPriority::Highest,
            ["other", "high", "mid 1", "mid 2"],
        ),
    ] {
        let topic = |topic: &str, priority| TopicPriority {
            topic: topic.to_owned(),
            priority,
        };
        let mut node = Node::with(Setup {
            mqtt: Mqtt {
                mqueue_priorities: vec![topic("p/mid", 5), topic("p/high", 200)],
                mqueue_default_priority: default,
                ..Mqtt::default()
            },
            ..Setup::default()
        });
        let away = node.connect(&kept("away"));
        node.subscribe(away, "p/#", 1);
        node.cut(away);
        let publisher = node.client_on(0, "publisher");
        let messages = [
            ("p/mid", "mid 1"),
            ("p/other", "other"),
            ("p/mid", "mid 2"),
            ("p/high", "high"),
        ];
        for (id, (topic, text)) in (1..).zip(messages) {
            node.publish(publisher, &Publish::new(topic, text).qos(1, id));
            node.settle();
        }
        let back = node.connect(&kept("away"));
        assert_eq!(drain(&mut node, back), expected, "{default:?}");
    }
}

#[test]
fn qos_0_messages_wait_for_a_client_that_is_away_if_configured() {
    for stores in [true, false] {
        let mut node = node(Mqtt {
            mqueue_store_qos0: stores,
            ..Mqtt::default()
        });
        let away = node.connect(&kept("away"));
        node.subscribe(away, "a", 1);
        node.cut(away);
        let publisher = node.client_on(0, "publisher");
        node.publish(publisher, &Publish::new("a", "zero").expiry(10));
        publish(&mut node, publisher, 1..=2);
        node.advance(3000);
        let back = node.connect(&kept("away"));
        let messages = node.take_messages(back);
        let came: Vec<_> = messages
            .iter()
            .map(|message| (message.text(), message.qos, message.expiry_s))
            .collect();
        // The window has room for one message; QoS 0 takes none of it.
        if stores {
            assert_eq!(came, [("zero", 0, Some(7)), ("1", 1, None)]);
        } else {
            assert_eq!(came, [("1", 1, None)]);
        }
    }
}

#[test]
fn queued_qos_0_messages_are_sent_as_fast_as_the_client_reads_and_not_overtaken() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            max_output_bytes: 1024,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let away = node.connect(&kept("away"));
    node.subscribe(away, "a", 0);
    node.cut(away);
    let publisher = node.client_on(0, "publisher");
    for number in 0..200 {
        node.publish(publisher, &Publish::new("a", format!("{number:>100}")));
    }
    node.settle();
    let connect = kept("away");
    let back = node.open(0, connect.version);
    node.set_reading(back, false);
    node.send(back, &connect.encode());
    node.settle();
    for number in 200..220 {
        node.publish(publisher, &Publish::new("a", format!("{number:>100}")));
    }
    node.settle();
    node.set_reading(back, true);
    node.settle();
    let packets = node.take(back).into_iter();
    let numbers = packets.filter_map(|packet| match packet {
        Received::Publish(message) => message.text().trim().parse().ok(),
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<u32>>(), (0..220).collect::<Vec<_>>());
}
