//! Reading a log at start.
//!
//! A record is written when the one before it is on the disk. So after a crash only the last
//! one can be incomplete, and it was not confirmed: it is left out. A record that does not
//! verify although a later one was begun was damaged afterwards, and that is an error.

use super::mac::Secret;
use super::record::{BLOCK, changes, header};
use super::{FILES, Position};
use crate::batch::Batch;
use crate::codec::Damaged;

const GAP: Damaged = Damaged("a record of the log is missing or does not verify");

/// Takes over what the log has beyond `position`, where its files are `files`. Returns the
/// changes and the number of the last record.
pub(crate) fn replay(
    files: &[Vec<u8>; FILES],
    position: &Position,
) -> Result<(Batch, u64), Damaged> {
    let secret = position.secret;
    let mut runs = files.iter().map(|file| run(file, secret));
    let mut runs: [Vec<Found<'_>>; FILES] =
        std::array::from_fn(|_| runs.next().unwrap_or_default());
    runs.sort_by_key(|run| run.first().map_or(0, |found| found.number));
    let mut batch = Batch::default();
    let mut last = position.applied;
    for found in runs.iter().flatten() {
        if found.number <= last {
            continue;
        }
        if found.number != last + 1 {
            return Err(GAP);
        }
        batch.replay(found.changes)?;
        last = found.number;
    }
    let begun = files.iter().filter_map(|file| latest(file, secret)).max();
    // The one after the last may have been on its way.
    if begun.is_some_and(|begun| begun > last.saturating_add(1)) {
        return Err(GAP);
    }
    Ok((batch, last))
}

/// A record that verifies.
#[derive(Debug)]
struct Found<'a> {
    number: u64,
    changes: &'a [u8],
}

/// The records from the beginning of a file that follow each other.
fn run(file: &[u8], secret: Secret) -> Vec<Found<'_>> {
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut rest = file;
    while let Some(header) = header(rest, secret) {
        let follows = found
            .last()
            .is_none_or(|last| last.number.checked_add(1) == Some(header.number));
        let Some(changes) = changes(rest, header, secret).filter(|_| follows) else {
            break;
        };
        found.push(Found {
            number: header.number,
            changes,
        });
        let taken = super::size(header.length);
        rest = rest.get(taken..).unwrap_or_default();
    }
    found
}

/// The highest number of a record that was begun anywhere in a file.
fn latest(file: &[u8], secret: Secret) -> Option<u64> {
    let headers = file.chunks(BLOCK).filter_map(|block| header(block, secret));
    headers.map(|header| header.number).max()
}
