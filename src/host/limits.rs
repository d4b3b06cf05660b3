//! Open files and locked memory.

use std::io;

use super::system::{self, Limit, Resource};

/// The locked memory that a process must be allowed for the shards' executors to start.
/// glommio refuses with less.
pub(crate) const LOCKED_MEMORY_MIN: u64 = 512 << 10;

/// Locked memory that an executor registers with its three rings if it may: 64 KiB each.
pub(crate) const LOCKED_MEMORY_PER_SHARD: u64 = 192 << 10;

/// Descriptors that the process needs beside those of its shards: standard streams, the
/// folder's lock, storage, the control plane.
const FILES_OF_PROCESS: u64 = 64;
/// Descriptors of a shard beside its listeners: the rings and eventfds of the executor
/// and of the engine, with room for a few more.
const FILES_OF_SHARD: u64 = 16;

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_open_files() -> io::Result<Limit> {
    let limit = system::limit(Resource::OpenFiles)?;
    let raised = Limit {
        soft: limit.hard,
        ..limit
    };
    if raised != limit {
        system::set_limit(Resource::OpenFiles, raised)?;
    }
    Ok(raised)
}

/// Raises the soft limit of locked memory to what is needed, and the hard one too where
/// that is permitted. Returns the limit as it is then, which may still be too low.
pub(crate) fn raise_locked_memory() -> io::Result<Limit> {
    let limit = system::limit(Resource::LockedMemory)?;
    let soft = limit.hard.max(LOCKED_MEMORY_MIN);
    let raised = Limit { soft, hard: soft };
    if raised == limit || system::set_limit(Resource::LockedMemory, raised).is_ok() {
        return Ok(raised);
    }
    let raised = Limit {
        soft: limit.hard,
        ..limit
    };
    system::set_limit(Resource::LockedMemory, raised).map(|()| raised)
}

/// The connections that a number of open files is enough for.
pub(crate) fn connections(open_files: u64, shards: usize, listeners: usize) -> u64 {
    let shard = FILES_OF_SHARD.saturating_add(listeners as u64);
    let taken = FILES_OF_PROCESS.saturating_add(shard.saturating_mul(shards as u64));
    open_files.saturating_sub(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_itself_takes_some_of_the_open_files() {
        assert_eq!(connections(1024, 2, 1), 1024 - 64 - 2 * 17);
        assert_eq!(connections(64, 2, 1), 0);
        assert_eq!(connections(20, usize::MAX, 1), 0);
    }
}
