//! Topic names and topic filters, checked once and then carried by type.
//!
//! A [`TopicName`] is what a PUBLISH may name; a [`Filter`] is what a SUBSCRIBE
//! may ask for, with the share group of `$share/{group}/{filter}` split off.
//! Code behind this module never sees an unchecked string.

mod bytes;
mod filter;
mod levels;
mod name;
mod subscription;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

pub use filter::{Filter, FilterError};
pub use levels::Levels;
pub use name::{TopicError, TopicName};
pub use subscription::Subscription;

/// Bytes that a topic name or a topic filter may have at most [MQTT-4.7.3-3].
pub const TEXT_BYTES_MAX: usize = 65_535;
