//! Messages of shared subscriptions that leave one session for another.
//!
//! [`Shard::redistribute`] is the one place where they do: when a session ends, what its
//! client was sent with QoS 1 and did not acknowledge, and what was not sent; when a client
//! goes away and others of the group are there, or its node is about to end its session, what was
//! not sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::message::Message;
use protocol::session::{Delivery, Membership};

use super::held::SharedName;
use super::items::SessionRef;
use super::journal::Waiter;
use super::session::Session;
use super::transaction::{Then, Token};
use super::{NONE, Shard};

/// Messages that a session leaves behind, by group, each group's in their order.
pub(super) type LeftBehind = Vec<(SharedName, Vec<Delivery>)>;

impl Shard {
    /// Takes from a session that ends what other members of its groups are to get. Call
    /// [`Self::redistribute`] when it is not a member any more.
    pub(super) fn take_left_behind(&mut self, session_key: u32) -> LeftBehind {
        let session = self.sessions.get_mut(session_key);
        let Some(session) = session.filter(|session| session.subscriptions.has_rare()) else {
            return Vec::new();
        };
        let deliveries = session.outflow.take_shared();
        if deliveries.is_empty() {
            return Vec::new();
        }
        by_group(deliveries, &session.subscriptions.shared_by_number())
    }

    /// Others of a group are there: what is queued for a member of this shard whose client is
    /// away goes to them.
    pub(super) fn give_back_queued(&mut self, name: &SharedName, member: SessionRef) {
        let session = self.sessions.get(member.session);
        let is_away =
            |session: &Session| session.serial == member.serial && session.connection == NONE;
        if session.is_some_and(is_away) {
            self.give_queued_away(name, member.session);
        }
    }

    /// Whether a client is to complete messages of groups before its connection ends: its session
    /// ends then, too, and nobody else may get those with QoS 2 that it was sent [MQTT-4.8.2-5].
    /// What it was not sent goes to others, if there are some, so that it comes to an end.
    pub(super) fn has_to_complete(&mut self, session_key: u32) -> bool {
        let Some(session) = self.sessions.get(session_key) else {
            return false;
        };
        let is_over = session.expiry_s > 0 || session.outflow.in_flight() == 0;
        if is_over || session.subscriptions.shared().next().is_none() {
            return false;
        }
        if session.outflow.queued() > 0 && self.common.goes.load(Ordering::Relaxed) {
            let names: Vec<SharedName> = session.subscriptions.shared().cloned().collect();
            for name in &names {
                self.give_queued_away(name, session_key);
            }
        }
        true
    }

    /// What is queued for a member of this shard goes to others of its group.
    fn give_queued_away(&mut self, name: &SharedName, session_key: u32) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let number = session.number;
        let names = session.subscriptions.shared_by_number();
        let by_it = |membership| names.get(&membership).is_some_and(|other| *other == name);
        let deliveries = session.outflow.take_shared_queued(by_it);
        if !deliveries.is_empty() {
            self.redistribute(vec![(name.clone(), deliveries)], number, NONE);
        }
    }

    /// Sends messages that have left a session to the owners of their groups, which give
    /// them to other members. `session` is the number that theirs is stored under, or 0: what
    /// is stored of them goes when it is stored for others. Returns the transaction that sees
    /// to that, or [`NONE`]; it is `begun` if that was.
    pub(super) fn redistribute(
        &mut self,
        left_behind: LeftBehind,
        session: u64,
        begun: u32,
    ) -> u32 {
        if left_behind.is_empty() && begun == NONE {
            return NONE;
        }
        let transaction = self.begin_move(session, &left_behind, begun);
        for (name, deliveries) in left_behind {
            let messages = deliveries.into_iter().map(|delivery| delivery.message);
            let messages: Vec<Arc<Message>> = messages.collect();
            let owner = self.group_owner(&name);
            if owner == self.id {
                self.take_back(&name, &messages);
                continue;
            }
            let token = (transaction != NONE).then(|| self.expect_member());
            if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                peer.give_back(name, messages, token);
            }
        }
        self.end_move(transaction);
        transaction
    }

    /// Messages that a member of another shard has left behind.
    pub(super) fn returned(
        &mut self,
        shard: u16,
        name: &SharedName,
        messages: &[Arc<Message>],
        token: Option<Token>,
    ) {
        self.take_back(name, messages);
        let touched = core::mem::take(&mut self.touched);
        let Some(token) = token else {
            self.answered(touched.transaction);
            return;
        };
        if touched.transaction != NONE {
            self.set_then(touched.transaction, Then::Answer { shard, token });
            self.wait_in_transaction(touched.transaction, touched.stored);
            self.answered(touched.transaction);
        } else if touched.stored {
            self.wait_for_commit(Waiter::Shard { shard, token });
        } else {
            self.answer_stored(shard, token);
        }
    }
}

fn by_group(deliveries: Vec<Delivery>, names: &HashMap<Membership, &SharedName>) -> LeftBehind {
    let mut groups = LeftBehind::new();
    let mut places = HashMap::new();
    for delivery in deliveries {
        let Some(membership) = delivery.membership else {
            continue;
        };
        let Some(name) = names.get(&membership) else {
            continue;
        };
        let place = *places.entry(membership).or_insert_with(|| {
            groups.push(((*name).clone(), Vec::new()));
            groups.len() - 1
        });
        if let Some((_, deliveries)) = groups.get_mut(place) {
            deliveries.push(delivery);
        }
    }
    groups
}
