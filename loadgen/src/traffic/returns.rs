//! Closed loop: which messages of a publisher have been received back.
//!
//! Subscribers may be on other threads than the publisher. Each thread counts what its own
//! subscribers have, and shows it in its row of a table that the publishers' threads read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::plan::Audience;

/// The table: one row per thread, one cell per publisher of the worker.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Box<[AtomicU64]>>,
    /// Whether a thread has subscribers at all: the others hold nobody up.
    has_subscribers: Vec<bool>,
    rule: Rule,
}

/// When a message is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// When every subscriber has it: the least of all rows.
    Everyone,
    /// When anyone has it: the sum of all rows.
    Anyone,
}

impl Table {
    /// A table for the publishers of one worker; `subscribers` is their number per thread.
    pub fn new(audience: Audience, publishers: usize, subscribers: &[usize]) -> Self {
        let row = || (0..publishers).map(|_| AtomicU64::new(0)).collect();
        Self {
            rows: subscribers.iter().map(|_| row()).collect(),
            has_subscribers: subscribers.iter().map(|count| *count > 0).collect(),
            rule: if audience == Audience::AnyOne {
                Rule::Anyone
            } else {
                Rule::Everyone
            },
        }
    }

    /// How many messages of a publisher are back.
    pub(super) fn back(&self, publisher: usize) -> u64 {
        let cells = self
            .rows
            .iter()
            .zip(&self.has_subscribers)
            .filter(|(_, has_subscribers)| **has_subscribers)
            .map(|(row, _)| row[publisher].load(Ordering::Acquire));
        match self.rule {
            Rule::Everyone => cells.min().unwrap_or(0),
            Rule::Anyone => cells.sum(),
        }
    }
}

/// One thread's share of the counting.
#[derive(Debug)]
pub(super) struct Returns {
    table: Arc<Table>,
    thread: usize,
    /// Subscribers of this thread that each receive every message.
    copies: u32,
    /// Copies of the messages on their way: a ring per publisher, indexed by sequence.
    counts: Vec<u32>,
    ring: usize,
    /// Messages that all copies of this thread have arrived of, per publisher.
    done: Vec<u64>,
    /// Publishers whose count has changed since it was shown.
    touched: Vec<u32>,
}

impl Returns {
    /// For a thread with `subscribers`, a window of `window` messages.
    pub(super) fn new(table: Arc<Table>, thread: usize, subscribers: usize, window: u32) -> Self {
        let publishers = table.rows.first().map_or(0, |row| row.len());
        let copies = if table.rule == Rule::Everyone {
            subscribers as u32
        } else {
            1
        };
        let ring = window.next_power_of_two() as usize;
        let counts = if copies > 1 {
            vec![0; publishers * ring]
        } else {
            Vec::new()
        };
        let done = vec![0; publishers];
        Self {
            table,
            thread,
            copies,
            counts,
            ring,
            done,
            touched: Vec::new(),
        }
    }

    /// One copy of a message has arrived at a subscriber of this thread.
    #[inline]
    pub(super) fn received(&mut self, publisher: usize, sequence: u64) {
        if publisher >= self.done.len() {
            return;
        }
        if self.copies > 1 {
            let place = publisher * self.ring + (sequence as usize & (self.ring - 1));
            self.counts[place] += 1;
            if self.counts[place] < self.copies {
                return;
            }
            self.counts[place] = 0;
        }
        self.done[publisher] += 1;
        if self.touched.last() != Some(&(publisher as u32)) {
            self.touched.push(publisher as u32);
        }
    }

    /// Shows what has changed; `news` is told each publisher with news, and how many of its
    /// messages are back everywhere.
    pub(super) fn show(&mut self, mut news: impl FnMut(usize, u64)) {
        let row = &self.table.rows[self.thread];
        for touched in self.touched.drain(..) {
            let index = touched as usize;
            if row[index].load(Ordering::Relaxed) != self.done[index] {
                row[index].store(self.done[index], Ordering::Release);
                news(index, self.table.back(index));
            }
        }
    }

    /// How many messages of a publisher are back, everywhere.
    pub(super) fn back(&self, publisher: usize) -> u64 {
        self.table.back(publisher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(returns: &mut Returns) -> Vec<usize> {
        let mut publishers = Vec::new();
        returns.show(|publisher, _| publishers.push(publisher));
        publishers
    }

    #[test]
    fn a_message_is_back_when_the_last_subscriber_of_the_last_thread_has_it() {
        let table = Arc::new(Table::new(Audience::All, 1, &[2, 1, 0]));
        let mut first = Returns::new(Arc::clone(&table), 0, 2, 4);
        let mut second = Returns::new(Arc::clone(&table), 1, 1, 4);
        first.received(0, 0);
        first.received(0, 1);
        assert!(changed(&mut first).is_empty());
        first.received(0, 0);
        assert_eq!(changed(&mut first), [0]);
        assert_eq!(table.back(0), 0);
        second.received(0, 0);
        assert_eq!(changed(&mut second), [0]);
        assert_eq!(table.back(0), 1);
    }

    #[test]
    fn in_a_group_any_subscriber_brings_a_message_back() {
        let table = Arc::new(Table::new(Audience::AnyOne, 2, &[2, 2]));
        let mut first = Returns::new(Arc::clone(&table), 0, 2, 4);
        let mut second = Returns::new(Arc::clone(&table), 1, 2, 4);
        first.received(1, 0);
        second.received(1, 1);
        changed(&mut first);
        changed(&mut second);
        assert_eq!((table.back(0), table.back(1)), (0, 2));
    }

    #[test]
    fn an_impossible_publisher_is_ignored() {
        let table = Arc::new(Table::new(Audience::All, 1, &[1]));
        let mut returns = Returns::new(table, 0, 1, 4);
        returns.received(7, 0);
        assert!(changed(&mut returns).is_empty());
    }
}
