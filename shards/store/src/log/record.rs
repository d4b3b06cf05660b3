//! A record of the log: one group of changes.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | checksum of the rest of this header |
//! | 8..12 | `SMQL` |
//! | 12..16 | length of the changes |
//! | 16..24 | number of the record |
//! | 24..32 | checksum of the changes |
//! | 32.. | the changes |
//!
//! Numbers have the least significant byte first. A record begins on a block of its own, so
//! that writing one never touches what an earlier one has on the disk.

use super::mac::{Secret, mac};

/// Where records may begin.
pub(crate) const BLOCK: usize = 4096;
/// Bytes before the changes.
pub(super) const HEADER: usize = 32;
const MAGIC: [u8; 4] = *b"SMQL";

/// What a header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) number: u64,
    pub(super) length: usize,
    checksum: u64,
}

/// Completes a record: `out` has room for the header, and the changes. Pads it with zeros to
/// whole blocks.
pub(super) fn seal(out: &mut Vec<u8>, secret: Secret, number: u64) {
    let length = out.len() - HEADER;
    let checksum = mac(secret, &out[HEADER..]);
    out[8..12].copy_from_slice(&MAGIC);
    // A file of a log is far smaller than 4 GiB.
    out[12..16].copy_from_slice(&(length as u32).to_le_bytes());
    out[16..24].copy_from_slice(&number.to_le_bytes());
    out[24..32].copy_from_slice(&checksum.to_le_bytes());
    let checksum = mac(secret, &out[8..HEADER]);
    out[..8].copy_from_slice(&checksum.to_le_bytes());
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// The header at the beginning of `bytes`, if there is one.
pub(super) fn header(bytes: &[u8], secret: Secret) -> Option<Header> {
    let header = bytes.first_chunk::<HEADER>()?;
    let (words, _) = header.as_chunks::<8>();
    let [checksum, magic, number, of_changes] = words else {
        return None;
    };
    if magic[..4] != MAGIC || mac(secret, &header[8..]) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let [_, _, _, _, length @ ..] = *magic;
    Some(Header {
        number: u64::from_le_bytes(*number),
        length: u32::from_le_bytes(length) as usize,
        checksum: u64::from_le_bytes(*of_changes),
    })
}

/// The changes of a record, if all of them are there.
pub(super) fn changes(bytes: &[u8], header: Header, secret: Secret) -> Option<&[u8]> {
    let changes = bytes.get(HEADER..HEADER.checked_add(header.length)?)?;
    (mac(secret, changes) == header.checksum).then_some(changes)
}
