//! The rings between the shards of a node.

use std::sync::Arc;

use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::shard::Batch;

/// The ends of the rings that one shard holds, by the number of the other shard; its own
/// place is empty.
pub(crate) struct Neighbours {
    pub(super) own: Arc<Doorbell>,
    pub(super) to: Vec<Option<Outward>>,
    pub(super) from: Vec<Option<Consumer<Box<Batch>>>>,
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
        self.from.iter().flatten().all(Consumer::is_empty)
    }
}
