//! The log: where a group of changes is kept until the database has it.
//!
//! A group is one record, written in place and followed by one fdatasync: that is all an
//! acknowledgement waits for. There are two files. While one takes records, what the other
//! has is brought into the database in the background ([`crate::checkpoint`]), after which it
//! is free. Files are written again from their beginning and never cut, so that a write
//! changes nothing but bytes: no block has to be found for it and no length to be stored.
//!
//! What the database says of the log is its [`Position`]: all records up to which number it
//! has. The secret changes with each start, which makes all earlier records void.

mod mac;
mod read;
mod record;
#[cfg(test)]
mod tests;

use std::io;

use redb::StorageBackend;

use crate::batch::Batch;
use crate::disk::DiskError;

pub(crate) use mac::Secret;
pub(crate) use read::replay;
pub(crate) use record::BLOCK;

/// How many files there are.
pub(crate) const FILES: usize = 2;

/// The size of a file at first. It doubles while records fill it faster than the database
/// takes them.
pub(crate) const FIRST_BYTES: u64 = 4 << 20;

/// Below this a log is not worth it.
const LEAST_BYTES: u64 = 256 << 10;

/// Bytes written at a time when a file grows.
const STEP_BYTES: u64 = 256 << 10;

/// What the database has of the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Position {
    /// Whether there may be more in the log.
    pub(crate) open: bool,
    /// The number of the last record that the database has, with all before it.
    pub(crate) applied: u64,
    /// What the checksums of the records are made with.
    pub(crate) secret: Secret,
}

/// A file of the log.
#[derive(Debug)]
pub(crate) struct LogFile {
    index: usize,
    file: Box<dyn StorageBackend>,
    bytes: u64,
}

impl LogFile {
    pub(crate) fn new(index: usize, file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let bytes = file.len()?;
        Ok(Self { index, file, bytes })
    }

    /// Makes a free file bigger, in steps that let others use the disk in between. Where there
    /// is no room it stays as it is.
    pub(crate) fn grow(&mut self, bytes: u64) {
        let begun = self.bytes;
        let step = |file: &dyn StorageBackend| file.sync_data();
        if lengthen(&*self.file, begun, bytes, step).is_ok() {
            self.bytes = bytes.max(begun);
        } else {
            // Longer or not, it is used as far as before.
            let _ = self.file.set_len(begun);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Writes zeros from one length to another, and does something after each step.
pub(crate) fn lengthen(
    file: &dyn StorageBackend,
    from: u64,
    to: u64,
    after: impl Fn(&dyn StorageBackend) -> io::Result<()>,
) -> io::Result<()> {
    let zeros = vec![0; STEP_BYTES as usize];
    let mut at = from;
    while at < to {
        let step = STEP_BYTES.min(to - at);
        file.write(at, &zeros[..step as usize])?;
        after(file)?;
        at += step;
    }
    Ok(())
}

/// How big a file may become: half of what is configured, and a small part of a small file
/// system. 0 for no log.
pub(crate) fn bytes_max(configured: u64, file_system: u64) -> u64 {
    let bytes = (configured / FILES as u64).min(file_system / 40);
    let bytes = bytes - bytes % STEP_BYTES;
    if bytes < LEAST_BYTES { 0 } else { bytes }
}

/// What became of a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Appended {
    /// It is on the disk.
    Stored,
    /// The file is full.
    Full,
    /// No file is big enough.
    TooBig,
}

/// The log, as it is written.
#[derive(Debug)]
pub(crate) struct Log {
    active: LogFile,
    /// Not there while the database takes over what it has.
    spare: Option<LogFile>,
    /// Where the next record begins.
    at: u64,
    /// The number of the last record.
    last: u64,
    secret: Secret,
    /// The record that is written.
    record: Vec<u8>,
}

impl Log {
    /// A log that goes on from a position.
    pub(crate) fn new([active, spare]: [LogFile; FILES], position: Position) -> Self {
        Self {
            active,
            spare: Some(spare),
            at: 0,
            last: position.applied,
            secret: position.secret,
            record: Vec::new(),
        }
    }

    /// Writes a group. When this says that it is stored, it outlives a power loss.
    pub(crate) fn append(&mut self, group: &Batch) -> Result<Appended, DiskError> {
        const KEPT: usize = 1 << 20;
        self.record.clear();
        self.record.resize(record::HEADER, 0);
        group.write(&mut self.record);
        let bytes = size(self.record.len() - record::HEADER) as u64;
        if bytes > self.active.bytes {
            return Ok(Appended::TooBig);
        }
        if bytes > self.active.bytes - self.at {
            return Ok(Appended::Full);
        }
        record::seal(&mut self.record, self.secret, self.last + 1);
        self.active.file.write(self.at, &self.record)?;
        self.active.file.sync_data()?;
        self.record.shrink_to(KEPT);
        self.at += bytes;
        self.last += 1;
        Ok(Appended::Stored)
    }

    /// Goes on in the other file. Returns the one that was written, with all its records; nothing
    /// while the other one is not free.
    pub(crate) fn switch(&mut self) -> Option<LogFile> {
        let spare = self.spare.take()?;
        self.at = 0;
        Some(std::mem::replace(&mut self.active, spare))
    }

    /// Which of the files is written.
    pub(crate) fn index(&self) -> usize {
        self.active.index
    }

    /// A file is free.
    pub(crate) fn give(&mut self, file: LogFile) {
        self.spare = Some(file);
    }

    /// What the database has once it has all of the records.
    pub(crate) fn position(&self) -> Position {
        Position {
            open: true,
            applied: self.last,
            secret: self.secret,
        }
    }
}

/// Bytes that a record takes of its file.
fn size(changes: usize) -> usize {
    (record::HEADER + changes).next_multiple_of(BLOCK)
}

/// 128 bits that nobody outside knows.
pub(crate) fn secret() -> io::Result<Secret> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the kernel writes at most the 16 bytes it is given.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    let number = u128::from_ne_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}
