//! What the log has is brought into the database, on a thread of its own.
//!
//! Nobody waits for that unless the log is full. The changes go in pieces, in the order of
//! their keys, so that no piece keeps the disk from the log for long; only the last one says
//! that the log's records are in the database. A crash in between finds them in the log and
//! brings them all again, which changes nothing: they say what is, not what is added to it.
//!
//! Space is given back here, too, and a full disk is waited for.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shard_sync::Doorbell;

use crate::ballast::Ballast;
use crate::batch::Batch;
use crate::codec;
use crate::codec::key::Key;
use crate::disk::{Disk, DiskError, Op};
use crate::files::Files;
use crate::link::Health;
use crate::log::{LogFile, Position};
use crate::schedule;
use crate::space;
use crate::thread::StoreFailure;

/// Bytes of a piece, with so many for each record beside its value. In tests a crash is to
/// fall between pieces.
const PIECE_BYTES: usize = if cfg!(test) { 8 << 10 } else { 1 << 20 };
const RECORD_BYTES: usize = 128;

/// How often it is looked whether a write that found no room can be tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// How long a write is not tried again while the disk still looks full.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// How often a write is tried again when the store is to stop.
const STOP_ATTEMPTS: u32 = 4;

/// How long a full disk is waited for when the store is to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes of values that are moved together only to give space back: about 0.2 s.
const COMPACT_BYTES: u64 = 32 << 20;

/// Bytes of the file for which that is not worth it.
const HOLLOW_BYTES: u64 = 8 << 20;

/// The most often that a full disk makes the store move its records together.
const COMPACT_PAUSE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Work {
    /// To be brought into the database, with what it then has of the log.
    pub(crate) batch: Batch,
    pub(crate) position: Position,
    /// The file of the log that is free afterwards, and how big it is to be then.
    pub(crate) file: Option<(LogFile, u64)>,
    /// Then give space back.
    pub(crate) tidy: bool,
}

/// What was done.
#[derive(Debug)]
pub(crate) struct Done {
    /// Empty.
    pub(crate) batch: Batch,
    /// A free file of the log.
    pub(crate) file: Option<LogFile>,
    /// Whether there may be more space to give back.
    pub(crate) result: Result<bool, Stuck>,
}

/// Why nothing more can be done.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// The disk is full, and the store is to stop. What the log has stays there.
    Full(StoreFailure),
    /// It failed.
    Failed(StoreFailure),
}

impl From<Stuck> for StoreFailure {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Full(failure) | Stuck::Failed(failure) => failure,
        }
    }
}

/// The thread, as the one that writes the log sees it. Does one thing at a time.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    work: Option<SyncSender<Work>>,
    done: Arc<Mutex<Option<Done>>>,
    thread: Option<JoinHandle<()>>,
    running: bool,
}

impl Checkpoints {
    pub(crate) fn is_running(&self) -> bool {
        self.running
    }

    /// Whether there is something to take.
    pub(crate) fn is_done(&self) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.is_some() || self.has_died()
    }

    fn has_died(&self) -> bool {
        self.running && self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Begins. Nothing may be running.
    pub(crate) fn begin(&mut self, work: Work) {
        self.running = true;
        if let Some(sender) = &self.work {
            // If there is nobody any more, that is seen where the result is waited for.
            let _ = sender.send(work);
        }
    }

    /// What was done since it began; an error when the thread has died.
    pub(crate) fn take(&mut self) -> Result<Option<Done>, String> {
        let died = self.has_died();
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        match done.take() {
            Some(done) => {
                self.running = false;
                Ok(Some(done))
            }
            None if died => Err("the thread of the database panicked".to_owned()),
            None => Ok(None),
        }
    }
}

impl Drop for Checkpoints {
    /// Closes the database.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread has.
pub(crate) struct Checkpointer {
    /// Not there only while it is opened again.
    pub(crate) disk: Option<Box<dyn Disk>>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) path: PathBuf,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) health: Arc<Health>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Bytes of values and number of records that were written.
    pub(crate) written: (u64, u64),
    pub(crate) compacted: Option<Instant>,
}

impl Checkpointer {
    /// Starts the thread, which rings `doorbell` whenever it has done something.
    pub(crate) fn start(mut self, doorbell: Arc<Doorbell>) -> io::Result<Checkpoints> {
        let (sender, receiver) = mpsc::sync_channel::<Work>(1);
        let done = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&done);
        let thread = std::thread::Builder::new()
            .name("store-database".to_owned())
            .spawn(move || self.run(&receiver, &slot, &doorbell))?;
        Ok(Checkpoints {
            work: Some(sender),
            done,
            thread: Some(thread),
            running: false,
        })
    }

    fn run(&mut self, work: &Receiver<Work>, slot: &Mutex<Option<Done>>, doorbell: &Doorbell) {
        schedule::at_leisure();
        while let Ok(mut work) = work.recv() {
            let result = self.work(&work);
            work.batch.clear();
            let file = work.file.map(|(mut file, bytes)| {
                if !self.health.full.load(Ordering::Relaxed) {
                    file.grow(bytes);
                }
                file
            });
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Done {
                batch: work.batch,
                file,
                result,
            });
            doorbell.ring();
        }
    }

    fn work(&mut self, work: &Work) -> Result<bool, Stuck> {
        if work.tidy && self.health.full.load(Ordering::Relaxed) {
            return self.make_room();
        }
        if work.tidy && self.is_hollow()? {
            self.compact()?;
        }
        let before = space::taken(&self.path).unwrap_or(0);
        self.write(&work.batch, &work.position)?;
        // Each commit gives back half of what is free at the end of the file.
        Ok(!work.tidy || space::taken(&self.path).unwrap_or(0) < before)
    }

    /// Writes a batch, however long that takes while the disk is full.
    fn write(&mut self, batch: &Batch, position: &Position) -> Result<(), Stuck> {
        let mut attempts = 0;
        loop {
            let Some(disk) = &mut self.disk else {
                self.open_again()?;
                continue;
            };
            match write(&mut **disk, batch, position) {
                Ok(()) => break,
                Err(DiskError::Full(error)) => {
                    self.wait_for_room(batch, &error, &mut attempts)?;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.health.no_room.store(false, Ordering::Relaxed);
        self.count(batch);
        Ok(())
    }

    fn count(&mut self, batch: &Batch) {
        // An average of about the last million records.
        let (bytes, count) = &mut self.written;
        *bytes += batch.bytes() as u64;
        *count += batch.values() as u64;
        if *count > 1 << 20 {
            (*bytes, *count) = (*bytes / 2, *count / 2);
        }
    }

    /// After the disk was full: the database is opened anew, since the library does not go on
    /// after an error, and since what it has in memory may not be what is on the disk.
    fn wait_for_room(
        &mut self,
        batch: &Batch,
        error: &io::Error,
        attempts: &mut u32,
    ) -> Result<(), Stuck> {
        self.disk = None;
        self.health.no_room.store(true, Ordering::Relaxed);
        if self.ballast.give_up() {
            return self.open_again();
        }
        let least = FULL_PAUSE.saturating_mul(1 << (*attempts).min(4));
        *attempts += 1;
        let begun = Instant::now();
        loop {
            std::thread::sleep(FULL_PAUSE);
            let waited = begun.elapsed();
            let stopping = self.stop.load(Ordering::SeqCst);
            if stopping && (waited > STOP_PATIENCE || *attempts > STOP_ATTEMPTS) {
                let what = format!("stopped while the disk is full: {error}");
                return Err(Stuck::Full(self.failure(what)));
            }
            // A quota is not seen here, and is tried again now and then.
            if (waited >= least && self.has_room(batch)) || waited >= FULL_RETRY {
                return self.open_again();
            }
        }
    }

    /// Whether there seems to be room for a batch: opening the database reads all of it, so
    /// it is not tried in vain.
    fn has_room(&self, batch: &Batch) -> bool {
        let needed = 4 * batch.live() as u64 + (1 << 20);
        space::of(&self.path).map_or(true, |space| space.free >= needed)
    }

    fn open_again(&mut self) -> Result<(), Stuck> {
        match self.files.database() {
            Ok(disk) => self.disk = Some(disk),
            Err(DiskError::Full(_)) => std::thread::sleep(FULL_PAUSE),
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(())
    }

    /// Whether the file is big and has little in it, so that moving that takes a moment.
    fn is_hollow(&self) -> Result<bool, Stuck> {
        let Some(Ok(records)) = self.disk.as_ref().map(|disk| disk.records()) else {
            return Ok(false);
        };
        let (bytes, count) = self.written;
        let live = records.saturating_mul(bytes / count.max(1));
        let taken = space::taken(&self.path).map_err(|error| self.failed(&error))?;
        Ok(live < COMPACT_BYTES && taken > 4 * live + HOLLOW_BYTES)
    }

    /// With a full disk and nothing to write, the records are moved together, now and then.
    fn make_room(&mut self) -> Result<bool, Stuck> {
        let recent = |compacted: Instant| compacted.elapsed() < COMPACT_PAUSE;
        if self.compacted.is_some_and(recent) {
            return Ok(true);
        }
        self.compact()?;
        Ok(false)
    }

    /// Moves the records together.
    fn compact(&mut self) -> Result<(), Stuck> {
        self.compacted = Some(Instant::now());
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        match disk.compact() {
            Ok(()) => Ok(()),
            Err(DiskError::Full(_)) => {
                self.disk = None;
                self.open_again()
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Stuck {
        Stuck::Failed(self.failure(error.to_string()))
    }

    fn failure(&self, what: String) -> StoreFailure {
        StoreFailure {
            path: self.path.clone(),
            what,
        }
    }
}

/// Brings a batch into the database, in pieces; the last one says so.
pub(crate) fn write(
    disk: &mut dyn Disk,
    batch: &Batch,
    position: &Position,
) -> Result<(), DiskError> {
    let mut value = Vec::new();
    codec::write_position(&mut value, position);
    let key = Key::log();
    let mut ops = batch.ops();
    let mut last = Some(Op::Put(&key, &value));
    while last.is_some() {
        let mut room = PIECE_BYTES;
        let mut piece = std::iter::from_fn(|| {
            if room == 0 {
                return None;
            }
            let op = ops.next().or_else(|| last.take())?;
            let bytes = match &op {
                Op::Put(_, value) => value.len(),
                _ => 0,
            };
            room = room.saturating_sub(RECORD_BYTES + bytes);
            Some(op)
        });
        disk.commit(&mut piece)?;
    }
    Ok(())
}
