//! Shared subscriptions.
//!
//! A group (its name and its filter) belongs to the shard it hashes to. That shard has the
//! group in its subscription table, with all members, wherever their sessions live; so a
//! message is matched and given to one member in one place, and goes to a member on
//! another shard with one hop.

use protocol::subscriptions::{GroupId, Member as TableMember};
use protocol::topic::Filter;
use protocol::wire::QoS;

use super::deliver::Receiver;
use super::frames::{Frames, Outgoing};
use super::held::SharedName;
use super::items::{Item, Member, SessionRef, SharedDelivery};
use super::peers::RouteChange;
use super::{NONE, Shard};

impl Shard {
    fn group_owner(&self, name: &SharedName) -> u16 {
        (name.hash(self.seed) % u64::from(self.count)) as u16
    }

    /// Makes a session of this shard a member. Returns the shard whose answer the ticket
    /// has to wait for.
    pub(super) fn join(&mut self, name: SharedName, member: Member, ticket: u32) -> Option<u16> {
        let session = self.sessions.get_mut(member.session.session)?;
        let online = session.connection != NONE;
        let held = &mut session.subscriptions;
        if !held.has_shared(self.seed, &name.group, &name.filter) {
            held.add_shared(self.seed, name.clone());
        }
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
        };
        let inserted = self
            .subscriptions
            .insert_shared(&name.group, filter, member);
        if inserted.first {
            self.change_route(RouteChange::Add(name.filter.clone()));
        }
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
            self.change_route(RouteChange::Remove(name.filter.clone()));
        }
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
        let names: Vec<SharedName> = session.subscriptions.shared().cloned().collect();
        for name in names {
            let owner = self.group_owner(&name);
            if owner == self.id {
                self.set_presence(&name, session_ref, online);
            } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                peer.push(Item::Presence {
                    name,
                    session: session_ref,
                    online,
                });
            }
        }
    }

    pub(super) fn set_presence(&mut self, name: &SharedName, session: SessionRef, online: bool) {
        let Ok(filter) = Filter::parse(&name.filter, u16::MAX) else {
            return;
        };
        let (shard, key) = (session.shard, session.session);
        if let Some(group) = self.subscriptions.find_group(&name.group, filter) {
            self.subscriptions.set_online(group, shard, key, online);
        }
    }

    /// Gives a message to one member of a group: round robin over those that are online and
    /// can take it at once, else over those online, else over the others, whose sessions
    /// queue it.
    pub(super) fn deliver_to_group(
        &mut self,
        group: GroupId,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
    ) {
        let (own, sessions) = (self.id, &self.sessions);
        let ready = |member: &TableMember| {
            member.online
                && (member.shard != own
                    || sessions
                        .get(member.session)
                        .is_some_and(|session| session.outflow.is_open()))
        };
        let member = self
            .subscriptions
            .pick(group, ready)
            // Members that are offline are asked only when there is no other.
            .or_else(|| self.subscriptions.pick(group, |_| true));
        let Some(member) = member else { return };
        let qos = member.options.qos.min(outgoing.message().qos);
        let retain = outgoing.message().retain && member.options.retain_as_published;
        if member.shard == self.id {
            let identifiers: &[u32] = match &member.identifier {
                0 => &[],
                identifier => core::slice::from_ref(identifier),
            };
            let to = Receiver {
                session: member.session,
                qos,
                retain,
                identifiers,
                membership: None,
            };
            self.deliver(frames, outgoing, to);
            return;
        }
        let to = SessionRef {
            shard: member.shard,
            session: member.session,
            serial: member.serial,
        };
        let Some(peer) = self.peers.get_mut(usize::from(member.shard)) else {
            return;
        };
        if qos == QoS::AtMostOnce && peer.is_full() {
            self.stats.dropped.add(1);
            return;
        }
        let message = outgoing.keep();
        let delivery = SharedDelivery {
            group,
            group_serial: self.subscriptions.group_serial(group).unwrap_or(0),
            is_last_resort: !member.online,
            message,
            qos,
            retain,
            identifier: member.identifier,
        };
        peer.deliver(to, delivery);
    }

    /// A message from the owner of a group for a session of this shard. If the client went
    /// away or the session ended meanwhile, which the owner will have heard of before, it
    /// goes back to be given to another member.
    pub(super) fn deliver_to_member(&mut self, from: u16, to: SessionRef, given: SharedDelivery) {
        let session = self.sessions.get(to.session);
        let session = session.filter(|session| session.serial == to.serial);
        let takes =
            session.is_some_and(|session| session.connection != NONE || given.is_last_resort);
        if !takes {
            if let Some(peer) = self.peers.get_mut(usize::from(from)) {
                peer.bounce(given);
            }
            return;
        }
        let delivery = &given;
        let identifiers = [delivery.identifier];
        let receiver = Receiver {
            session: to.session,
            qos: delivery.qos,
            retain: delivery.retain,
            membership: None,
            identifiers: if delivery.identifier == 0 {
                &[]
            } else {
                &identifiers
            },
        };
        self.deliver_kept(&delivery.message, receiver);
    }

    /// Gives a message that came back to another member of its group, if there is one.
    pub(super) fn deliver_again(&mut self, delivery: &SharedDelivery) {
        let group = delivery.group;
        if self.subscriptions.group_serial(group) != Some(delivery.group_serial) {
            self.stats.dropped.add(1);
            return;
        }
        let mut frames = core::mem::take(&mut self.frames);
        frames.clear();
        self.deliver_to_group(group, &mut frames, &mut Outgoing::of(&delivery.message));
        self.frames = frames;
    }
}
