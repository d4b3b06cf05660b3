use super::*;
use crate::wire::{PacketId, ReasonCode, client};

fn error(version: Version, first: u8, body: &[u8]) -> DecodeError {
    decode_publish(version, first, body).unwrap_err()
}

/// A 5.0 PUBLISH at QoS 0 to `t` with these properties and the payload `p`.
fn with_properties(section: &[u8]) -> Vec<u8> {
    with_topic(b"\0\x01t", section)
}

fn with_topic(topic: &[u8], section: &[u8]) -> Vec<u8> {
    let mut body = topic.to_vec();
    client::properties(&mut body, section);
    body.push(b'p');
    body
}

#[test]
fn a_publish_at_qos_0_has_no_packet_identifier() {
    let publish = decode_publish(Version::V311, 0x31, b"\0\x03a/bpayload").unwrap();
    assert_eq!((publish.topic, publish.payload), ("a/b", &b"payload"[..]));
    assert_eq!((publish.qos, publish.packet_id), (QoS::AtMostOnce, None));
    assert!(publish.retain && !publish.dup && publish.properties.is_empty());
}

#[test]
fn a_publish_above_qos_0_has_a_packet_identifier() {
    for (first, dup, qos) in [
        (0x32, false, QoS::AtLeastOnce),
        (0x3A, true, QoS::AtLeastOnce),
        (0x34, false, QoS::ExactlyOnce),
        (0x3C, true, QoS::ExactlyOnce),
    ] {
        let publish = decode_publish(Version::V311, first, b"\0\x01a\x12\x34").unwrap();
        let Some(PacketId(id)) = publish.packet_id else {
            panic!("no packet identifier")
        };
        assert_eq!((publish.dup, publish.qos, id.get()), (dup, qos, 0x1234));
        assert_eq!(publish.payload, b"");
    }
}

/// [MQTT-3.3.1-4]
#[test]
fn qos_3_is_malformed() {
    for first in [0x36, 0x37, 0x3E, 0x3F] {
        assert_eq!(
            error(Version::V5, first, b"\0\x01a\0\x01\0"),
            Malformed::QoS3.into()
        );
    }
}

/// [MQTT-3.3.1-2]
#[test]
fn dup_at_qos_0_is_malformed() {
    for first in [0x38, 0x39] {
        assert_eq!(
            error(Version::V311, first, b"\0\x01a"),
            Malformed::DupAtQoS0.into()
        );
    }
}

/// [MQTT-2.2.1-3]
#[test]
fn packet_identifier_0_is_a_protocol_error() {
    for (version, body) in [
        (Version::V311, &b"\0\x01a\0\0"[..]),
        (Version::V5, b"\0\x01a\0\0\0"),
    ] {
        assert_eq!(
            error(version, 0x32, body),
            ProtocolError::PacketIdZero.into()
        );
    }
}

/// Section 3.3.2.1; [MQTT-4.7.3-1]
#[test]
fn an_empty_topic_needs_an_alias() {
    let empty = ProtocolError::TopicNameEmpty.into();
    assert_eq!(error(Version::V311, 0x30, b"\0\0p"), empty);
    assert_eq!(error(Version::V5, 0x30, b"\0\0\0p"), empty);
    let body = with_topic(b"\0\0", b"\x23\0\x07");
    let publish = decode_publish(Version::V5, 0x30, &body).unwrap();
    assert_eq!(publish.topic, "");
    assert_eq!(publish.properties.topic_alias().unwrap().get(), 7);
}

/// [MQTT-3.3.2-2]
#[test]
fn a_wildcard_in_the_topic_is_a_protocol_error() {
    for topic in [
        &b"\0\x01#"[..],
        b"\0\x03a/+",
        b"\0\x15a/longer/topic/with/#/i",
    ] {
        let error = error(Version::V311, 0x30, topic);
        assert_eq!(error, ProtocolError::TopicNameWildcard.into());
        assert_eq!(error.reason_code(), ReasonCode::PROTOCOL_ERROR);
    }
}

#[test]
fn a_topic_that_is_not_utf8_or_has_a_null_character_is_malformed() {
    assert_eq!(
        error(Version::V311, 0x30, b"\0\x02\xC0\x80"),
        Malformed::NotUtf8.into()
    );
    assert_eq!(
        error(Version::V311, 0x30, b"\0\x03\xED\xA0\x80"),
        Malformed::NotUtf8.into()
    );
    assert_eq!(
        error(Version::V311, 0x30, b"\0\x02a\0"),
        Malformed::NullCharacter.into()
    );
}

#[test]
fn a_topic_of_65535_bytes_is_accepted() {
    let body = [b"\xFF\xFF".to_vec(), vec![b'/'; 65_535]].concat();
    let publish = decode_publish(Version::V311, 0x30, &body).unwrap();
    assert_eq!(publish.topic.len(), 65_535);
}

#[test]
fn a_publish_cut_short_in_its_header_is_malformed() {
    let whole = with_topic(b"\0\x01t\0\x01", b"\x01\x01");
    for end in 0..whole.len() - 1 {
        assert_eq!(
            error(Version::V5, 0x32, &whole[..end]),
            Malformed::Truncated.into()
        );
    }
    assert!(decode_publish(Version::V5, 0x32, &whole[..whole.len() - 1]).is_ok());
}

#[test]
fn the_properties_are_read_and_kept_as_they_are() {
    let section = b"\x01\x01\x02\0\0\0\x3C\x03\0\x01c\x08\0\x01r\x09\0\x02\xFF\0\x26\0\x01k\0\x01v";
    let body = with_properties(section);
    let publish = decode_publish(Version::V5, 0x30, &body).unwrap();
    let properties = publish.properties;
    assert!(properties.payload_is_utf8());
    assert_eq!(properties.message_expiry(), Some(60));
    assert_eq!(properties.content_type(), Some("c"));
    assert_eq!(properties.response_topic(), Some("r"));
    assert_eq!(properties.correlation_data(), Some(&b"\xFF\0"[..]));
    assert_eq!(properties.topic_alias(), None);
    assert!(properties.user_properties().iter().eq([("k", "v")]));
    assert_eq!(publish.payload, b"p");
}

#[test]
fn a_payload_format_of_0_says_nothing_of_the_payload() {
    let body = with_properties(b"\x01\0");
    let publish = decode_publish(Version::V5, 0x30, &body).unwrap();
    assert!(!publish.properties.payload_is_utf8());
    assert_eq!(publish.properties.forwarded(), Some(&b"\x01\0"[..]));
}

/// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-18]
#[test]
fn what_is_forwarded_is_a_slice_where_the_rest_stands_at_the_ends() {
    let expiry = b"\x02\0\0\0\x3C";
    let alias = b"\x23\0\x01";
    let content = b"\x03\0\x01c";
    let user = b"\x26\0\x01k\0\x01v";
    let forwarded = |parts: &[&[u8]]| {
        let body = with_properties(&parts.concat());
        let properties = decode_publish(Version::V5, 0x30, &body).unwrap().properties;
        let mut copied = Vec::new();
        properties.forwarded_into(&mut copied);
        (properties.forwarded().map(<[u8]>::to_vec), copied)
    };
    let both = [&content[..], user].concat();
    let whole = (Some(both.clone()), both.clone());
    assert_eq!(forwarded(&[content, user]), whole);
    assert_eq!(forwarded(&[expiry, alias, content, user]), whole);
    assert_eq!(forwarded(&[alias, content, user, expiry]), whole);
    assert_eq!(forwarded(&[content, expiry, user, alias]), (None, both));
    assert_eq!(forwarded(&[expiry, alias]), (Some(vec![]), vec![]));
    assert_eq!(forwarded(&[]), (Some(vec![]), vec![]));
}

/// [MQTT-3.3.2-8]
#[test]
fn topic_alias_0_has_a_reason_code_of_its_own() {
    let error = error(Version::V5, 0x30, &with_properties(b"\x23\0\0"));
    assert_eq!(error, ProtocolError::TopicAliasZero.into());
    assert_eq!(error.reason_code(), ReasonCode::TOPIC_ALIAS_INVALID);
}

/// [MQTT-3.3.4-6]
#[test]
fn a_subscription_identifier_from_a_client_is_a_protocol_error() {
    let error = error(Version::V5, 0x30, &with_properties(b"\x0B\x01"));
    assert_eq!(
        error,
        ProtocolError::SubscriptionIdentifierFromClient.into()
    );
}

/// [MQTT-3.3.2-14]
#[test]
fn a_response_topic_with_a_wildcard_is_a_protocol_error() {
    for section in [&b"\x08\0\x03a/#"[..], b"\x08\0\x01+"] {
        let error = error(Version::V5, 0x30, &with_properties(section));
        assert_eq!(error, ProtocolError::ResponseTopicWildcard.into());
    }
}

/// [MQTT-4.7.3-1]
#[test]
fn an_empty_response_topic_is_a_protocol_error() {
    let error = error(Version::V5, 0x30, &with_properties(b"\x08\0\0"));
    assert_eq!(error, ProtocolError::ResponseTopicEmpty.into());
}

#[test]
fn a_property_twice_is_a_protocol_error_unless_it_is_a_user_property() {
    for once in [
        &b"\x01\x01"[..],
        b"\x02\0\0\0\x01",
        b"\x03\0\0",
        b"\x08\0\x01a",
        b"\x09\0\0",
        b"\x23\0\x01",
    ] {
        let twice = with_properties(&[once, once].concat());
        assert_eq!(
            error(Version::V5, 0x30, &twice),
            ProtocolError::PropertyTwice.into()
        );
    }
    let user = client::user_properties(vec![("", ""); 300]);
    let body = with_properties(&user);
    let publish = decode_publish(Version::V5, 0x30, &body).unwrap();
    assert_eq!(publish.properties.user_properties().len(), 300);
}

#[test]
fn foreign_properties_are_malformed() {
    for section in [
        &b"\x11\0\0\0\0"[..],
        b"\x18\0\0\0\0",
        b"\x1F\0\0",
        b"\x15\0\0",
    ] {
        let error = error(Version::V5, 0x30, &with_properties(section));
        assert_eq!(error, Malformed::PropertyNotAllowed.into());
    }
}

/// [MQTT-1.5.7-1]
#[test]
fn a_user_property_that_is_not_utf8_is_malformed() {
    for section in [&b"\x26\0\x01\xFF\0\0"[..], b"\x26\0\0\0\x01\xFF"] {
        let error = error(Version::V5, 0x30, &with_properties(section));
        assert_eq!(error, Malformed::NotUtf8.into());
    }
}
