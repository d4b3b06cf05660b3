//! The command line.

mod options;
mod values;

pub use options::{Common, Flow, payload_range};
pub use values::{duration, qos, rate};

use clap::{Parser, Subcommand};

use crate::coordinate::{Run, Worker};
use crate::crash::{Kills, PowerCut};
use crate::scenarios::{
    Task, connect, drain, durable, fan_in, fan_out, idle, matching, million, pairs, restore,
    retained, session, shared, sparse, subscribe,
};

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
    /// A scenario in this process.
    #[command(flatten)]
    Scenario(Box<Scenario>),
    /// Wait for a coordinator, and carry out a part of its scenario
    Worker(Worker),
    /// Share out a scenario over workers
    Run(Run),
    /// Kill the broker again and again: is anything lost that it has acknowledged?
    Crash(Box<Kills>),
    /// Copy the disk below a working broker: is anything missing that it had acknowledged?
    PowerCut(Box<PowerCut>),
}

/// A scenario with its options.
#[derive(Debug, Subcommand)]
pub enum Scenario {
    /// Publishers and subscribers in pairs, each pair on its own topic
    Pairs(pairs::Pairs),
    /// Few publishers, many subscribers that all hear all of them
    FanOut(fan_out::FanOut),
    /// Many publishers, few subscribers that hear all of them by a wildcard
    FanIn(fan_in::FanIn),
    /// Publishers, and a group of which one member receives each message
    Shared(shared::Shared),
    /// Many clients that seldom send, together at a rate
    Sparse(sparse::Sparse),
    /// Publish among many subscribed filters
    Match(matching::Match),
    /// Connections as fast or as many as asked for: a storm, or churn
    Connect(connect::Connect),
    /// Hold connections that do nothing but keep alive
    Idle(idle::Idle),
    /// Subscribe to many filters
    Subscribe(subscribe::Subscribe),
    /// Store retained messages, then read all of them by a wildcard
    Retained(retained::Retained),
    /// Subscribers go away, messages queue for them, they come back
    Session(session::Session),
    /// Publish to kept sessions; how long acknowledgements take, beside what the disk takes
    Durable(durable::Durable),
    /// Queue many messages for a session that is away; how fast it gets them
    Drain(drain::Drain),
    /// Fill a broker with sessions and messages that stay, to measure its next start
    Restore(restore::Restore),
    /// Check the target of one million messages a second, end to end
    Million(million::Million),
}
impl Scenario {
    /// The scenario as a task.
    pub fn task(self) -> Box<dyn Task> {
        match self {
            Self::Pairs(task) => Box::new(task),
            Self::FanOut(task) => Box::new(task),
            Self::FanIn(task) => Box::new(task),
            Self::Shared(task) => Box::new(task),
            Self::Sparse(task) => Box::new(task),
            Self::Match(task) => Box::new(task),
            Self::Connect(task) => Box::new(task),
            Self::Idle(task) => Box::new(task),
            Self::Subscribe(task) => Box::new(task),
            Self::Retained(task) => Box::new(task),
            Self::Session(task) => Box::new(task),
            Self::Durable(task) => Box::new(task),
            Self::Drain(task) => Box::new(task),
            Self::Restore(task) => Box::new(task),
            Self::Million(task) => Box::new(task),
        }
    }
}
