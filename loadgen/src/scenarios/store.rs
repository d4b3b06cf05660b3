//! The stages of `retained` on one thread.

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

/// Retained messages that are stored, read, and deleted.
pub(super) struct Store {
    /// The first level of all topics.
    pub(super) root: String,
    pub(super) messages: u32,
    pub(super) publishers: u32,
    pub(super) subscribers: u32,
    pub(super) qos: Qos,
    pub(super) payload: u32,
    /// Messages that each publisher may have unacknowledged.
    pub(super) inflight: u32,
    /// Do not delete the messages in the end.
    pub(super) keeps: bool,
    pub(super) patience: Duration,
}

const CONNECT: usize = 0;
const STORE: usize = 1;
const READ: usize = 2;
const QUIET_STAGE: usize = 3;
const CLEAR: usize = 4;
const LEAVE: usize = 5;

impl Scenario for Store {
    type Part = StorePart;

    fn script(&self) -> Vec<Stage> {
        let stage = |name, until, is_final| Stage {
            name,
            until,
            is_final,
        };
        vec![
            stage("connect", Until::Done(self.patience), false),
            stage("store", Until::Done(self.patience), false),
            stage("read", Until::Done(self.patience), false),
            stage("quiet", Until::Elapsed(QUIET), false),
            stage("clear", Until::Done(self.patience), true),
            stage("leave", Until::Done(self.patience), true),
        ]
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        let subscribers = seat
            .share
            .of_thread(self.subscribers, seat.thread, seat.threads);
        let publishers = seat
            .share
            .of_thread(self.publishers, seat.thread, seat.threads);
        let shift = self.subscribers;
        subscribers
            .into_iter()
            .chain(publishers.into_iter().map(|n| n + shift))
            .collect()
    }

    fn part(&self, seat: &Seat) -> StorePart {
        let subscribers = seat
            .share
            .of_thread(self.subscribers, seat.thread, seat.threads)
            .len();
        let publishers = seat
            .share
            .of_thread(self.publishers, seat.thread, seat.threads);
        let range = |publisher: &u32| {
            let bound = |publisher: u32| {
                (u64::from(self.messages) * u64::from(publisher) / u64::from(self.publishers))
                    as u32
            };
            Writer {
                next: bound(*publisher),
                start: bound(*publisher),
                end: bound(publisher + 1),
            }
        };
        StorePart {
            root: self.root.clone(),
            messages: self.messages,
            total: self.publishers + self.subscribers,
            qos: self.qos,
            inflight: self.inflight as usize,
            keeps: self.keeps,
            payload: self.payload,
            payloads: None,
            subscribers,
            writers: publishers.iter().map(range).collect(),
            muster: Muster::new(self.qos, 1),
            flows: Flows::new(subscribers * self.messages as usize),
            has_read: false,
            stage: CONNECT,
            outcome: Outcome::default(),
        }
    }

    fn outcome(&self, part: StorePart, _control: &Control) -> Outcome {
        let (mut outcome, mut flows) = (part.outcome, part.flows);
        if part.has_read {
            for flow in 0..part.subscribers * part.messages as usize {
                flows.close(flow, 1);
            }
        }
        outcome.tally.merge(&flows.into_tally());
        part.muster.measured(&mut outcome);
        outcome
    }
}

/// The messages of one publisher: the topics `next..end` are still to be written.
#[derive(Debug)]
struct Writer {
    start: u32,
    next: u32,
    end: u32,
}

/// One thread of `retained`. Subscribers have the first slots, publishers the rest.
pub(super) struct StorePart {
    root: String,
    messages: u32,
    /// Clients of the whole run.
    total: u32,
    qos: Qos,
    inflight: usize,
    keeps: bool,
    payload: u32,
    payloads: Option<Payloads>,
    subscribers: usize,
    writers: Vec<Writer>,
    muster: Muster,
    /// One flow per subscriber and message.
    flows: Flows,
    /// The stage of reading was entered.
    has_read: bool,
    stage: usize,
    outcome: Outcome,
}

impl StorePart {
    /// Writes what the windows allow. Done when all is written and acknowledged.
    fn write(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        let mut is_done = true;
        for index in 0..self.writers.len() {
            let slot = (self.subscribers + index) as u32;
            while self.writers[index].next < self.writers[index].end
                && clients.session(slot).unacknowledged() < self.inflight
                && clients.may_publish(slot, self.qos)
            {
                let topic = self.writers[index].next;
                self.writers[index].next += 1;
                self.publish(clients, slot, topic, now);
            }
            is_done &= self.writers[index].next == self.writers[index].end
                && clients.session(slot).unacknowledged() == 0
                && clients.session(slot).is_answered();
        }
        let board = clients.control().board(clients.thread());
        board.sent.store(self.outcome.sent, Ordering::Relaxed);
        Rest::when(is_done)
    }

    /// Publishes one retained message; an empty one where messages are being deleted. The last
    /// one of a publisher is followed by PINGREQ, whose answer shows that QoS 0 was read too.
    fn publish(&mut self, clients: &mut Clients<'_>, slot: u32, number: u32, now: u64) {
        let is_clearing = self.stage == CLEAR;
        let topic = format!("{}/{number}", self.root);
        let length = if is_clearing {
            0
        } else {
            self.payload as usize
        };
        let version = clients.profile().version;
        let is_last = self.writers[slot as usize - self.subscribers].next
            == self.writers[slot as usize - self.subscribers].end;
        let (session, out) = clients.publishing(slot);
        let packet_id = session.begin_publish(self.qos);
        codec::publish_head(out, version, self.qos, true, &topic, length);
        codec::publish_middle(out, version, packet_id);
        if let (false, Some(payloads)) = (is_clearing, &self.payloads) {
            let stamp = Stamp {
                publisher: number,
                sequence: 0,
                due_ns: now,
            };
            payloads.write(out, stamp, payload::digest(topic.as_bytes()));
            self.outcome.sent += 1;
        }
        if is_last {
            session.ping(out);
        }
    }

    fn message(&mut self, slot: u32, publish: &Publish<'_>) {
        let Some(payloads) = &self.payloads else {
            return;
        };
        let tally = self.flows.tally_mut();
        match payloads.read(publish.topic, publish.payload) {
            Err(Fault::Foreign) => tally.foreign += 1,
            Err(Fault::Altered) => tally.altered += 1,
            // A stored message that is delivered to a new subscription has RETAIN set
            // ([MQTT-3.3.1-8]).
            Ok(stamp) if publish.retain && stamp.publisher < self.messages => {
                let flow = slot as usize * self.messages as usize + stamp.publisher as usize;
                self.flows.receive(flow, 0, Repeat::Forbidden);
                self.outcome.received += 1;
            }
            Ok(_) => tally.misdelivered += 1,
        }
    }

    fn read(&mut self, clients: &Clients<'_>) -> Rest {
        let board = clients.control().board(clients.thread());
        board
            .received
            .store(self.outcome.received, Ordering::Relaxed);
        let all = self.subscribers as u64 * u64::from(self.messages);
        Rest::when(self.outcome.received >= all)
    }
}

impl Part for StorePart {
    fn enter(&mut self, stage: usize, clients: &mut Clients<'_>, now: u64) {
        self.stage = stage;
        match stage {
            CONNECT => {
                self.payloads = Some(Payloads::new(clients.profile().run, self.payload));
                self.muster
                    .begin(clients, Start::Clean, clients.count(), self.total);
            }
            READ => {
                self.has_read = true;
                let filter = format!("{}/#", self.root);
                for slot in 0..self.subscribers as u32 {
                    self.muster
                        .subscribe(clients, slot, vec![filter.clone()], now);
                }
            }
            CLEAR => {
                // Subscribers would hear the deletions.
                (0..self.subscribers as u32).for_each(|slot| clients.disconnect(slot));
                for writer in &mut self.writers {
                    writer.next = if self.keeps { writer.end } else { writer.start };
                }
            }
            LEAVE => (0..clients.count() as u32).for_each(|slot| clients.disconnect(slot)),
            _ => {}
        }
    }

    fn turn(&mut self, clients: &mut Clients<'_>, now: u64) -> Rest {
        self.muster.show_progress(clients);
        match self.stage {
            CONNECT => self.muster.turn(clients, now),
            STORE | CLEAR => self.write(clients, now),
            READ => self.read(clients),
            QUIET_STAGE => Rest::when(true),
            _ => Rest::when(clients.open_connections() == 0),
        }
    }

    fn event(&mut self, clients: &mut Clients<'_>, slot: u32, event: Event<'_>, now: u64) {
        match event {
            Event::Connected { .. } => self.muster.connected(slot, now),
            Event::Subscribed { codes } => self.muster.suback(clients, slot, codes, now),
            Event::Message(publish) => self.message(slot, &publish),
            Event::Acknowledged => {}
        }
    }

    fn closed(&mut self, clients: &mut Clients<'_>, slot: u32, reason: &Closing, _now: u64) {
        if self.stage != LEAVE {
            lost(
                clients,
                slot,
                reason,
                self.stage <= STORE,
                &mut self.outcome,
            );
        }
    }
}
