//! Between the shards and the one writer of the route index.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard_sync::{Doorbell, Producer};

use crate::shard::RouteChange;

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
    sent: bool,
}

impl RouteLink {
    /// Hands over a change.
    pub(crate) fn send(&mut self, change: RouteChange) {
        self.backlog.push_back(change);
        self.sent = true;
    }

    /// Wakes the writer if there is something for it.
    pub(crate) fn ring(&mut self) {
        while let Some(change) = self.backlog.pop_front() {
            if let Err(change) = self.changes.push(change) {
                self.backlog.push_front(change);
                break;
            }
        }
        if std::mem::take(&mut self.sent) {
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
