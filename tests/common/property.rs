//! MQTT 5 properties by hand. Each function gives the bytes of one property; the
//! identifiers are the specification's (table 2-4), and any may be given to any
//! function, so that wrong ones can be built too.

use super::packet::{binary_data, variable_byte_integer};

pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
pub(crate) const WILL_DELAY: u8 = 0x18;
pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
pub(crate) const REASON_STRING: u8 = 0x1f;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// A property whose value is a byte.
pub(crate) fn byte(identifier: u8, value: u8) -> Vec<u8> {
    vec![identifier, value]
}

/// A property whose value is a Two Byte Integer.
pub(crate) fn two_bytes(identifier: u8, value: u16) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

/// A property whose value is a Four Byte Integer.
pub(crate) fn four_bytes(identifier: u8, value: u32) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

/// A property whose value is a Variable Byte Integer.
pub(crate) fn variable(identifier: u8, value: u32) -> Vec<u8> {
    [vec![identifier], variable_byte_integer(value)].concat()
}

/// A property whose value is a UTF-8 Encoded String.
pub(crate) fn text(identifier: u8, value: &str) -> Vec<u8> {
    binary(identifier, value.as_bytes())
}

/// A property whose value is Binary Data.
pub(crate) fn binary(identifier: u8, value: &[u8]) -> Vec<u8> {
    [vec![identifier], binary_data(value)].concat()
}

/// A User Property.
pub(crate) fn user(name: &str, value: &str) -> Vec<u8> {
    [text(USER_PROPERTY, name), binary_data(value.as_bytes())].concat()
}
