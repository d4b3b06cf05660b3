//! The file under the database.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use redb::StorageBackend;

use crate::ballast::Ballast;

/// A file that only its owner may read.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    /// What gives up its room when there is no other.
    ballast: Option<Arc<Ballast>>,
}

impl DiskFile {
    /// Makes a new file; there must be none.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        Self::with(OpenOptions::new().create_new(true), path)
    }

    /// Opens a file that is there. What the page cache has of it is not believed: after an
    /// error of fsync it may have what the disk has not.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = Self::with(&mut OpenOptions::new(), path)?;
        // SAFETY: the descriptor is open, and the call touches no memory of ours. It is a
        // hint: whatever it returns, the file can be read.
        unsafe { libc::posix_fadvise(file.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        Ok(file)
    }

    fn with(options: &mut OpenOptions, path: &Path) -> io::Result<Self> {
        let options = options.read(true).write(true).mode(0o600);
        let file = options.open(path)?;
        let ballast = None;
        Ok(Self { file, ballast })
    }

    /// Brings everything to the disk, its length included.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Lets it have the room of `ballast` when there is no other.
    pub(crate) fn over(mut self, ballast: &Arc<Ballast>) -> Self {
        self.ballast = Some(Arc::clone(ballast));
        self
    }

    /// Does it again if it found no room and there is some now.
    fn with_room(&self, attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let full = |error: &io::Error| {
            matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            )
        };
        let give_up = || self.ballast.as_ref().is_some_and(|held| held.give_up());
        match attempt() {
            Err(error) if full(&error) && give_up() => attempt(),
            result => result,
        }
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with_room(|| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(|| self.file.write_all_at(data, offset))
    }
}
