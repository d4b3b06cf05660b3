//! Running a scenario: threads, stages, and what every scenario needs on each thread.
//!
//! A scenario is a script of stages. The conductor (main thread) starts a stage on all threads at
//! once and ends it when all are done or its time is over; it samples CPU and memory around each.
//! On each thread a driver runs the scenario's [`Part`] over one engine.

mod brokers;
mod clients;
mod conductor;
mod control;
mod driver;
mod gate;
mod lead;
mod muster;
mod places;
mod ramp;
mod share;

pub use brokers::Brokers;
pub use clients::{Clients, Profile, Start};
pub use conductor::{Conducted, Scenario, Seat, StageRecord, Staging, conduct};
pub use control::Control;
pub use driver::{Part, Rest};
pub use gate::{Counters, Gate, Solo};
pub use muster::{Muster, lost};
pub use places::{Places, Roles};
pub use share::Share;

use std::time::Duration;

/// One stage of a script.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What a person calls it.
    pub name: &'static str,
    /// When it ends.
    pub until: Until,
    /// Still entered after an interrupt or a failure: judging and leaving.
    pub is_final: bool,
}

/// The end of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Every thread is done, or none has made progress for this long.
    Done(Duration),
    /// The time has passed.
    Elapsed(Duration),
}
