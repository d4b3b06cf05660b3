//! A shard's way to the store and back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::change::Commit;

/// Commits on their way from one shard to the store.
const COMMITS_UNDER_WAY: usize = 1024;

/// What the store thread says of itself.
#[derive(Debug, Default)]
pub(crate) struct Health {
    pub(crate) full: AtomicBool,
    /// The database finds no room.
    pub(crate) no_room: AtomicBool,
    /// How many times it was said that nobody should wait for the disk any longer.
    pub(crate) stuck: AtomicU32,
}

/// What the store thread says to one shard.
#[derive(Debug, Default)]
struct Progress {
    /// The number of the last commit that counts as stored.
    committed: AtomicU64,
    /// Bytes of the commits up to that one.
    bytes: AtomicU64,
}

/// A shard's way to the store and back. Owned by the shard's engine.
///
/// Commits that were sent are stored if [`StoreLink::ring`] is called until
/// [`StoreLink::has_backlog`] is false, also when the store is stopped right after that.
#[derive(Debug)]
pub struct StoreLink {
    commits: Producer<Box<Commit>>,
    /// Commits that found no room.
    backlog: VecDeque<Box<Commit>>,
    store: Arc<Doorbell>,
    progress: Arc<Progress>,
    health: Arc<Health>,
    /// The committed number as last read.
    seen: u64,
    /// What was read last of the store's health.
    seen_full: bool,
    seen_stuck: u32,
    /// Bytes of all commits that were sent.
    bytes: u64,
    sent: bool,
}

impl StoreLink {
    /// Hands over a commit. The numbers of a shard's commits count up from 1.
    pub fn send(&mut self, commit: Commit) {
        self.bytes += commit.bytes as u64;
        self.backlog.push_back(Box::new(commit));
        self.sent = true;
    }

    /// Wakes the store if there is something for it.
    pub fn ring(&mut self) {
        let mut pushed = std::mem::take(&mut self.sent);
        while let Some(commit) = self.backlog.pop_front() {
            if let Err(commit) = self.commits.push(commit) {
                self.backlog.push_front(commit);
                break;
            }
            pushed = true;
        }
        if pushed {
            self.store.ring();
        }
    }

    /// The number of the last commit that counts as stored, with all before it.
    pub fn committed(&mut self) -> u64 {
        self.seen_full = self.health.full.load(Ordering::Relaxed);
        self.seen = self.progress.committed.load(Ordering::Acquire);
        self.seen
    }

    /// Whether nothing was stored, and the disk is as full as it was, since
    /// [`StoreLink::committed`] and [`StoreLink::is_stuck`].
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.progress.committed.load(Ordering::Acquire) == self.seen
            && self.health.full.load(Ordering::Relaxed) == self.seen_full
            && self.health.stuck.load(Ordering::Relaxed) == self.seen_stuck
    }

    /// Whether commits find no room on the disk for so long that nobody should wait for them
    /// any longer. True once, and again when that has lasted as long again.
    pub fn is_stuck(&mut self) -> bool {
        let stuck = self.health.stuck.load(Ordering::Relaxed);
        std::mem::replace(&mut self.seen_stuck, stuck) != stuck
    }

    /// Whether commits wait for room.
    #[must_use]
    pub fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Bytes of the commits that are sent and do not count as stored.
    #[must_use]
    pub fn bytes_under_way(&self) -> u64 {
        self.bytes - self.progress.bytes.load(Ordering::Relaxed)
    }

    /// Whether the disk is full: then no new messages are to be stored, while what frees
    /// something is welcome.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.health.full.load(Ordering::Relaxed)
    }
}

/// One shard, as the store sees it.
#[derive(Debug)]
pub(crate) struct Source {
    commits: Consumer<Box<Commit>>,
    progress: Arc<Progress>,
    doorbell: Arc<Doorbell>,
    /// The last commit that was taken, and its bytes with those before it.
    taken: u64,
    bytes: u64,
    confirmed: u64,
}

impl Source {
    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Takes the next commit.
    pub(crate) fn take(&mut self) -> Option<Box<Commit>> {
        let commit = self.commits.pop()?;
        self.taken = commit.number;
        self.bytes += commit.bytes as u64;
        Some(commit)
    }

    /// Says to the shard that everything taken so far counts as stored.
    pub(crate) fn confirm(&mut self) {
        if self.taken == self.confirmed {
            return;
        }
        self.confirmed = self.taken;
        self.progress.bytes.store(self.bytes, Ordering::Relaxed);
        self.progress.committed.store(self.taken, Ordering::Release);
        self.doorbell.ring();
    }

    /// Lets the shard look at what has changed.
    pub(crate) fn wake(&self) {
        self.doorbell.ring();
    }
}

/// Makes the two ends of the way between a shard and the store.
pub(crate) fn link(
    shard: &Arc<Doorbell>,
    store: &Arc<Doorbell>,
    health: &Arc<Health>,
) -> (StoreLink, Source) {
    let (producer, consumer) = ring(COMMITS_UNDER_WAY);
    let progress = Arc::new(Progress::default());
    let link = StoreLink {
        commits: producer,
        backlog: VecDeque::new(),
        store: Arc::clone(store),
        progress: Arc::clone(&progress),
        health: Arc::clone(health),
        seen: 0,
        seen_full: false,
        seen_stuck: 0,
        bytes: 0,
        sent: false,
    };
    let source = Source {
        commits: consumer,
        progress,
        doorbell: Arc::clone(shard),
        taken: 0,
        bytes: 0,
        confirmed: 0,
    };
    (link, source)
}
