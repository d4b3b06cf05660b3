//! Churn: clients that connect, disconnect, and connect again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::net::Closing;
use crate::run::{Clients, Control, Part, Rest, Scenario, Seat, Stage, Start, Until, lost};
use crate::session::Event;
use crate::stats::Outcome;

/// Connections that come and go.
pub(super) struct Churn {
    /// Connections at a time, in the whole run.
    pub(super) clients: u32,
    pub(super) duration: Duration,
    pub(super) patience: Duration,
}

const CHURN: usize = 0;
const LEAVE: usize = 1;

impl Scenario for Churn {
    type Part = ChurnPart;

    fn script(&self) -> Vec<Stage> {
        let stage = |name, until, is_final| Stage {
            name,
            until,
            is_final,
        };
        vec![
            stage("churn", Until::Elapsed(self.duration), false),
            stage("leave", Until::Done(self.patience), true),
        ]
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        seat.share
            .of_thread(self.clients, seat.thread, seat.threads)
    }

    fn part(&self, seat: &Seat) -> ChurnPart {
        let own = self.clients(seat).len();
        ChurnPart {
            share: own as f64 / f64::from(self.clients.max(1)),
            free: (0..own as u32).rev().collect(),
            due_ns: vec![0; own],
            interval_ns: 0.0,
            begun: 0,
            start_ns: 0,
            stage: CHURN,
            outcome: Outcome::default(),
        }
    }

    fn outcome(&self, part: ChurnPart, _control: &Control) -> Outcome {
        part.outcome
    }
}

/// One thread of churn.
pub(super) struct ChurnPart {
    /// This thread's part of all clients.
    share: f64,
    /// Slots without a connection.
    free: Vec<u32>,
    /// When the connection of each slot was due.
    due_ns: Vec<u64>,
    /// Between two connections of this thread; 0 without a rate.
    interval_ns: f64,
    begun: u64,
    start_ns: u64,
    stage: usize,
    outcome: Outcome,
}

impl ChurnPart {
    fn next_due_ns(&self, now: u64) -> u64 {
        if self.interval_ns == 0.0 {
            return now;
        }
        self.start_ns + (self.begun as f64 * self.interval_ns) as u64
    }
}

impl Part for ChurnPart {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, _now: u64) {
        self.stage = stage;
        let start_ns = clients.control().stage_start_ns();
        if stage == CHURN {
            self.start_ns = start_ns;
            let rate = clients.profile().connect_rate * self.share;
            self.interval_ns = if rate > 0.0 { 1e9 / rate } else { 0.0 };
            return;
        }
        if self.interval_ns > 0.0 {
            let due = (start_ns.saturating_sub(self.start_ns)) as f64 / self.interval_ns;
            self.outcome.unsent = (due as u64).saturating_sub(self.begun);
        }
        (0..clients.count() as u32).for_each(|slot| clients.disconnect(slot));
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let board = clients.control().board(clients.thread());
        board
            .steps
            .store(self.outcome.connections, Ordering::Relaxed);
        if self.stage == LEAVE {
            return Rest::when(clients.open_connections() == 0);
        }
        loop {
            let due = self.next_due_ns(now);
            if due > now {
                return Rest {
                    is_done: false,
                    wake_at: due,
                };
            }
            let Some(slot) = self.free.pop() else {
                return Rest::when(false);
            };
            self.due_ns[slot as usize] = due;
            self.begun += 1;
            clients.open(slot, Start::Clean);
        }
    }

    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        if let Event::Connected { .. } = event {
            if self.stage == CHURN {
                let due = self.due_ns[slot as usize];
                self.outcome.connect.record(now.saturating_sub(due));
                self.outcome.connections += 1;
            }
            clients.disconnect(slot);
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        self.free.push(slot);
        if self.stage == CHURN {
            // As long as nothing was ever accepted there is no broker to measure.
            let is_hopeless = self.outcome.connections == 0;
            lost(clients, slot, reason, is_hopeless, &mut self.outcome);
        }
    }
}
