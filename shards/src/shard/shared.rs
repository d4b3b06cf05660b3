//! Shared subscriptions.
//!
//! A group (its name and its filter) belongs to the shard it hashes to. That shard has the
//! group in its subscription table, with all members, wherever their sessions live; so a
//! message is matched and given to one member in one place, and goes to a member on
//! another shard with one hop.

use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::subscriptions::{
    Ability, GroupId, Member as TableMember, Occasion, Resort, Strategy,
};
use protocol::topic::Filter;
use protocol::wire::{QoS, SubscriptionOptions};

use super::deliver::Receiver;
use super::frames::{Frames, Outgoing};
use super::groups::{Told, Way};
use super::held::{Refused, SharedName};
use super::items::{Item, Member, SessionRef, SharedDelivery};
use super::journal::Waiter;
use super::peers::RouteChange;
use super::transaction::{Then, Token, Touched};
use super::{NONE, Shard};

/// How often a message may come back before a member that is online has to queue it.
const BOUNCES_MAX: u8 = 3;

impl Shard {
    /// The shard that a group belongs to. Where all filters of a group share their turns,
    /// they belong to one shard.
    pub(super) fn group_owner(&self, name: &SharedName) -> u16 {
        let hash = match self.strategies.of(&name.group) {
            Strategy::RoundRobinPerGroup => self.seed.hash(&name.group),
            _ => name.hash(self.seed),
        };
        (hash % u64::from(self.count)) as u16
    }

    /// Makes a session of this shard a member. Returns the shard whose answer the ticket
    /// has to wait for.
    pub(super) fn join(
        &mut self,
        name: SharedName,
        session: SessionRef,
        options: SubscriptionOptions,
        identifier: u32,
        ticket: u32,
    ) -> Option<u16> {
        let held = self.sessions.get_mut(session.session)?;
        let online = held.connection != NONE;
        held.outflow.keep_shared();
        let membership = held.subscriptions.add_shared(self.seed, &name);
        held.subscriptions
            .set_terms(membership, options, identifier);
        let member = Member {
            session,
            options,
            identifier,
            membership,
        };
        let owner = self.group_owner(&name);
        if owner == self.id {
            self.enter_group(&name, member, online);
            return None;
        }
        let peer = self.peers.get_mut(usize::from(owner))?;
        peer.push(Item::Join {
            name,
            member,
            online,
            ticket,
        });
        Some(owner)
    }

    /// A session of another shard joins a group of this one.
    pub(super) fn join_for(
        &mut self,
        from: u16,
        name: &SharedName,
        member: Member,
        online: bool,
        ticket: u32,
    ) {
        self.enter_group(name, member, online);
        self.ticket_for_join(from, ticket);
    }

    fn enter_group(&mut self, name: &SharedName, member: Member, online: bool) {
        let Ok(filter) = Filter::parse(&name.filter, u16::MAX) else {
            return;
        };
        let member = TableMember {
            shard: member.session.shard,
            session: member.session.session,
            serial: member.session.serial,
            options: member.options,
            identifier: member.identifier,
            online,
            ability: Ability::Ready,
            membership: member.membership,
        };
        let inserted = self
            .subscriptions
            .insert_shared(&name.group, filter, member);
        if inserted.first {
            self.change_route(RouteChange::AddHere(name.filter.clone()));
        }
        self.group_changed(name);
    }

    /// Ends the membership of a session of this shard.
    pub(super) fn leave(&mut self, name: SharedName, session: SessionRef) {
        let owner = self.group_owner(&name);
        if owner == self.id {
            self.leave_group(&name, session);
        } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
            peer.push(Item::Leave { name, session });
        }
    }

    /// Removes a member from a group of this shard.
    pub(super) fn leave_group(&mut self, name: &SharedName, session: SessionRef) {
        let Ok(filter) = Filter::parse(&name.filter, u16::MAX) else {
            return;
        };
        let (shard, key) = (session.shard, session.session);
        let removed = self
            .subscriptions
            .remove_shared(&name.group, filter, shard, key);
        if removed.is_some_and(|removed| removed.last) {
            self.change_route(RouteChange::RemoveHere(name.filter.clone()));
        }
        self.group_changed(name);
    }

    /// Tells the owners of its groups that the client of a session went or came back.
    pub(super) fn announce_presence(&mut self, session_key: u32, online: bool) {
        let Some(session) = self.sessions.get(session_key) else {
            return;
        };
        let session_ref = SessionRef {
            shard: self.id,
            session: session_key,
            serial: session.serial,
        };
        let queued = session.outflow.queued() > 0;
        let names: Vec<SharedName> = session.subscriptions.shared().cloned().collect();
        for name in names {
            let owner = self.group_owner(&name);
            if owner == self.id {
                self.set_presence(&name, session_ref, online, queued);
            } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                peer.push(Item::Presence {
                    name,
                    session: session_ref,
                    online,
                    queued,
                });
            }
        }
    }

    /// The client of a member went or came back. What is queued for one that went goes to
    /// those that are there.
    pub(super) fn set_presence(
        &mut self,
        name: &SharedName,
        session: SessionRef,
        online: bool,
        queued: bool,
    ) {
        let Some(group) = self.find_group(name) else {
            return;
        };
        let (shard, key) = (session.shard, session.session);
        self.subscriptions.set_online(group, shard, key, online);
        self.group_changed(name);
        let others = self.subscriptions.online(group) > 0 || self.is_online_elsewhere(group);
        if online || !queued || !others {
            return;
        }
        if shard == self.id {
            self.give_back_queued(name, session);
        } else if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
            peer.push(Item::Return {
                name: name.clone(),
                member: session,
            });
        }
    }

    pub(super) fn find_group(&self, name: &SharedName) -> Option<GroupId> {
        let filter = Filter::parse(&name.filter, u16::MAX).ok()?;
        self.subscriptions.find_group(&name.group, filter)
    }

    /// A member that had to refuse a message can do more again, or less.
    pub(super) fn set_ability(
        &mut self,
        group: GroupId,
        group_serial: u32,
        member: SessionRef,
        ability: Ability,
    ) {
        let (shard, key) = (member.shard, member.session);
        let known = self.subscriptions.member(group, shard, key);
        if self.subscriptions.group_serial(group) == Some(group_serial)
            && known.is_some_and(|known| known.serial == member.serial)
        {
            self.subscriptions.set_ability(group, shard, key, ability);
        }
    }

    /// Gives a message to one member of a group.
    pub(super) fn deliver_to_group(
        &mut self,
        group: GroupId,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
    ) {
        let way = Way {
            is_news: true,
            ..Way::default()
        };
        self.give_on(group, frames, outgoing, &way);
    }

    /// Gives a message to one member of a group, on whichever node.
    fn give_on(
        &mut self,
        group: GroupId,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        way: &Way,
    ) {
        if way.journey.is_some() || self.has_shares(group) {
            self.give_in_cluster(group, frames, outgoing, way.clone());
        } else if !self.give(group, frames, outgoing, way, true) {
            self.stats.dropped.add(1);
        }
    }

    /// Gives a message to the member on this node that the strategy of the group picks among
    /// those that can send it, else among those that can queue it, else, with `last`, among
    /// those whose clients are away. One that cannot is not asked again before it has said that
    /// it can. False if nobody takes it.
    pub(super) fn give(
        &mut self,
        group: GroupId,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        way: &Way,
        last: bool,
    ) -> bool {
        loop {
            let message = outgoing.message();
            let occasion = Occasion {
                topic: message.topic,
                publisher: message.publisher >> 48,
                shard: (message.publisher >> 32) as u16,
            };
            let picked = self.subscriptions.pick(group, occasion, &mut self.random);
            // What is not, for anybody, is given to nobody who is away.
            let is_kept = message.qos != QoS::AtMostOnce || self.limits.upgrade_qos;
            let is_wanted = |resort| last && is_kept || resort != Resort::Last;
            let Some((member, mut resort)) = picked.filter(|(_, resort)| is_wanted(*resort)) else {
                return false;
            };
            if way.bounces >= BOUNCES_MAX && resort == Resort::Send {
                resort = Resort::Queue;
            }
            let qos = self.limits.delivered_qos(member.options.qos, message.qos);
            let ability = if resort == Resort::Last && qos == QoS::AtMostOnce {
                // Its session keeps no such messages: it gets one when its client is back.
                Some(Ability::Full)
            } else if member.shard == self.id {
                let refused = self.give_here(group, &member, resort, frames, outgoing);
                if refused.is_none() {
                    self.took_for(way.journey.as_deref(), || outgoing.keep());
                }
                refused
            } else {
                self.give_away(group, &member, resort, outgoing, way);
                None
            };
            let Some(ability) = ability else { return true };
            let (shard, key) = (member.shard, member.session);
            self.subscriptions.set_ability(group, shard, key, ability);
        }
    }

    /// Gives a message to a member on this shard. One that cannot take it says what it can
    /// do.
    fn give_here(
        &mut self,
        group: GroupId,
        member: &TableMember,
        resort: Resort,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
    ) -> Option<Ability> {
        let qos = outgoing.message().qos;
        let qos = self.limits.delivered_qos(member.options.qos, qos);
        let size = kept_size(outgoing.message());
        let refused = self.refusal(member.session, qos, size, resort);
        if let Some(ability) = refused {
            let group_serial = self.subscriptions.group_serial(group).unwrap_or(0);
            self.remember_refusal(member.session, (self.id, group, group_serial), ability);
            return refused;
        }
        let identifiers: &[u32] = match &member.identifier {
            0 => &[],
            identifier => core::slice::from_ref(identifier),
        };
        let to = Receiver {
            session: member.session,
            qos,
            retain: outgoing.message().retain && member.options.retain_as_published,
            identifiers,
            membership: Some(member.membership),
            dup: false,
        };
        self.deliver(frames, outgoing, to);
        None
    }

    /// Sends a message to the shard of the member that gets it.
    fn give_away(
        &mut self,
        group: GroupId,
        member: &TableMember,
        resort: Resort,
        outgoing: &mut Outgoing<'_>,
        way: &Way,
    ) {
        let to = SessionRef {
            shard: member.shard,
            session: member.session,
            serial: member.serial,
        };
        let published = outgoing.message().qos;
        let qos = self.limits.delivered_qos(member.options.qos, published);
        let Some(peer) = self.peers.get(usize::from(member.shard)) else {
            return;
        };
        // The publisher of a QoS 0 message does not wait for rings, nor for the disk.
        let waits = qos != QoS::AtMostOnce && published != QoS::AtMostOnce;
        if !waits && peer.is_full() {
            self.stats.dropped.add(1);
            if let Some(origin) = way.origin() {
                self.took_for_good(origin);
            }
            return;
        }
        // Another node is told by the member's shard.
        let waits = waits && self.journal.is_some() && way.origin().is_none();
        let token = (waits || self.touched.atomic).then(|| self.expect_member());
        let delivery = SharedDelivery {
            token,
            atomic: self.touched.atomic,
            group,
            group_serial: self.subscriptions.group_serial(group).unwrap_or(0),
            resort,
            bounces: way.bounces,
            message: outgoing.keep(),
            qos,
            retain: outgoing.message().retain && member.options.retain_as_published,
            identifier: member.identifier,
            membership: member.membership,
            journey: way.journey.clone(),
        };
        if let Some(peer) = self.peers.get_mut(usize::from(member.shard)) {
            peer.deliver(to, delivery);
        }
    }

    /// A message from the owner of a group for a session of this shard. If the client went
    /// away or the session ended meanwhile, which the owner will have heard of before, or it
    /// cannot take the message, it goes back to be given to another member.
    pub(super) fn deliver_to_member(&mut self, from: u16, to: SessionRef, given: SharedDelivery) {
        let session = self.sessions.get(to.session);
        let session = session.filter(|session| session.serial == to.serial);
        let is_there = session.is_some_and(|session| {
            (session.connection != NONE || given.resort == Resort::Last)
                // Nothing new comes by a subscription that has ended [MQTT-3.10.4-2].
                && session.subscriptions.is_member(given.membership)
        });
        let ability = if is_there {
            let size = given.message.size();
            self.refusal(to.session, given.qos, size, given.resort)
        } else {
            None
        };
        if let Some(ability) = ability {
            let by = (from, given.group, given.group_serial);
            self.remember_refusal(to.session, by, ability);
        }
        if !is_there || ability.is_some() {
            if let Some(peer) = self.peers.get_mut(usize::from(from)) {
                peer.bounce(to, ability, given);
            }
            return;
        }
        if let Some(token) = given.token.filter(|_| given.atomic) {
            self.begin_atomic(Then::Answer { shard: from, token }, Vec::new());
        }
        let identifiers = [given.identifier];
        let receiver = Receiver {
            session: to.session,
            qos: given.qos,
            retain: given.retain,
            membership: Some(given.membership),
            dup: false,
            identifiers: if given.identifier == 0 {
                &[]
            } else {
                &identifiers
            },
        };
        self.deliver_kept(&given.message, receiver);
        self.took_for(given.journey.as_deref(), || Arc::clone(&given.message));
        let touched = core::mem::take(&mut self.touched);
        if touched.atomic {
            self.answered(touched.transaction);
        } else if let Some(token) = given.token {
            if touched.stored {
                let shard = from;
                self.wait_for_commit(Waiter::Shard { shard, token });
            } else {
                self.answer_stored(from, token);
            }
        }
    }

    /// Gives a message that came back to another member of its group, if there is one.
    pub(super) fn deliver_again(
        &mut self,
        member: SessionRef,
        ability: Option<Ability>,
        delivery: &SharedDelivery,
    ) {
        let group = delivery.group;
        if let Some(ability) = ability {
            self.set_ability(group, delivery.group_serial, member, ability);
        }
        let transaction = match delivery.token {
            Some(Token::Member { transaction, .. }) => transaction,
            _ => NONE,
        };
        self.touched = Touched {
            stored: false,
            transaction,
            atomic: delivery.atomic,
        };
        if self.subscriptions.group_serial(group) == Some(delivery.group_serial) {
            let way = Way {
                bounces: delivery.bounces.saturating_add(1),
                journey: delivery.journey.clone(),
                is_for_here: true,
                is_news: false,
            };
            self.give_kept(group, &delivery.message, &way);
        } else if let Some(origin) = delivery.origin() {
            self.tell(origin, Told::Back);
        } else {
            self.stats.dropped.add(1);
        }
        let touched = core::mem::take(&mut self.touched);
        if !touched.atomic {
            self.wait_in_transaction(touched.transaction, touched.stored);
        }
        self.answered(touched.transaction);
    }

    pub(super) fn give_kept(&mut self, group: GroupId, message: &Arc<Message>, way: &Way) {
        let mut frames = self.frames.take().unwrap_or_default();
        frames.clear();
        self.give_on(group, &mut frames, &mut Outgoing::of(message), way);
        self.frames = Some(frames);
    }

    /// Messages that a member has left behind, oldest first.
    pub(super) fn take_back(&mut self, name: &SharedName, messages: &[Arc<Message>]) {
        for message in messages {
            match self.find_group(name) {
                _ if message.expires_ms <= self.now_ms => self.stats.expired.add(1),
                Some(group) => self.give_kept(group, message, &Way::default()),
                None if self.is_clustered() => self.wait_for_group(name, message),
                // Undelivered messages end with their group (5.0 section 4.8.2).
                None => self.stats.dropped.add(1),
            }
        }
    }

    /// What a session that cannot take a message of a group can do; nothing if it takes it.
    fn refusal(&self, session_key: u32, qos: QoS, size: usize, resort: Resort) -> Option<Ability> {
        let session = self.sessions.get(session_key)?;
        let connection = self.connections.get(session.connection);
        let limit = self.limits.max_output_bytes as usize;
        let reads = connection.is_some_and(|connection| connection.output.len() < limit);
        let sends = reads && (qos == QoS::AtMostOnce || session.outflow.is_open());
        let limits = self.limits.queue();
        let queues = qos != QoS::AtMostOnce && session.outflow.has_queue_room(size, &limits);
        match resort {
            _ if sends => None,
            Resort::Send if queues || qos == QoS::AtMostOnce => Some(Ability::Busy),
            // With QoS 0 it is sent or dropped: that says nothing about the queue.
            Resort::Queue | Resort::Last if queues || qos == QoS::AtMostOnce => None,
            _ => Some(Ability::Full),
        }
    }

    /// Remembers to tell a group when a session can do more again.
    fn remember_refusal(
        &mut self,
        session_key: u32,
        (owner, group, group_serial): (u16, GroupId, u32),
        ability: Ability,
    ) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let key = session.connection;
        // One whose client is away is heard of when it comes back.
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        session.subscriptions.refuse(Refused {
            owner,
            group,
            group_serial,
            ability,
        });
        if connection.output.len() >= self.limits.max_output_bytes as usize {
            self.unread.push((session_key, session.serial));
        }
    }

    /// Tells the groups that a session has refused a message of what it can do, when that
    /// is much better than before: when half of the window or of the queue is free.
    pub(super) fn tell_groups(&mut self, session_key: u32) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let half = self.limits.max_output_bytes as usize / 2;
        let connection = self.connections.get(session.connection);
        let reads = connection.is_some_and(|connection| connection.output.len() <= half);
        let ability = if reads && session.outflow.is_half_open() {
            Ability::Ready
        } else if session.outflow.is_queue_half_free(&self.limits.queue()) {
            Ability::Busy
        } else {
            return;
        };
        let member = SessionRef {
            shard: self.id,
            session: session_key,
            serial: session.serial,
        };
        for refused in session.subscriptions.take_refused(ability) {
            let (group, group_serial) = (refused.group, refused.group_serial);
            if refused.owner == self.id {
                self.set_ability(group, group_serial, member, ability);
            } else if let Some(peer) = self.peers.get_mut(usize::from(refused.owner)) {
                peer.push(Item::Able {
                    group,
                    group_serial,
                    member,
                    ability,
                });
            }
        }
    }

    /// Looks after members that refused a message because their clients do not read.
    pub(super) fn tell_groups_of_readers(&mut self) {
        let half = self.limits.max_output_bytes as usize / 2;
        for (key, serial) in core::mem::take(&mut self.unread) {
            let session = self.sessions.get(key);
            let Some(session) = session.filter(|session| session.serial == serial) else {
                continue;
            };
            let connection = self.connections.get(session.connection);
            if connection.is_some_and(|connection| connection.output.len() > half) {
                self.unread.push((key, serial));
            } else if session.subscriptions.has_refused() {
                self.tell_groups(key);
            }
        }
    }
}

/// Bytes that a message occupies when it is kept.
fn kept_size(message: &MessageRef<'_>) -> usize {
    size_of::<Message>() + message.topic.len() + message.properties.len() + message.payload.len()
}
