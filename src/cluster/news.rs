//! Waiting for the shards on the links' thread.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::plane::Plane;

/// Becomes ready when the shards have something.
pub(super) struct News(AsyncFd<OwnedFd>);

impl News {
    pub(super) fn of(plane: &dyn Plane) -> io::Result<Self> {
        let fd = plane.news_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` owns an open descriptor and always gives the same one; it is
        // never taken out of the `AsyncFd`.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Self(fd))
    }

    /// Waits until they do. They are to be listened to before this is called again.
    pub(super) async fn come(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
