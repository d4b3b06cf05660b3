//! Ledger: every message of one publisher must arrive exactly once, at any subscriber.

use serde::{Deserialize, Serialize};

use super::Tally;

/// The furthest sequence a ledger takes: one bit each, 512 MiB per publisher. A message beyond
/// it is counted as misdelivered rather than believed.
const SEQUENCE_MAX: u64 = 1 << 32;

/// One bit per message and publisher. Each thread keeps its own; they are merged for judgement.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ledger {
    pages: Vec<Vec<u64>>,
}

impl Ledger {
    /// An empty ledger for `publishers` publishers.
    pub fn new(publishers: usize) -> Self {
        Self {
            pages: vec![Vec::new(); publishers],
        }
    }

    /// Takes note of one message.
    #[inline]
    pub fn receive(&mut self, publisher: u32, sequence: u64, tally: &mut Tally) {
        let Some(bits) = self.pages.get_mut(publisher as usize) else {
            tally.misdelivered += 1;
            return;
        };
        if sequence >= SEQUENCE_MAX {
            tally.misdelivered += 1;
            return;
        }
        let word = (sequence / 64) as usize;
        if word >= bits.len() {
            bits.resize((word + 1).next_power_of_two(), 0);
        }
        let bit = 1 << (sequence % 64);
        if bits[word] & bit != 0 {
            tally.duplicated += 1;
        }
        bits[word] |= bit;
    }

    /// Takes over what another part of the run has received.
    pub fn merge(&mut self, other: &Self, tally: &mut Tally) {
        for (bits, others) in self.pages.iter_mut().zip(&other.pages) {
            if bits.len() < others.len() {
                bits.resize(others.len(), 0);
            }
            for (word, other) in bits.iter_mut().zip(others) {
                tally.duplicated += u64::from((*word & other).count_ones());
                *word |= other;
            }
        }
    }

    /// Judges one publisher, which has sent `sent` messages.
    pub fn close(&self, publisher: u32, sent: u64, tally: &mut Tally) {
        let bits = self
            .pages
            .get(publisher as usize)
            .map_or(&[][..], Vec::as_slice);
        let whole = ((sent / 64) as usize).min(bits.len());
        let mut within: u64 = bits[..whole]
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        if let Some(word) = bits.get((sent / 64) as usize) {
            within += u64::from((word & ((1 << (sent % 64)) - 1)).count_ones());
        }
        let all: u64 = bits.iter().map(|word| u64::from(word.count_ones())).sum();
        tally.lost += sent - within;
        tally.misdelivered += all - within;
    }
}
