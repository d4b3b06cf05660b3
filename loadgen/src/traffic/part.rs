//! One thread of a flow of messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::Publish;
use crate::net::Closing;
use crate::run::{Clients, Control, Muster, Part, Profile, Rest, Seat, lost};
use crate::session::Event;
use crate::stats::{Latency, Outcome};

use super::crossings::Crossings;
use super::listeners::Listeners;
use super::plan::{Audience, Pace, Phase, Plan};
use super::publishers::Publishers;
use super::returns::{Returns, Table};
use super::schedule::Schedule;

/// Open loop: messages that fell due so short before the end are not missed if they were not
/// sent.
const UNSENT_GRACE_NS: u64 = 10_000_000;

/// How often a thread looks whether the whole group has received everything.
const DRAIN_LOOK_NS: u64 = 5_000_000;

/// One thread of a flow of messages.
pub struct Traffic {
    plan: Arc<Plan>,
    seat: Seat,
    listeners: Listeners,
    /// How many slots subscribe: the first ones.
    subscribers: usize,
    /// The subscribers' numbers in the run.
    subscriber_numbers: Vec<u32>,
    publishers: Publishers,
    /// Closed loop over several subscribers or threads.
    returns: Option<Returns>,
    /// Several nodes: what goes from one to another.
    crossings: Option<Box<Crossings>>,
    muster: Muster,
    /// Whether publishers wait for what they have sent.
    is_closed: bool,
    schedule: Option<Schedule>,
    /// Open loop: nothing is sent before this.
    next_send_ns: u64,
    phase: Phase,
    /// The measured window by due time; the end is open until it is known.
    window_ns: std::ops::Range<u64>,
    received: u64,
    sent_before: u64,
    received_before: u64,
    /// What the publishers of the whole run have sent, in the end.
    totals: Arc<Vec<u64>>,
    outcome: Outcome,
}

impl Traffic {
    /// The part of one thread. `table` is shared by the threads of a closed loop.
    pub fn new(plan: &Arc<Plan>, profile: &Profile, seat: Seat, table: Option<Arc<Table>>) -> Self {
        let subscriber_numbers = plan.subscribers_of(&seat);
        let publisher_numbers = plan.publishers_of(&seat);
        let subscribers = subscriber_numbers.len();
        let first = if plan.is_same_client {
            0
        } else {
            subscribers as u32
        };
        let window = if let Pace::Window(window) = plan.pace {
            window
        } else {
            0
        };
        Self {
            listeners: Listeners::new(plan, &subscriber_numbers, profile.run, seat.share),
            publishers: Publishers::new(
                plan,
                &publisher_numbers,
                first,
                profile.run,
                profile.version,
            ),
            returns: table.map(|table| Returns::new(table, seat.thread, subscribers, window)),
            crossings: Crossings::new(plan, profile.places, &subscriber_numbers),
            muster: Muster::new(plan.qos, plan.filters_per_packet),
            is_closed: matches!(plan.pace, Pace::Window(_)),
            schedule: None,
            next_send_ns: 0,
            phase: Phase::Connect,
            window_ns: u64::MAX..u64::MAX,
            received: 0,
            sent_before: 0,
            received_before: 0,
            totals: Arc::default(),
            outcome: Outcome::default(),
            subscribers,
            subscriber_numbers,
            plan: Arc::clone(plan),
            seat,
        }
    }

    /// The table for a closed loop whose subscribers are not each beside their publisher.
    pub fn table(plan: &Plan, seat: &Seat) -> Option<Arc<Table>> {
        let is_closed = matches!(plan.pace, Pace::Window(_));
        if !is_closed || plan.audience == Audience::Own {
            return None;
        }
        let publishers = seat.share.range(plan.publishers).len();
        let subscribers: Vec<usize> = (0..seat.threads)
            .map(|thread| plan.subscribers_of(&Seat { thread, ..*seat }).len())
            .collect();
        Some(Arc::new(Table::new(
            plan.audience,
            publishers,
            &subscribers,
        )))
    }

    /// What was measured and judged, after the last stage.
    pub fn into_outcome(mut self, control: &Control) -> Outcome {
        let (tally, spread, ledger) = self.listeners.close(&control.sent_totals());
        self.outcome.tally.merge(&tally);
        self.outcome.ledger = ledger;
        if self.plan.audience == Audience::AnyOne {
            self.outcome.spread = spread;
        }
        self.outcome.sent = self.publishers.sent();
        self.outcome.received = self.received;
        if self.plan.awaits_acks {
            // Answers are those of messages then.
            let answers = std::mem::take(&mut self.outcome.answer);
            self.muster.measured(&mut self.outcome);
            self.outcome.answer = answers;
        } else {
            self.muster.measured(&mut self.outcome);
        }
        self.outcome
    }

    fn connect(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let rest = self.muster.turn(clients, now);
        let is_done = rest.is_done && self.muster.subscribed_clients() == self.subscribers;
        Rest { is_done, ..rest }
    }

    fn connected(&mut self, clients: &mut Clients<'_>, slot: u32, now: u64) {
        self.muster.connected(slot, now);
        if let Some(number) = self.subscriber_numbers.get(slot as usize) {
            self.muster
                .subscribe(clients, slot, (self.plan.filters)(*number), now);
        }
    }

    #[inline]
    fn message(&mut self, slot: u32, publish: &Publish<'_>, now: u64) {
        let index = slot as usize;
        if index >= self.subscribers {
            self.outcome.tally.misdelivered += 1;
            return;
        }
        let Some(stamp) = self.listeners.receive(index, publish) else {
            return;
        };
        self.received += 1;
        if let Some(crossings) = &mut self.crossings {
            crossings.received(index, stamp.publisher);
        }
        if self.window_ns.contains(&stamp.due_ns) {
            self.outcome
                .latency
                .record(now.saturating_sub(stamp.due_ns));
        }
        match &mut self.returns {
            Some(returns) => {
                let first = self.seat.share.range(self.plan.publishers).start;
                let publisher = stamp.publisher.wrapping_sub(first) as usize;
                returns.received(publisher, stamp.sequence);
            }
            None if self.is_closed && !self.plan.awaits_acks => self.publishers.returned(index),
            None => {}
        }
    }

    /// The broker has taken over the oldest message of a publisher that it had not.
    fn acknowledged(&mut self, slot: u32, now: u64) {
        let first = if self.plan.is_same_client {
            0
        } else {
            self.subscribers
        };
        let Some(due_ns) = self.publishers.acknowledged(slot as usize - first) else {
            return;
        };
        if self.window_ns.contains(&now) {
            self.outcome.answer.record(now.saturating_sub(due_ns));
        }
    }

    fn publish(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let wake_at = match (self.plan.pace, &self.schedule) {
            (Pace::Window(window), _) => {
                self.gather_returns(clients);
                self.publishers.fill_windows(clients, window, now);
                u64::MAX
            }
            (Pace::Rate(_), Some(schedule)) => {
                // Turns between two ticks are for receiving.
                if now >= self.next_send_ns {
                    let tick_ns = self.plan.tick.as_nanos() as u64;
                    let due = self.publishers.send_due(clients, schedule, now);
                    // Behind schedule there is no waiting for the next tick.
                    self.next_send_ns = if due > now {
                        due.max(now + tick_ns)
                    } else {
                        now
                    };
                }
                self.next_send_ns
            }
            (Pace::Rate(_), None) => u64::MAX,
        };
        Rest {
            is_done: false,
            wake_at,
        }
    }

    /// Closed loop over threads: shows what came back here, takes what came back elsewhere.
    fn gather_returns(&mut self, clients: &mut Clients<'_>) {
        let Some(returns) = &mut self.returns else {
            return;
        };
        let (thread, threads) = (self.seat.thread, self.seat.threads);
        let publishers = &mut self.publishers;
        let mut to_wake = ThreadSet::default();
        returns.show(|publisher, back| {
            if publisher % threads == thread {
                publishers.returned_up_to(publisher / threads, back);
            } else {
                to_wake.insert(publisher % threads);
            }
        });
        if clients.was_woken() {
            for index in 0..publishers.count() {
                publishers.returned_up_to(index, returns.back(index * threads + thread));
            }
        }
        to_wake.for_each(|thread| clients.control().wake(thread));
    }

    fn stop(&mut self, clients: &Clients<'_>) {
        let control = clients.control();
        let end_ns = control.stage_start_ns();
        if self.window_ns.start != u64::MAX {
            self.window_ns.end = end_ns;
            self.outcome.window_sent = self.publishers.sent() - self.sent_before;
            self.outcome.window_received = self.received - self.received_before;
            let crossed = self.crossings.as_ref().map(|crossings| crossings.end());
            self.outcome.crossed = crossed.unwrap_or_default();
        }
        if let Some(schedule) = &self.schedule {
            // What fell due just before the end may not have had its turn.
            let due_ns = end_ns.saturating_sub(UNSENT_GRACE_NS + self.plan.tick.as_nanos() as u64);
            self.outcome.unsent = self.publishers.unsent(schedule, due_ns);
        }
        control.add_sent_totals(self.plan.publishers, self.publishers.totals());
    }

    /// Done when everything that was sent has arrived and is acknowledged.
    fn drain(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        if let Some(returns) = &mut self.returns {
            returns.show(|_, _| ());
        }
        let has_all = match self.listeners.expected(&self.totals) {
            Some(expected) => self.received >= expected,
            None => {
                let range = self.seat.share.range(self.plan.publishers);
                let sent: u64 = range
                    .filter_map(|publisher| self.totals.get(publisher as usize))
                    .sum();
                clients.control().sum(|board| &board.received) >= sent
            }
        };
        let is_settled = has_all && self.publishers.are_acknowledged(clients);
        let is_done = is_settled || clients.open_connections() == 0;
        Rest {
            is_done,
            wake_at: if is_done {
                u64::MAX
            } else {
                now + DRAIN_LOOK_NS
            },
        }
    }

    fn show_progress(&self, control: &Control) {
        let board = control.board(self.seat.thread);
        board.sent.store(self.publishers.sent(), Ordering::Relaxed);
        board.received.store(self.received, Ordering::Relaxed);
    }
}

impl Part for Traffic {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, _now: u64) {
        self.phase = Phase::of_stage(stage);
        let start_ns = clients.control().stage_start_ns();
        match self.phase {
            Phase::Connect => {
                let count = clients.count();
                self.muster
                    .begin(clients, self.plan.start, count, self.plan.clients());
            }
            Phase::WarmUp => match self.plan.pace {
                Pace::Window(_) => self.publishers.release_all(),
                Pace::Rate(rate) => {
                    self.schedule = Some(Schedule::new(start_ns, rate, self.plan.publishers));
                }
            },
            Phase::Measure => {
                self.window_ns.start = start_ns;
                self.sent_before = self.publishers.sent();
                self.received_before = self.received;
                if let Some(crossings) = &mut self.crossings {
                    crossings.begin();
                }
            }
            Phase::Stop => self.stop(clients),
            Phase::Drain => self.totals = clients.control().sent_totals(),
            Phase::Leave => (0..clients.count() as u32).for_each(|slot| clients.disconnect(slot)),
            _ => {}
        }
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let rest = match self.phase {
            Phase::Connect => self.connect(clients, now),
            Phase::WarmUp | Phase::Measure => self.publish(clients, now),
            Phase::Drain => self.drain(clients, now),
            Phase::Leave => Rest::when(clients.open_connections() == 0),
            _ => Rest::when(true),
        };
        self.muster.show_progress(clients);
        self.show_progress(clients.control());
        rest
    }

    #[inline]
    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        match event {
            Event::Message(publish) => self.message(slot, &publish, now),
            Event::Connected { .. } => self.connected(clients, slot, now),
            Event::Subscribed { codes } => self.muster.suback(clients, slot, codes, now),
            Event::Acknowledged if self.plan.awaits_acks => self.acknowledged(slot, now),
            Event::Acknowledged => {}
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        if self.phase != Phase::Leave {
            let is_gathering = self.phase == Phase::Connect;
            lost(clients, slot, reason, is_gathering, &mut self.outcome);
        }
    }

    fn latency(&self) -> Option<&Latency> {
        Some(&self.outcome.latency)
    }
}

/// Threads by their numbers, of which there are at most 1024.
#[derive(Default)]
struct ThreadSet {
    words: [u64; 16],
}

impl ThreadSet {
    fn insert(&mut self, thread: usize) {
        self.words[thread / 64 % 16] |= 1 << (thread % 64);
    }

    fn for_each(&self, mut act: impl FnMut(usize)) {
        for (index, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                act(index * 64 + rest.trailing_zeros() as usize);
                rest &= rest - 1;
            }
        }
    }
}
