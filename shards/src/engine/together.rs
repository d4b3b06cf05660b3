//! What the shards of a node do together: begin to serve when all of them have what was
//! stored, and end when none has anything left for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shard_sync::Doorbell;

use super::Engine;

/// How long a shard that is done waits for the others to be, in milliseconds.
const LAST_WORDS_MS: u64 = 3000;

/// How far the shards of a node are. Shared by their engines.
#[derive(Debug)]
pub(crate) struct Together {
    doorbells: Vec<Arc<Doorbell>>,
    restored: AtomicUsize,
    ended: AtomicUsize,
}

impl Together {
    pub(crate) fn new(doorbells: &[Arc<Doorbell>]) -> Self {
        Self {
            doorbells: doorbells.to_vec(),
            restored: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        }
    }

    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }

    fn all(&self, counter: &AtomicUsize) -> bool {
        counter.load(Ordering::SeqCst) >= self.doorbells.len()
    }
}

/// How far one shard is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// It takes what was stored.
    Restoring,
    /// It has it; others may not.
    Restored,
    /// Clients can connect.
    Serving,
    /// Its connections have ended, at this time.
    Ended(u64),
}

impl Engine {
    /// Whether all shards have what was stored.
    pub(super) fn are_restored(&mut self) -> bool {
        if self.stage == Stage::Restoring && self.shard.is_restored() {
            self.stage = Stage::Restored;
            self.together.count(&self.together.restored);
        }
        self.together.all(&self.together.restored)
    }

    /// Whether all connections of all shards have ended and nothing is left for the others or
    /// the store.
    pub(super) fn are_finished(&mut self) -> bool {
        if !self.stopping || self.sockets.len() > 0 {
            return false;
        }
        if !matches!(self.stage, Stage::Ended(_)) {
            self.stage = Stage::Ended(self.now_ms);
            self.together.count(&self.together.ended);
        }
        let stored = self.store.as_ref().is_none_or(|store| !store.has_backlog());
        let given = self.neighbours.is_empty() && !self.shard.has_node_batch();
        let settled = given && self.shard.is_settled();
        let waited = match self.stage {
            Stage::Ended(since) => self.now_ms.saturating_sub(since) > LAST_WORDS_MS,
            _ => false,
        };
        stored && (waited || settled && self.together.all(&self.together.ended))
    }

    /// Whether the other shards have not come further than this one has seen.
    pub(super) fn others_are_quiet(&self) -> bool {
        match self.stage {
            Stage::Restored => !self.together.all(&self.together.restored),
            Stage::Ended(_) => !self.together.all(&self.together.ended),
            Stage::Restoring | Stage::Serving => true,
        }
    }

    /// When a shard that has ended looks again whether all have, in milliseconds.
    pub(super) fn end_due_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Ended(since) => Some((since + LAST_WORDS_MS + 1).min(self.now_ms + 5)),
            _ => None,
        }
    }
}
