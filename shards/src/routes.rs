//! Between the shards and the one writer of the route index.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_sync::routes::{Destination, RouteReader, RouteWriter, Sweep, route_index};
use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::shard::RouteChange;

mod batch;
#[cfg(test)]
mod tests;

pub(crate) use batch::{NodeOrder, RouteBatch, RouteCopy};

/// A shard's way to the route writer and back. Owned by the shard's engine.
pub(crate) struct RouteLink {
    changes: Producer<RouteChange>,
    /// Changes that found no room.
    backlog: VecDeque<RouteChange>,
    writer: Arc<Doorbell>,
    /// Changes of this shard that are applied: written by the route writer.
    applied: Arc<AtomicU64>,
    /// As last read.
    seen: u64,
}

impl RouteLink {
    /// Hands over a change.
    pub(crate) fn send(&mut self, change: RouteChange) {
        self.backlog.push_back(change);
    }

    /// Passes on what there is room for, and wakes the writer if that is anything: it may have
    /// gone to sleep since changes found no room.
    pub(crate) fn ring(&mut self) {
        let waiting = self.backlog.len();
        while let Some(change) = self.backlog.pop_front() {
            if let Err(change) = self.changes.push(change) {
                self.backlog.push_front(change);
                break;
            }
        }
        if self.backlog.len() < waiting {
            self.writer.ring();
        }
    }

    /// How many changes of this shard are applied.
    pub(crate) fn applied(&mut self) -> u64 {
        self.seen = self.applied.load(Ordering::Acquire);
        self.seen
    }

    /// Whether the writer has applied nothing since [`RouteLink::applied`].
    pub(crate) fn is_quiet(&self) -> bool {
        self.applied.load(Ordering::Acquire) == self.seen
    }

    /// Whether changes wait for room.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }
}

/// Changes on their way from one shard to the writer.
const CHANGES_UNDER_WAY: usize = 4096;

/// Changes applied for one shard before the next one's turn.
const CHANGES_AT_ONCE: usize = 256;

/// Batches of changes on their way from the thread with the links to the writer.
const ORDERS_UNDER_WAY: usize = 64;

/// Records of the index that are looked at for routes that are to go, before it is others' turn.
/// If there is nothing to do that is 20 µs, and 1 ms if each has such a route.
const RECORDS_AT_ONCE: u32 = 2048;

/// The way of the thread with the links to the route writer and back.
pub(crate) struct NodeRoutes {
    /// Routes of other nodes.
    pub(crate) orders: Producer<NodeOrder>,
    /// Those of this node's shards, as they are applied.
    pub(crate) own: Consumer<RouteChange>,
    pub(crate) writer: Arc<Doorbell>,
}

/// Routes of other nodes, as the writer sees them.
struct Nodes {
    orders: Consumer<NodeOrder>,
    /// Copies whose routes are being removed, oldest first.
    forgotten: VecDeque<(RouteCopy, Sweep)>,
    own: Producer<RouteChange>,
    /// Changes that found no room in `own`.
    backlog: VecDeque<RouteChange>,
    /// Of the thread with the links.
    doorbell: Arc<Doorbell>,
}

/// What [`start`] gives: for each shard, in order, a reader and a link to the writer, and what
/// the thread with the links gets.
pub(crate) type Links = (Vec<(RouteReader, RouteLink)>, Option<NodeRoutes>);

/// Makes the route index of a node and starts its writer. `nodes`: the doorbell of the thread
/// with the links to other nodes. Without it, one shard gets nothing: it needs no routes to
/// itself.
pub(crate) fn start(
    shards: usize,
    seed: u64,
    doorbells: &[Arc<Doorbell>],
    nodes: Option<&Arc<Doorbell>>,
) -> io::Result<Links> {
    if shards < 2 && nodes.is_none() {
        return Ok((Vec::new(), None));
    }
    let (index, reader) = route_index(seed);
    let own = Arc::new(Doorbell::new()?);
    let (mut links, mut sources) = (Vec::new(), Vec::new());
    for (shard, doorbell) in doorbells.iter().enumerate() {
        let (producer, consumer) = ring(CHANGES_UNDER_WAY);
        let applied = Arc::new(AtomicU64::new(0));
        let link = RouteLink {
            changes: producer,
            backlog: VecDeque::new(),
            writer: Arc::clone(&own),
            applied: Arc::clone(&applied),
            seen: 0,
        };
        links.push((reader.clone(), link));
        sources.push(Source {
            destination: Destination::Shard(u8::try_from(shard).unwrap_or(u8::MAX)),
            changes: consumer,
            applied,
            doorbell: Arc::clone(doorbell),
        });
    }
    let (node_routes, nodes) = nodes.map(|bell| connect_nodes(&own, bell)).unzip();
    let writer = Writer {
        index,
        own,
        sources,
        nodes,
    };
    std::thread::Builder::new()
        .name("routes".to_owned())
        .spawn(move || writer.run())?;
    Ok((links, node_routes))
}

fn connect_nodes(writer: &Arc<Doorbell>, doorbell: &Arc<Doorbell>) -> (NodeRoutes, Nodes) {
    let (orders, from_nodes) = ring(ORDERS_UNDER_WAY);
    let (to_nodes, own) = ring(CHANGES_UNDER_WAY);
    let theirs = NodeRoutes {
        orders,
        own,
        writer: Arc::clone(writer),
    };
    let ours = Nodes {
        orders: from_nodes,
        forgotten: VecDeque::new(),
        own: to_nodes,
        backlog: VecDeque::new(),
        doorbell: Arc::clone(doorbell),
    };
    (theirs, ours)
}

/// One shard, as the writer sees it.
struct Source {
    destination: Destination,
    changes: Consumer<RouteChange>,
    applied: Arc<AtomicU64>,
    doorbell: Arc<Doorbell>,
}

/// The only one that changes the route index. Has a thread of its own, which ends with the
/// process.
struct Writer {
    index: RouteWriter,
    own: Arc<Doorbell>,
    sources: Vec<Source>,
    /// `None` where there is no cluster.
    nodes: Option<Nodes>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let mut idle = true;
            for source in &mut self.sources {
                idle &= !source.apply(&mut self.index, self.nodes.as_mut());
            }
            if let Some(nodes) = &mut self.nodes {
                idle &= !nodes.apply(&mut self.index);
            }
            if idle {
                self.sleep();
            }
        }
    }

    fn sleep(&self) {
        let (sources, nodes) = (&self.sources, &self.nodes);
        let is_empty = || {
            sources.iter().all(|source| source.changes.is_empty())
                && nodes.as_ref().is_none_or(|nodes| nodes.orders.is_empty())
        };
        // What finds no room at the thread with the links is offered again: it does not ring.
        let backlog = nodes
            .as_ref()
            .is_some_and(|nodes| !nodes.backlog.is_empty());
        let timeout_ms = if backlog { 1 } else { -1 };
        if self.own.park(is_empty) {
            let mut poll = libc::pollfd {
                fd: self.own.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
            self.own.drain();
        }
        self.own.unpark();
    }
}

impl Source {
    /// Applies changes of this shard; false when there were none.
    fn apply(&mut self, index: &mut RouteWriter, mut nodes: Option<&mut Nodes>) -> bool {
        let mut count = 0;
        while count < CHANGES_AT_ONCE
            && let Some(change) = self.changes.pop()
        {
            apply(index, &change, self.destination);
            let is_for_nodes =
                !matches!(change, RouteChange::AddHere(_) | RouteChange::RemoveHere(_));
            if let Some(nodes) = nodes.as_mut().filter(|_| is_for_nodes) {
                nodes.backlog.push_back(change);
            }
            count += 1;
        }
        if count > 0 {
            // First the other nodes: whoever has seen the SUBACK may publish on one of them.
            if let Some(nodes) = nodes {
                nodes.pass_on();
            }
            self.applied.fetch_add(count as u64, Ordering::Release);
            self.doorbell.ring();
        }
        count > 0
    }
}

impl Nodes {
    /// Gives the thread with the links what there is room for; false when that is nothing.
    fn pass_on(&mut self) -> bool {
        let waiting = self.backlog.len();
        while let Some(change) = self.backlog.pop_front() {
            if let Err(change) = self.own.push(change) {
                self.backlog.push_front(change);
                break;
            }
        }
        let has_passed = self.backlog.len() < waiting;
        if has_passed {
            self.doorbell.ring();
        }
        has_passed
    }

    /// Applies changes of other nodes' routes and passes those of this one's on; false when
    /// there is nothing to do.
    fn apply(&mut self, index: &mut RouteWriter) -> bool {
        let order = self.orders.pop();
        let has_order = order.is_some();
        match order {
            Some(NodeOrder::Changes(batch)) => self.change(index, &batch),
            Some(NodeOrder::Forget(copy)) => {
                let destination = Destination::Node(copy.number());
                self.forgotten.push_back((copy, Sweep::new([destination])));
            }
            // It comes back behind what the shards have changed before.
            Some(NodeOrder::Fence) => self.backlog.push_back(RouteChange::Fence),
            None => {}
        }
        let is_sweeping = self.sweep(index);
        let has_passed = self.pass_on();
        if has_order && !has_passed {
            self.doorbell.ring();
        }
        has_order || is_sweeping || has_passed
    }

    fn change(&mut self, index: &mut RouteWriter, batch: &RouteBatch) {
        let copy = batch.copy();
        // Its number is used again before its former routes are gone.
        self.forgotten.retain_mut(|(forgotten, sweep)| {
            let is_in_the_way = *forgotten == copy;
            while is_in_the_way && !index.sweep(sweep, RECORDS_AT_ONCE) {}
            !is_in_the_way
        });
        let destination = Destination::Node(copy.number());
        for (filter, add) in batch.changes() {
            change(index, filter, add, destination);
        }
    }

    /// Removes some of the routes that are to go; false when there are none.
    fn sweep(&mut self, index: &mut RouteWriter) -> bool {
        let Some((_, sweep)) = self.forgotten.front_mut() else {
            return false;
        };
        if index.sweep(sweep, RECORDS_AT_ONCE) {
            self.forgotten.pop_front();
        }
        true
    }
}

fn apply(index: &mut RouteWriter, route: &RouteChange, destination: Destination) {
    match route {
        RouteChange::Add(filter) | RouteChange::AddHere(filter) => {
            change(index, filter, true, destination);
        }
        RouteChange::Remove(filter) | RouteChange::RemoveHere(filter) => {
            change(index, filter, false, destination);
        }
        RouteChange::Announce(_) | RouteChange::Withdraw(_) | RouteChange::Fence => {}
    }
}

fn change(index: &mut RouteWriter, filter: &str, add: bool, destination: Destination) {
    if add {
        // The index is full only beyond two thousand million filters, more than fit into the
        // memory of any machine that this runs on.
        let _ = index.add(filter, destination);
    } else {
        index.remove(filter, destination);
    }
}
