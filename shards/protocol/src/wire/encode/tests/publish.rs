use core::num::NonZeroU16;

use proptest::prelude::*;

use super::{BEFORE_5, appended, body, packet_id};
use crate::wire::encode::{
    Message, publish, publish_size, set_packet_id, set_topic_alias, topic_alias_offset,
};
use crate::wire::tests::strategies::{publish as publishes, version};
use crate::wire::{QoS, Version, decode_publish, encode};

fn message() -> Message<'static> {
    Message {
        qos: QoS::AtMostOnce,
        retain: false,
        dup: false,
        topic: "a/b",
        message_expiry: None,
        properties: &[],
        subscription_ids: &[],
        topic_alias: None,
        payload: b"xyz",
    }
}

#[test]
fn a_publish_at_qos_0_has_no_offset() {
    let message = Message {
        retain: true,
        ..message()
    };
    for version in BEFORE_5 {
        let mut out = Vec::new();
        assert_eq!(publish(&mut out, version, &message, Some(packet_id(7))), 0);
        assert_eq!(out, b"\x31\x08\0\x03a/bxyz");
    }
    let mut out = Vec::new();
    assert_eq!(publish(&mut out, Version::V5, &message, None), 0);
    assert_eq!(out, b"\x31\x09\0\x03a/b\0xyz");
}

#[test]
fn the_offset_is_where_the_packet_identifier_stands() {
    let message = Message {
        qos: QoS::ExactlyOnce,
        dup: true,
        ..message()
    };
    let mut out = vec![0xAA; 3];
    let offset = publish(&mut out, Version::V311, &message, Some(packet_id(0x1234)));
    assert_eq!(out[3..], *b"\x3C\x0A\0\x03a/b\x12\x34xyz");
    assert_eq!(out[offset..offset + 2], [0x12, 0x34]);
    set_packet_id(&mut out, offset, packet_id(0x5678));
    assert_eq!(out[3..], *b"\x3C\x0A\0\x03a/b\x56\x78xyz");
}

#[test]
fn a_packet_identifier_that_is_not_known_yet_is_left_to_fill_in() {
    let message = Message {
        qos: QoS::AtLeastOnce,
        ..message()
    };
    let mut out = Vec::new();
    let offset = publish(&mut out, Version::V311, &message, None);
    assert_eq!(out, b"\x32\x0A\0\x03a/b\0\0xyz");
    set_packet_id(&mut out, offset, packet_id(1));
    assert_eq!(out, b"\x32\x0A\0\x03a/b\0\x01xyz");
}

#[test]
fn an_offset_outside_writes_nothing() {
    let mut out = vec![0; 4];
    set_packet_id(&mut out, 3, packet_id(0x1234));
    set_packet_id(&mut out, 9, packet_id(0x1234));
    assert_eq!(out, [0; 4]);
}

/// [MQTT-3.3.4-4]
#[test]
fn what_the_server_adds_stands_before_what_it_forwards() {
    let message = Message {
        message_expiry: Some(60),
        properties: b"\x03\0\x01c",
        subscription_ids: &[1, 268_435_455],
        topic_alias: NonZeroU16::new(5),
        topic: "",
        ..message()
    };
    let out = appended(|out| publish(out, Version::V5, &message, None));
    let section = b"\x02\0\0\0\x3C\x23\0\x05\x0B\x01\x0B\xFF\xFF\xFF\x7F\x03\0\x01c";
    let expected = [b"\x30\x19\0\0\x13", &section[..], b"xyz"].concat();
    assert_eq!(out, expected);
    assert_eq!(publish_size(Version::V5, &message), out.len());
    let before_5 = appended(|out| publish(out, Version::V311, &message, None));
    assert_eq!(before_5, b"\x30\x05\0\0xyz");
}

#[test]
fn the_size_is_known_before() {
    let payload = vec![7; 20_000];
    // Around remaining lengths of 127 and 16,383 bytes.
    for length in [0, 1].into_iter().chain(115..125).chain(16_370..16_380) {
        for version in [Version::V311, Version::V5] {
            let message = Message {
                payload: &payload[..length],
                qos: QoS::AtLeastOnce,
                ..message()
            };
            let out = appended(|out| publish(out, version, &message, None));
            assert_eq!(publish_size(version, &message), out.len());
            assert!(body(&out).ends_with(message.payload));
        }
    }
}

#[test]
fn nothing_is_appended_of_a_message_that_fits_in_no_packet() {
    // Never written to, so that it takes no memory.
    let payload = vec![0; 268_435_451];
    let greatest = Message {
        payload: &payload[1..],
        ..message()
    };
    assert_eq!(publish_size(Version::V311, &greatest), 268_435_460);
    let too_long = Message {
        payload: &payload,
        ..message()
    };
    let mut out = Vec::new();
    assert_eq!(publish(&mut out, Version::V311, &too_long, None), 0);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn a_subscriber_reads_what_a_publisher_sent(
        (version, publish) in
            version().prop_flat_map(|version| (Just(version), publishes(version))),
        expiry in proptest::option::of(any::<u32>()),
    ) {
        let mut properties = Vec::new();
        publish.properties.forwarded_into(&mut properties);
        let message = Message {
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            topic: if publish.topic.is_empty() { "t" } else { publish.topic },
            message_expiry: expiry,
            properties: &properties,
            subscription_ids: &[],
            topic_alias: None,
            payload: publish.payload,
        };
        let mut out = Vec::new();
        encode::publish(&mut out, version, &message, publish.packet_id);
        let read = decode_publish(version, out[0], body(&out)).unwrap();
        prop_assert_eq!(read.topic, message.topic);
        prop_assert_eq!(read.payload, publish.payload);
        prop_assert_eq!(read.packet_id, publish.packet_id);
        prop_assert_eq!(
            (read.qos, read.dup, read.retain),
            (publish.qos, publish.dup, publish.retain)
        );
        let expected = expiry.filter(|_| version == Version::V5);
        prop_assert_eq!(read.properties.message_expiry(), expected);
        prop_assert_eq!(read.properties.forwarded(), Some(&properties[..]));
    }
}

#[test]
fn a_topic_alias_can_be_written_into_a_packet_that_was_encoded_with_another() {
    let alias = |alias| NonZeroU16::new(alias).unwrap();
    let encoded = |message: &Message<'_>| {
        let mut out = Vec::new();
        publish(&mut out, Version::V5, message, Some(packet_id(7)));
        out
    };
    let plain = Message {
        topic_alias: Some(alias(1)),
        ..message()
    };
    let full = Message {
        qos: QoS::AtLeastOnce,
        message_expiry: Some(60),
        properties: &[1, 1],
        subscription_ids: &[5, 300],
        topic: "",
        ..plain
    };
    for message in [plain, full] {
        let mut bytes = encoded(&message);
        set_topic_alias(&mut bytes, topic_alias_offset(&message), alias(0x1234));
        let other = Message {
            topic_alias: Some(alias(0x1234)),
            ..message
        };
        assert_eq!(bytes, encoded(&other));
    }
}
