//! What a decoded packet is.

use core::num::{NonZeroU16, NonZeroU32};

use super::{PublishProperties, ReasonCode, UserProperties};

/// The protocol level of a connection, by the byte that names it in CONNECT.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`).
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Quality of service.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

/// A packet identifier: never zero [MQTT-2.2.1-3].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PacketId(pub NonZeroU16);

/// CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connect<'a> {
    /// The protocol level asked for.
    pub version: Version,
    /// Clean Start (5.0) or Clean Session (3.x).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive: u16,
    /// The client identifier; empty when the client wants one assigned.
    pub client_id: &'a str,
    /// The will.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval in seconds, 0 where absent (5.0);
    /// `u32::MAX` never expires. 3.x: 0 with clean session, else `u32::MAX`.
    pub session_expiry: u32,
    /// Receive Maximum, 65,535 where absent.
    pub receive_maximum: NonZeroU16,
    /// Maximum Packet Size in bytes.
    pub maximum_packet_size: Option<NonZeroU32>,
    /// Topic Alias Maximum, 0 where absent.
    pub topic_alias_maximum: u16,
    /// Request Response Information.
    pub request_response_information: bool,
    /// Request Problem Information, true where absent.
    pub request_problem_information: bool,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data; only with a method.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

/// The will in CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will<'a> {
    /// Quality of service to publish it with.
    pub qos: QoS,
    /// Whether to retain it.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay: u32,
    /// Topic: UTF-8 without U+0000 and not empty; wildcards are not checked here
    /// (see [`crate::topic::TopicName`]).
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// The PUBLISH properties given for the will, message expiry included.
    pub properties: PublishProperties<'a>,
}

/// PUBLISH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Publish<'a> {
    /// A re-delivery.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Topic as sent: valid UTF-8 without U+0000; empty only in 5.0 beside a topic
    /// alias. Free of `+` and `#` [MQTT-3.3.2-2].
    pub topic: &'a str,
    /// Packet identifier; `Some` exactly with QoS above 0.
    pub packet_id: Option<PacketId>,
    /// Properties (empty in 3.x).
    pub properties: PublishProperties<'a>,
    /// Payload.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Reason code; [`ReasonCode::SUCCESS`] in 3.x. Checked to be one that the
    /// packet type allows.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

/// The options byte of one subscription, with only valid values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: QoS,
    /// No Local (5.0).
    pub no_local: bool,
    /// Retain As Published (5.0).
    pub retain_as_published: bool,
    /// Retain Handling (5.0); [`RetainHandling::Send`] in 3.x.
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent at SUBSCRIBE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: always.
    Send = 0,
    /// 1: only if the subscription is new.
    SendIfNew = 1,
    /// 2: never.
    DontSend = 2,
}

/// SUBSCRIBE. Holds at least one filter [MQTT-3.8.3-2].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// Subscription Identifier (1 to 268,435,455).
    pub identifier: Option<NonZeroU32>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    pub(super) version: Version,
    /// The filters and their options, checked.
    pub(super) payload: &'a [u8],
    /// How many filters there are.
    pub(super) count: usize,
}

/// UNSUBSCRIBE. Holds at least one filter [MQTT-3.10.3-2].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties.
    pub user_properties: UserProperties<'a>,
    /// The filters, checked.
    pub(super) payload: &'a [u8],
    /// How many filters there are.
    pub(super) count: usize,
}

/// DISCONNECT from a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disconnect<'a> {
    /// Reason code; [`ReasonCode::SUCCESS`] (normal disconnection) in 3.x.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

/// AUTH (5.0).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Auth<'a> {
    /// Reason code.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User properties.
    pub user_properties: UserProperties<'a>,
}

/// A packet that a client may send after its CONNECT. What only a server may send
/// is a protocol error already in [`super::decode`], and so is a second CONNECT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Packet<'a> {
    /// AUTH.
    Auth(Auth<'a>),
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// PINGREQ.
    PingReq,
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
}
