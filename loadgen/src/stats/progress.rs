//! The line on a terminal that says once a second how the run goes.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::Latency;
use crate::run::{Control, Counters};

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes progress to standard error, if standard output is a terminal.
#[derive(Debug)]
pub struct Progress {
    is_shown: bool,
    last: Instant,
    /// Since the line before.
    elapsed: Duration,
    before: Counters,
    latency: Latency,
}

impl Progress {
    /// Progress of a run; `is_wanted` false for none at all.
    pub fn new(is_wanted: bool) -> Self {
        Self {
            is_shown: is_wanted && std::io::stdout().is_terminal(),
            last: Instant::now(),
            elapsed: Duration::ZERO,
            before: Counters::default(),
            latency: Latency::default(),
        }
    }

    /// Whether it is time for a line; if so, the next one is due after the usual interval.
    pub fn is_due(&mut self) -> bool {
        self.elapsed = self.last.elapsed();
        let is_due = self.elapsed >= INTERVAL;
        if is_due {
            self.last = Instant::now();
        }
        is_due
    }

    /// Writes a line about a run in this process.
    pub fn show(&mut self, stage: &str, control: &Control) {
        if !self.is_shown {
            return;
        }
        let latest = self.latest_latency(control);
        let p99_ms = latest.percentiles().p99 / 1000.0;
        let latency = match latest.count() {
            0 => String::new(),
            _ => format!("p99 {p99_ms:.3} ms  "),
        };
        self.write(&format!("{stage:<9}"), control.counters(), &latency);
        control.ask_latency();
    }

    /// Writes a line about the sum of many processes.
    pub fn show_sum(&mut self, stage: &str, counters: Counters) {
        if self.is_shown {
            self.write(stage, counters, "");
        }
    }

    fn write(&mut self, stage: &str, counters: Counters, latency: &str) {
        let before = std::mem::replace(&mut self.before, counters);
        let rate = |count: u64, before: u64| {
            count.saturating_sub(before) as f64 / self.elapsed.as_secs_f64().max(1e-9)
        };
        let line = format!(
            "{stage} connected {}  out {:.0}/s  in {:.0}/s  steps {:.0}/s  {latency}errors {}",
            counters.connected,
            rate(counters.sent, before.sent),
            rate(counters.received, before.received),
            rate(counters.steps, before.steps),
            counters.errors
        );
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
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
