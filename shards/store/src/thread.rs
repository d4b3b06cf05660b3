//! The threads that write, and how they are started and stopped: one for the log, one for
//! the database.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use shard_sync::Doorbell;

use crate::checkpoint::Checkpointer;
use crate::link::{Health, StoreLink, link};
use crate::open::Store;
use crate::schedule;
use crate::writer::{State, Writer};

/// Why the store does not go on.
#[derive(Clone, Debug)]
pub struct StoreFailure {
    /// The file.
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
    /// Starts the threads. Gives each shard, in order, its link.
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
        let checkpoints = Checkpointer {
            disk: Some(self.disk),
            files: Arc::clone(&self.files),
            path: self.path.clone(),
            ballast: Arc::clone(&self.ballast),
            health: Arc::clone(&health),
            stop: Arc::clone(&stop),
            written: self.loaded,
            compacted: None,
        }
        .start(Arc::clone(&own))?;
        let mut writer = Writer {
            checkpoints,
            files: self.files,
            path: self.path,
            clock: self.clock,
            options: self.options,
            ballast: self.ballast,
            sources,
            own: Arc::clone(&own),
            stop: Arc::clone(&stop),
            health,
            pending: self.pending,
            position: self.position,
            state: State::new(),
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                schedule::at_once();
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
