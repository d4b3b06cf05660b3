//! MQTT 5 property blocks, as far as a client has to understand them.

use super::decode::Malformed;
use super::length::{self, Length};

/// One property with the value types that a server can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Byte, two byte, four byte and variable byte integers.
    Integer(u32),
    /// Strings and binary data.
    Bytes(&'a [u8]),
    /// A user property.
    Pair,
}

/// Walks over the properties of one block; every property is checked for its form.
pub(super) struct Properties<'a> {
    rest: &'a [u8],
}

impl<'a> Properties<'a> {
    /// Takes the property block at the start of `bytes`: its properties, and what follows it.
    #[inline]
    pub(super) fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let Length::Value(length, width) = length::read(bytes) else {
            return Err(Malformed::Properties);
        };
        let rest = bytes.get(width..).unwrap_or_default();
        let (block, rest) = rest.split_at_checked(length).ok_or(Malformed::Properties)?;
        Ok((Self { rest: block }, rest))
    }

    /// Checks the form of all that is left.
    pub(super) fn check(self) -> Result<(), Malformed> {
        for property in self {
            property?;
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    fn integer(&mut self, width: usize) -> Option<Value<'a>> {
        let bytes = self.take(width)?;
        let value = bytes
            .iter()
            .fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        Some(Value::Integer(value))
    }

    fn variable(&mut self) -> Option<Value<'a>> {
        let Length::Value(value, width) = length::read(self.rest) else {
            return None;
        };
        self.take(width)?;
        u32::try_from(value).ok().map(Value::Integer)
    }

    fn bytes(&mut self) -> Option<Value<'a>> {
        let length = self.take(2)?;
        self.take(usize::from(length[0]) << 8 | usize::from(length[1]))
            .map(Value::Bytes)
    }

    fn value(&mut self, identifier: u8) -> Option<Value<'a>> {
        match identifier {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => self.integer(1),
            0x13 | 0x21 | 0x22 | 0x23 => self.integer(2),
            0x02 | 0x11 | 0x18 | 0x27 => self.integer(4),
            0x0b => self.variable(),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => self.bytes(),
            0x26 => {
                self.bytes()?;
                self.bytes().map(|_| Value::Pair)
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for Properties<'a> {
    type Item = Result<(u8, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&identifier, rest) = self.rest.split_first()?;
        self.rest = rest;
        match self.value(identifier) {
            Some(value) => Some(Ok((identifier, value))),
            None => {
                self.rest = &[];
                Some(Err(Malformed::Properties))
            }
        }
    }
}
