//! Packets to and from bytes.

use std::hint::black_box;
use std::num::NonZeroU16;

use protocol::wire::{
    PacketId, QoS, ReasonCode, Split, Version, decode, decode_connect, decode_publish, encode,
    split,
};

use super::Operation;

/// Above any packet here.
const PACKET_SIZE_MAX: u32 = 1 << 20;

pub(super) fn decode_publish_qos0() -> Operation {
    decoding(Version::V311, encoded(Version::V311, QoS::AtMostOnce, &[]))
}

pub(super) fn decode_publish_qos1_mqtt5() -> Operation {
    decoding(Version::V5, encoded(Version::V5, QoS::AtLeastOnce, &[]))
}

pub(super) fn decode_publish_with_properties() -> Operation {
    decoding(
        Version::V5,
        encoded(Version::V5, QoS::AtLeastOnce, PROPERTIES),
    )
}

pub(super) fn decode_puback() -> Operation {
    other(Version::V311, vec![0x40, 2, 0, 1])
}

pub(super) fn decode_subscribe() -> Operation {
    let mut bytes = vec![0x82, 25, 0, 1, 0, 19];
    bytes.extend_from_slice(b"fleet/+/telemetry/#\x01");
    bytes[1] = (bytes.len() - 2) as u8;
    other(Version::V311, bytes)
}

pub(super) fn decode_connect_mqtt5() -> Operation {
    let mut bytes = b"\x10\0\0\x04MQTT\x05\x02\0\x3c\x08\x11\0\0\x0e\x10\x21\0\x14".to_vec();
    bytes.extend_from_slice(b"\0\x0evehicle-123456");
    bytes[1] = (bytes.len() - 2) as u8;
    Box::new(move || {
        if let Ok(Split::Packet { first, body, .. }) = split(black_box(&bytes), PACKET_SIZE_MAX) {
            let _ = black_box(decode_connect(first, body));
        }
    })
}

pub(super) fn encode_publish_qos0() -> Operation {
    encoding(Version::V311, QoS::AtMostOnce, &[])
}

pub(super) fn encode_publish_with_properties() -> Operation {
    encoding(Version::V5, QoS::AtLeastOnce, PROPERTIES)
}

pub(super) fn encode_puback() -> Operation {
    let mut out = Vec::with_capacity(64);
    Box::new(move || {
        out.clear();
        encode::puback(&mut out, black_box(Version::V5), ID, ReasonCode::SUCCESS);
        black_box(&out);
    })
}

/// Content type and a user property.
const PROPERTIES: &[u8] = b"\x03\0\x0aapplicatio\x26\0\x04name\0\x05value";

const ID: PacketId = PacketId(NonZeroU16::MIN);

fn message(qos: QoS, properties: &[u8]) -> encode::Message<'_> {
    encode::Message {
        qos,
        retain: false,
        dup: false,
        topic: "fleet/vehicle-123456/telemetry",
        message_expiry: None,
        properties,
        subscription_ids: &[],
        topic_alias: None,
        payload: &[b'x'; 64],
    }
}

fn encoded(version: Version, qos: QoS, properties: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::publish(&mut out, version, &message(qos, properties), Some(ID));
    out
}

/// The hot path of a shard: split, and PUBLISH decoded on its own.
fn decoding(version: Version, bytes: Vec<u8>) -> Operation {
    Box::new(move || {
        if let Ok(Split::Packet { first, body, .. }) = split(black_box(&bytes), PACKET_SIZE_MAX) {
            let _ = black_box(decode_publish(version, first, body));
        }
    })
}

fn other(version: Version, bytes: Vec<u8>) -> Operation {
    Box::new(move || {
        if let Ok(Split::Packet { first, body, .. }) = split(black_box(&bytes), PACKET_SIZE_MAX) {
            let _ = black_box(decode(version, first, body));
        }
    })
}

fn encoding(version: Version, qos: QoS, properties: &'static [u8]) -> Operation {
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        encode::publish(
            &mut out,
            version,
            black_box(&message(qos, properties)),
            Some(ID),
        );
        black_box(&out);
    })
}
