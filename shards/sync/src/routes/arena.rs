//! Records that readers find by number.
//!
//! Records are made in chunks and never move, and a chunk is never given back. All of a
//! record is atomic: a reader that holds a number too long reads nonsense, but well-defined
//! nonsense. [`grace`](super::grace) keeps it from doing so.

use std::sync::OnceLock;

use super::{
    chunk::{Chunk, Record},
    grace::{Grace, Limbo},
};

/// Records of a chunk. See [`Chunk`] for their memory.
#[cfg(not(loom))]
const CHUNK: usize = 1 << 15;
#[cfg(loom)]
const CHUNK: usize = 1 << 3;

/// Chunks of a group.
const GROUP: usize = 1 << 8;

/// Groups of an arena.
const GROUPS: usize = 1 << 8;

/// Records of an arena: 2³¹, which is 128 GiB of records of one cache line.
const LIMIT: u32 = (GROUPS * GROUP * CHUNK) as u32;

/// The number of no record.
pub(super) const NONE: u32 = 0;

type Group<T> = Box<[OnceLock<Chunk<T>>]>;

/// The records, for everybody.
pub(super) struct Arena<T: Record> {
    groups: Box<[OnceLock<Group<T>>]>,
}

impl<T: Record> Default for Arena<T> {
    fn default() -> Self {
        Self {
            groups: empty(GROUPS),
        }
    }
}

impl<T: Record> Arena<T> {
    /// The record with a number that [`Numbers::take`] gave.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        let (group, chunk, record) = position(number);
        let chunk = self.groups[group]
            .get()
            .and_then(|group| group[chunk].get());
        #[expect(
            clippy::expect_used,
            reason = "a number is given out after its chunk is made"
        )]
        let chunk = chunk.expect("the chunk of a record");
        &chunk.records()[record]
    }
}

/// Which numbers of an arena are free. It belongs to the writer.
pub(super) struct Numbers {
    /// The first number that was never used.
    unused: u32,
    free: Vec<u32>,
    limbo: Limbo<u32>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            unused: NONE + 1,
            free: Vec::new(),
            limbo: Limbo::default(),
        }
    }
}

impl Numbers {
    /// Records that can still be taken, apart from those that wait for readers.
    pub(super) fn left(&self) -> usize {
        (LIMIT - self.unused) as usize + self.free.len()
    }

    /// Records that were ever made: the highest number that was given out.
    pub(super) fn made(&self) -> u32 {
        self.unused - 1
    }

    /// Records that were taken and not given back.
    #[cfg(all(test, not(loom)))]
    pub(super) fn in_use(&self) -> usize {
        self.made() as usize - self.free.len() - self.limbo.len()
    }

    /// Numbers that wait for readers.
    pub(super) fn waiting(&self) -> usize {
        self.limbo.len()
    }

    /// A record that no reader knows. The caller has seen that one is [left](Self::left).
    pub(super) fn take<T: Record>(&mut self, arena: &Arena<T>) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        assert!(self.unused < LIMIT, "taken from an arena that is full");
        let number = self.unused;
        let (group, chunk, _) = position(number);
        let group = arena.groups[group].get_or_init(|| empty(GROUP));
        group[chunk].get_or_init(|| Chunk::new(CHUNK, number as usize >= CHUNK));
        self.unused += 1;
        number
    }

    /// Gives back a record that no link leads to any more.
    pub(super) fn give_back(&mut self, number: u32, grace: &Grace) {
        self.limbo.keep(grace.epoch(), number);
    }

    /// Frees what was given back before `epoch`.
    pub(super) fn reclaim(&mut self, epoch: u64) {
        while let Some(number) = self.limbo.take_before(epoch) {
            self.free.push(number);
        }
    }
}

/// Group, chunk in the group, and record in the chunk.
#[inline]
fn position(number: u32) -> (usize, usize, usize) {
    let number = number as usize;
    (
        number / CHUNK / GROUP % GROUPS,
        number / CHUNK % GROUP,
        number % CHUNK,
    )
}

fn empty<T>(count: usize) -> Box<[OnceLock<T>]> {
    std::iter::repeat_with(OnceLock::new).take(count).collect()
}
