//! Routes: what changes of a node's filters, all of them, and what there should be.

use protocol::topic::Filter;

use super::reader::Reader;
use super::writer::Writer;
use super::{WireError, kind};

/// Where the head of a batch of changes has the number of its entries, counted from the end
/// of the owner's name.
const COUNT_BEHIND_NAME: usize = 16;

/// What the receiver is to send of a node's routes: what follows, or all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resume<'a> {
    /// Whose routes.
    pub owner: &'a str,
    /// The life of the owner that is known, or zero: send all.
    pub incarnation: u64,
    /// The last change that is known.
    pub sequence: u64,
}

/// A change of a node's routes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Change<'a> {
    /// The node has its first subscription to a filter.
    Add(&'a str),
    /// The last one is gone.
    Remove(&'a str),
}

/// Changes of a node's routes, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Changes<'a> {
    /// Whose routes.
    pub owner: &'a str,
    /// The life of the owner.
    pub incarnation: u64,
    /// The number of the first one, counted from 1 in each life of the owner.
    pub first: u64,
    /// How many there are.
    pub count: u32,
    entries: Reader<'a>,
}

/// The changes in a batch. Ends behind the first one that cannot be read.
#[derive(Clone, Debug)]
pub struct ChangesIn<'a> {
    left: u32,
    entries: Reader<'a>,
}

/// All routes of a node follow, as they were after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotBegin<'a> {
    /// Whose routes.
    pub owner: &'a str,
    /// The life of the owner.
    pub incarnation: u64,
    /// The last change that is in them.
    pub sequence: u64,
    /// How many routes there are.
    pub count: u64,
}

/// Some routes of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotPart<'a> {
    /// Whose routes.
    pub owner: &'a str,
    entries: Reader<'a>,
}

/// The filters in a part of a snapshot. Ends behind the first one that cannot be read.
#[derive(Clone, Debug)]
pub struct Filters<'a> {
    entries: Reader<'a>,
}

/// The end of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnapshotEnd<'a> {
    /// Whose routes.
    pub owner: &'a str,
    /// The sum of the hashes of all of them.
    pub digest: u128,
}

/// What a node's routes are after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digest<'a> {
    /// Whose routes.
    pub owner: &'a str,
    /// The life of the owner.
    pub incarnation: u64,
    /// The last change.
    pub sequence: u64,
    /// How many routes there are.
    pub count: u64,
    /// The sum of the hashes of all of them.
    pub digest: u128,
}

impl<'a> Resume<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::RESUME);
        frame
            .short(self.owner)
            .u64(self.incarnation)
            .u64(self.sequence);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.short()?,
            incarnation: from.u64()?,
            sequence: from.u64()?,
        })
    }
}

impl<'a> Change<'a> {
    /// The filter.
    #[must_use]
    pub const fn filter(&self) -> &'a str {
        match self {
            Self::Add(filter) | Self::Remove(filter) => filter,
        }
    }

    fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        match from.u8()? {
            1 => filter(from).map(Self::Add),
            2 => filter(from).map(Self::Remove),
            _ => Err(WireError::Invalid),
        }
    }
}

fn filter<'a>(from: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let text = from.long()?;
    match Filter::parse(text, u16::MAX) {
        Ok(_) => Ok(text),
        Err(_) => Err(WireError::Invalid),
    }
}

/// Writes changes to the end of a buffer, as one frame of about `bytes_max` bytes at most.
/// Returns how many it took from `changes`: at least one, if there is one.
pub fn put_changes<'c>(
    out: &mut Vec<u8>,
    bytes_max: usize,
    (owner, incarnation, first): (&str, u64, u64),
    changes: impl Iterator<Item = Change<'c>>,
) -> u32 {
    let mut frame = Writer::begin(out, kind::CHANGES);
    frame.short(owner);
    let count_at = frame.len().saturating_add(COUNT_BEHIND_NAME);
    frame.u64(incarnation).u64(first).u32(0);
    let mut count = 0_u32;
    for change in changes {
        match change {
            Change::Add(filter) => frame.u8(1).long(filter),
            Change::Remove(filter) => frame.u8(2).long(filter),
        };
        count = count.saturating_add(1);
        if frame.len() >= bytes_max {
            break;
        }
    }
    frame.end_batch(count_at, count);
    count
}

impl<'a> Changes<'a> {
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.name()?,
            incarnation: from.u64()?,
            first: from.u64()?,
            count: from.u32()?,
            entries: Reader::new(from.rest()),
        })
    }

    /// The changes.
    #[must_use]
    pub const fn entries(&self) -> ChangesIn<'a> {
        ChangesIn {
            left: self.count,
            entries: self.entries,
        }
    }
}

impl<'a> Iterator for ChangesIn<'a> {
    type Item = Result<Change<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(left) = self.left.checked_sub(1) else {
            return core::mem::replace(&mut self.entries, Reader::new(&[]))
                .finish()
                .err()
                .map(Err);
        };
        let change = Change::read(&mut self.entries);
        self.left = if change.is_ok() { left } else { 0 };
        if change.is_err() {
            self.entries = Reader::new(&[]);
        }
        Some(change)
    }
}

impl<'a> SnapshotBegin<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::SNAPSHOT_BEGIN);
        frame
            .short(self.owner)
            .u64(self.incarnation)
            .u64(self.sequence)
            .u64(self.count);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.name()?,
            incarnation: from.u64()?,
            sequence: from.u64()?,
            count: from.u64()?,
        })
    }
}

/// Writes filters to the end of a buffer, as one frame of about `bytes_max` bytes at most.
/// Takes at least one from `filters`, if there is one.
pub fn put_snapshot_part<'f>(
    out: &mut Vec<u8>,
    bytes_max: usize,
    owner: &str,
    filters: impl Iterator<Item = &'f str>,
) {
    let mut frame = Writer::begin(out, kind::SNAPSHOT_PART);
    frame.short(owner);
    for filter in filters {
        frame.long(filter);
        if frame.len() >= bytes_max {
            break;
        }
    }
    frame.end();
}

impl<'a> SnapshotPart<'a> {
    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.name()?,
            entries: Reader::new(from.rest()),
        })
    }

    /// The filters.
    #[must_use]
    pub const fn filters(&self) -> Filters<'a> {
        Filters {
            entries: self.entries,
        }
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = Result<&'a str, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.entries.is_empty() {
            return None;
        }
        let filter = filter(&mut self.entries);
        if filter.is_err() {
            self.entries = Reader::new(&[]);
        }
        Some(filter)
    }
}

impl<'a> SnapshotEnd<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::SNAPSHOT_END);
        frame.short(self.owner).u128(self.digest);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.name()?,
            digest: from.u128()?,
        })
    }
}

impl<'a> Digest<'a> {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::DIGEST);
        frame
            .short(self.owner)
            .u64(self.incarnation)
            .u64(self.sequence)
            .u64(self.count)
            .u128(self.digest);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            owner: from.name()?,
            incarnation: from.u64()?,
            sequence: from.u64()?,
            count: from.u64()?,
            digest: from.u128()?,
        })
    }
}
