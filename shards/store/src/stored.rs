//! What was stored, as a start finds it.

use std::sync::Arc;

use protocol::message::Message;
use protocol::session::{Identifiers, Membership};
use protocol::wire::{PacketId, QoS, SubscriptionOptions};

use crate::change::{Division, Process, Sent, SessionNumber, SessionRecord};

/// Everything that was stored, with times in milliseconds of the clock that begins now.
#[derive(Debug, Default)]
pub struct Stored {
    /// The sessions.
    pub sessions: Vec<StoredSession>,
    /// The retained messages.
    pub retained: Vec<StoredRetained>,
    /// The messages that are to be published later.
    pub delayed: Vec<StoredDelayed>,
    /// How far the streams of other nodes are received.
    pub received: Vec<StoredReceived>,
    /// How the sessions were divided among the shards for which that holds.
    pub division: Option<Division>,
    /// All numbers from this one on are free, for sessions, messages and entries.
    pub next_number: u64,
}

/// A stored retained message.
#[derive(Debug)]
pub struct StoredRetained {
    /// The message.
    pub message: Arc<Message>,
    /// Its version; 0 if it was stored without one.
    pub version: u64,
}

/// How far a stream of another node is received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredReceived {
    /// Which shard's sessions have all that they get of it.
    pub shard: u16,
    /// Whose stream.
    pub process: Process,
    /// Which of its streams.
    pub stream: u16,
    /// The last message.
    pub number: u64,
}

/// A stored session.
#[derive(Debug)]
pub struct StoredSession {
    /// Its number.
    pub number: SessionNumber,
    /// Its record.
    pub record: SessionRecord,
    /// Its subscriptions.
    pub subscriptions: Vec<StoredSubscription>,
    /// QoS 2 messages of the client that are not released.
    pub held: Vec<PacketId>,
    /// Its messages, in their order.
    pub entries: Vec<StoredEntry>,
}

/// A stored subscription.
#[derive(Debug)]
pub struct StoredSubscription {
    /// As in SUBSCRIBE, `$share/group/` included.
    pub filter: Box<str>,
    /// As in SUBSCRIBE.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier; 0 for none.
    pub identifier: u32,
    /// The number of a shared subscription.
    pub membership: Option<Membership>,
}

impl StoredSubscription {
    /// Whether it is a shared one.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.membership.is_some()
    }
}

/// A message that a stored session has got and not acknowledged.
#[derive(Debug)]
pub struct StoredEntry {
    /// The number of the entry.
    pub number: u64,
    /// The number of the message, if it is stored under one of its own.
    pub shared: Option<u64>,
    /// The message, the same `Arc` for all entries that share it.
    pub message: Arc<Message>,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// The subscription identifiers of this delivery.
    pub identifiers: Identifiers,
    /// That it was in flight.
    pub sent: Option<Sent>,
    /// The shared subscription it came by.
    pub membership: Option<Membership>,
}

/// A message that is to be published later.
#[derive(Debug)]
pub struct StoredDelayed {
    /// Its number.
    pub number: u64,
    /// When, in milliseconds of the shards' clock.
    pub due_ms: u64,
    /// The message.
    pub message: Arc<Message>,
}
