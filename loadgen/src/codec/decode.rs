//! Packets from the server, decoded in place.

use std::fmt;

use super::length::{self, Length};
use super::properties::{Properties, Value};
use super::{AckKind, Qos, Version};

/// A packet that a server may send to a client. It borrows from the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Answer to CONNECT.
    Connack(Connack),
    /// A message.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Acknowledgement(Acknowledgement),
    /// Answer to SUBSCRIBE.
    Suback {
        /// The packet identifier of the SUBSCRIBE.
        packet_id: u16,
        /// One granted QoS or failure code per filter.
        codes: &'a [u8],
    },
    /// Answer to UNSUBSCRIBE.
    Unsuback {
        /// The packet identifier of the UNSUBSCRIBE.
        packet_id: u16,
        /// One reason code per filter in 5.0, none in 3.1.1.
        codes: &'a [u8],
    },
    /// Answer to PINGREQ.
    Pingresp,
    /// The server ends the connection (MQTT 5).
    Disconnect {
        /// The reason code.
        reason: u8,
    },
}

/// The content of a CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack {
    /// The server has kept a session of this client.
    pub session_present: bool,
    /// 0 for success; return code (3.1.1) or reason code (5.0) of a refusal.
    pub code: u8,
    /// How many QoS 1 and 2 messages the server takes unacknowledged; 65,535 unless it says so.
    pub receive_maximum: u16,
}

/// The content of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The level the server delivers at.
    pub qos: Qos,
    /// The server says that it may have sent this before.
    pub dup: bool,
    /// A stored message rather than a live one.
    pub retain: bool,
    /// The topic name, not empty.
    pub topic: &'a [u8],
    /// The packet identifier, 0 at QoS 0.
    pub packet_id: u16,
    /// The application's bytes.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which of the four.
    pub kind: AckKind,
    /// The exchange it belongs to.
    pub packet_id: u16,
    /// The reason code, 0 where the packet has none; 0x80 and above refuse the message.
    pub reason: u8,
}

/// Bytes that no server may send. The connection cannot go on after one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The remaining length has more than four bytes, or is longer than needed.
    RemainingLength,
    /// A packet type that only a client sends, or that does not exist.
    PacketType(u8),
    /// Fixed header flags that the standard does not allow for this packet.
    Flags(u8),
    /// The packet is too short or too long for its type.
    Size(u8),
    /// A property block with an unknown property or a wrong length.
    Properties,
    /// A PUBLISH with QoS 3.
    Qos,
    /// A topic name that is empty or holds a wildcard or NUL.
    Topic,
    /// Packet identifier 0.
    PacketId,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemainingLength => formatter.write_str("a malformed remaining length"),
            Self::PacketType(kind) => write!(formatter, "packet type {kind}, not for a client"),
            Self::Flags(byte) => write!(formatter, "wrong flags in first byte {byte:#04x}"),
            Self::Size(byte) => write!(formatter, "a packet {byte:#04x} of impossible size"),
            Self::Properties => formatter.write_str("malformed properties"),
            Self::Qos => formatter.write_str("a PUBLISH with QoS 3"),
            Self::Topic => formatter.write_str("an empty topic name or one with a wildcard"),
            Self::PacketId => formatter.write_str("packet identifier 0"),
        }
    }
}

/// Decodes the packet at the start of `bytes`: the packet and its length, or `None` while it is
/// incomplete.
#[inline]
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (length, width) = match length::read(&bytes[1..]) {
        Length::Value(length, width) => (length, width),
        Length::Incomplete => return Ok(None),
        Length::Malformed => return Err(Malformed::RemainingLength),
    };
    let end = 1 + width + length;
    let Some(body) = bytes.get(1 + width..end) else {
        return Ok(None);
    };
    let packet = match first >> 4 {
        3 => publish(first, body, version)?,
        _ => control(first, body, version)?,
    };
    Ok(Some((packet, end)))
}

#[inline]
fn publish(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let qos = Qos::from_number(first >> 1 & 3).ok_or(Malformed::Qos)?;
    let dup = first & 0x08 != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(Malformed::Flags(first)); // [MQTT-3.3.1-2]
    }
    let size = Malformed::Size(first);
    let (topic_length, rest) = body.split_at_checked(2).ok_or(size)?;
    let topic_length = usize::from(u16::from_be_bytes([topic_length[0], topic_length[1]]));
    let (topic, mut rest) = rest.split_at_checked(topic_length).ok_or(size)?;
    check_topic(topic)?;
    let mut packet_id = 0;
    if qos != Qos::AtMostOnce {
        packet_id = identifier(rest, size)?;
        rest = &rest[2..];
    }
    if version == Version::V5 {
        rest = after_properties(rest)?;
    }
    let retain = first & 1 != 0;
    Ok(Packet::Publish(Publish {
        qos,
        dup,
        retain,
        topic,
        packet_id,
        payload: rest,
    }))
}

/// Wildcards, NUL and the empty name (topic aliases are never allowed by this client).
/// UTF-8 is not checked here: the receiver compares the topic with the one that was sent.
#[inline]
fn check_topic(topic: &[u8]) -> Result<(), Malformed> {
    let bad = |byte: &u8| matches!(byte, b'+' | b'#' | 0);
    if topic.is_empty() || topic.iter().any(bad) {
        Err(Malformed::Topic)
    } else {
        Ok(())
    }
}

#[inline]
fn after_properties(rest: &[u8]) -> Result<&[u8], Malformed> {
    if let [0, rest @ ..] = rest {
        return Ok(rest);
    }
    let (properties, rest) = Properties::split(rest)?;
    properties.check()?;
    Ok(rest)
}

#[inline]
fn identifier(bytes: &[u8], size: Malformed) -> Result<u16, Malformed> {
    let &[high, low, ..] = bytes else {
        return Err(size);
    };
    match u16::from_be_bytes([high, low]) {
        0 => Err(Malformed::PacketId),
        id => Ok(id),
    }
}

fn control(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let expected_flags = if first >> 4 == 6 { 2 } else { 0 };
    if first & 0x0f != expected_flags {
        return Err(Malformed::Flags(first));
    }
    match first >> 4 {
        2 => connack(body, version),
        4 => acknowledgement(AckKind::Puback, body, version),
        5 => acknowledgement(AckKind::Pubrec, body, version),
        6 => acknowledgement(AckKind::Pubrel, body, version),
        7 => acknowledgement(AckKind::Pubcomp, body, version),
        9 => suback(body, version),
        11 => unsuback(body, version),
        13 if body.is_empty() => Ok(Packet::Pingresp),
        13 => Err(Malformed::Size(first)),
        14 if version == Version::V5 => disconnect(body),
        kind => Err(Malformed::PacketType(kind)),
    }
}

fn connack(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let &[flags, code, ref rest @ ..] = body else {
        return Err(Malformed::Size(0x20));
    };
    if flags > 1 {
        return Err(Malformed::Flags(flags)); // [MQTT-3.2.2-1]
    }
    let mut receive_maximum = u16::MAX;
    match version {
        Version::V311 if !rest.is_empty() => return Err(Malformed::Size(0x20)),
        Version::V311 => {}
        Version::V5 => {
            let (properties, rest) = Properties::split(rest)?;
            if !rest.is_empty() {
                return Err(Malformed::Size(0x20));
            }
            for property in properties {
                if let (0x21, Value::Integer(value)) = property? {
                    receive_maximum = u16::try_from(value).unwrap_or(u16::MAX);
                }
            }
        }
    }
    Ok(Packet::Connack(Connack {
        session_present: flags == 1,
        code,
        receive_maximum,
    }))
}

#[inline]
fn acknowledgement(kind: AckKind, body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let size = Malformed::Size(kind.first_byte());
    let packet_id = identifier(body, size)?;
    let reason = match (&body[2..], version) {
        ([], _) => 0,
        ([reason], Version::V5) => *reason,
        ([reason, rest @ ..], Version::V5) => {
            let (properties, rest) = Properties::split(rest)?;
            properties.check()?;
            if !rest.is_empty() {
                return Err(size);
            }
            *reason
        }
        (_, Version::V311) => return Err(size),
    };
    Ok(Packet::Acknowledgement(Acknowledgement {
        kind,
        packet_id,
        reason,
    }))
}

fn suback(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let size = Malformed::Size(0x90);
    let packet_id = identifier(body, size)?;
    let codes = match version {
        Version::V311 => &body[2..],
        Version::V5 => after_properties(&body[2..])?,
    };
    if codes.is_empty() {
        return Err(size);
    }
    Ok(Packet::Suback { packet_id, codes })
}

fn unsuback(body: &[u8], version: Version) -> Result<Packet<'_>, Malformed> {
    let size = Malformed::Size(0xb0);
    let packet_id = identifier(body, size)?;
    let codes = match version {
        Version::V311 => &body[2..],
        Version::V5 => after_properties(&body[2..])?,
    };
    if codes.is_empty() != (version == Version::V311) {
        return Err(size);
    }
    Ok(Packet::Unsuback { packet_id, codes })
}

fn disconnect(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let reason = match body {
        [] => 0,
        [reason] => *reason,
        [reason, rest @ ..] => {
            let (properties, rest) = Properties::split(rest)?;
            properties.check()?;
            if !rest.is_empty() {
                return Err(Malformed::Size(0xe0));
            }
            *reason
        }
    };
    Ok(Packet::Disconnect { reason })
}
