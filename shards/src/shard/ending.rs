//! How a stored session leaves the disk: not before what it leaves behind is there.
//!
//! | it has | it goes |
//! |---|---|
//! | neither a will nor messages of groups | at once |
//! | a will | in the commit of the will's messages |
//! | messages of groups | when they are stored for other members |
//! | both | after both. In between it is stored as one that has ended and has no will |
//!
//! A crash before that ends the session once more: its will comes once, messages of groups may
//! come twice.

use shard_store::{Change, SessionNumber};

use super::durable::put_session;
use super::journal::Waiter;
use super::session::Session;
use super::transaction::Then;
use super::{NONE, Shard};

impl Shard {
    /// Begins the end of a stored session that has a will and may have messages of groups.
    /// [`NONE`] for any other.
    pub(super) fn begin_ending(&mut self, session_key: u32) -> u32 {
        let Some(session) = self.sessions.get(session_key) else {
            return NONE;
        };
        let has_both = session.will.is_some() && session.subscriptions.has_rare();
        if self.journal.is_none() || session.number == 0 || !has_both {
            return NONE;
        }
        let drop = drop_session(session);
        self.open_transaction(false, Then::Nothing, vec![drop])
    }

    /// Begins the transaction for the will of a session that ends with the transaction `whole`.
    pub(super) fn begin_part(&mut self, session_key: u32, whole: u32) {
        self.begin_atomic(Then::Nothing, Vec::new());
        let part = self.touched.transaction;
        let ended = self.sessions.get(session_key).map(|s| self.ended(s));
        self.make_part(part, whole, ended);
    }

    /// Makes one transaction wait for another, which stores how the session is meanwhile.
    fn make_part(&mut self, part: u32, whole: u32, ended: Option<Change>) {
        if let Some(part) = self.transactions.get_mut(part) {
            part.store(ended, Then::Part(whole));
        }
        self.expect_part(whole);
    }

    /// A session that has ended and has no will any more.
    fn ended(&self, session: &Session) -> Change {
        let mut change = put_session(session);
        if let Change::PutSession { record, .. } = &mut change {
            record.ends_ms = Some(self.now_ms);
        }
        change
    }

    /// Forgets a session that has ended. `will` is the transaction of its will, if it had one
    /// to the end, `moving` that of its messages, or [`NONE`].
    pub(super) fn drop_stored_session(
        &mut self,
        session: &Session,
        will: Option<u32>,
        moving: u32,
    ) {
        let Some(journal) = self.journal.as_mut().filter(|_| session.number != 0) else {
            return;
        };
        for stored in session.outflow.stored() {
            journal.drop_reference(stored.message);
        }
        let moving = Some(moving).filter(|moving| self.transactions.get(*moving).is_some());
        let dropped_by = match (moving, will) {
            (Some(moving), Some(_)) => Some(moving),
            (Some(moving), None) => {
                if let Some(open_will) = self.open_will(session.number) {
                    self.make_part(open_will, moving, Some(self.ended(session)));
                }
                self.end_with(moving, drop_session(session));
                Some(moving)
            }
            (None, Some(will)) => Some(will),
            (None, None) => self.drop_after_will(session),
        };
        if let Some(transaction) = dropped_by.filter(|_| session.durable) {
            self.ending.insert(session.client_id.clone(), transaction);
        }
    }

    /// Drops a session at once, or with its will that went out earlier and is not stored.
    fn drop_after_will(&mut self, session: &Session) -> Option<u32> {
        let open_will = self.open_will(session.number);
        if let Some(transaction) = open_will {
            self.end_with(transaction, drop_session(session));
        } else if let Some(journal) = &mut self.journal {
            journal.push(drop_session(session));
        }
        open_will
    }

    /// The transaction of the will of a session that goes on, until it goes to the disk. It
    /// stores how the session is then, and nobody must do so before.
    pub(super) fn open_will(&self, session: u64) -> Option<u32> {
        if self.open_wills == 0 {
            return None;
        }
        let is_its = |change: &Change| match change {
            Change::PutSession {
                session: number, ..
            } => number.0 == session,
            _ => false,
        };
        let mut open = self.atomics.iter().copied();
        open.find(|key| {
            let open = self.transactions.get(*key);
            open.is_some_and(|open| open.last().iter().any(is_its))
        })
    }

    /// The transaction that takes from the disk an earlier session under the same name.
    pub(super) fn ending_of(&self, session_key: u32) -> Option<u32> {
        if self.ending.is_empty() {
            return None;
        }
        let session = self.sessions.get(session_key)?;
        self.ending.get(&session.client_id).copied()
    }

    /// A transaction is over: what it took from the disk is gone.
    pub(super) fn forget_ending(&mut self, transaction: u32) {
        if !self.ending.is_empty() {
            self.ending.retain(|_, other| *other != transaction);
        }
    }

    /// Nothing is sent to a connection until a transaction is over: else an earlier session of
    /// its client, or an earlier state of it, could come back after a crash.
    pub(super) fn connect_after(&mut self, key: u32, transaction: u32) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.held_until = u64::MAX;
            let serial = connection.serial;
            self.set_then(transaction, Then::Connect { key, serial });
        }
    }

    /// What a connection waited for is over; what that has changed is with this commit.
    pub(super) fn connect_now(&mut self, key: u32, serial: u32) {
        let connection = self.connections.get_mut(key);
        let connection = connection.filter(|connection| connection.serial == serial);
        if let (Some(connection), Some(journal)) = (connection, &mut self.journal) {
            connection.held_until = journal.last();
            journal.wait(Waiter::Output { key, serial });
        }
    }
}

/// Whether a change with a will says how its session, which goes on, is without it.
pub(super) fn keeps_session(change: &Change) -> bool {
    matches!(change, Change::PutSession { .. })
}

fn drop_session(session: &Session) -> Change {
    Change::DropSession {
        session: SessionNumber(session.number),
    }
}
