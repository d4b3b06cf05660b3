//! The thread that writes: one for a node.
//!
//! While a group is on its way to the disk the next one gathers in the rings, so that the
//! slower the disk is, the more commits share one of its writes.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use shard_sync::Doorbell;

use crate::ballast::Ballast;
use crate::batch::Batch;
use crate::clock::Clock;
use crate::codec;
use crate::codec::key::Key;
use crate::disk::{Disk, DiskError};
use crate::link::{Health, Source, StoreLink, link};
use crate::open::{Durability, Options, Store, reopen};
use crate::space;

/// Records and bytes of a group after which no commit is added to it: they bound how long
/// the others wait.
const GROUP_RECORDS: usize = 8192;
const GROUP_BYTES: usize = 8 << 20;

/// How often it is looked whether a write that found no room can be tried again.
const FULL_PAUSE: Duration = Duration::from_millis(250);

/// How long a write is not tried again while the disk still looks full.
const FULL_RETRY: Duration = Duration::from_secs(10);

/// How often the room of the file system is looked at, so that the shards know that the disk
/// is full before a message comes.
const WATCH: Duration = Duration::from_millis(100);

/// How long clients wait for a commit that finds no room.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a write is tried again when the store is to stop.
const STOP_ATTEMPTS: u32 = 4;

/// How long a full disk is waited for when the store is to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// How often it is written down what the clocks say, while something is written.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing must have come before space is given back.
const QUIET: Duration = Duration::from_secs(1);

/// The most bytes of values that are moved together only to give space back: about 0.2 s.
const COMPACT_BYTES: u64 = 32 << 20;

/// Bytes of the file for which that is not worth it.
const HOLLOW_BYTES: u64 = 8 << 20;

/// The most often that a full disk makes the store move its records together.
const COMPACT_PAUSE: Duration = Duration::from_secs(60);

/// Why the store does not go on.
#[derive(Clone, Debug)]
pub struct StoreFailure {
    /// The database.
    pub path: PathBuf,
    /// What went wrong.
    pub what: String,
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for StoreFailure {}

/// Called once, on the store's thread, when it cannot go on. From then on nothing is
/// confirmed any more.
pub type OnFailure = Box<dyn FnOnce(&StoreFailure) + Send>;

/// The store's thread.
#[derive(Debug)]
pub struct StoreHandle {
    thread: JoinHandle<Result<(), StoreFailure>>,
    stop: Arc<AtomicBool>,
    doorbell: Arc<Doorbell>,
}

impl StoreHandle {
    /// Waits until everything that was handed over is on the disk, and ends the thread. To be
    /// called when the shards have ended.
    pub fn stop(self) -> Result<(), StoreFailure> {
        self.stop.store(true, Ordering::SeqCst);
        self.doorbell.ring();
        self.thread.join().unwrap_or_else(|_| {
            Err(StoreFailure {
                path: PathBuf::new(),
                what: "the store's thread panicked".to_owned(),
            })
        })
    }
}

impl Store {
    /// Starts the thread. Gives each shard, in order, its link.
    pub fn start(
        self,
        shards: &[Arc<Doorbell>],
        on_failure: OnFailure,
    ) -> io::Result<(Vec<StoreLink>, StoreHandle)> {
        let own = Arc::new(Doorbell::new()?);
        let health = Arc::new(Health::default());
        let stop = Arc::new(AtomicBool::new(false));
        let links = shards.iter().map(|shard| link(shard, &own, &health));
        let (links, sources) = links.unzip();
        let mut writer = Writer {
            disk: Some(self.disk),
            path: self.path,
            clock: self.clock,
            options: self.options,
            ballast: self.ballast,
            sources,
            own: Arc::clone(&own),
            stop: Arc::clone(&stop),
            health,
            batch: Batch::default(),
            turn: 0,
            oldest: None,
            busy: Instant::now(),
            looked: Instant::now(),
            stuck: None,
            clock_written: None,
            compacted: None,
            written: self.loaded,
            untidy: true,
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let ended = writer.run();
                if let Err(failure) = &ended {
                    on_failure(failure);
                }
                ended
            })?;
        let handle = StoreHandle {
            thread,
            stop,
            doorbell: own,
        };
        Ok((links, handle))
    }
}

struct Writer {
    /// Not there only while it is opened again.
    disk: Option<Box<dyn Disk>>,
    path: PathBuf,
    clock: Clock,
    options: Options,
    ballast: Arc<Ballast>,
    sources: Vec<Source>,
    own: Arc<Doorbell>,
    stop: Arc<AtomicBool>,
    health: Arc<Health>,
    batch: Batch,
    /// Whose commits are taken first.
    turn: usize,
    /// When the first change of the batch was taken.
    oldest: Option<Instant>,
    /// When something came.
    busy: Instant,
    /// When the room was looked at.
    looked: Instant,
    /// Since when a write finds no room, or when the shards were told so last.
    stuck: Option<Instant>,
    clock_written: Option<Instant>,
    compacted: Option<Instant>,
    /// Bytes of values and number of records that were written.
    written: (u64, u64),
    /// Whether something was written since space was given back.
    untidy: bool,
}

impl Writer {
    fn run(&mut self) -> Result<(), StoreFailure> {
        self.look_at_space();
        loop {
            // Before the rings are looked at: what was pushed before the stop is found.
            let stopping = self.stop.load(Ordering::SeqCst);
            self.watch();
            let taken = self.gather();
            if self.batch.is_empty() {
                // Changes that annihilate are as good as stored.
                self.forget_batch();
                self.confirm();
                if stopping && !taken {
                    return self.end();
                }
                if !taken {
                    self.rest()?;
                }
            } else if stopping || self.is_due() {
                self.look_at_space();
                self.write()?;
                self.confirm();
            } else {
                self.confirm();
                self.sleep(self.until_due());
            }
        }
    }

    /// Takes commits until the batch is big enough; false if there were none.
    fn gather(&mut self) -> bool {
        let count = self.sources.len();
        let mut taken = false;
        loop {
            let mut idle = true;
            for index in 0..count {
                if self.is_big() {
                    return taken;
                }
                let place = (self.turn + index) % count;
                let Some(commit) = self.sources[place].take() else {
                    continue;
                };
                idle = false;
                for change in &commit.changes {
                    self.batch.add(change, self.clock);
                }
            }
            if idle {
                self.turn = (self.turn + 1) % count.max(1);
                return taken;
            }
            taken = true;
            self.busy = Instant::now();
            self.oldest.get_or_insert(self.busy);
        }
    }

    fn is_big(&self) -> bool {
        self.batch.len() >= GROUP_RECORDS || self.batch.bytes() >= GROUP_BYTES
    }

    fn is_due(&self) -> bool {
        self.is_big() || self.until_due().is_some_and(|left| left.is_zero())
    }

    /// How long the batch may wait; `None` without a batch.
    fn until_due(&self) -> Option<Duration> {
        let oldest = self.oldest?;
        match self.options.durability {
            Durability::Synced => Some(Duration::ZERO),
            Durability::FlushedEvery(pause) => Some(pause.saturating_sub(oldest.elapsed())),
        }
    }

    fn confirm(&mut self) {
        self.sources.iter_mut().for_each(Source::confirm);
    }

    /// Writes the batch, however long that takes while the disk is full.
    fn write(&mut self) -> Result<(), StoreFailure> {
        self.write_clock();
        self.untidy = true;
        let mut attempts = 0;
        loop {
            let Some(disk) = &mut self.disk else {
                self.open_again()?;
                continue;
            };
            let result = disk.commit(&mut self.batch.ops());
            match result {
                Ok(()) => break,
                Err(DiskError::Full(error)) => self.wait_for_room(&error, &mut attempts)?,
                Err(error) => return Err(self.failure(&error)),
            }
        }
        self.stuck = None;
        self.forget_batch();
        Ok(())
    }

    fn forget_batch(&mut self) {
        if !self.batch.is_empty() {
            // An average of about the last million records.
            let (bytes, count) = &mut self.written;
            *bytes += self.batch.bytes() as u64;
            *count += self.batch.values() as u64;
            if *count > 1 << 20 {
                (*bytes, *count) = (*bytes / 2, *count / 2);
            }
        }
        self.batch.clear();
        self.oldest = None;
    }

    /// What the clocks say, now and then.
    fn write_clock(&mut self) {
        let fresh = |written: Instant| written.elapsed() < CLOCK_PAUSE;
        if self.clock_written.is_some_and(fresh) {
            return;
        }
        self.clock_written = Some(Instant::now());
        let reading = self.clock.read();
        self.batch
            .put(Key::clock(), |out| codec::write_clock(out, reading));
    }

    /// After the disk was full: the database is opened anew, since the library does not go on
    /// after an error, and since what it has in memory may not be what is on the disk.
    fn wait_for_room(&mut self, error: &io::Error, attempts: &mut u32) -> Result<(), StoreFailure> {
        self.disk = None;
        self.set_full(true);
        if self.ballast.give_up() {
            return self.open_again();
        }
        let least = FULL_PAUSE.saturating_mul(1 << (*attempts).min(4));
        *attempts += 1;
        let begun = Instant::now();
        loop {
            std::thread::sleep(FULL_PAUSE);
            self.end_waits();
            let waited = begun.elapsed();
            let stopping = self.stop.load(Ordering::SeqCst);
            if stopping && (waited > STOP_PATIENCE || *attempts > STOP_ATTEMPTS) {
                return Err(self.failure(&format!("stopped while the disk is full: {error}")));
            }
            // A quota is not seen here, and is tried again now and then.
            if (waited >= least && self.has_room()) || waited >= FULL_RETRY {
                return self.open_again();
            }
        }
    }

    /// Whether there seems to be room for the batch: opening the database reads all of it, so
    /// it is not tried in vain.
    fn has_room(&self) -> bool {
        let needed = 4 * self.batch.bytes() as u64 + (1 << 20);
        space::of(&self.path).map_or(true, |space| space.free >= needed)
    }

    fn open_again(&mut self) -> Result<(), StoreFailure> {
        match reopen(&self.path, &self.options, &self.ballast) {
            Ok(disk) => self.disk = Some(disk),
            Err(DiskError::Full(_)) => {
                std::thread::sleep(FULL_PAUSE);
                self.end_waits();
            }
            Err(error) => return Err(self.failure(&error)),
        }
        Ok(())
    }

    /// Says to the shards, now and then, that nobody should wait for what finds no room.
    fn end_waits(&mut self) {
        let since = *self.stuck.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            self.stuck = Some(Instant::now());
            self.health.stuck.fetch_add(1, Ordering::Relaxed);
            self.sources.iter().for_each(Source::wake);
        }
    }

    /// Looks at the room if that was not done lately.
    fn watch(&mut self) {
        if self.looked.elapsed() >= WATCH {
            self.look_at_space();
        }
    }

    /// Says whether the disk counts as full.
    fn look_at_space(&mut self) {
        self.looked = Instant::now();
        // Whoever cannot be asked about its room says so when there is none.
        let Ok(space) = space::of(&self.path) else {
            return;
        };
        let reserve = space::reserve(self.options.reserve_bytes, space);
        // Once full, somewhat more is needed, lest it change with every message.
        let enough = match self.health.full.load(Ordering::Relaxed) {
            false => reserve,
            true => reserve + reserve / 4,
        };
        let mut full = space.free < enough;
        if !self.ballast.is_whole() {
            full |= space.free < enough + reserve || !self.ballast.fill(reserve);
        }
        self.set_full(full);
    }

    fn set_full(&self, full: bool) {
        if self.health.full.swap(full, Ordering::Relaxed) != full {
            self.sources.iter().for_each(Source::wake);
        }
    }

    /// There is nothing to write.
    fn rest(&mut self) -> Result<(), StoreFailure> {
        self.sleep(None);
        if !self.sources.iter().all(Source::is_empty) || self.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.health.full.load(Ordering::Relaxed) {
            self.make_room()?;
        } else if self.untidy && self.busy.elapsed() >= QUIET {
            self.give_back()?;
            self.busy = Instant::now();
        }
        Ok(())
    }

    /// Gives back what is free at the end of the file: each commit cuts half of it off. When
    /// there is little left in a big file, it is moved together first.
    fn give_back(&mut self) -> Result<(), StoreFailure> {
        if self.is_hollow()? {
            self.compact()?;
        }
        let before = space::taken(&self.path).unwrap_or(0);
        self.clock_written = None;
        self.write()?;
        self.untidy = space::taken(&self.path).unwrap_or(0) < before;
        Ok(())
    }

    /// Whether the file is big and has little in it, so that moving that takes a moment.
    fn is_hollow(&mut self) -> Result<bool, StoreFailure> {
        let Some(Ok(records)) = self.disk.as_ref().map(|disk| disk.records()) else {
            return Ok(false);
        };
        let (bytes, count) = self.written;
        let live = records.saturating_mul(bytes / count.max(1));
        let taken = space::taken(&self.path).map_err(|error| self.failure(&error))?;
        Ok(live < COMPACT_BYTES && taken > 4 * live + HOLLOW_BYTES)
    }

    /// With a full disk and nothing to write, the records are moved together.
    fn make_room(&mut self) -> Result<(), StoreFailure> {
        let recent = |compacted: Instant| compacted.elapsed() < COMPACT_PAUSE;
        if !self.untidy || self.compacted.is_some_and(recent) {
            return Ok(());
        }
        self.untidy = false;
        self.compact()
    }

    /// Moves the records together. Nothing is written meanwhile.
    fn compact(&mut self) -> Result<(), StoreFailure> {
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
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Everything is on the disk.
    fn end(&mut self) -> Result<(), StoreFailure> {
        if !self.health.full.load(Ordering::Relaxed) {
            self.clock_written = None;
            self.write()?;
        }
        self.disk = None;
        Ok(())
    }

    fn sleep(&self, pause: Option<Duration>) {
        let (sources, stop) = (&self.sources, &self.stop);
        let nothing = || sources.iter().all(Source::is_empty) && !stop.load(Ordering::SeqCst);
        if self.own.park(nothing) {
            let pause = pause.map_or(WATCH, |pause| pause.min(WATCH));
            let pause = i32::try_from(pause.as_millis() + 1).unwrap_or(i32::MAX);
            let mut poll = libc::pollfd {
                fd: self.own.fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&raw mut poll, 1, pause) };
            self.own.drain();
        }
        self.own.unpark();
    }

    fn failure(&self, what: &dyn fmt::Display) -> StoreFailure {
        StoreFailure {
            path: self.path.clone(),
            what: what.to_string(),
        }
    }
}
