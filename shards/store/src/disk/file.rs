//! The file under the database.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use redb::StorageBackend;

/// A file that only its owner may read.
#[derive(Debug)]
pub(crate) struct DiskFile(File);

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
        unsafe { libc::posix_fadvise(file.0.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        Ok(file)
    }

    fn with(options: &mut OpenOptions, path: &Path) -> io::Result<Self> {
        let options = options.read(true).write(true).mode(0o600);
        options.open(path).map(Self)
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
