//! Whether tasks run when they should, tried before a shard is ready.
//!
//! A mistake in the way the engine, glommio and the kernel work together does not show as an
//! error. It shows as timers and wakes that are 50 to 200 ms late, because something else
//! wakes the shard by and by.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::Engine;
use super::tasks::Tasks;

/// How long the task of an attempt sleeps, and how long another thread waits before it wakes
/// the other task.
const DELAY_MS: u64 = 5;

/// The best of so many attempts counts: on a busy host any one may be late.
const ATTEMPTS: u32 = 5;

/// What is later than this comes from a mistake and not from a busy host, if it is so in
/// every attempt.
const TOLERATED: Duration = Duration::from_millis(60);

/// How late tasks run on a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lateness {
    /// After the end of a sleep.
    pub(crate) timer: Duration,
    /// After a wake by another thread.
    pub(crate) wake: Duration,
}

impl Lateness {
    pub(crate) fn is_tolerable(self) -> bool {
        self.timer <= TOLERATED && self.wake <= TOLERATED
    }

    fn best(self, other: Self) -> Self {
        Self {
            timer: self.timer.min(other.timer),
            wake: self.wake.min(other.wake),
        }
    }
}

impl Engine {
    /// Measures how late tasks run: the best of a few attempts, and of one if that is good
    /// enough, which takes 11 ms. Fails if there is no thread to be had or the ring fails.
    pub(crate) async fn self_test(&mut self) -> io::Result<Lateness> {
        let mut best = self.attempt().await?;
        for _ in 1..ATTEMPTS {
            if best.is_tolerable() {
                break;
            }
            best = best.best(self.attempt().await?);
        }
        Ok(best)
    }

    async fn attempt(&mut self) -> io::Result<Lateness> {
        // One after the other: each would end a sleep from which the other one does not wake
        // the shard.
        let timer = after_sleep(&self.tasks);
        let timer = self.await_measured(&timer).await?;
        let wake = after_wake(&self.tasks)?;
        let wake = self.await_measured(&wake).await?;
        Ok(Lateness { timer, wake })
    }

    async fn await_measured(&mut self, measured: &Measured) -> io::Result<Duration> {
        self.turns_until(|_| measured.get().is_some()).await?;
        let ended = || io::Error::other("the engine ended before its self-test");
        measured.get().ok_or_else(ended)
    }
}

/// Set once it is measured.
type Measured = Rc<Cell<Option<Duration>>>;

/// Starts a task that sleeps.
fn after_sleep(tasks: &Tasks) -> Measured {
    let measured = Measured::default();
    let due = Instant::now() + Duration::from_millis(DELAY_MS);
    let (sleep, seen) = (tasks.sleep(DELAY_MS), Rc::clone(&measured));
    tasks.spawn(async move {
        sleep.await;
        seen.set(Some(due.elapsed()));
    });
    measured
}

/// Starts a task, and a thread that wakes it.
fn after_wake(tasks: &Tasks) -> io::Result<Measured> {
    let measured = Measured::default();
    let (woken_at, waker) = (Arc::new(OnceLock::new()), Rc::new(Cell::new(None)));
    let (seen, woken, own_waker) = (
        Rc::clone(&measured),
        Arc::clone(&woken_at),
        Rc::clone(&waker),
    );
    tasks.spawn(std::future::poll_fn(move |context| {
        if let Some(woken) = woken.get().map(Instant::elapsed) {
            seen.set(Some(woken));
            return Poll::Ready(());
        }
        own_waker.set(Some(context.waker().clone()));
        Poll::Pending
    }));
    let not_polled = || io::Error::other("a task was not polled when it was spawned");
    let waker: Waker = waker.take().ok_or_else(not_polled)?;
    thread::Builder::new()
        .name("self-test".to_owned())
        .spawn(move || {
            thread::sleep(Duration::from_millis(DELAY_MS));
            woken_at.get_or_init(Instant::now);
            waker.wake();
        })?;
    Ok(measured)
}
