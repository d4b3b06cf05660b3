//! Tasks of a shard besides its engine.
//!
//! On a shard glommio runs tasks and waits for nothing: its own timers and wakes from other
//! threads are seen only when its reactor turns, which it does not do while the engine
//! sleeps. So a task gets a waker of ours, and never glommio's:
//!
//! ```text
//!   wake on the shard's thread ───────────────┐
//!   a sleep is over (wheel) ──────────────────┤
//!   wake on another thread → inbox, doorbell ─┴→ woken → glommio's queue → polled while
//!                                                   64 a turn              the engine yields
//! ```
//!
//! The engine asks [`Tasks::release`] once a turn and yields only if a task was released.
//! glommio's queue is first in, first out and the engine goes to its end, so each released
//! task is polled once before the engine's next turn: neither can hold up the other.

mod sleep;
#[cfg(test)]
mod tests;
mod waker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use shard_sync::Doorbell;

use crate::slots::Slots;

use sleep::{Sleep, Sleepers};
use waker::{HERE, Inbox, TaskKey, TaskWaker};

/// Tasks that are polled in one turn of the engine at most. The others wait for the next.
const TASKS_PER_TURN: usize = 64;

/// How long the engine may go without yielding. glommio multiplies the time between two
/// yields, in nanoseconds, by 4,194, which overflows after 50 days.
const YIELD_EVERY_MS: u64 = 3_600_000;

/// The tasks of one shard: a handle for those who spawn, cloned at will. It stays on the
/// shard's thread. The engine owns the first and alone calls what only it can see.
#[derive(Clone)]
pub(crate) struct Tasks {
    local: Rc<Local>,
}

/// What the handles and the tasks of one shard share.
struct Local {
    started: Instant,
    /// The time of the current turn.
    now_ms: Cell<u64>,
    /// When the engine last yielded.
    yielded_ms: Cell<u64>,
    inbox: Arc<Inbox>,
    /// Tasks that were woken and wait to be released, each once.
    woken: RefCell<VecDeque<TaskKey>>,
    running: RefCell<Slots<Running>>,
    /// Tasks so far, to tell a task from an earlier one in its slot.
    serial: Cell<u64>,
    sleepers: RefCell<Sleepers>,
    ended: Cell<bool>,
}

/// A task that is not finished.
struct Running {
    serial: u64,
    /// Puts the task into glommio's queue. Used and dropped on the shard's thread only.
    glommio: Waker,
}

impl Tasks {
    /// The tasks of the shard whose thread this is and whose doorbell is `doorbell`.
    pub(super) fn new(started: Instant, doorbell: Arc<Doorbell>) -> Self {
        let local = Rc::new(Local {
            started,
            now_ms: Cell::new(0),
            yielded_ms: Cell::new(0),
            inbox: Arc::new(Inbox::new(doorbell)),
            woken: RefCell::default(),
            running: RefCell::new(Slots::new()),
            serial: Cell::new(0),
            sleepers: RefCell::default(),
            ended: Cell::new(false),
        });
        HERE.set(Some(Rc::clone(&local)));
        Self { local }
    }

    /// Starts a task. It is polled at once, within this call; so whoever spawns must not
    /// hold a borrow that the task needs. It ends with its future or with the shard.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if !self.local.ended.get() {
            glommio::spawn_local(run(Rc::clone(&self.local), future)).detach();
        }
    }

    /// The shard's clock: milliseconds since the node started, rounded up.
    pub(crate) fn now_ms(&self) -> u64 {
        let nanoseconds = self.local.started.elapsed().as_nanos();
        nanoseconds.div_ceil(1_000_000) as u64
    }

    /// Waits until the shard's clock shows `due_ms`.
    pub(crate) fn sleep_until(&self, due_ms: u64) -> Sleep {
        Sleep::new(Rc::clone(&self.local), due_ms)
    }

    /// Waits for `ms` milliseconds, never less and normally at most one more.
    pub(crate) fn sleep(&self, ms: u64) -> Sleep {
        self.sleep_until(self.now_ms().saturating_add(ms))
    }

    /// Wakes those whose sleep is over and hands tasks that were woken to glommio. Returns
    /// whether the engine is to yield.
    pub(super) fn release(&self, now_ms: u64) -> bool {
        let local = &self.local;
        local.now_ms.set(now_ms);
        sleep::wake_due(local);
        let mut woken = local.woken.borrow_mut();
        // Each task is in there once at most until it is polled, so this ends.
        while let Some(key) = local.inbox.pop() {
            woken.push_back(key);
        }
        let count = woken.len().min(TASKS_PER_TURN);
        for key in woken.drain(..count) {
            local.schedule(key);
        }
        let to_yield = count > 0 || now_ms >= self.next_yield_ms();
        if to_yield {
            local.yielded_ms.set(now_ms);
        }
        to_yield
    }

    /// Whether [`Tasks::release`] has something to do now.
    pub(super) fn has_work(&self) -> bool {
        !self.local.woken.borrow().is_empty()
            || !self.is_quiet()
            || self.next_deadline_ms() <= self.local.now_ms.get()
    }

    /// Whether no other thread has woken a task.
    pub(super) fn is_quiet(&self) -> bool {
        self.local.inbox.is_empty()
    }

    /// When [`Tasks::release`] has to be called next.
    pub(super) fn next_deadline_ms(&self) -> u64 {
        let sleepers = self.local.sleepers.borrow();
        let next_yield_ms = self.next_yield_ms();
        sleepers
            .next_deadline_ms()
            .map_or(next_yield_ms, |due_ms| due_ms.min(next_yield_ms))
    }

    /// Ends all tasks: their futures are dropped when this is over, and those spawned from
    /// now on at once.
    pub(super) async fn end(&self) {
        self.local.ended.set(true);
        self.local.schedule_all();
        glommio::executor().yield_task_queue_now().await;
        HERE.set(None);
    }

    fn next_yield_ms(&self) -> u64 {
        self.local.yielded_ms.get() + YIELD_EVERY_MS
    }
}

impl Local {
    /// Puts a task into glommio's queue, if it is not finished.
    fn schedule(&self, key: TaskKey) {
        let running = self.running.borrow();
        if let Some(task) = running.get(key.slot)
            && task.serial == key.serial
        {
            task.glommio.wake_by_ref();
        }
    }

    fn schedule_all(&self) {
        let running = self.running.borrow();
        for task in running.keys().filter_map(|slot| running.get(slot)) {
            task.glommio.wake_by_ref();
        }
    }
}

/// A task, as glommio sees it: `future` with a waker of ours.
async fn run(local: Rc<Local>, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    let mut registered = None;
    std::future::poll_fn(|context| {
        let task = registered.get_or_insert_with(|| Registered::new(&local, context.waker()));
        if local.ended.get() {
            return Poll::Ready(());
        }
        task.own.polled();
        future
            .as_mut()
            .poll(&mut Context::from_waker(&task.own_as_waker))
    })
    .await;
}

/// Keeps a task among those that run.
struct Registered {
    local: Rc<Local>,
    own: Arc<TaskWaker>,
    own_as_waker: Waker,
}

impl Registered {
    fn new(local: &Rc<Local>, glommio: &Waker) -> Self {
        let serial = local.serial.get() + 1;
        local.serial.set(serial);
        let slot = local.running.borrow_mut().insert(Running {
            serial,
            glommio: glommio.clone(),
        });
        let key = TaskKey { slot, serial };
        let own = Arc::new(TaskWaker::new(key, Arc::clone(&local.inbox)));
        Self {
            local: Rc::clone(local),
            own_as_waker: Waker::from(Arc::clone(&own)),
            own,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let task = self.local.running.borrow_mut().remove(self.own.key().slot);
        drop(task);
    }
}
