//! The seam to the data plane: everything that the process knows of it.

use shards::Stats;
use shards::settings::Settings;

use crate::failure::Failure;

pub(crate) use shards::{Running, Stopper, Storage};

/// Starts the shards. When this returns they listen.
pub(crate) fn start(settings: &Settings, storage: Option<Storage>) -> Result<Running, Failure> {
    shards::start(settings, storage).map_err(|error| Failure::new(error.to_string()))
}

/// What the shards did while they ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    /// Messages taken from clients.
    pub(crate) received: u64,
    /// Messages given to clients.
    pub(crate) sent: u64,
    /// Messages dropped because something was full.
    pub(crate) dropped: u64,
    /// Connections closed because the client broke the protocol.
    pub(crate) protocol_errors: u64,
}

/// Waits until every shard has ended. An error if it was not because somebody stopped
/// them.
pub(crate) fn wait(running: Running) -> Result<Totals, Failure> {
    let stats = running.stats().to_vec();
    running
        .wait()
        .map_err(|error| Failure::new(format!("a shard failed: {error}")))?;
    let sum = |counter: fn(&Stats) -> u64| stats.iter().map(|shard| counter(shard)).sum();
    Ok(Totals {
        received: sum(Stats::received_total),
        sent: sum(Stats::sent_total),
        dropped: sum(|shard| shard.dropped.get()),
        protocol_errors: sum(|shard| shard.protocol_errors.get()),
    })
}
