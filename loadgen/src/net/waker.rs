//! Waking a thread that sleeps in its ring.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use super::system;

/// Shared by the thread that sleeps and those that wake it. Created before any thread leaves
/// the common descriptor table, so that the eventfd has the same number in all of them.
#[derive(Debug)]
pub struct Waker {
    eventfd: OwnedFd,
    /// The owner sleeps, or is about to: a waker has to write the eventfd.
    parked: AtomicBool,
    /// There is something to look at.
    signalled: AtomicBool,
}

impl Waker {
    /// A waker for one thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            eventfd: system::eventfd()?,
            parked: AtomicBool::new(false),
            signalled: AtomicBool::new(false),
        })
    }

    /// Makes the owner look; what it should see was stored before this call.
    pub fn wake(&self) {
        self.signalled.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.parked.swap(false, Ordering::SeqCst) {
            system::signal_eventfd(&self.eventfd);
        }
    }

    /// By the owner: takes the signal, if there is one.
    #[inline]
    pub fn take_signal(&self) -> bool {
        self.signalled.load(Ordering::Relaxed) && self.signalled.swap(false, Ordering::SeqCst)
    }

    /// By the owner: announces sleep; false when it must not sleep.
    pub(super) fn park(&self) -> bool {
        self.parked.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.signalled.load(Ordering::SeqCst) {
            self.parked.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// By the owner: it runs again.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::SeqCst);
    }

    /// For polling in the owner's ring.
    pub(super) fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// By the owner: makes the eventfd quiet again.
    pub(super) fn drain(&self) {
        system::drain_eventfd(&self.eventfd);
    }
}
