//! What shards say to each other.

use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::session::Membership;
use protocol::subscriptions::{Ability, GroupId, Resort};
use protocol::wire::{QoS, SubscriptionOptions};
use shard_store::{Change, Process};

use super::groups::{Journey, Origin, Told};
use super::held::SharedName;
use super::positions::Place;
use super::replay::Retained;
use super::transaction::Token;

/// What one shard has for another at the end of a turn. Travels through the ring as a
/// whole; the order within it is the order in which things happened.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    /// The bytes of the messages that [`Item::Publish`] points into.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the messages that other items hold by reference.
    pub(crate) kept_bytes: usize,
    /// The sender waits to hear that the publishes are accepted.
    pub(crate) wants_answer: bool,
    /// Where in its stream the last message is, if it is one of another node.
    pub(crate) last: Option<Place>,
}

/// One thing a shard says to another.
#[derive(Debug)]
pub(crate) enum Item {
    /// A connection whose client identifier belongs to the other shard.
    Connection(ArrivedConnection),
    /// A message that the other shard has subscribers for.
    Publish(Packed),
    /// The next publish is this one of a stream of another node.
    Goes(Place),
    /// Up to this message of a stream of another node everything that is for the other shard
    /// was sent to it.
    Received(Place),
    /// All publishes up to this one, in the order they were sent, are with the sessions
    /// that get them.
    Accepted { publishes: u64 },
    /// This publish is accepted and not stored yet: `Staged` follows. Comes before the
    /// `Accepted` that covers it.
    StoredLater { publish: u64 },
    /// What was given is stored; or, if it is to be stored together with other shards', this is
    /// what is to be stored.
    Staged { token: Token, changes: Vec<Change> },
    /// What was given, and what there was to be stored for it, is on the disk.
    Committed { token: Token },
    /// The store is full, or else a limit of the retained messages is reached: this publish was
    /// not taken. Comes before the `Accepted` that covers it.
    Refused { publish: u64, full: bool },
    /// Another node has said something about the session of a client of the other shard.
    Session { node: u16, payload: Box<[u8]> },
    /// What a node has said about sessions of the other shard that move, or this one as
    /// `NODES_MAX`, by one of its shards.
    Marks {
        node: u16,
        stream: u16,
        payload: Box<[u8]>,
    },
    /// The process of a node is gone, behind all that this shard has from it.
    ProcessGone { node: u16 },
    /// A message that the other shard is to retain, or, with an empty payload, to forget.
    /// Counts as a publish for [`Item::Accepted`].
    Retain(Retained),
    /// What another node retained before now, to be retained if it is newer than what is known.
    /// Counts as a publish for [`Item::Accepted`].
    Keep(Retained),
    /// A message of a shared subscription for one member.
    Deliver {
        to: SessionRef,
        delivery: SharedDelivery,
    },
    /// A member cannot take a message of its group: it goes back to be given to another.
    Bounced {
        member: SessionRef,
        /// What the member can do, or nothing if it is not there.
        ability: Option<Ability>,
        delivery: SharedDelivery,
    },
    /// A member that had to refuse a message can do more again.
    Able {
        group: GroupId,
        group_serial: u32,
        member: SessionRef,
        ability: Ability,
    },
    /// Messages that a member was given and has not acknowledged, for another member.
    Returned {
        name: SharedName,
        messages: Vec<Arc<Message>>,
        /// What to answer with when others have stored them.
        token: Option<Token>,
    },
    /// Others are there to take what is queued for a member whose client is away.
    Return {
        name: SharedName,
        member: SessionRef,
    },
    /// A session joins a group that the other shard owns; answered by `Joined`.
    Join {
        name: SharedName,
        member: Member,
        online: bool,
        ticket: u32,
    },
    /// The group is joined, and messages for it arrive.
    Joined { ticket: u32 },
    /// A session leaves a group.
    Leave {
        name: SharedName,
        session: SessionRef,
    },
    /// A member's client went away or came back.
    Presence {
        name: SharedName,
        session: SessionRef,
        online: bool,
        /// The client left messages of groups in the queue.
        queued: bool,
    },
    /// A session wants a filter for itself; answered by `Claimed`.
    Claim {
        filter: Box<str>,
        claim: Claim,
        /// The client, in a cluster.
        holder: Box<str>,
        /// The subscription was stored.
        is_former: bool,
    },
    /// A session goes on that has a filter for itself.
    Hold {
        filter: Box<str>,
        session: SessionRef,
        holder: Box<str>,
    },
    /// A session has lost a filter that it had for itself.
    FilterLost {
        filter: Box<str>,
        session: SessionRef,
    },
    /// Whether the filter is the session's.
    Claimed {
        filter: Box<str>,
        claim: Claim,
        granted: bool,
    },
    /// A session does not want a filter for itself any more.
    Release {
        filter: Box<str>,
        session: SessionRef,
    },
    /// A message from another node for a group of the other shard.
    ForGroup(Box<ForGroup>),
    /// What has become of messages of the other shard that another node has got.
    Told(Vec<(Told, u64)>),
    /// The node that the batch is from has members of a group, or has not any more.
    Share { text: Box<str>, add: bool },
    /// The process of the node that the batch is from that has accepted messages up to this one
    /// is gone, or only what it has said of them may be lost.
    NodeGone { up_to: u64, died: bool },
    /// Asks for retained messages from `after` on.
    Replay {
        to: SessionRef,
        replay: u32,
        filter: Box<str>,
        after: Option<ReplayCursor>,
    },
    /// Retained messages asked for, and where to go on; `None` at the end.
    Replayed {
        to: SessionRef,
        replay: u32,
        found: Vec<Retained>,
        next: Option<ReplayCursor>,
    },
}

/// A connection that has moved, with what has been read from it.
#[derive(Debug)]
pub(crate) struct ArrivedConnection {
    pub(crate) fd: i32,
    /// The listener it was accepted on.
    pub(crate) listener: u32,
    pub(crate) input: Vec<u8>,
}

/// Where a search among the retained messages goes on.
pub(crate) type ReplayCursor = protocol::retained::Cursor;

/// A session of some shard, safe against reuse of its key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SessionRef {
    pub(crate) shard: u16,
    pub(crate) session: u32,
    pub(crate) serial: u32,
}

/// A session that joins a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) session: SessionRef,
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: u32,
    /// The number by which the session knows the subscription.
    pub(crate) membership: Membership,
}

/// A SUBSCRIBE to a filter that no other session may have: sent to the shard that says who
/// has it, and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) session: SessionRef,
    pub(crate) ticket: u32,
    /// Which of the filters of the SUBSCRIBE it is.
    pub(crate) index: usize,
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: u32,
}

/// A message of a group that was published on another node.
#[derive(Debug)]
pub(crate) struct ForGroup {
    pub(crate) name: SharedName,
    pub(crate) message: Arc<Message>,
    pub(crate) journey: Arc<Journey>,
}

/// What a member of a group gets.
#[derive(Clone, Debug)]
pub(crate) struct SharedDelivery {
    /// The group, on the shard that owns it.
    pub(crate) group: GroupId,
    pub(crate) group_serial: u32,
    pub(crate) resort: Resort,
    /// How often it came back.
    pub(crate) bounces: u8,
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifier: u32,
    /// What the member's shard is to answer with when it has stored the message, if the
    /// publisher waits for that.
    pub(crate) token: Option<Token>,
    /// The message is stored together with others.
    pub(crate) atomic: bool,
    pub(crate) membership: Membership,
    /// How it has come from another node, if it has.
    pub(crate) journey: Option<Arc<Journey>>,
}

impl SharedDelivery {
    /// The node that keeps the message, if it has come from another one.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.journey.as_ref().and_then(|journey| journey.origin)
    }
}

/// A message copied into [`Batch::bytes`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    start: u32,
    topic_len: u16,
    properties_len: u32,
    payload_len: u32,
    qos: QoS,
    retain: bool,
    expires_ms: u64,
    publisher: u64,
    /// To be stored by the publisher's shard.
    pub(crate) atomic: bool,
    /// The version, as in [`Retained`], if it is to be retained.
    pub(crate) retaining: u64,
    /// It comes from another node, which has given it to groups.
    pub(crate) is_foreign: bool,
}

impl Batch {
    /// Copies a message to the end of the batch.
    pub(crate) fn publish(&mut self, message: &MessageRef<'_>, atomic: bool, retaining: u64) {
        let packed = Packed {
            start: self.bytes.len() as u32,
            topic_len: message.topic.len() as u16,
            properties_len: message.properties.len() as u32,
            payload_len: message.payload.len() as u32,
            qos: message.qos,
            retain: message.retain,
            expires_ms: message.expires_ms,
            publisher: message.publisher,
            atomic,
            retaining,
            is_foreign: false,
        };
        self.bytes.extend_from_slice(message.topic.as_bytes());
        self.bytes.extend_from_slice(message.properties);
        self.bytes.extend_from_slice(message.payload);
        self.items.push(Item::Publish(packed));
    }

    /// The message that is added next has this number in a stream of another node.
    pub(crate) fn place(&mut self, process: &Arc<Process>, stream: u16, number: u64) {
        match &mut self.last {
            Some(last) if last.follows(process, stream, number) => last.number = number,
            last => {
                let place = Place {
                    process: Arc::clone(process),
                    stream,
                    number,
                };
                *last = Some(place.clone());
                self.items.push(Item::Goes(place));
            }
        }
    }

    /// The message that was added last comes from another node.
    pub(crate) fn mark_foreign(&mut self) {
        if let Some(Item::Publish(packed)) = self.items.last_mut() {
            packed.is_foreign = true;
        }
    }

    /// Bytes of messages in it.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.kept_bytes
    }

    /// Empties the batch and keeps its memory, unless that has grown large.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 512 << 10;
        self.items.clear();
        self.bytes.clear();
        self.kept_bytes = 0;
        self.last = None;
        self.bytes.shrink_to(KEPT);
    }
}

impl Packed {
    /// The message, in the bytes of the batch it came with.
    pub(crate) fn message<'a>(&self, bytes: &'a [u8]) -> Option<MessageRef<'a>> {
        let rest = bytes.get(self.start as usize..)?;
        let (topic, rest) = rest.split_at_checked(usize::from(self.topic_len))?;
        let (properties, rest) = rest.split_at_checked(self.properties_len as usize)?;
        Some(MessageRef {
            topic: core::str::from_utf8(topic).ok()?,
            properties,
            payload: rest.get(..self.payload_len as usize)?,
            qos: self.qos,
            retain: self.retain,
            expires_ms: self.expires_ms,
            publisher: self.publisher,
        })
    }
}
