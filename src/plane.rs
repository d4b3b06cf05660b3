//! The seam to the data plane: everything that the process knows of it.

use std::convert::Infallible;

use shards::settings::Settings;

use crate::failure::Failure;

/// The data plane while it runs.
#[derive(Debug)]
pub(crate) struct Running(Infallible);

/// Stops the data plane from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Stopper(Infallible);

/// Starts the shards. When this returns they listen.
pub(crate) fn start(_: Settings) -> Result<Running, Failure> {
    Err(Failure::new("the data plane is not linked"))
}

impl Running {
    /// A handle for the signals.
    pub(crate) fn stopper(&self) -> Stopper {
        match self.0 {}
    }

    /// Waits until every shard has ended. An error if it was not because somebody
    /// stopped them.
    pub(crate) fn wait(self) -> Result<(), Failure> {
        match self.0 {}
    }
}

impl Stopper {
    /// Asks the shards to close their listeners, say goodbye to their clients and end.
    pub(crate) fn stop(&self) {
        match self.0 {}
    }
}
