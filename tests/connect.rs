//! CONNECT and CONNACK: who is let in, under which name, and how long a silent
//! client is kept.
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

use common::packet::{self, binary_data, packet};
use common::{Publish, Setup, Version, property, scenarios};

scenarios! {
    every_version: [
        a_clean_session_is_accepted_without_a_session_present,
        a_user_name_and_password_are_taken_where_anybody_is_let_in,
        packets_behind_an_accepted_connect_are_answered_after_connack,
        packets_behind_a_refused_connect_are_not_carried_out,
        a_second_connect_ends_the_connection,
        a_packet_before_connect_ends_the_connection_without_a_reply,
        a_client_that_keeps_silent_is_disconnected,
        a_ping_in_time_keeps_the_connection,
        a_client_that_sends_no_connect_is_disconnected,
        a_client_identifier_of_200_bytes_is_taken,
        a_client_identifier_is_any_text,
    ],
    mqtt31: [an_empty_client_identifier_is_refused],
    mqtt311: [an_empty_client_identifier_needs_a_clean_session],
    mqtt311_and_5: [an_empty_client_identifier_gets_a_session_of_its_own],
    mqtt3: [an_unknown_protocol_level_is_answered_with_return_code_1],
    mqtt5: [
        an_assigned_client_identifier_names_the_session,
        an_unknown_protocol_level_is_answered_with_unsupported_version,
        a_wrong_protocol_name_is_refused,
        connack_tells_the_limits_that_are_configured,
        a_longer_keep_alive_than_allowed_is_replaced,
        a_password_needs_no_user_name,
        connect_properties_are_understood,
    ],
}

fn a_clean_session_is_accepted_without_a_session_present(setup: Setup) {
    let broker = setup.broker();
    for _ in 0..2 {
        let (client, answer) = broker.connect("client").open();
        answer.expect_no_session();
        client.disconnect();
    }
}

fn a_user_name_and_password_are_taken_where_anybody_is_let_in(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").login("somebody", b"secret").open();
    client.expect_silence_until_pong();
}

fn packets_behind_an_accepted_connect_are_answered_after_connack(setup: Setup) {
    let broker = setup.broker();
    let version = setup.version;
    let mut client = broker.open();
    client.send(
        &[
            broker.connect("client").encode(),
            packet::subscribe(version, 1, &[], &[("a", 0)]),
            Publish::new("a", "first").encode(version),
            Publish::new("a", "second").qos(1, 2).encode(version),
            packet::PINGREQ.to_vec(),
        ]
        .concat(),
    );
    assert_eq!(client.expect_connack().code, 0);
    let mut messages = Vec::new();
    let mut others = Vec::new();
    for _ in 0..5 {
        let packet = client.expect_packet();
        if packet.first & 0xf0 == 0x30 {
            messages.push(packet.body.last().copied());
        } else {
            others.push(packet.first);
        }
    }
    assert_eq!(messages, [Some(b't'), Some(b'd')], "first and second");
    // A message may come before SUBACK [MQTT-3.8.4-2], and SUBACK after what follows it.
    others.sort_unstable();
    assert_eq!(others, [packet::PUBACK, 0x90, 0xd0]);
}

fn packets_behind_a_refused_connect_are_not_carried_out(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let mut refused = broker.open();
    refused.send(&connect_with_level(0x7f, &[]));
    refused.send(&Publish::new("a", "not to be seen").encode(setup.version));
    refused.rest();
    subscriber.expect_nothing_from(&mut broker.client("publisher"));
}

fn a_second_connect_ends_the_connection(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&broker.connect("client").encode());
    client.expect_refusal(0x82);
}

fn a_packet_before_connect_ends_the_connection_without_a_reply(setup: Setup) {
    let broker = setup.broker();
    for bytes in [
        packet::PINGREQ.to_vec(),
        packet::DISCONNECT.to_vec(),
        Publish::new("a", "early").encode(setup.version),
        packet::subscribe(setup.version, 1, &[], &[("a", 0)]),
    ] {
        let mut client = broker.open();
        client.send(&bytes);
        client.expect_closed();
    }
}

fn a_client_that_keeps_silent_is_disconnected(setup: Setup) {
    let broker = setup.broker();
    let (mut without_limit, _) = broker.connect("without limit").open();
    let (mut silent, _) = broker.connect("silent").keep_alive(1).open();
    silent.expect_refusal(0x8d);
    without_limit.expect_silence_until_pong();
}

fn a_ping_in_time_keeps_the_connection(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").keep_alive(1).open();
    for _ in 0..4 {
        sleep(Duration::from_millis(600));
        client.expect_silence_until_pong();
    }
    client.disconnect();
}

fn a_client_that_sends_no_connect_is_disconnected(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.connect_timeout_ms", "300")]);
    let mut silent = broker.open();
    let mut half = broker.open();
    half.send(&broker.connect("half").encode()[..5]);
    let mut connected = broker.client("connected");
    silent.expect_closed();
    half.expect_closed();
    connected.expect_silence_until_pong();
}

fn a_client_identifier_of_200_bytes_is_taken(setup: Setup) {
    let broker = setup.broker();
    broker.client(&"x".repeat(200)).disconnect();
}

fn a_client_identifier_is_any_text(setup: Setup) {
    let broker = setup.broker();
    for client_id in [
        "../../etc/passwd",
        "a b",
        "größe",
        "\u{1f980}",
        "+",
        "#",
        "a/b",
        "%s%n",
    ] {
        let (client, _) = broker.connect(client_id).persistent().open();
        client.disconnect();
        let (client, answer) = broker.connect(client_id).persistent().open();
        answer.expect_session();
        client.disconnect();
    }
}

fn an_empty_client_identifier_is_refused(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.connect("").send();
    client.expect(&[0x20, 2, 0, 2]);
    client.expect_closed();
}

fn an_empty_client_identifier_needs_a_clean_session(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.connect("").unclean().send();
    client.expect(&[0x20, 2, 0, 2]);
    client.expect_closed();
}

fn an_empty_client_identifier_gets_a_session_of_its_own(setup: Setup) {
    let broker = setup.broker();
    let mut clients: Vec<_> = (0..4).map(|_| broker.connect("").open()).collect();
    for (client, answer) in &mut clients {
        answer.expect_no_session();
        client.expect_silence_until_pong();
    }
    if setup.version == Version::V5 {
        let mut names: Vec<_> = clients
            .iter()
            .map(|(_, answer)| {
                answer
                    .properties
                    .bytes(property::ASSIGNED_CLIENT_ID)
                    .unwrap()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 4, "assigned identifiers repeat");
    }
}

fn an_assigned_client_identifier_names_the_session(setup: Setup) {
    let broker = setup.broker();
    let (client, answer) = broker.connect("").persistent().open();
    let assigned = answer
        .properties
        .bytes(property::ASSIGNED_CLIENT_ID)
        .unwrap();
    let assigned = std::str::from_utf8(assigned).unwrap();
    assert!(!assigned.is_empty());
    client.disconnect();
    let (_, answer) = broker.connect(assigned).persistent().open();
    answer.expect_session();
    assert!(!answer.properties.has(property::ASSIGNED_CLIENT_ID));
}

/// 3.1.1: [MQTT-3.1.2-2], whatever the level, for who lays CONNECT out as 3.x does.
fn an_unknown_protocol_level_is_answered_with_return_code_1(setup: Setup) {
    let broker = setup.broker();
    for level in [0, 1, 2, 6, 99, 0xff] {
        let mut client = broker.open();
        client.send(&connect_with_level(level, &[]));
        assert_eq!(client.rest(), [0x20, 2, 0, 1], "level {level}");
    }
}

fn an_unknown_protocol_level_is_answered_with_unsupported_version(setup: Setup) {
    let broker = setup.broker();
    for level in [6, 7, 99, 0x7f, 0xff] {
        let mut client = broker.open();
        client.send(&connect_with_level(level, &[0]));
        assert_eq!(client.rest(), [0x20, 3, 0, 0x84, 0], "level {level}");
    }
}

fn a_wrong_protocol_name_is_refused(setup: Setup) {
    let broker = setup.broker();
    for name in ["", "M", "MQTt", "mqtt", "MQTTX", "MQIsdp", "HTTP"] {
        let mut client = broker.open();
        client.send(&packet(
            0x10,
            &[&binary_data(name.as_bytes()), &[5, 2, 0, 0, 0, 0, 1, b'c']],
        ));
        let answer = client.rest();
        let allowed: [&[u8]; 3] = [&[], &[0x20, 2, 0, 1], &[0x20, 3, 0, 0x84, 0]];
        assert!(
            allowed.contains(&&answer[..]),
            "{name:?} was answered with {answer:02x?}"
        );
    }
}

fn connack_tells_the_limits_that_are_configured(setup: Setup) {
    let broker = setup.broker_with(&[
        ("mqtt.receive_maximum", "7"),
        ("mqtt.max_packet_size", "2000"),
        ("mqtt.topic_alias_maximum", "3"),
        ("mqtt.session_expiry_max_s", "60"),
    ]);
    let (_, answer) = broker.connect("client").persistent().open();
    let properties = answer.properties;
    assert_eq!(properties.number(property::RECEIVE_MAXIMUM), Some(7));
    assert_eq!(properties.number(property::MAXIMUM_PACKET_SIZE), Some(2000));
    assert_eq!(properties.number(property::TOPIC_ALIAS_MAXIMUM), Some(3));
    assert_eq!(properties.number(property::SESSION_EXPIRY), Some(60));
}

fn a_longer_keep_alive_than_allowed_is_replaced(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_keep_alive_s", "10")]);
    for (asked, told) in [
        (0, Some(10)),
        (11, Some(10)),
        (65_535, Some(10)),
        (10, None),
        (9, None),
    ] {
        let (_, answer) = broker.connect("client").keep_alive(asked).open();
        let found = answer.properties.number(property::SERVER_KEEP_ALIVE);
        assert_eq!(found, told, "keep alive {asked}");
    }
}

fn a_password_needs_no_user_name(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.open();
    client.send(&packet(
        0x10,
        &[
            b"\0\x04MQTT\x05\x42\0\0\0",
            &binary_data(b"client"),
            &binary_data(b"secret"),
        ],
    ));
    assert_eq!(client.expect_connack().code, 0);
}

fn connect_properties_are_understood(setup: Setup) {
    let broker = setup.broker();
    let connect = broker
        .connect("client")
        .property(property::four_bytes(property::SESSION_EXPIRY, 10))
        .property(property::two_bytes(property::RECEIVE_MAXIMUM, 10))
        .property(property::four_bytes(property::MAXIMUM_PACKET_SIZE, 1000))
        .property(property::two_bytes(property::TOPIC_ALIAS_MAXIMUM, 10))
        .property(property::byte(0x19, 1))
        .property(property::byte(property::REQUEST_PROBLEM_INFORMATION, 1))
        .property(property::user("name", "one"))
        .property(property::user("name", "two"));
    let (mut client, answer) = connect.open();
    assert!(!answer.properties.has(property::AUTHENTICATION_METHOD));
    client.expect_silence_until_pong();
}

/// A CONNECT that is right in all but its protocol level.
fn connect_with_level(level: u8, properties: &[u8]) -> Vec<u8> {
    packet(
        0x10,
        &[
            &binary_data(b"MQTT"),
            &[level, 2, 0, 0],
            properties,
            &binary_data(b"client"),
        ],
    )
}
