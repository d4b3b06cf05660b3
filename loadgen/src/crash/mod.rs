//! The crash test: is anything lost that the broker has acknowledged?
//!
//! Clients keep a record of their own of what was acknowledged, while the broker is killed
//! (`crash`) or the disk below it is copied as a power cut would leave it (`power-cut`), and
//! judge what they get afterwards:
//!
//! - QoS 1 and 2: what was acknowledged reaches every kept session that was subscribed before.
//! - QoS 2: nothing arrives twice. Publishers and subscribers keep their packet identifiers
//!   over reconnects, and take their exchanges up again.
//! - The messages of a publisher to a topic at a QoS keep their order.
//! - Retained messages: a reader gets the last acknowledged one or a later one.
//! - Subscriptions, their ends, sessions, wills and delayed messages survive too.

mod body;
mod broker;
mod cast;
mod client;
mod faults;
mod keeper;
mod kills;
mod link;
mod outbox;
mod power;
mod publisher;
mod record;
mod scene;
mod stage;
mod subscriber;
mod testator;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli;

pub use faults::Faults;
pub use kills::Kills;
pub use power::PowerCut;

/// Options of both tests.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The broker's program
    #[arg(long, default_value = "target/release/shardmq")]
    pub broker: PathBuf,
    /// The broker's data folder
    #[arg(long)]
    pub data_dir: PathBuf,
    /// Numbers of shards, such as "1,2": each start takes one of them
    #[arg(long, value_delimiter = ',', default_value = "1,2",
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: Vec<u32>,
    /// Messages per second
    #[arg(long, default_value = "3000", value_parser = cli::rate)]
    pub rate: f64,
    /// A setting of the broker, such as `--set durability=synced`
    #[arg(long = "set")]
    pub settings: Vec<String>,
    /// Parts of the broker that are not to be tried
    #[arg(long, value_enum, value_delimiter = ',')]
    pub without: Vec<Without>,
    /// What chance begins with [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Give up when nothing has come for so long
    #[arg(long, default_value = "10s", value_parser = cli::duration)]
    pub patience: Duration,
}

/// A part of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Without {
    /// Wills.
    Wills,
    /// Delayed messages.
    Delayed,
}

/// What a test has found.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What was wrong.
    pub faults: Faults,
    /// What was done, a line each.
    pub lines: Vec<String>,
}

impl Verdict {
    /// Whether nothing was wrong.
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }

    /// All of it as text.
    pub fn to_text(&self) -> String {
        let end = if self.passed() { "PASS" } else { "FAIL" };
        let lines = self.lines.iter().cloned().chain(self.faults.lines());
        lines
            .chain([end.to_owned()])
            .map(|line| line + "\n")
            .collect()
    }
}
