//! Opening the store of a data folder.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ballast::Ballast;
use crate::batch::Batch;
use crate::clock::{Clock, Reading};
use crate::codec::key::Key;
use crate::codec::{self, Damaged};
use crate::disk::{Disk, DiskError, DiskFile, Op, Redb};
use crate::files::{DATABASE, Files, Folder, LOGS};
use crate::load::{Loaded, Loader};
use crate::log::{self, FILES, Position};
use crate::space;
use crate::stored::Stored;

/// The format of the records. The library has a format of its own beside it.
pub const FORMAT: u32 = 3;
/// That of the versions without a log. It has the same records as format 2, which does not know
/// how far the streams of other nodes are received.
const FORMAT_WITHOUT_LOG: u32 = 1;

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
    /// Room for the log, which also bounds what of it is in memory. A twentieth of the file
    /// system if that is less.
    pub log_bytes: u64,
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
    pub(crate) files: Arc<dyn Files>,
    /// What the database does not have: what is in the log.
    pub(crate) pending: Batch,
    /// What the database has of the log when it has that.
    pub(crate) position: Position,
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
    let path = folder.join(DATABASE);
    let explain = |error| explain(&path, error);
    if !path.exists() {
        if expect == Expect::Existing {
            return Err(OpenError::Missing(path));
        }
        create(folder, &path).map_err(explain)?;
    }
    let ballast = Arc::new(Ballast::of(folder));
    let files = Arc::new(Folder::new(folder, options.cache_bytes, &ballast));
    open_files(path, files, ballast, options)
}

/// Opens the store that has these files.
pub(crate) fn open_files(
    path: PathBuf,
    files: Arc<dyn Files>,
    ballast: Arc<Ballast>,
    options: Options,
) -> Result<(Store, Stored), OpenError> {
    let explain = |error| explain(&path, error);
    let mut disk = files.database().map_err(explain)?;
    let heading = Heading::read(&*disk).map_err(explain)?;
    let found = heading.format;
    if found > FORMAT {
        return Err(OpenError::Newer { path, found });
    }
    let (mut pending, position) = read_log(&path, &*files, heading.position)?;
    if found < FORMAT {
        let format = |out: &mut Vec<u8>| codec::write_format(out, FORMAT);
        pending.put(Key::format(), format);
    }
    let last = pending.value(&Key::clock()).map(codec::read_clock);
    let last = last
        .transpose()
        .map_err(|damaged| explain(damaged.into()))?;
    let clock = Clock::new(options.started, last.or(heading.clock));
    let loaded = load(&*disk, &pending, clock).map_err(explain)?;
    for orphan in loaded.orphans {
        pending.delete(orphan);
    }
    if space::taken(&path).map_err(|error| explain(error.into()))? > spacious(loaded.bytes) {
        disk.compact().map_err(explain)?;
    }
    let store = Store {
        disk,
        files,
        pending,
        position,
        path,
        clock,
        options,
        ballast,
        loaded: (loaded.bytes, loaded.records),
    };
    Ok((store, loaded.stored))
}

/// What the log has that the database has not, and the position after that.
fn read_log(
    path: &Path,
    files: &dyn Files,
    position: Position,
) -> Result<(Batch, Position), OpenError> {
    if !position.open {
        return Ok((Batch::default(), position));
    }
    let mut logs: [Vec<u8>; FILES] = Default::default();
    for (index, log) in logs.iter_mut().enumerate() {
        let path = path.with_file_name(LOGS[index]);
        let explain = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let Some(file) = files.log(index).map_err(explain)? else {
            return Err(OpenError::Missing(path));
        };
        let length = file.len().map_err(explain)?;
        log.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        file.read(0, log).map_err(explain)?;
    }
    let (batch, applied) = log::replay(&logs, &position).map_err(|Damaged(what)| {
        let path = path.with_file_name(LOGS[0]);
        let what = what.to_owned();
        OpenError::Damaged { path, what }
    })?;
    let position = Position {
        applied,
        ..position
    };
    Ok((batch, position))
}

/// Whether there is a database in `folder`.
#[must_use]
pub fn exists(folder: &Path) -> bool {
    folder.join(DATABASE).exists()
}

/// Removes a database that was made and never written to.
pub fn remove_empty(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(DATABASE))
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

/// What comes before everything else.
struct Heading {
    format: u32,
    /// What the clocks said last.
    clock: Option<Reading>,
    position: Position,
}

impl Heading {
    fn read(disk: &dyn Disk) -> Result<Self, DiskError> {
        let format = disk.get(&Key::format())?;
        let format = format.ok_or(Damaged("it has no format"))?;
        let format = codec::read_format(&format)?;
        let mut heading = Self {
            format,
            clock: None,
            position: Position::default(),
        };
        // What another format has under these keys is not known.
        if (FORMAT_WITHOUT_LOG..=FORMAT).contains(&format) {
            if let Some(clock) = disk.get(&Key::clock())? {
                heading.clock = Some(codec::read_clock(&clock)?);
            }
            if let Some(position) = disk.get(&Key::log())? {
                heading.position = codec::read_position(&position)?;
            }
        }
        Ok(heading)
    }
}

fn load(disk: &dyn Disk, pending: &Batch, clock: Clock) -> Result<Loaded, DiskError> {
    let mut loader = Loader::new(clock);
    pending.over(|visit| disk.scan(visit), &mut |key, value| {
        loader.take(key, value)
    })?;
    Ok(loader.finish())
}

/// How big a file is that has room enough for so many bytes.
fn spacious(bytes: u64) -> u64 {
    bytes.saturating_mul(4).saturating_add(64 << 20)
}

fn explain(path: &Path, error: DiskError) -> OpenError {
    let path = path.to_owned();
    match error {
        DiskError::Damaged(what) => OpenError::Damaged { path, what },
        DiskError::Full(source) | DiskError::Failed(source) => OpenError::Io { path, source },
    }
}
