//! The stages of `session`, `drain` and `restore` on one thread.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::Context;
use super::retained::QUIET;
use crate::check::{Flows, Repeat};
use crate::cli::Common;
use crate::codec::{self, Publish, Qos};
use crate::net::Closing;
use crate::payload::{self, Fault, Payloads, Stamp};
use crate::run::{
    Clients, Conducted, Control, Muster, Part, Rest, Roles, Scenario, Seat, Stage, StageRecord,
    Start, Until, conduct, lost,
};
use crate::session::Event;
use crate::stats::{Outcome, Report};

/// Messages that queue for subscribers that are away.
pub(super) struct Queue {
    /// The first level of all topics.
    pub(super) root: String,
    pub(super) subscribers: u32,
    /// At most as many as subscribers; each publishes to several subscribers in turn.
    pub(super) publishers: u32,
    /// The subscribers do not come back: the messages stay with the broker.
    pub(super) stays_away: bool,
    /// Messages for each.
    pub(super) messages: u32,
    pub(super) qos: Qos,
    pub(super) payload: u32,
    /// Messages that each publisher may have unacknowledged.
    pub(super) inflight: u32,
    /// Between the last SUBACK and the first message.
    pub(super) settle: Duration,
    pub(super) patience: Duration,
}

const CONNECT: usize = 0;
const SUBSCRIBE: usize = 1;
const AWAY: usize = 2;
const SETTLE: usize = 3;
const QUEUE: usize = 4;
const RETURN: usize = 5;
const QUIET_STAGE: usize = 6;
const PART: usize = 7;
const FORGET: usize = 8;
const LEAVE: usize = 9;

impl Queue {
    /// The stages of this run, in order.
    fn stages(&self) -> &'static [usize] {
        if self.stays_away {
            &[CONNECT, SUBSCRIBE, AWAY, SETTLE, QUEUE, LEAVE]
        } else {
            &[
                CONNECT,
                SUBSCRIBE,
                AWAY,
                SETTLE,
                QUEUE,
                RETURN,
                QUIET_STAGE,
                PART,
                FORGET,
                LEAVE,
            ]
        }
    }

    fn stage(&self, stage: usize) -> Stage {
        let name = match stage {
            CONNECT => "connect",
            SUBSCRIBE => "subscribe",
            AWAY => "away",
            SETTLE => "settle",
            QUEUE => "queue",
            RETURN => "return",
            QUIET_STAGE => "quiet",
            PART => "part",
            FORGET => "forget",
            _ => "leave",
        };
        let until = match stage {
            SETTLE => Until::Elapsed(self.settle),
            QUIET_STAGE => Until::Elapsed(QUIET),
            _ => Until::Done(self.patience),
        };
        Stage {
            name,
            until,
            is_final: stage >= PART,
        }
    }

    /// Carries out the run. Without enough room in the broker's queues messages are missing,
    /// which the error says.
    pub(super) fn conduct(
        &self,
        common: &Common,
        context: &mut Context<'_>,
    ) -> Result<Conducted, String> {
        if self.qos == Qos::AtMostOnce {
            return Err("messages of QoS 0 do not queue: use --qos 1 or 2".to_owned());
        }
        if self.publishers < (common.threads() as u32).min(self.subscribers)
            || self.publishers > self.subscribers
        {
            return Err(
                "a publisher for each thread is needed, and no more than subscribers".to_owned(),
            );
        }
        let roles = Roles::Fan {
            publishers: self.publishers,
            subscribers: self.subscribers,
        };
        let staging = common.staging(context, self.subscribers + self.publishers)?;
        let profile = common.shared_profile(context.run, roles)?;
        conduct(self, &profile, &staging, context.gate).map_err(|error| {
            if error.starts_with("return:") {
                format!(
                    "{error}; not everything that was queued came: the broker must queue {} \
                     messages for a session (ShardMQ: --set mqtt.max_mqueue_len=, \
                     --set mqtt.max_mqueue_bytes=)",
                    self.messages
                )
            } else {
                error
            }
        })
    }
}

impl Scenario for Queue {
    type Part = QueuePart;

    fn script(&self) -> Vec<Stage> {
        self.stages()
            .iter()
            .map(|stage| self.stage(*stage))
            .collect()
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        let publishers = seat
            .share
            .of_thread(self.publishers, seat.thread, seat.threads);
        seat.share
            .of_thread(self.subscribers, seat.thread, seat.threads)
            .into_iter()
            .chain(publishers.iter().map(|number| self.subscribers + number))
            .collect()
    }

    fn part(&self, seat: &Seat) -> QueuePart {
        let of_thread = |count| seat.share.of_thread(count, seat.thread, seat.threads);
        let (numbers, publishers) = (of_thread(self.subscribers), of_thread(self.publishers));
        QueuePart {
            root: self.root.clone(),
            stages: self.stages(),
            subscribers: self.subscribers,
            total: self.subscribers + self.publishers,
            messages: u64::from(self.messages),
            qos: self.qos,
            inflight: self.inflight as usize,
            payload: self.payload,
            payloads: None,
            sent: vec![0; numbers.len()],
            acknowledged: 0,
            ready: (0..publishers.len()).collect(),
            next: (0..publishers.len()).collect(),
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

/// One thread. Subscribers have the first slots, publishers the others.
pub(super) struct QueuePart {
    root: String,
    stages: &'static [usize],
    /// Subscribers of the whole run.
    subscribers: u32,
    /// Clients of the whole run.
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
    /// For each publisher, the subscriber that gets its next message.
    next: Vec<usize>,
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
        for publisher in std::mem::take(&mut self.ready) {
            let slot = (self.numbers.len() + publisher) as u32;
            while self
                .sent
                .get(self.next[publisher])
                .is_some_and(|sent| *sent < self.messages)
                && clients.session(slot).unacknowledged() < self.inflight
                && clients.may_publish(slot, self.qos)
            {
                self.publish(clients, slot, self.next[publisher], now);
                self.next[publisher] += self.next.len();
                if self.next[publisher] >= self.numbers.len() {
                    self.next[publisher] = publisher;
                }
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

    fn publish(&mut self, clients: &mut Clients<'_>, slot: u32, index: usize, now: u64) {
        let topic = &*self.topic(index);
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
        self.stage = self.stages.get(stage).copied().unwrap_or(LEAVE);
        let (subscribers, all) = (self.numbers.len(), clients.count());
        match self.stage {
            CONNECT => {
                self.payloads = Some(Payloads::new(clients.profile().run, self.payload));
                self.muster
                    .begin(clients, Start::Persistent, all, self.total);
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
                    .begin(clients, Start::Persistent, subscribers, self.subscribers);
            }
            PART | LEAVE => self.disconnect(clients, all),
            FORGET => self.muster.begin(clients, Start::Clean, all, self.total),
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
            SETTLE | QUIET_STAGE => Rest::when(true),
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

/// Adds what all of these scenarios report: messages for each subscriber, QoS and payload, and
/// how fast they were queued and drained.
pub(super) fn report_queue(
    conducted: &Conducted,
    (messages, qos, payload): (u32, Qos, u32),
    report: &mut Report,
) {
    let outcome = &conducted.outcome;
    let text = format!(
        "{messages} messages for each, QoS {}, {payload} bytes",
        qos.number()
    );
    let options = json!({"messages": messages, "qos": qos.number(), "payload": payload});
    report.add("load", "load", text, options);
    report.add_stage_rate(conducted, "queue", "queued_per_s", outcome.sent);
    report.add_stage_rate(conducted, "return", "drained_per_s", outcome.received);
    if let Some((before, after)) = conducted.stage("queue").and_then(StageRecord::broker) {
        report.add_growth("memory", &before, &after, "queued message", outcome.sent);
    }
    report.add_faults(outcome, false);
}
