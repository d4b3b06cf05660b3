//! The HTTP API for operators, at EMQX's paths: on a socket in the data folder, which
//! `shardmq ctl` uses, and on a TCP port of loopback if the configuration has one.
//!
//! A thread of its own, which can disturb neither the shards nor the links to other nodes.
//!
//! ```text
//!   operator ── HTTP ──► serve ─► paths ─► world ─► local ─► desk ── rings ──► shards
//!                                            └──── links ── QUIC ──► local of another node
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`sockets`], [`serve`] | listeners, connections, limits |
//! | [`request`], [`reply`] | what is asked and answered, without I/O |
//! | [`paths`] | which path does what |
//! | [`world`], [`ask`] | all nodes together, and what one asks another |
//! | [`local`], [`numbers`] | what this node answers |
//! | [`drain`] | emptying this node |
//! | [`desk`] | questions to the shards |

mod ask;
mod desk;
mod drain;
mod local;
mod numbers;
mod paths;
mod reply;
pub(crate) mod request;
mod serve;
pub(crate) mod sockets;
mod world;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::Duration;

use log::error;
use shards::GAUGES;
use shards::operator::Operator;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::interval;

use crate::cluster::{Board, Handle};
use crate::failure::Failure;
use ask::Ask;
use desk::Desk;
use drain::Drains;
use local::Local;
use paths::Paths;
use world::World;

/// How often the numbers that have a highest value are looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// Requests of other nodes that wait to be answered.
const ASKED_MAX: usize = 64;

/// What the API is started with.
pub(crate) struct Settings {
    /// This node, `name@host`.
    pub(crate) node: String,
    /// `cluster.name`.
    pub(crate) cluster: String,
    /// The names of the listeners for clients.
    pub(crate) listeners: Vec<String>,
    /// `mqtt.server_reference`.
    pub(crate) server_reference: String,
    /// `cluster.handover_timeout`, where there are other nodes.
    pub(crate) handover: Option<Duration>,
    /// Descriptors that the process may have open.
    pub(crate) open_files: u64,
    /// Where the socket is.
    pub(crate) data_dir: PathBuf,
}

/// Other nodes.
pub(crate) struct Links {
    /// The way to them.
    pub(crate) handle: Handle,
    /// What is known of them.
    pub(crate) board: Arc<Board>,
}

/// Listeners that are open, and not served yet.
pub(crate) struct Listeners {
    unix: UnixListener,
    tcp: Option<TcpListener>,
}

/// The running API.
pub(crate) struct Running {
    thread: thread::JoinHandle<()>,
    stop: oneshot::Sender<()>,
    retirement: Retirement,
    data_dir: PathBuf,
}

/// Says that the node is to stop, from any thread, before its shards do.
#[derive(Clone)]
pub(crate) struct Retirement {
    send: mpsc::Sender<std_mpsc::SyncSender<()>>,
    handover: Duration,
}

/// How much longer than [`Settings::handover`] the first steps of a stop may take.
const MARGIN: Duration = Duration::from_secs(3);

impl Retirement {
    /// Ends all connections and gives kept sessions to other nodes, as far as there are any and
    /// as far as that goes in its time. Blocks until then.
    pub(crate) fn begin(&self) {
        let (tell, told) = std_mpsc::sync_channel(1);
        if !self.handover.is_zero() && self.send.try_send(tell).is_ok() {
            // Whatever happens there, the node stops.
            _ = told.recv_timeout(self.handover + MARGIN);
        }
    }
}

/// What another node asks, and where the answer goes.
type Asked = (Vec<u8>, oneshot::Sender<Result<Vec<u8>, String>>);

/// Opens the socket of the data folder, and the TCP port if there is to be one.
pub(crate) fn listen(data_dir: &Path, tcp: Option<SocketAddr>) -> Result<Listeners, Failure> {
    let unix = sockets::listen(data_dir).map_err(|error| {
        let path = data_dir.join(sockets::NAME);
        Failure::new(format!("{} cannot be opened: {error}", path.display()))
            .advise("`shardmq ctl` needs it. The data folder must be on a file system with sockets")
    })?;
    let tcp = tcp.map(|address| {
        TcpListener::bind(address).map_err(|error| {
            Failure::new(format!(
                "dashboard.listeners.http.bind: {address} cannot be bound: {error}"
            ))
            .command(format!("ss -ltnp 'sport = :{}'", address.port()))
            .advise("Choose another port, or 0 for no HTTP port")
        })
    });
    Ok(Listeners {
        unix,
        tcp: tcp.transpose()?,
    })
}

impl Listeners {
    /// Where the TCP port is.
    pub(crate) fn tcp(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }

    /// Serves them on a thread.
    pub(crate) fn start(
        self,
        settings: Settings,
        operator: Operator,
        links: Option<Links>,
    ) -> Result<Running, Failure> {
        let failure =
            |error: io::Error| Failure::new(format!("the HTTP API cannot be started: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failure)?;
        let (stop, stopped) = oneshot::channel();
        let (send, retire) = mpsc::channel(1);
        let retirement = Retirement {
            send,
            handover: settings.handover.unwrap_or_default(),
        };
        let data_dir = settings.data_dir.clone();
        let work = move || {
            if let Err(error) = run(&runtime, self, settings, operator, links, (stopped, retire)) {
                error!("the HTTP API has failed: {error}");
            }
        };
        let builder = thread::Builder::new().name("http".to_owned());
        let thread = builder.spawn(work).map_err(failure)?;
        Ok(Running {
            thread,
            stop,
            retirement,
            data_dir,
        })
    }
}

impl Running {
    /// Says that the node is to stop.
    pub(crate) fn retirement(&self) -> Retirement {
        self.retirement.clone()
    }

    /// Ends the thread and removes the socket.
    pub(crate) fn stop(self) {
        sockets::remove(&self.data_dir);
        _ = self.stop.send(());
        if self.thread.join().is_err() {
            error!("the thread of the HTTP API has failed");
        }
    }
}

/// The thread.
fn run(
    runtime: &Runtime,
    listeners: Listeners,
    settings: Settings,
    operator: Operator,
    links: Option<Links>,
    (stopped, mut retire): (
        oneshot::Receiver<()>,
        mpsc::Receiver<std_mpsc::SyncSender<()>>,
    ),
) -> io::Result<()> {
    let desk = Rc::new(Desk::new(operator));
    let (handle, board) = links.map(|it| (it.handle, it.board)).unzip();
    let local = Rc::new(Local {
        desk: Rc::clone(&desk),
        name: settings.node,
        listeners: settings.listeners,
        open_files_max: settings.open_files,
        board,
        links: handle.clone(),
        drains: Drains::default(),
        server_reference: settings.server_reference,
        handover: settings.handover.unwrap_or_default(),
        highest: RefCell::new([0; GAUGES.len()]),
    });
    let paths = Rc::new(Paths {
        world: World {
            local: Rc::clone(&local),
        },
        cluster: settings.cluster,
    });
    LocalSet::new().block_on(runtime, async {
        listeners.unix.set_nonblocking(true)?;
        let unix = tokio::net::UnixListener::from_std(listeners.unix)?;
        spawn_local(serve::unix(Rc::clone(&paths), unix));
        if let Some(tcp) = listeners.tcp {
            tcp.set_nonblocking(true)?;
            let tcp = tokio::net::TcpListener::from_std(tcp)?;
            spawn_local(serve::tcp(paths, tcp));
        }
        if let Some(handle) = handle {
            spawn_local(answer_others(Rc::clone(&local), handle));
        }
        spawn_local(sample(Rc::clone(&local)));
        spawn_local(async move {
            while let Some(tell) = retire.recv().await {
                local.retire().await;
                // Who asked may wait no more.
                _ = tell.send(());
            }
        });
        tokio::select! {
            ended = desk.pump() => ended,
            _ = stopped => Ok(()),
        }
    })
}

/// Looks at what has a highest value, for ever.
async fn sample(local: Rc<Local>) {
    let mut clock = interval(SAMPLE);
    loop {
        clock.tick().await;
        local.sample();
    }
}

/// Answers what other nodes ask, which comes in on the thread with the links, for ever.
async fn answer_others(local: Rc<Local>, handle: Handle) {
    let (send, mut asked) = mpsc::channel::<Asked>(ASKED_MAX);
    let pass_on = move |_: String, body: Vec<u8>| {
        let send = send.clone();
        async move {
            let (tell, told) = oneshot::channel();
            let stops = |_| "the node stops".to_owned();
            send.send((body, tell)).await.map_err(|_| stops(()))?;
            told.await.map_err(|_| stops(()))?
        }
    };
    handle.answer(world::ASK, pass_on).await;
    while let Some((body, tell)) = asked.recv().await {
        let local = Rc::clone(&local);
        spawn_local(async move {
            // Who asked may have given up.
            _ = tell.send(answer_other(&local, &body).await);
        });
    }
}

async fn answer_other(local: &Local, body: &[u8]) -> Result<Vec<u8>, String> {
    let ask: Ask = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let answer = local.answer(&ask).await?;
    serde_json::to_vec(&answer).map_err(|error| error.to_string())
}
