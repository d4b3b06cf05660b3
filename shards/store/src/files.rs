//! The files of a store: the database, and those of its log.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::StorageBackend;

use crate::ballast::Ballast;
use crate::disk::{Disk, DiskError, DiskFile, Redb};
use crate::log::{self, FILES};
use crate::space;

/// The name of the database in the data folder.
pub(crate) const DATABASE: &str = "store.redb";
/// The names of the files of the log.
pub(crate) const LOGS: [&str; FILES] = ["store.log.0", "store.log.1"];

/// Where a store has its files.
pub(crate) trait Files: Send + Sync {
    /// Opens the database, as at start or after the disk was full.
    fn database(&self) -> Result<Box<dyn Disk>, DiskError>;

    /// A file of the log; nothing if it is not there.
    fn log(&self, index: usize) -> io::Result<Option<Box<dyn StorageBackend>>>;

    /// A file of the log for new records, of so many bytes or more that are on the disk.
    fn make_log(&self, index: usize, bytes: u64) -> io::Result<Box<dyn StorageBackend>>;
}

/// Files in a data folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    cache_bytes: usize,
    ballast: Arc<Ballast>,
}

impl Folder {
    pub(crate) fn new(path: &Path, cache_bytes: usize, ballast: &Arc<Ballast>) -> Self {
        Self {
            path: path.to_owned(),
            cache_bytes,
            ballast: Arc::clone(ballast),
        }
    }
}

impl Files for Folder {
    fn database(&self) -> Result<Box<dyn Disk>, DiskError> {
        let file = DiskFile::open(&self.path.join(DATABASE))?.over(&self.ballast);
        let disk = Redb::open(file, self.cache_bytes)?;
        Ok(Box::new(disk))
    }

    fn log(&self, index: usize) -> io::Result<Option<Box<dyn StorageBackend>>> {
        match DiskFile::open(&self.path.join(LOGS[index])) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_log(&self, index: usize, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.path.join(LOGS[index]);
        let file = match DiskFile::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => DiskFile::create(&path)?,
            file => file?,
        };
        let length = file.len()?;
        // A hole would have to be filled by a write that somebody waits for.
        let whole = length - length % log::BLOCK as u64;
        let from = if space::taken(&path)? < length {
            0
        } else {
            whole
        };
        log::lengthen(&file, from, bytes.max(whole), |_| Ok(()))?;
        file.set_len(bytes.max(whole))?;
        file.sync()?;
        File::open(&self.path)?.sync_all()?;
        Ok(Box::new(file))
    }
}
