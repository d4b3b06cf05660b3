//! The stages of `session` on one thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::retained::QUIET;
use crate::check::{Flows, Repeat};
use crate::codec::{self, Publish, Qos};
use crate::net::Closing;
use crate::payload::{self, Fault, Payloads, Stamp};
use crate::run::{Clients, Control, Muster, Part, Rest, Scenario, Seat, Stage, Start, Until, lost};
use crate::session::Event;
use crate::stats::Outcome;

/// Messages that queue for subscribers that are away.
pub(super) struct Queue {
    /// The first level of all topics.
    pub(super) root: String,
    /// Subscribers, and as many publishers.
    pub(super) pairs: u32,
    /// Messages for each.
    pub(super) messages: u32,
    pub(super) qos: Qos,
    pub(super) payload: u32,
    /// Messages that each publisher may have unacknowledged.
    pub(super) inflight: u32,
    pub(super) patience: Duration,
}

const CONNECT: usize = 0;
const SUBSCRIBE: usize = 1;
const AWAY: usize = 2;
const QUEUE: usize = 3;
const RETURN: usize = 4;
const QUIET_STAGE: usize = 5;
const PART: usize = 6;
const FORGET: usize = 7;
const LEAVE: usize = 8;

impl Scenario for Queue {
    type Part = QueuePart;

    fn script(&self) -> Vec<Stage> {
        let stage = |name, until, is_final| Stage {
            name,
            until,
            is_final,
        };
        let patience = Until::Done(self.patience);
        vec![
            stage("connect", patience, false),
            stage("subscribe", patience, false),
            stage("away", patience, false),
            stage("queue", patience, false),
            stage("return", patience, false),
            stage("quiet", Until::Elapsed(QUIET), false),
            stage("part", patience, true),
            stage("forget", patience, true),
            stage("leave", patience, true),
        ]
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        let own = seat.share.of_thread(self.pairs, seat.thread, seat.threads);
        own.iter()
            .copied()
            .chain(own.iter().map(|number| self.pairs + number))
            .collect()
    }

    fn part(&self, seat: &Seat) -> QueuePart {
        let numbers = seat.share.of_thread(self.pairs, seat.thread, seat.threads);
        QueuePart {
            root: self.root.clone(),
            total: self.pairs,
            messages: u64::from(self.messages),
            qos: self.qos,
            inflight: self.inflight as usize,
            payload: self.payload,
            payloads: None,
            sent: vec![0; numbers.len()],
            acknowledged: 0,
            ready: (0..numbers.len()).collect(),
            flows: Flows::new(numbers.len()),
            has_returned: false,
            numbers,
            muster: Muster::new(self.qos, 1),
            stage: CONNECT,
            outcome: Outcome::default(),
        }
    }

    fn outcome(&self, part: QueuePart, _control: &Control) -> Outcome {
        let (mut outcome, mut flows) = (part.outcome, part.flows);
        if part.has_returned {
            part.sent
                .iter()
                .enumerate()
                .for_each(|(flow, sent)| flows.close(flow, *sent));
        }
        outcome.tally.merge(&flows.into_tally());
        part.muster.measured(&mut outcome);
        outcome
    }
}

/// One thread of `session`. Subscribers have the first half of the slots, publishers the other.
pub(super) struct QueuePart {
    root: String,
    /// Subscribers of the whole run.
    total: u32,
    messages: u64,
    qos: Qos,
    inflight: usize,
    payload: u32,
    payloads: Option<Payloads>,
    /// The subscribers' numbers in the run.
    numbers: Vec<u32>,
    /// Messages sent to each.
    sent: Vec<u64>,
    /// Messages that the broker has acknowledged.
    acknowledged: u64,
    /// Publishers that may have room in their window.
    ready: Vec<usize>,
    flows: Flows,
    /// The stage of coming back was entered.
    has_returned: bool,
    muster: Muster,
    stage: usize,
    outcome: Outcome,
}

impl QueuePart {
    fn topic(&self, index: usize) -> String {
        format!("{}/{}", self.root, self.numbers[index])
    }

    /// Publishes what the windows allow. Done when everything is sent and acknowledged.
    fn fill(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        for index in std::mem::take(&mut self.ready) {
            let slot = (self.numbers.len() + index) as u32;
            let topic = self.topic(index);
            while self.sent[index] < self.messages
                && clients.session(slot).unacknowledged() < self.inflight
                && clients.may_publish(slot, self.qos)
            {
                self.publish(clients, slot, index, &topic, now);
            }
        }
        let board = clients.control().board(clients.thread());
        board.sent.store(self.outcome.sent, Ordering::Relaxed);
        Rest::when(self.acknowledged == self.messages * self.numbers.len() as u64)
    }

    /// A message was taken over by the broker: its publisher has room for another.
    fn acknowledged(&mut self, slot: u32) {
        self.acknowledged += 1;
        let index = (slot as usize).saturating_sub(self.numbers.len());
        if self.ready.last() != Some(&index) {
            self.ready.push(index);
        }
    }

    fn publish(
        &mut self,
        clients: &mut Clients<'_>,
        slot: u32,
        index: usize,
        topic: &str,
        now: u64,
    ) {
        let Some(payloads) = &self.payloads else {
            return;
        };
        let version = clients.profile().version;
        let (session, out) = clients.publishing(slot);
        let packet_id = session.begin_publish(self.qos);
        codec::publish_head(out, version, self.qos, false, topic, self.payload as usize);
        codec::publish_middle(out, version, packet_id);
        let (publisher, sequence) = (self.numbers[index], self.sent[index]);
        let stamp = Stamp {
            publisher,
            sequence,
            due_ns: now,
        };
        payloads.write(out, stamp, payload::digest(topic.as_bytes()));
        self.sent[index] += 1;
        self.outcome.sent += 1;
    }

    fn message(&mut self, slot: u32, publish: &Publish<'_>) {
        let Some(payloads) = &self.payloads else {
            return;
        };
        let tally = self.flows.tally_mut();
        match payloads.read(publish.topic, publish.payload) {
            Err(Fault::Foreign) => tally.foreign += 1,
            Err(Fault::Altered) => tally.altered += 1,
            Ok(stamp) if self.numbers.get(slot as usize) == Some(&stamp.publisher) => {
                let may_repeat = publish.dup && publish.qos == Qos::AtLeastOnce;
                let repeat = if may_repeat {
                    Repeat::Allowed
                } else {
                    Repeat::Forbidden
                };
                self.flows.receive(slot as usize, stamp.sequence, repeat);
                self.outcome.received += 1;
            }
            Ok(_) => tally.misdelivered += 1,
        }
    }

    fn connected(&mut self, clients: &Clients<'_>, slot: u32, session_present: bool, now: u64) {
        self.muster.connected(slot, now);
        if self.stage == RETURN && !session_present {
            let number = clients.number(slot);
            self.outcome
                .add_problem(format!("the broker has forgotten the session of {number}"));
        }
    }

    fn come_back(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let board = clients.control().board(clients.thread());
        board
            .received
            .store(self.outcome.received, Ordering::Relaxed);
        let rest = self.muster.turn(clients, now);
        let all = self.sent.iter().sum();
        Rest {
            is_done: rest.is_done && self.outcome.received >= all,
            ..rest
        }
    }

    fn disconnect(&self, clients: &mut Clients<'_>, count: usize) {
        (0..count as u32).for_each(|slot| clients.disconnect(slot));
    }
}

impl Part for QueuePart {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, now: u64) {
        self.stage = stage;
        let (subscribers, all) = (self.numbers.len(), clients.count());
        match stage {
            CONNECT => {
                self.payloads = Some(Payloads::new(clients.profile().run, self.payload));
                self.muster
                    .begin(clients, Start::Persistent, all, self.total * 2);
            }
            SUBSCRIBE => {
                for index in 0..subscribers {
                    let topic = self.topic(index);
                    self.muster
                        .subscribe(clients, index as u32, vec![topic], now);
                }
            }
            AWAY => self.disconnect(clients, subscribers),
            RETURN => {
                self.has_returned = true;
                self.muster
                    .begin(clients, Start::Persistent, subscribers, self.total);
            }
            PART | LEAVE => self.disconnect(clients, all),
            FORGET => self
                .muster
                .begin(clients, Start::Clean, all, self.total * 2),
            _ => {}
        }
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        self.muster.show_progress(clients);
        let subscribers = self.numbers.len();
        match self.stage {
            CONNECT | FORGET => self.muster.turn(clients, now),
            SUBSCRIBE => Rest::when(self.muster.subscribed_clients() == subscribers),
            AWAY => Rest::when(clients.open_connections() == clients.count() - subscribers),
            QUEUE => self.fill(clients, now),
            RETURN => self.come_back(clients, now),
            QUIET_STAGE => Rest::when(true),
            _ => Rest::when(clients.open_connections() == 0),
        }
    }

    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        match event {
            Event::Connected { session_present } => {
                self.connected(clients, slot, session_present, now);
            }
            Event::Subscribed { codes } => self.muster.suback(clients, slot, codes, now),
            Event::Message(publish) => self.message(slot, &publish),
            Event::Acknowledged => self.acknowledged(slot),
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        if self.stage != LEAVE {
            lost(
                clients,
                slot,
                reason,
                self.stage <= RETURN,
                &mut self.outcome,
            );
        }
    }
}
