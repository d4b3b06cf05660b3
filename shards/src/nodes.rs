//! Between the shards and the links to other nodes.
//!
//! ```text
//!   shard ── batches, a ring for each node ──►  thread with the links  ──► QUIC
//!   shard ◄─ batches, with their node ────────  thread with the links  ◄── QUIC
//!         ◄─ how many the node has taken ─────
//!         ── how many are accepted here ─────►
//! ```
//!
//! The two counts are numbers that one side writes and the other reads, so they never wait
//! behind messages: two nodes that are full cannot keep each other waiting.

mod groups;
mod owners;
mod watched;

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use protocol::hash::Seed;
use protocol::message::MessageRef;
use shard_store::Process;
use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::bits::bits;
use crate::engine::neighbours::{NodesEnd, ToNode};
use crate::routes::{NodeOrder, NodeRoutes, RouteBatch, RouteCopy};
use crate::shard::foreign_publisher;
use crate::shard::{Batch, Common, Item, NODES_MAX, RouteChange};

pub(crate) use self::groups::Lost;

use owners::OwnersLink;
pub use owners::{OwnerEvent, OwnerRequest, RoutesAt};
pub(crate) use owners::{OwnersEnd, Place, exclusive_filter, exclusive_name};
use watched::Watched;

/// Batches in a ring between a shard and the thread with the links.
const RING_BATCHES: usize = 64;

/// Bytes of messages in one batch, and batches kept back, for one shard.
const BATCH_BYTES: usize = 256 << 10;

/// Batches of changes of routes, of some 20 KiB, that wait for the route writer. Whoever has more
/// is asked to wait.
const ROUTE_BATCHES: usize = 1024;

/// Between two log lines about retained messages that were refused.
const REFUSED_LOG_MS: u64 = 60_000;

/// Other nodes as the thread with the links sees the shards. Owned by that thread.
///
/// A node is a number below 64, given by that thread for the life of the process.
pub struct Nodes {
    own: Arc<Doorbell>,
    started: Instant,
    /// Says to which shard a client identifier belongs.
    seed: Seed,
    common: Arc<Common>,
    shards: Vec<ShardEnd>,
    routes: NodeRoutes,
    /// Changes of routes that found no room.
    backlog: VecDeque<NodeOrder>,
    refused: Refused,
    watched: Watched,
    /// The processes of the nodes, which number their messages.
    processes: Vec<Option<Arc<Process>>>,
}

/// Retained messages of other nodes that were not retained here, as last logged.
#[derive(Debug, Default)]
struct Refused {
    logged: u64,
    next_log_ms: u64,
}

/// The ends of what connects one shard.
struct ShardEnd {
    doorbell: Arc<Doorbell>,
    to: Producer<(u16, Box<Batch>)>,
    /// What is to go, the last one still being filled.
    waiting: VecDeque<(u16, Box<Batch>)>,
    nodes: Vec<NodeEnd>,
    owners: OwnersLink,
}

/// What connects one shard with one node.
struct NodeEnd {
    from: Consumer<Box<Batch>>,
    current: Option<Current>,
    taken: Arc<AtomicU64>,
    lost: Arc<Lost>,
    accepted: Arc<AtomicU64>,
    /// As last read.
    accepted_seen: u64,
    /// The streams of the messages that were given to the shard and are not accepted: stream
    /// and number of messages, oldest first.
    order: VecDeque<(u16, u64)>,
}

/// A batch that is being taken.
struct Current {
    batch: Box<Batch>,
    /// Items of it that are taken.
    taken: usize,
}

impl Nodes {
    /// Connects the thread with the links, which `own` wakes, with each shard.
    pub(crate) fn connect(
        own: Arc<Doorbell>,
        shards: &[Arc<Doorbell>],
        routes: NodeRoutes,
        common: Arc<Common>,
        (started, seed): (Instant, Seed),
    ) -> (Self, Vec<NodesEnd>) {
        let (shards, ends) = shards.iter().map(|bell| connect(bell, &own)).unzip();
        let nodes = Self {
            own,
            started,
            seed,
            common,
            shards,
            routes,
            backlog: VecDeque::new(),
            refused: Refused::default(),
            watched: Watched::default(),
            processes: vec![None; usize::from(NODES_MAX)],
        };
        (nodes, ends)
    }

    /// Shards of this node.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// The shards' clock, in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Becomes readable when a shard or the route writer has something.
    #[must_use]
    pub fn news_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// Makes [`Nodes::news_fd`] unreadable. Everything has to be taken afterwards.
    pub fn clear_news(&mut self) {
        self.own.drain();
        // Parked from now on, so that whatever comes from now on rings.
        self.own.park(|| true);
    }

    /// Until when, by the shards' clock, this node may acknowledge QoS 1 and 2: `u64::MAX` for
    /// ever. Until this is called it may not.
    pub fn set_lease_until(&mut self, until_ms: u64) {
        let before = self.common.lease_until_ms.swap(until_ms, Ordering::Release);
        if before < until_ms && before <= self.now_ms() {
            // What waits for it goes on.
            self.shards.iter().for_each(|shard| shard.doorbell.ring());
        }
    }

    /// Which nodes are up and stay, a bit each, so that they may be given sessions; which have
    /// said that they go; and whether this node does.
    pub fn set_open(&mut self, nodes: u64, going: u64, goes: bool) {
        self.common.nodes_open.store(nodes, Ordering::Relaxed);
        self.common.nodes_going.store(going, Ordering::Relaxed);
        self.common.goes.store(goes, Ordering::Relaxed);
    }

    /// The process of a node that speaks. Said before any message of it.
    pub fn heard(&mut self, node: u16, name: &str, boot: u64) {
        if let Some(known) = self.processes.get_mut(usize::from(node)) {
            let is_same = |known: &Arc<Process>| *known.node == *name && known.boot == boot;
            if !known.as_ref().is_some_and(is_same) {
                let node = name.into();
                *known = Some(Arc::new(Process { node, boot }));
            }
        }
    }

    /// A node is there: it is handed all retained messages, gets the new ones, and others where
    /// it has routes.
    pub fn up(&mut self, node: u16) {
        let bit = 1 << (node % NODES_MAX);
        self.common.nodes_known.fetch_or(bit, Ordering::Relaxed);
        self.common.nodes_up.fetch_or(bit, Ordering::Relaxed);
        self.common.arrivals.add(node % NODES_MAX);
        for shard in &self.shards {
            // It has retained messages for the node.
            shard.doorbell.ring();
        }
    }

    /// A node is gone. The caller removes its routes, and says by [`Nodes::lost`] what it had
    /// taken for it and the node has not accepted. What shards still have for it is lost at
    /// each [`Nodes::flush`].
    pub fn down(&mut self, node: u16) {
        let bit = 1 << (node % NODES_MAX);
        self.common.nodes_up.fetch_and(!bit, Ordering::Relaxed);
        self.gone(node, true);
        for shard in &self.shards {
            // It may have waited for a session from there.
            shard.doorbell.ring();
        }
    }

    /// What the shards have said about client identifiers.
    pub fn owner_requests(&mut self) -> Vec<OwnerRequest> {
        let mut all = Vec::new();
        for shard in &mut self.shards {
            while let Some(mut list) = shard.owners.take() {
                all.append(&mut list);
            }
        }
        all
    }

    /// Tells the shard that something is for what was decided, or has come about.
    pub fn owner_event(&mut self, event: OwnerEvent) {
        let shards = self.shards.len().max(1) as u64;
        let home = match event.place() {
            Place::Client(client) => {
                let name = exclusive_filter(client).unwrap_or(client);
                (self.seed.hash(name) % shards) as usize
            }
            Place::Shard(shard) => usize::from(shard),
        };
        if let Some(shard) = self.shards.get_mut(home) {
            shard.owners.push(event);
        }
    }

    /// Whether a shard has not heard of all that was decided about client identifiers.
    #[must_use]
    pub fn has_owner_events(&self) -> bool {
        self.shards.iter().any(|shard| shard.owners.is_unheard())
    }

    /// Drops what shards have for nodes that are gone.
    fn drop_for_the_dead(&mut self) {
        let known = self.common.nodes_known.load(Ordering::Relaxed);
        for node in bits(known & !self.common.nodes_up.load(Ordering::Relaxed)) {
            let mut counts = vec![0_u64; self.shards.len()];
            self.forwards(node, &mut |shard, _| {
                counts[usize::from(shard)] += 1;
                true
            });
            for (shard, count) in counts.into_iter().enumerate().filter(|(_, n)| *n > 0) {
                self.lost(node, shard as u16, count);
            }
        }
    }

    /// Says how many retained messages of other nodes found no room, once a minute at most.
    fn log_refused(&mut self) {
        let shards = self.common.stats.iter();
        let all = shards.map(|stats| stats.retained_refused.get()).sum();
        if let Some(count) = self.refused.take_news(all, self.now_ms()) {
            log::warn!(
                "{count} retained messages of other nodes are not retained here: \
                 mqtt.max_retained_messages or mqtt.max_retained_bytes is reached, or the disk \
                 is full"
            );
        }
    }

    /// Takes the messages for a node, in the order of each shard, as long as `take` does: what
    /// it leaves comes again.
    pub fn forwards(&mut self, node: u16, take: &mut dyn FnMut(u16, &MessageRef<'_>) -> bool) {
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let Some(end) = shard.nodes.get_mut(usize::from(node)) else {
                return;
            };
            let held = end.from.len();
            while let Some(current) = end.next() {
                if !current.take(&mut |message| take(number as u16, message)) {
                    break;
                }
                end.current = None;
            }
            if end.from.len() < held {
                // It may wait for room in the ring.
                shard.doorbell.ring();
            }
        }
    }

    /// A node has accepted so many more of a shard's messages, in their order. Unless the shard
    /// waits for one of them it hears so when it runs the next time.
    pub fn node_accepted(&mut self, node: u16, shard: u16, count: u64, is_awaited: bool) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard))
            && let Some(end) = shard.nodes.get(usize::from(node))
        {
            end.taken.fetch_add(count, Ordering::Release);
            if is_awaited {
                shard.doorbell.ring();
            }
        }
    }

    /// A message that came from a node by one of its streams, with its number in that. False if
    /// the shard that gets it has too much already: then it is to be given again later.
    pub fn arrived(
        &mut self,
        node: u16,
        (stream, number): (u16, u64),
        message: &MessageRef<'_>,
    ) -> bool {
        let shards = self.shards.len().max(1);
        let Some(shard) = self.shards.get_mut(usize::from(stream) % shards) else {
            return false;
        };
        let Some(end) = shard.nodes.get_mut(usize::from(node)) else {
            return false;
        };
        if shard.waiting.len() > RING_BATCHES {
            return false;
        }
        match end.order.back_mut() {
            Some((last, count)) if *last == stream => *count += 1,
            _ => end.order.push_back((stream, 1)),
        }
        let batch = match shard.waiting.back_mut() {
            Some((last, batch)) if *last == node && batch.size() < BATCH_BYTES => batch,
            _ => {
                shard.waiting.push_back((node, Box::default()));
                match shard.waiting.back_mut() {
                    Some((_, batch)) => batch,
                    None => return false,
                }
            }
        };
        let message = MessageRef {
            publisher: foreign_publisher(message.publisher, node, stream),
            ..*message
        };
        if let Some(Some(process)) = self.processes.get(usize::from(node)) {
            batch.place(process, stream, number);
        }
        batch.publish(&message, false, 0);
        true
    }

    /// Hands what has arrived, and what was said of routes, to the shards.
    pub fn flush(&mut self) {
        self.drop_for_the_dead();
        self.log_refused();
        for shard in &mut self.shards {
            let mut news = false;
            while let Some(batch) = shard.waiting.pop_front() {
                if let Err(batch) = shard.to.push(batch) {
                    shard.waiting.push_front(batch);
                    break;
                }
                news = true;
            }
            news |= shard.owners.flush();
            if news {
                shard.doorbell.ring();
            }
        }
        let mut news = false;
        while let Some(order) = self.backlog.pop_front() {
            if let Err(order) = self.routes.orders.push(order) {
                self.backlog.push_front(order);
                break;
            }
            news = true;
        }
        if news {
            self.routes.writer.ring();
        }
    }

    /// Whether something found no room: [`Nodes::flush`] is to be called again soon.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        let mut shards = self.shards.iter();
        !self.backlog.is_empty()
            || shards.any(|shard| !shard.waiting.is_empty() || shard.owners.has_backlog())
    }

    /// How many messages of each stream were accepted since this was last asked: by node,
    /// stream and number. Those of a node that was gone meanwhile are counted, too.
    pub fn accepted(&mut self, each: &mut dyn FnMut(u16, u16, u64)) {
        for shard in &mut self.shards {
            for (node, end) in shard.nodes.iter_mut().enumerate() {
                end.accepted(&mut |stream, count| each(node as u16, stream, count));
            }
        }
    }

    /// A route of another node was added or removed. `copy` is below 16, and another one than
    /// before when all routes of the node come anew.
    pub fn route(&mut self, node: u16, copy: u8, filter: &str, add: bool) {
        let copy = RouteCopy::new(node, copy);
        self.watched
            .change(&self.common.interest, copy, filter, add);
        match self.backlog.back_mut() {
            Some(NodeOrder::Changes(batch)) if batch.copy() == copy && !batch.is_full() => {
                batch.push(filter, add);
            }
            _ => {
                let mut batch = RouteBatch::new(copy);
                batch.push(filter, add);
                self.backlog.push_back(NodeOrder::Changes(batch));
            }
        }
    }

    /// All routes of a copy go. That takes its time, beside other changes.
    pub fn forget_routes(&mut self, node: u16, copy: u8) {
        let copy = RouteCopy::new(node, copy);
        self.watched.forget(&self.common.interest, copy);
        self.backlog.push_back(NodeOrder::Forget(copy));
    }

    /// Whether so many changes of routes wait for the writer that no more should be read.
    #[must_use]
    pub fn has_too_many_routes(&self) -> bool {
        self.backlog.len() >= ROUTE_BATCHES
    }

    /// Another node says how many members a group has there, or that it is not so any more.
    pub fn share(&mut self, node: u16, text: &str, add: bool) {
        self.tell_shards(node, || Item::Share {
            text: text.into(),
            add,
        });
    }

    /// Asks when all that was said by [`Nodes::route`] so far is in force on all shards.
    pub fn fence(&mut self) {
        self.backlog.push_back(NodeOrder::Fence);
    }

    /// Changes of this node's routes: the first and the last subscription to a filter on a
    /// shard. Several shards may have the same filter. Returns how many of the questions asked
    /// with [`Nodes::fence`] are answered by that, oldest first: what shards had changed, and
    /// knew to be in force, when they were asked was given to `each` by now, too.
    pub fn own_routes(&mut self, each: &mut dyn FnMut(&str, bool)) -> usize {
        let mut fences = 0;
        while let Some(change) = self.routes.own.pop() {
            match change {
                RouteChange::Fence => fences += 1,
                RouteChange::Add(text) | RouteChange::Announce(text) => each(&text, true),
                RouteChange::Remove(text) | RouteChange::Withdraw(text) => each(&text, false),
                RouteChange::AddHere(_) | RouteChange::RemoveHere(_) => {}
            }
        }
        fences
    }
}

impl Refused {
    /// How many are to be logged, if any are and the last line is old enough.
    fn take_news(&mut self, all: u64, now_ms: u64) -> Option<u64> {
        if all == self.logged || now_ms < self.next_log_ms {
            return None;
        }
        self.next_log_ms = now_ms + REFUSED_LOG_MS;
        Some(all - core::mem::replace(&mut self.logged, all))
    }
}

impl NodeEnd {
    fn next(&mut self) -> Option<&mut Current> {
        if self.current.is_none() {
            let batch = self.from.pop()?;
            self.current = Some(Current { batch, taken: 0 });
        }
        self.current.as_mut()
    }

    fn accepted(&mut self, each: &mut dyn FnMut(u16, u64)) {
        let accepted = self.accepted.load(Ordering::Acquire);
        let mut more = accepted - self.accepted_seen;
        self.accepted_seen = accepted;
        while more > 0
            && let Some((stream, count)) = self.order.front_mut()
        {
            let part = more.min(*count);
            each(*stream, part);
            more -= part;
            *count -= part;
            if *count == 0 {
                self.order.pop_front();
            }
        }
    }
}

impl Current {
    /// Whether all of it is taken.
    fn take(&mut self, take: &mut dyn FnMut(&MessageRef<'_>) -> bool) -> bool {
        while let Some(item) = self.batch.items.get(self.taken) {
            if let Item::Publish(packed) = item
                && let Some(message) = packed.message(&self.batch.bytes)
                && !take(&message)
            {
                return false;
            }
            self.taken += 1;
        }
        true
    }
}

fn connect(doorbell: &Arc<Doorbell>, own: &Arc<Doorbell>) -> (ShardEnd, NodesEnd) {
    let (to, from) = ring(RING_BATCHES);
    let (nodes, ends) = (0..NODES_MAX).map(|_| connect_node()).unzip();
    let (owners, owners_end) = OwnersLink::connect();
    let theirs = NodesEnd {
        from,
        to: ends,
        known: 0,
        owners: owners_end,
        doorbell: Arc::clone(own),
    };
    let ours = ShardEnd {
        doorbell: Arc::clone(doorbell),
        to,
        waiting: VecDeque::new(),
        nodes,
        owners,
    };
    (ours, theirs)
}

fn connect_node() -> (NodeEnd, ToNode) {
    let (producer, consumer) = ring(RING_BATCHES);
    let (taken, accepted) = (Arc::default(), Arc::default());
    let lost = Arc::<Lost>::default();
    let theirs = ToNode {
        ring: producer,
        taken: Arc::clone(&taken),
        lost: Arc::clone(&lost),
        taken_seen: 0,
        accepted: Arc::clone(&accepted),
    };
    let ours = NodeEnd {
        from: consumer,
        current: None,
        taken,
        lost,
        accepted,
        accepted_seen: 0,
        order: VecDeque::new(),
    };
    (ours, theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_messages_are_logged_once_a_minute_at_most_and_none_is_left_out() {
        let mut refused = Refused::default();
        assert_eq!(refused.take_news(0, 5), None);
        assert_eq!(refused.take_news(3, 10), Some(3));
        assert_eq!(refused.take_news(9, 60_009), None);
        assert_eq!(refused.take_news(10, 60_010), Some(7));
        assert_eq!(refused.take_news(10, 200_000), None);
    }
}
