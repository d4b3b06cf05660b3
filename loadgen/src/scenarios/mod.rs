//! The scenarios, one file each.

mod churn;
pub mod connect;
mod crowd;
pub mod drain;
pub mod durable;
pub mod fan_in;
pub mod fan_out;
mod flow;
pub mod idle;
pub mod matching;
pub mod million;
pub mod pairs;
mod patterns;
mod queue;
pub mod restore;
pub mod retained;
pub mod session;
pub mod shared;
pub mod sparse;
mod store;
pub mod subscribe;

use crate::cli::Common;
use crate::run::{Conducted, Gate, Share};
use crate::stats::Report;

/// A scenario with its options.
pub trait Task {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Options that every scenario has.
    fn common(&self) -> &Common;

    /// Carries out this process' part. An error means that the run could not be made.
    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String>;

    /// Reports on the whole run.
    fn report(&self, conducted: &Conducted, report: &mut Report);
}

/// The run that a scenario is part of.
pub struct Context<'a> {
    /// The run's number, the same for all workers.
    pub run: u32,
    /// This process' part.
    pub share: Share,
    /// The broker is watched by the coordinator, not by this process.
    pub is_worker: bool,
    /// Added to this machine's clock to get the run's.
    pub clock_offset_ns: i64,
    /// Where the workers wait for each other.
    pub gate: &'a mut dyn Gate,
}
