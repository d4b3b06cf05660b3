//! Filters without wildcards: a hash table by the whole topic.

use super::{
    arena::{Arena, NONE, Numbers},
    chunk::Record,
    grace::{Grace, Pin},
    table::{Table, TableWriter},
};
use crate::shim::{AtomicU32, AtomicU64, Ordering};

/// The text of one line, in 64-bit words.
const LINE_WORDS: usize = 6;

/// The text of one line, in bytes.
const LINE_BYTES: usize = LINE_WORDS * 8;

/// Exact topics, for everybody.
#[derive(Default)]
pub(super) struct ExactRoutes {
    table: Table,
    lines: Arena<TopicLine>,
}

/// A topic of up to 48 bytes with its destinations, or 48 bytes more of a longer one.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct TopicLine {
    /// Where messages with this topic go, see [`stored`](super::stored). First line only.
    destinations: AtomicU64,
    /// Bytes of the whole topic. First line only.
    length: AtomicU32,
    /// The line with what follows, or [`NONE`].
    next: AtomicU32,
    /// Zero behind the end of the topic.
    text: [AtomicU64; LINE_WORDS],
}

impl ExactRoutes {
    /// The destinations of the filter that is equal to `topic`, if there is one.
    pub(super) fn find<'p>(&'p self, topic: &str, hash: u64, pin: &'p Pin<'_>) -> Option<u64> {
        let number = self
            .table
            .find(hash, pin, |number| self.is_topic(number, topic))?;
        Some(self.lines.get(number).destinations.load(Ordering::Acquire))
    }

    /// Has the processor fetch the slot where [`Self::find`] will begin.
    pub(super) fn prefetch(&self, hash: u64, pin: &Pin<'_>) {
        self.table.prefetch(hash, pin);
    }

    /// The text of a topic, by its first line. For the writer only.
    pub(super) fn text(&self, number: u32) -> Vec<u8> {
        let mut line = self.lines.get(number);
        let length = line.length.load(Ordering::Relaxed) as usize;
        let mut text = Vec::with_capacity(length.next_multiple_of(LINE_BYTES));
        loop {
            for word in &line.text {
                text.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
            }
            if text.len() >= length {
                text.truncate(length);
                return text;
            }
            line = self.lines.get(line.next.load(Ordering::Relaxed));
        }
    }

    fn is_topic(&self, number: u32, topic: &str) -> bool {
        let mut line = self.lines.get(number);
        if line.length.load(Ordering::Relaxed) as usize != topic.len() {
            return false;
        }
        let mut texts = topic.as_bytes().chunks(LINE_BYTES);
        while let Some(text) = texts.next() {
            if !line.holds(text) {
                return false;
            }
            if texts.len() > 0 {
                line = self.lines.get(line.next.load(Ordering::Relaxed));
            }
        }
        true
    }
}

// SAFETY: it consists of atomic integers only.
unsafe impl Record for TopicLine {}

impl TopicLine {
    fn holds(&self, text: &[u8]) -> bool {
        words_of(text)
            .zip(&self.text)
            .all(|(word, stored)| word == stored.load(Ordering::Relaxed))
    }

    fn write(&self, text: &[u8], length: u32, next: u32) {
        self.destinations.store(0, Ordering::Relaxed);
        self.length.store(length, Ordering::Relaxed);
        self.next.store(next, Ordering::Relaxed);
        for (word, stored) in words_of(text).chain(std::iter::repeat(0)).zip(&self.text) {
            stored.store(word, Ordering::Relaxed);
        }
    }
}

/// The writer's side of [`ExactRoutes`].
#[derive(Default)]
pub(super) struct ExactWriter {
    table: TableWriter,
    numbers: Numbers,
}

impl ExactWriter {
    /// The destinations of a filter, for the writer to change. The filter is added if it is
    /// not there.
    pub(super) fn find_or_add<'s>(
        &mut self,
        shared: &'s ExactRoutes,
        filter: &str,
        hash: u64,
        grace: &Grace,
    ) -> &'s AtomicU64 {
        let found = self.find(shared, filter, hash);
        let number = found.unwrap_or_else(|| {
            let number = self.write(shared, filter);
            self.table.insert(&shared.table, hash, number, grace);
            number
        });
        &shared.lines.get(number).destinations
    }

    /// The record of a filter.
    pub(super) fn find(&self, shared: &ExactRoutes, filter: &str, hash: u64) -> Option<u32> {
        self.table
            .find(hash, |number| shared.is_topic(number, filter))
    }

    /// The destinations of a record, for the writer to change.
    pub(super) fn destinations<'s>(&self, shared: &'s ExactRoutes, number: u32) -> &'s AtomicU64 {
        &shared.lines.get(number).destinations
    }

    /// Takes a filter out of the index.
    pub(super) fn remove(&mut self, shared: &ExactRoutes, hash: u64, number: u32, grace: &Grace) {
        self.table.remove(&shared.table, hash, number, grace);
        let mut line = number;
        while line != NONE {
            self.numbers.give_back(line, grace);
            line = shared.lines.get(line).next.load(Ordering::Relaxed);
        }
    }

    /// Records that can still be taken.
    pub(super) fn left(&self) -> usize {
        self.numbers.left()
    }

    /// Records that were ever made.
    pub(super) fn made(&self) -> u32 {
        self.numbers.made()
    }

    /// Things that wait for readers.
    pub(super) fn waiting(&self) -> usize {
        self.numbers.waiting() + self.table.waiting()
    }

    /// Frees what was unlinked before `epoch`.
    pub(super) fn reclaim(&mut self, epoch: u64) {
        self.numbers.reclaim(epoch);
        self.table.reclaim(epoch);
    }

    /// Writes the lines of a topic from the last to the first.
    fn write(&mut self, shared: &ExactRoutes, filter: &str) -> u32 {
        let mut next = NONE;
        for start in (0..filter.len().max(1)).step_by(LINE_BYTES).rev() {
            let text = &filter.as_bytes()[start..filter.len().min(start + LINE_BYTES)];
            let number = self.numbers.take(&shared.lines);
            shared
                .lines
                .get(number)
                .write(text, filter.len() as u32, next);
            next = number;
        }
        next
    }
}

fn words_of(text: &[u8]) -> impl Iterator<Item = u64> + '_ {
    text.chunks(8).map(|chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(bytes)
    })
}
