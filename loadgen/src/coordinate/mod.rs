//! Runs over several machines or processes.
//!
//! `loadgen worker` waits for work; `loadgen run --workers …` shares out a scenario, keeps the
//! workers in step, and merges their results. They speak JSON, one message a line, over TCP
//! without authentication: a worker does what it is told by whoever may reach it. It therefore
//! listens on loopback unless told otherwise, and takes orders only from loopback and from the
//! addresses it was given.

mod coordinator;
mod line;
mod worker;

pub use coordinator::Run;
pub use worker::Worker;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::run::{Conducted, Counters, Share};

/// The port of a worker, unless told otherwise.
const PORT: u16 = 7883;

/// What a coordinator tells a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Say your time, and who you are.
    Clock,
    /// Carry out your part of a scenario.
    Run {
        /// The scenario and its options, as on the command line.
        arguments: Vec<String>,
        /// The run's number.
        run: u32,
        /// Which part.
        share: Share,
        /// To be added to the worker's clock.
        clock_offset_ns: i64,
    },
    /// All have arrived; go on, with what all have brought.
    Pass(Vec<Value>),
    /// Others are ahead of you: skip this stage.
    Skip,
    /// End early, but in order.
    Interrupt,
}

/// What a worker tells its coordinator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// Answer to `Clock`.
    Clock {
        /// The program's version; both must be the same.
        version: String,
        /// Differs between machines.
        machine: String,
        /// The worker's monotonic clock.
        now_ns: u64,
    },
    /// The worker waits before a stage.
    Arrive {
        /// The stage's number.
        stage: usize,
        /// For the others.
        brings: Value,
    },
    /// How far it has come.
    Show(Counters),
    /// Its part is over.
    Done(Box<Conducted>),
    /// Its part could not be carried out.
    Failed(String),
}

/// What tells machines apart: clocks of the same machine need no comparison.
fn machine() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
