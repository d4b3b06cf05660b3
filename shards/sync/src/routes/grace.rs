//! When memory that readers could reach may be used again.
//!
//! The writer counts epochs. A reader publishes the epoch that it saw before it looks at
//! anything ([`Reader::pin`]) and takes it back when it is done. What the writer unlinks in
//! epoch `e` it keeps until no reader is pinned in an epoch up to `e`.
//!
//! ```text
//!   reader                            writer
//!   pinned = epoch                    unlink x, note the epoch
//!   fence(SeqCst)                     epoch + 1
//!   follow links                      fence(SeqCst)
//!   pinned = IDLE                     all pinned beyond the noted epoch? reuse x
//! ```
//!
//! If the reader's fence is the first, the writer sees it pinned. If the writer's is, the
//! reader does not find the link to x any more. A reader that is pinned in a later epoch has
//! read that epoch after x was unlinked.
//!
//! This is what crossbeam-epoch does, without what one writer can do without: readers never
//! free memory, collect garbage or help each other.

use std::collections::VecDeque;

use crate::shim::{Arc, AtomicU64, CachePadded, Mutex, Ordering, fence};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

/// The epoch of a reader that looks at nothing.
const IDLE: u64 = u64::MAX;

/// The epoch of the writer and those of all readers.
#[derive(Debug)]
pub(super) struct Grace {
    epoch: CachePadded<AtomicU64>,
    /// Taken when a reader comes or goes and when the writer reclaims, never to read.
    readers: Mutex<Vec<Arc<CachePadded<AtomicU64>>>>,
}

/// One thread's right to look.
#[derive(Debug)]
pub(super) struct Reader {
    grace: Arc<Grace>,
    pinned: Arc<CachePadded<AtomicU64>>,
}

/// While it lives, nothing that its reader can find is used for something else.
#[derive(Debug)]
pub(super) struct Pin<'a> {
    pinned: &'a AtomicU64,
}

impl Grace {
    pub(super) fn new() -> Self {
        Self {
            epoch: CachePadded(AtomicU64::new(0)),
            readers: Mutex::new(Vec::new()),
        }
    }

    /// The epoch to note for what is unlinked. For the writer only.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.0.load(Ordering::Relaxed)
    }

    /// Starts the next epoch and returns the first one that a reader may still be in: what
    /// was unlinked before it may be used again. For the writer only.
    pub(super) fn advance(&self) -> u64 {
        let next = self.epoch() + 1;
        // Release: a reader that sees this epoch sees everything that was unlinked before.
        self.epoch.0.store(next, Ordering::Release);
        fence(Ordering::SeqCst);
        // Acquire: whoever unpinned has done its reads before we write there.
        self.with_readers(|readers| {
            readers
                .iter()
                .map(|pinned| pinned.0.load(Ordering::Acquire))
                .fold(next, u64::min)
        })
    }

    fn with_readers<R>(&self, visit: impl FnOnce(&mut Vec<Arc<CachePadded<AtomicU64>>>) -> R) -> R {
        // The list is whole at any time, so a thread that panicked with the lock spoilt nothing.
        let mut readers = self
            .readers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        visit(&mut readers)
    }
}

impl Reader {
    pub(super) fn new(grace: Arc<Grace>) -> Self {
        let pinned = Arc::new(CachePadded(AtomicU64::new(IDLE)));
        grace.with_readers(|readers| readers.push(pinned.clone()));
        Self { grace, pinned }
    }

    /// Keeps what can be found as it is, until the pin is dropped. The exclusive borrow is
    /// what makes the pin the only one of this reader.
    pub(super) fn pin(&mut self) -> Pin<'_> {
        let epoch = self.grace.epoch.0.load(Ordering::Acquire);
        // Release: a writer that sees this pin, and so not the end of an earlier one, knows
        // that the reads under the earlier one are done.
        self.pinned.0.store(epoch, Ordering::Release);
        fence(Ordering::SeqCst);
        Pin {
            pinned: &self.pinned.0,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.grace
            .with_readers(|readers| readers.retain(|pinned| !Arc::ptr_eq(pinned, &self.pinned)));
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.pinned.store(IDLE, Ordering::Release);
    }
}

/// What was unlinked and may still be seen, oldest first. It belongs to the writer.
#[derive(Debug)]
pub(super) struct Limbo<T> {
    unlinked: VecDeque<(u64, T)>,
}

impl<T> Default for Limbo<T> {
    fn default() -> Self {
        Self {
            unlinked: VecDeque::new(),
        }
    }
}

impl<T> Limbo<T> {
    /// Keeps what was unlinked in `epoch`.
    pub(super) fn keep(&mut self, epoch: u64, item: T) {
        self.unlinked.push_back((epoch, item));
    }

    /// Takes out one item that was unlinked before `epoch`.
    pub(super) fn take_before(&mut self, epoch: u64) -> Option<T> {
        let (unlinked, _) = self.unlinked.front()?;
        if *unlinked < epoch {
            self.unlinked.pop_front().map(|(_, item)| item)
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.unlinked.len()
    }

    /// What is kept.
    #[cfg(all(test, not(loom)))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.unlinked.iter().map(|(_, item)| item)
    }
}
