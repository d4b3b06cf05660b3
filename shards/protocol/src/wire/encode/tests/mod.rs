//! The exact bytes of what a server sends.

mod acknowledge;
mod connack;
mod disconnect;
mod publish;

use core::num::NonZeroU16;

use crate::wire::{PacketId, Split, Version, check_length, split};

const BEFORE_5: [Version; 2] = [Version::V31, Version::V311];

fn packet_id(id: u16) -> PacketId {
    PacketId(NonZeroU16::new(id).unwrap())
}

/// What `encode` appends to a buffer that is not empty.
fn appended<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> Vec<u8> {
    let mut out = vec![0xAA; 3];
    encode(&mut out);
    assert_eq!(out[..3], [0xAA; 3]);
    out.split_off(3)
}

/// The body of the one packet that `bytes` are.
fn body(bytes: &[u8]) -> &[u8] {
    match split(bytes, u32::MAX) {
        Ok(Split::Packet { body, size, .. }) if size == bytes.len() => {
            assert_eq!(check_length(Version::V5, body, size), Ok(()));
            body
        }
        other => panic!("{other:?} of {bytes:?}"),
    }
}
