//! Connections with others: the one of two nodes that has the smaller name dials, and dials
//! again when the connection is lost. The other one dials, too, when it was not dialed for long:
//! perhaps it was not named there, or can be reached in one direction only.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use log::warn;
use quinn::{ClientConfig, Connection, Endpoint, Incoming};
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep};

use super::Shared;
use super::connection::meet;
use super::ended::Ended;
use super::seed::{self, Seed};

/// The time between two attempts, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// At most, while there is a connection over other nodes, which serves and costs them something.
const RELAYED_BACKOFF: Duration = Duration::from_millis(500);

/// A direct connection that lasted for less and had to be replaced by one over other nodes is
/// not made again at once, since its network loses too much.
const STABLE: Duration = Duration::from_secs(10);

/// How long the one over other nodes then has to serve.
const REST: Duration = Duration::from_secs(15);

/// How long the node with the larger name waits to be dialed, by a member and by somebody who
/// may not know it.
const NOT_DIALED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(500));

/// Connections that have not shown yet that they know the cookie.
const STRANGERS_MAX: usize = 64;

/// The log has a line about strangers so often at most.
const STRANGERS_LOG: Duration = Duration::from_secs(5);

/// The nodes that are dialed.
pub(super) struct Dials {
    /// Both ends of QUIC.
    pub(super) endpoint: Endpoint,
    /// Where it is bound.
    pub(super) local: SocketAddr,
    nodes: RefCell<BTreeMap<String, Dialed>>,
}

/// A node that is dialed.
struct Dialed {
    /// Where it was said to be last.
    seed: Rc<RefCell<Seed>>,
    /// Nobody wants it when this is false, and its task ends with the connection that it has.
    is_wanted: Rc<Cell<bool>>,
    task: JoinHandle<()>,
}

impl Dials {
    pub(super) fn new(endpoint: Endpoint, local: SocketAddr) -> Self {
        Self {
            endpoint,
            local,
            nodes: RefCell::default(),
        }
    }

    /// Nobody is dialed any more.
    pub(super) fn stop(&self) {
        let nodes = self.nodes.take();
        nodes.values().for_each(|node| node.task.abort());
    }
}

impl Shared {
    /// Keeps a connection with a node from now on. If it is known already, this is where it is
    /// dialed when the connection is lost.
    pub(super) fn know(self: &Rc<Self>, seed: Seed) {
        if *seed.name == *self.hub.borrow().name() {
            return;
        }
        let mut nodes = self.dials.nodes.borrow_mut();
        let former = nodes
            .get(&seed.name)
            .filter(|node| !node.task.is_finished());
        if let Some(node) = former {
            *node.seed.borrow_mut() = seed;
            node.is_wanted.set(true);
            return;
        }
        let name = seed.name.clone();
        let (seed, is_wanted) = (Rc::new(RefCell::new(seed)), Rc::new(Cell::new(true)));
        let dial = dial(
            Rc::clone(self),
            name.clone(),
            Rc::clone(&seed),
            Rc::clone(&is_wanted),
        );
        let task = spawn_local(dial);
        let dialed = Dialed {
            seed,
            is_wanted,
            task,
        };
        nodes.insert(name, dialed);
    }

    /// A node is not dialed any more, once the connection that there is has ended.
    pub(super) fn forget(&self, name: &str) {
        if let Some(node) = self.dials.nodes.borrow().get(name) {
            node.is_wanted.set(false);
        }
    }
}

/// Keeps a connection with a node, as long as it is wanted.
async fn dial(shared: Rc<Shared>, name: String, at: Rc<RefCell<Seed>>, is_wanted: Rc<Cell<bool>>) {
    let mut backoff = BACKOFF.0;
    let mut said = String::new();
    let is_first = *shared.hub.borrow().name() < *name;
    while is_wanted.get() {
        if !is_first {
            let is_member = shared.hub.borrow().roster.contains(&*name);
            sleep(if is_member {
                NOT_DIALED.0
            } else {
                NOT_DIALED.1
            })
            .await;
            let hub = shared.hub.borrow();
            if hub.is_connected(&name) && !hub.is_relayed(&name) {
                continue;
            }
        }
        let seed = at.borrow().clone();
        let begun = Instant::now();
        let error = match attempt(&shared, &seed).await {
            // The hub has said what there is to say.
            Ok(()) => {
                backoff = BACKOFF.0;
                said.clear();
                if begun.elapsed() < STABLE {
                    rest(&shared, &name).await;
                }
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
        let max = match shared.hub.borrow().is_relayed(&name) {
            true => RELAYED_BACKOFF,
            false => BACKOFF.1,
        };
        backoff = (backoff * 2).min(max);
    }
}

/// Lets the connection over other nodes serve for a while, if there is one.
async fn rest(shared: &Shared, name: &str) {
    let end = Instant::now() + REST;
    while Instant::now() < end && shared.hub.borrow().is_relayed(name) {
        sleep(BACKOFF.1).await;
    }
}

/// Connects with a node, and serves the connection until it is lost.
async fn attempt(shared: &Rc<Shared>, seed: &Seed) -> Result<(), String> {
    let mut error = String::new();
    for address in resolve(shared, &seed.host, seed.port).await? {
        match connect(shared, direct(shared), address).await {
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

/// The addresses of a host, in the order in which they are to be tried.
pub(super) async fn resolve(
    shared: &Rc<Shared>,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    let (host, local) = (host.to_owned(), shared.dials.local);
    let resolved = spawn_blocking(move || seed::resolve(&host, port, local));
    let addresses = resolved.await.map_err(|error| error.to_string())?;
    addresses.map_err(|error| format!("its name does not resolve: {error}"))
}

/// What direct connections are made with.
pub(super) fn direct(shared: &Shared) -> (&Endpoint, ClientConfig) {
    (&shared.dials.endpoint, shared.guard.client())
}

/// Makes a connection.
pub(super) async fn connect(
    shared: &Rc<Shared>,
    (endpoint, client): (&Endpoint, ClientConfig),
    address: SocketAddr,
) -> Result<Connection, Ended> {
    let connecting = endpoint.connect_with(client, address, "shardmq-cluster");
    let connecting = connecting.map_err(|error| Ended::Lost(error.to_string()))?;
    connecting
        .await
        .map_err(|error| shared.guard.explain(&error))
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
        Err(error) => Err(shared.guard.explain(&error)),
    };
    strangers.count.set(strangers.count.get() - 1);
    match met {
        Ok(met) => met.serve(&shared).await,
        // It knows the cookie, and wanted no more.
        Err(Ended::Asked) => {}
        Err(why) => strangers.log(&shared.relay.place(address), &why),
    }
}

impl Strangers {
    /// Says why somebody did not become a node's connection, unless that was just said.
    fn log(&self, place: &str, why: &Ended) {
        let now = Instant::now();
        let logged = self.logged.get();
        if logged.is_none_or(|logged| now.duration_since(logged) >= STRANGERS_LOG) {
            self.logged.set(Some(now));
            warn!("a connection from {place} was refused: {why}");
        }
    }
}
