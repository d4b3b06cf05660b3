use proptest::prelude::*;

use super::{BEFORE_5, appended, body};
use crate::wire::encode::{ConnAck, connack, connack_size, connack_within};
use crate::wire::properties::{Carrier, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::tests::strategies::text;
use crate::wire::{QoS, ReasonCode, Version};

/// The properties of a server's packet.
fn properties(bytes: &[u8], carrier: Carrier) -> Vec<(u8, Value<'_>)> {
    let mut reader = Reader::new(bytes);
    let mut section = Section::open(&mut reader, carrier).unwrap();
    assert!(reader.is_empty());
    let mut properties = Vec::new();
    while let Some(property) = section.read().unwrap() {
        properties.push((property.id, property.value));
    }
    properties
}

#[test]
fn a_3_1_1_connack_has_session_present_and_3_1_has_not() {
    let resumed = ConnAck {
        session_present: true,
        ..ConnAck::default()
    };
    assert_eq!(
        appended(|out| connack(out, Version::V311, &resumed)),
        b"\x20\x02\x01\0"
    );
    assert_eq!(
        appended(|out| connack(out, Version::V31, &resumed)),
        b"\x20\x02\0\0"
    );
    assert_eq!(connack_size(Version::V311, &resumed), 4);
}

/// [MQTT-3.2.2-6]; [3.1.1 MQTT-3.2.2-4]
#[test]
fn a_refusal_has_no_session() {
    let refusal = ConnAck {
        session_present: true,
        reason: ReasonCode::NOT_AUTHORIZED,
        ..ConnAck::default()
    };
    assert_eq!(
        appended(|out| connack(out, Version::V5, &refusal)),
        b"\x20\x03\0\x87\0"
    );
    assert_eq!(
        appended(|out| connack(out, Version::V311, &refusal)),
        b"\x20\x02\0\x05"
    );
}

/// [3.1.1 MQTT-3.2.2-6]; table 3.1 of 3.1.1
#[test]
fn a_reason_without_a_return_code_is_not_told_before_5() {
    let codes = [
        (ReasonCode::SUCCESS, Some(0)),
        (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, Some(1)),
        (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, Some(2)),
        (ReasonCode::SERVER_UNAVAILABLE, Some(3)),
        (ReasonCode::SERVER_BUSY, Some(3)),
        (ReasonCode::CONNECTION_RATE_EXCEEDED, Some(3)),
        (ReasonCode::BAD_USER_NAME_OR_PASSWORD, Some(4)),
        (ReasonCode::NOT_AUTHORIZED, Some(5)),
        (ReasonCode::BANNED, Some(5)),
        (ReasonCode::MALFORMED_PACKET, None),
        (ReasonCode::PACKET_TOO_LARGE, None),
    ];
    for (reason, code) in codes {
        let packet = ConnAck {
            reason,
            ..ConnAck::default()
        };
        let expected = code.map_or(vec![], |code| vec![0x20, 2, 0, code]);
        for version in BEFORE_5 {
            assert_eq!(appended(|out| connack(out, version, &packet)), expected);
        }
    }
}

#[test]
fn a_connack_leaves_off_what_is_the_default() {
    let out = appended(|out| connack(out, Version::V5, &ConnAck::default()));
    assert_eq!(out, b"\x20\x03\0\0\0");
}

#[test]
fn a_connack_tells_every_limit() {
    let packet = ConnAck {
        session_present: true,
        reason: ReasonCode::SUCCESS,
        session_expiry: Some(60),
        receive_maximum: Some(20),
        maximum_qos: QoS::AtLeastOnce,
        retain_available: false,
        maximum_packet_size: Some(1 << 20),
        assigned_client_id: Some("id"),
        topic_alias_maximum: 9,
        reason_string: Some("why"),
        wildcard_subscription_available: false,
        subscription_identifier_available: false,
        shared_subscription_available: false,
        server_keep_alive: Some(30),
        response_information: Some("r"),
        server_reference: Some("s"),
        authentication_method: Some("m"),
        authentication_data: Some(b"\xFF"),
    };
    let out = appended(|out| connack(out, Version::V5, &packet));
    assert_eq!(connack_size(Version::V5, &packet), out.len());
    let body = body(&out);
    assert_eq!(body[..2], [1, 0]);
    let mut properties = properties(&body[2..], Carrier::CONNACK);
    properties.sort_by_key(|(id, _)| *id);
    let expected = [
        (id::SESSION_EXPIRY_INTERVAL, Value::Four(60)),
        (id::ASSIGNED_CLIENT_IDENTIFIER, Value::Text("id")),
        (id::SERVER_KEEP_ALIVE, Value::Two(30)),
        (id::AUTHENTICATION_METHOD, Value::Text("m")),
        (id::AUTHENTICATION_DATA, Value::Binary(b"\xFF")),
        (id::RESPONSE_INFORMATION, Value::Text("r")),
        (id::SERVER_REFERENCE, Value::Text("s")),
        (id::REASON_STRING, Value::Text("why")),
        (id::RECEIVE_MAXIMUM, Value::Two(20)),
        (id::TOPIC_ALIAS_MAXIMUM, Value::Two(9)),
        (id::MAXIMUM_QOS, Value::Flag(true)),
        (id::RETAIN_AVAILABLE, Value::Flag(false)),
        (id::MAXIMUM_PACKET_SIZE, Value::Four(1 << 20)),
        (id::WILDCARD_SUBSCRIPTION_AVAILABLE, Value::Flag(false)),
        (id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Value::Flag(false)),
        (id::SHARED_SUBSCRIPTION_AVAILABLE, Value::Flag(false)),
    ];
    assert_eq!(properties, expected);
}

/// [MQTT-3.2.2-19]
#[test]
fn a_connack_drops_its_reason_string_where_it_does_not_fit() {
    let packet = ConnAck {
        reason: ReasonCode::BANNED,
        reason_string: Some("out"),
        ..ConnAck::default()
    };
    let within = |maximum| {
        let mut out = Vec::new();
        let fits = connack_within(&mut out, Version::V5, &packet, maximum);
        (fits, out)
    };
    assert_eq!(
        within(11),
        (true, b"\x20\x09\0\x8A\x06\x1F\0\x03out".to_vec())
    );
    assert_eq!(within(10), (true, b"\x20\x03\0\x8A\0".to_vec()));
    assert_eq!(within(5), (true, b"\x20\x03\0\x8A\0".to_vec()));
    assert_eq!(within(4), (false, vec![]));
}

proptest! {
    #[test]
    fn strings_of_any_length_make_a_connack_that_can_be_read(
        length in 0..70_000_usize,
        name in text(),
    ) {
        let long = "é".repeat(length);
        let packet = ConnAck {
            reason_string: Some(&long),
            assigned_client_id: Some(name),
            ..ConnAck::default()
        };
        let out = appended(|out| connack(out, Version::V5, &packet));
        let properties = properties(&body(&out)[2..], Carrier::CONNACK);
        prop_assert_eq!(properties[0].1, Value::Text(name));
        let cut = long.get(..65_534).unwrap_or(&long);
        prop_assert_eq!(properties[1].1, Value::Text(cut));
    }
}
