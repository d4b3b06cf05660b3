//! An eventfd.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
};

/// What a sleeping shard waits for.
#[derive(Debug)]
pub(super) struct Bell {
    eventfd: File,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened this descriptor for us; nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            eventfd: File::from(descriptor),
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Makes the eventfd readable.
    pub(super) fn strike(&self) {
        // It fails only when the counter is at its end, and then the eventfd is readable.
        let _ = (&self.eventfd).write(&1_u64.to_ne_bytes());
    }

    /// Makes the eventfd unreadable.
    pub(super) fn silence(&self) {
        // It fails only when the counter is zero, and then the eventfd is unreadable.
        let _ = (&self.eventfd).read(&mut [0; 8]);
    }
}
