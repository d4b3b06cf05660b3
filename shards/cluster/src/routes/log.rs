//! The routes of one node, how they came about lately, and how to send them.

use std::collections::VecDeque;

use protocol::hash::Seed;

use super::Limits;
use super::set::FilterSet;
use crate::wire::{
    Change, Digest, Resume, SnapshotBegin, SnapshotEnd, put_changes, put_snapshot_part,
};

/// What a change in the tail takes beside its text.
const CHANGE_BYTES: usize = 32;

/// Bytes of a part of a snapshot.
const PART_BYTES: usize = 64 << 10;

/// A place in the log of an owner. Later lives of the owner are later.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The life of the owner; zero if nothing is known.
    pub incarnation: u64,
    /// The last change.
    pub sequence: u64,
}

impl Position {
    /// Asks for what follows.
    pub(super) const fn resume(self, owner: &str) -> Resume<'_> {
        Resume {
            owner,
            incarnation: self.incarnation,
            sequence: self.sequence,
        }
    }
}

/// The routes of one node with the end of their log.
#[derive(Debug)]
pub(super) struct Log {
    owner: Box<str>,
    position: Position,
    filters: FilterSet,
    /// The last changes, oldest first: whether it was added, and what.
    tail: VecDeque<(bool, Box<str>)>,
    tail_bytes: usize,
    tail_bytes_max: usize,
}

/// What somebody gets who knows the log up to a position.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing now: he knows all of it, or more.
    Nothing,
    /// Changes.
    Changes,
    /// A snapshot.
    Snapshot,
}

impl Log {
    pub(super) fn new(owner: &str, incarnation: u64, seed: u64, limits: Limits) -> Self {
        Self {
            owner: owner.into(),
            position: Position {
                incarnation,
                sequence: 0,
            },
            filters: FilterSet::new(Seed::new(seed), incarnation),
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max: limits.tail_bytes,
        }
    }

    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    pub(super) const fn position(&self) -> Position {
        self.position
    }

    pub(super) const fn filters(&self) -> &FilterSet {
        &self.filters
    }

    /// Writes the next change. False if it changes nothing: added twice, or removed twice.
    pub(super) fn push(&mut self, change: Change<'_>) -> bool {
        self.position.sequence += 1;
        let (added, changed) = match change {
            Change::Add(filter) => (true, self.filters.insert(filter)),
            Change::Remove(filter) => (false, self.filters.remove(filter)),
        };
        let filter: Box<str> = change.filter().into();
        self.tail_bytes += filter.len() + CHANGE_BYTES;
        self.tail.push_back((added, filter));
        while self.tail_bytes > self.tail_bytes_max
            && let Some((_, filter)) = self.tail.pop_front()
        {
            self.tail_bytes -= filter.len() + CHANGE_BYTES;
        }
        changed
    }

    /// The owner lives again: the same filters, and a log that begins anew.
    pub(super) fn renew(&mut self, incarnation: u64) {
        self.position = Position {
            incarnation,
            sequence: 0,
        };
        self.tail.clear();
        self.tail_bytes = 0;
        self.filters.set_incarnation(incarnation);
    }

    /// What somebody gets who knows the log up to `known`.
    pub(super) fn next(&self, known: Position) -> Next {
        if known >= self.position {
            return Next::Nothing;
        }
        let missing = self.position.sequence.saturating_sub(known.sequence);
        if known.incarnation == self.position.incarnation && missing <= self.tail.len() as u64 {
            Next::Changes
        } else {
            Next::Snapshot
        }
    }

    /// Writes a frame of changes that follow `known`, which the tail must reach. Returns how
    /// far it goes.
    pub(super) fn put_changes(
        &self,
        known: Position,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Position {
        let missing = self.position.sequence.saturating_sub(known.sequence);
        let skipped = (self.tail.len() as u64).saturating_sub(missing) as usize;
        let changes = self.tail.range(skipped..).map(|(added, filter)| {
            if *added {
                Change::Add(filter)
            } else {
                Change::Remove(filter)
            }
        });
        let head = (&*self.owner, known.incarnation, known.sequence + 1);
        let count = put_changes(out, bytes_max, head, changes);
        Position {
            sequence: known.sequence + u64::from(count),
            ..known
        }
    }

    /// All routes, as frames. Takes as much memory as they have text.
    pub(super) fn snapshot(&self) -> VecDeque<Vec<u8>> {
        let owner = &*self.owner;
        let mut frames = VecDeque::new();
        let mut begin = Vec::new();
        SnapshotBegin {
            owner,
            incarnation: self.position.incarnation,
            sequence: self.position.sequence,
            count: self.filters.len(),
        }
        .put(&mut begin);
        frames.push_back(begin);
        let mut filters = self.filters.iter().peekable();
        while filters.peek().is_some() {
            // As large as it may get, so that it does not grow.
            let mut part = Vec::with_capacity(PART_BYTES + 256);
            put_snapshot_part(&mut part, PART_BYTES, owner, &mut filters);
            frames.push_back(part);
        }
        let digest = self.filters.digest();
        let mut end = Vec::new();
        SnapshotEnd { owner, digest }.put(&mut end);
        frames.push_back(end);
        frames
    }

    /// What the routes are, in short.
    pub(super) fn digest(&self) -> Digest<'_> {
        Digest {
            owner: &self.owner,
            incarnation: self.position.incarnation,
            sequence: self.position.sequence,
            count: self.filters.len(),
            digest: self.filters.digest(),
        }
    }
}
