//! How much room the file system has.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that this user can still write to a file system, and its size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) free: u64,
    pub(crate) size: u64,
}

/// Asks for the file system of `path`.
pub(crate) fn of(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut answer = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends with a zero byte, and the answer is as big as the call writes.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all of its fields are numbers, for which zero is a value, and the call succeeded.
    let answer = unsafe { answer.assume_init() };
    let unit = answer.f_frsize.max(1);
    Ok(Space {
        free: answer.f_bavail.saturating_mul(unit),
        size: answer.f_blocks.saturating_mul(unit),
    })
}

/// Below this much the disk counts as full: what is configured, but no more than a
/// twentieth of a small file system.
pub(crate) fn reserve(configured: u64, space: Space) -> u64 {
    configured.min(space.size / 20)
}

/// Bytes that a file takes on the disk, without its holes.
pub(crate) fn taken(path: &Path) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    std::fs::metadata(path).map(|metadata| metadata.blocks() * BLOCK)
}
