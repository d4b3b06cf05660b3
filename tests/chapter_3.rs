//! Statements of chapter 3, the packets, that no other file shows:
//! `tests/conformance/` says which test shows which statement.
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

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::{Broker, Client, Publish, Setup, Version, Will, property, received, scenarios};

scenarios! {
    every_version: [
        a_client_identifier_of_letters_and_digits_is_taken_at_every_length,
        a_second_connect_is_not_answered_with_connack,
        a_will_is_published_once,
        a_will_without_retain_is_not_retained,
        the_last_retained_message_replaces_those_of_every_qos,
        replacing_a_subscription_loses_no_message,
        filters_of_one_subscribe_count_like_subscribes_in_a_row,
        messages_in_flight_are_completed_after_unsubscribe,
    ],
    mqtt311_and_5: [a_refused_client_identifier_is_answered],
    mqtt5: [
        a_refusal_says_that_no_session_is_present,
        a_refused_connect_leaves_the_session_alone,
        response_information_is_not_given_unasked,
        an_assigned_client_identifier_is_not_one_in_use,
        topic_aliases_to_a_client_stay_within_its_maximum,
        every_topic_alias_up_to_the_maximum_is_taken,
        a_topic_alias_works_after_a_message_of_every_qos,
        disconnect_from_the_broker_has_no_session_expiry,
        nothing_comes_behind_the_disconnect_of_the_broker,
        a_small_maximum_packet_size_is_kept_by_every_answer,
    ],
}

/// [MQTT-3.1.3-5]
fn a_client_identifier_of_letters_and_digits_is_taken_at_every_length(setup: Setup) {
    let broker = setup.broker();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for length in 1..=23 {
        broker.client(&all[..length]).disconnect();
        broker.client(&all[all.len() - length..]).disconnect();
    }
}

/// [MQTT-3.2.0-2]
fn a_second_connect_is_not_answered_with_connack(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("client").encode();
    let mut client = broker.open();
    client.send(&[&connect[..], &connect].concat());
    assert_eq!(client.expect_connack().code, 0);
    client.expect_refusal(0x82);
}

/// [MQTT-3.1.2-10]: neither the end of the session nor a later connection brings it again.
fn a_will_is_published_once(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = watcher(&broker);
    let expiry = property::four_bytes(property::SESSION_EXPIRY, 1);
    let connect = broker.connect("client").unclean().property(expiry);
    let with_will = connect.clone().will(Will::new("will", "gone").qos(1));
    with_will.open().0.abandon();
    watcher.expect_message("will", "gone", 1);
    connect.open().0.abandon();
    sleep(Duration::from_millis(2500));
    connect.open().0.disconnect();
    watcher.expect_nothing_from(&mut broker.client("publisher"));
}

/// [MQTT-3.1.2-14]; 3.1.1: [MQTT-3.1.2-16]
fn a_will_without_retain_is_not_retained(setup: Setup) {
    let broker = setup.broker();
    let mut first = watcher(&broker);
    let connect = broker.connect("client");
    connect
        .will(Will::new("will", "gone").qos(1))
        .open()
        .0
        .abandon();
    assert!(!first.expect_message("will", "gone", 1).retain);
    let mut late = broker.client("late");
    late.subscribe("will", 1);
    late.expect_silence_until_pong();
}

/// 3.1.1: [MQTT-3.3.1-5], [MQTT-3.3.1-7]
fn the_last_retained_message_replaces_those_of_every_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for (number, qos) in [2, 0, 1, 2, 1, 0, 0].into_iter().enumerate() {
        let text = number.to_string();
        publisher.publish_message(Publish::new("a", &text).retain(), qos);
        broker.expect_taken_in(&mut publisher);
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe("a", 2);
        assert!(subscriber.expect_message("a", &text, qos).retain);
        subscriber.expect_silence_until_pong();
        subscriber.disconnect();
    }
}

/// [MQTT-3.8.4-4]: with the same, a higher and a lower QoS, while messages come.
fn replacing_a_subscription_loses_no_message(setup: Setup) {
    const MESSAGES: u16 = 400;
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a/+", 1);
    let mut publisher = broker.client("publisher");
    for number in 0..MESSAGES {
        let message = Publish::new("a/b", number.to_string());
        publisher.send_publish(&message.qos(1, number + 1));
        if number % 20 == 0 {
            let granted = 1 + (number / 20 % 2) as u8;
            subscriber.subscribe("a/+", granted);
        }
        publisher.expect_success(PUBACK, number + 1);
    }
    for number in 0..MESSAGES {
        let message = subscriber.expect_publish();
        assert_eq!(message.text(), number.to_string());
        subscriber.complete(&message);
    }
    subscriber.expect_silence_until_pong();
}

/// [MQTT-3.8.4-5], 3.1.1: [MQTT-3.8.4-4]: the later of two with the same filter counts, and
/// each brings the retained messages.
fn filters_of_one_subscribe_count_like_subscribes_in_a_row(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    publisher.publish_message(Publish::new("a", "kept").retain(), 2);
    let mut subscriber = broker.client("subscriber");
    let filters = [("a", 2), ("b", 1), ("a", 0)];
    subscriber.send(&packet::subscribe(setup.version, 7, &[], &filters));
    let mut retained = Vec::new();
    while retained.len() < 2 {
        let packet = subscriber.expect_packet();
        if packet.first & 0xf0 == 0x30 {
            let message = received::Delivery::parse(setup.version, &packet);
            assert!(message.retain);
            retained.push((message.topic, message.qos, message.id));
        } else {
            let got = received::parse_codes(setup.version, &packet);
            assert_eq!(got, (7, vec![2, 1, 0]));
        }
    }
    assert!(retained.iter().all(|(topic, ..)| topic == "a"));
    publisher.publish("a", "live", 2);
    assert!(!subscriber.expect_message("a", "live", 0).retain);
    publisher.publish("b", "live", 2);
    subscriber.expect_message("b", "live", 1);
    subscriber.expect_silence_until_pong();
}

/// [MQTT-3.10.4-3]: on the same connection and after the next.
fn messages_in_flight_are_completed_after_unsubscribe(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for qos in [1, 2, 2, 1] {
        publisher.publish("a", "hello", qos);
    }
    let messages: Vec<_> = (0..4).map(|_| subscriber.expect_publish()).collect();
    subscriber.unsubscribe("a");
    publisher.publish("a", "not to be seen", 1);
    subscriber.complete(&messages[0]);
    subscriber.complete(&messages[1]);
    subscriber.expect_silence_until_pong();
    subscriber.abandon();

    let (mut subscriber, answer) = connect.open();
    answer.expect_session();
    for message in &messages[2..] {
        let again = subscriber.expect_message("a", "hello", message.qos);
        assert_eq!((again.id, again.dup), (message.id, true));
    }
    subscriber.expect_silence_until_pong();
}

/// [MQTT-3.1.3-8], 3.1.1: [MQTT-3.1.3-9]
fn a_refused_client_identifier_is_answered(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_clientid_len", "30")]);
    broker.client(&"x".repeat(30)).disconnect();
    let mut client = broker.connect(&"x".repeat(31)).send();
    let refused = if setup.version == Version::V5 {
        0x85
    } else {
        2
    };
    assert_eq!(client.expect_connack().code, refused);
    client.expect_closed();
}

/// [MQTT-3.2.2-6], [MQTT-3.2.2-7], although there is a session.
fn a_refusal_says_that_no_session_is_present(setup: Setup) {
    let broker = setup.broker();
    broker.connect("client").persistent().open().0.disconnect();
    let mut client = refused(&broker);
    let answer = client.expect_connack();
    assert_eq!((answer.code, answer.session_present), (0x8c, Some(false)));
    client.expect_closed();
}

fn a_refused_connect_leaves_the_session_alone(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").persistent().open();
    client.subscribe("a", 1);
    refused(&broker).rest();
    client.expect_silence_until_pong();
    client.disconnect();
    refused(&broker).rest();
    broker.client("publisher").publish("a", "waits", 1);
    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
    client.expect_message("a", "waits", 1);
}

/// [MQTT-3.1.2-28]
fn response_information_is_not_given_unasked(setup: Setup) {
    const RESPONSE_INFORMATION: u8 = 0x1a;
    let broker = setup.broker();
    let not_wanted = property::byte(property::REQUEST_RESPONSE_INFORMATION, 0);
    for connect in [
        broker.connect("client"),
        broker.connect("client").property(not_wanted),
    ] {
        let (client, answer) = connect.open();
        assert!(!answer.properties.has(RESPONSE_INFORMATION));
        client.disconnect();
    }
}

/// [MQTT-3.2.2-16]: a name that the broker gave stays taken while its session lasts.
fn an_assigned_client_identifier_is_not_one_in_use(setup: Setup) {
    let broker = setup.broker();
    let mut seen = std::collections::HashSet::new();
    let mut clients = Vec::new();
    for number in 0..50 {
        let (client, answer) = broker.connect("").persistent().open();
        answer.expect_no_session();
        let assigned = answer.properties.bytes(property::ASSIGNED_CLIENT_ID);
        assert!(seen.insert(assigned.expect("a name").to_owned()));
        if number % 2 == 0 {
            client.disconnect();
        } else {
            clients.push(client);
        }
    }
    for client in &mut clients {
        client.expect_silence_until_pong();
    }
}

/// [MQTT-3.1.2-26], [MQTT-3.1.2-27], [MQTT-3.3.2-8], [MQTT-3.3.2-11]: whatever aliases the
/// broker uses, each stands for the topic that it was last sent with.
fn topic_aliases_to_a_client_stay_within_its_maximum(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for maximum in [0, 1, 3, 65_535] {
        let offer = property::two_bytes(property::TOPIC_ALIAS_MAXIMUM, maximum);
        let (mut subscriber, _) = broker.connect("subscriber").property(offer).open();
        subscriber.subscribe("a/#", 2);
        let mut aliases = BTreeMap::new();
        for round in 0_u32..60 {
            // Some topics often and some seldom.
            let topic = format!("a/{}", (round % 7) * (round % 3));
            publisher.publish(&topic, &topic, (round % 3) as u8);
            let message = subscriber.expect_publish();
            subscriber.complete(&message);
            assert_eq!(named(&mut aliases, maximum, &message), topic);
            assert_eq!(message.text(), topic);
        }
        subscriber.disconnect();
    }
}

/// The topic of a message that may be told by an alias.
fn named(
    aliases: &mut BTreeMap<u32, String>,
    maximum: u16,
    message: &received::Delivery,
) -> String {
    let Some(alias) = message.properties.number(property::TOPIC_ALIAS) else {
        return message.topic.clone();
    };
    assert!((1..=u32::from(maximum)).contains(&alias), "alias {alias}");
    if !message.topic.is_empty() {
        aliases.insert(alias, message.topic.clone());
    }
    aliases.get(&alias).expect("an alias that was set").clone()
}

/// [MQTT-3.3.2-12]
fn every_topic_alias_up_to_the_maximum_is_taken(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a/+", 0);
    let (mut publisher, answer) = broker.connect("publisher").open();
    let maximum = answer.properties.number(property::TOPIC_ALIAS_MAXIMUM);
    let aliases = 1..=u16::try_from(maximum.unwrap_or(0)).unwrap();
    assert!(!aliases.is_empty(), "no topic aliases are offered");
    for alias in aliases.clone() {
        publisher.send_publish(&aliased(&format!("a/{alias}"), alias));
        subscriber.expect_message(&format!("a/{alias}"), "x", 0);
    }
    for alias in aliases.rev() {
        publisher.send_publish(&aliased("", alias));
        subscriber.expect_message(&format!("a/{alias}"), "x", 0);
    }
}

/// An alias is set by a message of any QoS, also by one that nobody gets and by one that
/// is a repetition.
fn a_topic_alias_works_after_a_message_of_every_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut subscriber = broker.client("subscriber");
    for qos in 0..=2 {
        publisher.publish_message(aliased(&format!("a/{qos}"), 1), qos);
        publisher.expect_silence_until_pong();
        subscriber.subscribe("a/+", 0);
        publisher.publish_message(aliased("", 1), 1);
        subscriber.expect_message(&format!("a/{qos}"), "x", 0);
        subscriber.unsubscribe("a/+");
    }
    publisher.send_publish(&Publish::new("b", "x").qos(2, 900));
    publisher.expect_success(PUBREC, 900);
    publisher.send_publish(&aliased("b", 2).qos(2, 900).dup());
    publisher.expect_success(PUBREC, 900);
    publisher.send(&packet::acknowledge(PUBREL, 900));
    publisher.expect(&packet::acknowledge(PUBCOMP, 900));
    subscriber.subscribe("b", 0);
    publisher.publish_message(aliased("", 2), 1);
    subscriber.expect_message("b", "x", 0);
}

fn aliased(topic: &str, alias: u16) -> Publish {
    Publish::new(topic, "x").property(property::two_bytes(property::TOPIC_ALIAS, alias))
}

/// [MQTT-3.14.2-2], [MQTT-3.14.2-1]
fn disconnect_from_the_broker_has_no_session_expiry(setup: Setup) {
    let mut broker = setup.broker();
    let connect = broker.connect("client").persistent();
    let (mut first, _) = connect.open();
    let (mut second, _) = connect.open();
    let taken_over = first.expect_refusal_of(&[0x8e]);
    second.send(&packet::PINGRESP);
    let refused = second.expect_refusal_of(&[0x82]);
    let (mut third, _) = connect.open();
    broker.terminate("TERM");
    let stopped = third.expect_refusal_of(&[0x8b]);
    for properties in [taken_over, refused, stopped] {
        assert!(!properties.has(property::SESSION_EXPIRY), "{properties:?}");
    }
    broker.wait_for_end(Duration::from_secs(20));
}

/// [MQTT-3.14.4-1], [MQTT-3.14.4-2]
fn nothing_comes_behind_the_disconnect_of_the_broker(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 1);
    let mut bytes = packet::PINGRESP.to_vec();
    for id in 1..20 {
        bytes.extend(Publish::new("a", "x").qos(1, id).encode(setup.version));
        bytes.extend(packet::PINGREQ);
    }
    client.send(&bytes);
    client.expect_refusal(0x82);
}

/// [MQTT-3.1.2-24] and those on the sizes of each packet's properties.
fn a_small_maximum_packet_size_is_kept_by_every_answer(setup: Setup) {
    const MAXIMUM: usize = 30;
    let broker = setup.broker();
    let maximum = property::four_bytes(property::MAXIMUM_PACKET_SIZE, MAXIMUM as u32);
    let (mut client, _) = broker.connect("client").property(maximum).open();
    let deep = "/".repeat(1000);
    let filters: Vec<&str> = [&deep[..], "a", "a/#/b"].to_vec();
    client.send(&packet::subscribe(
        setup.version,
        1,
        &[],
        &[(filters[0], 0), (filters[1], 0)],
    ));
    client.send(&packet::unsubscribe(setup.version, 2, &filters[..2]));
    client.send(&Publish::new(&deep, "x").qos(1, 3).encode(setup.version));
    client.send(&Publish::new(&deep, "x").qos(2, 4).encode(setup.version));
    client.send(&packet::acknowledge(PUBREL, 5));
    client.send(&packet::acknowledge(PUBREC, 6));
    client.send(&packet::subscribe(
        setup.version,
        7,
        &[],
        &[(filters[2], 0)],
    ));
    let mut kinds = Vec::new();
    loop {
        let packet = client.expect_packet();
        assert!(packet.body.len() + 2 <= MAXIMUM, "too large: {packet:?}");
        kinds.push(packet.first);
        if packet.first == 0xe0 {
            break;
        }
    }
    client.expect_closed();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [PUBACK, PUBREC, PUBREL, PUBCOMP, 0x90, 0xb0, 0xe0]);
}

/// A CONNECT as `client` that asks for an authentication that does not exist.
fn refused(broker: &Broker) -> Client {
    let method = property::text(property::AUTHENTICATION_METHOD, "does not exist");
    broker
        .connect("client")
        .persistent()
        .property(method)
        .send()
}

/// A client that sees the will.
fn watcher(broker: &Broker) -> Client {
    let mut watcher = broker.client("watcher");
    watcher.subscribe("will", 1);
    watcher
}
