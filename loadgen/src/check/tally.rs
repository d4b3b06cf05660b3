//! What went wrong, in numbers.

use serde::{Deserialize, Serialize};

/// Counts of every kind of wrong delivery. All zero is a clean run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that were sent and never arrived.
    pub lost: u64,
    /// Messages that arrived again although nothing allows it.
    pub duplicated: u64,
    /// Messages that arrived after a later one of the same publisher.
    pub reordered: u64,
    /// Repeats that QoS 1 allows: with DUP, after a session was resumed. Not a fault.
    pub redelivered: u64,
    /// Messages of this run at a subscriber that did not ask for them, or never sent.
    pub misdelivered: u64,
    /// Messages whose payload or topic was changed.
    pub altered: u64,
    /// Messages of other runs. Not a fault.
    pub foreign: u64,
}

impl Tally {
    /// Adds the counts of another part of the run.
    pub fn merge(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.redelivered += other.redelivered;
        self.misdelivered += other.misdelivered;
        self.altered += other.altered;
        self.foreign += other.foreign;
    }

    /// One sentence per kind of fault; `loss` says whether lost messages count as one.
    pub fn problems(&self, loss_allowed: bool) -> Vec<String> {
        let lost = if loss_allowed { 0 } else { self.lost };
        [
            (lost, "lost"),
            (self.duplicated, "delivered more than once"),
            (self.reordered, "delivered out of order"),
            (self.misdelivered, "delivered to the wrong subscriber"),
            (self.altered, "altered on the way"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} messages {what}"))
        .collect()
    }
}
