//! A cursor over the bytes of one packet. Every function is total: what is not
//! there is [`Malformed::Truncated`].

use core::num::NonZeroU16;

use super::text;
use super::{DecodeError, Malformed, PacketId, ProtocolError};

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A packet ends with its last field.
    pub(super) const fn finish(self) -> Result<(), Malformed> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Malformed::TrailingBytes),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    /// A Two Byte Integer.
    #[inline]
    pub(super) fn two(&mut self) -> Result<u16, Malformed> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(bytes))
    }

    /// A Four Byte Integer.
    pub(super) fn four(&mut self) -> Result<u32, Malformed> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A Variable Byte Integer in as few bytes as possible [MQTT-1.5.5-1].
    pub(super) fn variable(&mut self) -> Result<u32, Malformed> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return match (byte, shift) {
                    (0, 7..) => Err(Malformed::LengthNotMinimal),
                    _ => Ok(value),
                };
            }
        }
        Err(Malformed::LengthTooLong)
    }

    /// The next `length` bytes.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Binary Data: two bytes of length, then the bytes.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.two()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 Encoded String.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        text::text(self.binary()?)
    }

    /// A Topic Name as it stands in PUBLISH; may be empty.
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, DecodeError> {
        text::topic_name(self.binary()?)
    }

    /// A Packet Identifier [MQTT-2.2.1-3].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        match NonZeroU16::new(self.two()?) {
            Some(id) => Ok(PacketId(id)),
            None => Err(ProtocolError::PacketIdZero.into()),
        }
    }
}
