//! Queues of sessions whose client is away or does not acknowledge: what they do when they
//! are full, priorities, QoS 0.
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

use common::{Broker, Client, Setup, scenarios};

scenarios! {
    mqtt311_and_5: [
        drop_oldest_keeps_the_newest_messages,
        drop_newest_keeps_the_oldest_messages,
        disconnect_ends_a_client_that_does_not_acknowledge_and_keeps_its_backlog,
        disconnect_refuses_what_is_too_much_for_a_client_that_is_away,
        messages_of_a_higher_priority_come_first,
        qos_0_messages_wait_for_a_client_that_is_away,
        qos_0_messages_do_not_wait_if_so_configured,
        qos_0_messages_leave_a_full_queue_first,
    ],
}

const SMALL: [(&str, &str); 2] = [("mqtt.max_mqueue_len", "3"), ("mqtt.max_inflight", "1")];

fn small(setup: Setup, policy: &str) -> Broker {
    let mut settings = SMALL.to_vec();
    settings.push(("mqtt.mqueue_full", policy));
    setup.broker_with(&settings)
}

/// A session with a subscription, whose client is away.
fn leave(broker: &Broker, filter: &str) {
    let (mut subscriber, _) = broker.connect("subscriber").persistent().open();
    subscriber.subscribe(filter, 1);
    subscriber.disconnect();
}

/// The client of the session, back.
fn come_back(broker: &Broker) -> Client {
    let (subscriber, answer) = broker.connect("subscriber").persistent().open();
    answer.expect_session();
    subscriber
}

fn publish(broker: &Broker, numbers: core::ops::RangeInclusive<u32>) {
    let mut publisher = broker.client("publisher");
    for number in numbers {
        publisher.publish("a", number.to_string(), 1);
    }
    publisher.disconnect();
}

fn expect(subscriber: &mut Client, texts: &[&str]) {
    for text in texts {
        subscriber.expect_message("a", text, 1);
    }
    subscriber.expect_silence_until_pong();
}

fn drop_oldest_keeps_the_newest_messages(setup: Setup) {
    let broker = small(setup, "drop_oldest");
    leave(&broker, "a");
    publish(&broker, 1..=5);
    expect(&mut come_back(&broker), &["3", "4", "5"]);
}

fn drop_newest_keeps_the_oldest_messages(setup: Setup) {
    let broker = small(setup, "drop_newest");
    leave(&broker, "a");
    publish(&broker, 1..=5);
    expect(&mut come_back(&broker), &["1", "2", "3"]);
}

/// 0x97, Quota exceeded; a 3.1.1 client sees its connection closed.
fn disconnect_ends_a_client_that_does_not_acknowledge_and_keeps_its_backlog(setup: Setup) {
    let broker = small(setup, "disconnect");
    let (mut subscriber, _) = broker.connect("subscriber").persistent().open();
    subscriber.subscribe("a", 1);
    publish(&broker, 1..=5);
    assert_eq!(subscriber.expect_publish().text(), "1");
    subscriber.expect_refusal(0x97);
    let mut subscriber = come_back(&broker);
    let again = subscriber.expect_message("a", "1", 1);
    assert!(again.dup, "it was sent before");
    expect(&mut subscriber, &["2", "3", "4"]);
}

fn disconnect_refuses_what_is_too_much_for_a_client_that_is_away(setup: Setup) {
    let broker = small(setup, "disconnect");
    leave(&broker, "a");
    publish(&broker, 1..=5);
    expect(&mut come_back(&broker), &["1", "2", "3"]);
}

fn messages_of_a_higher_priority_come_first(setup: Setup) {
    let priorities = "[{ topic = 'p/high', priority = 200 }, { topic = 'p/mid', priority = 5 }]";
    for (default, expected) in [
        ("lowest", ["high", "mid 1", "mid 2", "other"]),
        ("highest", ["other", "high", "mid 1", "mid 2"]),
    ] {
        let broker = setup.broker_with(&[
            ("mqtt.mqueue_priorities", priorities),
            ("mqtt.mqueue_default_priority", default),
        ]);
        leave(&broker, "p/#");
        let mut publisher = broker.client("publisher");
        for (topic, text) in [
            ("p/mid", "mid 1"),
            ("p/other", "other"),
            ("p/mid", "mid 2"),
            ("p/high", "high"),
        ] {
            publisher.publish(topic, text, 1);
        }
        let mut subscriber = come_back(&broker);
        for text in expected {
            let message = subscriber.expect_publish();
            assert_eq!(message.text(), text, "{default}");
            subscriber.complete(&message);
        }
        subscriber.expect_silence_until_pong();
    }
}

/// What is published with QoS 0 and then with QoS 1 to a client that is away.
fn publish_both(broker: &Broker) {
    leave(broker, "a");
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "zero", 0);
    publisher.publish("a", "one", 1);
}

fn qos_0_messages_wait_for_a_client_that_is_away(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.mqueue_store_qos0", "true")]);
    publish_both(&broker);
    let mut subscriber = come_back(&broker);
    subscriber.expect_message("a", "zero", 0);
    expect(&mut subscriber, &["one"]);
}

fn qos_0_messages_do_not_wait_if_so_configured(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.mqueue_store_qos0", "false")]);
    publish_both(&broker);
    expect(&mut come_back(&broker), &["one"]);
}

/// Before a QoS 1 message has to.
fn qos_0_messages_leave_a_full_queue_first(setup: Setup) {
    let mut settings = SMALL.to_vec();
    settings.push(("mqtt.mqueue_full", "drop_oldest"));
    settings.push(("mqtt.mqueue_store_qos0", "true"));
    let broker = setup.broker_with(&settings);
    leave(&broker, "a");
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "1", 1);
    publisher.publish("a", "zero", 0);
    for text in ["2", "3"] {
        publisher.publish("a", text, 1);
    }
    expect(&mut come_back(&broker), &["1", "2", "3"]);
}
