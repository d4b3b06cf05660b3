//! A store without a disk: what is committed is there after a crash, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use protocol::message::Message;
use protocol::session::{Identifiers, Membership};
use protocol::wire::{PacketId, QoS, SubscriptionOptions};
use shard_store::{
    Body, Change, Commit, Division, Process, Sent, SessionNumber, SessionRecord, Stored,
    StoredDelayed, StoredEntry, StoredReceived, StoredRetained, StoredSession, StoredSubscription,
};

/// The store of a node.
#[derive(Default)]
pub(super) struct Disk {
    /// Commits that are not on it, by shard.
    commits: Vec<VecDeque<Box<Commit>>>,
    committed: Vec<u64>,
    /// As the shard has last read it.
    seen: Vec<u64>,
    /// It rests until it is released.
    pub(super) held: bool,
    /// There is no room for messages.
    pub(super) full: bool,
    pub(super) numbers: Arc<AtomicU64>,
    tables: Tables,
}

#[derive(Default)]
struct Tables {
    sessions: BTreeMap<u64, SessionRecord>,
    subscriptions: BTreeMap<(u64, Box<str>), Subscription>,
    messages: BTreeMap<u64, Arc<Message>>,
    entries: BTreeMap<(u64, u64), Entry>,
    held: BTreeSet<(u64, PacketId)>,
    retained: BTreeMap<String, (Arc<Message>, u64)>,
    delayed: BTreeMap<u64, (u64, Arc<Message>)>,
    /// By shard, stream and node: process and number.
    received: BTreeMap<(u16, u16, Box<str>), (u64, u64)>,
    division: Option<Division>,
}

type Subscription = (SubscriptionOptions, u32, Option<Membership>);

struct Entry {
    body: Body,
    qos: QoS,
    retain: bool,
    identifiers: Identifiers,
    sent: Option<Sent>,
    membership: Option<Membership>,
}

impl Disk {
    /// What is left of a disk after a crash, for a node of so many shards.
    pub(super) fn after_crash(self, shards: usize) -> Self {
        Self {
            tables: self.tables,
            numbers: self.numbers,
            ..Self::new(shards)
        }
    }

    pub(super) fn new(shards: usize) -> Self {
        Self {
            commits: (0..shards).map(|_| VecDeque::new()).collect(),
            committed: vec![0; shards],
            seen: vec![0; shards],
            numbers: Arc::new(AtomicU64::new(1)),
            ..Self::default()
        }
    }

    pub(super) fn send(&mut self, shard: usize, commit: Box<Commit>) {
        self.commits[shard].push_back(commit);
    }

    pub(super) fn is_runnable(&self) -> bool {
        !self.held && self.commits.iter().any(|commits| !commits.is_empty())
    }

    pub(super) fn has_news(&self, shard: usize) -> bool {
        self.committed[shard] > self.seen[shard]
    }

    /// The last commit of a shard that is on the disk.
    pub(super) fn read(&mut self, shard: usize) -> u64 {
        self.seen[shard] = self.committed[shard];
        self.seen[shard]
    }

    /// Stores one commit of a shard, of the next one that has some.
    pub(super) fn store(&mut self, first: usize) {
        let count = self.commits.len();
        for shard in (first..count).chain(0..first) {
            if let Some(commit) = self.commits[shard].pop_front() {
                self.committed[shard] = commit.number;
                for change in commit.changes {
                    self.tables.apply(change);
                }
                return;
            }
        }
    }

    /// Everything that is stored.
    pub(super) fn stored(&self) -> Stored {
        let tables = &self.tables;
        let numbers = tables.sessions.keys();
        Stored {
            sessions: numbers.map(|number| tables.session(*number)).collect(),
            retained: tables.retained.values().cloned().map(retained).collect(),
            delayed: tables
                .delayed
                .iter()
                .map(|(number, (due_ms, message))| StoredDelayed {
                    number: *number,
                    due_ms: *due_ms,
                    message: Arc::clone(message),
                })
                .collect(),
            next_number: 0,
            received: tables.received.iter().map(received).collect(),
            division: tables.division,
        }
    }

    /// Sessions, entries, messages stored on their own, and held packet identifiers.
    pub(super) fn counts(&self) -> [usize; 4] {
        let tables = &self.tables;
        [
            tables.sessions.len(),
            tables.entries.len(),
            tables.messages.len(),
            tables.held.len(),
        ]
    }
}

impl Tables {
    fn apply(&mut self, change: Change) {
        match change {
            Change::PutSession { session, record } => {
                self.sessions.insert(session.0, *record);
            }
            Change::DropSession { session } => self.drop_session(session.0),
            Change::PutSubscription {
                session,
                filter,
                options,
                identifier,
                membership,
            } => {
                let value = (options, identifier, membership);
                self.subscriptions.insert((session.0, filter), value);
            }
            Change::DropSubscription { session, filter } => {
                self.subscriptions.remove(&(session.0, filter));
            }
            Change::PutMessage { number, message } => {
                self.messages.insert(number, message);
            }
            Change::DropMessage { number } => {
                self.messages.remove(&number);
            }
            Change::HoldPacketId { session, packet_id } => {
                self.held.insert((session.0, packet_id));
            }
            Change::ReleasePacketId { session, packet_id } => {
                self.held.remove(&(session.0, packet_id));
            }
            Change::Retain { message, version } => {
                let topic = message.topic().to_owned();
                self.retained.insert(topic, (message, version));
            }
            Change::Forget { topic } => {
                self.retained.remove(&*topic);
            }
            Change::PutDelayed {
                number,
                due_ms,
                message,
            } => {
                self.delayed.insert(number, (due_ms, message));
            }
            Change::DropDelayed { number } => {
                self.delayed.remove(&number);
            }
            other => self.apply_to_entry(other),
        }
    }

    fn apply_to_entry(&mut self, change: Change) {
        match change {
            Change::PutEntry {
                session,
                number,
                body,
                qos,
                retain,
                identifiers,
                sent,
                membership,
            } => {
                let entry = Entry {
                    body,
                    qos,
                    retain,
                    identifiers,
                    sent,
                    membership,
                };
                self.entries.insert((session.0, number), entry);
            }
            Change::MarkSent {
                session,
                number,
                sent,
            } => {
                if let Some(entry) = self.entries.get_mut(&(session.0, number)) {
                    entry.sent = Some(sent);
                }
            }
            Change::DropEntry { session, number } => {
                self.entries.remove(&(session.0, number));
            }
            Change::PutReceived {
                shard,
                process,
                stream,
                number,
            } => {
                let key = (shard, stream, process.node.clone());
                self.received.insert(key, (process.boot, number));
            }
            Change::DropReceived {
                shard,
                node,
                stream,
            } => {
                self.received.remove(&(shard, stream, node));
            }
            Change::PutDivision(division) => self.division = Some(division),
            other => panic!("not a change of an entry: {other:?}"),
        }
    }

    fn drop_session(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.subscriptions.retain(|(other, _), _| *other != session);
        self.entries.retain(|(other, _), _| *other != session);
        self.held.retain(|(other, _)| *other != session);
    }

    fn session(&self, number: u64) -> StoredSession {
        let subscriptions = self.subscriptions.iter();
        let subscriptions = subscriptions.filter(|((session, _), _)| *session == number);
        let held = self.held.iter().filter(|(session, _)| *session == number);
        let entries = self.entries.range((number, 0)..=(number, u64::MAX));
        StoredSession {
            number: SessionNumber(number),
            record: self.sessions[&number].clone(),
            subscriptions: subscriptions
                .map(|((_, filter), value)| StoredSubscription {
                    filter: filter.clone(),
                    options: value.0,
                    identifier: value.1,
                    membership: value.2,
                })
                .collect(),
            held: held.map(|(_, id)| *id).collect(),
            entries: entries
                .map(|(key, entry)| self.entry(key.1, entry))
                .collect(),
        }
    }

    fn entry(&self, number: u64, entry: &Entry) -> StoredEntry {
        let (shared, message) = match &entry.body {
            Body::Own(message) => (None, message),
            Body::Shared(number) => {
                let message = self.messages.get(number);
                (Some(*number), message.expect("an entry has its message"))
            }
        };
        StoredEntry {
            number,
            shared,
            message: Arc::clone(message),
            qos: entry.qos,
            retain: entry.retain,
            identifiers: entry.identifiers.clone(),
            sent: entry.sent,
            membership: entry.membership,
        }
    }
}

fn retained((message, version): (Arc<Message>, u64)) -> StoredRetained {
    StoredRetained { message, version }
}

fn received(
    ((shard, stream, node), (boot, number)): (&(u16, u16, Box<str>), &(u64, u64)),
) -> StoredReceived {
    StoredReceived {
        shard: *shard,
        process: Process {
            node: node.clone(),
            boot: *boot,
        },
        stream: *stream,
        number: *number,
    }
}
