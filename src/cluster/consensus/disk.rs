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

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
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

/// The database. Its clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Disk(Arc<Database>);

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
            return Ok(Self(Arc::new(database.map_err(|it| it.to_string())?)));
        };
        let folder = data_dir.join(FOLDER);
        let explain = |error: &dyn core::fmt::Display| {
            format!(
                "{}: {error}. If it is damaged, remove the folder: the node joins its cluster \
                 again as a new one",
                folder.join(FILE).display()
            )
        };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| explain(&error))?;
        let database = builder.create(folder.join(FILE));
        let database = database.map_err(|error| explain(&error))?;
        for folder in [&*folder, data_dir] {
            let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| explain(&error))?;
        }
        Ok(Self(Arc::new(database)))
    }

    /// Reads all of it. Blocks.
    pub(super) fn read(&self) -> io::Result<Stored> {
        read(&self.0).map_err(io::Error::other)
    }

    /// Does a transaction, and returns when it is on the disk.
    pub(super) async fn write(&self, writes: Vec<Write>) -> io::Result<()> {
        let database = Arc::clone(&self.0);
        let written = spawn_blocking(move || write(&database, &writes)).await;
        written.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

fn read(database: &Database) -> Result<Stored, redb::Error> {
    // Tables are there once something was written.
    write(database, &[])?;
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

fn write(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
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
