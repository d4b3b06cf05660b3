//! Sleeping on a shard.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::slots::Slots;
use crate::wheel::{TimerKey, TimerWheel};

use super::Local;

/// Timers handled in one turn at most.
const TIMERS_PER_TURN: usize = 256;

/// Those who sleep on a shard.
pub(super) struct Sleepers {
    /// The token of a timer is its sleeper's key in `wakers`.
    wheel: TimerWheel<u32>,
    wakers: Slots<Waker>,
}

impl Default for Sleepers {
    fn default() -> Self {
        Self {
            wheel: TimerWheel::new(0),
            wakers: Slots::new(),
        }
    }
}

impl Sleepers {
    pub(super) fn next_deadline_ms(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.wheel.len(), self.wakers.len());
        self.wakers.len()
    }

    /// Takes those out whose sleep is over.
    fn take_due(&mut self, now_ms: u64) -> Vec<Waker> {
        let mut due = Vec::new();
        let wakers = &mut self.wakers;
        self.wheel
            .advance_at_most(now_ms, TIMERS_PER_TURN, &mut |sleeper| {
                due.extend(wakers.remove(sleeper));
            });
        due
    }

    fn insert(&mut self, due_ms: u64, waker: &Waker) -> Sleeper {
        let key = self.wakers.insert(waker.clone());
        let timer = self.wheel.insert(due_ms, key);
        Sleeper { key, timer }
    }

    /// Takes back what [`Sleepers::insert`] gave, if its time has not come.
    fn remove(&mut self, sleeper: Sleeper) -> Option<Waker> {
        let key = self.wheel.cancel(sleeper.timer)?;
        self.wakers.remove(key)
    }

    /// Replaces the waker of one who sleeps; returns the one before, or `waker` if nobody
    /// needs it.
    fn replace(&mut self, sleeper: Sleeper, waker: Waker) -> Waker {
        match self.wakers.get_mut(sleeper.key) {
            Some(current) if !current.will_wake(&waker) => std::mem::replace(current, waker),
            _ => waker,
        }
    }
}

/// Wakes those whose sleep is over.
pub(super) fn wake_due(local: &Local) {
    // Not while they are borrowed: a waker may do anything, such as end another sleep.
    let due = local.sleepers.borrow_mut().take_due(local.now_ms.get());
    due.into_iter().for_each(Waker::wake);
}

#[derive(Clone, Copy)]
struct Sleeper {
    key: u32,
    timer: TimerKey,
}

/// Ends when the shard's clock shows a given time. Made by [`super::Tasks::sleep_until`];
/// may be polled by tasks of its shard only, which is where it stays.
#[must_use = "a sleep that is not awaited does nothing"]
pub(crate) struct Sleep {
    local: Rc<Local>,
    due_ms: u64,
    sleeper: Option<Sleeper>,
}

impl Sleep {
    pub(super) fn new(local: Rc<Local>, due_ms: u64) -> Self {
        Self {
            local,
            due_ms,
            sleeper: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // The time of the turn, which the wheel goes by too.
        if self.local.now_ms.get() >= self.due_ms {
            return Poll::Ready(());
        }
        let sleepers = &self.local.sleepers;
        match self.sleeper {
            Some(sleeper) => {
                let waker = context.waker().clone();
                let unused = sleepers.borrow_mut().replace(sleeper, waker);
                drop(unused);
            }
            None => {
                let sleeper = sleepers.borrow_mut().insert(self.due_ms, context.waker());
                self.sleeper = Some(sleeper);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            let waker = self.local.sleepers.borrow_mut().remove(sleeper);
            // Not while they are borrowed: it may be the last of its task.
            drop(waker);
        }
    }
}
