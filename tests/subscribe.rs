//! SUBSCRIBE and UNSUBSCRIBE: what is granted, what matches, what is delivered once.
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

use common::matching::{FILTERS, TOPICS};
use common::packet;
use common::{Setup, property, scenarios};

scenarios! {
    every_version: [
        suback_answers_each_filter_in_order,
        filters_match_as_specified,
        filters_match_beside_each_other,
        overlapping_subscriptions_give_one_copy_with_the_highest_qos,
        a_repeated_subscription_replaces_the_first,
        an_unsubscribed_filter_gets_nothing,
        unsubscribing_takes_only_the_same_filter,
        unsubscribing_from_nothing_is_acknowledged,
        many_filters_can_be_unsubscribed_at_once,
        unsubscribing_leaves_the_others_subscribed,
        a_thousand_filters_fit_into_one_subscribe,
        a_topic_of_60_levels_is_matched,
        a_subscription_taken_up_again_still_matches,
    ],
    mqtt5: [
        unsuback_tells_what_existed,
        no_local_keeps_own_messages_away,
        no_local_is_a_matter_of_the_client_identifier,
        a_subscription_identifier_comes_with_the_message,
        a_message_carries_the_identifiers_of_all_its_subscriptions,
        a_subscription_identifier_is_replaced_with_the_subscription,
        a_subscription_identifier_survives_with_the_session,
    ],
}

fn suback_answers_each_filter_in_order(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    let filters = [
        ("a", 2),
        ("b/#", 0),
        ("+/c", 1),
        ("a", 0),
        ("/", 2),
        ("d", 1),
    ];
    for id in [1, 0x1234, u16::MAX] {
        client.send(&packet::subscribe(setup.version, id, &[], &filters));
        client.expect_suback(id, &[2, 0, 1, 0, 2, 1]);
    }
}

fn filters_match_as_specified(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for (filter, expected) in FILTERS {
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe(filter, 0);
        for topic in TOPICS {
            publisher.publish(topic, topic, 0);
        }
        let messages = subscriber.messages_from(&mut publisher);
        let topics: Vec<_> = messages.iter().map(|message| &message.topic[..]).collect();
        assert_eq!(topics, expected, "matched by {filter}");
        assert!(
            messages
                .iter()
                .all(|message| message.topic == message.text())
        );
        subscriber.disconnect();
    }
}

/// With all filters subscribed at once by clients on every shard.
fn filters_match_beside_each_other(setup: Setup) {
    let broker = setup.broker();
    let mut subscribers: Vec<_> = (0..FILTERS.len())
        .map(|number| broker.client(&format!("subscriber {number}")))
        .collect();
    for (subscriber, (filter, _)) in subscribers.iter_mut().zip(FILTERS) {
        subscriber.subscribe(filter, 0);
    }
    let mut publisher = broker.client("publisher");
    for topic in TOPICS {
        publisher.publish(topic, topic, 0);
    }
    for (subscriber, (filter, expected)) in subscribers.iter_mut().zip(FILTERS) {
        for topic in expected {
            let message = subscriber.expect_publish();
            assert_eq!(message.topic, *topic, "matched by {filter}");
        }
    }
    // No fence: it would match `#` of the others.
    for topic in TOPICS {
        publisher.publish(topic, topic, 1);
    }
    for (subscriber, (filter, expected)) in subscribers.iter_mut().zip(FILTERS) {
        for topic in expected {
            let message = subscriber.expect_publish();
            assert_eq!(message.topic, *topic, "matched by {filter}");
        }
        subscriber.expect_silence_until_pong();
    }
}

fn overlapping_subscriptions_give_one_copy_with_the_highest_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for (filter, qos) in [("a/+", 1), ("a/#", 2), ("a/b", 0), ("+/b", 0)] {
        subscriber.subscribe(filter, qos);
    }
    for qos in 0..=2 {
        publisher.publish("a/b", "hello", qos);
        subscriber.expect_message("a/b", "hello", qos);
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// [MQTT-3.8.4-3]
fn a_repeated_subscription_replaces_the_first(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for granted in [0, 2, 1, 1] {
        subscriber.subscribe("a/+", granted);
        publisher.publish("a/b", "hello", 2);
        subscriber.expect_message("a/b", "hello", granted);
        subscriber.expect_nothing_from(&mut publisher);
    }
    subscriber.unsubscribe("a/+");
    publisher.publish("a/b", "hello", 2);
    subscriber.expect_nothing_from(&mut publisher);
}

fn an_unsubscribed_filter_gets_nothing(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for filter in ["a/b", "a/+", "a/#", "#", "+/b"] {
        subscriber.subscribe(filter, 1);
        publisher.publish("a/b", filter, 1);
        subscriber.expect_message("a/b", filter, 1);
        subscriber.unsubscribe(filter);
        publisher.publish("a/b", "not to be seen", 1);
        subscriber.expect_nothing_from(&mut publisher);
    }
}

fn unsubscribing_takes_only_the_same_filter(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a/b/c", 0);
    for filter in [
        "a/b/+", "a/b/#", "a/b", "#", "a/b/c/", "/a/b/c", "a/b/c/#", "A/b/c",
    ] {
        let id = subscriber.next_id();
        subscriber.send(&packet::unsubscribe(setup.version, id, &[filter]));
        subscriber.expect_unsuback(id, &[0x11]);
    }
    publisher.publish("a/b/c", "hello", 0);
    subscriber.expect_message("a/b/c", "hello", 0);
}

/// [MQTT-3.10.4-5]
fn unsubscribing_from_nothing_is_acknowledged(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::unsubscribe(setup.version, 0x1234, &["a"]));
    client.expect_unsuback(0x1234, &[0x11]);
}

fn many_filters_can_be_unsubscribed_at_once(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for filter in ["a", "b", "c"] {
        subscriber.subscribe(filter, 0);
    }
    subscriber.send(&packet::unsubscribe(
        setup.version,
        9,
        &["a", "x", "c", "a"],
    ));
    subscriber.expect_unsuback(9, &[0, 0x11, 0, 0x11]);
    for topic in ["a", "b", "c"] {
        publisher.publish(topic, topic, 0);
    }
    subscriber.expect_message("b", "b", 0);
    subscriber.expect_nothing_from(&mut publisher);
}

fn unsubscribing_leaves_the_others_subscribed(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscribers: Vec<_> = (0..8)
        .map(|number| broker.client(&format!("subscriber {number}")))
        .collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("a/+", 1);
    }
    while let Some(mut leaving) = subscribers.pop() {
        publisher.publish("a/b", "hello", 1);
        leaving.expect_message("a/b", "hello", 1);
        if subscribers.len() % 2 == 0 {
            leaving.unsubscribe("a/+");
        }
        leaving.disconnect();
        for subscriber in &mut subscribers {
            subscriber.expect_message("a/b", "hello", 1);
        }
    }
    publisher.publish("a/b", "nobody", 1);
}

fn a_thousand_filters_fit_into_one_subscribe(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    let filters: Vec<_> = (0..1000).map(|number| format!("many/{number}/+")).collect();
    let options: Vec<_> = filters.iter().map(|filter| (&filter[..], 1)).collect();
    subscriber.send(&packet::subscribe(setup.version, 7, &[], &options));
    subscriber.expect_suback(7, &[1; 1000]);
    for number in [0, 1, 500, 999] {
        let topic = format!("many/{number}/x");
        publisher.publish(&topic, "hello", 1);
        subscriber.expect_message(&topic, "hello", 1);
    }
    let names: Vec<_> = filters.iter().map(|filter| &filter[..]).collect();
    subscriber.send(&packet::unsubscribe(setup.version, 8, &names));
    subscriber.expect_unsuback(8, &[0; 1000]);
    publisher.publish("many/1/x", "hello", 1);
    subscriber.expect_nothing_from(&mut publisher);
}

fn a_topic_of_60_levels_is_matched(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let topic = ["level"; 60].join("/");
    for filter in [
        topic.clone(),
        ["+"; 60].join("/"),
        format!("{}/#", ["level"; 59].join("/")),
    ] {
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe(&filter, 0);
        publisher.publish(&topic, "deep", 0);
        subscriber.expect_message(&topic, "deep", 0);
        subscriber.disconnect();
    }
}

fn a_subscription_taken_up_again_still_matches(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    for (filter, _) in FILTERS {
        subscriber.subscribe(filter, 1);
    }
    subscriber.unsubscribe("#");
    subscriber.unsubscribe("+/#");
    subscriber.disconnect();
    let (mut subscriber, _) = connect.open();
    subscriber.expect_silence_until_pong();
    for topic in TOPICS {
        publisher.publish(topic, topic, 0);
        subscriber.expect_message(topic, topic, 0);
    }
    subscriber.expect_nothing_from(&mut publisher);
}

fn unsuback_tells_what_existed(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 0);
    client.send(&packet::unsubscribe(setup.version, 3, &["b", "a", "a"]));
    client.expect(&[0xb0, 6, 0, 3, 0, 0x11, 0, 0x11]);
}

const NO_LOCAL: u8 = 4;

/// [MQTT-3.8.3-3]
fn no_local_keeps_own_messages_away(setup: Setup) {
    let broker = setup.broker();
    let mut other = broker.client("other");
    let mut client = broker.client("client");
    client.subscribe_with(&[], "a/+", NO_LOCAL, 0);
    client.publish("a/b", "own", 1);
    other.publish("a/b", "of another", 0);
    client.expect_message("a/b", "of another", 0);
    // A second subscription without the option brings them.
    client.subscribe("a/b", 0);
    client.publish("a/b", "own", 0);
    client.expect_message("a/b", "own", 0);
    client.expect_nothing_from(&mut other);
}

fn no_local_is_a_matter_of_the_client_identifier(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("client").persistent();
    let (mut client, _) = connect.open();
    client.subscribe_with(&[], "a", NO_LOCAL, 0);
    client.disconnect();
    let (mut client, _) = connect.open();
    client.publish("a", "own", 1);
    client.expect_nothing_from(&mut broker.client("other"));
}

fn a_subscription_identifier_comes_with_the_message(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for identifier in [1, 127, 128, 16_384, 268_435_455] {
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe("without", 0);
        subscriber.subscribe_with(&named(identifier), "a", 1, 1);
        for qos in 0..=1 {
            publisher.publish("a", "hello", qos);
            let message = subscriber.expect_message("a", "hello", qos);
            assert_eq!(
                message
                    .properties
                    .numbers(property::SUBSCRIPTION_IDENTIFIER),
                [identifier]
            );
        }
        publisher.publish("without", "hello", 0);
        let message = subscriber.expect_message("without", "hello", 0);
        assert!(message.properties.0.is_empty());
        subscriber.disconnect();
    }
}

/// [MQTT-3.3.4-4]
fn a_message_carries_the_identifiers_of_all_its_subscriptions(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe_with(&named(1), "a/+", 0, 0);
    subscriber.subscribe_with(&named(300), "a/#", 2, 2);
    subscriber.subscribe_with(&named(20), "a/b", 1, 1);
    subscriber.subscribe_with(&named(4), "a/c", 1, 1);
    subscriber.subscribe("+/b", 0);
    publisher.publish("a/b", "hello", 2);
    let message = subscriber.expect_message("a/b", "hello", 2);
    let mut identifiers = message
        .properties
        .numbers(property::SUBSCRIPTION_IDENTIFIER);
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 20, 300]);
    subscriber.expect_nothing_from(&mut publisher);
}

fn a_subscription_identifier_is_replaced_with_the_subscription(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for (properties, expected) in [
        (named(1), &[1][..]),
        (named(2), &[2]),
        (Vec::new(), &[]),
        (named(3), &[3]),
    ] {
        subscriber.subscribe_with(&properties, "a", 0, 0);
        publisher.publish("a", "hello", 0);
        let message = subscriber.expect_message("a", "hello", 0);
        assert_eq!(
            message
                .properties
                .numbers(property::SUBSCRIPTION_IDENTIFIER),
            expected
        );
    }
}

fn a_subscription_identifier_survives_with_the_session(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe_with(&named(42), "a", 1, 1);
    subscriber.disconnect();
    publisher.publish("a", "waited", 1);
    let (mut subscriber, _) = connect.open();
    publisher.publish("a", "live", 1);
    for text in ["waited", "live"] {
        let message = subscriber.expect_message("a", text, 1);
        assert_eq!(
            message
                .properties
                .numbers(property::SUBSCRIPTION_IDENTIFIER),
            [42]
        );
    }
}

fn named(identifier: u32) -> Vec<u8> {
    property::variable(property::SUBSCRIPTION_IDENTIFIER, identifier)
}
