//! The packets that answer a packet identifier.

use super::sink::{self, Part, Properties, Sink};
use crate::wire::{PacketId, ReasonCode, Version};

/// Appends a PUBACK: 4 bytes, or 5 with a reason other than Success in 5.0.
pub fn puback(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reason: ReasonCode) {
    short(out, 0x40, version, packet_id, reason);
}

/// Appends a PUBREC, as [`puback`].
pub fn pubrec(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reason: ReasonCode) {
    short(out, 0x50, version, packet_id, reason);
}

/// Appends a PUBREL, as [`puback`].
pub fn pubrel(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reason: ReasonCode) {
    short(out, 0x62, version, packet_id, reason);
}

/// Appends a PUBCOMP, as [`puback`].
pub fn pubcomp(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reason: ReasonCode) {
    short(out, 0x70, version, packet_id, reason);
}

/// Appends a SUBACK: a code for each filter, in the order of the SUBSCRIBE
/// [MQTT-3.9.3-1]. In 3.x every failure is 0x80.
pub fn suback(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reasons: &[ReasonCode]) {
    let body = SubAck {
        version,
        packet_id,
        reasons,
        reason_string: None,
    };
    sink::packet(out, 0x90, &body);
}

/// Appends a SUBACK with a reason string, or without it if it would have more than
/// `maximum_packet_size` bytes with it [MQTT-3.9.2-1] or the version has none.
pub fn suback_within(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: PacketId,
    reasons: &[ReasonCode],
    reason_string: Option<&str>,
    maximum_packet_size: u32,
) {
    let body = SubAck {
        version,
        packet_id,
        reasons,
        reason_string,
    };
    if sink::packet_size(body.size()) as u64 <= u64::from(maximum_packet_size) {
        sink::packet(out, 0x90, &body);
    } else {
        suback(out, version, packet_id, reasons);
    }
}

/// Appends an UNSUBACK: a code for each filter [MQTT-3.11.3-1], none in 3.x.
pub fn unsuback(out: &mut Vec<u8>, version: Version, packet_id: PacketId, reasons: &[ReasonCode]) {
    let reasons = match version {
        Version::V31 | Version::V311 => &[],
        Version::V5 => reasons,
    };
    let body = SubAck {
        version,
        packet_id,
        reasons,
        reason_string: None,
    };
    sink::packet(out, 0xB0, &body);
}

/// Appends a PUBACK of 5.0 with a reason string, or without it if it would have more than
/// `maximum_packet_size` bytes with it [MQTT-3.4.2-2].
pub fn puback_within(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&str>,
    maximum_packet_size: u32,
) {
    within(
        out,
        0x40,
        packet_id,
        reason,
        reason_string,
        maximum_packet_size,
    );
}

/// Appends a PUBREC, as [`puback_within`] [MQTT-3.5.2-2].
pub fn pubrec_within(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&str>,
    maximum_packet_size: u32,
) {
    within(
        out,
        0x50,
        packet_id,
        reason,
        reason_string,
        maximum_packet_size,
    );
}

fn within(
    out: &mut Vec<u8>,
    first: u8,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&str>,
    maximum_packet_size: u32,
) {
    let body = Explained {
        packet_id,
        reason,
        reason_string,
    };
    let size = sink::packet_size(body.size());
    if reason_string.is_some() && size as u64 <= u64::from(maximum_packet_size) {
        sink::packet(out, first, &body);
    } else {
        short(out, first, Version::V5, packet_id, reason);
    }
}

/// The body of a PUBACK or PUBREC with a reason string.
struct Explained<'a> {
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&'a str>,
}

impl Part for Explained<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.put(&self.packet_id.0.get().to_be_bytes());
        sink.put(&[self.reason.0]);
        Properties(ReasonString(self.reason_string)).write(sink);
    }
}

/// The property alone.
struct ReasonString<'a>(Option<&'a str>);

impl Part for ReasonString<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink::reason(sink, self.0, None);
    }
}

#[inline]
fn short(
    out: &mut Vec<u8>,
    first: u8,
    version: Version,
    PacketId(id): PacketId,
    reason: ReasonCode,
) {
    let [high, low] = id.get().to_be_bytes();
    if version == Version::V5 && reason != ReasonCode::SUCCESS {
        out.extend_from_slice(&[first, 3, high, low, reason.0]);
    } else {
        out.extend_from_slice(&[first, 2, high, low]);
    }
}

/// The body of SUBACK and UNSUBACK.
struct SubAck<'a> {
    version: Version,
    packet_id: PacketId,
    reasons: &'a [ReasonCode],
    /// Only in 5.0.
    reason_string: Option<&'a str>,
}

impl Part for SubAck<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.put(&self.packet_id.0.get().to_be_bytes());
        if self.version == Version::V5 {
            Properties(ReasonString(self.reason_string)).write(sink);
        }
        for reason in self.reasons {
            sink.put(&[match self.version {
                Version::V31 | Version::V311 if reason.is_error() => 0x80,
                _ => reason.0,
            }]);
        }
    }
}
