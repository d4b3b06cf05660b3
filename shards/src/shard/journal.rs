//! What of this turn is to be stored, and what waits until it is on the disk.
//!
//! Everything that happens in one turn becomes one commit. Whoever promises something to a
//! client (an acknowledgement, a SUBACK, CONNACK, the first PUBLISH of a QoS 2 exchange)
//! leaves a [`Waiter`] with the number of the commit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::message::Message;
use protocol::session::{Delivery, StoredAs};
use protocol::wire::PacketId;
use shard_store::{Body, Change, Commit, Sent, SessionNumber};

use super::transaction::Token;

/// Numbers taken from the node's sequence at a time.
const NUMBERS_AT_ONCE: u64 = 4096;

/// Who waits for a commit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    /// Output of a connection.
    Output { key: u32, serial: u32 },
    /// A SUBACK.
    Ticket(u32),
    /// A publish that several shards store together.
    Transaction(u32),
    /// Another shard, whose message was stored here.
    Shard { shard: u16, token: Token },
    /// A session that has come from another node.
    Taken { session: u32, serial: u32 },
}

/// The journal of one shard. Owned by it; there is none when nothing is stored.
#[derive(Debug)]
pub(crate) struct Journal {
    /// Of this turn.
    commit: Box<Commit>,
    /// The last commit that is on the disk.
    committed: u64,
    /// In the order of the commits.
    waits: VecDeque<(u64, Waiter)>,
    /// The sequence of the node.
    numbers: Arc<AtomicU64>,
    next_number: u64,
    numbers_end: u64,
    /// How many entries of this shard refer to a message that is stored on its own.
    shared: HashMap<u64, u32>,
    /// Commits that are under way hold more than they should.
    behind: bool,
    /// There is no room on the disk for more messages.
    full: bool,
}

impl Journal {
    /// An empty journal that takes its numbers from `numbers`.
    pub(crate) fn new(numbers: Arc<AtomicU64>) -> Self {
        let commit = Box::new(Commit {
            number: 1,
            ..Commit::default()
        });
        Self {
            commit,
            committed: 0,
            waits: VecDeque::new(),
            numbers,
            next_number: 0,
            numbers_end: 0,
            shared: HashMap::new(),
            behind: false,
            full: false,
        }
    }

    /// A number that nothing stored has, larger than all this shard has used.
    pub(super) fn number(&mut self) -> u64 {
        if self.next_number == self.numbers_end {
            let first = self.numbers.fetch_add(NUMBERS_AT_ONCE, Ordering::Relaxed);
            self.next_number = first.max(1);
            self.numbers_end = first + NUMBERS_AT_ONCE;
        }
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(super) fn push(&mut self, change: Change) {
        self.commit.bytes += message_bytes(&change);
        self.commit.changes.push(change);
    }

    /// Adds what other shards have given for this commit.
    pub(super) fn append(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.push(change);
        }
    }

    /// The number of the last commit with anything in it, up to now.
    pub(super) fn last(&self) -> u64 {
        let empty = self.commit.changes.is_empty();
        self.commit.number - u64::from(empty)
    }

    /// Whether everything up to a commit is on the disk.
    #[inline]
    pub(super) fn has_committed(&self, commit: u64) -> bool {
        commit <= self.committed
    }

    /// Leaves word for when everything up to now is on the disk.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        self.waits.push_back((self.last(), waiter));
    }

    /// The changes of this turn, if there are any.
    pub(super) fn take(&mut self) -> Option<Box<Commit>> {
        if self.commit.changes.is_empty() {
            return None;
        }
        let next = Box::new(Commit {
            number: self.commit.number + 1,
            ..Commit::default()
        });
        Some(core::mem::replace(&mut self.commit, next))
    }

    /// Everything up to a commit is on the disk.
    pub(super) fn set_committed(&mut self, commit: u64) {
        self.committed = self.committed.max(commit);
    }

    /// Whose wait is over.
    pub(super) fn next_done(&mut self) -> Option<Waiter> {
        let (commit, waiter) = *self.waits.front()?;
        if !self.has_committed(commit) {
            return None;
        }
        self.waits.pop_front();
        Some(waiter)
    }

    /// Whether nothing is left to be taken.
    pub(super) fn is_empty(&self) -> bool {
        self.commit.changes.is_empty()
    }

    /// Whether somebody's wait is over.
    pub(super) fn has_done(&self) -> bool {
        let next = self.waits.front();
        next.is_some_and(|(commit, _)| self.has_committed(*commit))
    }

    /// What the store says of itself.
    pub(super) fn set_state(&mut self, behind: bool, full: bool) {
        (self.behind, self.full) = (behind, full);
    }

    /// Whether so much is under way that publishers have to wait.
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    /// Whether messages can only be refused.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Gives a message for several sessions a number of its own.
    pub(super) fn put_message(&mut self, message: &Arc<Message>) -> (u64, Change) {
        let number = self.number();
        let message = Arc::clone(message);
        (number, Change::PutMessage { number, message })
    }

    /// The entry of a session, under a new number, of a message that is stored under the
    /// number `shared`, or not 0 with the entry itself.
    pub(super) fn new_entry(&mut self, shared: u64) -> StoredAs {
        if shared != 0 {
            *self.shared.entry(shared).or_insert(0) += 1;
        }
        StoredAs {
            entry: self.number(),
            message: shared,
        }
    }

    /// A restored entry refers to a message that is stored on its own.
    pub(super) fn count_shared(&mut self, message: u64) {
        *self.shared.entry(message).or_insert(0) += 1;
    }

    /// A session's message was sent, or PUBREC has come.
    pub(super) fn mark_sent(&mut self, session: u64, stored: StoredAs, id: PacketId, rec: bool) {
        if session != 0 && stored.is_stored() {
            self.push(Change::MarkSent {
                session: SessionNumber(session),
                number: stored.entry,
                sent: Sent {
                    packet_id: id,
                    received: rec,
                },
            });
        }
    }

    /// A session is done with a message.
    pub(super) fn drop_entry(&mut self, session: u64, stored: StoredAs) {
        if session == 0 || !stored.is_stored() {
            return;
        }
        self.push(Change::DropEntry {
            session: SessionNumber(session),
            number: stored.entry,
        });
        self.drop_reference(stored.message);
    }

    /// An entry is gone: so is its message when no other refers to it.
    pub(super) fn drop_reference(&mut self, message: u64) {
        let Some(count) = self.shared.get_mut(&message) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.shared.remove(&message);
            self.push(Change::DropMessage { number: message });
        }
    }
}

/// What puts a delivery into a session's entries.
pub(super) fn put_entry(session: u64, delivery: &Delivery, sent: Option<PacketId>) -> Change {
    let body = match delivery.stored.message {
        0 => Body::Own(Arc::clone(&delivery.message)),
        number => Body::Shared(number),
    };
    Change::PutEntry {
        session: SessionNumber(session),
        number: delivery.stored.entry,
        body,
        qos: delivery.qos,
        retain: delivery.retain,
        identifiers: delivery.identifiers.clone(),
        sent: sent.map(|packet_id| Sent {
            packet_id,
            received: false,
        }),
        membership: delivery.membership,
    }
}

fn message_bytes(change: &Change) -> usize {
    match change {
        Change::PutEntry {
            body: Body::Own(message),
            ..
        }
        | Change::PutMessage { message, .. }
        | Change::Retain { message, .. }
        | Change::PutDelayed { message, .. } => message.size(),
        _ => 0,
    }
}
