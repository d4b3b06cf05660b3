//! Packets to and from bytes.
//!
//! Reading takes two steps, so that a size limit is applied before a packet is
//! complete: [`split`] finds the next packet's bytes, [`decode_connect`] and
//! [`decode`] give them meaning. Decoded packets borrow from the input;
//! nothing is allocated and nothing is copied. Every check that the
//! specification asks of a single packet is made here, so that what comes out
//! is well formed; rules about the order of packets belong to the session.
//!
//! One check stands between the steps, because bytes do not say their version:
//! once it is known, and for CONNECT as well, [`check_length`].
//!
//! Not checked here, as they depend on a limit or on the session: the wildcards of
//! topic filters and of a will's topic, a topic alias above the maximum, the number
//! of user properties, whether the client identifier is acceptable, whether a
//! payload is the UTF-8 it claims to be, and DISCONNECT's session expiry.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

#[cfg(test)]
mod client;
mod decode;
pub mod encode;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod packet;
mod properties;
mod reader;
mod reason;
mod split;
#[cfg(test)]
mod tests;
mod text;

pub use decode::{
    SubscribeFilters, UnsubscribeFilters, decode, decode_ack, decode_connect, decode_publish,
};
pub use error::{ConnectError, DecodeError, Malformed, ProtocolError};
pub use packet::*;
pub use properties::{PublishProperties, UserProperties};
pub use reason::ReasonCode;
pub use split::{Split, check_length, split};
