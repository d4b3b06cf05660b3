//! What a session with an expiry promises: its messages and its state are on the disk before
//! anybody is told that they are safe.

use protocol::session::{Delivery, Membership, StoredAs};
use protocol::topic::Subscription;
use protocol::wire::{PacketId, QoS, ReasonCode};
use shard_store::{Change, Commit, SessionNumber, SessionRecord, Will as StoredWill};

use super::connection::{Connection, Phase};
use super::deliver::{self, Receiver};
use super::frames::{Frames, Outgoing};
use super::journal::{Waiter, put_entry};
use super::session::Session;
use super::{NONE, Shard};

/// What an exclusive subscription begins with.
pub(super) const EXCLUSIVE_PREFIX: &str = "$exclusive/";

impl Shard {
    /// What this turn has changed and is to be stored.
    pub(crate) fn take_commit(&mut self) -> Option<Box<Commit>> {
        self.journal.as_mut()?.take()
    }

    /// The store's progress: everything up to `commit` is on the disk. `behind`: more is under
    /// way than there should be. `full`: there is no room for more messages.
    pub(crate) fn committed(&mut self, commit: u64, behind: bool, full: bool) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        journal.set_state(behind, full);
        if self.fence.is_up && !self.is_restoring {
            // Nobody hears of it, for now.
            return;
        }
        journal.set_committed(commit);
        while let Some(waiter) = self.journal.as_mut().and_then(|j| j.next_done()) {
            match waiter {
                Waiter::Output { key, serial } => self.release_output(key, serial),
                Waiter::Ticket(ticket) => self.ticket_done(ticket),
                Waiter::Transaction(transaction) => self.transaction_stored(transaction),
                Waiter::Shard { shard, token } => self.answer_stored(shard, token),
                Waiter::Taken { session, serial } => self.arrived_is_stored(session, serial),
            }
        }
    }

    /// What is under way finds no room on the disk: who waits for it is disconnected, and asks
    /// again with another connection.
    pub(crate) fn end_waits(&mut self) {
        let waits = |connection: &Connection| {
            connection.phase == Phase::Live
                && (connection.holds_output()
                    || connection.held_subacks > 0
                    || connection.pending_acks() > 0
                    || connection.held_until > 0)
        };
        // What another node has sent waits until there is room.
        let keys = self.connections.keys().filter(|key| !self.is_node(*key));
        let waiting = keys.filter(|key| self.connections.get(*key).is_some_and(waits));
        for key in waiting.collect::<Vec<_>>() {
            self.disconnect(key, ReasonCode::QUOTA_EXCEEDED);
        }
    }

    /// Whether publishers have to wait for the store.
    #[inline]
    pub(super) fn store_is_behind(&self) -> bool {
        self.journal.as_ref().is_some_and(|j| j.is_behind())
    }

    /// Whether the store takes no more messages.
    #[inline]
    pub(super) fn store_is_full(&self) -> bool {
        self.journal.as_ref().is_some_and(|j| j.is_full())
    }

    /// Brings a QoS 1 or 2 message to a session that is stored. The client gets a QoS 1
    /// message at once, a QoS 2 message when its packet identifier is on the disk: else a
    /// crash would give the message another one, and the client would take it for new.
    pub(super) fn deliver_durable(
        &mut self,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        to: Receiver<'_>,
    ) {
        let Some(journal) = &mut self.journal else {
            return;
        };
        // Messages of a higher QoS are refused before they come here.
        if outgoing.message().qos == QoS::AtMostOnce && journal.is_full() {
            self.stats.dropped.add(1);
            self.delivery_dropped(to.session, outgoing.message(), "disk_full");
            return;
        }
        let mut changes = Vec::new();
        let shared = outgoing.stored_as(journal, &mut changes);
        let mut delivery = deliver::delivery(outgoing, &to);
        delivery.stored = journal.new_entry(shared);
        if self.touched.atomic {
            let number = self.sessions.get(to.session).map_or(0, |s| s.number);
            changes.push(put_entry(number, &delivery, None));
            self.stage(to.session, delivery, changes);
            return;
        }
        journal.append(changes);
        self.touched.stored = true;
        self.give_durable(frames, to.session, delivery, Stored::With);
    }

    /// Delivers a message that an atomic transaction has stored.
    pub(super) fn deliver_stored(&mut self, session_key: u32, serial: u32, delivery: Delivery) {
        let session = self.sessions.get(session_key);
        if session.is_none_or(|session| session.serial != serial) {
            if let Some(journal) = &mut self.journal {
                journal.drop_reference(delivery.stored.message);
            }
            return;
        }
        if self.has_moves && self.pass_on(session_key, &mut || delivery.clone()) {
            if let Some(journal) = &mut self.journal {
                journal.drop_reference(delivery.stored.message);
            }
            return;
        }
        let mut frames = self.frames.take().unwrap_or_default();
        frames.clear();
        self.give_durable(&mut frames, session_key, delivery, Stored::Before);
        self.frames = Some(frames);
    }

    fn give_durable(
        &mut self,
        frames: &mut Frames,
        session_key: u32,
        delivery: Delivery,
        how: Stored,
    ) {
        let (seed, now_ms) = (self.seed, self.now_ms);
        let (Some(session), Some(journal)) =
            (self.sessions.get_mut(session_key), self.journal.as_mut())
        else {
            return;
        };
        let key = session.connection;
        let connection = self.connections.get_mut(key);
        let Some(connection) = connection.filter(|_| session.outflow.is_open()) else {
            if how == Stored::With {
                journal.push(put_entry(session.number, &delivery, None));
            }
            self.enqueue(session_key, delivery);
            return;
        };
        let mut outgoing = Outgoing::of(&delivery.message);
        let to = Receiver::of(session_key, &delivery);
        if deliver::too_large(outgoing.message(), &to, connection, now_ms) {
            match how {
                Stored::With => journal.drop_reference(delivery.stored.message),
                Stored::Before => journal.drop_entry(session.number, delivery.stored),
            }
            self.count_delivery(&to, &outgoing, false);
            return;
        }
        let (qos, membership) = (delivery.qos, delivery.membership);
        let id = session
            .outflow
            .send_by(qos, membership, || delivery.clone());
        match how {
            Stored::With => journal.push(put_entry(session.number, &delivery, Some(id))),
            Stored::Before => journal.mark_sent(session.number, delivery.stored, id, false),
        }
        self.outbox.mark(connection, key);
        let mut write = |connection: &mut Connection| {
            let out = &mut outgoing;
            deliver::write(frames, connection, out, &to, Some(id), seed, now_ms);
        };
        // Nor does a message overtake one that waits.
        if delivery.qos == QoS::ExactlyOnce || connection.holds_output() {
            connection.hold_output(journal, key, write);
        } else {
            write(connection);
        }
        self.count_delivery(&to, &outgoing, true);
    }

    /// Output that waited for the disk can go.
    fn release_output(&mut self, key: u32, serial: u32) {
        let Some(journal) = &self.journal else { return };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial {
            return;
        }
        self.outbox.mark(connection, key);
        connection.release_output(journal);
    }

    /// Records that a client has connected to a session: what it asked for, and that its end
    /// is open. What this and the end of an earlier session change is on the disk before
    /// CONNACK goes out.
    pub(super) fn record_connected(&mut self, session_key: u32, key: u32, ended_stored: bool) {
        let number = self.sessions.get(session_key).map_or(0, |s| s.number);
        let open_will = self.open_will(number);
        self.store_connected(session_key, key, ended_stored, open_will.is_some());
        if let Some(transaction) = open_will.or_else(|| self.ending_of(session_key)) {
            self.connect_after(key, transaction);
        }
    }

    /// `later`: the record is stored with the will that went out before.
    fn store_connected(&mut self, session_key: u32, key: u32, ended_stored: bool, later: bool) {
        let (Some(journal), Some(session)) =
            (self.journal.as_mut(), self.sessions.get_mut(session_key))
        else {
            return;
        };
        // One that is to end with this connection after all stays as it is until then: what
        // is on its way to it must keep its order. A start ends it.
        session.durable |= session.expiry_s > 0;
        if session.durable || session.will.is_some() {
            if session.number == 0 {
                session.number = journal.number();
            }
            if !later {
                journal.push(put_session(session));
            }
        } else if session.number != 0 {
            let number = SessionNumber(session.number);
            session.number = 0;
            journal.push(Change::DropSession { session: number });
        }
        let waits = session.durable || ended_stored;
        if waits && let Some(connection) = self.connections.get_mut(key) {
            connection.held_until = journal.last();
            let serial = connection.serial;
            journal.wait(Waiter::Output { key, serial });
        }
    }

    /// Records how a session is now; if its will is on its way, with that.
    pub(super) fn record_session(&mut self, session_key: u32) {
        let number = self.sessions.get(session_key).map_or(0, |s| s.number);
        if self.open_will(number).is_some() {
            return;
        }
        if let (Some(journal), Some(session)) =
            (self.journal.as_mut(), self.sessions.get(session_key))
            && session.number != 0
        {
            journal.push(put_session(session));
        }
    }

    /// What is to be stored when the will of a session has gone out.
    pub(super) fn without_will(&self, session_key: u32) -> Option<Change> {
        let session = self.sessions.get(session_key)?;
        if session.durable && session.number != 0 {
            Some(put_session(session))
        } else {
            self.without_session(session_key)
        }
    }

    /// What is to be stored when a session has ended.
    pub(super) fn without_session(&self, session_key: u32) -> Option<Change> {
        let session = self.sessions.get(session_key)?;
        let number = SessionNumber(session.number);
        (number.0 != 0).then_some(Change::DropSession { session: number })
    }

    /// Stores a subscription of a stored session. False when the session is not.
    pub(super) fn record_subscription(
        &mut self,
        session_key: u32,
        filter: &str,
        options: protocol::wire::SubscriptionOptions,
        identifier: u32,
    ) -> bool {
        let membership = self.membership(session_key, filter);
        let Some((journal, session)) = self.durable(session_key) else {
            return false;
        };
        // A filter is held exclusively or not: one replaces the other.
        let other = other_form(filter);
        journal.push(Change::DropSubscription {
            session,
            filter: other,
        });
        journal.push(Change::PutSubscription {
            session,
            filter: filter.into(),
            options,
            identifier,
            membership,
        });
        true
    }

    /// The number of a shared subscription.
    fn membership(&self, session_key: u32, filter: &str) -> Option<Membership> {
        let filter = Subscription::parse(filter, u16::MAX).ok()?;
        let held = &self.sessions.get(session_key)?.subscriptions;
        held.membership(self.seed, filter.group?, filter.filter.as_str())
    }

    /// Forgets a subscription of a stored session.
    pub(super) fn forget_subscription(&mut self, session_key: u32, filter: &str) {
        let Some((journal, session)) = self.durable(session_key) else {
            return;
        };
        for filter in [filter.into(), other_form(filter)] {
            journal.push(Change::DropSubscription { session, filter });
        }
    }

    /// The client has released a QoS 2 message. Returns whether PUBCOMP waits for the disk.
    pub(super) fn record_release(&mut self, session_key: u32, packet_id: PacketId) -> bool {
        let Some((journal, session)) = self.durable(session_key) else {
            return false;
        };
        journal.push(Change::ReleasePacketId { session, packet_id });
        true
    }

    /// The journal and the number of a session whose messages are stored.
    pub(super) fn durable(
        &mut self,
        session_key: u32,
    ) -> Option<(&mut super::journal::Journal, SessionNumber)> {
        let session = self.sessions.get(session_key)?;
        let journal = self.journal.as_mut()?;
        let number = SessionNumber(session.number);
        session.durable.then_some((journal, number))
    }

    /// Whether the session's messages are stored.
    pub(super) fn is_durable(&self, session_key: u32) -> bool {
        let session = self.sessions.get(session_key);
        session.is_some_and(|session| session.durable)
    }

    /// A session is done with a message that may be stored.
    pub(super) fn drop_entry(&mut self, session_key: u32, stored: StoredAs) {
        if stored.is_stored()
            && let Some((journal, session)) = self.durable(session_key)
        {
            journal.drop_entry(session.0, stored);
        }
    }
}

/// The exclusive form of a filter, or the plain one of an exclusive.
fn other_form(filter: &str) -> Box<str> {
    match filter.strip_prefix(EXCLUSIVE_PREFIX) {
        Some(plain) => plain.into(),
        None => format!("{EXCLUSIVE_PREFIX}{filter}").into(),
    }
}

/// When the entry of a delivery is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stored {
    /// With the delivery.
    With,
    /// It was before.
    Before,
}

pub(super) fn put_session(session: &Session) -> Change {
    let connected = session.connection != NONE;
    let will = session.will.as_ref().map(|will| StoredWill {
        message: std::sync::Arc::clone(&will.message),
        delay_s: will.delay_s,
        expiry_s: will.expiry_s,
        due_ms: (!connected).then_some(will.due_ms),
    });
    Change::PutSession {
        session: SessionNumber(session.number),
        record: Box::new(SessionRecord {
            client_id: session.client_id.clone(),
            expiry_s: session.expiry_s,
            ends_ms: (!connected).then_some(session.ends_ms),
            will,
            perhaps_sent: session.outflow.perhaps_sent(),
        }),
    }
}
