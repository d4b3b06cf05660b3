//! Publishes that shards store together.
//!
//! Most messages are stored by the shard of each receiver, on its own, and the publisher's
//! shard only has to hear that it is done. But what ends with a message, a QoS 2 packet
//! identifier or a will, must be stored in the same commit as the message, or a crash between
//! two commits would lose or double it. Then the other shards do not store, they give what is
//! to be stored to the publisher's shard, and keep the message back until that has it on the
//! disk:
//!
//! ```text
//!   publisher's shard            receiver's shard
//!   Publish (atomic)   ───────►  matches, keeps the deliveries
//!                      ◄───────  Staged: the changes
//!   one commit of all
//!   Committed          ───────►  delivers
//! ```
//!
//! The owner of a shared subscription's group stands between the two and passes both on.

use protocol::session::{Delivery, StoredAs};
use protocol::wire::PacketId;
use shard_store::Change;

use super::connection::AckKind;
use super::durable::put_session;
use super::ending::keeps_session;
use super::groups::Origin;
use super::items::Item;
use super::journal::Waiter;
use super::redistribute::LeftBehind;
use super::{NONE, Shard};

/// What a shard asked another to store, as the one that asked calls it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Token {
    /// A publish, by its number between the two shards.
    Publish(u64),
    /// A message for a member of a group, by the owner's transaction and a number of its own.
    Member { transaction: u32, number: u32 },
}

/// A message on its way into the sessions of several shards. Owned by the shard that made it.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Answers that are missing.
    missing: u32,
    /// Stored in one commit, and delivered after it.
    atomic: bool,
    /// What is to be stored, of this shard and of those it asked.
    changes: Vec<Change>,
    /// What is delivered here when all of it is stored: session, its serial, message.
    deliveries: Vec<(u32, u32, Delivery)>,
    /// Those that were asked, to be told when all of it is stored.
    parts: Vec<(u16, Token)>,
    /// What is stored with it, last.
    last: Vec<Change>,
    /// Entries of a session, by its number, that go when it is over.
    moved: Vec<(u64, StoredAs)>,
    then: Then,
}

/// What is done when all have answered, or for an atomic one, when all is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Nothing,
    /// An acknowledgement of this shard's client waits for it.
    Acknowledge(Waiting),
    /// Another shard waits for it.
    Answer {
        shard: u16,
        token: Token,
    },
    /// Another node waits for it.
    Taken(Origin),
    /// Another transaction of this shard waits for it.
    Part(u32),
    /// A connection waits until an earlier session of its client is gone.
    Connect {
        key: u32,
        serial: u32,
    },
}

/// An acknowledgement that waits for a transaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) key: u32,
    pub(super) serial: u32,
    pub(super) packet_id: PacketId,
    pub(super) kind: AckKind,
}

/// Who on this shard waits until another shard has stored a publish.
#[derive(Clone, Copy, Debug)]
pub(super) enum Later {
    Ack(Waiting),
    Transaction(u32),
}

/// What the message that is being routed has led to on this shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched {
    /// Something was stored that its acknowledgement has to wait for.
    pub(super) stored: bool,
    /// The transaction it is part of, or [`NONE`].
    pub(super) transaction: u32,
    pub(super) atomic: bool,
}

impl Default for Touched {
    fn default() -> Self {
        Self {
            stored: false,
            transaction: NONE,
            atomic: false,
        }
    }
}

impl Touched {
    /// Whether an acknowledgement has to wait for the store, on this shard or another.
    #[inline]
    pub(super) fn is_stored(self) -> bool {
        self.stored || self.atomic || self.transaction != NONE
    }
}

impl Transaction {
    /// What is stored with it, last.
    pub(super) fn last(&self) -> &[Change] {
        &self.last
    }

    /// Adds something to an atomic one, and says what is done when it is stored.
    pub(super) fn store(&mut self, change: Option<Change>, then: Then) {
        self.changes.extend(change);
        self.then = then;
    }
}

impl Shard {
    /// Begins a transaction for the message that is routed next.
    pub(super) fn begin_atomic(&mut self, then: Then, last: Vec<Change>) {
        let transaction = self.open_transaction(true, then, last);
        self.touched = Touched {
            stored: false,
            transaction,
            atomic: true,
        };
        if !matches!(then, Then::Answer { .. }) {
            self.atomics.push_back(transaction);
        }
    }

    pub(super) fn open_transaction(&mut self, atomic: bool, then: Then, last: Vec<Change>) -> u32 {
        self.transactions.insert(Transaction {
            missing: 1,
            atomic,
            changes: Vec::new(),
            deliveries: Vec::new(),
            parts: Vec::new(),
            last,
            moved: Vec::new(),
            then,
        })
    }

    /// What a member's shard is to answer with when it has stored a message of a group. Begins
    /// a transaction for the message that is being routed if there is none.
    pub(super) fn expect_member(&mut self) -> Token {
        let transaction = self.expect_answer();
        let number = self.next_serial();
        Token::Member {
            transaction,
            number,
        }
    }

    /// The transaction of the message that is being routed; begins one if there is none. It
    /// waits for one answer more.
    pub(super) fn expect_answer(&mut self) -> u32 {
        if self.touched.transaction == NONE {
            self.touched.transaction = self.open_transaction(false, Then::Nothing, Vec::new());
        }
        let transaction = self.touched.transaction;
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.missing += 1;
        }
        transaction
    }

    /// Begins the move of stored messages to other sessions, or goes on with `begun`; [`NONE`]
    /// if none is stored.
    pub(super) fn begin_move(&mut self, session: u64, moved: &LeftBehind, begun: u32) -> u32 {
        let deliveries = moved.iter().flat_map(|(_, deliveries)| deliveries);
        let stored = deliveries.map(|delivery| (session, delivery.stored));
        let moved: Vec<_> = stored.filter(|(_, stored)| stored.is_stored()).collect();
        let transaction = match begun {
            NONE if session == 0 || moved.is_empty() || self.journal.is_none() => return NONE,
            NONE => self.open_transaction(false, Then::Nothing, Vec::new()),
            begun => begun,
        };
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.moved = moved;
        }
        self.touched = Touched {
            transaction,
            ..Touched::default()
        };
        transaction
    }

    /// The messages are with those who give them to others.
    pub(super) fn end_move(&mut self, transaction: u32) {
        let touched = core::mem::take(&mut self.touched);
        if transaction == NONE {
            // A transaction that nobody waits for.
            self.answered(touched.transaction);
            return;
        }
        self.wait_in_transaction(transaction, touched.stored);
        self.answered(transaction);
    }

    /// A transaction waits for one more of this shard.
    pub(super) fn expect_part(&mut self, transaction: u32) {
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.missing += 1;
        }
    }

    /// Adds what is stored at the end of a transaction.
    pub(super) fn end_with(&mut self, transaction: u32, change: Change) {
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.last.push(change);
        }
    }

    /// Says what is to be done when a transaction is over.
    pub(super) fn set_then(&mut self, transaction: u32, then: Then) {
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.then = then;
        }
    }

    /// Keeps a delivery of an atomic transaction until it is stored.
    pub(super) fn stage(&mut self, session: u32, delivery: Delivery, changes: Vec<Change>) {
        let serial = self.sessions.get(session).map_or(0, |found| found.serial);
        if let Some(open) = self.transactions.get_mut(self.touched.transaction) {
            open.changes.extend(changes);
            open.deliveries.push((session, serial, delivery));
        }
    }

    /// Ends the routing of a message that came from another shard, which is told when it is
    /// stored.
    pub(super) fn settle_arrived(&mut self, shard: u16, publish: u64) {
        let Touched {
            stored,
            transaction,
            atomic,
        } = core::mem::take(&mut self.touched);
        if transaction == NONE {
            if stored {
                self.send_item(shard, Item::StoredLater { publish });
                let token = Token::Publish(publish);
                self.wait_for_commit(Waiter::Shard { shard, token });
            }
            return;
        }
        if !atomic {
            self.send_item(shard, Item::StoredLater { publish });
            let token = Token::Publish(publish);
            self.set_then(transaction, Then::Answer { shard, token });
            self.wait_in_transaction(transaction, stored);
        }
        self.answered(transaction);
    }

    /// Whether a message for a session is delivered when others have stored it.
    pub(super) fn has_staged(&self, session: u32) -> bool {
        let mut open = self.transactions.keys();
        self.transactions.len() > 0
            && open.any(|key| {
                let open = self.transactions.get(key);
                open.is_some_and(|open| open.deliveries.iter().any(|(key, ..)| *key == session))
            })
    }

    /// Makes a transaction that is not atomic wait for what was stored here.
    pub(super) fn wait_in_transaction(&mut self, transaction: u32, stored: bool) {
        if !stored {
            return;
        }
        if let Some(open) = self.transactions.get_mut(transaction) {
            open.missing += 1;
        }
        self.wait_for_commit(Waiter::Transaction(transaction));
    }

    /// One of the answers that a transaction waits for is there.
    pub(super) fn answered(&mut self, transaction: u32) {
        let Some(open) = self.transactions.get_mut(transaction) else {
            return;
        };
        open.missing = open.missing.saturating_sub(1);
        if open.missing > 0 {
            return;
        }
        if !open.atomic {
            self.finish(transaction);
        } else if let Then::Answer { shard, token } = open.then {
            let changes = core::mem::take(&mut open.changes);
            if open.deliveries.is_empty() && open.parts.is_empty() {
                self.transactions.remove(transaction);
            } else {
                self.staged.insert((shard, token), transaction);
            }
            self.send_item(shard, Item::Staged { token, changes });
        } else {
            self.commit_atomics();
        }
    }

    /// Stores the atomic transactions that are complete, in the order in which they began:
    /// messages of one publisher stay in their order.
    fn commit_atomics(&mut self) {
        while let Some(&transaction) = self.atomics.front() {
            let Some(open) = self.transactions.get_mut(transaction) else {
                self.atomics.pop_front();
                continue;
            };
            if open.missing > 0 {
                return;
            }
            self.atomics.pop_front();
            let changes = core::mem::take(&mut open.changes);
            let last = core::mem::take(&mut open.last);
            let wills = last.iter().filter(|change| keeps_session(change)).count();
            self.open_wills = self.open_wills.saturating_sub(wills);
            let last = self.brought_up_to_date(last);
            let Some(journal) = &mut self.journal else {
                // Nothing is stored: it was begun to keep the order.
                self.transaction_stored(transaction);
                continue;
            };
            journal.append(changes);
            journal.append(last);
            self.wait_for_commit(Waiter::Transaction(transaction));
        }
    }

    /// Records of sessions as they are now: a client that has come back while the transaction
    /// waited for other shards may have a new will, which an older record would undo.
    fn brought_up_to_date(&self, mut last: Vec<Change>) -> Vec<Change> {
        last.retain_mut(|change| {
            let Change::PutSession { session, record } = change else {
                return true;
            };
            let found = self.find_session(&record.client_id);
            let found = found.and_then(|key| self.sessions.get(key));
            let Some(found) = found.filter(|found| found.number == session.0) else {
                return false;
            };
            *change = put_session(found);
            true
        });
        last
    }

    /// What a transaction waited for is on the disk.
    pub(super) fn transaction_stored(&mut self, transaction: u32) {
        let atomic = self.transactions.get(transaction).is_some_and(|t| t.atomic);
        if atomic {
            self.finish(transaction);
        } else {
            self.answered(transaction);
        }
    }

    /// Another shard's transaction is on the disk, and with it what this one had for it.
    pub(super) fn committed_by(&mut self, shard: u16, token: Token) {
        if let Some(transaction) = self.staged.remove(&(shard, token)) {
            self.finish(transaction);
        }
    }

    fn finish(&mut self, transaction: u32) {
        let Some(done) = self.transactions.remove(transaction) else {
            return;
        };
        if let Some(journal) = &mut self.journal {
            for (session, stored) in done.moved {
                journal.drop_entry(session, stored);
            }
            journal.append(done.last);
        }
        for (shard, token) in done.parts {
            self.send_item(shard, Item::Committed { token });
        }
        for (session, serial, delivery) in done.deliveries {
            self.deliver_stored(session, serial, delivery);
        }
        self.forget_ending(transaction);
        match done.then {
            Then::Nothing => {}
            Then::Taken(origin) => self.took_for_good(origin),
            Then::Part(whole) => self.answered(whole),
            Then::Connect { key, serial } => self.connect_now(key, serial),
            Then::Acknowledge(waiting) => self.stored_elsewhere(waiting),
            Then::Answer { .. } if done.atomic => {}
            Then::Answer { shard, token } => self.answer_stored(shard, token),
        }
    }

    /// Tells another shard that what it gave to this one is stored.
    pub(super) fn answer_stored(&mut self, shard: u16, token: Token) {
        self.send_item(
            shard,
            Item::Staged {
                token,
                changes: Vec::new(),
            },
        );
    }

    /// Another shard has stored what it was given, or says what is to be stored.
    pub(super) fn staged_by(&mut self, shard: u16, token: Token, changes: Vec<Change>) {
        let transaction = match token {
            Token::Member { transaction, .. } => transaction,
            Token::Publish(publish) => {
                let peer = self.peers.get_mut(usize::from(shard));
                match peer.and_then(|peer| peer.forget_later(publish)) {
                    Some(Later::Transaction(transaction)) => transaction,
                    Some(Later::Ack(waiting)) => return self.stored_elsewhere(waiting),
                    None => return,
                }
            }
        };
        if let Some(open) = self.transactions.get_mut(transaction)
            && open.atomic
        {
            open.changes.extend(changes);
            open.parts.push((shard, token));
        }
        self.answered(transaction);
    }

    /// Another shard has not taken a message.
    pub(super) fn refused_in(&mut self, transaction: u32) {
        self.refuse_in(transaction);
        self.answered(transaction);
    }

    /// The client is told that its message was not taken: it is not going to release it.
    pub(super) fn refuse_in(&mut self, transaction: u32) {
        if let Some(open) = self.transactions.get_mut(transaction)
            && matches!(open.then, Then::Acknowledge(_))
        {
            open.last.clear();
        }
    }

    /// The open transaction of a QoS 2 message of this shard's session.
    pub(super) fn attach_to_atomic(&mut self, waiting: Waiting, session: u64) -> bool {
        let held = |change: &Change| {
            matches!(change, Change::HoldPacketId { session: holder, packet_id }
                if holder.0 == session && *packet_id == waiting.packet_id)
        };
        let mut open = self.atomics.iter().copied();
        let found = open.find(|key| {
            let open = self.transactions.get(*key);
            open.is_some_and(|open| open.last.iter().any(held))
        });
        if let Some(transaction) = found {
            self.set_then(transaction, Then::Acknowledge(waiting));
        }
        found.is_some()
    }

    fn send_item(&mut self, shard: u16, item: Item) {
        if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
            peer.push(item);
        }
    }

    /// Leaves word for when everything up to now is on the disk.
    pub(super) fn wait_for_commit(&mut self, waiter: Waiter) {
        if let Some(journal) = &mut self.journal {
            journal.wait(waiter);
        }
    }
}
