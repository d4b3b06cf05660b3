//! Retained messages: kept, replaced, deleted, and given to new subscriptions.
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

use common::matching::{FILTERS, TOPICS};
use common::{Broker, Client, Publish, Setup, property, scenarios};

scenarios! {
    every_version: [
        a_new_subscription_gets_the_retained_message,
        a_live_message_does_not_say_that_it_is_retained,
        a_later_retained_message_replaces_the_earlier,
        an_ordinary_message_leaves_the_retained_one,
        an_empty_retained_message_deletes,
        an_empty_retained_message_is_delivered_live,
        a_retained_message_outlives_its_publisher,
        retained_messages_come_with_the_lower_qos,
        a_repeated_subscription_gets_the_retained_message_again,
        filters_match_retained_messages_as_specified,
        many_retained_messages_come_through_a_small_window,
        retained_messages_are_found_from_every_shard,
        a_session_taken_up_again_gets_no_retained_messages,
    ],
    mqtt5: [
        retain_handling_0_sends_at_every_subscribe,
        retain_handling_1_sends_only_to_a_new_subscription,
        retain_handling_2_sends_nothing,
        retain_as_published_keeps_the_flag,
        a_retained_message_keeps_its_properties,
        a_retained_message_carries_the_subscription_identifier,
        a_retained_message_expires,
        a_retained_message_has_less_time_left,
        connack_does_not_deny_what_is_offered,
    ],
}

fn a_new_subscription_gets_the_retained_message(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for qos in 0..=2 {
        publisher.publish_message(Publish::new("a/b", "kept").retain(), qos);
        broker.expect_taken_in(&mut publisher);
        for filter in ["a/b", "a/+", "#"] {
            let mut subscriber = broker.client("subscriber");
            subscriber.subscribe(filter, 2);
            assert!(subscriber.expect_message("a/b", "kept", qos).retain);
            subscriber.expect_silence_until_pong();
            subscriber.disconnect();
        }
    }
}

/// [MQTT-3.3.1-9]
fn a_live_message_does_not_say_that_it_is_retained(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for qos in 0..=2 {
        publisher.publish_message(Publish::new("a", "kept").retain(), qos);
        assert!(!subscriber.expect_message("a", "kept", qos).retain);
    }
}

fn a_later_retained_message_replaces_the_earlier(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for text in ["first", "second", "third"] {
        retain(&mut publisher, "a", text);
        expect_retained(&broker, "a", &[("a", text)]);
    }
}

fn an_ordinary_message_leaves_the_retained_one(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    retain(&mut publisher, "a", "kept");
    publisher.publish("a", "not kept", 1);
    publisher.publish("a", "", 1);
    expect_retained(&broker, "a", &[("a", "kept")]);
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7]
fn an_empty_retained_message_deletes(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    retain(&mut publisher, "a/b", "kept");
    retain(&mut publisher, "a/c", "kept too");
    retain(&mut publisher, "a/b", "");
    retain(&mut publisher, "a/d", "");
    expect_retained(&broker, "#", &[("a/c", "kept too")]);
    retain(&mut publisher, "a/b", "again");
    expect_retained(&broker, "a/b", &[("a/b", "again")]);
}

fn an_empty_retained_message_is_delivered_live(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    retain(&mut broker.client("publisher"), "a", "");
    assert!(!subscriber.expect_message("a", "", 1).retain);
}

fn a_retained_message_outlives_its_publisher(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    retain(&mut publisher, "a", "kept");
    publisher.disconnect();
    expect_retained(&broker, "a", &[("a", "kept")]);
}

fn retained_messages_come_with_the_lower_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for qos in 0..=2 {
        publisher.publish_message(Publish::new("a", "kept").retain(), qos);
        broker.expect_taken_in(&mut publisher);
        for granted in 0..=2 {
            let mut subscriber = broker.client("subscriber");
            subscriber.subscribe("a", granted);
            subscriber.expect_message("a", "kept", qos.min(granted));
            subscriber.disconnect();
        }
    }
}

/// [MQTT-3.3.1-9]; with retain handling 0 in 5.0.
fn a_repeated_subscription_gets_the_retained_message_again(setup: Setup) {
    let broker = setup.broker();
    retain(&mut broker.client("publisher"), "a", "kept");
    let mut subscriber = broker.client("subscriber");
    for granted in [1, 1, 0, 1] {
        subscriber.subscribe("a", granted);
        assert!(subscriber.expect_message("a", "kept", granted).retain);
        subscriber.expect_silence_until_pong();
    }
}

fn filters_match_retained_messages_as_specified(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for topic in TOPICS {
        retain(&mut publisher, topic, topic);
    }
    for (filter, expected) in FILTERS {
        let expected: Vec<_> = expected.iter().map(|topic| (*topic, *topic)).collect();
        expect_retained(&broker, filter, &expected);
    }
}

fn many_retained_messages_come_through_a_small_window(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_inflight", "4")]);
    let mut publisher = broker.client("publisher");
    for number in 0..500 {
        retain(&mut publisher, &format!("many/{number}"), "kept");
    }
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("many/+", 1);
    let mut topics: Vec<_> = (0..500)
        .map(|_| {
            let message = subscriber.expect_publish();
            assert!(message.retain && !message.dup);
            subscriber.complete(&message);
            message.topic
        })
        .collect();
    subscriber.expect_silence_until_pong();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), 500);
}

fn retained_messages_are_found_from_every_shard(setup: Setup) {
    let broker = setup.broker();
    for number in 0..8 {
        let mut publisher = broker.client(&format!("publisher {number}"));
        retain(&mut publisher, &format!("a/{number}"), "kept");
    }
    for number in 0..8 {
        let mut subscriber = broker.client(&format!("subscriber {number}"));
        subscriber.subscribe("a/#", 1);
        let mut topics: Vec<_> = (0..8).map(|_| subscriber.expect_publish().topic).collect();
        topics.sort_unstable();
        assert_eq!(
            topics,
            ["a/0", "a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7"]
        );
        subscriber.expect_silence_until_pong();
    }
}

fn a_session_taken_up_again_gets_no_retained_messages(setup: Setup) {
    let broker = setup.broker();
    retain(&mut broker.client("publisher"), "a", "kept");
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 1);
    subscriber.expect_message("a", "kept", 1);
    subscriber.disconnect();
    connect.open().0.expect_silence_until_pong();
}

const RETAIN_AS_PUBLISHED: u8 = 0x08;

fn retain_handling_0_sends_at_every_subscribe(setup: Setup) {
    retain_handling(setup, 0, [true, true, true]);
}

fn retain_handling_1_sends_only_to_a_new_subscription(setup: Setup) {
    retain_handling(setup, 1, [true, false, true]);
}

fn retain_handling_2_sends_nothing(setup: Setup) {
    retain_handling(setup, 2, [false, false, false]);
}

/// Subscribes, subscribes again, unsubscribes and subscribes once more; `sent` says
/// after which of the three the retained message comes.
fn retain_handling(setup: Setup, handling: u8, sent: [bool; 3]) {
    let broker = setup.broker();
    retain(&mut broker.client("publisher"), "a", "kept");
    let mut subscriber = broker.client("subscriber");
    for (step, sent) in sent.into_iter().enumerate() {
        if step == 2 {
            subscriber.unsubscribe("a");
        }
        subscriber.subscribe_with(&[], "a", handling << 4 | 1, 1);
        if sent {
            assert!(subscriber.expect_message("a", "kept", 1).retain);
        }
        subscriber.expect_silence_until_pong();
    }
}

/// [MQTT-3.3.1-12], [MQTT-3.3.1-13]
fn retain_as_published_keeps_the_flag(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe_with(&[], "a", RETAIN_AS_PUBLISHED | 1, 1);
    retain(&mut publisher, "a", "kept");
    assert!(subscriber.expect_message("a", "kept", 1).retain);
    publisher.publish("a", "not kept", 1);
    assert!(!subscriber.expect_message("a", "not kept", 1).retain);
    subscriber.subscribe("a", 1);
    assert!(
        subscriber.expect_message("a", "kept", 1).retain,
        "sent because of SUBSCRIBE"
    );
    retain(&mut publisher, "a", "kept");
    assert!(!subscriber.expect_message("a", "kept", 1).retain);
}

fn a_retained_message_keeps_its_properties(setup: Setup) {
    let broker = setup.broker();
    let message = Publish::new("a", "kept")
        .retain()
        .property(property::user("one", "1"))
        .property(property::text(property::CONTENT_TYPE, "text/plain"))
        .property(property::user("two", "2"))
        .property(property::text(property::RESPONSE_TOPIC, "answer"));
    broker.client("publisher").publish_message(message, 1);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    let properties = subscriber.expect_message("a", "kept", 1).properties;
    assert_eq!(properties.user(), [("one", "1"), ("two", "2")]);
    assert_eq!(
        properties.bytes(property::CONTENT_TYPE),
        Some(&b"text/plain"[..])
    );
    assert_eq!(
        properties.bytes(property::RESPONSE_TOPIC),
        Some(&b"answer"[..])
    );
}

fn a_retained_message_carries_the_subscription_identifier(setup: Setup) {
    let broker = setup.broker();
    retain(&mut broker.client("publisher"), "a", "kept");
    let mut subscriber = broker.client("subscriber");
    let identifier = property::variable(property::SUBSCRIPTION_IDENTIFIER, 99);
    subscriber.subscribe_with(&identifier, "a", 1, 1);
    let properties = subscriber.expect_message("a", "kept", 1).properties;
    assert_eq!(properties.numbers(property::SUBSCRIPTION_IDENTIFIER), [99]);
}

fn a_retained_message_expires(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let expiry = property::four_bytes(property::MESSAGE_EXPIRY, 1);
    publisher.publish_message(Publish::new("a/b", "short").retain().property(expiry), 1);
    retain(&mut publisher, "a/c", "for ever");
    sleep(Duration::from_millis(2500));
    expect_retained(&broker, "a/#", &[("a/c", "for ever")]);
}

fn a_retained_message_has_less_time_left(setup: Setup) {
    let broker = setup.broker();
    let expiry = property::four_bytes(property::MESSAGE_EXPIRY, 1000);
    let message = Publish::new("a", "kept").retain().property(expiry);
    broker.client("publisher").publish_message(message, 1);
    sleep(Duration::from_millis(2100));
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    let properties = subscriber.expect_message("a", "kept", 1).properties;
    let left = properties
        .number(property::MESSAGE_EXPIRY)
        .expect("a message expiry");
    assert!(
        (900..=998).contains(&left),
        "{left} seconds are left of 1,000 after 2"
    );
}

/// Maximum QoS, Retain, Wildcard, Subscription Identifier and Shared Subscription
/// Available: absent or 1.
fn connack_does_not_deny_what_is_offered(setup: Setup) {
    let broker = setup.broker();
    let (_, answer) = broker.connect("client").open();
    assert!(!answer.properties.has(0x24), "Maximum QoS is 2 when absent");
    for available in [0x25, 0x28, 0x29, 0x2a] {
        assert!(matches!(
            answer.properties.number(available),
            None | Some(1)
        ));
    }
}

/// Publishes a retained message with QoS 1.
fn retain(publisher: &mut Client, topic: &str, payload: &str) {
    publisher.publish_message(Publish::new(topic, payload).retain(), 1);
}

/// Expects a new subscription to get exactly these retained messages, in any order.
fn expect_retained(broker: &Broker, filter: &str, expected: &[(&str, &str)]) {
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe(filter, 1);
    let mut found = Vec::new();
    for _ in expected {
        let message = subscriber.expect_publish();
        assert!(message.retain);
        subscriber.complete(&message);
        found.push((message.topic.clone(), message.text().to_owned()));
    }
    subscriber.expect_silence_until_pong();
    subscriber.disconnect();
    found.sort_unstable();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(topic, text)| ((*topic).to_owned(), (*text).to_owned()))
        .collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "retained and matched by {filter}");
}
