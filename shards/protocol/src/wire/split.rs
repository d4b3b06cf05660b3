//! Packets out of a stream of bytes: the fixed header.

use super::{DecodeError, Malformed, ProtocolError, Version};

/// What a stream of bytes begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Split<'a> {
    /// No complete packet.
    Incomplete {
        /// The size of the whole packet in bytes, as soon as it is known.
        needed: Option<usize>,
    },
    /// A packet.
    Packet {
        /// Its first byte: type and flags.
        first: u8,
        /// What follows the remaining length.
        body: &'a [u8],
        /// Its size in bytes, fixed header included.
        size: usize,
    },
}

/// Finds the packet that `input` begins with.
///
/// One of more than `maximum_packet_size` bytes is an error as soon as its length
/// can be read, and so is a length of more than four bytes. Which bytes are a
/// packet does not depend on the version; see [`check_length`].
#[inline]
pub fn split(input: &[u8], maximum_packet_size: u32) -> Result<Split<'_>, DecodeError> {
    let [first, length, rest @ ..] = input else {
        return Ok(Split::Incomplete { needed: None });
    };
    if *length >= 0x80 {
        return split_long(*first, input, maximum_packet_size);
    }
    cut(*first, usize::from(*length), 2, rest, maximum_packet_size)
}

/// Refuses a remaining length in more bytes than it needs, in MQTT 5.0
/// [MQTT-1.5.5-1]; 3.x does not forbid it. `body` and `size` are [`split`]'s.
#[inline]
pub fn check_length(version: Version, body: &[u8], size: usize) -> Result<(), DecodeError> {
    let minimal = match body.len() {
        0..0x80 => 2,
        0x80..0x4000 => 3,
        0x4000..0x20_0000 => 4,
        _ => 5,
    };
    if version == Version::V5 && size != body.len().saturating_add(minimal) {
        return Err(Malformed::LengthNotMinimal.into());
    }
    Ok(())
}

/// A packet whose remaining length has two to four bytes.
fn split_long(first: u8, input: &[u8], maximum: u32) -> Result<Split<'_>, DecodeError> {
    let mut length = 0;
    let mut rest = input.get(1..).unwrap_or_default();
    for (shift, header) in [(0, 2), (7, 3), (14, 4), (21, 5)] {
        let Some((byte, behind)) = rest.split_first() else {
            return Ok(Split::Incomplete { needed: None });
        };
        rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return cut(first, length, header, rest, maximum);
        }
    }
    Err(Malformed::LengthTooLong.into())
}

/// `length` bytes from `rest`, which follows a fixed header of `header` bytes.
#[inline]
fn cut(
    first: u8,
    length: usize,
    header: usize,
    rest: &[u8],
    maximum: u32,
) -> Result<Split<'_>, DecodeError> {
    let size = length.saturating_add(header);
    if size as u64 > u64::from(maximum) {
        return Err(ProtocolError::PacketTooLarge.into());
    }
    Ok(match rest.get(..length) {
        Some(body) => Split::Packet { first, body, size },
        None => Split::Incomplete { needed: Some(size) },
    })
}

#[cfg(test)]
mod tests;
