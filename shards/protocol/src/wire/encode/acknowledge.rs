//! The packets that answer a packet identifier.

use super::sink::{self, Part, Sink};
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
    };
    sink::packet(out, 0x90, &body);
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
    };
    sink::packet(out, 0xB0, &body);
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

/// The body of SUBACK and UNSUBACK, in 5.0 without properties.
struct SubAck<'a> {
    version: Version,
    packet_id: PacketId,
    reasons: &'a [ReasonCode],
}

impl Part for SubAck<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.put(&self.packet_id.0.get().to_be_bytes());
        if self.version == Version::V5 {
            sink.put(&[0]);
        }
        for reason in self.reasons {
            sink.put(&[match self.version {
                Version::V31 | Version::V311 if reason.is_error() => 0x80,
                _ => reason.0,
            }]);
        }
    }
}
