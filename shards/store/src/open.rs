//! Opening the store of a data folder.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ballast::Ballast;
use crate::clock::{Clock, Reading};
use crate::codec::key::{Key, Record, parse};
use crate::codec::{self, Damaged};
use crate::disk::{Disk, DiskError, DiskFile, Op, Redb};
use crate::load::{Loaded, Loader};
use crate::space;
use crate::stored::Stored;

/// The format of the records. The library has a format of its own beside it.
pub const FORMAT: u32 = 1;

/// The name of the database in the data folder.
const FILE: &str = "store.redb";
/// The name of a database that is not complete.
const DRAFT: &str = "store.redb.new";

/// When a commit counts as stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Durability {
    /// When it outlives a power loss.
    Synced,
    /// At once; it outlives the end of the process, and a power loss, after this long.
    FlushedEvery(Duration),
}

/// How a store is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When the shards' clock was 0.
    pub started: Instant,
    /// When a commit counts as stored.
    pub durability: Durability,
    /// Room on the file system that is left for commits that free something. A twentieth of
    /// the file system if that is less. As much again is held in a file, and given up when
    /// nothing else is left.
    pub reserve_bytes: u64,
    /// Memory for parts of the database.
    pub cache_bytes: usize,
}

/// Whether there must be a database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// The folder had one: if it is gone, something is wrong.
    Existing,
    /// The folder may be new: then an empty one is made.
    Any,
}

/// Why a store cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// There was a database, and it is gone.
    Missing(PathBuf),
    /// Another version wrote it, with a format that this one does not know.
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is not what was written.
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file system does not do what is needed.
    Io {
        /// The database.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(out, "the stored data are gone: no {}", path.display()),
            Self::Newer { path, found } => write!(
                out,
                "{} has format {found}, this version knows up to {FORMAT}",
                path.display()
            ),
            Self::Damaged { path, what } => {
                write!(out, "{} is damaged: {what}", path.display())
            }
            Self::Io { path, source } => write!(out, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// An open store that nobody writes to yet.
pub struct Store {
    pub(crate) disk: Box<dyn Disk>,
    pub(crate) path: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    pub(crate) ballast: Arc<Ballast>,
    /// Bytes and number of the records that were read.
    pub(crate) loaded: (u64, u64),
}

impl Store {
    /// When the shards' clock was 0.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.options.started
    }
}

/// Opens the store in `folder`, which nobody else must use, and reads everything in it.
pub fn open(folder: &Path, expect: Expect, options: Options) -> Result<(Store, Stored), OpenError> {
    let path = folder.join(FILE);
    let explain = |error| explain(&path, error);
    if !path.exists() {
        if expect == Expect::Existing {
            return Err(OpenError::Missing(path));
        }
        create(folder, &path).map_err(explain)?;
    }
    let ballast = Arc::new(Ballast::of(folder));
    let mut disk = reopen(&path, &options, &ballast).map_err(explain)?;
    let (found, last) = heading(&*disk).map_err(explain)?;
    if found != FORMAT {
        return Err(OpenError::Newer { path, found });
    }
    let clock = Clock::new(options.started, last);
    let loaded = load(&*disk, clock).map_err(explain)?;
    tidy(&mut *disk, &path, &loaded).map_err(explain)?;
    let store = Store {
        disk,
        path,
        clock,
        options,
        ballast,
        loaded: (loaded.bytes, loaded.records),
    };
    Ok((store, loaded.stored))
}

/// Whether there is a database in `folder`.
#[must_use]
pub fn exists(folder: &Path) -> bool {
    folder.join(FILE).exists()
}

/// Removes a database that was made and never written to.
pub fn remove_empty(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(FILE))
}

/// Opens the database, as at start or after the disk was full.
pub(crate) fn reopen(
    path: &Path,
    options: &Options,
    ballast: &Arc<Ballast>,
) -> Result<Box<dyn Disk>, DiskError> {
    let file = DiskFile::open(path)?.over(ballast);
    let disk = Redb::open(file, options.cache_bytes)?;
    Ok(Box::new(disk))
}

/// Makes a database. It has its name only when it is complete.
fn create(folder: &Path, path: &Path) -> Result<(), DiskError> {
    let draft = folder.join(DRAFT);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    const CACHE_BYTES: usize = 1 << 20;
    let mut disk = Redb::create(DiskFile::create(&draft)?, CACHE_BYTES)?;
    let mut format = Vec::new();
    codec::write_format(&mut format, FORMAT);
    disk.commit(&mut [Op::Put(&Key::format(), &format)].into_iter())?;
    drop(disk);
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, path)?;
    Ok(File::open(folder)?.sync_all()?)
}

/// The format, and what the clocks said last. Both come before everything else.
fn heading(disk: &dyn Disk) -> Result<(u32, Option<Reading>), DiskError> {
    let (mut format, mut clock) = (None, None);
    for key in [Key::format(), Key::clock()] {
        let Some(value) = disk.get(&key)? else {
            continue;
        };
        match parse(key.as_slice())? {
            Record::Format => format = Some(codec::read_format(&value)?),
            _ => clock = Some(codec::read_clock(&value)?),
        }
    }
    Ok((format.ok_or(Damaged("it has no format"))?, clock))
}

fn load(disk: &dyn Disk, clock: Clock) -> Result<Loaded, DiskError> {
    let mut loader = Loader::new(clock);
    disk.scan(&mut |key, value| loader.take(key, value))?;
    Ok(loader.finish())
}

/// Takes away what belongs to nothing, and gives back the space of an earlier backlog.
fn tidy(disk: &mut dyn Disk, path: &Path, loaded: &Loaded) -> Result<(), DiskError> {
    const AT_ONCE: usize = 10_000;
    for some in loaded.orphans.chunks(AT_ONCE) {
        disk.commit(&mut some.iter().map(|key| Op::Delete(key.clone())))?;
    }
    if space::taken(path)? > loaded.bytes.saturating_mul(4).saturating_add(64 << 20) {
        disk.compact()?;
    }
    Ok(())
}

fn explain(path: &Path, error: DiskError) -> OpenError {
    let path = path.to_owned();
    match error {
        DiskError::Damaged(what) => OpenError::Damaged { path, what },
        DiskError::Full(source) | DiskError::Failed(source) => OpenError::Io { path, source },
    }
}
