//! Waiting for the shards on a thread with tokio: that of the links, and that of the HTTP API.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::plane::Plane;

/// Becomes ready when the shards have something.
pub(crate) struct News(AsyncFd<OwnedFd>);

impl News {
    pub(super) fn of(plane: &dyn Plane) -> io::Result<Self> {
        Self::on(plane.news_fd())
    }

    /// The descriptor becomes readable when they do.
    pub(crate) fn on(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let fd = fd.try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` owns an open descriptor and always gives the same one; it is
        // never taken out of the `AsyncFd`.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Waits until they do. They are to be listened to before this is called again.
    pub(crate) async fn come(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
