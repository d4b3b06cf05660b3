//! CONNACK.

use super::sink::{self, Part, Properties, Sink, property_if};
use crate::wire::properties::{Value, id};
use crate::wire::{QoS, ReasonCode, Version};

/// The answer to CONNECT. What stands for a limit is not sent where it is MQTT's own.
#[derive(Clone, Copy, Debug)]
pub struct ConnAck<'a> {
    /// Session Present; only sent with Success [MQTT-3.2.2-6] and not in 3.1.
    pub session_present: bool,
    /// Reason code.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds, if another than the client asked for.
    pub session_expiry: Option<u32>,
    /// Receive Maximum of the server, in packets.
    pub receive_maximum: Option<u16>,
    /// Maximum QoS.
    pub maximum_qos: QoS,
    /// Retain Available.
    pub retain_available: bool,
    /// Maximum Packet Size of the server, in bytes.
    pub maximum_packet_size: Option<u32>,
    /// Assigned Client Identifier, if the client sent none [MQTT-3.2.2-16].
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum of the server; 0 is none.
    pub topic_alias_maximum: u16,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Wildcard Subscription Available.
    pub wildcard_subscription_available: bool,
    /// Subscription Identifiers Available.
    pub subscription_identifier_available: bool,
    /// Shared Subscription Available.
    pub shared_subscription_available: bool,
    /// Server Keep Alive in seconds, if the client is to use it [MQTT-3.2.2-21].
    pub server_keep_alive: Option<u16>,
    /// Response Information; only if requested.
    pub response_information: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub authentication_method: Option<&'a str>,
    /// Authentication Data.
    pub authentication_data: Option<&'a [u8]>,
}

impl Default for ConnAck<'_> {
    /// Success, and no limit but MQTT's.
    fn default() -> Self {
        Self {
            session_present: false,
            reason: ReasonCode::SUCCESS,
            session_expiry: None,
            receive_maximum: None,
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            maximum_packet_size: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_identifier_available: true,
            shared_subscription_available: true,
            server_keep_alive: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }
    }
}

/// Appends a CONNACK. 3.x has return codes for some reasons only; for another nothing
/// is appended, and the connection is to be closed without a CONNACK
/// [3.1.1 MQTT-3.2.2-6].
pub fn connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) {
    let session_present = connack.session_present && connack.reason == ReasonCode::SUCCESS;
    let flags = u8::from(session_present);
    match version {
        Version::V31 | Version::V311 => {
            let flags = if version == Version::V31 { 0 } else { flags };
            if let Some(code) = return_code(connack.reason) {
                out.extend_from_slice(&[0x20, 2, flags, code]);
            }
        }
        Version::V5 => sink::packet(out, 0x20, &Body { flags, connack }),
    }
}

/// The size of the packet that [`connack`] appends, in bytes.
#[must_use]
pub fn connack_size(version: Version, connack: &ConnAck<'_>) -> usize {
    match version {
        Version::V31 | Version::V311 => 4,
        Version::V5 => sink::packet_size(Body { flags: 0, connack }.size()),
    }
}

/// Appends a CONNACK of at most `maximum_packet_size` bytes, without its reason string
/// if it does not fit with it [MQTT-3.2.2-19]. Returns whether it could: `false` has
/// appended nothing.
pub fn connack_within(
    out: &mut Vec<u8>,
    version: Version,
    packet: &ConnAck<'_>,
    maximum_packet_size: u32,
) -> bool {
    let short = ConnAck {
        reason_string: None,
        ..*packet
    };
    let fitting = [packet, &short]
        .into_iter()
        .find(|packet| connack_size(version, packet) as u64 <= u64::from(maximum_packet_size));
    if let Some(packet) = fitting {
        connack(out, version, packet);
    }
    fitting.is_some()
}

/// The return code of 3.x (table 3.1 of 3.1.1) for a reason.
const fn return_code(reason: ReasonCode) -> Option<u8> {
    Some(match reason {
        ReasonCode::SUCCESS => 0,
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => 1,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => 2,
        ReasonCode::SERVER_UNAVAILABLE
        | ReasonCode::SERVER_BUSY
        | ReasonCode::SERVER_SHUTTING_DOWN
        | ReasonCode::QUOTA_EXCEEDED
        | ReasonCode::USE_ANOTHER_SERVER
        | ReasonCode::SERVER_MOVED
        | ReasonCode::CONNECTION_RATE_EXCEEDED => 3,
        ReasonCode::BAD_USER_NAME_OR_PASSWORD | ReasonCode::BAD_AUTHENTICATION_METHOD => 4,
        ReasonCode::NOT_AUTHORIZED | ReasonCode::BANNED => 5,
        _ => return None,
    })
}

/// What follows the fixed header in 5.0.
struct Body<'a> {
    flags: u8,
    connack: &'a ConnAck<'a>,
}

impl Part for Body<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.put(&[self.flags, self.connack.reason.0]);
        Properties(self.connack).write(sink);
    }
}

/// The properties.
impl Part for &ConnAck<'_> {
    fn write(&self, sink: &mut impl Sink) {
        self.write_limits(sink);
        self.write_features(sink);
        let client_id = self.assigned_client_id.map(Value::Text);
        property_if(sink, id::ASSIGNED_CLIENT_IDENTIFIER, client_id);
        let information = self.response_information.map(Value::Text);
        property_if(sink, id::RESPONSE_INFORMATION, information);
        let method = self.authentication_method.map(Value::Text);
        property_if(sink, id::AUTHENTICATION_METHOD, method);
        let data = self.authentication_data.map(Value::Binary);
        property_if(sink, id::AUTHENTICATION_DATA, data);
        sink::reason(sink, self.reason_string, self.server_reference);
    }
}

impl ConnAck<'_> {
    fn write_limits(&self, sink: &mut impl Sink) {
        let expiry = self.session_expiry.map(Value::Four);
        property_if(sink, id::SESSION_EXPIRY_INTERVAL, expiry);
        let receive_maximum = self.receive_maximum.map(Value::Two);
        property_if(sink, id::RECEIVE_MAXIMUM, receive_maximum);
        let packet_size = self.maximum_packet_size.map(Value::Four);
        property_if(sink, id::MAXIMUM_PACKET_SIZE, packet_size);
        let aliases =
            (self.topic_alias_maximum > 0).then_some(Value::Two(self.topic_alias_maximum));
        property_if(sink, id::TOPIC_ALIAS_MAXIMUM, aliases);
        let keep_alive = self.server_keep_alive.map(Value::Two);
        property_if(sink, id::SERVER_KEEP_ALIVE, keep_alive);
    }

    /// What the server cannot do; what it can is left off.
    fn write_features(&self, sink: &mut impl Sink) {
        let qos = match self.maximum_qos {
            QoS::AtMostOnce => Some(Value::Flag(false)),
            QoS::AtLeastOnce => Some(Value::Flag(true)),
            QoS::ExactlyOnce => None,
        };
        property_if(sink, id::MAXIMUM_QOS, qos);
        for (id, available) in [
            (id::RETAIN_AVAILABLE, self.retain_available),
            (
                id::WILDCARD_SUBSCRIPTION_AVAILABLE,
                self.wildcard_subscription_available,
            ),
            (
                id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
                self.subscription_identifier_available,
            ),
            (
                id::SHARED_SUBSCRIPTION_AVAILABLE,
                self.shared_subscription_available,
            ),
        ] {
            property_if(sink, id, (!available).then_some(Value::Flag(false)));
        }
    }
}
