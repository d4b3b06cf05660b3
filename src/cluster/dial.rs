//! Connections with others: the one of two nodes that has the smaller name dials, and dials
//! again when the connection is lost. The other one dials, too, when it was not dialed for long:
//! perhaps it was not named there, or can be reached in one direction only.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use quinn::{Connection, Endpoint, Incoming};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::connection::meet;
use super::ended::Ended;
use super::seed::Seed;

/// The time between two attempts, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long the node with the larger name waits to be dialed.
const NOT_DIALED: Duration = Duration::from_secs(5);

/// Connections that have not shown yet that they know the cookie.
const STRANGERS_MAX: usize = 64;

/// The log has a line about strangers so often at most.
const STRANGERS_LOG: Duration = Duration::from_secs(5);

/// Keeps a connection with a node, for ever.
pub(super) async fn dial(shared: Rc<Shared>, endpoint: Endpoint, local: SocketAddr, seed: Seed) {
    let mut backoff = BACKOFF.0;
    let mut said = String::new();
    let is_first = shared.hub.borrow().name() < seed.name.as_str();
    loop {
        if !is_first {
            sleep(NOT_DIALED).await;
            if shared.hub.borrow().is_connected(&seed.name) {
                continue;
            }
        }
        let error = match attempt(&shared, &endpoint, local, &seed).await {
            // The hub has said what there is to say.
            Ok(()) => {
                backoff = BACKOFF.0;
                said.clear();
                None
            }
            Err(error) => Some(error),
        };
        // What is wrong for long is said once.
        if let Some(error) = error.filter(|error| *error != said) {
            warn!("node {seed} cannot be reached: {error}");
            said = error;
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Connects with a node, and serves the connection until it is lost.
async fn attempt(
    shared: &Rc<Shared>,
    endpoint: &Endpoint,
    local: SocketAddr,
    seed: &Seed,
) -> Result<(), String> {
    let resolved = {
        let seed = seed.clone();
        tokio::task::spawn_blocking(move || seed.resolve(local))
    };
    let addresses = resolved.await.map_err(|error| error.to_string())?;
    let addresses = addresses.map_err(|error| format!("its name does not resolve: {error}"))?;
    let mut error = String::new();
    for address in addresses {
        match connect(endpoint, address).await {
            Err(why) => error = format!("{address}: {why}"),
            Ok(connection) => match meet(shared, connection, Some(&seed.name)).await {
                Err(why) => error = format!("{address}: {why}"),
                Ok(met) => {
                    met.serve(shared).await;
                    return Ok(());
                }
            },
        }
    }
    Err(error)
}

async fn connect(endpoint: &Endpoint, address: SocketAddr) -> Result<Connection, Ended> {
    let connecting = endpoint.connect(address, "shardmq-cluster");
    let connecting = connecting.map_err(|error| Ended::Lost(error.to_string()))?;
    Ok(connecting.await?)
}

/// Serves connections that others make, for ever.
pub(super) async fn accept(shared: Rc<Shared>, endpoint: Endpoint) {
    let strangers = Rc::new(Strangers::default());
    while let Some(incoming) = endpoint.accept().await {
        if strangers.count.get() >= STRANGERS_MAX {
            incoming.refuse();
            continue;
        }
        spawn_local(accepted(
            Rc::clone(&shared),
            incoming,
            Rc::clone(&strangers),
        ));
    }
}

/// Connections that have not shown yet who they are.
#[derive(Default)]
struct Strangers {
    count: Cell<usize>,
    logged: Cell<Option<Instant>>,
}

async fn accepted(shared: Rc<Shared>, incoming: Incoming, strangers: Rc<Strangers>) {
    let address = incoming.remote_address();
    strangers.count.set(strangers.count.get() + 1);
    let met = match incoming.await {
        Ok(connection) => meet(&shared, connection, None).await,
        Err(error) => Err(Ended::of(&error)),
    };
    strangers.count.set(strangers.count.get() - 1);
    match met {
        Ok(met) => met.serve(&shared).await,
        Err(why) => strangers.log(address, &why),
    }
}

impl Strangers {
    /// Says why somebody did not become a node's connection, unless that was just said.
    fn log(&self, address: SocketAddr, why: &Ended) {
        let now = Instant::now();
        let logged = self.logged.get();
        if logged.is_none_or(|logged| now.duration_since(logged) >= STRANGERS_LOG) {
            self.logged.set(Some(now));
            warn!("a connection from {address} was refused: {why}");
        }
    }
}
