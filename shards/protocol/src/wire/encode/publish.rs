//! PUBLISH.

use core::num::NonZeroU16;

use super::sink;
use crate::wire::properties::{Value, id};
use crate::wire::{PacketId, QoS, Version};

/// A message to a subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Quality of service of this delivery.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// Topic name, at most 65,535 bytes; empty beside an alias that the client knows.
    pub topic: &'a str,
    /// What is left of the Message Expiry Interval, in seconds.
    pub message_expiry: Option<u32>,
    /// The properties that are forwarded unaltered, as
    /// [`PublishProperties::forwarded_into`](crate::wire::PublishProperties::forwarded_into)
    /// gives them.
    pub properties: &'a [u8],
    /// Subscription Identifiers of the subscriptions that match, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// Topic Alias.
    pub topic_alias: Option<NonZeroU16>,
    /// Payload.
    pub payload: &'a [u8],
}

/// Appends a PUBLISH; 3.x leaves the properties off.
///
/// Returns where the packet identifier stands in `out`, and 0 at QoS 0, so that one
/// encoding can be copied to many receivers; see [`set_packet_id`]. Without a
/// `packet_id` its place is filled with 0.
pub fn publish(
    out: &mut Vec<u8>,
    version: Version,
    message: &Message<'_>,
    packet_id: Option<PacketId>,
) -> usize {
    let lengths = Lengths::of(version, message);
    if !sink::is_sendable(lengths.remaining) {
        return 0;
    }
    out.reserve(sink::packet_size(lengths.remaining));
    sink::fixed_header(out, first_byte(message), lengths.remaining);
    sink::binary(out, message.topic.as_bytes());
    let mut offset = 0;
    if message.qos != QoS::AtMostOnce {
        offset = out.len();
        let packet_id = packet_id.map_or(0, |PacketId(id)| id.get());
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        properties(out, message, lengths.properties);
    }
    out.extend_from_slice(message.payload);
    offset
}

/// The size of the packet that [`publish`] appends, to compare with the client's
/// Maximum Packet Size [MQTT-3.1.2-24].
#[must_use]
pub fn publish_size(version: Version, message: &Message<'_>) -> usize {
    sink::packet_size(Lengths::of(version, message).remaining)
}

/// Writes the packet identifier of an encoded PUBLISH. `offset`: where it stands in
/// `bytes`, as [`publish`] returned it for the buffer that `bytes` was copied from.
pub fn set_packet_id(bytes: &mut [u8], offset: usize, PacketId(id): PacketId) {
    let place = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = id.get().to_be_bytes();
    }
}

/// Where the Topic Alias of a message that has one stands in the packet that [`publish`]
/// appends in 5.0, counted from the packet's first byte; see [`set_topic_alias`].
#[must_use]
pub fn topic_alias_offset(message: &Message<'_>) -> usize {
    let behind = subscription_ids_size(message)
        .saturating_add(message.properties.len())
        .saturating_add(message.payload.len())
        .saturating_add(size_of::<u16>());
    publish_size(Version::V5, message).saturating_sub(behind)
}

/// Writes the Topic Alias of an encoded PUBLISH. `offset`: where it stands in `bytes`.
pub fn set_topic_alias(bytes: &mut [u8], offset: usize, alias: NonZeroU16) {
    let place = bytes.get_mut(offset..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = alias.get().to_be_bytes();
    }
}

/// What the fixed header and the properties say about their lengths.
struct Lengths {
    remaining: usize,
    /// Of the properties, without their length.
    properties: usize,
}

impl Lengths {
    #[inline]
    fn of(version: Version, message: &Message<'_>) -> Self {
        let packet_id = match message.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
        };
        let properties = match version {
            Version::V31 | Version::V311 => 0,
            Version::V5 => properties_size(message),
        };
        let properties_length = match version {
            Version::V31 | Version::V311 => 0,
            Version::V5 => sink::variable_size(properties),
        };
        let remaining = [
            message.topic.len(),
            packet_id,
            properties_length,
            properties,
        ]
        .into_iter()
        .fold(2, usize::saturating_add)
        .saturating_add(message.payload.len());
        Self {
            remaining,
            properties,
        }
    }
}

#[inline]
const fn first_byte(message: &Message<'_>) -> u8 {
    0x30 | (message.dup as u8) << 3 | (message.qos as u8) << 1 | message.retain as u8
}

#[inline]
fn properties_size(message: &Message<'_>) -> usize {
    let expiry = if message.message_expiry.is_some() {
        5
    } else {
        0
    };
    let alias = if message.topic_alias.is_some() {
        3
    } else {
        0_usize
    };
    subscription_ids_size(message)
        .saturating_add(message.properties.len())
        .saturating_add(expiry)
        .saturating_add(alias)
}

#[inline]
fn subscription_ids_size(message: &Message<'_>) -> usize {
    message
        .subscription_ids
        .iter()
        .map(|id| sink::variable_size(*id as usize).saturating_add(1))
        .fold(0, usize::saturating_add)
}

#[inline]
fn properties(out: &mut Vec<u8>, message: &Message<'_>, size: usize) {
    sink::variable(out, size);
    if size == 0 {
        return;
    }
    let expiry = message.message_expiry.map(Value::Four);
    sink::property_if(out, id::MESSAGE_EXPIRY_INTERVAL, expiry);
    let alias = message.topic_alias.map(|alias| Value::Two(alias.get()));
    sink::property_if(out, id::TOPIC_ALIAS, alias);
    for identifier in message.subscription_ids {
        sink::property(
            out,
            id::SUBSCRIPTION_IDENTIFIER,
            Value::Variable(*identifier),
        );
    }
    out.extend_from_slice(message.properties);
}
