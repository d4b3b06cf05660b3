//! A disk that fails.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicI32;
use std::sync::mpsc;

use redb::StorageBackend;

use super::*;
use crate::codec::key::Key;
use crate::disk::{Disk, DiskError, DiskFile, Op, Redb, Visit};

/// What fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Write,
    Grow,
    Sync,
}

/// A file that fails on demand, once with an error of the system.
#[derive(Debug)]
struct Faulty {
    file: DiskFile,
    fault: Arc<Fault>,
}

#[derive(Debug)]
struct Fault {
    call: Call,
    /// The number of the error; 0 for none.
    errno: AtomicI32,
    /// Calls that still succeed.
    after: Mutex<u32>,
}

impl Faulty {
    fn fail(&self, call: Call) -> io::Result<()> {
        let errno = self.fault.errno.load(Ordering::SeqCst);
        if call != self.fault.call || errno == 0 {
            return Ok(());
        }
        let mut after = self.fault.after.lock().unwrap();
        if *after > 0 {
            *after -= 1;
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(errno))
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fail(Call::Grow)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fail(Call::Sync)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fail(Call::Write)?;
        self.file.write(offset, data)
    }
}

/// A store over a file that will fail.
fn faulty(folder: &Path, call: Call, after: u32) -> (Store, Arc<Fault>) {
    let (mut store, _) = open(folder, Expect::Any, options()).unwrap();
    store.disk = Box::new(Nothing);
    let fault = Arc::new(Fault {
        call,
        errno: AtomicI32::new(0),
        after: Mutex::new(after),
    });
    let file = Faulty {
        file: DiskFile::open(&store.path).unwrap(),
        fault: Arc::clone(&fault),
    };
    store.disk = Box::new(Redb::open(file, 8 << 20).unwrap());
    (store, fault)
}

/// In place of a database that is closed.
struct Nothing;

impl Disk for Nothing {
    fn commit(&mut self, _: &mut dyn Iterator<Item = Op<'_>>) -> Result<(), DiskError> {
        Ok(())
    }

    fn get(&self, _: &Key) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(None)
    }

    fn scan(&self, _: &mut Visit<'_>) -> Result<(), DiskError> {
        Ok(())
    }

    fn records(&self) -> Result<u64, DiskError> {
        Ok(0)
    }

    fn compact(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

#[test]
fn an_error_of_the_disk_ends_all_confirmation_and_is_told_once() {
    for call in [Call::Write, Call::Sync] {
        for after in [0, 1, 2] {
            let folder = Folder::new();
            let (store, fault) = faulty(&folder.0, call, after);
            let doorbell = Arc::new(Doorbell::new().unwrap());
            let (tell, told) = mpsc::sync_channel(4);
            let on_failure = Box::new(move |failure: &StoreFailure| {
                tell.send(failure.to_string()).unwrap();
            });
            let (mut links, handle) = store.start(&[doorbell], on_failure).unwrap();
            let mut running = Running {
                link: links.pop().unwrap(),
                handle,
                number: 0,
            };
            running.store(vec![session(1), entry(1, 2)]);
            fault.errno.store(libc::EIO, Ordering::SeqCst);
            // A call that succeeds yet belongs to a commit that may succeed.
            let mut stored = 1;
            let failure = loop {
                let number = running.number;
                running.send(vec![entry(1, number + 2)]);
                match told.recv_timeout(Duration::from_millis(200)) {
                    Ok(failure) => break failure,
                    Err(_) => stored = running.link.committed(),
                }
                assert!(running.number < 20, "nobody was told");
            };
            assert!(failure.contains("store.redb"), "{failure}");
            let last = running.number;
            running.send(vec![entry(1, 100)]);
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(running.link.committed(), stored, "{call:?} {last}");
            assert!(running.link.bytes_under_way() > 0);
            assert!(running.handle.stop().is_err());
            assert!(told.try_recv().is_err());
            // What was confirmed is there.
            let entries = stored_entries(&folder.0);
            assert!(entries as u64 >= stored, "{entries} {stored}");
        }
    }
}

fn stored_entries(folder: &Path) -> usize {
    stored(folder).sessions[0].entries.len()
}

#[test]
fn a_group_that_finds_no_room_is_written_when_there_is_some() {
    for call in [Call::Write, Call::Sync, Call::Grow] {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            let folder = Folder::new();
            let (store, fault) = faulty(&folder.0, call, 0);
            let mut running = Running::of(store);
            running.store(vec![session(1), entry(1, 2)]);
            fault.errno.store(errno, Ordering::SeqCst);
            for number in 3..300 {
                // Enough to make the file grow.
                let mut changes = vec![entry(1, number)];
                changes.extend((0..20).map(|i| Change::Retain {
                    message: message(&format!("{number}/{i}"), &[7; 600]),
                }));
                running.send(changes);
            }
            running.wait(running.number);
            assert_eq!(running.link.bytes_under_way(), 0);
            running.handle.stop().unwrap();
            assert_eq!(stored_entries(&folder.0), 298, "{call:?} {errno}");
        }
    }
}
