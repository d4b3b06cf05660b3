//! What the threads of a run have measured, added up.

use serde::{Deserialize, Serialize};

use super::Latency;
use crate::check::{Ledger, Tally};
use crate::traffic::Crossed;

/// Problems that are told one by one; more are only counted.
const PROBLEMS_MAX: usize = 5;

/// The result of one thread, one worker, or the whole run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// From the due time of a message to its arrival, for messages due in the measured window.
    pub latency: Latency,
    /// From the due time of a connection to its CONNACK.
    pub connect: Latency,
    /// From a request (SUBSCRIBE, acknowledged PUBLISH, …) to its answer.
    pub answer: Latency,
    /// Messages published in the measured window.
    pub window_sent: u64,
    /// Messages received in the measured window.
    pub window_received: u64,
    /// Messages received in the measured window, by the nodes they came from and to.
    pub crossed: Crossed,
    /// Messages published in all.
    pub sent: u64,
    /// Messages received in all.
    pub received: u64,
    /// Messages that were due and could not be sent in time for the end (open loop).
    pub unsent: u64,
    /// Connections that were accepted by the broker, in all.
    pub connections: u64,
    /// Filters that were granted.
    pub filters: u64,
    /// Wrong deliveries.
    pub tally: Tally,
    /// Messages each member of a shared group has received.
    pub spread: Vec<u64>,
    /// Where one of many subscribers receives each message: which have arrived.
    pub ledger: Option<Ledger>,
    /// Anything else that went wrong.
    pub problems: Vec<String>,
    /// How many problems there were.
    pub problem_count: u64,
}

impl Outcome {
    /// Notes a problem.
    pub fn add_problem(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Adds the result of another part of the run.
    pub fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.connect.merge(&other.connect);
        self.answer.merge(&other.answer);
        self.window_sent += other.window_sent;
        self.window_received += other.window_received;
        self.crossed.merge(&other.crossed);
        self.sent += other.sent;
        self.received += other.received;
        self.unsent += other.unsent;
        self.connections += other.connections;
        self.filters += other.filters;
        self.tally.merge(&other.tally);
        self.spread.extend(other.spread);
        match (&mut self.ledger, other.ledger) {
            (Some(ledger), Some(other)) => ledger.merge(&other, &mut self.tally),
            (slot @ None, other) => *slot = other,
            (Some(_), None) => {}
        }
        self.problem_count += other.problem_count;
        let room = PROBLEMS_MAX.saturating_sub(self.problems.len());
        self.problems.extend(other.problems.into_iter().take(room));
    }

    /// Judges the messages that any one of many subscribers was to receive: `sent` by each
    /// publisher, of which only those of `publishers` count here. The ledger is used up.
    pub fn close_ledger(&mut self, publishers: std::ops::Range<u32>, sent: &[u64]) {
        if let Some(ledger) = self.ledger.take() {
            for publisher in publishers {
                let sent = sent.get(publisher as usize).copied().unwrap_or(0);
                ledger.close(publisher, sent, &mut self.tally);
            }
        }
    }
}
