//! DISCONNECT and AUTH.

use super::sink::{self, Part, Properties, Sink, property, property_if};
use crate::wire::properties::{Value, id};
use crate::wire::{ReasonCode, Version};

/// Appends a DISCONNECT in its shortest form; nothing in 3.x, where a server closes
/// without a word.
pub fn disconnect(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    server_reference: Option<&str>,
) {
    if version == Version::V5 {
        let body = Disconnect {
            reason,
            reason_string,
            server_reference,
        };
        sink::packet(out, 0xE0, &body);
    }
}

/// The size of the packet that [`disconnect`] appends in 5.0, in bytes.
#[must_use]
pub fn disconnect_size(
    reason: ReasonCode,
    reason_string: Option<&str>,
    server_reference: Option<&str>,
) -> usize {
    let body = Disconnect {
        reason,
        reason_string,
        server_reference,
    };
    sink::packet_size(body.size())
}

/// Appends a DISCONNECT of at most `maximum_packet_size` bytes, without its reason
/// string if it does not fit with it [MQTT-3.14.2-3]; nothing in 3.x, or if it does
/// not fit without it.
pub fn disconnect_within(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    server_reference: Option<&str>,
    maximum_packet_size: u32,
) {
    let fitting = [reason_string, None].into_iter().find(|reason_string| {
        let size = disconnect_size(reason, *reason_string, server_reference);
        size as u64 <= u64::from(maximum_packet_size)
    });
    if let Some(reason_string) = fitting {
        disconnect(out, version, reason, reason_string, server_reference);
    }
}

/// Appends an AUTH of 5.0 of at most `maximum_packet_size` bytes. It has no reason string and
/// no user properties that could be left off [MQTT-3.15.2-2], [MQTT-3.15.2-3]. Returns whether
/// it could: `false` has appended nothing.
pub fn auth_within(
    out: &mut Vec<u8>,
    reason: ReasonCode,
    method: &str,
    data: Option<&[u8]>,
    maximum_packet_size: u32,
) -> bool {
    let body = Auth {
        reason,
        method,
        data,
    };
    let fits = sink::packet_size(body.size()) as u64 <= u64::from(maximum_packet_size);
    if fits {
        sink::packet(out, 0xF0, &body);
    }
    fits
}

struct Disconnect<'a> {
    reason: ReasonCode,
    reason_string: Option<&'a str>,
    server_reference: Option<&'a str>,
}

impl Part for Disconnect<'_> {
    fn write(&self, sink: &mut impl Sink) {
        if self.reason_string.is_some() || self.server_reference.is_some() {
            sink.put(&[self.reason.0]);
            Properties(DisconnectProperties(self)).write(sink);
        } else if self.reason != ReasonCode::NORMAL_DISCONNECTION {
            sink.put(&[self.reason.0]);
        }
    }
}

struct DisconnectProperties<'a>(&'a Disconnect<'a>);

impl Part for DisconnectProperties<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink::reason(sink, self.0.reason_string, self.0.server_reference);
    }
}

struct Auth<'a> {
    reason: ReasonCode,
    method: &'a str,
    data: Option<&'a [u8]>,
}

impl Part for Auth<'_> {
    fn write(&self, sink: &mut impl Sink) {
        sink.put(&[self.reason.0]);
        Properties(AuthProperties(self)).write(sink);
    }
}

struct AuthProperties<'a>(&'a Auth<'a>);

impl Part for AuthProperties<'_> {
    fn write(&self, sink: &mut impl Sink) {
        property(sink, id::AUTHENTICATION_METHOD, Value::Text(self.0.method));
        property_if(
            sink,
            id::AUTHENTICATION_DATA,
            self.0.data.map(Value::Binary),
        );
    }
}
