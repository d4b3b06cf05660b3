//! The I/O of a shard: one task that owns every descriptor of the shard and sleeps in a
//! ring of its own.
//!
//! A turn goes through these steps, then sleeps if nothing is left to do:
//!
//! 1. take what other shards have sent: first, since a client that was answered by another
//!    shard may already have sent what follows from the answer;
//! 2. take completions, a bounded number: accepted connections, received bytes, sent
//!    bytes → [`Shard`];
//! 3. fire timers;
//! 4. yield to the tasks that are to be polled, if there are any;
//! 5. flush: one send per connection with output, one batch per other shard;
//! 6. enter the kernel: without waiting if there is more to do, else asleep until a
//!    completion, a ring of the doorbell or the next timer.
//!
//! Nothing on a shard waits for anything but this ring: no glommio timer, socket or file,
//! since glommio's reactor does not turn while the engine sleeps.

mod accept;
mod buffers;
mod gate;
mod input;
pub(crate) mod neighbours;
mod output;
mod peers;
mod self_test;
mod socket;
mod tasks;
pub(crate) mod together;
mod uring;
mod vectors;

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use shard_store::{StoreLink, Stored};

use crate::routes::RouteLink;
use crate::settings::Engine as Settings;
use crate::shard::Shard;

use accept::HeldBack;
use buffers::Buffers;
pub(crate) use gate::Gate;
use neighbours::Neighbours;
pub(crate) use self_test::Lateness;
use socket::Sockets;
use tasks::Tasks;
use together::{Stage, Together};
use uring::{Completion, Uring};

/// How long a closing connection may take to take its last bytes.
const CUT_OFF_MS: u64 = 2000;

/// How old the time of day may be that a busy shard goes by.
const TIME_OF_DAY_MS: u64 = 1000;

/// How long accepting rests after the process ran out of descriptors.
const ACCEPT_PAUSE_MS: u64 = 100;

/// How soon a batch that found a ring full is tried again.
const BACKLOG_RETRY: Duration = Duration::from_micros(200);

/// A listening socket of one shard, and what is counted over all shards.
pub(crate) struct Acceptor {
    pub(crate) socket: TcpListener,
    pub(crate) port: u16,
    /// Connections of this listener on all shards.
    pub(crate) connections: Arc<AtomicU32>,
    /// 0 for no limit.
    pub(crate) connections_max: u32,
    /// Those of this listener and of the node, if there are limits.
    pub(crate) gates: Vec<Arc<Gate>>,
}

/// What an engine is made of.
pub(crate) struct EngineSetup {
    pub(crate) settings: Settings,
    pub(crate) acceptors: Vec<Acceptor>,
    pub(crate) neighbours: Neighbours,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) started: Instant,
    pub(crate) routes: Option<RouteLink>,
    /// `None` when nothing is stored.
    pub(crate) store: Option<StoreLink>,
    pub(crate) together: Arc<Together>,
}

impl EngineSetup {
    /// Whether there may be other nodes.
    pub(crate) fn is_clustered(&self) -> bool {
        self.neighbours.nodes.is_some()
    }
}

/// The engine of one shard. Made, used and dropped on the shard's thread.
pub(crate) struct Engine {
    // The ring comes first: dropped first, it ends all operations before the memory that
    // they use goes.
    ring: Uring,
    buffers: Buffers,
    sockets: Sockets,
    shard: Shard,
    settings: Settings,
    acceptors: Vec<Acceptor>,
    neighbours: Neighbours,
    routes: Option<RouteLink>,
    store: Option<StoreLink>,
    together: Arc<Together>,
    stage: Stage,
    tasks: Tasks,
    stop: Arc<AtomicBool>,
    stopping: bool,
    started: Instant,
    now_ms: u64,
    /// When the time of day is to be looked at again.
    time_of_day_due_ms: u64,
    /// Connections that are cut off if they are not closed by then, in order of time.
    cut_offs: VecDeque<(u64, u32)>,
    /// Listeners that accept again at this time.
    rested: VecDeque<(u64, u32)>,
    /// Connections that came faster than they may: one for each listener at most.
    held_back: Vec<HeldBack>,
    /// Taken from the ring, not handled yet.
    completions: VecDeque<Completion>,
    stopped_sends: Vec<Completion>,
    /// Sends of the last turn: done, unless the ring says otherwise.
    unconfirmed: Vec<u32>,
    /// Somebody waits for a send of the last turn to be done.
    confirm_soon: bool,
    dirty: Vec<u32>,
}

impl Engine {
    pub(crate) fn new(setup: EngineSetup, shard: Shard) -> io::Result<Self> {
        let settings = setup.settings;
        let mut ring = Uring::new(&settings)?;
        let buffers = Buffers::new(
            &ring,
            settings.receive_buffers,
            settings.receive_buffer_bytes,
        )?;
        ring.watch(setup.neighbours.own.fd());
        let tasks = Tasks::new(setup.started, Arc::clone(&setup.neighbours.own));
        Ok(Self {
            ring,
            buffers,
            sockets: Sockets::default(),
            shard,
            settings,
            acceptors: setup.acceptors,
            neighbours: setup.neighbours,
            routes: setup.routes,
            store: setup.store,
            together: setup.together,
            stage: Stage::Restoring,
            tasks,
            stop: setup.stop,
            stopping: false,
            started: setup.started,
            now_ms: 0,
            time_of_day_due_ms: 0,
            cut_offs: VecDeque::new(),
            rested: VecDeque::new(),
            held_back: Vec::new(),
            completions: VecDeque::new(),
            stopped_sends: Vec::new(),
            unconfirmed: Vec::new(),
            confirm_soon: false,
            dirty: Vec::new(),
        })
    }

    /// Takes what was stored, and begins to serve when all shards have. An error means that
    /// the ring itself failed.
    pub(crate) async fn restore(&mut self, stored: Stored) -> io::Result<()> {
        self.now_ms = self.started.elapsed().as_millis() as u64;
        self.shard.set_now(self.now_ms);
        self.shard.restore(stored);
        self.turns_until(|engine| engine.are_restored() || engine.stopping)
            .await?;
        self.stage = Stage::Serving;
        self.shard.serve();
        Ok(())
    }

    /// Runs until the broker stops. An error means that the ring itself failed.
    pub(crate) async fn run(&mut self) -> io::Result<()> {
        for index in 0..self.acceptors.len() {
            self.accept(index as u32);
        }
        self.turns_until(Self::are_finished).await
    }

    /// Ends the tasks. The engine runs no more afterwards.
    pub(crate) async fn end(&mut self) {
        self.tasks.end().await;
    }

    /// Runs until `is_over` at the end of a turn, whose output is submitted too.
    async fn turns_until(&mut self, mut is_over: impl FnMut(&mut Self) -> bool) -> io::Result<()> {
        loop {
            self.take_input();
            if self.tasks.release(self.now_ms) {
                glommio::executor().yield_task_queue_now().await;
            }
            self.give_output();
            if is_over(self) {
                return self.ring.enter();
            }
            // Only here, after the tasks: they have set timers and woken each other.
            if self.has_work() {
                self.ring.enter()?;
            } else {
                self.sleep()?;
            }
        }
    }

    fn take_input(&mut self) {
        self.now_ms = self.started.elapsed().as_millis() as u64;
        self.shard.set_now(self.now_ms);
        if self.now_ms >= self.time_of_day_due_ms {
            self.tell_time_of_day();
        }
        if self.stop.load(Ordering::Relaxed) && !self.stopping {
            self.stop_serving();
        }
        self.take_batches();
        self.handle_completions();
        self.shard.tick();
    }

    /// Somebody may have set the clock of the machine.
    fn tell_time_of_day(&mut self) {
        self.time_of_day_due_ms = self.now_ms + TIME_OF_DAY_MS;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let unix_ms = since_1970.unwrap_or_default().as_millis() as u64;
        self.shard.set_time_of_day(unix_ms);
    }

    fn give_output(&mut self) {
        self.shard.finish_turn();
        self.send_handovers();
        self.flush();
        self.send_batches();
        self.fire_own_timers();
    }

    /// Whether another turn is due without anything new from outside.
    fn has_work(&mut self) -> bool {
        self.confirm_soon
            || !self.completions.is_empty()
            || self.ring.has_completions()
            || self.shard.has_work()
            || self.tasks.has_work()
            || !self.neighbours.is_empty()
    }

    /// Sleeps until something happens or a timer is due.
    fn sleep(&mut self) -> io::Result<()> {
        if self.settings.spin_before_sleep_us > 0 && self.spin()? {
            return Ok(());
        }
        let doorbell = Arc::clone(&self.neighbours.own);
        let (neighbours, routes, stop) = (&self.neighbours, &self.routes, &self.stop);
        let (tasks, stopping) = (&self.tasks, self.stopping);
        let store = &self.store;
        let others_are_quiet = || self.others_are_quiet();
        let nothing = || {
            neighbours.is_empty()
                && tasks.is_quiet()
                && routes.as_ref().is_none_or(|routes| routes.is_quiet())
                && store.as_ref().is_none_or(|store| store.is_quiet())
                && others_are_quiet()
                && (stopping || !stop.load(Ordering::Relaxed))
        };
        let may_sleep = doorbell.park(nothing);
        let entered = if may_sleep {
            let timeout = self.timeout();
            self.ring.wait(timeout)
        } else {
            self.ring.enter()
        };
        doorbell.unpark();
        entered
    }

    /// Looks for work for a while before sleeping. True when there is some.
    fn spin(&mut self) -> io::Result<bool> {
        let spin = Duration::from_micros(u64::from(self.settings.spin_before_sleep_us));
        let begun = Instant::now();
        while begun.elapsed() < spin {
            self.ring.enter()?;
            if self.has_work() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }

    /// The time until the next timer; `None` when there is none.
    fn timeout(&self) -> Option<Duration> {
        // The other side of a full ring does not say when there is room again.
        let backlog = self.shard.waits_for_rings()
            || (0..self.neighbours.to.len()).any(|peer| self.shard.has_batch(peer as u16))
            || self.shard.has_node_batch()
            || self.routes.as_ref().is_some_and(RouteLink::has_backlog)
            || self.store.as_ref().is_some_and(StoreLink::has_backlog);
        if backlog {
            return Some(BACKLOG_RETRY);
        }
        let due = [
            self.shard.next_deadline_ms(),
            Some(self.tasks.next_deadline_ms()),
            self.cut_offs.front().map(|(due, _)| *due),
            self.rested.front().map(|(due, _)| *due),
            self.held_back.iter().map(|held| held.due_ms).min(),
            self.end_due_ms(),
        ];
        let due = due.into_iter().flatten().min()?;
        // Rounded up: a timer that is woken for too early would spin.
        let now = self.started.elapsed();
        let due = Duration::from_millis(due);
        Some(due.saturating_sub(now) + Duration::from_micros(100))
    }

    /// Stops accepting and ends all connections.
    fn stop_serving(&mut self) {
        self.stopping = true;
        for acceptor in &self.acceptors {
            // SAFETY: the descriptor is the acceptor's own and open.
            unsafe { libc::shutdown(acceptor.socket.as_raw_fd(), libc::SHUT_RD) };
        }
        self.drop_held_back();
        self.shard.shut_down();
    }
}
