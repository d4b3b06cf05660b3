//! Gathering the clients of a thread: connections by the ramp, then subscriptions.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::Qos;
use crate::net::Closing;
use crate::stats::{Latency, Outcome};

use super::clients::{Clients, Start};
use super::driver::Rest;
use super::ramp::Ramp;

/// Connects the clients of a thread and subscribes those that ask for it.
#[derive(Debug)]
pub struct Muster {
    ramp: Ramp,
    start: Start,
    /// When each connection was due, until its CONNACK; then when SUBSCRIBE was sent.
    asked_ns: Vec<u64>,
    /// Filters that are still to be asked for, by slot; empty until the first is.
    filters: Vec<VecDeque<String>>,
    filters_per_packet: usize,
    qos: Qos,
    /// Connections that were answered, or failed.
    answered: usize,
    /// Clients that have all their filters.
    subscribed: usize,
    connections: u64,
    granted: u64,
    connect: Latency,
    subscribe: Latency,
}

impl Muster {
    /// For subscriptions at `qos`, so many filters in one SUBSCRIBE.
    pub fn new(qos: Qos, filters_per_packet: usize) -> Self {
        Self {
            ramp: Ramp::new(0, 0.0, 0, 0),
            start: Start::Clean,
            asked_ns: Vec::new(),
            filters: Vec::new(),
            filters_per_packet: filters_per_packet.max(1),
            qos,
            answered: 0,
            subscribed: 0,
            connections: 0,
            granted: 0,
            connect: Latency::default(),
            subscribe: Latency::default(),
        }
    }

    /// Begins to connect the first `count` slots; in the whole run `total` clients connect.
    pub fn begin(&mut self, clients: &Clients<'_>, start: Start, count: usize, total: u32) {
        let start_ns = clients.control().stage_start_ns();
        self.ramp = Ramp::new(
            start_ns,
            clients.profile().connect_rate,
            count,
            total as usize,
        );
        self.start = start;
        self.answered = 0;
        self.subscribed = 0;
        self.asked_ns.resize(clients.count(), 0);
    }

    /// Opens what is due. Done when all connections are answered.
    pub fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        loop {
            let waiting = self.ramp.opened() - self.answered;
            let Some((slot, due)) = self.ramp.next(waiting, now) else {
                break;
            };
            self.asked_ns[slot as usize] = due;
            clients.open(slot, self.start);
        }
        let is_done = self.ramp.is_over() && self.answered == self.ramp.opened();
        Rest {
            is_done,
            wake_at: self.ramp.wake_at(),
        }
    }

    /// A connection was accepted.
    pub fn connected(&mut self, slot: u32, now: u64) {
        self.connect
            .record(now.saturating_sub(self.asked_ns[slot as usize]));
        self.connections += 1;
        self.answered += 1;
    }

    /// A connection failed before it was accepted.
    pub fn failed(&mut self) {
        self.answered += 1;
    }

    /// Clients that have all their filters since `begin`.
    pub fn subscribed_clients(&self) -> usize {
        self.subscribed
    }

    /// Filters that were granted.
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Begins to subscribe a client to `filters`.
    pub fn subscribe(
        &mut self,
        clients: &mut Clients<'_>,
        slot: u32,
        filters: Vec<String>,
        now: u64,
    ) {
        self.filters.resize_with(clients.count(), VecDeque::new);
        self.filters[slot as usize] = filters.into();
        self.subscribe_next(clients, slot, now);
    }

    /// A SUBSCRIBE was answered; sends the next one.
    pub fn suback(&mut self, clients: &mut Clients<'_>, slot: u32, codes: &[u8], now: u64) {
        self.subscribe
            .record(now.saturating_sub(self.asked_ns[slot as usize]));
        self.granted += codes.len() as u64;
        if let Some(code) = codes.iter().find(|code| **code != self.qos.number()) {
            let control = Arc::clone(clients.control());
            control.fail(format!(
                "a filter of client {} was answered with {code:#04x}, not with QoS {}",
                clients.number(slot),
                self.qos.number()
            ));
        }
        self.subscribe_next(clients, slot, now);
    }

    fn subscribe_next(&mut self, clients: &mut Clients<'_>, slot: u32, now: u64) {
        let waiting = &mut self.filters[slot as usize];
        if waiting.is_empty() {
            *waiting = VecDeque::new();
            self.subscribed += 1;
            return;
        }
        let count = waiting.len().min(self.filters_per_packet);
        let filters: Vec<String> = waiting.drain(..count).collect();
        self.asked_ns[slot as usize] = now;
        clients.subscribe(slot, &filters, self.qos);
    }

    /// Shows progress on the thread's board.
    pub fn show_progress(&self, clients: &Clients<'_>) {
        let board = clients.control().board(clients.thread());
        board
            .steps
            .store(self.connections + self.granted, Ordering::Relaxed);
    }

    /// Adds what was measured to a result.
    pub fn measured(self, outcome: &mut Outcome) {
        outcome.connect.merge(&self.connect);
        outcome.answer.merge(&self.subscribe);
        outcome.connections += self.connections;
        outcome.filters += self.granted;
    }
}

/// What to do about a connection that has ended: nothing if it was asked to end; end the run if
/// clients are still being gathered; otherwise note the problem.
pub fn lost(
    clients: &Clients<'_>,
    slot: u32,
    reason: &Closing,
    is_gathering: bool,
    outcome: &mut Outcome,
) {
    if matches!(reason, Closing::Requested) {
        return;
    }
    let what = clients.describe(slot, reason);
    clients
        .control()
        .board(clients.thread())
        .errors
        .fetch_add(1, Ordering::Relaxed);
    if is_gathering {
        clients.control().fail(what);
    } else {
        outcome.add_problem(what);
    }
}
