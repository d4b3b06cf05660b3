//! AUTH.

use crate::wire::properties::{Carrier, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{Auth, DecodeError, ProtocolError, ReasonCode, UserProperties};

/// AUTH. Only Success, which a client does not send, may stand for an empty body;
/// the method is never left off (section 3.15.2.2.2).
pub(super) fn auth(body: &[u8]) -> Result<Auth<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Err(ProtocolError::ReasonCodeNotAllowed.into());
    }
    let reason = ReasonCode(reader.byte()?);
    let mut auth = Auth {
        reason,
        method: None,
        data: None,
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    read_auth_properties(&mut reader, &mut auth)?;
    reader.finish()?;
    if !reason.is_for_client_auth() {
        return Err(ProtocolError::ReasonCodeNotAllowed.into());
    }
    if auth.method.is_none() {
        return Err(ProtocolError::AuthenticationMethodMissing.into());
    }
    Ok(auth)
}

fn read_auth_properties<'a>(
    reader: &mut Reader<'a>,
    auth: &mut Auth<'a>,
) -> Result<(), DecodeError> {
    let mut section = Section::open(reader, Carrier::AUTH)?;
    let bytes = section.rest();
    let mut user_properties = 0_u32;
    while let Some(property) = section.read()? {
        match (property.id, property.value) {
            (id::AUTHENTICATION_DATA, Value::Binary(data)) => auth.data = Some(data),
            (id::AUTHENTICATION_METHOD, Value::Text(method)) => auth.method = Some(method),
            (id::REASON_STRING, Value::Text(text)) => auth.reason_string = Some(text),
            (id::USER_PROPERTY, _) => user_properties = user_properties.saturating_add(1),
            _ => {}
        }
    }
    auth.user_properties = UserProperties::new(bytes, user_properties);
    Ok(())
}
