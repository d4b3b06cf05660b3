//! A cursor over the bytes of a frame. Every function is total: what is not there is
//! [`WireError::Truncated`].

use super::WireError;

/// What is left to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A frame ends with its last field.
    pub(super) const fn finish(self) -> Result<(), WireError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(WireError::TrailingBytes),
        }
    }

    /// Everything that is left.
    pub(super) const fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.rest = &[];
        rest
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let split = self.rest.split_at_checked(count);
        let (bytes, rest) = split.ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (&bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, WireError> {
        self.array().map(u128::from_le_bytes)
    }

    /// A name: not empty, at most [`NAME_MAX`](super::NAME_MAX) bytes.
    pub(super) fn name(&mut self) -> Result<&'a str, WireError> {
        match self.short()? {
            "" => Err(WireError::Invalid),
            name => Ok(name),
        }
    }

    /// A text of at most 255 bytes.
    pub(super) fn short(&mut self) -> Result<&'a str, WireError> {
        let length = self.u8()?;
        text(self.bytes(usize::from(length))?)
    }

    /// A text of at most 65,535 bytes.
    pub(super) fn long(&mut self) -> Result<&'a str, WireError> {
        let length = self.u16()?;
        text(self.bytes(usize::from(length))?)
    }
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    core::str::from_utf8(bytes).map_err(|_| WireError::Invalid)
}
