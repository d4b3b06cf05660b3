//! How a shard that sleeps learns that something was pushed to it.
//!
//! A shard looks into its rings in every turn, so nobody has to tell it anything while it is
//! awake: a push costs one load of [`Doorbell`]'s flag. Only when the flag says that the
//! shard is parked, one of those who pushed writes to its eventfd, which ends its sleep.
//!
//! ```text
//!   sleeper                        pusher
//!   parked = true                  push
//!   fence(SeqCst)                  fence(SeqCst)
//!   every ring empty? then sleep   parked? then parked = false and write the eventfd
//! ```
//!
//! The two fences have an order. If the sleeper's is first, the pusher sees the flag; if the
//! pusher's is first, the sleeper sees what was pushed. So no push is slept through.

use std::io;
#[cfg(not(loom))]
use std::os::fd::{BorrowedFd, RawFd};

use crate::shim::{AtomicBool, CachePadded, Ordering, fence};

use self::bell::Bell;

#[cfg_attr(loom, path = "doorbell/loom_bell.rs")]
mod bell;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

/// The doorbell of one shard. The shard alone parks and drains; everybody rings.
#[derive(Debug)]
pub struct Doorbell {
    /// Whether the shard sleeps, or is about to.
    parked: CachePadded<AtomicBool>,
    bell: Bell,
}

impl Doorbell {
    /// A doorbell of a shard that is awake. Fails when the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            parked: CachePadded(AtomicBool::new(false)),
            bell: Bell::new()?,
        })
    }

    /// The eventfd to wait for while parked: readable after [`Self::ring`] ended a sleep. It
    /// is open as long as the doorbell.
    #[cfg(not(loom))]
    pub fn fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// The same eventfd, for as long as the doorbell is borrowed.
    #[cfg(not(loom))]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Wakes the shard if it sleeps. To be called after something was pushed to it; one call
    /// for many pushes is enough.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.parked.0.load(Ordering::SeqCst) && self.parked.0.swap(false, Ordering::SeqCst) {
            self.bell.strike();
        }
    }

    /// Announces that the shard is going to sleep, then asks once more whether there is
    /// really nothing to do. Returns whether it may sleep; if not, it is not parked.
    ///
    /// `is_empty` has to look at everything that comes with a [`Self::ring`].
    pub fn park(&self, is_empty: impl Fn() -> bool) -> bool {
        // A swap, because it reads the last swap of those who rang and so comes after all of
        // them in the order of the flag's values; a store would leave that order open.
        self.parked.0.swap(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let may_sleep = is_empty();
        if !may_sleep {
            self.unpark();
        }
        may_sleep
    }

    /// Says that the shard is awake, for whatever reason. To be called after each sleep.
    pub fn unpark(&self) {
        self.parked.0.store(false, Ordering::SeqCst);
    }

    /// Makes the eventfd unreadable again. To be called when it was readable, before the
    /// rings are looked at.
    pub fn drain(&self) {
        self.bell.silence();
    }
}
