//! Table 2-4 of the specification: identifiers, types and packets of properties.

use core::ops::BitOr;

use crate::wire::ProtocolError;

/// Property identifiers. All are one byte long, though the type is Variable Byte Integer.
pub(in crate::wire) mod id {
    pub(in crate::wire) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(in crate::wire) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(in crate::wire) const CONTENT_TYPE: u8 = 0x03;
    pub(in crate::wire) const RESPONSE_TOPIC: u8 = 0x08;
    pub(in crate::wire) const CORRELATION_DATA: u8 = 0x09;
    pub(in crate::wire) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(in crate::wire) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(in crate::wire) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(in crate::wire) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(in crate::wire) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in crate::wire) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(in crate::wire) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(in crate::wire) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(in crate::wire) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(in crate::wire) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(in crate::wire) const SERVER_REFERENCE: u8 = 0x1C;
    pub(in crate::wire) const REASON_STRING: u8 = 0x1F;
    pub(in crate::wire) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in crate::wire) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in crate::wire) const TOPIC_ALIAS: u8 = 0x23;
    pub(in crate::wire) const MAXIMUM_QOS: u8 = 0x24;
    pub(in crate::wire) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(in crate::wire) const USER_PROPERTY: u8 = 0x26;
    pub(in crate::wire) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(in crate::wire) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(in crate::wire) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(in crate::wire) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// A set of places where properties stand: packet types, and the will.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Carrier(u16);

impl Carrier {
    pub(in crate::wire) const CONNECT: Self = Self(1);
    pub(in crate::wire) const CONNACK: Self = Self(1 << 1);
    pub(in crate::wire) const PUBLISH: Self = Self(1 << 2);
    pub(in crate::wire) const WILL: Self = Self(1 << 3);
    /// PUBACK, PUBREC, PUBREL and PUBCOMP.
    pub(in crate::wire) const ACK: Self = Self(1 << 4);
    pub(in crate::wire) const SUBSCRIBE: Self = Self(1 << 5);
    pub(in crate::wire) const SUBACK: Self = Self(1 << 6);
    pub(in crate::wire) const UNSUBSCRIBE: Self = Self(1 << 7);
    pub(in crate::wire) const UNSUBACK: Self = Self(1 << 8);
    pub(in crate::wire) const DISCONNECT: Self = Self(1 << 9);
    pub(in crate::wire) const AUTH: Self = Self(1 << 10);
    /// Any of them.
    pub(in crate::wire) const ANY: Self = Self(u16::MAX);

    /// Whether the two sets have a member in common.
    pub(in crate::wire) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Carrier {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

/// How the value of a property is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Binary,
    /// A byte of 0 or 1.
    Flag,
    Four,
    Pair,
    Text,
    Two,
    Variable,
}

/// What is to know about a property.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) carriers: Carrier,
    /// What a value of 0 is.
    pub(super) zero: Option<ProtocolError>,
}

/// The property of that identifier.
pub(super) const fn row(identifier: u8) -> Option<Row> {
    use Carrier as C;
    use Kind::{Binary, Flag, Four, Pair, Text, Two, Variable};
    use ProtocolError as P;

    Some(match identifier {
        id::PAYLOAD_FORMAT_INDICATOR => plain(Flag, C::PUBLISH.or(C::WILL)),
        id::MESSAGE_EXPIRY_INTERVAL => plain(Four, C::PUBLISH.or(C::WILL)),
        id::CONTENT_TYPE => plain(Text, C::PUBLISH.or(C::WILL)),
        id::RESPONSE_TOPIC => plain(Text, C::PUBLISH.or(C::WILL)),
        id::CORRELATION_DATA => plain(Binary, C::PUBLISH.or(C::WILL)),
        id::SUBSCRIPTION_IDENTIFIER => {
            let carriers = C::PUBLISH.or(C::SUBSCRIBE);
            positive(Variable, carriers, P::SubscriptionIdentifierZero)
        }
        id::SESSION_EXPIRY_INTERVAL => plain(Four, C::CONNECT.or(C::CONNACK).or(C::DISCONNECT)),
        id::ASSIGNED_CLIENT_IDENTIFIER => plain(Text, C::CONNACK),
        id::SERVER_KEEP_ALIVE => plain(Two, C::CONNACK),
        id::AUTHENTICATION_METHOD => plain(Text, C::CONNECT.or(C::CONNACK).or(C::AUTH)),
        id::AUTHENTICATION_DATA => plain(Binary, C::CONNECT.or(C::CONNACK).or(C::AUTH)),
        id::REQUEST_PROBLEM_INFORMATION => plain(Flag, C::CONNECT),
        id::WILL_DELAY_INTERVAL => plain(Four, C::WILL),
        id::REQUEST_RESPONSE_INFORMATION => plain(Flag, C::CONNECT),
        id::RESPONSE_INFORMATION => plain(Text, C::CONNACK),
        id::SERVER_REFERENCE => plain(Text, C::CONNACK.or(C::DISCONNECT)),
        id::REASON_STRING => {
            let acks = C::CONNACK.or(C::ACK).or(C::SUBACK).or(C::UNSUBACK);
            plain(Text, acks.or(C::DISCONNECT).or(C::AUTH))
        }
        id::RECEIVE_MAXIMUM => positive(Two, C::CONNECT.or(C::CONNACK), P::ReceiveMaximumZero),
        id::TOPIC_ALIAS_MAXIMUM => plain(Two, C::CONNECT.or(C::CONNACK)),
        id::TOPIC_ALIAS => positive(Two, C::PUBLISH, P::TopicAliasZero),
        id::MAXIMUM_QOS => plain(Flag, C::CONNACK),
        id::RETAIN_AVAILABLE => plain(Flag, C::CONNACK),
        id::USER_PROPERTY => plain(Pair, C::ANY),
        id::MAXIMUM_PACKET_SIZE => {
            positive(Four, C::CONNECT.or(C::CONNACK), P::MaximumPacketSizeZero)
        }
        id::WILDCARD_SUBSCRIPTION_AVAILABLE => plain(Flag, C::CONNACK),
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => plain(Flag, C::CONNACK),
        id::SHARED_SUBSCRIPTION_AVAILABLE => plain(Flag, C::CONNACK),
        _ => return None,
    })
}

const fn plain(kind: Kind, carriers: Carrier) -> Row {
    Row {
        kind,
        carriers,
        zero: None,
    }
}

const fn positive(kind: Kind, carriers: Carrier, zero: ProtocolError) -> Row {
    Row {
        kind,
        carriers,
        zero: Some(zero),
    }
}

#[cfg(test)]
mod tests;
