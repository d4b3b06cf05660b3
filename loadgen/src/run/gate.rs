//! Where the workers of a run wait for each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Keeps worker processes in step. A single process passes every gate at once.
pub trait Gate {
    /// Waits until all workers have come to the stage with the number `stage`. Each brings a
    /// value; all get the values of all workers, in order of their numbers. `None` means that
    /// others are beyond this stage, because the run is to end: it is to be skipped.
    fn arrive(&mut self, stage: usize, brings: Value) -> Result<Option<Vec<Value>>, String>;

    /// Whether the whole run is to end early.
    fn is_interrupted(&mut self) -> bool;

    /// Called about once a second.
    fn show(&mut self, counters: Counters);
}

/// How far a process has come.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Clients with a connection.
    pub connected: u64,
    /// Messages published.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Connections made and filters granted.
    pub steps: u64,
    /// Connections lost.
    pub errors: u64,
}

impl Counters {
    /// The sum of two processes.
    pub fn plus(self, other: Self) -> Self {
        Self {
            connected: self.connected + other.connected,
            sent: self.sent + other.sent,
            received: self.received + other.received,
            steps: self.steps + other.steps,
            errors: self.errors + other.errors,
        }
    }
}

/// The gate of a run in one process.
#[derive(Debug)]
pub struct Solo;

impl Gate for Solo {
    fn arrive(&mut self, _stage: usize, brings: Value) -> Result<Option<Vec<Value>>, String> {
        Ok(Some(vec![brings]))
    }

    fn is_interrupted(&mut self) -> bool {
        false
    }

    fn show(&mut self, _counters: Counters) {}
}
