//! A shard's logic: bytes in, bytes out, messages to other shards. No socket, no clock.
//!
//! The engine feeds a [`Shard`] and carries out what it asks for:
//!
//! 1. [`Shard::set_now`] at the start of a turn, with a clock that never goes back;
//! 2. inputs, in any order: [`Shard::opened`], [`Shard::received`],
//!    [`Shard::closed_by_peer`], [`Shard::handle_batch`], [`Shard::routes_applied`],
//!    [`Shard::tick`];
//! 3. at the end of the turn [`Shard::finish_turn`], then the outputs: the connections in
//!    [`Shard::take_dirty`] have output or want to be closed, [`Shard::handovers`] leave
//!    for another shard, [`Shard::peers`] hold a batch each, [`Shard::route_changes`] go
//!    to the route writer;
//! 4. sleep until [`Shard::next_deadline_ms`] at most.
//!
//! ```text
//!  received → connect.rs ─┐
//!             publish.rs ─┼→ plan.rs → deliver.rs → Connection::output
//!           subscribe.rs ─┤      └───→ peers (other shards) → handle_batch → deliver.rs
//!                acks.rs ─┘
//! ```

mod acks;
mod authenticate;
mod auto_subscribe;
mod clock;
mod common;
mod connect;
mod connection;
mod delayed;
mod deliver;
mod durable;
mod end;
mod ending;
mod events;
mod exclusive;
mod fence;
mod frames;
mod groups;
mod held;
mod input;
mod items;
mod journal;
mod json;
mod moves;
mod nodes;
mod operator;
mod outbox;
mod owners;
mod peers;
mod plan;
mod positions;
mod publish;
mod queue;
mod quota;
mod rates;
mod redistribute;
mod removals;
mod replay;
mod replicate;
mod restore;
mod rewrite;
mod session;
mod shared;
mod stats;
mod subscribe;
mod switches;
mod sys;
mod template;
#[cfg(test)]
mod tests;
mod texts;
mod timers;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hashbrown::HashTable;
use protocol::hash::Seed;
use protocol::retained::RetainedTree;
use protocol::subscriptions::{Random, Strategies, Strategy, SubscriptionTree};
use shard_sync::routes::{DestinationSet, RouteReader};

use crate::settings::Mqtt;
use crate::slots::Slots;
use crate::wheel::TimerWheel;

pub use clock::rfc3339;
pub(crate) use common::{Common, Interest};
pub(crate) use connection::Remote;
use connection::{Connection, Phase};
use frames::Frames;
#[cfg(test)]
pub(crate) use groups::SHARE_PREFIX;
use items::SessionRef;
pub(crate) use items::{Batch, Item};
pub(crate) use journal::Journal;
pub(crate) use nodes::{NODES_MAX, foreign_publisher};
use outbox::Outbox;
pub(crate) use outbox::Output;
use peers::Peer;
pub(crate) use peers::RouteChange;
use plan::Plans;
pub(crate) use quota::RetainedQuota;
pub(crate) use restore::part;
use session::Session;
pub use stats::{CLUSTER_GAUGES, CLUSTER_METRICS, Counter, GAUGES, METRICS, Metric, Stats, sum};
use subscribe::Ticket;
use timers::Timer;
use transaction::{Token, Touched, Transaction};

/// No session, no connection.
const NONE: u32 = u32::MAX;

/// A shard. Lives on one pinned thread, owns its sessions, connections, subscriptions and
/// its part of the retained messages, and is touched by nobody else.
pub(crate) struct Shard {
    id: u16,
    /// Shards on this node.
    count: u16,
    limits: Arc<Mqtt>,
    seed: Seed,
    now_ms: u64,
    /// Counts connections and sessions, to tell them from earlier ones.
    serial: u32,
    /// Secret from which client identifiers are made.
    id_secret: [u64; 2],

    connections: Slots<Connection>,
    sessions: Slots<Session>,
    /// Client identifier → session.
    clients: HashTable<u32>,
    subscriptions: SubscriptionTree,
    plans: Plans,
    retained: RetainedTree<replay::Retained>,
    /// The version of the message to retain that is being routed.
    retaining: u64,
    retained_expiries: replay::Expiries,
    retained_quota: Arc<RetainedQuota>,
    /// Retained messages on other nodes. `None` where there is no cluster.
    replicas: Option<Box<replicate::Replicas>>,
    /// Whose client identifiers are. `None` where there is no cluster.
    owners: Option<Box<owners::Owners>>,
    /// A session comes from another node or goes to one.
    has_moves: bool,
    replays: Slots<replay::Replay>,
    wheel: TimerWheel<Timer>,
    frames: Option<Box<Frames>>,

    // Outputs.
    outbox: Outbox,
    handovers: Vec<Handover>,
    /// The other shards, then the other nodes.
    peers: Vec<Peer>,
    /// Empty where there is no cluster.
    from_nodes: Vec<nodes::FromNode>,
    /// Groups over several nodes. `None` where there is no cluster.
    groups: Option<Box<groups::Groups>>,
    /// How far the streams of other nodes are received. `None` without a cluster or a store.
    positions: Option<Box<positions::Positions>>,
    /// The message that is being routed comes from another node, which has given it to groups.
    is_foreign: bool,
    fence: fence::Fence,
    /// The node, plus 1, that the message that is being routed has found full, or 0.
    slow_node: u16,
    #[expect(
        clippy::vec_box,
        reason = "a batch travels through the rings in its box"
    )]
    spare_batches: Vec<Box<Batch>>,
    routes: Option<RouteReader>,
    destinations: DestinationSet,
    route_changes: Vec<RouteChange>,
    /// Route changes asked for so far.
    routes_asked: u64,
    /// Of these, how many the route writer has applied.
    routes_applied: u64,

    strategies: Strategies,
    priorities: queue::Priorities,
    delayed: delayed::Delayed,
    random: Random,
    /// Whether a message carries the hash of its publisher's client identifier.
    hashes_publishers: bool,
    /// The filters of this shard that one session has for itself.
    exclusive: HashMap<Box<str>, SessionRef>,

    // What waits.
    /// Members that refused a message of a group because their clients do not read.
    unread: Vec<(u32, u32)>,
    tickets: Slots<Ticket>,
    /// Who waits for a route change to be applied, in order.
    route_waits: VecDeque<subscribe::RouteWait>,
    /// Connections paused because a ring is full.
    paused: Vec<u32>,
    /// Connections that end with this turn, because their session's queue is full.
    overflowed: Vec<u32>,
    /// Sessions whose queue goes on when their client has read.
    unsent: Vec<(u32, u32)>,
    /// Replays that wait for room at their subscriber.
    stalled_replays: Vec<u32>,
    /// Replays that only wait for their turn.
    unfinished_replays: VecDeque<u32>,

    // What is stored. `None`, and all of it empty, when nothing is.
    journal: Option<Box<Journal>>,
    /// What the message that is being routed has led to in the store.
    touched: Touched,
    transactions: Slots<Transaction>,
    /// The atomic transactions of this shard, in order.
    atomics: VecDeque<u32>,
    /// How many of those are wills of sessions that go on.
    open_wills: usize,
    /// What this shard keeps for transactions of others.
    staged: HashMap<(u16, Token), u32>,
    /// Clients whose session has ended and goes from the disk with a transaction.
    ending: HashMap<Box<str>, u32>,
    /// What was stored is not in force yet.
    is_restoring: bool,

    stats: Arc<Stats>,
    common: Arc<Common>,
    /// Milliseconds from 1970 to the start of the shard's clock.
    epoch_ms: u64,
    /// On the first shard, if `$SYS` topics are on.
    sys: Option<Box<sys::SysTopics>>,
    /// Retained messages here that are the broker's own.
    own_retained: usize,
    /// What has happened in this turn.
    raised: events::Raised,
}

/// What a shard is made with.
pub(crate) struct ShardSetup {
    pub(crate) id: u16,
    pub(crate) count: u16,
    pub(crate) limits: Arc<Mqtt>,
    pub(crate) hash_seed: u64,
    /// Secret for assigned client identifiers, unknown to clients.
    pub(crate) id_secret: [u64; 2],
    /// Shared by all shards of the node.
    pub(crate) retained_quota: Arc<RetainedQuota>,
    /// Bytes that may wait for one other shard.
    pub(crate) peer_bytes_max: usize,
    /// The route index; `None` when this shard is the only destination there is.
    pub(crate) routes: Option<RouteReader>,
    /// `None` when nothing is stored.
    pub(crate) journal: Option<Box<Journal>>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) common: Arc<Common>,
    pub(crate) now_ms: u64,
}

/// A connection that leaves for the shard its client identifier belongs to, with what has
/// been read from it.
#[derive(Debug)]
pub(crate) struct Handover {
    pub(crate) connection: u32,
    pub(crate) target: u16,
    pub(crate) input: Vec<u8>,
}

/// What a connection needs from the engine at the end of a turn.
pub(crate) struct Flush<'a> {
    /// Bytes to send.
    pub(crate) output: &'a mut Output,
    /// Close the socket when all of the output is sent.
    pub(crate) close: bool,
}

/// Whether a connection is to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Input {
    /// Until it ends.
    Wanted,
    /// One receive only: the connection may have to move to another shard afterwards.
    WantedOnce,
    /// Not now.
    Paused,
    /// Not any more: it leaves for another shard or is gone.
    Leaving,
}

impl Shard {
    pub(crate) fn new(setup: ShardSetup) -> Self {
        let (seed, strategies) = (Seed::new(setup.hash_seed), setup.limits.share_strategies());
        Self {
            id: setup.id,
            count: setup.count,
            priorities: queue::Priorities::new(&setup.limits),
            limits: setup.limits,
            seed,
            now_ms: setup.now_ms,
            serial: 0,
            id_secret: setup.id_secret,
            connections: Slots::new(),
            sessions: Slots::new(),
            clients: HashTable::new(),
            subscriptions: SubscriptionTree::with_strategies(setup.hash_seed, strategies.clone()),
            plans: Plans::new(seed),
            retained: RetainedTree::new(setup.hash_seed),
            retaining: 0,
            retained_expiries: replay::Expiries::default(),
            retained_quota: setup.retained_quota,
            replicas: None,
            owners: None,
            has_moves: false,
            replays: Slots::new(),
            wheel: TimerWheel::new(setup.now_ms),
            frames: None,
            outbox: Outbox::default(),
            handovers: Vec::new(),
            peers: Peer::all(setup.count, setup.peer_bytes_max),
            from_nodes: Vec::new(),
            groups: None,
            positions: None,
            is_foreign: false,
            fence: fence::Fence::default(),
            slow_node: 0,
            spare_batches: Vec::new(),
            routes: setup.routes,
            destinations: DestinationSet::new(),
            route_changes: Vec::new(),
            routes_asked: 0,
            routes_applied: 0,
            hashes_publishers: strategies.use_strategy(Strategy::HashClientId),
            strategies,
            random: Random::new(setup.id_secret[0].rotate_left(32) ^ setup.id_secret[1]),
            exclusive: HashMap::new(),
            unread: Vec::new(),
            tickets: Slots::new(),
            route_waits: VecDeque::new(),
            paused: Vec::new(),
            overflowed: Vec::new(),
            unsent: Vec::new(),
            delayed: delayed::Delayed::default(),
            stalled_replays: Vec::new(),
            unfinished_replays: VecDeque::new(),
            journal: setup.journal,
            touched: Touched::default(),
            transactions: Slots::new(),
            atomics: VecDeque::new(),
            open_wills: 0,
            staged: HashMap::new(),
            ending: HashMap::new(),
            is_restoring: false,
            stats: setup.stats,
            sys: sys::SysTopics::new(setup.id, &setup.common, setup.now_ms),
            common: setup.common,
            epoch_ms: 0,
            own_retained: 0,
            raised: events::Raised::default(),
        }
    }

    /// Tells the time, in milliseconds of a clock that never goes back.
    pub(crate) fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.is_clustered() {
            self.watch_lease();
        }
    }

    /// A connection was accepted. Its key is free again after [`Shard::release`].
    pub(crate) fn opened(&mut self, remote: Remote) -> u32 {
        let serial = self.next_serial();
        let key = self
            .connections
            .insert(Connection::new(serial, self.now_ms, remote));
        let deadline = self.now_ms + u64::from(self.limits.connect_timeout_ms);
        let timer = self
            .wheel
            .insert(deadline, Timer::Connection { key, serial });
        if let Some(connection) = self.connections.get_mut(key) {
            connection.timer = Some(timer);
        }
        key
    }

    /// The engine has closed the socket and has nothing under way for it.
    pub(crate) fn release(&mut self, key: u32) {
        if let Some(connection) = self.connections.remove(key)
            && let Some(timer) = connection.timer
        {
            self.wheel.cancel(timer);
        }
    }

    /// Ends a turn: wakes what waited for room.
    pub(crate) fn finish_turn(&mut self) {
        self.resume_paused();
        self.resume_replays();
        if self.replicas.is_some() {
            self.hand_out_retained();
        }
        if self.has_moves {
            self.go_on_moving();
        }
        if self.waits_for_nodes() {
            self.look_who_has_reached();
        }
        if !self.unsent.is_empty() {
            self.send_to_readers();
        }
        if !self.unread.is_empty() {
            self.tell_groups_of_readers();
        }
        if self.groups.is_some() {
            self.tell_of_groups();
        }
        self.publish_raised();
        // What is raised by the end of a client may be too much for another.
        while !self.overflowed.is_empty() {
            self.disconnect_overflowed();
            self.publish_raised();
        }
        self.tell_sizes();
    }

    /// Says how large the tables are: a few stores a turn.
    fn tell_sizes(&self) {
        let shared = self.subscriptions.shared_len();
        let own = self.subscriptions.len() - shared;
        self.stats.subscriptions.set(own as u64);
        self.stats.shared_subscriptions.set(shared as u64);
        self.stats
            .filters
            .set(self.subscriptions.filters_len() as u64);
        self.stats.retained.set(self.retained.len() as u64);
    }

    /// The counters.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Connections with output or an end to be carried out.
    pub(crate) fn take_dirty(&mut self, into: &mut Vec<u32>) {
        into.append(&mut self.outbox.dirty);
    }

    /// What to do for a connection that was dirty.
    pub(crate) fn flush(&mut self, key: u32) -> Option<Flush<'_>> {
        let connection = self.connections.get_mut(key)?;
        connection.dirty = false;
        if connection.held_until > 0 {
            // CONNACK is in the output, and what it says is not on the disk yet.
            let journal = self.journal.as_ref();
            if journal.is_some_and(|j| !j.has_committed(connection.held_until)) {
                if connection.phase != Phase::Closing {
                    return None;
                }
                // It ends before it was promised anything.
                connection.output.clear();
            }
            connection.held_until = 0;
        }
        let close = matches!(connection.phase, Phase::Closing);
        Some(Flush {
            output: &mut connection.output,
            close,
        })
    }

    /// Whether the connection is to be read.
    #[inline]
    pub(crate) fn input(&self, key: u32) -> Input {
        let Some(connection) = self.connections.get(key) else {
            return Input::Leaving;
        };
        match connection.phase {
            Phase::AwaitsConnect => Input::WantedOnce,
            Phase::Authenticates | Phase::Claims | Phase::Live if connection.paused => {
                Input::Paused
            }
            Phase::Authenticates | Phase::Claims | Phase::Live | Phase::Closing => Input::Wanted,
            Phase::Gone => Input::Leaving,
        }
    }

    /// Whether a paused connection holds as much input as it may.
    pub(crate) fn is_full(&self, key: u32) -> bool {
        let held = self
            .connections
            .get(key)
            .map_or(0, |connection| connection.tail.len());
        held >= input::PAUSED_INPUT_MAX
    }

    /// Whether somebody may go on when output has been sent.
    #[inline]
    pub(crate) fn waits_for_output(&self) -> bool {
        !self.paused.is_empty()
            || !self.stalled_replays.is_empty()
            || !self.unread.is_empty()
            || !self.unsent.is_empty()
    }

    /// Takes back output that is sent.
    pub(crate) fn recycle(&mut self, output: Output) {
        self.outbox.recycle(output);
    }

    /// Connections that are leaving for another shard.
    pub(crate) fn take_handovers(&mut self) -> Vec<Handover> {
        core::mem::take(&mut self.handovers)
    }

    /// The next moment at which [`Shard::tick`] has something to do.
    pub(crate) fn next_deadline_ms(&self) -> Option<u64> {
        let sys = self.sys.as_ref().map(|sys| sys.due_ms());
        let others = sys.into_iter().chain(self.next_delayed_ms());
        let others = others.chain(self.retained_expiries.next_ms());
        let others = others.chain(self.next_removal_ms());
        let others = others.chain(self.next_arrival_ms());
        let others = others.chain(self.next_filter_ms());
        let others = others.chain(self.next_group_ms());
        self.wheel.next_deadline().into_iter().chain(others).min()
    }

    /// Whether work is left that needs no input: another turn is due at once.
    pub(crate) fn has_work(&self) -> bool {
        let due = |deadline| deadline <= self.now_ms;
        self.next_deadline_ms().is_some_and(due)
            || self.may_resume()
            || self.journal.as_ref().is_some_and(|j| j.has_done())
            || !self.unfinished_replays.is_empty()
            || self.may_hand_out()
            || self.may_move_on()
    }

    fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    fn mark_dirty(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            self.outbox.mark(connection, key);
        }
    }

    /// Whether all of this turn's changes are taken.
    #[cfg(test)]
    pub(crate) fn is_stored(&self) -> bool {
        self.journal.as_ref().is_none_or(|j| j.is_empty())
    }

    /// Whether nothing is left that is to be stored or that another shard is to answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.transactions.len() == 0 && self.journal.as_ref().is_none_or(|j| j.is_empty())
    }

    /// The shard that a client identifier belongs to.
    fn shard_of(&self, client_id: &str) -> u16 {
        (self.seed.hash(client_id) % u64::from(self.count)) as u16
    }
}
