//! What a client may send and wants to be sent: Receive Maximum, Maximum Packet
//! Size, topic aliases.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::{Broker, Client, Publish, Setup, Version, property, scenarios};

scenarios! {
    every_version: [
        the_configured_number_of_messages_is_in_flight,
        a_packet_of_the_maximum_size_is_taken,
        a_larger_packet_is_refused_as_soon_as_its_length_is_known,
        a_session_queues_as_many_messages_as_configured,
    ],
    mqtt5: [
        qos1_messages_wait_for_the_receive_maximum,
        qos2_messages_wait_for_the_receive_maximum,
        a_refused_message_gives_its_place_free,
        other_packets_flow_while_messages_wait,
        the_receive_maximum_is_that_of_the_connection,
        the_receive_maximum_of_the_broker_is_enforced,
        a_message_above_the_maximum_packet_size_is_not_sent,
        a_dropped_message_takes_no_place,
        a_topic_alias_stands_for_its_topic,
        a_topic_alias_can_be_set_anew,
        a_topic_alias_belongs_to_one_connection,
        topic_aliases_out_of_range_are_refused,
        a_topic_alias_that_was_not_set_is_refused,
        topic_aliases_are_not_sent_uninvited,
        topics_that_repeat_come_as_aliases_to_whoever_takes_them,
        the_first_message_sets_the_alias_that_the_second_uses,
    ],
}

fn the_configured_number_of_messages_is_in_flight(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_inflight", "3")]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    let mut publisher = broker.client("publisher");
    for number in 0..5 {
        publisher.publish("a", number.to_string(), 1);
    }
    let ids: Vec<_> = (0..3).map(|_| subscriber.expect_publish().id).collect();
    subscriber.expect_silence_until_pong();
    for (id, number) in ids.into_iter().zip(3..5) {
        subscriber.send(&packet::acknowledge(PUBACK, id));
        assert_eq!(subscriber.expect_publish().text(), number.to_string());
        subscriber.expect_silence_until_pong();
    }
}

fn a_packet_of_the_maximum_size_is_taken(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_packet_size", "1000")]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let mut publisher = broker.client("publisher");
    let message = of_size(setup.version, 1000);
    publisher.send_publish(&message);
    subscriber.expect_publish();
    publisher.send(&of_size(setup.version, 1001).encode(setup.version));
    publisher.expect_refusal(0x95);
    subscriber.expect_nothing_from(&mut broker.client("another publisher"));
}

fn a_larger_packet_is_refused_as_soon_as_its_length_is_known(setup: Setup) {
    let broker = setup.broker();
    for length in [&[0xff, 0xff, 0xff, 0x7f][..], &[0x80, 0x80, 0x80, 0x01]] {
        let mut client = broker.client("client");
        client.send(&[&[0x30], length].concat());
        client.expect_refusal(0x95);
    }
    let mut client = broker.open();
    client.send(&[0x10, 0xff, 0xff, 0xff, 0x7f]);
    client.rest();
}

fn a_session_queues_as_many_messages_as_configured(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_mqueue_len", "10"), ("mqtt.max_inflight", "5")]);
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 1);
    subscriber.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..40 {
        publisher.publish("a", number.to_string(), 1);
    }
    let (mut subscriber, _) = connect.open();
    for number in 0..10 {
        subscriber.expect_message("a", &number.to_string(), 1);
    }
    // Messages that may count as in flight already may come on top; no more than that.
    publisher.publish("a", "live", 1);
    let further = (0..6).position(|_| {
        let message = subscriber.expect_publish();
        subscriber.complete(&message);
        message.text() == "live"
    });
    assert!(further.is_some(), "more messages than the queue holds");
}

fn qos1_messages_wait_for_the_receive_maximum(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed_with_receive_maximum(setup, 2);
    for number in 0..4 {
        publisher.publish("a", number.to_string(), 1);
    }
    let first = subscriber.expect_publish().id;
    let second = subscriber.expect_publish().id;
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBACK, second));
    assert_eq!(subscriber.expect_publish().text(), "2");
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBACK, first));
    assert_eq!(subscriber.expect_publish().text(), "3");
}

fn qos2_messages_wait_for_the_receive_maximum(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed_with_receive_maximum(setup, 1);
    publisher.publish("a", "first", 2);
    publisher.publish("a", "second", 2);
    let id = subscriber.expect_publish().id;
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBCOMP, id));
    subscriber.expect_message("a", "second", 2);
}

fn a_refused_message_gives_its_place_free(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed_with_receive_maximum(setup, 1);
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        publisher.publish("a", "refused", qos);
        publisher.publish("a", "next", 1);
        let id = subscriber.expect_publish().id;
        subscriber.send(&packet::acknowledge_with(first, id, 0x80));
        subscriber.expect_message("a", "next", 1);
    }
}

/// [MQTT-3.3.4-10], [MQTT-4.9.0-3]
fn other_packets_flow_while_messages_wait(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed_with_receive_maximum(setup, 1);
    publisher.publish("a", "first", 1);
    publisher.publish("a", "second", 1);
    let id = subscriber.expect_publish().id;
    subscriber.subscribe("b", 1);
    subscriber.publish("c", "hello", 1);
    subscriber.publish("c", "hello", 2);
    subscriber.unsubscribe("b");
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBACK, id));
    subscriber.expect_message("a", "second", 1);
}

fn the_receive_maximum_is_that_of_the_connection(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 1);
    let mut publisher = broker.client("publisher");
    for number in 0..4 {
        publisher.publish("a", number.to_string(), 1);
    }
    let ids: Vec<_> = (0..4).map(|_| subscriber.expect_publish().id).collect();
    subscriber.abandon();

    let one = property::two_bytes(property::RECEIVE_MAXIMUM, 1);
    let (mut subscriber, _) = connect.property(one).open();
    for (number, id) in ids.into_iter().enumerate() {
        let message = subscriber.expect_publish();
        assert_eq!((message.text(), message.id), (&number.to_string()[..], id));
        assert!(message.dup);
        subscriber.expect_silence_until_pong();
        subscriber.complete(&message);
    }
}

fn the_receive_maximum_of_the_broker_is_enforced(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.receive_maximum", "2")]);
    let mut client = broker.client("client");
    for round in 0..3 {
        for id in 1..=2 {
            client.send_publish(&Publish::new("a", "hello").qos(2, id));
            client.expect_success(PUBREC, id);
        }
        // A repetition takes no further place.
        client.send_publish(&Publish::new("a", "hello").qos(2, 2).dup());
        client.expect_success(PUBREC, 2);
        if round == 2 {
            break;
        }
        for id in 1..=2 {
            client.send(&packet::acknowledge(PUBREL, id));
            client.expect(&packet::acknowledge(PUBCOMP, id));
        }
    }
    client.send_publish(&Publish::new("a", "one too many").qos(2, 3));
    client.expect_refusal(0x93);
}

/// [MQTT-3.1.2-24], [MQTT-3.1.2-25]
fn a_message_above_the_maximum_packet_size_is_not_sent(setup: Setup) {
    let broker = setup.broker();
    let maximum = property::four_bytes(property::MAXIMUM_PACKET_SIZE, 100);
    let (mut subscriber, _) = broker.connect("subscriber").property(maximum).open();
    subscriber.subscribe("a", 0);
    let mut publisher = broker.client("publisher");
    publisher.send_publish(&of_size(setup.version, 101));
    publisher.send_publish(&of_size(setup.version, 100));
    let message = subscriber.expect_publish();
    assert_eq!(of_size(setup.version, 100).encode(setup.version).len(), 100);
    assert_eq!(message.payload.len(), 100 - 6, "the message of 100 bytes");
    subscriber.expect_nothing_from(&mut publisher);
}

fn a_dropped_message_takes_no_place(setup: Setup) {
    let broker = setup.broker();
    let (mut subscriber, _) = broker
        .connect("subscriber")
        .persistent()
        .property(property::four_bytes(property::MAXIMUM_PACKET_SIZE, 100))
        .property(property::two_bytes(property::RECEIVE_MAXIMUM, 1))
        .open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for qos in [1, 2] {
        publisher.publish("a", [b'x'; 200], qos);
        publisher.publish("a", "small", qos);
        subscriber.expect_message("a", "small", qos);
    }
    subscriber.abandon();
    broker
        .connect("subscriber")
        .persistent()
        .open()
        .0
        .expect_silence_until_pong();
}

fn a_topic_alias_stands_for_its_topic(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.send_publish(&aliased("a/b", 1, "sets"));
    publisher.send_publish(&aliased("a/c", 10, "sets another"));
    publisher.send_publish(&aliased("", 1, "uses"));
    publisher.send_publish(&aliased("", 10, "uses another"));
    publisher.publish_message(aliased("", 1, "uses at QoS 1"), 1);
    publisher.publish_message(aliased("", 1, "uses at QoS 2"), 2);
    subscriber.expect_message("a/b", "sets", 0);
    subscriber.expect_message("a/c", "sets another", 0);
    subscriber.expect_message("a/b", "uses", 0);
    subscriber.expect_message("a/c", "uses another", 0);
    subscriber.expect_message("a/b", "uses at QoS 1", 1);
    let last = subscriber.expect_message("a/b", "uses at QoS 2", 2);
    assert!(!last.properties.has(property::TOPIC_ALIAS));
}

fn a_topic_alias_can_be_set_anew(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.send_publish(&aliased("a/b", 1, "sets"));
    publisher.send_publish(&aliased("a/c", 1, "sets anew"));
    publisher.send_publish(&aliased("", 1, "uses"));
    subscriber.expect_message("a/b", "sets", 0);
    subscriber.expect_message("a/c", "sets anew", 0);
    subscriber.expect_message("a/c", "uses", 0);
}

/// [MQTT-3.3.2-7]
fn a_topic_alias_belongs_to_one_connection(setup: Setup) {
    let (broker, mut subscriber, mut other) = subscribed(setup);
    let (mut publisher, _) = broker.connect("session").persistent().open();
    publisher.send_publish(&aliased("a/b", 1, "first"));
    other.send_publish(&aliased("a/c", 1, "of another connection"));
    publisher.send_publish(&aliased("", 1, "second"));
    let mut got: Vec<_> = (0..3).map(|_| subscriber.expect_publish()).collect();
    got.retain(|message| message.topic == "a/b");
    assert_eq!(got.len(), 2);
    publisher.disconnect();

    let (mut publisher, answer) = broker.connect("session").persistent().open();
    answer.expect_session();
    publisher.send_publish(&aliased("", 1, "unknown"));
    publisher.expect_refusal(0x82);
    subscriber.expect_nothing_from(&mut other);
}

/// [MQTT-3.3.2-8], [MQTT-3.3.2-9]
fn topic_aliases_out_of_range_are_refused(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.topic_alias_maximum", "3")]);
    broker
        .client("client")
        .publish_message(aliased("a", 3, "in range"), 1);
    for alias in [0, 4, u16::MAX] {
        let mut client = broker.client("client");
        client.send_publish(&aliased("a", alias, "out of range"));
        client.expect_refusal(0x94);
    }
}

fn a_topic_alias_that_was_not_set_is_refused(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send_publish(&aliased("a", 1, "sets 1"));
    client.send_publish(&aliased("", 2, "2 is not set"));
    client.expect_refusal(0x82);
}

fn topic_aliases_are_not_sent_uninvited(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for _ in 0..50 {
        publisher.publish("a/long/topic", "hello", 0);
        let message = subscriber.expect_message("a/long/topic", "hello", 0);
        assert!(!message.properties.has(property::TOPIC_ALIAS));
    }
}

/// [MQTT-3.1.2-26]: no alias is above the client's maximum.
fn topics_that_repeat_come_as_aliases_to_whoever_takes_them(setup: Setup) {
    let broker = setup.broker();
    let maximum = property::two_bytes(property::TOPIC_ALIAS_MAXIMUM, 2);
    let (mut subscriber, _) = broker.connect("subscriber").property(maximum).open();
    subscriber.subscribe("a/#", 1);
    let mut publisher = broker.client("publisher");
    let mut known = std::collections::BTreeMap::new();
    let mut bare = 0;
    for round in 0..30 {
        for number in 0..3 {
            let topic = format!("a/{}", number + round / 10);
            publisher.publish(&topic, &topic, number % 2);
            let message = subscriber.expect_publish();
            let alias = message.properties.number(property::TOPIC_ALIAS);
            if !message.topic.is_empty() {
                assert_eq!(message.topic, topic);
                known.extend(alias.map(|alias| (alias, topic.clone())));
            } else {
                bare += 1;
                let alias = alias.expect("an alias instead of the topic");
                assert_eq!(known.get(&alias), Some(&topic));
            }
            if number % 2 == 1 {
                subscriber.send(&packet::acknowledge(PUBACK, message.id));
            }
            assert!(alias.is_none_or(|alias| (1..=2).contains(&alias)));
        }
    }
    assert!(bare > 10, "{bare}");
}

/// What suites of others expect of a broker that uses aliases at all.
fn the_first_message_sets_the_alias_that_the_second_uses(setup: Setup) {
    let broker = setup.broker();
    let one = property::two_bytes(property::TOPIC_ALIAS_MAXIMUM, 1);
    let (mut client, _) = broker.connect("client").property(one).open();
    client.subscribe("topic/a", 2);
    let mut publisher = broker.client("publisher");
    for (qos, topic) in [(0, "topic/a"), (1, ""), (2, "")] {
        publisher.publish("topic/a", "hello", qos);
        let message = client.expect_message(topic, "hello", qos);
        assert_eq!(message.properties.number(property::TOPIC_ALIAS), Some(1));
    }
}

/// A broker, a client subscribed to `a/#` with QoS 2, and another client.
fn subscribed(setup: Setup) -> (Broker, Client, Client) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a/#", 2);
    let publisher = broker.client("publisher");
    (broker, subscriber, publisher)
}

/// The same with a Receive Maximum of the subscriber.
fn subscribed_with_receive_maximum(setup: Setup, maximum: u16) -> (Broker, Client, Client) {
    let broker = setup.broker();
    let maximum = property::two_bytes(property::RECEIVE_MAXIMUM, maximum);
    let (mut subscriber, _) = broker.connect("subscriber").property(maximum).open();
    subscriber.subscribe("a", 2);
    let publisher = broker.client("publisher");
    (broker, subscriber, publisher)
}

fn aliased(topic: &str, alias: u16, payload: &str) -> Publish {
    Publish::new(topic, payload).property(property::two_bytes(property::TOPIC_ALIAS, alias))
}

/// A message to `a` with QoS 0 whose packet has so many bytes.
fn of_size(version: Version, size: usize) -> Publish {
    let empty = |length| Publish::new("a", vec![b'x'; length]);
    let overhead = empty(size - 10).encode(version).len() - (size - 10);
    empty(size - overhead)
}
