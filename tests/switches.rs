//! What can be switched off or bounded, and what is said about it.
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

use std::time::{Duration, Instant};

use common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::received::{self, Properties, Reader};
use common::{Broker, Client, Publish, Setup, Version, Will, property, scenarios};

scenarios! {
    every_version: [
        a_qos_above_the_highest_allowed_is_refused,
        subscriptions_are_granted_the_highest_qos_allowed,
        the_higher_qos_of_message_and_subscription_can_count,
        a_message_raised_from_qos_0_is_kept_for_whoever_is_away,
        retained_messages_can_be_switched_off,
        wildcards_can_be_switched_off,
        shared_subscriptions_can_be_switched_off,
        a_will_that_is_switched_off_refuses_the_connection,
        qos_2_messages_without_release_are_bounded,
        messages_expire_by_default_when_configured,
        whoever_connects_is_sent_to_another_server,
        a_client_that_is_too_fast_is_slowed_down,
        clients_that_take_over_from_each_other_without_end_are_stopped,
    ],
    mqtt3: [a_client_can_be_spared_its_own_messages],
    mqtt5: [
        connack_says_what_is_switched_off,
        the_server_can_set_the_keep_alive,
        a_payload_that_is_not_what_it_says_is_refused_when_checked,
        response_information_is_given_to_whoever_asks,
        refusals_are_explained_to_whoever_wants_it,
        whoever_uses_a_topic_of_the_broker_is_told_so,
        a_reason_string_is_left_out_where_it_does_not_fit,
        a_stopping_broker_names_another_server,
    ],
}

const SERVER_REFERENCE: u8 = 0x1c;
const RESPONSE_INFORMATION: u8 = 0x1a;
const MAXIMUM_QOS: u8 = 0x24;
const RETAIN_AVAILABLE: u8 = 0x25;
const WILDCARD_AVAILABLE: u8 = 0x28;
const SHARED_AVAILABLE: u8 = 0x2a;

/// [MQTT-3.2.2-11]
fn a_qos_above_the_highest_allowed_is_refused(setup: Setup) {
    for allowed in 0..=1 {
        let broker = setup.broker_with(&[("mqtt.max_qos_allowed", &allowed.to_string())]);
        let mut client = broker.client("client");
        client.publish("a", "hello", allowed);
        client.send_publish(&Publish::new("a", "hello").qos(allowed + 1, 7));
        client.expect_refusal(0x9b);
    }
}

/// [MQTT-3.2.2-9], [MQTT-3.2.2-10]
fn subscriptions_are_granted_the_highest_qos_allowed(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_qos_allowed", "1")]);
    let mut client = broker.client("client");
    for (asked, granted) in [(0, 0), (1, 1), (2, 1)] {
        client.subscribe_with(&[], "a", asked, granted);
    }
    broker.client("publisher").publish("a", "hello", 1);
    client.expect_message("a", "hello", 1);
}

/// Live, retained and by a shared subscription; by default it is the lower one.
fn the_higher_qos_of_message_and_subscription_can_count(setup: Setup) {
    for (upgrade, qos) in [(false, [0, 0, 1]), (true, [1, 2, 2])] {
        let broker = setup.broker_with(&[("mqtt.upgrade_qos", &upgrade.to_string())]);
        let mut publisher = broker.client("publisher");
        let cases = [(0, 1), (2, 0), (1, 2)].into_iter().zip(qos);
        for (number, ((published, subscribed), delivered)) in cases.enumerate() {
            let topic = format!("a/{number}");
            let mut direct = broker.client("direct");
            direct.subscribe(&topic, subscribed);
            let mut member = broker.client("member");
            member.subscribe(&format!("$share/group/{topic}"), subscribed);
            let message = Publish::new(&topic, "hello").retain();
            publisher.publish_message(message, published);
            direct.expect_message(&topic, "hello", delivered);
            member.expect_message(&topic, "hello", delivered);
            let mut late = broker.client("late");
            late.subscribe(&topic, subscribed);
            late.expect_message(&topic, "hello", delivered);
        }
    }
}

/// By a subscription of its own and by a shared one, over a kill of the broker.
fn a_message_raised_from_qos_0_is_kept_for_whoever_is_away(setup: Setup) {
    let mut broker = setup.broker_with(&[
        ("mqtt.upgrade_qos", "true"),
        ("mqtt.mqueue_store_qos0", "false"),
    ]);
    for (name, filter) in [("direct", "a"), ("member", "$share/group/a")] {
        let (mut client, _) = broker.connect(name).persistent().open();
        client.subscribe(filter, 1);
        client.disconnect();
    }
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "kept", 0);
    // Stored with the next message that is acknowledged, on both ways.
    publisher.publish("a", "fence", 1);
    broker.kill();
    broker.start_again();
    for name in ["direct", "member"] {
        let (mut client, _) = broker.connect(name).persistent().open();
        client.expect_message("a", "kept", 1);
        client.expect_message("a", "fence", 1);
        client.expect_silence_until_pong();
    }
}

/// [MQTT-3.2.2-14]
fn retained_messages_can_be_switched_off(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.retain_available", "false")]);
    let mut client = broker.client("client");
    client.publish("a", "hello", 1);
    client.send_publish(&Publish::new("a", "hello").retain());
    client.expect_refusal(0x9a);
}

/// 5.0 section 3.2.2.3.11; 0x80 before.
fn wildcards_can_be_switched_off(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.wildcard_subscription", "false")]);
    refuses_subscriptions(&broker, &["a/#", "+", "$share/g/a/+"], 0xa2);
    broker.client("client").subscribe("$share/g/a", 1);
}

/// 5.0 section 3.2.2.3.13; 0x80 before.
fn shared_subscriptions_can_be_switched_off(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.shared_subscription", "false")]);
    refuses_subscriptions(&broker, &["$share/g/a", "$share/g/#"], 0x9e);
    broker.client("client").subscribe("a/#", 1);
}

fn refuses_subscriptions(broker: &Broker, filters: &[&str], reason: u8) {
    for filter in filters {
        let mut client = broker.client("client");
        client.subscribe("a", 0);
        if broker.version() == Version::V5 {
            client.send(&packet::subscribe(Version::V5, 9, &[], &[(filter, 0)]));
            client.expect_refusal(reason);
        } else {
            client.subscribe_with(&[], filter, 0, 0x80);
        }
    }
}

/// [MQTT-3.2.2-12], [MQTT-3.2.2-13]
fn a_will_that_is_switched_off_refuses_the_connection(setup: Setup) {
    let settings = [
        ("mqtt.max_qos_allowed", "1"),
        ("mqtt.retain_available", "false"),
    ];
    let broker = setup.broker_with(&settings);
    let connect = |will| broker.connect("client").will(will);
    connect(Will::new("a", "gone").qos(1)).open();
    for (will, reason) in [
        (Will::new("a", "gone").qos(2), 0x9b),
        (Will::new("a", "gone").retain(), 0x9a),
    ] {
        let mut client = connect(will).send();
        if setup.version == Version::V5 {
            assert_eq!(client.expect_connack().code, reason);
        }
        client.expect_closed();
    }
}

/// 5.0: the message is refused; 3.x cannot say so, and the connection ends.
fn qos_2_messages_without_release_are_bounded(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_awaiting_rel", "3")]);
    let mut client = broker.client("client");
    for id in 1..=3 {
        client.send_publish(&Publish::new("a", "held").qos(2, id));
        client.expect_success(PUBREC, id);
    }
    client.send_publish(&Publish::new("a", "held").qos(2, 2));
    client.expect_success(PUBREC, 2);
    client.send_publish(&Publish::new("a", "too many").qos(2, 4));
    if setup.version != Version::V5 {
        client.expect_closed();
        return;
    }
    assert_eq!(client.expect_acknowledgement(PUBREC), (4, 0x97));
    client.send(&packet::acknowledge(PUBREL, 1));
    client.expect_success(PUBCOMP, 1);
    client.publish("a", "has room", 2);
}

fn messages_expire_by_default_when_configured(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.message_expiry_interval_s", "1")]);
    let mut publisher = broker.client("publisher");
    publisher.publish_message(Publish::new("a", "short").retain(), 1);
    std::thread::sleep(Duration::from_millis(1200));
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    subscriber.expect_nothing_from(&mut publisher);
    publisher.publish("a", "new", 0);
    let message = subscriber.expect_message("a", "new", 0);
    if setup.version == Version::V5 {
        assert_eq!(message.properties.number(property::MESSAGE_EXPIRY), Some(1));
    }
}

fn whoever_connects_is_sent_to_another_server(setup: Setup) {
    for (permanently, reason) in [("false", 0x9c), ("true", 0x9d)] {
        let settings = [
            ("mqtt.redirect_to", "other.example:1883"),
            ("mqtt.redirect_permanently", permanently),
        ];
        let broker = setup.broker_with(&settings);
        let mut client = broker.connect("client").send();
        let answer = client.expect_connack();
        if setup.version == Version::V5 {
            assert_eq!(answer.code, reason);
            let reference = answer.properties.bytes(SERVER_REFERENCE);
            assert_eq!(reference, Some(&b"other.example:1883"[..]));
        } else {
            assert_eq!(answer.code, 3);
        }
        client.expect_closed();
    }
}

fn a_client_can_be_spared_its_own_messages(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.ignore_loop_deliver", "true")]);
    let (mut client, mut other) = (broker.client("client"), broker.client("other"));
    client.subscribe("a", 1);
    other.subscribe("a", 1);
    client.publish("a", "mine", 1);
    other.expect_message("a", "mine", 1);
    other.publish("a", "theirs", 1);
    client.expect_message("a", "theirs", 1);
}

fn connack_says_what_is_switched_off(setup: Setup) {
    let available = [RETAIN_AVAILABLE, WILDCARD_AVAILABLE, SHARED_AVAILABLE];
    let (_, answer) = setup.broker().connect("client").open();
    assert_eq!(answer.properties.number(MAXIMUM_QOS), None);
    for identifier in available {
        assert_ne!(answer.properties.number(identifier), Some(0));
    }
    let broker = setup.broker_with(&[
        ("mqtt.max_qos_allowed", "1"),
        ("mqtt.retain_available", "false"),
        ("mqtt.wildcard_subscription", "false"),
        ("mqtt.shared_subscription", "false"),
    ]);
    let (_, answer) = broker.connect("client").open();
    assert_eq!(answer.properties.number(MAXIMUM_QOS), Some(1));
    for identifier in available {
        assert_eq!(answer.properties.number(identifier), Some(0));
    }
}

/// [MQTT-3.2.2-21]
fn the_server_can_set_the_keep_alive(setup: Setup) {
    let broker = setup.broker_with(&[
        ("mqtt.server_keepalive_s", "1"),
        ("mqtt.keepalive_multiplier_percent", "200"),
    ]);
    let (mut client, answer) = broker.connect("client").keep_alive(100).open();
    let told = answer.properties.number(property::SERVER_KEEP_ALIVE);
    assert_eq!(told, Some(1));
    let begun = Instant::now();
    client.expect_refusal(0x8d);
    assert!(begun.elapsed() >= Duration::from_millis(1900));
}

/// 5.0 section 3.3.2.3.2
fn a_payload_that_is_not_what_it_says_is_refused_when_checked(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.check_payload_format", "true")]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let mut client = broker.client("client");
    let said = |payload: &[u8]| {
        Publish::new("a", payload).property(property::byte(property::PAYLOAD_FORMAT, 1))
    };
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        client.send_publish(&said(b"\xff\xfe").qos(qos, 7));
        assert_eq!(client.expect_acknowledgement(first), (7, 0x99));
    }
    client.send_publish(&said(b"\xff\xfe"));
    client.publish_message(said("text ü".as_bytes()), 2);
    client.publish("a", b"\xff\xfe", 1);
    assert_eq!(subscriber.expect_publish().text(), "text ü");
    assert_eq!(subscriber.expect_publish().payload, b"\xff\xfe");
    let will = Will::new("a", "x").property(property::byte(property::PAYLOAD_FORMAT, 1));
    broker.connect("will").will(will).open();
}

/// [MQTT-3.1.2-28]
fn response_information_is_given_to_whoever_asks(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.response_information", "replies/here")]);
    for (asks, told) in [(Some(1), true), (Some(0), false), (None, false)] {
        let mut connect = broker.connect("client");
        if let Some(asks) = asks {
            let asks = property::byte(property::REQUEST_RESPONSE_INFORMATION, asks);
            connect = connect.property(asks);
        }
        let (_, answer) = connect.open();
        let information = answer.properties.bytes(RESPONSE_INFORMATION);
        assert_eq!(information, told.then_some(&b"replies/here"[..]));
    }
}

/// What a SUBSCRIBE and a PUBLISH that are refused, and then a broken rule, are answered with.
fn refusals(client: &mut Client) -> [Properties; 3] {
    let deep = ["a"; 300].join("/");
    client.send(&packet::subscribe(
        Version::V5,
        9,
        &[],
        &[("b", 0), (&deep, 0)],
    ));
    let suback = client.expect_packet();
    let mut reader = Reader::new(&suback);
    assert_eq!(reader.two_bytes(), 9);
    let of_suback = reader.properties(Version::V5);
    assert_eq!(reader.rest(), [0, 0x8f]);
    client.send_publish(&Publish::new(&deep, "x").qos(1, 7));
    let puback = client.expect_packet();
    let mut reader = Reader::new(&puback);
    assert_eq!((reader.two_bytes(), reader.byte()), (7, 0x90));
    let of_puback = match reader.is_empty() {
        true => Properties::default(),
        false => reader.properties(Version::V5),
    };
    client.send(&packet::packet(0xd0, &[]));
    let (reason, of_disconnect) = received::parse_disconnect(&client.expect_packet());
    assert_eq!(reason, 0x82);
    client.expect_closed();
    [of_suback, of_puback, of_disconnect]
}

/// [MQTT-3.1.2-29]
fn refusals_are_explained_to_whoever_wants_it(setup: Setup) {
    let broker = setup.broker();
    for (wants, explained) in [(Some(1), true), (None, true), (Some(0), false)] {
        let mut connect = broker.connect("client");
        if let Some(wants) = wants {
            let wants = property::byte(property::REQUEST_PROBLEM_INFORMATION, wants);
            connect = connect.property(wants);
        }
        for properties in refusals(&mut connect.open().0) {
            let text = properties.bytes(property::REASON_STRING);
            assert_eq!(text.is_some(), explained, "{properties:?}");
        }
    }
    let long = "x".repeat(2000);
    let answer = broker.connect(&long).send().expect_connack();
    assert_eq!(answer.code, 0x85);
}

/// 0x87 is for a message and for a will: the text must be true of both.
fn whoever_uses_a_topic_of_the_broker_is_told_so(setup: Setup) {
    let broker = setup.broker();
    let text = |properties: &Properties| {
        let text = properties.bytes(property::REASON_STRING);
        String::from_utf8_lossy(text.expect("a reason")).into_owned()
    };
    let mut client = broker.client("client");
    client.send_publish(&Publish::new("$SYS/mine", "x").qos(1, 7));
    let puback = client.expect_packet();
    let mut reader = Reader::new(&puback);
    assert_eq!((reader.two_bytes(), reader.byte()), (7, 0x87));
    let of_message = text(&reader.properties(Version::V5));
    let will = Will::new("$SYS/mine", "gone");
    let connack = broker.connect("other").will(will).send().expect_connack();
    assert_eq!(connack.code, 0x87);
    for text in [of_message, text(&connack.properties)] {
        assert_eq!(
            text,
            "the topic, of the message or the will, is the broker's own"
        );
    }
}

/// [MQTT-3.2.2-19], [MQTT-3.4.2-2], [MQTT-3.9.2-1], [MQTT-3.14.2-3]
fn a_reason_string_is_left_out_where_it_does_not_fit(setup: Setup) {
    let broker = setup.broker();
    let size = property::four_bytes(property::MAXIMUM_PACKET_SIZE, 30);
    let (mut client, _) = broker.connect("client").property(size.clone()).open();
    for properties in refusals(&mut client) {
        assert!(!properties.has(property::REASON_STRING), "{properties:?}");
    }
    let deep = ["a"; 300].join("/");
    let will = Will::new(&deep, "x");
    let connect = broker.connect("client").will(will.clone());
    let explained = connect.send().expect_connack();
    assert_eq!(explained.code, 0x90);
    assert!(explained.properties.has(property::REASON_STRING));
    let short = connect.property(size).send().expect_connack();
    assert_eq!(short.code, 0x90);
    assert!(!short.properties.has(property::REASON_STRING));
}

fn a_stopping_broker_names_another_server(setup: Setup) {
    let mut broker = setup.broker_with(&[("mqtt.server_reference", "other.example")]);
    let mut client = broker.client("client");
    broker.terminate("TERM");
    let properties = client.expect_refusal_of(&[0x9c]);
    let reference = properties.bytes(SERVER_REFERENCE);
    assert_eq!(reference, Some(&b"other.example"[..]));
    broker.wait_for_end(Duration::from_secs(10));
}

/// Nothing is dropped and nobody is disconnected: the sender is read later.
fn a_client_that_is_too_fast_is_slowed_down(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.messages_rate", "20/s")]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let begun = Instant::now();
    let mut publisher = broker.client("publisher");
    for number in 0..50 {
        publisher.send_publish(&Publish::new("a", number.to_string()));
    }
    for number in 0..50 {
        subscriber.expect_message("a", &number.to_string(), 0);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1400));
}

/// CONNACK 0x9F for who comes; who is connected stays.
fn clients_that_take_over_from_each_other_without_end_are_stopped(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.takeover_rate", "5/1h")]);
    let mut last = broker.client("client");
    let mut takeovers = 0;
    let (mut refused, code) = loop {
        let mut next = broker.connect("client").send();
        match next.expect_connack().code {
            0 => {}
            code => break (next, code),
        }
        last.expect_refusal(0x8e);
        last = next;
        takeovers += 1;
    };
    // What has come in since the first one lets one more pass.
    assert!((5..=6).contains(&takeovers), "{takeovers}");
    let expected = if setup.version == Version::V5 {
        0x9f
    } else {
        3
    };
    assert_eq!(code, expected);
    refused.expect_closed();
    last.expect_silence_until_pong();
    last.disconnect();
    broker.client("client").expect_silence_until_pong();
}
