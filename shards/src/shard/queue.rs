//! Messages that wait for a client that is away or has its window full.

use std::collections::HashMap;

use protocol::session::{Delivery, WhyLeft};
use protocol::wire::ReasonCode;

use super::Shard;
use super::events::Event;
use crate::settings::{DefaultPriority, Mqtt};

/// The queue priorities of topics.
#[derive(Debug)]
pub(super) struct Priorities {
    topics: HashMap<Box<str>, u8>,
    default: u8,
}

impl Priorities {
    pub(super) fn new(settings: &Mqtt) -> Self {
        let topics = settings.mqueue_priorities.iter();
        Self {
            topics: topics
                .map(|topic| (topic.topic.as_str().into(), topic.priority))
                .collect(),
            default: match settings.mqueue_default_priority {
                DefaultPriority::Lowest => 0,
                DefaultPriority::Highest => u8::MAX,
            },
        }
    }

    /// The priority of a message of this topic.
    pub(super) fn of(&self, topic: &str) -> u8 {
        if self.topics.is_empty() {
            return 0;
        }
        self.topics.get(topic).copied().unwrap_or(self.default)
    }
}

impl Shard {
    /// Puts a delivery into the queue of its session. If it is too much for the queue, others
    /// leave it, or the client is disconnected at the end of the turn.
    pub(super) fn enqueue(&mut self, session_key: u32, delivery: Delivery) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let limits = self.limits.queue();
        let priority = self.priorities.of(delivery.message.topic());
        let enqueued = session
            .outflow
            .enqueue(delivery, priority, &limits, self.now_ms);
        let connection = session.connection;
        if enqueued.disconnect {
            self.overflow(connection);
        }
        for left in enqueued.left {
            self.left_queue(session_key, &left.delivery, left.why);
        }
    }

    /// Counts a message that has left the queue of a session without being sent.
    fn left_queue(&mut self, session_key: u32, delivery: &Delivery, why: WhyLeft) {
        let reason = match why {
            WhyLeft::Expired => {
                self.stats.expired.add(1);
                "expired"
            }
            WhyLeft::Full => {
                if let Some(session) = self.sessions.get_mut(session_key) {
                    session.dropped += 1;
                }
                self.stats.dropped.add(1);
                self.stats.queue_full.add(1);
                "queue_full"
            }
        };
        if self.wants(Event::DeliveryDropped) {
            self.raise_queued(session_key, delivery, Some(reason));
        }
    }

    /// QoS 0 messages that are still queued go on when the client has read: no
    /// acknowledgement is going to tell.
    pub(super) fn wait_to_send(&mut self, session_key: u32) {
        let Some(session) = self.sessions.get(session_key) else {
            return;
        };
        let waits = (session_key, session.serial);
        if session.outflow.has_queued_qos0() && self.unsent.last() != Some(&waits) {
            self.unsent.push(waits);
        }
    }

    /// Goes on with queues whose client has read.
    pub(super) fn send_to_readers(&mut self) {
        let half = self.limits.max_output_bytes as usize / 2;
        let mut waiting = core::mem::take(&mut self.unsent);
        waiting.sort_unstable();
        waiting.dedup();
        for (key, serial) in waiting {
            let session = self.sessions.get(key);
            let Some(session) = session.filter(|session| session.serial == serial) else {
                continue;
            };
            match self.connections.get(session.connection) {
                Some(connection) if connection.output.len() <= half => self.send_queued(key),
                Some(_) => self.unsent.push((key, serial)),
                None => {}
            }
        }
    }

    /// A connection is to end with this turn, because its session's queue is full.
    fn overflow(&mut self, key: u32) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.overflowed
        {
            connection.overflowed = true;
            self.overflowed.push(key);
        }
    }

    /// Disconnects the clients whose queue has overflowed. That is not done at once, since
    /// the end of one publishes its will, which may be too much for another.
    pub(super) fn disconnect_overflowed(&mut self) {
        while let Some(key) = self.overflowed.pop() {
            let connection = self.connections.get(key);
            if connection.is_some_and(|connection| connection.overflowed) {
                self.stats.overflowed.add(1);
                self.disconnect(key, ReasonCode::QUOTA_EXCEEDED);
            }
        }
    }
}
