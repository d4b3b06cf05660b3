//! What the store needs of a storage library, and no more.

mod file;
mod redb;

use std::fmt;
use std::io::{self, ErrorKind};

use crate::codec::Damaged;
use crate::codec::key::Key;

pub(crate) use file::DiskFile;
pub(crate) use redb::Redb;

/// One change of a commit.
#[derive(Debug)]
pub(crate) enum Op<'a> {
    /// Stores a value in place of an earlier one.
    Put(&'a Key, &'a [u8]),
    /// Takes a record away if it is there.
    Delete(Key),
    /// Takes away all from the first key up to and without the second.
    DeleteRange(Key, Key),
}

/// Called with each record.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Damaged> + 'a;

/// Records in the order of their keys, on a disk.
pub(crate) trait Disk: Send {
    /// Makes all of the changes or none. When this returns, they outlive a power loss.
    fn commit(&mut self, ops: &mut dyn Iterator<Item = Op<'_>>) -> Result<(), DiskError>;

    /// The value of a record.
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, DiskError>;

    /// Visits every record, in order.
    fn scan(&self, visit: &mut Visit<'_>) -> Result<(), DiskError>;

    /// How many records there are.
    fn records(&self) -> Result<u64, DiskError>;

    /// Moves records together and gives space back. Takes as long as there is much to move.
    fn compact(&mut self) -> Result<(), DiskError>;
}

/// What a disk cannot do.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// There is no room. Nothing of the commit is on the disk, or all of it, unsaid.
    Full(io::Error),
    /// The disk or the file system failed.
    Failed(io::Error),
    /// What is there was not written by this program, or not as it is now.
    Damaged(String),
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error),
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            _ => Self::Failed(error),
        }
    }
}

impl From<Damaged> for DiskError {
    fn from(Damaged(what): Damaged) -> Self {
        Self::Damaged(what.to_owned())
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(error) | Self::Failed(error) => error.fmt(out),
            Self::Damaged(what) => out.write_str(what),
        }
    }
}
