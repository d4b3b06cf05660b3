//! What the conductor and the threads of a run share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::net::Waker;
use crate::net::system;
use crate::stats::Latency;

use super::gate::Counters;

/// Before the first stage.
const NO_STAGE: usize = usize::MAX;

/// One per run. The conductor writes the stage and its times, threads write their boards.
pub struct Control {
    stage: AtomicUsize,
    start_ns: AtomicU64,
    /// Added to this machine's clock to get the run's clock.
    clock_offset_ns: i64,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
    wakers: Vec<Arc<Waker>>,
    boards: Vec<Board>,
    /// Raised by one each time the conductor wants to see the latencies so far.
    peek: AtomicU64,
    /// What all threads have sent, per publisher, once the stop stage is over.
    sent_totals: Mutex<Arc<Vec<u64>>>,
}

/// The progress of one thread, for the conductor to look at.
#[derive(Debug)]
#[repr(align(128))]
pub struct Board {
    /// The last stage this thread is done with.
    done: AtomicUsize,
    done_ns: AtomicU64,
    /// Clients with a connection.
    pub connected: AtomicU64,
    /// Messages published.
    pub sent: AtomicU64,
    /// Messages received.
    pub received: AtomicU64,
    /// Any other step of a stage: connections made, filters subscribed, …
    pub steps: AtomicU64,
    /// Connections lost, requests refused.
    pub errors: AtomicU64,
    peeked: AtomicU64,
    latency: Mutex<Option<Latency>>,
}

impl Board {
    fn new() -> Self {
        Self {
            done: AtomicUsize::new(NO_STAGE),
            done_ns: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            peeked: AtomicU64::new(0),
            latency: Mutex::new(None),
        }
    }

    /// By the conductor: the latencies that the thread showed last.
    pub fn take_latency(&self) -> Option<Latency> {
        self.latency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Control {
    /// For as many threads as there are wakers.
    pub fn new(wakers: Vec<Arc<Waker>>, clock_offset_ns: i64) -> Self {
        let boards = wakers.iter().map(|_| Board::new()).collect();
        Self {
            stage: AtomicUsize::new(NO_STAGE),
            start_ns: AtomicU64::new(0),
            clock_offset_ns,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            wakers,
            boards,
            peek: AtomicU64::new(0),
            sent_totals: Mutex::default(),
        }
    }

    /// The run's clock: nanoseconds, monotonic.
    #[inline]
    pub fn now(&self) -> u64 {
        system::monotonic_ns().wrapping_add_signed(self.clock_offset_ns)
    }

    /// The stage to be in, and when it began.
    #[inline]
    pub fn stage(&self) -> Option<usize> {
        Some(self.stage.load(Ordering::Acquire)).filter(|stage| *stage != NO_STAGE)
    }

    /// When the present stage began, by the run's clock.
    pub fn stage_start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Acquire)
    }

    /// By the conductor: begins a stage on all threads.
    pub fn begin(&self, stage: usize, start_ns: u64) {
        self.start_ns.store(start_ns, Ordering::Release);
        self.stage.store(stage, Ordering::Release);
        self.wake_all();
    }

    /// Wakes every thread.
    pub fn wake_all(&self) {
        self.wakers.iter().for_each(|waker| waker.wake());
    }

    /// Wakes one thread.
    pub fn wake(&self, thread: usize) {
        self.wakers[thread].wake();
    }

    /// How many threads the run has.
    pub fn threads(&self) -> usize {
        self.wakers.len()
    }

    /// The waker of a thread.
    pub fn waker(&self, thread: usize) -> &Arc<Waker> {
        &self.wakers[thread]
    }

    /// The boards of all threads.
    pub fn boards(&self) -> &[Board] {
        &self.boards
    }

    /// The board of one thread.
    #[inline]
    pub fn board(&self, thread: usize) -> &Board {
        &self.boards[thread]
    }

    /// By a thread: it is done with `stage`.
    pub fn set_done(&self, thread: usize, stage: usize) {
        let board = &self.boards[thread];
        if board.done.load(Ordering::Relaxed) != stage {
            board.done_ns.store(self.now(), Ordering::Relaxed);
            board.done.store(stage, Ordering::Release);
        }
    }

    /// When the last thread was done with `stage`, if all are.
    pub fn all_done_ns(&self, stage: usize) -> Option<u64> {
        let done = |board: &Board| {
            (board.done.load(Ordering::Acquire) == stage)
                .then(|| board.done_ns.load(Ordering::Relaxed))
        };
        self.boards
            .iter()
            .map(done)
            .try_fold(0, |last, done| done.map(|done| last.max(done)))
    }

    /// A number that changes whenever any thread makes progress.
    pub fn progress(&self) -> u64 {
        let sum = |board: &Board| {
            [&board.connected, &board.sent, &board.received, &board.steps]
                .map(|counter| counter.load(Ordering::Relaxed))
                .iter()
                .sum::<u64>()
        };
        self.boards.iter().map(sum).sum()
    }

    /// The sum of one counter over all threads.
    pub fn sum(&self, counter: impl Fn(&Board) -> &AtomicU64) -> u64 {
        self.boards
            .iter()
            .map(|board| counter(board).load(Ordering::Relaxed))
            .sum()
    }

    /// How far all threads have come.
    pub fn counters(&self) -> Counters {
        Counters {
            connected: self.sum(|board| &board.connected),
            sent: self.sum(|board| &board.sent),
            received: self.sum(|board| &board.received),
            steps: self.sum(|board| &board.steps),
            errors: self.sum(|board| &board.errors),
        }
    }

    /// By a thread: the run cannot go on. The first failure is the one that is reported.
    pub fn fail(&self, failure: String) {
        let mut slot = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(failure);
        self.failed.store(true, Ordering::Release);
    }

    /// Whether the run cannot go on.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Why.
    pub fn failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// By the conductor: asks the threads to show their latencies.
    pub fn ask_latency(&self) {
        self.peek.fetch_add(1, Ordering::Relaxed);
    }

    /// By a thread: shows its latencies if they were asked for.
    #[inline]
    pub fn show_latency(&self, thread: usize, latency: Option<&Latency>) {
        let (asked, board) = (self.peek.load(Ordering::Relaxed), &self.boards[thread]);
        if board.peeked.load(Ordering::Relaxed) == asked {
            return;
        }
        board.peeked.store(asked, Ordering::Relaxed);
        if let Some(latency) = latency {
            let mut slot = board.latency.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(latency.clone());
        }
    }

    /// By a thread, in the stop stage: adds what its publishers have sent.
    pub fn add_sent_totals(&self, publishers: u32, own: impl Iterator<Item = (u32, u64)>) {
        let mut slot = self
            .sent_totals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let totals = Arc::make_mut(&mut slot);
        totals.resize(publishers as usize, 0);
        for (publisher, sent) in own {
            totals[publisher as usize] = sent;
        }
    }

    /// What every publisher has sent; complete from the stage after the stop stage on.
    pub fn sent_totals(&self) -> Arc<Vec<u64>> {
        Arc::clone(
            &self
                .sent_totals
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// By the conductor: replaces the totals by those of all workers.
    pub fn set_sent_totals(&self, totals: Vec<u64>) {
        let mut slot = self
            .sent_totals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = Arc::new(totals);
    }
}
