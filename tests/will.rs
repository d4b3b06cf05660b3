//! Wills: when they are published, when not, and what they carry.
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

use common::packet;
use common::received::Value;
use common::{Broker, Client, Setup, Version, Will, property, scenarios};

scenarios! {
    every_version: [
        a_will_is_published_when_the_connection_breaks,
        a_will_is_published_with_its_qos,
        a_will_is_not_published_after_disconnect,
        a_will_is_published_after_a_protocol_error,
        a_will_is_published_when_the_client_keeps_silent,
        a_will_is_published_at_a_clean_takeover,
        a_retained_will_is_retained,
        a_will_of_no_bytes_is_a_message,
        a_will_belongs_to_one_connection,
        a_will_of_a_kept_session_is_published_too,
        a_will_reaches_its_own_kept_session,
    ],
    mqtt3: [a_will_is_published_at_a_takeover],
    mqtt5: [
        disconnect_with_will_message_publishes_the_will,
        disconnect_with_an_error_publishes_the_will,
        a_will_without_delay_is_published_at_a_takeover,
        a_delayed_will_waits,
        a_delayed_will_is_not_published_if_the_client_comes_back,
        a_delayed_will_is_not_published_at_a_takeover_of_the_session,
        a_delayed_will_is_published_when_the_session_ends,
        a_delayed_will_is_published_at_a_clean_start,
        a_will_carries_its_properties,
        a_will_to_a_topic_with_a_wildcard_is_refused,
    ],
}

fn a_will_is_published_when_the_connection_breaks(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let client = with_will(&broker, Will::new("will/client", "gone"));
    watcher.expect_silence_until_pong();
    client.abandon();
    let will = watcher.expect_message("will/client", "gone", 0);
    assert!(!will.retain);
}

fn a_will_is_published_with_its_qos(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    for qos in 0..=2 {
        with_will(&broker, Will::new("will/client", "gone").qos(qos)).abandon();
        watcher.expect_message("will/client", "gone", qos);
    }
}

fn a_will_is_not_published_after_disconnect(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    with_will(&broker, Will::new("will/client", "gone")).disconnect();
    watcher.expect_nothing_from(&mut broker.client("client"));
}

fn a_will_is_published_after_a_protocol_error(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let mut client = with_will(&broker, Will::new("will/client", "gone"));
    client.send(&[0x00, 0]);
    client.expect_refusal(0x81);
    watcher.expect_message("will/client", "gone", 0);
}

fn a_will_is_published_when_the_client_keeps_silent(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let connect = broker.connect("client").keep_alive(1);
    let (mut client, _) = connect.will(Will::new("will/client", "gone")).open();
    watcher.expect_message("will/client", "gone", 0);
    client.expect_refusal(0x8d);
}

fn a_will_is_published_at_a_clean_takeover(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let _first = with_will(&broker, Will::new("will/client", "gone"));
    let _second = broker.client("client");
    watcher.expect_message("will/client", "gone", 0);
}

fn a_retained_will_is_retained(setup: Setup) {
    let broker = setup.broker();
    let mut first = watcher(&broker);
    with_will(&broker, Will::new("will/client", "gone").retain()).abandon();
    assert!(!first.expect_message("will/client", "gone", 0).retain);
    let mut late = broker.client("late");
    late.subscribe("will/#", 2);
    assert!(late.expect_message("will/client", "gone", 0).retain);
}

fn a_will_of_no_bytes_is_a_message(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    with_will(&broker, Will::new("will/client", "").qos(1)).abandon();
    watcher.expect_message("will/client", "", 1);
}

fn a_will_belongs_to_one_connection(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let connect = broker.connect("client").persistent();
    connect
        .clone()
        .will(Will::new("will/client", "gone"))
        .open()
        .0
        .disconnect();
    connect.open().0.abandon();
    watcher.expect_nothing_from(&mut broker.client("publisher"));
}

fn a_will_of_a_kept_session_is_published_too(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let connect = broker.connect("client").persistent();
    connect
        .will(Will::new("will/client", "gone").qos(1))
        .open()
        .0
        .abandon();
    watcher.expect_message("will/client", "gone", 1);
}

fn a_will_reaches_its_own_kept_session(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("client").persistent();
    let (mut client, _) = connect
        .clone()
        .will(Will::new("will/client", "gone").qos(1))
        .open();
    client.subscribe("will/#", 1);
    client.abandon();
    let (mut client, _) = connect.open();
    client.expect_message("will/client", "gone", 1);
}

fn a_will_is_published_at_a_takeover(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let connect = broker.connect("client").persistent();
    let (_first, _) = connect
        .clone()
        .will(Will::new("will/client", "gone"))
        .open();
    let (_second, answer) = connect.open();
    answer.expect_session();
    watcher.expect_message("will/client", "gone", 0);
}

fn disconnect_with_will_message_publishes_the_will(setup: Setup) {
    disconnect_with_a_reason_publishes_the_will(setup, 0x04);
}

fn disconnect_with_an_error_publishes_the_will(setup: Setup) {
    disconnect_with_a_reason_publishes_the_will(setup, 0x80);
}

fn disconnect_with_a_reason_publishes_the_will(setup: Setup, reason: u8) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let mut client = with_will(&broker, Will::new("will/client", "gone"));
    client.send(&packet::disconnect(reason, &[]));
    client.expect_closed();
    watcher.expect_message("will/client", "gone", 0);
}

fn a_will_without_delay_is_published_at_a_takeover(setup: Setup) {
    a_will_is_published_at_a_takeover(setup);
}

fn a_delayed_will_waits(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    delayed(&broker, 2).abandon();
    watcher.expect_nothing_from(&mut broker.client("publisher"));
    watcher.expect_message("will/client", "gone", 0);
}

fn a_delayed_will_is_not_published_if_the_client_comes_back(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    delayed(&broker, 1).abandon();
    let (_client, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
    sleep(Duration::from_millis(2500));
    watcher.expect_nothing_from(&mut broker.client("publisher"));
}

/// [MQTT-3.1.3-9]
fn a_delayed_will_is_not_published_at_a_takeover_of_the_session(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let mut first = delayed(&broker, 1);
    let (_second, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
    first.expect_refusal(0x8e);
    sleep(Duration::from_millis(2500));
    watcher.expect_nothing_from(&mut broker.client("publisher"));
}

fn a_delayed_will_is_published_when_the_session_ends(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let will = Will::new("will/client", "gone").delay(3600);
    with_will(&broker, will.clone()).abandon();
    watcher.expect_message("will/client", "gone", 0);

    let expiry = property::four_bytes(property::SESSION_EXPIRY, 1);
    broker
        .connect("client")
        .property(expiry)
        .will(will)
        .open()
        .0
        .abandon();
    watcher.expect_message("will/client", "gone", 0);
}

fn a_delayed_will_is_published_at_a_clean_start(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    delayed(&broker, 3600).abandon();
    let _client = broker.client("client");
    watcher.expect_message("will/client", "gone", 0);
}

fn a_will_carries_its_properties(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let will = Will::new("will/client", "gone")
        .delay(0)
        .property(property::byte(property::PAYLOAD_FORMAT, 1))
        .property(property::four_bytes(property::MESSAGE_EXPIRY, 1000))
        .property(property::text(property::CONTENT_TYPE, "text/plain"))
        .property(property::text(property::RESPONSE_TOPIC, "answer/here"))
        .property(property::binary(property::CORRELATION_DATA, &[0, 255]))
        .property(property::user("one", "1"))
        .property(property::user("two", "2"));
    with_will(&broker, will).abandon();
    let mut found = watcher
        .expect_message("will/client", "gone", 0)
        .properties
        .0;
    found.sort_by_key(|(identifier, _)| *identifier);
    let pair = |name: &str, value: &str| Value::Pair(name.to_owned(), value.to_owned());
    let expected = [
        (property::PAYLOAD_FORMAT, Value::Number(1)),
        (property::MESSAGE_EXPIRY, Value::Number(1000)),
        (property::CONTENT_TYPE, Value::Bytes(b"text/plain".to_vec())),
        (
            property::RESPONSE_TOPIC,
            Value::Bytes(b"answer/here".to_vec()),
        ),
        (property::CORRELATION_DATA, Value::Bytes(vec![0, 255])),
        (property::USER_PROPERTY, pair("one", "1")),
        (property::USER_PROPERTY, pair("two", "2")),
    ];
    assert_eq!(found, expected);
}

fn a_will_to_a_topic_with_a_wildcard_is_refused(setup: Setup) {
    let broker = setup.broker();
    for topic in ["a/+", "#"] {
        let mut client = broker
            .connect("client")
            .will(Will::new(topic, "gone"))
            .send();
        let code = client.expect_connack().code;
        assert!([0x81, 0x82, 0x90].contains(&code), "CONNACK {code:#04x}");
        client.expect_closed();
    }
}

/// A client that sees all wills.
fn watcher(broker: &Broker) -> Client {
    let mut watcher = broker.client("watcher");
    watcher.subscribe("will/#", 2);
    watcher
}

/// A client with a clean session and a will.
fn with_will(broker: &Broker, will: Will) -> Client {
    broker.connect("client").will(will).open().0
}

/// A client with a kept session and a will that waits for some seconds.
fn delayed(broker: &Broker, seconds: u32) -> Client {
    let will = Will::new("will/client", "gone").delay(seconds);
    let (client, _) = broker
        .connect_as(Version::V5, "client")
        .persistent()
        .will(will)
        .open();
    client
}
