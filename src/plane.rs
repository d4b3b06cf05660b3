//! The seam to the data plane: everything that the process knows of it.

use shards::settings::Settings;

use crate::failure::Failure;

pub(crate) use shards::{Running, Stopper};

/// Starts the shards. When this returns they listen.
pub(crate) fn start(settings: &Settings) -> Result<Running, Failure> {
    shards::start(settings).map_err(|error| Failure::new(error.to_string()))
}

/// Waits until every shard has ended. An error if it was not because somebody stopped
/// them.
pub(crate) fn wait(running: Running) -> Result<(), Failure> {
    running
        .wait()
        .map_err(|error| Failure::new(format!("a shard failed: {error}")))
}
