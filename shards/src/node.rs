//! Starting and stopping the shards of a node.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use protocol::hash::Seed;
use shard_store::{Division, OnFailure, Store, StoreHandle, StoreLink, Stored};
use shard_sync::Doorbell;
use shard_sync::routes::RouteReader;
use socket2::{Domain, Protocol, Socket, Type};

use crate::engine::neighbours::Neighbours;
use crate::engine::together::Together;
use crate::engine::{Acceptor, Engine, EngineSetup, Gate, Lateness};
use crate::nodes::Nodes;
use crate::operator::Operator;
use crate::routes::{self, RouteLink};
use crate::settings::{Listener, Settings};
use crate::shard::{Common, Journal, RetainedQuota, Shard, ShardSetup, Stats, part};

/// Memory that glommio registers for its own I/O, which a shard does not use: the least.
const GLOMMIO_IO_MEMORY: usize = 64 << 10;

/// How long the shards may take to become ready. They take about 10 ms, and about 1 µs for
/// each message that was stored; one that takes this long sleeps and will not wake.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How much longer for each stored session.
const READY_WITHIN_A_SESSION: Duration = Duration::from_millis(1);

/// Why the data plane did not start.
#[derive(Debug)]
pub enum StartError {
    /// A listener could not be opened.
    Listen {
        /// Its name in the configuration.
        name: String,
        /// Its address.
        bind: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A shard's thread, executor or ring could not be made.
    Shard {
        /// The CPU it was to be pinned to.
        cpu: usize,
        /// What went wrong.
        source: io::Error,
    },
    /// A shard's tasks run too late, in the best of several attempts.
    Late {
        /// The CPU it is pinned to.
        cpu: usize,
        /// How late after the end of a sleep.
        timer: Duration,
        /// How late after a wake by another thread.
        wake: Duration,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { name, bind, source } => {
                write!(out, "listener {name}: cannot listen on {bind}: {source}")
            }
            Self::Shard { cpu, source } => {
                write!(out, "the shard on CPU {cpu} cannot start: {source}")
            }
            Self::Late { cpu, timer, wake } => {
                write!(
                    out,
                    "the shard on CPU {cpu} reacts too late to be of use: at best {} ms after a \
                     timer and {} ms after a wake; this kernel does not work with the broker, or \
                     the CPU is overloaded",
                    timer.as_millis(),
                    wake.as_millis()
                )
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Shard { source, .. } => Some(source),
            Self::Late { .. } => None,
        }
    }
}

/// What outlives the process.
pub struct Storage {
    /// Where it is stored.
    pub store: Store,
    /// What was stored.
    pub stored: Stored,
    /// Called when nothing can be stored any more.
    pub on_failure: OnFailure,
}

/// The running shards.
pub struct Running {
    threads: Vec<JoinHandle<io::Result<()>>>,
    stopper: Stopper,
    stats: Vec<Arc<Stats>>,
    store: Option<StoreHandle>,
    nodes: Option<Nodes>,
    operator: Option<Operator>,
}

/// Stops the shards; may be used from any thread.
#[derive(Clone)]
pub struct Stopper {
    stop: Arc<AtomicBool>,
    doorbells: Arc<[Arc<Doorbell>]>,
}

impl Stopper {
    /// Asks the shards to end their connections and stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for doorbell in self.doorbells.iter() {
            doorbell.ring();
        }
    }
}

impl Running {
    /// A handle to stop the shards with.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What the thread with the links to other nodes needs, once. `None` without
    /// [`Settings::cluster`].
    pub fn take_nodes(&mut self) -> Option<Nodes> {
        self.nodes.take()
    }

    /// What the thread that serves operators needs, once.
    pub fn take_operator(&mut self) -> Option<Operator> {
        self.operator.take()
    }

    /// The counters of each shard.
    #[must_use]
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.stats
    }

    /// Waits until all shards have stopped. If one fails the others are stopped too.
    pub fn wait(self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a shard's thread panicked")));
            if ended.is_err() {
                self.stopper.stop();
                result = result.and(ended);
            }
        }
        // What the shards handed over before they ended goes to the disk.
        let stored = self.store.map_or(Ok(()), StoreHandle::stop);
        let stored = stored.map_err(io::Error::other);
        result.and(stored)
    }
}

/// What the shards get of it.
struct Kept {
    links: Vec<StoreLink>,
    parts: Vec<Stored>,
    numbers: Option<Arc<AtomicU64>>,
}

impl Kept {
    /// Starts the store's thread, which stops the shards when it fails.
    fn start(
        storage: Option<Storage>,
        settings: &Settings,
        doorbells: &[Arc<Doorbell>],
        stopper: &Stopper,
    ) -> io::Result<(Self, Option<StoreHandle>)> {
        let Some(storage) = storage else {
            let none = Self {
                links: Vec::new(),
                parts: Vec::new(),
                numbers: None,
            };
            return Ok((none, None));
        };
        let (stopper, on_failure) = (stopper.clone(), storage.on_failure);
        let on_failure: OnFailure = Box::new(move |failure| {
            on_failure(failure);
            stopper.stop();
        });
        let (links, handle) = storage.store.start(doorbells, on_failure)?;
        let numbers = Arc::new(AtomicU64::new(storage.stored.next_number.max(1)));
        let division = Division {
            seed: settings.hash_seed,
            shards: doorbells.len() as u16,
        };
        let kept = Self {
            links,
            parts: part(storage.stored, division),
            numbers: Some(numbers),
        };
        Ok((kept, Some(handle)))
    }

    /// What the last shard that has not got its part gets.
    fn pop(&mut self) -> (Option<StoreLink>, Stored, Option<Box<Journal>>) {
        let numbers = self.numbers.as_ref();
        let journal = numbers.map(|numbers| Box::new(Journal::new(Arc::clone(numbers))));
        let part = self.parts.pop().unwrap_or_default();
        (self.links.pop(), part, journal)
    }
}

/// Starts one shard on each CPU of the settings. When this returns, all of them accept
/// connections.
pub fn start(settings: &Settings, storage: Option<Storage>) -> Result<Running, StartError> {
    let settings = &divided(settings, storage.as_ref());
    let count = settings.cpus.len();
    let shard_error = |cpu, source| StartError::Shard { cpu, source };
    let doorbells = doorbells(count).map_err(|source| shard_error(0, source))?;
    let stopper = Stopper {
        stop: Arc::default(),
        doorbells: doorbells.clone().into(),
    };
    let mut acceptors = open_acceptors(settings)?;
    let mut neighbours = Neighbours::connect(&doorbells, settings.engine.ring_batches as usize);
    let (started, patience) = (started(storage.as_ref()), patience(storage.as_ref()));
    let (mut kept, store) = Kept::start(storage, settings, &doorbells, &stopper)
        .map_err(|source| shard_error(0, source))?;
    let together = Arc::new(Together::new(&doorbells));
    let limits = Arc::new(settings.mqtt.clone());
    let retained_quota = Arc::new(RetainedQuota::default());
    let (ready, readiness) = mpsc::sync_channel(count);
    let common = Arc::new(Common::new(settings));
    let connected = connect(settings, &doorbells, &mut neighbours, &common, started);
    let (mut links, nodes, operator) = connected.map_err(|source| shard_error(0, source))?;
    let mut threads = Vec::new();
    for (index, &cpu) in settings.cpus.iter().enumerate().rev() {
        let (reader, link) = links.pop().unzip();
        let (store, stored, journal) = kept.pop();
        let setup = ShardSetup {
            id: index as u16,
            count: count as u16,
            limits: Arc::clone(&limits),
            hash_seed: settings.hash_seed,
            id_secret: secret().map_err(|source| shard_error(cpu, source))?,
            retained_quota: Arc::clone(&retained_quota),
            peer_bytes_max: settings.engine.ring_bytes as usize,
            routes: reader,
            journal,
            stats: Arc::clone(&common.stats[index]),
            common: Arc::clone(&common),
            now_ms: 0,
        };
        let engine = EngineSetup {
            settings: settings.engine.clone(),
            acceptors: acceptors.pop().unwrap_or_default(),
            neighbours: neighbours
                .pop()
                .ok_or_else(|| shard_error(cpu, io::Error::other("it has no rings")))?,
            stop: Arc::clone(&stopper.stop),
            started,
            routes: link,
            store,
            together: Arc::clone(&together),
        };
        let (ready, stopper) = (ready.clone(), stopper.clone());
        let work = move || run_shard(cpu, (setup, engine, stored), &ready, stopper);
        let builder = std::thread::Builder::new().name(format!("shard-{index}"));
        let thread = builder.spawn(work);
        threads.push(thread.map_err(|source| shard_error(cpu, source))?);
    }
    let running = Running {
        threads,
        stopper,
        nodes,
        operator: Some(operator),
        stats: common.stats.clone(),
        store,
    };
    drop(ready);
    let ready = await_ready(&readiness, &settings.cpus, patience);
    ready.inspect_err(|_| running.stopper.stop())?;
    Ok(running)
}

/// The settings, with the seed by which sessions were divided among as many shards before: what
/// was stored of other nodes' messages holds for that.
fn divided(settings: &Settings, storage: Option<&Storage>) -> Settings {
    let mut settings = settings.clone();
    let division = storage.and_then(|storage| storage.stored.division);
    if settings.cluster
        && let Some(division) = division
        && usize::from(division.shards) == settings.cpus.len()
    {
        settings.hash_seed = division.seed;
    }
    settings
}

/// What each shard has of the routes.
type RouteEnds = Vec<(RouteReader, RouteLink)>;

/// Starts the route writer, and connects the shards with the thread that will serve operators,
/// and with the one that will have the links to other nodes, if there may be some.
fn connect(
    settings: &Settings,
    doorbells: &[Arc<Doorbell>],
    neighbours: &mut [Neighbours],
    common: &Arc<Common>,
    started: Instant,
) -> io::Result<(RouteEnds, Option<Nodes>, Operator)> {
    let bell = settings.cluster.then(Doorbell::new).transpose()?;
    let bell = bell.map(Arc::new);
    let seed = settings.hash_seed;
    let (links, routes) = routes::start(doorbells.len(), seed, doorbells, bell.as_ref())?;
    let clock = (started, Seed::new(seed));
    let nodes = bell.zip(routes).map(|(own, routes)| {
        let (nodes, ends) = Nodes::connect(own, doorbells, routes, Arc::clone(common), clock);
        for (shard, end) in neighbours.iter_mut().zip(ends) {
            shard.nodes = Some(end);
        }
        nodes
    });
    let common = Arc::clone(common);
    let (operator, ends) = Operator::connect(doorbells, seed, common, started)?;
    for (shard, end) in neighbours.iter_mut().zip(ends) {
        shard.operator = Some(end);
    }
    Ok((links, nodes, operator))
}

/// How long the shards may take to become ready.
fn patience(storage: Option<&Storage>) -> Duration {
    let sessions = storage.map_or(0, |storage| storage.stored.sessions.len());
    READY_WITHIN + READY_WITHIN_A_SESSION * u32::try_from(sessions).unwrap_or(u32::MAX)
}

/// When the shards' clock is 0.
fn started(storage: Option<&Storage>) -> Instant {
    storage.map_or_else(Instant::now, |storage| storage.store.started())
}

/// A doorbell for each shard.
fn doorbells(count: usize) -> io::Result<Vec<Arc<Doorbell>>> {
    (0..count).map(|_| Doorbell::new().map(Arc::new)).collect()
}

/// What a shard says when it is ready or cannot be.
type Ready = mpsc::SyncSender<(usize, io::Result<Lateness>)>;

/// Waits until the shards on `cpus` are ready.
fn await_ready(
    readiness: &mpsc::Receiver<(usize, io::Result<Lateness>)>,
    cpus: &[usize],
    patience: Duration,
) -> Result<(), StartError> {
    let begun = Instant::now();
    let mut silent = cpus.to_vec();
    while let Some(&first) = silent.first() {
        let left = patience.saturating_sub(begun.elapsed());
        let (cpu, result) = readiness.recv_timeout(left).unwrap_or_else(|error| {
            let problem = match error {
                RecvTimeoutError::Timeout => "it does not answer",
                RecvTimeoutError::Disconnected => "its thread has ended",
            };
            (first, Err(io::Error::other(problem)))
        });
        let lateness = result.map_err(|source| StartError::Shard { cpu, source })?;
        if !lateness.is_tolerable() {
            let Lateness { timer, wake } = lateness;
            return Err(StartError::Late { cpu, timer, wake });
        }
        silent.remove(silent.iter().position(|other| *other == cpu).unwrap_or(0));
    }
    Ok(())
}

/// The life of a shard's thread.
fn run_shard(
    cpu: usize,
    (shard, engine, stored): (ShardSetup, EngineSetup, Stored),
    ready: &Ready,
    stopper: Stopper,
) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .io_memory(GLOMMIO_IO_MEMORY)
        .make()
        .map_err(|error| io::Error::other(error.to_string()));
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => {
            let _ = ready.send((cpu, Err(error)));
            return Ok(());
        }
    };
    let ready = ready.clone();
    executor.run(async move {
        let bytes_max = shard.peer_bytes_max;
        let mut shard = Shard::new(shard);
        if engine.is_clustered() {
            shard.join_cluster(bytes_max);
        }
        let mut engine = match Engine::new(engine, shard) {
            Ok(engine) => engine,
            Err(error) => {
                let _ = ready.send((cpu, Err(error)));
                return Ok(());
            }
        };
        let lateness = engine.self_test().await;
        let is_fit = lateness
            .as_ref()
            .is_ok_and(|lateness| lateness.is_tolerable());
        let restored = match is_fit {
            true => engine.restore(stored).await,
            false => Ok(()),
        };
        let is_restored = restored.is_ok();
        let _ = ready.send((cpu, restored.and(lateness)));
        let ended = match is_fit && is_restored {
            true => engine.run().await,
            false => Ok(()),
        };
        engine.end().await;
        if ended.is_err() {
            // The others cannot do without it: sessions and groups would be missing.
            stopper.stop();
        }
        ended
    })
}

/// Opens the sockets of every listener, one for each shard, by shard.
fn open_acceptors(settings: &Settings) -> Result<Vec<Vec<Acceptor>>, StartError> {
    let mut by_shard: Vec<Vec<Acceptor>> = settings.cpus.iter().map(|_| Vec::new()).collect();
    let of_node = Gate::new(settings.mqtt.connections()).map(Arc::new);
    for listener in &settings.listeners {
        let own = Gate::new(listener.connections).map(Arc::new);
        let gates: Vec<Arc<Gate>> = own.into_iter().chain(of_node.clone()).collect();
        let connections = Arc::new(AtomicU32::new(0));
        for acceptors in &mut by_shard {
            let socket = listen(listener).map_err(|source| StartError::Listen {
                name: listener.name.clone(),
                bind: listener.bind,
                source,
            })?;
            let address = socket.local_addr();
            acceptors.push(Acceptor {
                port: address.map_or(0, |address| address.port()),
                socket,
                connections: Arc::clone(&connections),
                connections_max: listener.max_connections,
                gates: gates.clone(),
            });
        }
    }
    Ok(by_shard)
}

fn listen(listener: &Listener) -> io::Result<TcpListener> {
    let domain = Domain::for_address(listener.bind);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: a shard sends once a turn, so Nagle's algorithm would
    // only delay.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&listener.bind.into())?;
    socket.listen(i32::try_from(listener.backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// 128 bits that nobody outside knows.
fn secret() -> io::Result<[u64; 2]> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the kernel writes at most the 16 bytes it is given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    let number = u128::from_ne_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}
