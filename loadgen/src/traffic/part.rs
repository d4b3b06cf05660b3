//! One thread of a flow of messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::Publish;
use crate::net::Closing;
use crate::run::{Clients, Control, Part, Profile, Ramp, Rest, Seat, Start};
use crate::session::Event;
use crate::stats::{Latency, Outcome};

use super::listeners::Listeners;
use super::plan::{Audience, Pace, Plan};
use super::publishers::Publishers;
use super::returns::{Returns, Table};
use super::schedule::Schedule;

/// The stages of [`Plan::script`] by number.
pub mod stage {
    /// Clients connect and subscribe.
    pub const CONNECT: usize = 0;
    /// Nothing happens, so that subscriptions take effect everywhere.
    pub const SETTLE: usize = 1;
    /// Messages flow and are not measured.
    pub const WARM_UP: usize = 2;
    /// Messages flow and are measured.
    pub const MEASURE: usize = 3;
    /// Publishers stop; what they have sent becomes known.
    pub const STOP: usize = 4;
    /// What is still on its way arrives.
    pub const DRAIN: usize = 5;
    /// Clients disconnect.
    pub const LEAVE: usize = 6;
}

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
    /// Filters that are still to be asked for, by slot.
    filters: Vec<VecDeque<String>>,
    publishers: Publishers,
    /// Closed loop over several subscribers or threads.
    returns: Option<Returns>,
    ramp: Ramp,
    /// When each connection was due, until its CONNACK.
    opened_ns: Vec<u64>,
    /// Clients that are connected and, if they subscribe, subscribed.
    ready: usize,
    /// Whether publishers wait for what they have sent.
    is_closed: bool,
    schedule: Option<Schedule>,
    stage: usize,
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
        let clients = plan.clients_of(&seat).len();
        Self {
            listeners: Listeners::new(plan, &subscriber_numbers, profile.run, seat.share),
            filters: Vec::new(),
            publishers: Publishers::new(
                plan,
                &publisher_numbers,
                first,
                profile.run,
                profile.version,
            ),
            returns: table.map(|table| Returns::new(table, seat.thread, subscribers, window)),
            ramp: Ramp::new(0, 0.0, 0, 0),
            opened_ns: vec![0; clients],
            ready: 0,
            is_closed: matches!(plan.pace, Pace::Window(_)),
            schedule: None,
            stage: stage::CONNECT,
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
        self.outcome
    }

    fn connect_due(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        loop {
            let waiting = self.ramp.opened() - self.outcome.connections as usize;
            let Some((slot, due)) = self.ramp.next(waiting, now) else {
                break;
            };
            self.opened_ns[slot as usize] = due;
            clients.open(slot, Start::Clean);
        }
        let is_done = self.ready == clients.count();
        Rest {
            is_done,
            wake_at: self.ramp.wake_at(),
        }
    }

    fn connected(&mut self, clients: &mut Clients<'_>, slot: u32, now: u64) {
        let due = self.opened_ns[slot as usize];
        self.outcome.connect.record(now.saturating_sub(due));
        self.outcome.connections += 1;
        if (slot as usize) < self.subscribers {
            let number = self.subscriber_numbers[slot as usize];
            self.filters.resize_with(self.subscribers, VecDeque::new);
            self.filters[slot as usize] = (self.plan.filters)(number).into();
            self.subscribe_next(clients, slot);
        } else {
            self.ready += 1;
        }
    }

    /// Sends the next SUBSCRIBE of a client, if there is more to ask for.
    fn subscribe_next(&mut self, clients: &mut Clients<'_>, slot: u32) {
        let waiting = &mut self.filters[slot as usize];
        if waiting.is_empty() {
            *waiting = VecDeque::new();
            self.ready += 1;
            return;
        }
        let count = waiting.len().min(self.plan.filters_per_packet);
        let filters: Vec<String> = waiting.drain(..count).collect();
        clients.subscribe(slot, &filters, self.plan.qos);
    }

    fn subscribed(&mut self, clients: &mut Clients<'_>, slot: u32, codes: &[u8]) {
        self.outcome.filters += codes.len() as u64;
        if let Some(code) = codes.iter().find(|code| **code != self.plan.qos.number()) {
            let control = Arc::clone(clients.control());
            control.fail(format!(
                "a filter of client {} was answered with {code:#04x}, not with QoS {}",
                clients.number(slot),
                self.plan.qos.number()
            ));
        }
        self.subscribe_next(clients, slot);
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
            None if self.is_closed => self.publishers.returned(index),
            None => {}
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
                let due = self.publishers.send_due(clients, schedule, now);
                due.max(now + self.plan.tick.as_nanos() as u64)
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
        let mut woken = vec![false; threads];
        let mut own = Vec::new();
        returns.show(|publisher| {
            if publisher % threads == thread {
                own.push(publisher);
            } else {
                woken[publisher % threads] = true;
            }
        });
        for publisher in own {
            let back = returns.back(publisher);
            self.publishers.returned_up_to(publisher / threads, back);
        }
        if clients.was_woken() {
            for index in 0..self.publishers.count() {
                let back = returns.back(index * threads + thread);
                self.publishers.returned_up_to(index, back);
            }
        }
        for thread in (0..threads).filter(|thread| woken[*thread]) {
            clients.control().wake(thread);
        }
    }

    fn stop(&mut self, clients: &Clients<'_>) {
        let control = clients.control();
        let end_ns = control.stage_start_ns();
        if self.window_ns.start != u64::MAX {
            self.window_ns.end = end_ns;
            self.outcome.window_sent = self.publishers.sent() - self.sent_before;
            self.outcome.window_received = self.received - self.received_before;
        }
        if let Some(schedule) = &self.schedule {
            self.outcome.unsent = self.publishers.unsent(schedule, end_ns);
        }
        control.add_sent_totals(self.plan.publishers, self.publishers.totals());
    }

    /// Done when everything that was sent has arrived and is acknowledged.
    fn drain(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        if let Some(returns) = &mut self.returns {
            returns.show(|_| ());
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
        let is_done = has_all && self.publishers.are_acknowledged(clients);
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
        let steps = self.outcome.connections + self.outcome.filters;
        board.steps.store(steps, Ordering::Relaxed);
    }
}

impl Part for Traffic {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, _now: u64) {
        self.stage = stage;
        let start_ns = clients.control().stage_start_ns();
        match stage {
            stage::CONNECT => {
                let rate = clients.profile().connect_rate;
                let total = self.plan.clients() as usize;
                self.ramp = Ramp::new(start_ns, rate, clients.count(), total);
            }
            stage::WARM_UP => match self.plan.pace {
                Pace::Window(_) => self.publishers.release_all(),
                Pace::Rate(rate) => {
                    self.schedule = Some(Schedule::new(start_ns, rate, self.plan.publishers));
                }
            },
            stage::MEASURE => {
                self.window_ns.start = start_ns;
                self.sent_before = self.publishers.sent();
                self.received_before = self.received;
            }
            stage::STOP => self.stop(clients),
            stage::DRAIN => self.totals = clients.control().sent_totals(),
            stage::LEAVE => (0..clients.count() as u32).for_each(|slot| clients.disconnect(slot)),
            _ => {}
        }
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let rest = match self.stage {
            stage::CONNECT => self.connect_due(clients, now),
            stage::WARM_UP | stage::MEASURE => self.publish(clients, now),
            stage::DRAIN => self.drain(clients, now),
            stage::LEAVE => Rest::when(clients.open_connections() == 0),
            _ => Rest::when(true),
        };
        self.show_progress(clients.control());
        rest
    }

    #[inline]
    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        match event {
            Event::Message(publish) => self.message(slot, &publish, now),
            Event::Connected { .. } => self.connected(clients, slot, now),
            Event::Subscribed { codes } => self.subscribed(clients, slot, codes),
            Event::Acknowledged => {}
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        if matches!(reason, Closing::Requested) || self.stage == stage::LEAVE {
            return;
        }
        let what = clients.describe(slot, reason);
        clients
            .control()
            .board(self.seat.thread)
            .errors
            .fetch_add(1, Ordering::Relaxed);
        if self.stage == stage::CONNECT {
            clients.control().fail(what);
        } else {
            self.outcome.add_problem(what);
        }
    }

    fn latency(&self) -> Option<&Latency> {
        Some(&self.outcome.latency)
    }
}
