//! What a shard asks to be stored.

use std::sync::Arc;

use protocol::message::Message;
use protocol::session::{Identifiers, Membership};
use protocol::wire::{PacketId, QoS, SubscriptionOptions};

/// A stored session. Numbers are never used again for another session of the same folder.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionNumber(pub u64);

/// The changes of one turn of a shard. Stored as a whole or not at all.
#[derive(Debug, Default)]
pub struct Commit {
    /// Counts the commits of a shard, from 1.
    pub number: u64,
    /// In the order in which they happened.
    pub changes: Vec<Change>,
    /// Bytes of the messages in it, for the bounds of what is under way.
    pub bytes: usize,
}

/// One change. Whatever it takes away may be missing: then nothing happens.
#[derive(Debug)]
pub enum Change {
    /// A session is new, or something in its record has changed.
    PutSession {
        /// Which.
        session: SessionNumber,
        /// All of the record.
        record: Box<SessionRecord>,
    },
    /// A session has ended: it goes with everything that is stored under its number.
    DropSession {
        /// Which.
        session: SessionNumber,
    },
    /// A subscription is made or replaced.
    PutSubscription {
        /// Whose.
        session: SessionNumber,
        /// As in SUBSCRIBE, `$share/group/` included.
        filter: Box<str>,
        /// As in SUBSCRIBE.
        options: SubscriptionOptions,
        /// The Subscription Identifier; 0 for none.
        identifier: u32,
        /// The number of a shared subscription.
        membership: Option<Membership>,
    },
    /// A subscription has ended.
    DropSubscription {
        /// Whose.
        session: SessionNumber,
        /// As in SUBSCRIBE.
        filter: Box<str>,
    },
    /// A message that several entries refer to.
    PutMessage {
        /// Its number, of the same sequence as those of entries.
        number: u64,
        /// What it is.
        message: Arc<Message>,
    },
    /// No entry refers to a message any more.
    DropMessage {
        /// Which.
        number: u64,
    },
    /// A session has got a message. Its entries are in the order of their numbers.
    PutEntry {
        /// Whose.
        session: SessionNumber,
        /// The number of the entry, used once.
        number: u64,
        /// The message.
        body: Body,
        /// The QoS of this delivery.
        qos: QoS,
        /// The RETAIN flag of this delivery.
        retain: bool,
        /// The subscription identifiers of this delivery.
        identifiers: Identifiers,
        /// That it is in flight already.
        sent: Option<Sent>,
        /// The shared subscription it came by.
        membership: Option<Membership>,
    },
    /// An entry was sent, or PUBREC has come for it.
    MarkSent {
        /// Whose.
        session: SessionNumber,
        /// Which entry.
        number: u64,
        /// How far it is.
        sent: Sent,
    },
    /// An entry is acknowledged, expired or dropped.
    DropEntry {
        /// Whose.
        session: SessionNumber,
        /// Which.
        number: u64,
    },
    /// A QoS 2 message of the client was taken and is not released.
    HoldPacketId {
        /// Whose.
        session: SessionNumber,
        /// The packet identifier of its PUBLISH.
        packet_id: PacketId,
    },
    /// The client has released a QoS 2 message.
    ReleasePacketId {
        /// Whose.
        session: SessionNumber,
        /// The packet identifier.
        packet_id: PacketId,
    },
    /// A message is retained, in place of an earlier one of its topic.
    Retain {
        /// The message.
        message: Arc<Message>,
        /// Which of two values of the topic is the newer one, over all nodes; 0 if unknown.
        version: u64,
    },
    /// Nothing is retained for a topic any more.
    Forget {
        /// The topic.
        topic: Box<str>,
    },
    /// A message is to be published later.
    PutDelayed {
        /// Its number, of the same sequence as those of entries.
        number: u64,
        /// When, in milliseconds of the shards' clock.
        due_ms: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A delayed message was published or dropped.
    DropDelayed {
        /// Which.
        number: u64,
    },
    /// What a shard stores of the messages of a stream is stored up to this one.
    PutReceived {
        /// Which shard's sessions have what they get of them.
        shard: u16,
        /// Whose stream.
        process: Arc<Process>,
        /// Which of its streams.
        stream: u16,
        /// The number of the message in the stream.
        number: u64,
    },
    /// Nothing is to be known of a stream any more.
    DropReceived {
        /// Which shard's sessions.
        shard: u16,
        /// The name of the node whose stream it is.
        node: Box<str>,
        /// Which of its streams.
        stream: u16,
    },
    /// How sessions are divided among the shards.
    PutDivision(Division),
}

/// A process of another node, whose messages have numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// The name of the node.
    pub node: Box<str>,
    /// The life with which the process began.
    pub boot: u64,
}

/// How sessions are divided among the shards.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Division {
    /// The seed of the hash of client identifiers.
    pub seed: u64,
    /// How many shards there are.
    pub shards: u16,
}

/// The message of an entry.
#[derive(Debug)]
pub enum Body {
    /// Nobody else has it.
    Own(Arc<Message>),
    /// It is stored under this number.
    Shared(u64),
}

/// How far an entry is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// The packet identifier it was sent with.
    pub packet_id: PacketId,
    /// PUBREC has come: only PUBREL is sent again.
    pub received: bool,
}

/// What is stored of a session beside its subscriptions and messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionRecord {
    /// The client identifier.
    pub client_id: Box<str>,
    /// Session Expiry Interval in seconds. 0: only the will is stored; it is published at
    /// the next start.
    pub expiry_s: u32,
    /// When the session ends, in milliseconds of the shards' clock; `None` while the client
    /// is connected. `u64::MAX` never.
    pub ends_ms: Option<u64>,
    /// The will that has not been published.
    pub will: Option<Will>,
    /// QoS 1 entries up to this number may have been sent without a mark that says so, those of
    /// a client that is connected in any case; 0 for none.
    pub perhaps_sent: u64,
}

/// A will and when it is due.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Will {
    /// The message; its own expiry begins when it is published.
    pub message: Arc<Message>,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// When it is to be published, in milliseconds of the shards' clock; `None` while the
    /// client is connected.
    pub due_ms: Option<u64>,
}
