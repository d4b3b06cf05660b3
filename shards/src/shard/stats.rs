//! Counters of one shard.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one shard: written by the shard, read by anybody.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stats {
    /// Network connections that are open.
    pub connections: Counter,
    /// Sessions, connected or not.
    pub sessions: Counter,
    /// PUBLISH packets taken from clients.
    pub received: Counter,
    /// PUBLISH packets given to clients.
    pub sent: Counter,
    /// Messages dropped: a queue, an output buffer or a ring was full.
    pub dropped: Counter,
    /// Connections closed because the client broke the protocol.
    pub protocol_errors: Counter,
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owner calls this: no read-modify-write on shared memory.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Sets the value.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
