//! The folder that keeps what must outlive the process: one broker at a time, one format.
//!
//! | file | what it holds |
//! |---|---|
//! | `LOCK` | locked by the broker that uses the folder; the number of its process |
//! | `VERSION` | the number of the folder's format |
//! | `INCARNATION` | of a node with others, the number of its last life |
//! | `store.redb` | sessions and messages: from format 2 on it is there |

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use crate::failure::Failure;
use crate::whole_file;

/// The format that this version reads and writes.
const FORMAT: u64 = 2;
/// The format of a folder without stored data: of a version that stored none, or of a broker
/// that was told to keep everything in memory.
const FORMAT_EMPTY: u64 = 1;
/// The most that is read of one of the two small files.
const SMALL_FILE_BYTES_MAX: u64 = 64;

/// The data folder of this process, which nobody else uses as long as this lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Locked. The kernel takes the lock away when the process ends, however it ends.
    _lock: File,
    /// The format; nothing in a new folder.
    format: Option<u64>,
}

impl DataFolder {
    /// Makes the folder if it is not there, locks it and looks at its format.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let explain = |error| explain(path, &error);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(explain)?;
        let path = path.canonicalize().map_err(explain)?;
        let lock = lock(&path)?;
        let format = read_format(&path)?;
        Ok(Self {
            path,
            _lock: lock,
            format,
        })
    }

    /// Whether stored data must be in it.
    pub(crate) fn has_store(&self) -> bool {
        self.format == Some(FORMAT)
    }

    /// Writes down that stored data are in it, once they are.
    pub(crate) fn mark_with_store(&self) -> Result<(), Failure> {
        self.mark(FORMAT)
    }

    /// Writes down in a new folder that no stored data are in it.
    pub(crate) fn mark_without_store(&self) -> Result<(), Failure> {
        match self.format {
            None => self.mark(FORMAT_EMPTY),
            Some(_) => Ok(()),
        }
    }

    fn mark(&self, format: u64) -> Result<(), Failure> {
        if self.format == Some(format) {
            return Ok(());
        }
        let text = format!("{format}\n");
        whole_file::replace(&self.path, "VERSION", &text)
            .map_err(|error| explain(&self.path, &error))
    }

    /// Where it is, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks the folder for this process.
fn lock(folder: &Path) -> Result<File, Failure> {
    let explain = |error| explain(folder, &error);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut lock = options.open(folder.join("LOCK")).map_err(explain)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut lock)),
        Err(TryLockError::Error(error)) => return Err(explain(error)),
    }
    lock.set_len(0).map_err(explain)?;
    writeln!(lock, "{}", process::id()).map_err(explain)?;
    Ok(lock)
}

/// Another process has the lock; it wrote its number into the file.
fn in_use(folder: &Path, lock: &mut File) -> Failure {
    let holder = small_text(lock).unwrap_or_default();
    let holder = match holder.trim().parse::<u32>() {
        Ok(pid) => format!(" (process {pid})"),
        Err(_) => String::new(),
    };
    Failure::new(format!(
        "the data folder {} is in use by another broker{holder}",
        folder.display()
    ))
    .advise("Stop that one, or use another folder: --data-dir FOLDER")
}

/// The format of the folder, if it has one; refused if we do not know it.
fn read_format(folder: &Path) -> Result<Option<u64>, Failure> {
    let path = folder.join("VERSION");
    let text = match File::open(&path).and_then(|mut file| small_text(&mut file)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(explain(folder, &error)),
    };
    let shown = folder.display();
    match text.trim().parse::<u64>() {
        Ok(format @ (FORMAT_EMPTY | FORMAT)) => Ok(Some(format)),
        Ok(newer) if newer > FORMAT => Err(Failure::new(format!(
            "the data folder {shown} has format {newer}, this version knows up to {FORMAT}"
        ))
        .advise("Use the version of ShardMQ that wrote it, or another folder: --data-dir FOLDER")),
        _ => Err(Failure::new(format!(
            "{} holds no format number: {:?}",
            path.display(),
            text.trim()
        ))
        .advise("Restore the folder from a backup, or use another one: --data-dir FOLDER")),
    }
}

/// The beginning of a file.
fn small_text(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(SMALL_FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What an error with the folder means.
fn explain(folder: &Path, error: &io::Error) -> Failure {
    let what = match error.kind() {
        ErrorKind::PermissionDenied => "is not writable for this user",
        ErrorKind::ReadOnlyFilesystem => "is on a read-only file system",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "is not a folder",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "is on a full file system",
        _ => "cannot be used",
    };
    let failure = Failure::new(format!(
        "the data folder {} {what}: {error}",
        folder.display()
    ));
    match error.kind() {
        ErrorKind::PermissionDenied => failure
            .command(format!(
                "sudo install -d -m 700 -o \"$(id -u)\" {}",
                folder.display()
            ))
            .advise("or use another folder: --data-dir FOLDER"),
        _ => failure.advise("Use another folder: --data-dir FOLDER"),
    }
}
