//! Log, vote and snapshot on the disk: one small database.
//!
//! Everything that belongs together is one transaction, and on the disk before anybody is
//! answered. The thread that has the links never waits for the disk: another one does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use tokio::task::spawn_blocking;

/// The folder in the data folder, and the file in it.
const FOLDER: &str = "cluster";
const FILE: &str = "consensus.redb";

/// Bytes of the database that are kept in memory.
const CACHE_BYTES: usize = 1 << 20;

/// Entries of the log, by index.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

/// Everything else, by name.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// What was on the disk.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub(super) log: BTreeMap<u64, Vec<u8>>,
    pub(super) meta: BTreeMap<String, Vec<u8>>,
}

/// One part of a transaction.
#[derive(Debug)]
pub(super) enum Write {
    /// All is forgotten.
    Clear,
    /// Something has a name.
    Meta(&'static str, Vec<u8>),
    /// An entry of the log.
    Entry(u64, Vec<u8>),
    /// Entries from the first to before the second are forgotten.
    Cut(u64, u64),
}

/// The database, for one log. Its clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    database: Arc<Database>,
    /// Which log it is for, of those that there have been: one that is over writes no more.
    log: u64,
    /// Which log is there now.
    current: Arc<AtomicU64>,
}

impl Disk {
    /// Opens or makes the database in a data folder; without one, it is in memory.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn open(data_dir: Option<&Path>) -> Result<Self, String> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let Some(data_dir) = data_dir else {
            let database = builder.create_with_backend(InMemoryBackend::new());
            return Ok(Self::of(database.map_err(|it| it.to_string())?));
        };
        let folder = data_dir.join(FOLDER);
        let explain = |error: &dyn core::fmt::Display| {
            format!(
                "{}: {error}. If it is damaged, remove the folder: the node joins its cluster \
                 again as a new one",
                folder.join(FILE).display()
            )
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder);
        made.map_err(|error| explain(&error))?;
        let database = builder.create(folder.join(FILE));
        let database = database.map_err(|error| explain(&error))?;
        for folder in [&*folder, data_dir] {
            let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| explain(&error))?;
        }
        Ok(Self::of(database))
    }

    fn of(database: Database) -> Self {
        Self {
            database: Arc::new(database),
            log: 0,
            current: Arc::default(),
        }
    }

    /// The same, for the log that is there now.
    pub(super) fn for_current(&self) -> Self {
        let log = self.current.load(Ordering::SeqCst);
        Self {
            log,
            ..self.clone()
        }
    }

    /// Reads all of it. Blocks.
    pub(super) fn read(&self) -> io::Result<Stored> {
        read(&self.database).map_err(io::Error::other)
    }

    /// Does a transaction, and returns when it is on the disk.
    pub(super) async fn write(&self, writes: Vec<Write>) -> io::Result<()> {
        let disk = self.clone();
        let written = spawn_blocking(move || {
            let transaction = disk.database.begin_write().map_err(io::Error::other)?;
            if disk.log != disk.current.load(Ordering::SeqCst) {
                return Err(io::Error::other("this log is over"));
            }
            write(transaction, &writes).map_err(io::Error::other)
        });
        written.await.map_err(io::Error::other)?
    }

    /// Forgets everything: what is written from now on is of another log.
    pub(super) async fn begin_anew(&self, writes: Vec<Write>) -> io::Result<()> {
        let disk = self.clone();
        let written = spawn_blocking(move || {
            let transaction = disk.database.begin_write().map_err(io::Error::other)?;
            disk.current.fetch_add(1, Ordering::SeqCst);
            write(transaction, &writes).map_err(io::Error::other)
        });
        written.await.map_err(io::Error::other)?
    }
}

fn read(database: &Database) -> Result<Stored, redb::Error> {
    // Tables are there once something was written.
    write(database.begin_write()?, &[])?;
    let transaction = database.begin_read()?;
    let mut stored = Stored::default();
    for entry in transaction.open_table(LOG)?.iter()? {
        let (index, value) = entry?;
        stored.log.insert(index.value(), value.value().to_vec());
    }
    for entry in transaction.open_table(META)?.iter()? {
        let (name, value) = entry?;
        let (name, value) = (name.value().to_owned(), value.value().to_vec());
        stored.meta.insert(name, value);
    }
    Ok(stored)
}

fn write(transaction: WriteTransaction, writes: &[Write]) -> Result<(), redb::Error> {
    {
        let (mut log, mut meta) = (transaction.open_table(LOG)?, transaction.open_table(META)?);
        for write in writes {
            match write {
                Write::Clear => {
                    log.retain(|_, _| false)?;
                    meta.retain(|_, _| false)?;
                }
                Write::Meta(name, value) => drop(meta.insert(*name, value.as_slice())?),
                Write::Entry(index, value) => drop(log.insert(*index, value.as_slice())?),
                Write::Cut(from, before) => log.retain_in(*from..*before, |_, _| false)?,
            }
        }
    }
    Ok(transaction.commit()?)
}
