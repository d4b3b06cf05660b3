//! Flows: every message of one publisher must arrive at one subscriber once and in order.

use std::collections::{BTreeMap, HashMap};

use super::Tally;

/// Gaps remembered per flow. A flow with more has lost so much that reordered messages may be
/// counted as duplicates beyond this.
const GAPS_MAX: usize = 4096;

/// No publisher gets this far; a sequence beyond it was not sent by one.
const SEQUENCE_MAX: u64 = 1 << 48;

/// Whether a message may be one that has arrived before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// No: a repeat is a fault.
    Forbidden,
    /// Yes: QoS 1 with DUP, in a session that was resumed.
    Allowed,
}

/// The flows of one thread. A flow is named by its index.
#[derive(Debug, Default)]
pub struct Flows {
    /// The sequence that each flow expects.
    next: Vec<u64>,
    /// Sequences that were jumped over and have not arrived since: start → end, per flow.
    gaps: HashMap<usize, BTreeMap<u64, u64>>,
    tally: Tally,
}

impl Flows {
    /// `count` flows that expect sequence 0.
    pub fn new(count: usize) -> Self {
        Self {
            next: vec![0; count],
            ..Self::default()
        }
    }

    /// Takes note of one message.
    #[inline]
    pub fn receive(&mut self, flow: usize, sequence: u64, repeat: Repeat) {
        let Some(next) = self.next.get_mut(flow) else {
            self.tally.misdelivered += 1;
            return;
        };
        if sequence == *next {
            *next += 1;
        } else {
            self.irregular(flow, sequence, repeat);
        }
    }

    /// Counts messages that no flow can take.
    pub fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Judges a flow whose publisher has sent `sent` messages in all.
    pub fn close(&mut self, flow: usize, sent: u64) {
        let gaps = self.gaps.remove(&flow).unwrap_or_default();
        self.tally.lost += gaps.iter().map(|(start, end)| end - start).sum::<u64>();
        let next = self.next.get(flow).copied().unwrap_or(0);
        self.tally.lost += sent.saturating_sub(next);
        // More than was sent: nobody published these.
        self.tally.misdelivered += next.saturating_sub(sent);
    }

    /// The counts so far; losses are in them only for flows that were closed.
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    #[cold]
    fn irregular(&mut self, flow: usize, sequence: u64, repeat: Repeat) {
        let next = self.next[flow];
        if sequence >= SEQUENCE_MAX {
            self.tally.misdelivered += 1;
        } else if sequence > next {
            self.remember(flow, next, sequence);
            self.next[flow] = sequence + 1;
        } else if self.fill(flow, sequence) {
            self.tally.reordered += 1;
        } else if repeat == Repeat::Allowed {
            self.tally.redelivered += 1;
        } else {
            self.tally.duplicated += 1;
        }
    }

    fn remember(&mut self, flow: usize, start: u64, end: u64) {
        let gaps = self.gaps.entry(flow).or_default();
        if gaps.len() < GAPS_MAX {
            gaps.insert(start, end);
        } else {
            self.tally.lost += end - start;
        }
    }

    /// Removes `sequence` from the gaps; false when it is in none.
    fn fill(&mut self, flow: usize, sequence: u64) -> bool {
        let Some(gaps) = self.gaps.get_mut(&flow) else {
            return false;
        };
        let Some((&start, &end)) = gaps.range(..=sequence).next_back() else {
            return false;
        };
        if sequence >= end {
            return false;
        }
        gaps.remove(&start);
        if start < sequence {
            gaps.insert(start, sequence);
        }
        if sequence + 1 < end {
            gaps.insert(sequence + 1, end);
        }
        if gaps.is_empty() {
            self.gaps.remove(&flow);
        }
        true
    }
}
