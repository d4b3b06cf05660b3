//! The links to the other nodes of a cluster.
//!
//! One thread has them all. Between each two nodes there is one QUIC connection, which the node
//! with the smaller name makes. Both sides prove that they know the cookie, and say hello; then
//! there is one stream for control (heartbeats, routes, what is accepted) and, in each
//! direction, one for the messages of each shard. All that is decided is decided by
//! [`shard_cluster`], which has no sockets; the shards are behind [`plane`].
//!
//! ```text
//!   shards ── plane ──> hub ── Outgoing ──> stream_out ══ QUIC ══> messages_in ──> hub ──> plane
//!                        └──── urgent, Feed ──> control_out ═════> control_in ────┘
//! ```
//!
//! **Nothing is buffered without bound.** A stream that QUIC cannot send stays with its
//! `Outgoing`; once that is full, messages stay with the shards, which slow their publishers
//! down. What the shards have no room for stays in its stream, whose window then does not open.
//!
//! | module | what it holds |
//! |---|---|
//! | [`seed`] | the nodes that the configuration names |
//! | [`tls`], [`pem`], [`ids`], [`proof`] | how connections are protected, and who may connect |
//! | [`discovery`] | finding other nodes by DNS, etcd and Kubernetes |
//! | [`introduce`] | getting to know those that are found |
//! | [`dial`] | making and taking connections |
//! | [`connection`], [`frames`] | the tasks of one |
//! | [`ended`] | why one ends |
//! | [`relay`] | connections over other nodes, where the direct one does not work |
//! | [`rpc`], [`handle`] | requests between nodes, and from other threads |
//! | [`hub`], [`peer`], [`arrivals`] | what is known of the other nodes |
//! | [`goodbye`] | how this node stops |
//! | [`owners`] | whose client identifiers are |
//! | [`incarnation`], [`condemned`] | the lives of this node, and those of others that are over |
//! | [`given`] | when the former process could last have given a lease |
//! | [`status`] | what is to be seen of all that |
//! | [`plane`], [`news`] | the seam to the shards |

mod arrivals;
mod condemned;
mod connection;
mod consensus;
mod dial;
pub(crate) mod discovery;
mod ended;
mod frames;
mod gather;
mod given;
mod goodbye;
mod guests;
mod handle;
mod hub;
mod ids;
mod incarnation;
mod introduce;
mod membership;
pub(crate) mod news;
mod owners;
mod peer;
mod pem;
pub(crate) mod plane;
mod proof;
mod reach;
mod relay;
mod rpc;
pub(crate) mod seed;
mod status;
#[cfg(test)]
mod tests;
pub(crate) mod tls;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use log::{error, info};
#[cfg(not(test))]
use quinn::TokioRuntime as Network;
use quinn::{Endpoint, EndpointConfig, ServerConfig};
use ring::hmac;
use shard_cluster::members::Policy;
use shard_cluster::wire::Role;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::failure::Failure;
use condemned::Condemned;
use consensus::Disk;
use dial::Dials;
use discovery::Strategy;
use given::Given;
pub(crate) use handle::Handle;
use handle::Orders;
use hub::{Begin, Hub};
use ids::RandomIds;
use incarnation::Incarnations;
use membership::Membership;
use news::News;
use plane::Plane;
use proof::Cookie;
use relay::Relay;
use rpc::Handlers;
use seed::Seed;
pub(crate) use status::{ClusterStatus, NodeStatus, OwnStatus};
#[cfg(test)]
use tests::network::Network;
use tls::{Guard, Security};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(50);

/// Between two attempts to hand over what the shards have no room for.
const BACKLOG: Duration = Duration::from_millis(1);

/// The status is made anew at every so many-th tick.
const TICKS_A_STATUS: u32 = 10;

/// How long to wait, when stopping, until the others know.
const GOODBYE: Duration = Duration::from_millis(500);

/// Bytes of the socket's buffers that are asked for.
const SOCKET_BYTES: usize = 4 << 20;

/// What the links are started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The cluster.
    pub(crate) cluster: String,
    /// This node, `name@host`.
    pub(crate) name: String,
    /// The secret that all nodes share.
    pub(crate) cookie: String,
    /// This node, as others find it.
    pub(crate) own: Seed,
    /// All other nodes.
    pub(crate) seeds: Vec<Seed>,
    /// What this node is.
    pub(crate) role: Role,
    /// A member that is gone for so long is removed.
    pub(crate) autoclean: Duration,
    /// How further ones are found.
    pub(crate) discovery: Strategy,
    /// What a partition does to a node that sees no majority of the cores.
    pub(crate) policy: Policy,
    /// Whether a node that others had given up goes on by itself.
    pub(crate) autoheal: bool,
    /// How the links are protected.
    pub(crate) security: Security,
    /// Where the number of this node's life is kept.
    pub(crate) data_dir: Option<PathBuf>,
    /// Something that others cannot know, for hash tables.
    pub(crate) hash_seed: u64,
}

impl Settings {
    /// What the hub of a node begins with that others reach at `address`.
    fn begin(&self, address: String) -> Begin {
        let folder = self.data_dir.as_deref();
        Begin {
            cluster: self.cluster.clone(),
            name: self.name.clone(),
            address,
            role: self.role,
            incarnations: Incarnations::new(folder),
            condemned: Condemned::new(folder),
            given: Given::open(folder),
            policy: self.policy,
            autoheal: self.autoheal,
            seed: self.hash_seed,
        }
    }
}

/// What all tasks of the thread have in common. Never borrowed while a task waits.
struct Shared {
    hub: RefCell<Hub>,
    membership: Membership,
    cookie: Cookie,
    dials: Dials,
    relay: Relay,
    guard: Guard,
    handlers: Handlers,
}

/// Between the thread and who looks at it.
#[derive(Debug, Default)]
pub(crate) struct Board {
    status: Mutex<Vec<NodeStatus>>,
    cluster: Mutex<ClusterStatus>,
    own: Mutex<OwnStatus>,
    /// Tests cut all connections with this.
    #[cfg(test)]
    cut: core::sync::atomic::AtomicBool,
}

impl Board {
    /// What is known of the other nodes, half a second old at most.
    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        let status = self.status.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The cluster that this node is in, half a second old at most.
    pub(crate) fn cluster(&self) -> ClusterStatus {
        let status = self.cluster.lock();
        status.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This node among the others, half a second old at most.
    pub(crate) fn own(&self) -> OwnStatus {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, hub: &Hub, membership: &Membership) {
        let status = self.status.lock();
        *status.unwrap_or_else(PoisonError::into_inner) = hub.status();
        let cluster = self.cluster.lock();
        *cluster.unwrap_or_else(PoisonError::into_inner) = membership.status();
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = hub.own_status();
    }
}

/// Running links.
#[derive(Debug)]
pub(crate) struct Running {
    thread: Option<thread::JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    board: Arc<Board>,
    handle: Handle,
}

impl Running {
    /// For other threads, to ask other nodes and to answer them.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What is known of the other nodes, half a second old at most.
    #[cfg(test)]
    pub(crate) fn status(&self) -> Vec<NodeStatus> {
        self.board.status()
    }

    /// For other threads, to look at the other nodes.
    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// The cluster that this node is in, half a second old at most.
    #[cfg(test)]
    pub(crate) fn cluster(&self) -> ClusterStatus {
        self.board.cluster()
    }

    /// Passes on what the shards had for other nodes, tells them that this one stops, and ends the
    /// thread. The shards have ended before. If this is never called the thread ends without a
    /// word, as if the process was killed.
    pub(crate) fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the thread that has the links to other nodes has failed");
        }
    }
}

/// Starts the links on a socket that is bound, on a thread of their own. When this returns others
/// can connect.
pub(crate) fn start(
    settings: Settings,
    socket: UdpSocket,
    plane: Box<dyn Plane>,
) -> Result<Running, Failure> {
    let failure = |error: &dyn core::fmt::Display| {
        Failure::new(format!(
            "the links to other nodes cannot be started: {error}"
        ))
    };
    let local = socket.local_addr().map_err(|error| failure(&error))?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure(&error))?;
    let reset = Cookie::new(&settings.cookie).reset_key(&settings.name);
    let disk = Disk::open(settings.data_dir.as_deref()).map_err(|error| failure(&error))?;
    let guarded = Guard::new(settings.security.clone(), &settings.own.host);
    let (guard, server) = guarded.map_err(|error| failure(&error))?;
    let endpoints = endpoints(&runtime, socket, (reset, &guard, server));
    let (endpoint, relay) = endpoints.map_err(|error| failure(&*error))?;
    let board = Arc::<Board>::default();
    let (stop, stopped) = oneshot::channel();
    let (handle, orders) = handle::channel();
    let thread = {
        let board = Arc::clone(&board);
        let work = move || {
            run(
                &runtime,
                (endpoint, relay, guard),
                local,
                (settings, disk),
                plane,
                (stopped, orders, &board),
            );
            // A resolver that is asked for a name may take long.
            runtime.shutdown_background();
        };
        let builder = thread::Builder::new().name("cluster".to_owned());
        builder.spawn(work).map_err(|error| failure(&error))?
    };
    Ok(Running {
        thread: Some(thread),
        stop: Some(stop),
        board,
        handle,
    })
}

/// Binds the address of the links.
pub(crate) fn bind(address: SocketAddr) -> Result<UdpSocket, Failure> {
    open(address).map_err(|error| explain(address, &error))
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    // The kernel may give less.
    _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Why an address cannot be bound, and what to do.
fn explain(address: SocketAddr, error: &io::Error) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    let key = "cluster.bind, or the host in node.name";
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::new(format!("cluster.bind: UDP port {port} of {ip} is taken"))
                .command(format!("ss -lunp 'sport = :{port}'"))
                .advise("Another node on this machine needs another cluster.bind")
        }
        io::ErrorKind::AddrNotAvailable => {
            Failure::new(format!("cluster.bind: this machine does not have {ip}"))
                .advise(format!("Correct {key}"))
        }
        _ => Failure::new(format!("cluster.bind: {address} cannot be bound: {error}")),
    }
}

/// Both ends of QUIC on a socket, and over other nodes.
fn endpoints(
    runtime: &Runtime,
    socket: UdpSocket,
    (reset, guard, server): (hmac::Key, &Guard, ServerConfig),
) -> Result<(Endpoint, Relay), Box<dyn core::error::Error>> {
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.cid_generator(|| Box::new(RandomIds::new()));
    let relayed = guard.relayed_server(&server);
    let relay = Relay::new(runtime, config.clone(), relayed)?;
    let _context = runtime.enter();
    let runtime = Arc::new(Network);
    let endpoint = Endpoint::new(config, Some(server), socket, runtime)?;
    Ok((endpoint, relay))
}

/// The thread.
fn run(
    runtime: &Runtime,
    (endpoint, relay, guard): (Endpoint, Relay, Guard),
    local: SocketAddr,
    (settings, disk): (Settings, Disk),
    plane: Box<dyn Plane>,
    (stopped, orders, board): (oneshot::Receiver<()>, Orders, &Board),
) {
    let (name, host) = (settings.name.clone(), settings.own.host.clone());
    let discovery = settings.discovery.clone();
    let links = (endpoint.clone(), relay, guard);
    let (shared, own, seeds) = prepare(links, local, (settings, disk), plane);
    info!("links to other nodes: {name} at {local}, UDP");
    let local_set = LocalSet::new();
    local_set.block_on(runtime, async {
        let accept = dial::accept(Rc::clone(&shared), endpoint.clone());
        let relayed = dial::accept(Rc::clone(&shared), shared.relay.endpoint.clone());
        let discover = introduce::discover(Rc::clone(&shared), discovery, own);
        let orders = orders.serve(Rc::clone(&shared));
        let tasks = [
            spawn_local(accept),
            spawn_local(relayed),
            spawn_local(relay::keep(Rc::clone(&shared))),
            spawn_local(discover),
            spawn_local(orders),
            spawn_local(tls::renew(Rc::clone(&shared), host)),
        ];
        seeds.into_iter().for_each(|seed| shared.know(seed));
        let membership = spawn_local(membership::run(Rc::clone(&shared)));
        let send = spawn_local(relay::send(Rc::clone(&shared)));
        let is_told = work(&shared, stopped, board).await;
        tasks.iter().for_each(JoinHandle::abort);
        if is_told == Some(Ok(())) {
            work(&shared, goodbye::say(Rc::clone(&shared)), board).await;
        }
        membership.abort();
        shared.dials.stop();
        relay::stop(&shared).await;
        send.abort();
        shared.hub.borrow_mut().stop();
        endpoint.close(0_u8.into(), &[]);
        _ = timeout(GOODBYE, endpoint.wait_idle()).await;
    });
}

/// Puts together what the tasks have in common.
fn prepare(
    (endpoint, relay, guard): (Endpoint, Relay, Guard),
    local: SocketAddr,
    (settings, disk): (Settings, Disk),
    plane: Box<dyn Plane>,
) -> (Rc<Shared>, discovery::Own, Vec<Seed>) {
    let seed = Seed {
        port: local.port(),
        ..settings.own.clone()
    };
    let begin = settings.begin(seed.address());
    let Settings {
        cluster,
        name,
        mut seeds,
        ..
    } = settings;
    seeds.retain(|seed| seed.name != name);
    let own = discovery::Own {
        cluster,
        name: name.clone(),
        seed: seed.text(),
        port: local.port(),
        is_ipv4: local.is_ipv4(),
    };
    let membership = membership::Own {
        name,
        address: seed.address(),
        role: settings.role,
        autoclean: settings.autoclean,
        seeks: !seeds.is_empty() || settings.discovery != Strategy::None,
        seeds: seeds.clone(),
    };
    let shared = Rc::new(Shared {
        hub: RefCell::new(Hub::new(begin, plane)),
        membership: Membership::new(membership, disk),
        cookie: Cookie::new(&settings.cookie),
        dials: Dials::new(endpoint, local),
        relay,
        guard,
        handlers: Handlers::default(),
    });
    (shared, own, seeds)
}

/// Passes on what the shards have, and the time, until something has come about. Nothing if the
/// links have failed before.
async fn work<T>(shared: &Rc<Shared>, until: impl Future<Output = T>, board: &Board) -> Option<T> {
    let news = News::of(&*shared.hub.borrow().plane);
    let news = match news {
        Ok(news) => news,
        Err(error) => return failed(&error),
    };
    let mut until = pin!(until);
    let mut clock = interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    // From now on they ring.
    shared.hub.borrow_mut().news();
    loop {
        let has_backlog = shared.hub.borrow().has_backlog();
        tokio::select! {
            () = sleep(BACKLOG), if has_backlog => shared.hub.borrow_mut().flush(),
            came = news.come() => match came {
                Ok(()) => {
                    shared.hub.borrow_mut().news();
                    // The tasks of the connections send it.
                    yield_now().await;
                    shared.hub.borrow_mut().sent();
                }
                Err(error) => return failed(&error),
            },
            _ = clock.tick() => {
                let mut hub = shared.hub.borrow_mut();
                hub.tick();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(TICKS_A_STATUS) {
                    board.show(&hub, &shared.membership);
                }
                #[cfg(test)]
                if board.cut.swap(false, core::sync::atomic::Ordering::Relaxed) {
                    hub.cut();
                }
            }
            come = &mut until => return Some(come),
        }
    }
}

fn failed<T>(error: &io::Error) -> Option<T> {
    error!("the links to other nodes have failed: {error}");
    None
}
