//! The thread that writes the log: one for a node.
//!
//! While a group is on its way to the disk the next one gathers in the rings, so that the
//! slower the disk is, the more commits share one of its writes. Where there is no log, for
//! want of room, groups go straight to the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shard_sync::Doorbell;

use crate::ballast::Ballast;
use crate::batch::Batch;
use crate::checkpoint::{Checkpoints, Stuck, Work};
use crate::clock::Clock;
use crate::codec;
use crate::codec::key::Key;
use crate::disk::DiskError;
use crate::files::{Files, LOGS};
use crate::link::{Health, Source};
use crate::log::{self, Appended, FIRST_BYTES, Log, LogFile, Position};
use crate::open::{Durability, Options};
use crate::space;
use crate::thread::StoreFailure;

/// Records and bytes of a group after which no commit is added to it: they bound how long
/// the others wait.
const GROUP_RECORDS: usize = 8192;
const GROUP_BYTES: usize = 8 << 20;

/// Records in memory from which on they are brought into the database. Twice as many are too
/// many.
const PENDING_RECORDS: usize = 1 << 17;

/// How often the room of the file system is looked at, so that the shards know that the disk
/// is full before a message comes.
const WATCH: Duration = Duration::from_millis(100);

/// How long clients wait for a commit that finds no room.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is written down what the clocks say, while something is written.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);

/// How long nothing must have come before what the log has goes to the database, and before
/// space is given back.
const QUIET: Duration = Duration::from_secs(1);

/// How often a log is tried to make where there was no room for it.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The thread.
pub(crate) struct Writer {
    pub(crate) checkpoints: Checkpoints,
    pub(crate) files: Arc<dyn Files>,
    /// The database.
    pub(crate) path: PathBuf,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    pub(crate) ballast: Arc<Ballast>,
    pub(crate) sources: Vec<Source>,
    pub(crate) own: Arc<Doorbell>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
    /// What the database does not have and is not given yet.
    pub(crate) pending: Batch,
    /// What the database is to have of the log, while there is none.
    pub(crate) position: Position,
    pub(crate) state: State,
}

/// What changes as it runs.
pub(crate) struct State {
    log: Option<Log>,
    /// When a log was tried to make.
    tried: Option<Instant>,
    /// What was taken and is not stored.
    group: Batch,
    /// An empty batch, for its memory.
    spare: Batch,
    /// Bytes of values that the database is being given.
    given: usize,
    /// Whose commits are taken first.
    turn: usize,
    /// When the first change of the group was taken.
    oldest: Option<Instant>,
    /// When something came.
    busy: Instant,
    /// When the room was looked at.
    looked: Instant,
    /// Since when a write finds no room, or when the shards were told so last.
    stuck: Option<Instant>,
    clock_written: Option<Instant>,
    /// Whether something was written since space was given back.
    untidy: bool,
}

impl State {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            log: None,
            tried: None,
            group: Batch::default(),
            spare: Batch::default(),
            given: 0,
            turn: 0,
            oldest: None,
            busy: now,
            looked: now,
            stuck: None,
            clock_written: None,
            untidy: true,
        }
    }
}

impl Writer {
    pub(crate) fn run(&mut self) -> Result<(), StoreFailure> {
        // Before anything new: what an earlier process left may be in the database in part.
        self.begin(None, self.position);
        self.finish()?;
        self.make_log()?;
        self.look_at_space();
        loop {
            // Before the rings are looked at: what was pushed before the stop is found.
            let stopping = self.stop.load(Ordering::SeqCst);
            self.watch()?;
            self.collect()?;
            let taken = self.gather();
            if self.state.group.is_empty() {
                // Changes that annihilate are as good as stored.
                self.forget_group();
                self.confirm();
                if stopping && !taken {
                    return self.end();
                }
                if !taken {
                    self.rest();
                }
            } else if stopping || self.is_due() {
                self.store()?;
            } else {
                self.confirm();
                self.sleep(self.until_due());
            }
        }
    }

    /// Takes commits until the group is big enough; false if there were none.
    fn gather(&mut self) -> bool {
        let count = self.sources.len();
        let mut taken = false;
        loop {
            let mut idle = true;
            for index in 0..count {
                if self.is_big() {
                    return taken;
                }
                let place = (self.state.turn + index) % count;
                let Some(commit) = self.sources[place].take() else {
                    continue;
                };
                idle = false;
                for change in &commit.changes {
                    self.state.group.add(change, self.clock);
                }
            }
            if idle {
                self.state.turn = (self.state.turn + 1) % count.max(1);
                return taken;
            }
            taken = true;
            self.state.busy = Instant::now();
            self.state.oldest.get_or_insert(self.state.busy);
        }
    }

    fn is_big(&self) -> bool {
        self.state.group.len() >= GROUP_RECORDS || self.state.group.bytes() >= GROUP_BYTES
    }

    fn is_due(&self) -> bool {
        self.is_big() || self.until_due().is_some_and(|left| left.is_zero())
    }

    /// How long the group may wait; `None` without one.
    fn until_due(&self) -> Option<Duration> {
        let oldest = self.state.oldest?;
        match self.options.durability {
            Durability::Synced => Some(Duration::ZERO),
            Durability::FlushedEvery(pause) => Some(pause.saturating_sub(oldest.elapsed())),
        }
    }

    fn confirm(&mut self) {
        self.sources.iter_mut().for_each(Source::confirm);
    }

    /// Stores the group, however long that takes while the disk is full.
    fn store(&mut self) -> Result<(), StoreFailure> {
        self.write_clock();
        self.look_at_space();
        if self.pending.len() >= 2 * PENDING_RECORDS {
            self.finish()?;
            self.checkpoint(true);
        }
        match self.append()? {
            Appended::Stored => self.keep(),
            Appended::Full | Appended::TooBig => {
                self.finish()?;
                self.keep_group();
                self.checkpoint(true);
                self.finish()?;
                self.confirm();
            }
        }
        Ok(())
    }

    /// The group is in the log.
    fn keep(&mut self) {
        self.confirm();
        self.keep_group();
        let full = self.health.full.load(Ordering::Relaxed);
        if full || self.pending.len() >= PENDING_RECORDS {
            self.checkpoint(false);
        }
    }

    /// Writes the group to the log, and goes on in its other file if need be.
    fn append(&mut self) -> Result<Appended, StoreFailure> {
        loop {
            let Some(log) = &mut self.state.log else {
                return Ok(Appended::TooBig);
            };
            match log.append(&self.state.group) {
                Ok(Appended::Full) => {
                    self.finish()?;
                    self.checkpoint(true);
                }
                Ok(appended) => return Ok(appended),
                Err(DiskError::Full(_)) => {
                    // Whatever of it is there counts no more than what comes after it.
                    self.position = Position {
                        open: false,
                        ..log.position()
                    };
                    self.state.log = None;
                    self.state.tried = Some(Instant::now());
                }
                Err(error) => {
                    return Err(StoreFailure {
                        path: self.path.with_file_name(LOGS[log.index()]),
                        what: error.to_string(),
                    });
                }
            }
        }
    }

    /// The group is to be brought into the database.
    fn keep_group(&mut self) {
        self.pending.merge(&self.state.group);
        self.forget_group();
    }

    fn forget_group(&mut self) {
        self.state.group.clear();
        self.state.oldest = None;
    }

    /// What the clocks say, now and then.
    fn write_clock(&mut self) {
        let fresh = |written: Instant| written.elapsed() < CLOCK_PAUSE;
        if self.state.clock_written.is_some_and(fresh) {
            return;
        }
        self.state.clock_written = Some(Instant::now());
        let reading = self.clock.read();
        let group = &mut self.state.group;
        group.put(Key::clock(), |out| codec::write_clock(out, reading));
    }

    /// Begins to bring everything that is stored into the database, unless that is under way.
    /// If the log was too small for that, it grows.
    fn checkpoint(&mut self, grow: bool) {
        if self.checkpoints.is_running() {
            return;
        }
        let Some(log) = &mut self.state.log else {
            return self.begin(None, self.position);
        };
        let position = log.position();
        let file = log.switch();
        let max = self.log_bytes_max();
        let file = file.map(|file| {
            let bytes = if grow { (2 * file.bytes()).min(max) } else { 0 };
            (file, bytes)
        });
        self.begin(file, position);
    }

    fn begin(&mut self, file: Option<(LogFile, u64)>, position: Position) {
        let spare = std::mem::take(&mut self.state.spare);
        let batch = std::mem::replace(&mut self.pending, spare);
        self.state.given = batch.live();
        self.state.untidy = true;
        self.checkpoints.begin(Work {
            batch,
            position,
            file,
            tidy: false,
        });
    }

    /// Waits until the database has what it was given.
    fn finish(&mut self) -> Result<(), StoreFailure> {
        self.wait().map_err(StoreFailure::from)
    }

    fn wait(&mut self) -> Result<(), Stuck> {
        while self.checkpoints.is_running() {
            if !self.collect()? {
                let done = &self.checkpoints;
                self.park(Some(WATCH), || !done.is_done());
                self.end_waits();
            }
        }
        self.state.stuck = None;
        Ok(())
    }

    /// Sees whether the database has what it was given.
    fn collect(&mut self) -> Result<bool, Stuck> {
        let done = self.checkpoints.take().map_err(|what| {
            let path = self.path.clone();
            Stuck::Failed(StoreFailure { path, what })
        })?;
        let Some(done) = done else {
            return Ok(false);
        };
        self.state.spare = done.batch;
        self.state.given = 0;
        if let (Some(log), Some(file)) = (&mut self.state.log, done.file) {
            log.give(file);
        }
        self.state.untidy = done.result?;
        Ok(true)
    }

    /// Makes the log if there is room for it.
    fn make_log(&mut self) -> Result<(), StoreFailure> {
        let max = self.log_bytes_max();
        self.state.tried = Some(Instant::now());
        if self.state.log.is_some() || max == 0 {
            return Ok(());
        }
        self.finish()?;
        let made = |index| -> Result<LogFile, DiskError> {
            let file = self.files.make_log(index, FIRST_BYTES.min(max))?;
            Ok(LogFile::new(index, file)?)
        };
        let files = match made(0).and_then(|first| Ok([first, made(1)?])) {
            Ok(files) => files,
            Err(DiskError::Full(_)) => return Ok(()),
            Err(error) => return Err(self.failure(error.to_string())),
        };
        let secret = log::secret().map_err(|error| self.failure(error.to_string()))?;
        self.position = Position {
            open: true,
            secret,
            ..self.position
        };
        self.begin(None, self.position);
        self.finish()?;
        self.state.log = Some(Log::new(files, self.position));
        Ok(())
    }

    fn log_bytes_max(&self) -> u64 {
        space::of(&self.path).map_or(0, |space| {
            log::bytes_max(self.options.log_bytes, space.size)
        })
    }

    /// Says to the shards, now and then, that nobody should wait for what finds no room.
    fn end_waits(&mut self) {
        if !self.health.no_room.load(Ordering::Relaxed) {
            return;
        }
        self.set_full(true);
        let since = *self.state.stuck.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            self.state.stuck = Some(Instant::now());
            self.health.stuck.fetch_add(1, Ordering::Relaxed);
            self.sources.iter().for_each(Source::wake);
        }
    }

    /// Looks at the room if that was not done lately.
    fn watch(&mut self) -> Result<(), StoreFailure> {
        if self.state.looked.elapsed() < WATCH {
            return Ok(());
        }
        self.look_at_space();
        let full = self.health.full.load(Ordering::Relaxed);
        let waited = |tried: Instant| tried.elapsed() >= LOG_PAUSE;
        if !full && self.state.log.is_none() && self.state.tried.is_none_or(waited) {
            self.make_log()?;
        }
        // What frees something does so in the database only.
        if full && !self.pending.is_empty() {
            self.checkpoint(false);
        }
        Ok(())
    }

    /// Says whether the disk counts as full.
    fn look_at_space(&mut self) {
        self.state.looked = Instant::now();
        if self.health.no_room.load(Ordering::Relaxed) {
            self.set_full(true);
            return;
        }
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
        // What the log has will need room in the database.
        let owed = 2 * (self.pending.live() + self.state.given) as u64;
        let free = space.free.saturating_sub(owed);
        let mut full = free < enough;
        if !self.ballast.is_whole() {
            full |= free < enough + reserve || !self.ballast.fill(reserve);
        }
        self.set_full(full);
    }

    fn set_full(&self, full: bool) {
        if self.health.full.swap(full, Ordering::Relaxed) != full {
            self.sources.iter().for_each(Source::wake);
        }
    }

    /// There is nothing to write.
    fn rest(&mut self) {
        self.sleep(None);
        let quiet = self.state.busy.elapsed() >= QUIET;
        if !quiet || self.checkpoints.is_running() || self.stop.load(Ordering::SeqCst) {
            return;
        }
        if !self.pending.is_empty() {
            self.checkpoint(false);
        } else if self.state.untidy {
            self.state.busy = Instant::now();
            let position = self.position();
            self.checkpoints.begin(Work {
                batch: std::mem::take(&mut self.state.spare),
                position,
                file: None,
                tidy: true,
            });
        }
    }

    /// What the database has when it has all that is stored.
    fn position(&self) -> Position {
        let log = self.state.log.as_ref();
        log.map_or(self.position, Log::position)
    }

    /// Everything is on the disk, if not in the database. Brings it there.
    fn end(&mut self) -> Result<(), StoreFailure> {
        self.state.clock_written = None;
        match self.close() {
            // The log keeps what finds no room in the database.
            Err(Stuck::Full(_)) if self.state.log.is_some() => Ok(()),
            ended => Ok(ended?),
        }
    }

    fn close(&mut self) -> Result<(), Stuck> {
        self.wait()?;
        if self.pending.is_empty() && self.health.full.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.write_clock();
        self.keep_group();
        let position = Position {
            open: false,
            ..self.position()
        };
        self.begin(None, position);
        self.wait()
    }

    fn sleep(&self, pause: Option<Duration>) {
        let nothing = || {
            self.sources.iter().all(Source::is_empty)
                && !self.stop.load(Ordering::SeqCst)
                && !self.checkpoints.is_done()
        };
        self.park(pause, nothing);
    }

    /// Sleeps while there is nothing to do, and no longer than the room may go unwatched.
    fn park(&self, pause: Option<Duration>, nothing: impl Fn() -> bool) {
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

    fn failure(&self, what: String) -> StoreFailure {
        StoreFailure {
            path: self.path.clone(),
            what,
        }
    }
}
