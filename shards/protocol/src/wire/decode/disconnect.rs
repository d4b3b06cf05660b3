//! DISCONNECT.

use crate::wire::properties::{Carrier, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, Disconnect, ProtocolError, ReasonCode, UserProperties, Version};

/// DISCONNECT. In 5.0 the properties, or they and the reason code, may be left off
/// (section 3.14.2).
///
/// Whether a Session Expiry Interval may be set depends on the one in CONNECT, and
/// is for the session to check.
pub(super) fn disconnect(version: Version, body: &[u8]) -> Result<Disconnect<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect {
        reason: ReasonCode::NORMAL_DISCONNECTION,
        session_expiry: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.byte()?);
        if !reader.is_empty() {
            read_disconnect_properties(&mut reader, &mut disconnect)?;
        }
    }
    reader.finish()?;
    if !disconnect.reason.is_for_client_disconnect() {
        return Err(ProtocolError::ReasonCodeNotAllowed.into());
    }
    Ok(disconnect)
}

fn read_disconnect_properties<'a>(
    reader: &mut Reader<'a>,
    disconnect: &mut Disconnect<'a>,
) -> Result<(), DecodeError> {
    let mut section = Section::open(reader, Carrier::DISCONNECT)?;
    let bytes = section.rest();
    let mut user_properties = 0_u32;
    while let Some(property) = section.read()? {
        match (property.id, property.value) {
            (id::REASON_STRING, Value::Text(text)) => disconnect.reason_string = Some(text),
            (id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds)) => {
                disconnect.session_expiry = Some(seconds);
            }
            (id::USER_PROPERTY, _) => user_properties = user_properties.saturating_add(1),
            _ => {}
        }
    }
    disconnect.user_properties = UserProperties::new(bytes, user_properties);
    Ok(())
}
