//! Room on the disk that is held for what shards have handed over.
//!
//! Shards refuse messages once they know that the disk is full. What they handed over before
//! that, and what frees something, still has to be written: when the file system has no room
//! for it, this file gives up its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::space;

/// The name of the file in the data folder.
const FILE: &str = "store.reserve";

/// The file. Shared by the store's thread and the file under the database.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    /// Whether it takes room that can be given up.
    held: AtomicBool,
    /// Whether the file system cannot reserve room, so that there is nothing to hold.
    useless: AtomicBool,
    /// Filling it and giving it up take turns.
    turn: Mutex<()>,
}

impl Ballast {
    /// The ballast of a data folder, as an earlier process has left it.
    pub(crate) fn of(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let held = space::taken(&path).is_ok_and(|bytes| bytes > 0);
        Self {
            path,
            held: AtomicBool::new(held),
            useless: AtomicBool::new(false),
            turn: Mutex::new(()),
        }
    }

    /// Whether as much is held as there can be.
    pub(crate) fn is_whole(&self) -> bool {
        self.held.load(Ordering::Relaxed) || self.useless.load(Ordering::Relaxed)
    }

    /// Takes `bytes` of the file system, all or nothing.
    pub(crate) fn fill(&self, bytes: u64) -> bool {
        if bytes == 0 {
            self.useless.store(true, Ordering::Relaxed);
            return true;
        }
        let _turn = self.turn();
        let taken = self.open().and_then(|file| allocate(&file, bytes));
        match taken {
            Ok(()) => self.held.store(true, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.useless.store(true, Ordering::Relaxed);
            }
            Err(_) => {
                self.held.store(true, Ordering::Relaxed);
                self.give();
                return false;
            }
        }
        true
    }

    /// Gives the room to others; false if none was held.
    pub(crate) fn give_up(&self) -> bool {
        let _turn = self.turn();
        self.give()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self) -> bool {
        if !self.held.swap(false, Ordering::Relaxed) {
            return false;
        }
        // Only when that is on the disk can every file system give the room to a file.
        let given = self.open().and_then(|file| {
            file.set_len(0)?;
            file.sync_all()
        });
        given.is_ok()
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        options.open(&self.path)
    }
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Folder;

    #[test]
    fn what_is_held_is_given_up_once_and_found_again() {
        let folder = Folder::new();
        let ballast = Ballast::of(&folder.0);
        assert!(!ballast.is_whole());
        assert!(!ballast.give_up());
        assert!(ballast.fill(1 << 20));
        if ballast.useless.load(Ordering::Relaxed) {
            return;
        }
        assert!(Ballast::of(&folder.0).is_whole());
        assert!(space::taken(&ballast.path).unwrap() >= 1 << 20);
        assert!(ballast.give_up());
        assert!(!ballast.give_up());
        assert_eq!(space::taken(&ballast.path).unwrap(), 0);
    }
}
