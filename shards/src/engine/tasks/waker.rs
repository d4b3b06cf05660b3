//! How a task is woken, from the shard's thread or another one.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use crossbeam_queue::SegQueue;
use shard_sync::Doorbell;

use super::Local;

thread_local! {
    /// The tasks of the shard whose thread this is.
    pub(super) static HERE: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// Names one task of a shard, and no other one that later takes its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskKey {
    pub(super) slot: u32,
    pub(super) serial: u64,
}

/// Tasks that other threads have woken. Filled by everybody, emptied by the shard.
///
/// It needs no bound of its own: a task is in it once at most until it is polled. A bounded
/// queue would have to be able to refuse, and a wake must neither wait nor get lost.
pub(super) struct Inbox {
    keys: SegQueue<TaskKey>,
    doorbell: Arc<Doorbell>,
}

impl Inbox {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self {
            keys: SegQueue::new(),
            doorbell,
        }
    }

    pub(super) fn pop(&self) -> Option<TaskKey> {
        // Cheaper than a pop that finds nothing, which is what a turn mostly finds.
        if self.keys.is_empty() {
            return None;
        }
        self.keys.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// The waker of one task. It outlives the task and the shard if somebody keeps it, and then
/// wakes nothing.
///
/// It does not hold glommio's waker, which is not to be touched, nor dropped, elsewhere than
/// on the shard's thread.
pub(super) struct TaskWaker {
    key: TaskKey,
    /// Whether the task was woken since it was last polled.
    is_woken: AtomicBool,
    inbox: Arc<Inbox>,
}

impl TaskWaker {
    pub(super) fn new(key: TaskKey, inbox: Arc<Inbox>) -> Self {
        Self {
            key,
            is_woken: AtomicBool::new(false),
            inbox,
        }
    }

    pub(super) fn key(&self) -> TaskKey {
        self.key
    }

    /// Says that the task is about to be polled: what wakes it from now on counts.
    pub(super) fn polled(&self) {
        // A swap, because it reads the last swap of those who woke the task and so sees what
        // they wrote before; a store would not.
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    /// Wakes the task if this is its shard's thread; else returns false.
    fn wake_here(&self) -> bool {
        let woken = HERE.try_with(|here| match &*here.borrow() {
            Some(local) if Arc::ptr_eq(&local.inbox, &self.inbox) => {
                local.woken.borrow_mut().push_back(self.key);
                true
            }
            _ => false,
        });
        // An error means that the thread is ending.
        woken.unwrap_or(false)
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) && !self.wake_here() {
            self.inbox.keys.push(self.key);
            self.inbox.doorbell.ring();
        }
    }
}
