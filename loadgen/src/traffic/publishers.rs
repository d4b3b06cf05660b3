//! The publishing side of one thread.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::codec::{self, Version};
use crate::payload::{self, Payloads, STAMP_LENGTH, Stamp};
use crate::run::Clients;

use super::plan::{Plan, RANDOM_DIGITS, TopicNames};
use super::schedule::Schedule;

/// Messages that one thread publishes at most before it looks at its sockets again.
const BURST_MAX: u64 = 8192;

/// One publishing client.
#[derive(Debug)]
struct Publisher {
    slot: u32,
    /// Its number in the run.
    number: u32,
    /// Start of each of its PUBLISH packets, up to the end of the topic.
    head: Box<[u8]>,
    topic_digest: u32,
    sent: u64,
    /// Closed loop: how many of them were received back.
    back: u64,
    /// Where acknowledgements are awaited: when each message without one was due.
    unacknowledged: VecDeque<u64>,
    /// On the list of those that can send.
    is_ready: bool,
}

/// All publishers of a thread.
pub(super) struct Publishers {
    list: Vec<Publisher>,
    plan: Arc<Plan>,
    payloads: Payloads,
    version: Version,
    /// Closed loop: publishers that may have room in their window.
    ready: Vec<u32>,
    /// Messages sent by all of them.
    sent: u64,
    /// Open loop: the publisher that is due next, and in which round.
    cursor: (usize, u64),
    random: Option<RandomTopics>,
}

impl Publishers {
    /// Publishers `numbers`, whose clients are in the slots from `first_slot` on.
    pub(super) fn new(
        plan: &Arc<Plan>,
        numbers: &[u32],
        first_slot: u32,
        run: u32,
        version: Version,
    ) -> Self {
        let publisher = |(slot, number): (u32, &u32)| {
            let topic = plan.topics.topic(*number);
            let mut head = Vec::new();
            let payload = plan.payload as usize;
            codec::publish_head(&mut head, version, plan.qos, false, &topic, payload);
            Publisher {
                slot,
                number: *number,
                head: head.into(),
                topic_digest: payload::digest(topic.as_bytes()),
                sent: 0,
                back: 0,
                unacknowledged: VecDeque::new(),
                is_ready: false,
            }
        };
        let list: Vec<Publisher> = (first_slot..).zip(numbers).map(publisher).collect();
        let first = list.first();
        let random = first.and_then(|first| RandomTopics::new(plan, &first.head, first.number));
        Self {
            list,
            plan: Arc::clone(plan),
            payloads: Payloads::new(run, plan.payload),
            version,
            ready: Vec::new(),
            sent: 0,
            cursor: (0, 0),
            random,
        }
    }

    /// Messages sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// What each publisher has sent.
    pub(super) fn totals(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.list
            .iter()
            .map(|publisher| (publisher.number, publisher.sent))
    }

    /// Whether the broker has taken over all QoS 1 and 2 messages.
    pub(super) fn are_acknowledged(&self, clients: &mut Clients<'_>) -> bool {
        self.list.iter().all(|publisher| {
            let session = clients.session(publisher.slot);
            !session.is_connected() || session.unacknowledged() == 0
        })
    }

    /// Closed loop: every publisher may begin.
    pub(super) fn release_all(&mut self) {
        for index in 0..self.list.len() {
            self.make_ready(index);
        }
    }

    /// Closed loop: one message of a publisher is back.
    #[inline]
    pub(super) fn returned(&mut self, index: usize) {
        if let Some(publisher) = self.list.get_mut(index) {
            publisher.back += 1;
            self.make_ready(index);
        }
    }

    /// The oldest message of a publisher that had no acknowledgement has one: when it was due.
    /// Acknowledgements keep the order of their messages.
    pub(super) fn acknowledged(&mut self, index: usize) -> Option<u64> {
        self.returned(index);
        self.list.get_mut(index)?.unacknowledged.pop_front()
    }

    /// Closed loop: so many messages of a publisher are back in all.
    pub(super) fn returned_up_to(&mut self, index: usize, back: u64) {
        if let Some(publisher) = self.list.get_mut(index)
            && publisher.back != back
        {
            publisher.back = back;
            self.make_ready(index);
        }
    }

    #[inline]
    fn make_ready(&mut self, index: usize) {
        let publisher = &mut self.list[index];
        if !publisher.is_ready {
            publisher.is_ready = true;
            self.ready.push(index as u32);
        }
    }

    /// Closed loop: fills the windows. Publishers that the broker holds up stay on the list.
    pub(super) fn fill_windows(&mut self, clients: &mut Clients<'_>, window: u32, now: u64) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|index| {
            let index = *index as usize;
            let publisher = &self.list[index];
            let room = publisher.back + u64::from(window);
            let wanted = room.saturating_sub(publisher.sent);
            let sent = self.publish(clients, index, wanted, |_| now);
            self.list[index].is_ready = sent < wanted;
            sent < wanted
        });
        self.ready = ready;
    }

    /// Open loop: sends what is due; says when the next message is due.
    pub(super) fn send_due(
        &mut self,
        clients: &mut Clients<'_>,
        schedule: &Schedule,
        now: u64,
    ) -> u64 {
        if self.list.is_empty() {
            return u64::MAX;
        }
        let mut budget = BURST_MAX;
        while budget > 0 {
            let (index, round) = self.cursor;
            let number = self.list[index].number;
            let due = schedule.due_ns(number, round);
            if due > now {
                return due;
            }
            // One that was held up has more than this round's message to send.
            let wanted = (round + 1).saturating_sub(self.list[index].sent);
            let sent = self.publish(clients, index, wanted.min(budget), |sequence| {
                schedule.due_ns(number, sequence)
            });
            budget = budget.saturating_sub(sent.max(1));
            let is_last = index + 1 == self.list.len();
            self.cursor = if is_last {
                (0, round + 1)
            } else {
                (index + 1, round)
            };
        }
        now
    }

    /// Messages that were due at `now` and have not been sent.
    pub(super) fn unsent(&self, schedule: &Schedule, now: u64) -> u64 {
        let unsent = |publisher: &Publisher| {
            schedule
                .due_count(publisher.number, now)
                .saturating_sub(publisher.sent)
        };
        self.list.iter().map(unsent).sum()
    }

    /// Sends up to `count` messages of one publisher, as many as its session allows.
    #[inline]
    fn publish(
        &mut self,
        clients: &mut Clients<'_>,
        index: usize,
        count: u64,
        due_ns: impl Fn(u64) -> u64,
    ) -> u64 {
        let qos = self.plan.qos;
        let publisher = &mut self.list[index];
        let mut sent = 0;
        while sent < count && clients.may_publish(publisher.slot, qos) {
            if let Some(random) = &mut self.random {
                random.choose(publisher);
            }
            let (session, out) = clients.publishing(publisher.slot);
            let packet_id = session.begin_publish(qos);
            let sequence = publisher.sent;
            let due_ns = due_ns(sequence);
            let stamp = Stamp {
                publisher: publisher.number,
                sequence,
                due_ns,
            };
            out.reserve(publisher.head.len() + 3 + self.plan.payload as usize + STAMP_LENGTH);
            out.extend_from_slice(&publisher.head);
            codec::publish_middle(out, self.version, packet_id);
            self.payloads.write(out, stamp, publisher.topic_digest);
            publisher.sent += 1;
            if self.plan.awaits_acks {
                publisher.unacknowledged.push_back(due_ns);
            }
            sent += 1;
        }
        self.sent += sent;
        sent
    }
}

/// Random topics: they differ in the digits of a number within the head.
#[derive(Debug)]
struct RandomTopics {
    count: u32,
    /// Where the topic begins in the head, and where its number.
    topic_at: usize,
    digits_at: usize,
    state: u64,
}

impl RandomTopics {
    /// For heads like `head`, which ends with a topic of `plan`.
    fn new(plan: &Plan, head: &[u8], seed: u32) -> Option<Self> {
        let TopicNames::Random {
            before,
            after,
            count,
        } = &plan.topics
        else {
            return None;
        };
        let digits_at = head.len() - after.len() - RANDOM_DIGITS;
        Some(Self {
            count: (*count).max(1),
            topic_at: digits_at - before.len(),
            digits_at,
            state: 0x9e37_79b9_7f4a_7c15 ^ u64::from(seed) << 20,
        })
    }

    /// Writes the number of a random topic into a publisher's head.
    fn choose(&mut self, publisher: &mut Publisher) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let mut number = (self.state >> 32) as u32 % self.count;
        let digits = &mut publisher.head[self.digits_at..self.digits_at + RANDOM_DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        publisher.topic_digest = payload::digest(&publisher.head[self.topic_at..]);
    }
}
