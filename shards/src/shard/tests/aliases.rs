//! Topic aliases from the broker to clients. The socket of a client resolves them, so a test
//! that gets the wrong topic has found one that was not set.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish};
use super::received::Delivery;
use crate::settings::Mqtt;

/// A node with a subscriber to everything that takes so many aliases.
fn subscribed(node: &mut Node, aliases: u16, qos: u8) -> Client {
    let name = node.name_at(0, "subscriber");
    let connect = Connect::new(&name).topic_alias_maximum(aliases);
    let subscriber = node.connect(&connect);
    node.subscribe(subscriber, "#", qos);
    subscriber
}

fn publish(node: &mut Node, topics: &[&str], qos: u8) {
    let publisher = node.client_on(1, "publisher");
    for (number, topic) in topics.iter().enumerate() {
        let message = Publish::new(topic, topic).qos(qos, 1 + number as u16);
        node.publish(publisher, &message);
    }
    node.settle();
    node.cut(publisher);
    node.settle();
}

/// The aliases that messages came with, negative without the topic; 0 is none.
fn aliases(messages: &[Delivery]) -> Vec<i32> {
    let alias = |message: &Delivery| {
        assert_eq!(message.topic, message.text());
        let alias = message.alias.map_or(0, i32::from);
        if message.is_bare { -alias } else { alias }
    };
    messages.iter().map(alias).collect()
}

#[test]
fn a_topic_that_repeats_is_sent_as_an_alias() {
    for qos in 0..=2 {
        let mut node = Node::new(2);
        let subscriber = subscribed(&mut node, 10, qos);
        publish(&mut node, &["topic/a"; 4], qos);
        let messages = node.take_messages(subscriber);
        assert_eq!(aliases(&messages), [1, -1, -1, -1], "QoS {qos}");
    }
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27]
#[test]
fn no_client_gets_more_aliases_than_it_takes() {
    for (taken, most) in [(0, 0), (1, 1), (3, 3), (100, 4)] {
        let mut node = Node::with(Setup {
            shards: 2,
            mqtt: Mqtt {
                topic_alias_maximum_out: 4,
                ..Mqtt::default()
            },
            ..Setup::default()
        });
        let subscriber = subscribed(&mut node, taken, 0);
        for topic in 0..10 {
            publish(&mut node, &[format!("topic/{topic}").as_str(); 10], 0);
        }
        let messages = node.take_messages(subscriber);
        let aliases = aliases(&messages);
        assert_eq!(aliases.len(), 100);
        assert_eq!(aliases.iter().map(|alias| alias.abs()).max(), Some(most));
    }
}

#[test]
fn receivers_with_and_without_aliases_get_the_same_message() {
    let mut node = Node::new(1);
    let mut subscribers = Vec::new();
    for (number, taken) in [0, 1, 5, 5].into_iter().enumerate() {
        let connect = Connect::new(&format!("client-{number}")).topic_alias_maximum(taken);
        subscribers.push(node.connect(&connect));
    }
    let old = Connect::new("old").version(Version::V311);
    subscribers.push(node.connect(&old));
    // The third has other aliases than the fourth.
    node.subscribe(subscribers[2], "other/#", 1);
    let publisher = node.connect(&Connect::new("publisher"));
    for _ in 0..5 {
        node.publish(publisher, &Publish::new("other/1", "other/1"));
    }
    node.settle();
    node.take(subscribers[2]);
    for (number, subscriber) in subscribers.iter().enumerate() {
        node.subscribe(*subscriber, "topic/#", number as u8 % 3);
    }
    for number in 1..=4 {
        node.publish(
            publisher,
            &Publish::new("topic/1", "topic/1").qos(1, number),
        );
    }
    node.settle();
    node.take(publisher);
    let got = subscribers.iter().map(|subscriber| {
        let messages = node.sockets[*subscriber].take();
        let messages: Vec<Delivery> = messages
            .into_iter()
            .map(|packet| match packet {
                super::received::Received::Publish(delivery) => delivery,
                other => panic!("{other:?}"),
            })
            .collect();
        aliases(&messages)
    });
    let got: Vec<Vec<i32>> = got.collect();
    assert_eq!(got[0], [0, 0, 0, 0]);
    assert_eq!(got[1], [1, -1, -1, -1]);
    assert_eq!(got[2], [2, -2, -2, -2]);
    assert_eq!(got[3], [1, -1, -1, -1]);
    assert_eq!(got[4], [0, 0, 0, 0]);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]: what is larger than the client takes sets no alias.
#[test]
fn a_message_that_is_too_large_sets_no_alias() {
    const TOPIC: &str = "topic/a";
    // PUBLISH with this topic, no properties and its payload, and a property more.
    const PLAIN: u32 = 2 + 2 + 7 + 1 + 7;
    for (size_max, expected) in [
        (PLAIN, vec![0, 0, 0]),
        (PLAIN + 2, vec![0, 0, 0]),
        (PLAIN + 3, vec![1, -1, -1]),
        (PLAIN - 1, vec![]),
    ] {
        let mut node = Node::new(2);
        let name = node.name_at(0, "subscriber");
        let connect = Connect::new(&name)
            .topic_alias_maximum(5)
            .maximum_packet_size(size_max.max(40));
        let subscriber = node.connect(&connect);
        node.subscribe(subscriber, "#", 0);
        let connections = &mut node.shards[0].connections;
        let keys: Vec<u32> = connections.keys().collect();
        for key in keys {
            let connection = connections.get_mut(key).expect("a connection");
            connection.maximum_packet_size = size_max;
        }
        publish(&mut node, &[TOPIC; 3], 0);
        let messages = node.take_messages(subscriber);
        assert_eq!(aliases(&messages), expected, "{size_max} bytes");
    }
}

#[test]
fn a_dropped_message_sets_no_alias() {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            max_output_bytes: 256,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let subscriber = subscribed(&mut node, 20, 0);
    node.set_reading(subscriber, false);
    for round in 0..20 {
        let topics: Vec<String> = (0..10).map(|topic| format!("{round}/{topic}")).collect();
        for topic in &topics {
            publish(&mut node, &[topic.as_str(); 3], 0);
        }
        node.set_reading(subscriber, round % 3 == 2);
        node.settle();
        for message in node.take_messages(subscriber) {
            assert_eq!(message.topic, message.text());
        }
    }
    let dropped: u64 = node.shards.iter().map(|s| s.stats.dropped.get()).sum();
    assert!(dropped > 0);
}

#[test]
fn a_connection_begins_without_aliases() {
    let mut node = Node::new(2);
    for _ in 0..2 {
        let name = node.name_at(0, "subscriber");
        let connect = Connect::new(&name).topic_alias_maximum(5).expiry(100);
        let connect = connect.resume();
        let (subscriber, present) = node.connect_at(1, &connect);
        if !present {
            node.subscribe(subscriber, "#", 0);
        }
        publish(&mut node, &["topic/a"; 3], 0);
        assert_eq!(aliases(&node.take_messages(subscriber)), [1, -1, -1]);
        node.cut(subscriber);
        node.settle();
    }
}

#[test]
fn a_client_that_takes_no_aliases_needs_no_table() {
    let mut node = Node::new(2);
    let subscriber = subscribed(&mut node, 0, 0);
    publish(&mut node, &["topic/a", "topic/b", "topic/c"], 0);
    assert_eq!(node.take_messages(subscriber).len(), 3);
    let connections = &node.shards[0].connections;
    let has_extras = |key| connections.get(key).is_some_and(|c| c.extras.is_some());
    assert_eq!(connections.keys().filter(|key| has_extras(*key)).count(), 0);
}
