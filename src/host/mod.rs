//! What this machine has and allows.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cpus`] | which CPUs there are, which this process may use, how they are built |
//! | [`interrupts`] | where the network cards' interrupts go |
//! | [`kernel`] | kernel version, capabilities, seccomp |
//! | [`limits`] | open files and locked memory |
//! | [`ports`] | who listens on a port |
//! | [`system`] | the system calls, all of the unsafe code of this package |
//! | [`uring`] | whether a ring can be had, and if not, why |

pub(crate) mod cpus;
pub(crate) mod interrupts;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod ports;
pub(crate) mod system;
pub(crate) mod uring;

use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file of `/proc` or `/sys` without white space around it, if it can be
/// read.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The whole number that a file of `/proc` or `/sys` holds.
pub(crate) fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.parse().ok()
}

/// What is in a folder, by path in alphabetical order; nothing if it cannot be read.
pub(crate) fn entries(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The last name of a path, as text.
pub(crate) fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}
