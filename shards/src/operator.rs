//! Between the shards and those who look after the broker: questions about clients,
//! subscriptions and filters, and their answers.
//!
//! ```text
//!   thread that serves operators ── questions, a ring for each shard ──► shard
//!                                ◄─ answers ───────────────────────────
//! ```
//!
//! A shard answers one question a turn, and an answer takes a bounded time: a list comes part
//! by part, each saying where the next one begins. What changes between two parts may be
//! missed or come twice.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use protocol::hash::Seed;
use protocol::wire::{SubscriptionOptions, Version};
use shard_sync::{Consumer, Doorbell, Producer, ring};

use crate::shard::{Common, Stats};

/// Questions that one shard may have at a time.
pub const QUESTIONS_MAX: usize = 16;

/// Where in a list to go on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The place in the shard's table.
    pub slot: u32,
    /// Entries of what is in that place that were told already.
    pub offset: u32,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Part {
    /// Where it begins.
    pub from: Place,
    /// Entries to pass over first.
    pub skip: u64,
    /// Entries to tell then, at most.
    pub most: u32,
}

/// Which clients are meant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pick {
    /// Only those that are connected, or are not.
    pub connected: Option<bool>,
    /// Only those with this text in their client identifier.
    pub like: Option<Box<str>>,
    /// Only those with this user name, which is known while they are connected.
    pub username: Option<Box<str>>,
}

impl Pick {
    /// Whether all are meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.connected.is_none() && self.like.is_none() && self.username.is_none()
    }
}

/// What is done with a client whose session ends with its connection, and that has not completed
/// messages of shared subscriptions: nobody else may get those with QoS 2 [MQTT-4.8.2-5].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// It is passed over.
    Some,
    /// Its connection is ended all the same.
    None,
}

/// What became of a part of a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// With so many something was done.
    pub done: u32,
    /// So many are still to go.
    pub left: u32,
    /// Where the next one may be.
    pub next: Option<Place>,
}

/// What a shard is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Question {
    /// Its clients.
    Clients(Part, Pick),
    /// One client.
    Client(Box<str>),
    /// To disconnect a client and end its session.
    Kick(Box<str>),
    /// To send so many clients to another server, as [`Operator::start_drain`] has said.
    SendAway(Part, Patience),
    /// To end so many connections, since the node stops.
    EndConnections(Part, Patience),
    /// To give so many sessions, whose clients are away, to other nodes.
    HandOver(Part),
    /// The subscriptions of all its clients.
    Subscriptions(Part),
    /// Those of one client.
    SubscriptionsOf(Box<str>, Part),
    /// The filters with subscribers on this shard.
    Filters(Part),
    /// Which of these filters have subscribers on this shard.
    HasFilters(Vec<Box<str>>),
    /// What members of groups have asked for, where the group is on this shard.
    Members(Vec<MemberOf>),
}

/// What a shard answers, in the order of [`Question`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Clients.
    Clients(Listed<Client>),
    /// The client, if it is here.
    Client(Option<Box<Client>>),
    /// Whether there was one.
    Kick(bool),
    /// What became of clients that were to be sent away.
    SendAway(Step),
    /// What became of connections that were to end.
    EndConnections(Step),
    /// What became of sessions that were to be offered to other nodes.
    HandOver(Step),
    /// Subscriptions. Of one client: nothing if it is not here.
    Subscriptions(Option<Listed<Held>>),
    /// Filters.
    Filters(Listed<String>),
    /// One for each that was asked for.
    HasFilters(Vec<bool>),
    /// One for each that was asked for.
    Members(Vec<Option<SubscriptionOptions>>),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// How many were passed over before.
    pub skipped: u64,
    /// Where the next part begins; nothing at the end.
    pub next: Option<Place>,
}

/// A client, connected or with a session that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// Its client identifier.
    pub client_id: Box<str>,
    /// What is known while it is connected.
    pub connection: Option<Connected>,
    /// Session Expiry Interval in seconds; `u32::MAX` never expires.
    pub expiry_s: u32,
    /// When it was disconnected, in milliseconds since 1970, if that is known.
    pub disconnected_at_ms: Option<u64>,
    /// Subscriptions.
    pub subscriptions: u32,
    /// Messages that it has not acknowledged.
    pub inflight: u32,
    /// Messages in its queue.
    pub queued: u32,
    /// QoS 2 messages of the client that it has not released.
    pub awaiting_release: u32,
    /// Messages dropped because its queue was full.
    pub dropped: u64,
    /// Whether the session outlives the process.
    pub durable: bool,
}

/// A client's connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// User Name.
    pub username: Option<Box<str>>,
    /// The client's address.
    pub ip_address: String,
    /// The client's port.
    pub port: u16,
    /// The place of the listener in the settings.
    pub listener: u16,
    /// Its protocol.
    pub version: Version,
    /// Keep Alive in seconds.
    pub keep_alive_s: u32,
    /// Since when, in milliseconds since 1970.
    pub connected_at_ms: u64,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Whose it is.
    pub client_id: Box<str>,
    /// The filter, without a group.
    pub filter: String,
    /// The group of a shared subscription.
    pub group: Option<Box<str>>,
    /// Whether no other session may have it.
    pub exclusive: bool,
    /// What was asked for and granted. Of a shared subscription the owner of the group knows it:
    /// [`Question::Members`].
    pub options: Option<SubscriptionOptions>,
    /// The session, for that question.
    pub session: u32,
}

/// A member of a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberOf {
    /// The shard of its session.
    pub shard: u16,
    /// Its session.
    pub session: u32,
    /// The group.
    pub group: Box<str>,
    /// Its filter.
    pub filter: String,
}

/// The shards as those who look after the broker see them. Owned by one thread.
pub struct Operator {
    own: Arc<Doorbell>,
    seed: Seed,
    started: Instant,
    common: Arc<Common>,
    shards: Vec<ShardEnd>,
}

/// The ends of what connects one shard.
struct ShardEnd {
    doorbell: Arc<Doorbell>,
    to: Producer<(u64, Box<Question>)>,
    from: Consumer<(u64, Box<Answer>)>,
    /// Questions without an answer.
    open: usize,
}

/// A shard's end.
pub(crate) struct OperatorEnd {
    pub(crate) from: Consumer<(u64, Box<Question>)>,
    pub(crate) to: Producer<(u64, Box<Answer>)>,
    pub(crate) doorbell: Arc<Doorbell>,
}

impl Operator {
    /// Connects a thread with each shard.
    pub(crate) fn connect(
        shards: &[Arc<Doorbell>],
        seed: u64,
        common: Arc<Common>,
        started: Instant,
    ) -> io::Result<(Self, Vec<OperatorEnd>)> {
        let own = Arc::new(Doorbell::new()?);
        let (shards, ends) = shards.iter().map(|bell| connect(bell, &own)).unzip();
        let operator = Self {
            own,
            seed: Seed::new(seed),
            started,
            common,
            shards,
        };
        Ok((operator, ends))
    }

    /// Shards of this node.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// The shard that a client identifier belongs to.
    #[must_use]
    pub fn shard_of(&self, client_id: &str) -> u16 {
        (self.seed.hash(client_id) % self.shards.len().max(1) as u64) as u16
    }

    /// The counters of each shard.
    #[must_use]
    pub fn stats(&self) -> &[Arc<Stats>] {
        &self.common.stats
    }

    /// How long the shards have run, in milliseconds.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// No client is let in from now on: each is sent to another server, whose Server Reference
    /// this is, or empty.
    pub fn start_drain(&self, reference: &str) {
        self.common.drain.start(reference);
    }

    /// Whether there are other nodes that may be given sessions.
    #[must_use]
    pub fn has_open_nodes(&self) -> bool {
        self.common.nodes_open.load(Ordering::Relaxed) != 0
    }

    /// Clients are let in again.
    pub fn stop_drain(&self) {
        self.common.drain.stop();
    }

    /// Asks a shard. The answer comes with `number`. The question comes back if the shard has
    /// [`QUESTIONS_MAX`] already.
    pub fn ask(
        &mut self,
        shard: u16,
        number: u64,
        question: Box<Question>,
    ) -> Result<(), Box<Question>> {
        let Some(end) = self.shards.get_mut(usize::from(shard)) else {
            return Err(question);
        };
        // So there is always room for the answer.
        if end.open >= QUESTIONS_MAX {
            return Err(question);
        }
        end.to
            .push((number, question))
            .map_err(|(_, question)| question)?;
        end.open += 1;
        end.doorbell.ring();
        Ok(())
    }

    /// Becomes readable when a shard has answered.
    #[must_use]
    pub fn news_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// Makes [`Operator::news_fd`] unreadable. All answers have to be taken afterwards.
    pub fn clear_news(&mut self) {
        self.own.drain();
        // Parked from now on, so that whatever comes from now on rings.
        self.own.park(|| true);
    }

    /// Takes the answers that have come.
    pub fn answers(&mut self, each: &mut dyn FnMut(u64, Answer)) {
        for shard in &mut self.shards {
            while let Some((number, answer)) = shard.from.pop() {
                shard.open -= 1;
                each(number, *answer);
            }
        }
    }
}

fn connect(doorbell: &Arc<Doorbell>, own: &Arc<Doorbell>) -> (ShardEnd, OperatorEnd) {
    let (to, from_operator) = ring(QUESTIONS_MAX);
    let (to_operator, from) = ring(QUESTIONS_MAX);
    let ours = ShardEnd {
        doorbell: Arc::clone(doorbell),
        to,
        from,
        open: 0,
    };
    let theirs = OperatorEnd {
        from: from_operator,
        to: to_operator,
        doorbell: Arc::clone(own),
    };
    (ours, theirs)
}
