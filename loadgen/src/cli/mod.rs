//! The command line.

mod options;
mod values;

pub use options::{Common, Flow};

use clap::{Parser, Subcommand};

use crate::scenarios::{fan_in, fan_out, pairs};

/// Load generator and judge for MQTT brokers
///
/// Every message carries its publisher, sequence and time; receivers check loss, duplicates and
/// order themselves. A run that finds a fault ends with exit code 1.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publishers and subscribers in pairs, each pair on its own topic
    Pairs(pairs::Pairs),
    /// Few publishers, many subscribers that all hear all of them
    FanOut(fan_out::FanOut),
    /// Many publishers, few subscribers that hear all of them by a wildcard
    FanIn(fan_in::FanIn),
}
