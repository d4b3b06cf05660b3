//! redb behind [`Disk`].

use std::io;

use redb::{
    Builder, CommitError, CompactionError, Database, DatabaseError, ReadableDatabase,
    ReadableTable, ReadableTableMetadata, StorageBackend, StorageError, TableDefinition,
    TableError, TransactionError,
};

use super::{Disk, DiskError, Op, Visit};
use crate::codec::key::Key;

/// The one table. Its keys say what a record is.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("shardmq");

/// A database of redb.
#[derive(Debug)]
pub(crate) struct Redb(Database);

impl Redb {
    /// Makes an empty database in an empty file.
    pub(crate) fn create(file: impl StorageBackend, cache_bytes: usize) -> Result<Self, DiskError> {
        let mut database = Self(builder(cache_bytes).create_with_backend(file)?);
        database.commit(&mut std::iter::empty())?;
        Ok(database)
    }

    /// Opens the database in a file and verifies the checksum of every page.
    pub(crate) fn open(file: impl StorageBackend, cache_bytes: usize) -> Result<Self, DiskError> {
        if file.len()? == 0 {
            return Err(DiskError::Damaged("the file is empty".to_owned()));
        }
        let mut builder = builder(cache_bytes);
        builder.set_check_integrity_on_open(true);
        Ok(Self(builder.create_with_backend(file)?))
    }
}

fn builder(cache_bytes: usize) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    builder
}

impl Disk for Redb {
    fn commit(&mut self, ops: &mut dyn Iterator<Item = Op<'_>>) -> Result<(), DiskError> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for op in ops {
                match op {
                    Op::Put(key, value) => drop(table.insert(key.as_slice(), value)?),
                    Op::Delete(key) => drop(table.remove(key.as_slice())?),
                    Op::DeleteRange(first, end) => {
                        table.retain_in(first.as_slice()..end.as_slice(), |_, _| false)?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>, DiskError> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        let value = table.get(key.as_slice())?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn scan(&self, visit: &mut Visit<'_>) -> Result<(), DiskError> {
        let transaction = self.0.begin_read()?;
        let table = transaction.open_table(RECORDS)?;
        for record in table.iter()? {
            let (key, value) = record?;
            visit(key.value(), value.value())?;
        }
        Ok(())
    }

    fn records(&self) -> Result<u64, DiskError> {
        let table = self.0.begin_read()?.open_table(RECORDS)?;
        Ok(table.len()?)
    }

    fn compact(&mut self) -> Result<(), DiskError> {
        self.0.compact().map(drop).map_err(DiskError::from)
    }
}

impl From<StorageError> for DiskError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Io(error) => error.into(),
            StorageError::Corrupted(what) => Self::Damaged(what),
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }
}

impl From<DatabaseError> for DiskError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Storage(error) => error.into(),
            DatabaseError::UpgradeRequired(_) | DatabaseError::RepairAborted => {
                Self::Damaged(error.to_string())
            }
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }
}

impl From<TableError> for DiskError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<TransactionError> for DiskError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }
}

impl From<CommitError> for DiskError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }
}

impl From<CompactionError> for DiskError {
    fn from(error: CompactionError) -> Self {
        match error {
            CompactionError::Storage(error) => error.into(),
            other => Self::Failed(io::Error::other(other.to_string())),
        }
    }
}
