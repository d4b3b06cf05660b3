//! PUBACK, PUBREC, PUBREL and PUBCOMP.

use crate::wire::properties::{Carrier, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{Ack, DecodeError, ProtocolError, ReasonCode, UserProperties, Version};

/// PUBACK or PUBREC.
#[inline]
pub(super) fn publish_answer(version: Version, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    allow(acknowledge(version, body)?, ReasonCode::is_for_publish)
}

/// PUBREL or PUBCOMP.
#[inline]
pub(super) fn release(version: Version, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    allow(acknowledge(version, body)?, ReasonCode::is_for_release)
}

#[inline]
fn allow(ack: Ack<'_>, allowed: fn(ReasonCode) -> bool) -> Result<Ack<'_>, DecodeError> {
    if allowed(ack.reason) {
        Ok(ack)
    } else {
        Err(ProtocolError::ReasonCodeNotAllowed.into())
    }
}

/// A packet identifier; in 5.0 also a reason code and properties, where the
/// properties, or both, may be left off (section 3.4.2).
#[inline]
fn acknowledge(version: Version, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut ack = Ack {
        packet_id: reader.packet_id()?,
        reason: ReasonCode::SUCCESS,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    if !reader.is_empty() {
        read_rest(version, reader, &mut ack)?;
    }
    Ok(ack)
}

/// What follows the packet identifier in few packets.
fn read_rest<'a>(
    version: Version,
    mut reader: Reader<'a>,
    ack: &mut Ack<'a>,
) -> Result<(), DecodeError> {
    if version == Version::V5 {
        ack.reason = ReasonCode(reader.byte()?);
        if !reader.is_empty() {
            read_properties(&mut reader, ack)?;
        }
    }
    Ok(reader.finish()?)
}

fn read_properties<'a>(reader: &mut Reader<'a>, ack: &mut Ack<'a>) -> Result<(), DecodeError> {
    let mut section = Section::open(reader, Carrier::ACK)?;
    let bytes = section.rest();
    let mut user_properties = 0_u32;
    while let Some(property) = section.read()? {
        match (property.id, property.value) {
            (id::REASON_STRING, Value::Text(text)) => ack.reason_string = Some(text),
            (id::USER_PROPERTY, _) => user_properties = user_properties.saturating_add(1),
            _ => {}
        }
    }
    ack.user_properties = UserProperties::new(bytes, user_properties);
    Ok(())
}

#[cfg(test)]
mod tests;
