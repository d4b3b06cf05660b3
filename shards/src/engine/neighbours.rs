//! The rings between the shards of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::nodes::{Lost, OwnersEnd};
use crate::operator::OperatorEnd;
use crate::shard::Batch;

/// The ends of the rings that one shard holds, by the number of the other shard; its own
/// place is empty.
pub(crate) struct Neighbours {
    pub(super) own: Arc<Doorbell>,
    pub(super) to: Vec<Option<Outward>>,
    pub(super) from: Vec<Option<Consumer<Box<Batch>>>>,
    /// The thread with the links to other nodes. `None` where there is no cluster.
    pub(crate) nodes: Option<NodesEnd>,
    /// The thread that serves operators.
    pub(crate) operator: Option<OperatorEnd>,
}

/// A shard's end of what leads to the other nodes and comes from them.
pub(crate) struct NodesEnd {
    /// What comes, with the number of its node.
    pub(crate) from: Consumer<(u16, Box<Batch>)>,
    /// By node.
    pub(crate) to: Vec<ToNode>,
    /// Only nodes below have ever been there.
    pub(crate) known: usize,
    /// Who has which client identifier.
    pub(crate) owners: OwnersEnd,
    /// Of the thread with the links.
    pub(crate) doorbell: Arc<Doorbell>,
}

/// A shard's end of what leads to one node.
pub(crate) struct ToNode {
    pub(crate) ring: Producer<Box<Batch>>,
    /// Of this shard's messages, those that the node has accepted. Written by the thread with
    /// the links.
    pub(crate) taken: Arc<AtomicU64>,
    /// Of those, the ones that were lost with the node: said before they are counted.
    pub(crate) lost: Arc<Lost>,
    /// As last read.
    pub(crate) taken_seen: u64,
    /// Of the node's messages, those that this shard has accepted. Written by the shard.
    pub(crate) accepted: Arc<AtomicU64>,
}

/// The way to one other shard.
pub(super) struct Outward {
    pub(super) ring: Producer<Box<Batch>>,
    pub(super) doorbell: Arc<Doorbell>,
}

impl Neighbours {
    /// Connects `doorbells.len()` shards with each other.
    pub(crate) fn connect(doorbells: &[Arc<Doorbell>], ring_batches: usize) -> Vec<Self> {
        let count = doorbells.len();
        let mut all: Vec<Self> = doorbells
            .iter()
            .map(|own| Self {
                own: Arc::clone(own),
                to: (0..count).map(|_| None).collect(),
                from: (0..count).map(|_| None).collect(),
                nodes: None,
                operator: None,
            })
            .collect();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let (producer, consumer) = ring(ring_batches);
                let doorbell = Arc::clone(&doorbells[to]);
                all[from].to[to] = Some(Outward {
                    ring: producer,
                    doorbell,
                });
                all[to].from[from] = Some(consumer);
            }
        }
        all
    }

    /// Whether nothing has arrived from any shard.
    pub(super) fn is_empty(&self) -> bool {
        let nodes = self.nodes.as_ref();
        let operator = self.operator.as_ref();
        self.from.iter().flatten().all(Consumer::is_empty)
            && nodes.is_none_or(NodesEnd::is_empty)
            && operator.is_none_or(|operator| operator.from.is_empty())
    }
}

impl NodesEnd {
    /// Whether nothing has come from any node, and none has taken more.
    pub(super) fn is_empty(&self) -> bool {
        let mut known = self.to.iter().take(self.known);
        let quiet = |to: &ToNode| to.taken.load(Ordering::Acquire) == to.taken_seen;
        self.from.is_empty() && self.owners.from.is_empty() && known.all(quiet)
    }
}
