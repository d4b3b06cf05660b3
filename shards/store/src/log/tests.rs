//! What is read of a log, however it was left.

use std::sync::{Arc, Mutex};

use super::*;
use crate::codec::key::Key;
use crate::disk::Op;

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        out.copy_from_slice(&self.0.lock().unwrap()[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = offset as usize;
        self.0.lock().unwrap()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}

const BLOCKS: u64 = 16;
const START: Position = Position {
    open: true,
    applied: 7,
    secret: [1, 2],
};

struct Written {
    log: Log,
    files: [Memory; FILES],
}

impl Written {
    fn new() -> Self {
        let files: [Memory; FILES] = Default::default();
        let made = |index: usize| {
            let file = files[index].clone();
            file.set_len(BLOCKS * BLOCK as u64).unwrap();
            LogFile::new(index, Box::new(file)).unwrap()
        };
        let log = Log::new([made(0), made(1)], START);
        Self { log, files }
    }

    fn append(&mut self, group: &Batch) {
        assert_eq!(self.log.append(group).unwrap(), Appended::Stored);
    }

    fn bytes(&self) -> [Vec<u8>; FILES] {
        [0, 1].map(|index| self.files[index].0.lock().unwrap().clone())
    }
}

/// A group that puts one record, whose value has so many bytes.
fn group(number: u8, bytes: usize) -> Batch {
    let mut batch = Batch::default();
    batch.put(Key::message(u64::from(number)), |out| {
        out.resize(out.len() + bytes, number);
    });
    batch
}

/// The numbers of the records that a replay puts.
fn numbers(files: &[Vec<u8>; FILES], position: &Position) -> Result<Vec<u8>, Damaged> {
    let (batch, last) = replay(files, position)?;
    let numbers: Vec<u8> = batch
        .ops()
        .map(|op| match op {
            Op::Put(key, _) => key.as_slice()[8],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(last, position.applied + numbers.len() as u64);
    Ok(numbers)
}

use crate::codec::Damaged;

#[test]
fn what_was_written_comes_back_and_what_the_database_has_does_not() {
    let mut written = Written::new();
    assert_eq!(numbers(&written.bytes(), &START), Ok(vec![]));
    for (number, bytes) in [(1, 10), (2, 0), (3, 9000)] {
        written.append(&group(number, bytes));
    }
    assert_eq!(numbers(&written.bytes(), &START), Ok(vec![1, 2, 3]));
    for (applied, left) in [(8, vec![2, 3]), (9, vec![3]), (10, vec![])] {
        let position = Position { applied, ..START };
        assert_eq!(numbers(&written.bytes(), &position), Ok(left));
    }
}

#[test]
fn a_full_file_and_a_group_that_fits_no_file_are_told_apart() {
    let mut written = Written::new();
    for number in 0..BLOCKS as u8 {
        written.append(&group(number, 100));
    }
    let log = &mut written.log;
    assert_eq!(log.append(&group(1, 1)).unwrap(), Appended::Full);
    let huge = group(1, BLOCKS as usize * BLOCK);
    assert_eq!(log.append(&huge).unwrap(), Appended::TooBig);
    assert!(log.switch().is_some());
    assert!(log.switch().is_none());
    written.append(&group(99, 1));
    let last = numbers(&written.bytes(), &START).unwrap().pop();
    assert_eq!(last, Some(99));
}

#[test]
fn a_record_that_was_cut_off_is_left_out_with_nothing_else() {
    let mut written = Written::new();
    written.append(&group(1, 10));
    written.append(&group(2, 5000));
    let before = written.bytes();
    written.append(&group(3, 9000));
    let after = written.bytes();
    // Of the last record any one sector did not get to the disk.
    for sector in (3 * BLOCK..3 * BLOCK + 9000).step_by(512) {
        let mut torn = after.clone();
        let end = sector + 512;
        torn[0][sector..end].copy_from_slice(&before[0][sector..end]);
        assert_eq!(numbers(&torn, &START), Ok(vec![1, 2]), "{sector}");
    }
}

#[test]
fn damage_before_the_last_record_is_an_error_wherever_it_is() {
    let mut written = Written::new();
    for number in 1..=6 {
        written.append(&group(number, 3000));
    }
    written.log.switch().unwrap();
    written.append(&group(7, 3000));
    written.append(&group(8, 3000));
    let whole = written.bytes();
    assert_eq!(numbers(&whole, &START), Ok((1..=8).collect()));
    let places = (0..6 * BLOCK).step_by(97).map(|place| (0, place));
    for (file, place) in places.chain((0..BLOCK).step_by(97).map(|place| (1, place))) {
        // What pads a record counts for nothing.
        if place % BLOCK >= 3040 {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[file][place] ^= 1;
        assert!(numbers(&bytes, &START).is_err(), "{file} {place}");
    }
}

#[test]
fn a_file_that_is_older_than_the_other_is_an_error() {
    let mut written = Written::new();
    written.append(&group(1, 1));
    let old = written.bytes();
    written.append(&group(2, 1));
    written.append(&group(3, 1));
    written.log.switch().unwrap();
    written.append(&group(4, 1));
    let new = written.bytes();
    assert!(numbers(&[old[0].clone(), new[1].clone()], &START).is_err());
    // And a database that is older than both.
    let position = Position {
        applied: 5,
        ..START
    };
    assert!(numbers(&new, &position).is_err());
}

#[test]
fn what_a_file_had_before_is_not_read_again() {
    let mut written = Written::new();
    for number in 1..=10 {
        written.append(&group(number, 1));
    }
    let file = written.log.switch().unwrap();
    written.append(&group(11, 1));
    written.log.give(file);
    written.log.switch().unwrap();
    written.append(&group(12, 1));
    let position = Position {
        applied: 17,
        ..START
    };
    assert_eq!(numbers(&written.bytes(), &position), Ok(vec![11, 12]));
}

#[test]
fn bytes_that_a_client_has_sent_are_no_record() {
    // The same bytes with another secret are those of another log.
    let mut written = Written::new();
    written.append(&group(1, 1));
    let position = Position {
        secret: [1, 3],
        ..START
    };
    assert_eq!(numbers(&written.bytes(), &position), Ok(vec![]));
}

#[test]
fn a_small_disk_gets_a_small_log_and_a_tiny_one_none() {
    assert_eq!(bytes_max(64 << 20, 100 << 30), 32 << 20);
    assert_eq!(bytes_max(64 << 20, 64 << 20), 1536 << 10);
    assert_eq!(bytes_max(64 << 20, 8 << 20), 0);
    assert_eq!(bytes_max(0, 100 << 30), 0);
}
