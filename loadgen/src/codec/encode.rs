//! Packets from the client, appended to an output buffer.

use super::{AckKind, Qos, Version, length};

/// What a CONNECT says.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// The protocol version.
    pub version: Version,
    /// The client identifier, at most 65,535 bytes.
    pub client_id: &'a str,
    /// Clean Start (5.0), Clean Session (3.1.1).
    pub clean: bool,
    /// Keep Alive in seconds, 0 for none.
    pub keep_alive_s: u16,
    /// Session Expiry Interval in seconds (5.0 only; 0 ends the session with the connection).
    pub session_expiry_s: u32,
    /// User name and password.
    pub credentials: Option<(&'a str, &'a str)>,
    /// What the server publishes when the connection ends without DISCONNECT.
    pub will: Option<Will<'a>>,
}

/// The will of a CONNECT.
#[derive(Debug, Clone, Copy)]
pub struct Will<'a> {
    /// The topic name.
    pub topic: &'a str,
    /// The application's bytes.
    pub payload: &'a [u8],
    /// The level.
    pub qos: Qos,
    /// Will Delay Interval in seconds (5.0 only).
    pub delay_s: u32,
}

/// Appends a CONNECT.
pub fn connect(out: &mut Vec<u8>, packet: &Connect<'_>) {
    let mut body = Vec::with_capacity(64);
    string(&mut body, b"MQTT");
    body.push(packet.version.level());
    let credentials = if packet.credentials.is_some() {
        0xc0
    } else {
        0
    };
    let will = packet.will.map_or(0, |will| 0x04 | will.qos.number() << 3);
    body.push(credentials | will | u8::from(packet.clean) << 1);
    body.extend_from_slice(&packet.keep_alive_s.to_be_bytes());
    if packet.version == Version::V5 {
        if packet.session_expiry_s == 0 {
            body.push(0);
        } else {
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&packet.session_expiry_s.to_be_bytes());
        }
    }
    string(&mut body, packet.client_id.as_bytes());
    if let Some(will) = &packet.will {
        if packet.version == Version::V5 {
            body.extend_from_slice(&[5, 0x18]);
            body.extend_from_slice(&will.delay_s.to_be_bytes());
        }
        string(&mut body, will.topic.as_bytes());
        string(&mut body, will.payload);
    }
    if let Some((username, password)) = packet.credentials {
        string(&mut body, username.as_bytes());
        string(&mut body, password.as_bytes());
    }
    with_header(out, 0x10, &body);
}

/// Appends a SUBSCRIBE for `filters`, all at the same QoS.
pub fn subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[String],
    qos: Qos,
) {
    let mut body = Vec::with_capacity(8 + filters.len() * 32);
    body.extend_from_slice(&packet_id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_bytes());
        body.push(qos.number());
    }
    with_header(out, 0x82, &body);
}

/// Appends an UNSUBSCRIBE for `filters`.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filters: &[String]) {
    let mut body = Vec::with_capacity(8 + filters.len() * 32);
    body.extend_from_slice(&packet_id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_bytes());
    }
    with_header(out, 0xa2, &body);
}

/// Appends all of a PUBLISH that is the same for every message of one publisher: the fixed
/// header with the remaining length, and the topic name. What follows is the packet identifier
/// (QoS 1 and 2), the properties (5.0: one zero byte) and `payload_length` bytes of payload.
pub fn publish_head(
    out: &mut Vec<u8>,
    version: Version,
    qos: Qos,
    retain: bool,
    topic: &str,
    payload_length: usize,
) {
    let identifier = if qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties = if version == Version::V5 { 1 } else { 0 };
    out.push(0x30 | qos.number() << 1 | u8::from(retain));
    length::write(
        out,
        2 + topic.len() + identifier + properties + payload_length,
    );
    string(out, topic.as_bytes());
}

/// Appends what comes between the head of a PUBLISH and its payload.
#[inline]
pub fn publish_middle(out: &mut Vec<u8>, version: Version, packet_id: Option<u16>) {
    if let Some(packet_id) = packet_id {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        out.push(0);
    }
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP with reason code 0.
#[inline]
pub fn acknowledgement(out: &mut Vec<u8>, kind: AckKind, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
}

/// Appends a PINGREQ.
pub fn ping_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xc0, 0]);
}

/// Appends a DISCONNECT with reason code 0.
pub fn disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xe0, 0]);
}

fn with_header(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    length::write(out, body.len());
    out.extend_from_slice(body);
}

/// A string or binary data with its two byte length. Longer ones are cut: client identifiers,
/// topics and credentials are bounded where the options are read.
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}
