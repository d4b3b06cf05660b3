//! A disk that fails.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicI32;
use std::sync::mpsc;

use redb::StorageBackend;

use super::*;
use crate::ballast::Ballast;
use crate::disk::{Disk, DiskError, DiskFile, Redb};
use crate::files::{self, DATABASE, Files, LOGS};
use crate::open::open_files;

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

/// Which file fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Database,
    Log,
}

/// The files of a folder, of which one fails as it is opened first.
struct FaultyFiles {
    files: files::Folder,
    folder: PathBuf,
    place: Place,
    fault: Mutex<Option<Arc<Fault>>>,
}

impl FaultyFiles {
    fn over(&self, place: Place, path: &str) -> Option<Faulty> {
        let mut fault = self.fault.lock().unwrap();
        let fault = fault.take_if(|_| self.place == place)?;
        let file = DiskFile::open(&self.folder.join(path)).unwrap();
        Some(Faulty { file, fault })
    }
}

impl Files for FaultyFiles {
    fn database(&self) -> Result<Box<dyn Disk>, DiskError> {
        match self.over(Place::Database, DATABASE) {
            Some(file) => Ok(Box::new(Redb::open(file, 8 << 20)?)),
            None => self.files.database(),
        }
    }

    fn log(&self, index: usize) -> io::Result<Option<Box<dyn StorageBackend>>> {
        self.files.log(index)
    }

    fn make_log(&self, index: usize, bytes: u64) -> io::Result<Box<dyn StorageBackend>> {
        let made = self.files.make_log(index, bytes)?;
        match self.over(Place::Log, LOGS[index]) {
            Some(file) => Ok(Box::new(file)),
            None => Ok(made),
        }
    }
}

/// A store over a file that will fail.
fn faulty(folder: &Path, place: Place, call: Call, after: u32) -> (Store, Arc<Fault>) {
    drop(open(folder, Expect::Any, options()).unwrap());
    let fault = Arc::new(Fault {
        call,
        errno: AtomicI32::new(0),
        after: Mutex::new(after),
    });
    let ballast = Arc::new(Ballast::of(folder));
    let files = FaultyFiles {
        files: files::Folder::new(folder, 8 << 20, &ballast),
        folder: folder.to_owned(),
        place,
        fault: Mutex::new(Some(Arc::clone(&fault))),
    };
    let path = folder.join(DATABASE);
    let (store, _) = open_files(path, Arc::new(files), ballast, options()).unwrap();
    (store, fault)
}

#[test]
fn an_error_of_the_disk_ends_all_confirmation_and_is_told_once() {
    let places = [Place::Log, Place::Database];
    let calls = [Call::Write, Call::Sync];
    for (place, call) in places
        .iter()
        .flat_map(|place| calls.map(|call| (*place, call)))
    {
        for after in [0, 1, 2] {
            let folder = Folder::new();
            let (store, fault) = faulty(&folder.0, place, call, after);
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
            // What the log has goes to the database when it is quiet.
            let pause = match place {
                Place::Log => Duration::from_millis(200),
                Place::Database => Duration::from_secs(3),
            };
            let failure = loop {
                let number = running.number;
                running.send(vec![entry(1, number + 2)]);
                if let Ok(failure) = told.recv_timeout(pause) {
                    break failure;
                }
                assert!(running.number < 20, "nobody was told");
            };
            let name = match place {
                Place::Log => "store.log.0",
                Place::Database => "store.redb",
            };
            assert!(failure.contains(name), "{failure}");
            let stored = running.link.committed();
            let last = running.number;
            running.send(vec![entry(1, 100)]);
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(
                running.link.committed(),
                stored,
                "{place:?} {call:?} {last}"
            );
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
    let places = [
        (Place::Log, Call::Write),
        (Place::Log, Call::Sync),
        (Place::Database, Call::Write),
        (Place::Database, Call::Sync),
        (Place::Database, Call::Grow),
    ];
    for (place, call) in places {
        for errno in [libc::ENOSPC, libc::EDQUOT] {
            let folder = Folder::new();
            let (store, fault) = faulty(&folder.0, place, call, 0);
            let mut running = Running::of(store);
            running.store(vec![session(1), entry(1, 2)]);
            fault.errno.store(errno, Ordering::SeqCst);
            for number in 3..300 {
                // Enough to make the file grow.
                let mut changes = vec![entry(1, number)];
                changes.extend((0..20).map(|i| Change::Retain {
                    message: message(&format!("{number}/{i}"), &[7; 600]),
                    version: 1,
                }));
                running.send(changes);
            }
            running.wait(running.number);
            assert_eq!(running.link.bytes_under_way(), 0);
            running.handle.stop().unwrap();
            assert_eq!(stored_entries(&folder.0), 298, "{place:?} {call:?} {errno}");
        }
    }
}
