//! A disk in memory that forgets what was not synced, and a power cut at any call.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use redb::StorageBackend;

use super::*;
use crate::ballast::Ballast;
use crate::disk::{Disk, DiskError, Redb};
use crate::files::{DATABASE, Files, LOGS};
use crate::open::open_files;

/// What a disk may tear a write into.
const SECTOR: usize = 512;

/// A file: as it is read, and what is surely on the disk, with the writes since.
#[derive(Clone, Debug, Default)]
struct Image {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Since>,
}

#[derive(Clone, Debug)]
enum Since {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Image {
    fn apply(bytes: &mut Vec<u8>, since: &Since) {
        match since {
            Since::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Since::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// What a power cut leaves: of what was not synced any part, sector by sector.
    fn cut(&mut self, random: &mut Random) {
        let mut left = std::mem::take(&mut self.synced);
        for since in self.since.drain(..) {
            match since {
                Since::Write(at, data) => {
                    // All, nothing, or some of it.
                    let share = [0, 100, 50][random.below(3)];
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if random.below(100) < share {
                            let part = Since::Write(at + index * SECTOR, sector.to_vec());
                            Self::apply(&mut left, &part);
                        }
                    }
                }
                length if random.below(2) == 0 => Self::apply(&mut left, &length),
                Since::Length(_) => {}
            }
        }
        self.now.clone_from(&left);
        self.synced = left;
    }
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[derive(Debug, Default)]
struct Power {
    files: HashMap<&'static str, Image>,
    /// Calls until the power fails.
    left: Option<u64>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
struct Simulated(Arc<Mutex<Power>>);

impl Simulated {
    fn power(&self) -> MutexGuard<'_, Power> {
        self.0.lock().unwrap()
    }

    /// A call that changes something.
    fn call(&self) -> io::Result<MutexGuard<'_, Power>> {
        let mut power = self.power();
        match &mut power.left {
            Some(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(power)
    }

    fn file(&self, name: &'static str) -> Simulant {
        let disk = self.clone();
        Simulant { disk, name }
    }
}

#[derive(Debug)]
struct Simulant {
    disk: Simulated,
    name: &'static str,
}

impl StorageBackend for Simulant {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.power().files[self.name].now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        let power = self.disk.power();
        let bytes = power.files[self.name].now.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Since::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut power = self.disk.call()?;
        let file = power.files.get_mut(self.name).unwrap();
        file.synced = file.now.clone();
        file.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Since::Write(offset as usize, data.to_vec()))
    }
}

impl Simulant {
    fn change(&self, since: Since) -> io::Result<()> {
        let (mut power, failed) = match self.disk.call() {
            Ok(power) => (power, None),
            // Some of it may have got through.
            Err(error) => (self.disk.power(), Some(error)),
        };
        let file = power.files.get_mut(self.name).unwrap();
        if failed.is_none() {
            Image::apply(&mut file.now, &since);
        }
        file.since.push(since);
        failed.map_or(Ok(()), Err)
    }
}

impl Files for Simulated {
    fn database(&self) -> Result<Box<dyn Disk>, DiskError> {
        let disk = Redb::open(self.file(DATABASE), 1 << 20)?;
        Ok(Box::new(disk))
    }

    fn log(&self, index: usize) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let there = self.power().files.contains_key(LOGS[index]);
        Ok(there.then(|| Box::new(self.file(LOGS[index])) as Box<dyn StorageBackend>))
    }

    fn make_log(&self, index: usize, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let mut power = self.call()?;
        let file = power.files.entry(LOGS[index]).or_default();
        let bytes = file.now.len().max(bytes as usize);
        file.now.resize(bytes, 0);
        file.synced.clone_from(&file.now);
        drop(power);
        Ok(Box::new(self.file(LOGS[index])))
    }
}

/// Messages that the session has at a time.
const KEPT: u64 = 40;

fn opened(disk: &Simulated, folder: &Path) -> (Store, Stored) {
    let options = Options {
        log_bytes: 512 << 10,
        ..options()
    };
    let ballast = Arc::new(Ballast::of(folder));
    let path = folder.join(DATABASE);
    open_files(path, Arc::new(disk.clone()), ballast, options).unwrap()
}

fn numbers(stored: &Stored) -> Vec<u64> {
    let entries = stored.sessions.iter().flat_map(|session| &session.entries);
    entries.map(|entry| entry.number).collect()
}

/// Runs until the power fails or `turns` are over. Returns the last entry that was confirmed.
fn live(store: Store, mut last: u64, turns: u64, random: &mut Random) -> u64 {
    let mut running = Running::of(store);
    running.send(vec![session(1)]);
    let base = last - 1;
    for _ in 0..turns {
        let mut changes = Vec::new();
        last += 1;
        changes.push(entry(1, last));
        if last > KEPT + 101 {
            changes.push(drop_entry(1, last - KEPT));
        }
        let size = [0, 100, 9000][random.below(3)];
        changes.push(Change::Retain {
            message: message(&format!("r/{}", last % 50), &vec![last as u8; size]),
            version: 1,
        });
        running.send(changes);
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let handle = running.handle;
    let confirmed = |link: &mut StoreLink| base + link.committed();
    let ended = handle.stop();
    let confirmed = confirmed(&mut running.link);
    assert!(ended.is_err() || confirmed == last);
    confirmed.max(base)
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_confirmed() {
    let folder = Folder::new();
    fs::write(folder.0.join(DATABASE), "").unwrap();
    let mut random = Random(0x5eed);
    let disk = Simulated::default();
    {
        let made = Folder::new();
        drop(open(&made.0, Expect::Any, options()).unwrap());
        let bytes = fs::read(made.0.join(DATABASE)).unwrap();
        let image = Image {
            now: bytes.clone(),
            synced: bytes,
            since: Vec::new(),
        };
        disk.power().files.insert(DATABASE, image);
    }
    let (mut confirmed, mut replayed) = (101, 0);
    for round in 0..120 {
        let (store, stored) = opened(&disk, &folder.0);
        replayed += u32::from(store.pending.len() > 1);
        let found = numbers(&stored);
        let last = found.last().copied().unwrap_or(101);
        assert!(
            last >= confirmed,
            "{round}: {confirmed} was confirmed, {last} is last"
        );
        if last > 101 {
            let first = (last - KEPT + 1).max(102);
            assert_eq!(found, (first..=last).collect::<Vec<_>>(), "{round}");
        }
        // Reading changes nothing.
        drop(store);
        let (store, again) = opened(&disk, &folder.0);
        assert_eq!(numbers(&again), found);
        let calls = [20, 200, 2000][random.below(3)];
        disk.power().left = Some(random.below(calls) as u64);
        confirmed = live(store, last, 300, &mut random).max(last.min(confirmed));
        let mut power = disk.power();
        power.left = None;
        let mut names: Vec<_> = power.files.keys().copied().collect();
        names.sort_unstable();
        for name in names {
            power.files.get_mut(name).unwrap().cut(&mut random);
        }
    }
    assert!(
        replayed > 40,
        "{replayed} of 120 starts found something in the log"
    );
}
