//! A counter that stands for the eventfd in the proofs. The kernel changes the real one
//! under a lock, so its reads and writes synchronise.

use std::io;

use loom::sync::atomic::{AtomicU64, Ordering};

/// What a sleeping shard waits for.
#[derive(Debug)]
pub(super) struct Bell {
    count: AtomicU64,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let count = AtomicU64::new(0);
        Ok(Self { count })
    }

    pub(super) fn strike(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn silence(&self) {
        self.count.swap(0, Ordering::AcqRel);
    }

    /// Sleeps until it is struck, as a shard does in its ring. Loom fails a test in which
    /// nobody strikes any more.
    #[cfg(test)]
    pub(super) fn wait(&self) {
        while self.count.load(Ordering::Acquire) == 0 {
            loom::thread::yield_now();
        }
    }
}
