//! The line on a terminal that says once a second how the run goes.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Latency;
use crate::run::Control;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes progress to standard error, if standard output is a terminal.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    last: Instant,
    sent: u64,
    received: u64,
    steps: u64,
    latency: Latency,
}

impl Progress {
    /// Progress of a run; `is_wanted` false for none at all.
    pub fn new(is_wanted: bool) -> Self {
        Self {
            is_shown: is_wanted && std::io::stdout().is_terminal(),
            last: Instant::now(),
            sent: 0,
            received: 0,
            steps: 0,
            latency: Latency::default(),
        }
    }

    /// Writes a line when it is time for one.
    pub fn tick(&mut self, stage: &str, control: &Control) {
        let elapsed = self.last.elapsed();
        if !self.is_shown || elapsed < INTERVAL {
            return;
        }
        self.last = Instant::now();
        let rate = |count: u64, before: &mut u64| {
            let new = count.saturating_sub(std::mem::replace(before, count));
            new as f64 / elapsed.as_secs_f64()
        };
        let sent = rate(control.sum(|board| &board.sent), &mut self.sent);
        let received = rate(control.sum(|board| &board.received), &mut self.received);
        let steps = rate(control.sum(|board| &board.steps), &mut self.steps);
        let p99_ms = self.latest_latency(control).percentiles().p99 / 1000.0;
        let connected = control.sum(|board| &board.connected);
        let errors = control.sum(|board| &board.errors);
        let line = format!(
            "{stage:<9} connected {connected}  out {sent:.0}/s  in {received:.0}/s  \
             steps {steps:.0}/s  p99 {p99_ms:.3} ms  errors {errors}"
        );
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        control.ask_latency();
    }

    /// Removes the line.
    pub fn clear(&self) {
        if self.is_shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    /// The latencies since the line before, as far as the threads have shown them.
    fn latest_latency(&mut self, control: &Control) -> Latency {
        let mut all = Latency::default();
        for board in control.boards() {
            if let Some(latency) = board.take_latency() {
                all.merge(&latency);
            }
        }
        let mut latest = all.clone();
        if all.count() >= self.latency.count() {
            latest.subtract(&self.latency);
            self.latency = all;
        }
        latest
    }
}
