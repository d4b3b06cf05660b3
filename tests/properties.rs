//! What goes with a message unaltered in MQTT 5, and how long a message lives.
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

use std::thread::sleep;
use std::time::Duration;

use common::packet::{self, PUBACK, PUBREC};
use common::received::Value;
use common::{Broker, Client, Publish, Setup, Version, property, scenarios};

scenarios! {
    mqtt5: [
        properties_of_a_message_arrive_unaltered,
        user_properties_keep_their_order,
        properties_wait_with_a_queued_message,
        properties_are_not_sent_to_mqtt3,
        a_message_from_mqtt3_has_no_properties,
        a_message_that_expired_in_the_queue_is_not_sent,
        a_message_that_waited_has_less_time_left,
        a_live_message_keeps_its_expiry,
        the_longest_message_expiry_is_forwarded,
        a_payload_said_to_be_text_is_forwarded_as_it_is,
        no_reason_is_explained_to_whoever_does_not_want_it,
    ],
}

fn properties_of_a_message_arrive_unaltered(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for qos in 0..=2 {
        publisher.publish_message(with_everything(), qos);
        expect_everything(subscriber.expect_message("a", "hello", qos).properties.0);
    }
}

/// [MQTT-3.3.2-17], [MQTT-3.3.2-18]
fn user_properties_keep_their_order(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    let pairs = [
        ("b", "2"),
        ("a", "1"),
        ("b", "1"),
        ("", ""),
        ("b", "2"),
        ("\u{e4}", "\u{1f980}"),
    ];
    let message = pairs
        .iter()
        .fold(Publish::new("a", "hello"), |message, (name, value)| {
            message.property(property::user(name, value))
        });
    publisher.publish_message(message, 1);
    assert_eq!(subscriber.expect_publish().properties.user(), pairs);
}

fn properties_wait_with_a_queued_message(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    subscriber.disconnect();
    broker
        .client("publisher")
        .publish_message(with_everything(), 1);
    let (mut subscriber, _) = connect.open();
    expect_everything(subscriber.expect_message("a", "hello", 1).properties.0);
}

fn properties_are_not_sent_to_mqtt3(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for version in [Version::V31, Version::V311] {
        let (mut subscriber, _) = broker.connect_as(version, "subscriber").open();
        subscriber.subscribe("a", 2);
        for qos in 0..=2 {
            publisher.publish_message(with_everything(), qos);
            subscriber.expect_message("a", "hello", qos);
        }
    }
}

fn a_message_from_mqtt3_has_no_properties(setup: Setup) {
    let (broker, mut subscriber, _) = subscribed(setup);
    for version in [Version::V31, Version::V311] {
        let (mut publisher, _) = broker.connect_as(version, "old publisher").open();
        for qos in 0..=2 {
            publisher.publish("a", "hello", qos);
            assert!(
                subscriber
                    .expect_message("a", "hello", qos)
                    .properties
                    .0
                    .is_empty()
            );
        }
    }
}

fn a_message_that_expired_in_the_queue_is_not_sent(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    subscriber.disconnect();
    let mut publisher = broker.client("publisher");
    publisher.publish_message(expiring("short", 1), 1);
    publisher.publish_message(expiring("long", 1000), 1);
    publisher.publish_message(expiring("short", 1), 2);
    publisher.publish("a", "for ever", 2);
    sleep(Duration::from_millis(2500));
    let (mut subscriber, _) = connect.open();
    subscriber.expect_message("a", "long", 1);
    subscriber.expect_message("a", "for ever", 2);
    subscriber.expect_silence_until_pong();
}

/// [MQTT-3.3.2-6]
fn a_message_that_waited_has_less_time_left(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 1);
    subscriber.disconnect();
    broker
        .client("publisher")
        .publish_message(expiring("hello", 1000), 1);
    sleep(Duration::from_millis(2100));
    let (mut subscriber, _) = connect.open();
    let left = subscriber
        .expect_publish()
        .properties
        .number(property::MESSAGE_EXPIRY);
    let left = left.expect("a message expiry");
    assert!(
        (900..=998).contains(&left),
        "{left} seconds are left of 1,000 after 2"
    );
}

fn a_live_message_keeps_its_expiry(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish_message(expiring("hello", 1000), 1);
    let left = subscriber
        .expect_publish()
        .properties
        .number(property::MESSAGE_EXPIRY);
    assert!(
        (990..=1000).contains(&left.expect("a message expiry")),
        "{left:?} of 1,000"
    );
}

fn the_longest_message_expiry_is_forwarded(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish_message(expiring("hello", u32::MAX), 1);
    let left = subscriber
        .expect_publish()
        .properties
        .number(property::MESSAGE_EXPIRY);
    assert!(left.expect("a message expiry") >= u32::MAX - 10);
}

fn a_payload_said_to_be_text_is_forwarded_as_it_is(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    let message =
        Publish::new("a", [0xff, 0xfe]).property(property::byte(property::PAYLOAD_FORMAT, 1));
    publisher.publish_message(message, 1);
    let message = subscriber.expect_publish();
    assert_eq!(message.payload, [0xff, 0xfe]);
    assert_eq!(message.properties.number(property::PAYLOAD_FORMAT), Some(1));
}

/// [MQTT-3.1.2-29]: Reason String and User Property only in PUBLISH, CONNACK and
/// DISCONNECT.
fn no_reason_is_explained_to_whoever_does_not_want_it(setup: Setup) {
    let broker = setup.broker();
    let no_problem_information = property::byte(property::REQUEST_PROBLEM_INFORMATION, 0);
    let (mut client, _) = broker
        .connect("client")
        .property(no_problem_information)
        .open();
    client.send_publish(&Publish::new("nobody", "hello").qos(1, 5));
    client.expect(&packet::acknowledge_with(PUBACK, 5, 0x10));
    client.send_publish(&Publish::new("nobody", "hello").qos(2, 5));
    client.expect(&packet::acknowledge_with(PUBREC, 5, 0x10));
    client.send(&packet::unsubscribe(setup.version, 6, &["a"]));
    client.expect(&[0xb0, 4, 0, 6, 0, 0x11]);
}

/// A broker, a client subscribed to `a` with QoS 2, and another client.
fn subscribed(setup: Setup) -> (Broker, Client, Client) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 2);
    let publisher = broker.client("publisher");
    (broker, subscriber, publisher)
}

fn expiring(payload: &str, seconds: u32) -> Publish {
    Publish::new("a", payload).property(property::four_bytes(property::MESSAGE_EXPIRY, seconds))
}

/// A message with every property that a client may give it but topic alias and expiry.
fn with_everything() -> Publish {
    Publish::new("a", "hello")
        .property(property::user("first", "1"))
        .property(property::binary(property::CORRELATION_DATA, &[0, 1, 255]))
        .property(property::text(property::RESPONSE_TOPIC, "answer/here"))
        .property(property::byte(property::PAYLOAD_FORMAT, 1))
        .property(property::user("second", "2"))
        .property(property::text(property::CONTENT_TYPE, "text/plain"))
}

/// The properties of [`with_everything`], in any order but that of the user properties.
fn expect_everything(mut found: Vec<(u8, Value)>) {
    found.sort_by_key(|(identifier, _)| *identifier);
    let pair = |name: &str, value: &str| Value::Pair(name.to_owned(), value.to_owned());
    let expected = [
        (property::PAYLOAD_FORMAT, Value::Number(1)),
        (property::CONTENT_TYPE, Value::Bytes(b"text/plain".to_vec())),
        (
            property::RESPONSE_TOPIC,
            Value::Bytes(b"answer/here".to_vec()),
        ),
        (property::CORRELATION_DATA, Value::Bytes(vec![0, 1, 255])),
        (property::USER_PROPERTY, pair("first", "1")),
        (property::USER_PROPERTY, pair("second", "2")),
    ];
    assert_eq!(found, expected);
}
