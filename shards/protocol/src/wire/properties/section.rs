//! The walk over a packet's properties.

use super::table::{Carrier, Kind, Row, id, row};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Malformed, ProtocolError};

/// One property.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Property<'a> {
    pub(in crate::wire) id: u8,
    pub(in crate::wire) value: Value<'a>,
    /// The property as it stands in the packet, identifier included.
    pub(in crate::wire) bytes: &'a [u8],
}

/// The value of a property, by the type that the table gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::wire) enum Value<'a> {
    Binary(&'a [u8]),
    Flag(bool),
    Four(u32),
    Pair(&'a str, &'a str),
    Text(&'a str),
    Two(u16),
    Variable(u32),
}

/// The properties of one packet, or of a will.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire) struct Section<'a> {
    reader: Reader<'a>,
    carrier: Carrier,
    /// Bit n: property n has been read.
    seen: u64,
}

impl<'a> Section<'a> {
    /// The properties that `reader` stands before, with their length.
    pub(in crate::wire) fn open(
        reader: &mut Reader<'a>,
        carrier: Carrier,
    ) -> Result<Self, Malformed> {
        let length = reader.variable()?;
        let bytes = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(Self::new(bytes, carrier))
    }

    /// Properties that were walked before without an error.
    pub(super) const fn of_checked(bytes: &'a [u8]) -> Self {
        Self::new(bytes, Carrier::ANY)
    }

    /// The properties that `bytes` are.
    pub(in crate::wire) const fn new(bytes: &'a [u8], carrier: Carrier) -> Self {
        Self {
            reader: Reader::new(bytes),
            carrier,
            seen: 0,
        }
    }

    /// The bytes of the properties not yet read, without their length.
    pub(in crate::wire) const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// The next property; `None` at the end.
    pub(in crate::wire) fn read(&mut self) -> Result<Option<Property<'a>>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let from = self.reader.rest();
        let id = self.reader.byte()?;
        let row = row(id).ok_or(Malformed::PropertyUnknown)?;
        self.admit(id, row)?;
        let value = self.value(row)?;
        let size = from.len().saturating_sub(self.reader.rest().len());
        let bytes = from.get(..size).unwrap_or_default();
        Ok(Some(Property { id, value, bytes }))
    }

    /// Whether the property may stand here, and stand here again. Only User Property
    /// may stand twice in what a client sends; Subscription Identifier may, too, but
    /// only in the PUBLISH of a server.
    fn admit(&mut self, id: u8, row: Row) -> Result<(), DecodeError> {
        if !row.carriers.meets(self.carrier) {
            return Err(Malformed::PropertyNotAllowed.into());
        }
        let bit = 1_u64.unbounded_shl(u32::from(id));
        if self.seen & bit != 0 && id != id::USER_PROPERTY {
            return Err(ProtocolError::PropertyTwice.into());
        }
        self.seen |= bit;
        Ok(())
    }

    fn value(&mut self, row: Row) -> Result<Value<'a>, DecodeError> {
        let reader = &mut self.reader;
        let value = match row.kind {
            Kind::Binary => Value::Binary(reader.binary()?),
            Kind::Flag => match reader.byte()? {
                0 => Value::Flag(false),
                1 => Value::Flag(true),
                _ => return Err(ProtocolError::FlagPropertyRange.into()),
            },
            Kind::Four => Value::Four(reader.four()?),
            Kind::Pair => Value::Pair(reader.text()?, reader.text()?),
            Kind::Text => Value::Text(reader.text()?),
            Kind::Two => Value::Two(reader.two()?),
            Kind::Variable => Value::Variable(reader.variable()?),
        };
        match (row.zero, value) {
            (Some(error), Value::Two(0) | Value::Four(0) | Value::Variable(0)) => Err(error.into()),
            _ => Ok(value),
        }
    }
}

/// For properties that were checked before.
impl<'a> Iterator for Section<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        self.read().ok().flatten()
    }
}
