//! The bodies of the fuzz targets: hostile bytes in, and what must hold for whatever
//! comes out. The tests of this module run them, too.

use super::{
    Connect, DecodeError, Packet, Publish, PublishProperties, QoS, Split, UserProperties, Version,
    check_length, decode, decode_connect, decode_publish, encode, split,
};

/// A stream that should begin with CONNECT.
pub fn fuzz_connect(input: &[u8]) {
    let Some((first, body, _)) = split_checked(input) else {
        return;
    };
    match decode_connect(first, body) {
        Ok(connect) => assert_connect(&connect),
        Err(error) => {
            assert!(error.error.reason_code().is_error());
            let known = error.version.is_some();
            assert!(
                error
                    .answer()
                    .is_none_or(|(_, reason)| known && reason.is_error())
            );
        }
    }
}

/// A version, and a stream of packets.
pub fn fuzz_packet(input: &[u8]) {
    let Some((version, mut input)) = split_version(input) else {
        return;
    };
    while let Some((first, body, size)) = split_checked(input) {
        match decode(version, first, body) {
            Ok(packet) => assert_packet(version, &packet),
            Err(error) => assert!(error.reason_code().is_error()),
        }
        input = input.get(size..).unwrap_or_default();
    }
}

/// A version, and a PUBLISH. What a subscriber gets is what the publisher sent.
pub fn fuzz_publish_roundtrip(input: &[u8]) {
    let Some((version, [first, body @ ..])) = split_version(input) else {
        return;
    };
    if let Ok(publish) = decode_publish(version, *first, body) {
        assert_publish(version, &publish);
        assert_forwarded(version, &publish);
    }
}

fn split_version(input: &[u8]) -> Option<(Version, &[u8])> {
    let (first, rest) = input.split_first()?;
    let version = match first % 3 {
        0 => Version::V31,
        1 => Version::V311,
        _ => Version::V5,
    };
    Some((version, rest))
}

/// First byte, body and size of the first packet, where [`split`] finds one.
fn split_checked(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    match split(input, u32::MAX) {
        Ok(Split::Packet { first, body, size }) => {
            assert_eq!(input.first(), Some(&first));
            assert!(
                input
                    .get(..size)
                    .is_some_and(|packet| packet.ends_with(body))
            );
            assert!((2..=5).contains(&size.saturating_sub(body.len())));
            assert_eq!(check_length(Version::V311, body, size), Ok(()));
            assert!(split(input, size as u32).is_ok());
            assert!(split(input, size.saturating_sub(1) as u32).is_err());
            let shorter = input.get(..size.saturating_sub(1)).unwrap_or_default();
            let needed = match split(shorter, u32::MAX) {
                Ok(Split::Incomplete { needed }) => needed,
                other => panic!("{other:?} of a packet without its last byte"),
            };
            assert!(needed.is_none_or(|needed| needed == size));
            Some((first, body, size))
        }
        Ok(Split::Incomplete { needed }) => {
            assert!(needed.is_none_or(|needed| needed > input.len()));
            None
        }
        Err(error) => {
            assert!(matches!(error, DecodeError::Malformed(_)));
            None
        }
    }
}

fn assert_connect(connect: &Connect<'_>) {
    assert_user_properties(&connect.user_properties);
    assert!(!connect.client_id.contains('\0'));
    assert!(connect.authentication_data.is_none() || connect.authentication_method.is_some());
    if let Some(will) = &connect.will {
        assert!(!will.topic.is_empty());
        assert_properties(&will.properties);
    }
    if connect.version != Version::V5 {
        assert!(connect.username.is_some() || connect.password.is_none());
        assert!(connect.user_properties.is_empty());
    }
}

fn assert_packet(version: Version, packet: &Packet<'_>) {
    match packet {
        Packet::Auth(auth) => {
            assert_eq!(version, Version::V5);
            assert!(auth.method.is_some());
            assert_user_properties(&auth.user_properties);
        }
        Packet::Disconnect(disconnect) => assert_user_properties(&disconnect.user_properties),
        Packet::PingReq => {}
        Packet::PubAck(ack) | Packet::PubComp(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) => {
            assert_user_properties(&ack.user_properties);
        }
        Packet::Publish(publish) => assert_publish(version, publish),
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.len() > 0);
            assert_eq!(subscribe.filters().count(), subscribe.len());
            assert_user_properties(&subscribe.user_properties);
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.len() > 0);
            assert_eq!(unsubscribe.filters().count(), unsubscribe.len());
            assert_user_properties(&unsubscribe.user_properties);
        }
    }
}

fn assert_publish(version: Version, publish: &Publish<'_>) {
    assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
    assert!(!publish.topic.contains(['\0', '+', '#']));
    assert!(!publish.topic.is_empty() || publish.properties.topic_alias().is_some());
    assert!(version == Version::V5 || publish.properties.is_empty());
    assert_properties(&publish.properties);
}

fn assert_properties(properties: &PublishProperties<'_>) {
    assert_user_properties(&properties.user_properties());
    let response_topic = properties.response_topic().unwrap_or_default();
    assert!(!response_topic.contains(['+', '#']));
    let mut forwarded = Vec::new();
    properties.forwarded_into(&mut forwarded);
    assert!(
        properties
            .forwarded()
            .is_none_or(|bytes| bytes == forwarded)
    );
}

fn assert_user_properties(properties: &UserProperties<'_>) {
    assert_eq!(properties.iter().count(), properties.len());
}

fn assert_forwarded(version: Version, publish: &Publish<'_>) {
    let topic = match publish.topic {
        "" => "known/by/its/alias",
        topic => topic,
    };
    let mut properties = Vec::new();
    publish.properties.forwarded_into(&mut properties);
    let message = encode::Message {
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        topic,
        message_expiry: publish.properties.message_expiry(),
        properties: &properties,
        subscription_ids: &[],
        topic_alias: None,
        payload: publish.payload,
    };
    let mut out = Vec::new();
    let offset = encode::publish(&mut out, version, &message, publish.packet_id);
    assert_eq!(offset == 0, publish.packet_id.is_none());
    assert_eq!(out.len(), encode::publish_size(version, &message));
    let again = match split(&out, u32::MAX) {
        Ok(Split::Packet { first, body, size }) => {
            assert_eq!(check_length(version, body, size), Ok(()));
            decode_publish(version, first, body)
        }
        other => panic!("{other:?} of an encoded PUBLISH"),
    };
    let again = again.unwrap_or_else(|error| panic!("an encoded PUBLISH has {error}"));
    assert_eq!(again.topic, topic);
    assert_eq!(again.payload, publish.payload);
    assert_eq!(
        (again.qos, again.retain, again.dup, again.packet_id),
        (publish.qos, publish.retain, publish.dup, publish.packet_id)
    );
    assert_eq!(again.properties.forwarded(), Some(properties.as_slice()));
    assert_eq!(
        again.properties.message_expiry(),
        publish.properties.message_expiry()
    );
    assert_eq!(
        again.properties.user_properties(),
        publish.properties.user_properties()
    );
}
