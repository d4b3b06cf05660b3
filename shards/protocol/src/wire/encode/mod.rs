//! Bytes from packets: all that a server sends.
//!
//! Each function appends one packet to `out`. Strings are cut at 65,535 bytes, the
//! most that a string can have on the wire; a packet that would have a remaining
//! length above 268,435,455 is not appended at all.

mod acknowledge;
mod connack;
mod disconnect;
mod publish;
pub(super) mod sink;

pub use acknowledge::{
    puback, puback_within, pubcomp, pubrec, pubrec_within, pubrel, suback, suback_within, unsuback,
};
pub use connack::{ConnAck, connack, connack_size, connack_within};
pub use disconnect::{auth_within, disconnect, disconnect_size, disconnect_within};
pub use publish::{
    Message, publish, publish_size, set_packet_id, set_topic_alias, topic_alias_offset,
};

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}

#[cfg(test)]
mod tests;
