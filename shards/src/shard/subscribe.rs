//! SUBSCRIBE and UNSUBSCRIBE.

use std::borrow::Cow;

use protocol::subscriptions::{Removed, Subscriber};
use protocol::topic::{Filter, FilterError, Subscription};
use protocol::wire::encode;
use protocol::wire::{
    PacketId, QoS, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe, Version,
};

use super::connection::Connection;
use super::exclusive::Claimed;
use super::held::SharedName;
use super::input::Flow;
use super::items::{Claim, Item, SessionRef};
use super::journal::Waiter;
use super::peers::RouteChange;
use super::session::Session;
use super::stats::packet;
use super::texts;
use super::{NONE, Shard};

/// Something that is done when routes are applied and other shards have answered.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Answers that are missing.
    pub(super) missing: u32,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    /// What was stored is in force.
    Restored,
    /// Send a SUBACK, then the retained messages.
    SubAck {
        connection: u32,
        serial: u32,
        packet: Vec<u8>,
        /// Where in the packet the reason codes begin.
        codes_at: usize,
        replays: Vec<ReplayStart>,
        /// It is still to wait for what goes to other nodes.
        then_nodes: bool,
    },
    /// Tell another shard that the group is joined.
    Joined { shard: u16, ticket: u32 },
    /// A session has come from another node.
    Arrived { client: Box<str> },
}

/// Retained messages to send once SUBACK is out.
#[derive(Debug)]
pub(super) struct ReplayStart {
    pub(super) filter: Box<str>,
    pub(super) qos: QoS,
    pub(super) identifier: u32,
}

/// A ticket that waits until this many route changes are applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct RouteWait {
    asked: u64,
    ticket: u32,
}

/// Subscriptions that are not in force everywhere yet.
pub(super) struct Begun {
    ticket: u32,
    /// Answers that the ticket waits for.
    missing: u32,
    codes: Vec<ReasonCode>,
    replays: Vec<ReplayStart>,
}

/// What one filter of a SUBSCRIBE led to.
pub(super) struct Outcome {
    code: ReasonCode,
    /// Another shard has to answer.
    pub(super) waits: bool,
    replay: Option<ReplayStart>,
}

impl Outcome {
    fn refused(code: ReasonCode) -> Self {
        Self {
            code,
            waits: false,
            replay: None,
        }
    }
}

impl Shard {
    pub(super) fn handle_subscribe(
        &mut self,
        key: u32,
        version: Version,
        subscribe: &Subscribe<'_>,
    ) -> Flow {
        if let Some(reason) = self.malformed_filter(subscribe.filters().map(|(text, _)| text)) {
            return self.broke_protocol(key, reason);
        }
        if let Some(reason) = self.is_subscribe_unavailable(version, subscribe) {
            return self.broke_protocol(key, reason);
        }
        let identifier = subscribe.identifier.map_or(0, core::num::NonZeroU32::get);
        let mut rewritten = Vec::new();
        for (text, options) in subscribe.filters() {
            rewritten.push((self.effective_filter(key, text), options));
        }
        let filters = rewritten.iter().map(|(text, options)| (&**text, *options));
        let begun = self.subscribe_all(key, filters, identifier, Some(subscribe.packet_id));
        let Some(connection) = self.connections.get(key) else {
            return Flow::Stop;
        };
        let packet = suback(connection, subscribe.packet_id, &begun.codes);
        self.answer_subscribed(key, packet, begun)
    }

    /// Subscribes a client to filters. `packet_id` is that of its SUBSCRIBE.
    pub(super) fn subscribe_all<'a>(
        &mut self,
        key: u32,
        filters: impl Iterator<Item = (&'a str, SubscriptionOptions)>,
        identifier: u32,
        packet_id: Option<PacketId>,
    ) -> Begun {
        let (session, version) = self
            .connections
            .get(key)
            .map_or((NONE, Version::V5), |connection| {
                (connection.session, connection.version)
            });
        let in_use = packet_id.is_some_and(|id| self.identifier_in_use(session, id));
        let ticket = self.tickets.insert(Ticket {
            missing: 1,
            then: Then::Joined {
                shard: self.id,
                ticket: NONE,
            },
        });
        let (mut codes, mut replays) = (Vec::new(), Vec::new());
        let (mut missing, mut stored) = (1, false);
        for (text, options) in filters {
            let outcome = match Subscription::parse(text, self.limits.max_topic_levels) {
                _ if in_use => Outcome::refused(ReasonCode::PACKET_IDENTIFIER_IN_USE),
                Ok(parsed) => match self.granted(version, &parsed, options) {
                    Ok(options) => {
                        let place = (ticket, codes.len());
                        self.subscribe(session, &parsed, options, identifier, place)
                    }
                    Err(reason) => Outcome::refused(reason),
                },
                Err(_) => Outcome::refused(ReasonCode::TOPIC_FILTER_INVALID),
            };
            missing += u32::from(outcome.waits);
            if outcome.code.is_error() {
                self.stats.subscribe_errors.add(1);
            } else if !outcome.waits || Subscription::is_shared(text) {
                stored |= self.record_subscription(session, text, options, identifier);
                self.session_subscribed(key, text, options);
            }
            codes.push(outcome.code);
            replays.extend(outcome.replay);
        }
        missing += u32::from(self.wait_for_routes(ticket));
        missing += u32::from(self.has_moves && self.wait_for_move(session, ticket));
        if stored {
            missing += 1;
            self.wait_for_commit(Waiter::Ticket(ticket));
        }
        Begun {
            ticket,
            missing,
            codes,
            replays,
        }
    }

    /// Sends a SUBACK, if there is one to send, and the retained messages, when the
    /// subscriptions are in force. The client's next packets wait until then.
    pub(super) fn answer_subscribed(&mut self, key: u32, packet: Vec<u8>, begun: Begun) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        connection.held_subacks = connection.held_subacks.saturating_add(1);
        let serial = connection.serial;
        if let Some(held) = self.tickets.get_mut(begun.ticket) {
            let then = Then::SubAck {
                connection: key,
                serial,
                codes_at: packet.len().saturating_sub(begun.codes.len()),
                then_nodes: !packet.is_empty(),
                packet,
                replays: begun.replays,
            };
            let missing = begun.missing;
            *held = Ticket { missing, then };
        }
        self.ticket_done(begun.ticket);
        Flow::Continue
    }

    /// The reaction to a filter that breaks the syntax: the packet is malformed as a whole
    /// [MQTT-4.7.1-1]. A group without a proper name is refused by itself instead, for it has
    /// a reason code there [MQTT-4.8.2-1], and 3.1.1 has no groups that could be malformed.
    fn malformed_filter<'a>(&self, filters: impl Iterator<Item = &'a str>) -> Option<ReasonCode> {
        for text in filters {
            match Subscription::parse(text, self.limits.max_topic_levels) {
                Ok(_) | Err(FilterError::TooManyLevels | FilterError::ShareName) => {}
                Err(_) => return Some(ReasonCode::MALFORMED_PACKET),
            }
        }
        None
    }

    /// A filter as the rules of topic rewriting want it. One that they cannot make is empty,
    /// and as such refused.
    fn effective_filter<'a>(&self, key: u32, text: &'a str) -> Cow<'a, str> {
        match self.rewritten_filter(key, text) {
            None => Cow::Borrowed(text),
            Some(rewritten) => Cow::Owned(rewritten.unwrap_or_default()),
        }
    }

    /// Whether a QoS 2 message from the client still holds the packet identifier.
    fn identifier_in_use(&self, session: u32, id: PacketId) -> bool {
        self.sessions
            .get(session)
            .is_some_and(|session| session.inflow.holds(id))
    }

    fn subscribe(
        &mut self,
        session_key: u32,
        subscription: &Subscription<'_>,
        options: SubscriptionOptions,
        identifier: u32,
        (ticket, index): (u32, usize),
    ) -> Outcome {
        let Some(session) = self.sessions.get(session_key) else {
            return Outcome::refused(ReasonCode::UNSPECIFIED_ERROR);
        };
        let full = session.subscriptions.len() >= self.limits.max_subscriptions as usize;
        let full = full || session.durable && self.store_is_full();
        if full && !self.is_subscribed(session, subscription) {
            return Outcome::refused(ReasonCode::QUOTA_EXCEEDED);
        }
        self.enter_subscription(
            session_key,
            subscription,
            options,
            identifier,
            (ticket, index),
        )
    }

    /// Enters a subscription into the tables, whatever the limits are.
    pub(super) fn enter_subscription(
        &mut self,
        session_key: u32,
        subscription: &Subscription<'_>,
        options: SubscriptionOptions,
        identifier: u32,
        (ticket, index): (u32, usize),
    ) -> Outcome {
        let Some(session) = self.sessions.get(session_key) else {
            return Outcome::refused(ReasonCode::UNSPECIFIED_ERROR);
        };
        let code = ReasonCode(options.qos as u8);
        if subscription.exclusive {
            let claim = Claim {
                session: self.session_ref(session_key, session),
                ticket,
                index,
                options,
                identifier,
            };
            return self.subscribe_exclusive(subscription.filter, claim);
        }
        let Some(group) = subscription.group else {
            let new = self.subscribe_own(session_key, subscription.filter, options, identifier);
            let session = self.sessions.get(session_key);
            if session.is_some_and(|session| session.subscriptions.has_rare())
                && let Some(id) = self.subscriptions.find(subscription.filter)
            {
                self.end_exclusive(session_key, id, subscription.filter.as_str());
            }
            let replay = match options.retain_handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => new,
                RetainHandling::DontSend => false,
            };
            let replay = replay.then(|| ReplayStart {
                filter: subscription.filter.as_str().into(),
                qos: options.qos,
                identifier,
            });
            return Outcome {
                code,
                waits: false,
                replay,
            };
        };
        let name = SharedName {
            group: group.into(),
            filter: subscription.filter.as_str().into(),
        };
        let session_ref = self.session_ref(session_key, session);
        // Retained messages are not sent to shared subscriptions (5.0 section 4.8.2).
        Outcome {
            code,
            waits: self
                .join(name, session_ref, options, identifier, ticket)
                .is_some(),
            replay: None,
        }
    }

    fn subscribe_exclusive(&mut self, filter: Filter<'_>, claim: Claim) -> Outcome {
        if !self.limits.exclusive_subscription {
            return Outcome::refused(ReasonCode::TOPIC_FILTER_INVALID);
        }
        let (waits, replay) = match self.claim(filter, claim) {
            Claimed::Granted(replay) => (false, replay),
            Claimed::Asked => (true, None),
            Claimed::Refused => return Outcome::refused(ReasonCode::QUOTA_EXCEEDED),
        };
        Outcome {
            code: ReasonCode(claim.options.qos as u8),
            waits,
            replay,
        }
    }

    fn session_ref(&self, key: u32, session: &Session) -> SessionRef {
        SessionRef {
            shard: self.id,
            session: key,
            serial: session.serial,
        }
    }

    /// Makes a ticket wait until everything up to now is on the disk.
    pub(super) fn wait_with_ticket(&mut self, ticket: u32) {
        if let Some(held) = self.tickets.get_mut(ticket) {
            held.missing += 1;
            self.wait_for_commit(Waiter::Ticket(ticket));
        }
    }

    /// One of the filters of a SUBSCRIBE was granted by another shard.
    pub(super) fn granted_later(&mut self, ticket: u32, replay: Option<ReplayStart>) {
        let waits = self.wait_for_routes(ticket);
        if let Some(held) = self.tickets.get_mut(ticket) {
            held.missing += u32::from(waits);
            if let Then::SubAck { replays, .. } = &mut held.then {
                replays.extend(replay);
            }
        }
    }

    /// One of the filters of a SUBSCRIBE was refused by another shard.
    pub(super) fn refused_later(&mut self, ticket: u32, index: usize, reason: ReasonCode) {
        let Some(held) = self.tickets.get_mut(ticket) else {
            return;
        };
        if let Then::SubAck {
            connection,
            packet,
            codes_at,
            ..
        } = &mut held.then
            && let Some(connection) = self.connections.get(*connection)
            && let Some(code) = packet.get_mut(*codes_at + index)
        {
            *code = match connection.version {
                Version::V5 => reason.0,
                Version::V31 | Version::V311 => 0x80,
            };
        }
    }

    /// Whether a session has the subscription, so that it would be replaced
    /// [MQTT-3.8.4-3].
    fn is_subscribed(&self, session: &Session, subscription: &Subscription<'_>) -> bool {
        let filter = subscription.filter;
        let held = &session.subscriptions;
        match subscription.group {
            Some(group) => held.has_shared(self.seed, group, filter.as_str()),
            None => {
                let filter = self.subscriptions.find(filter);
                filter.is_some_and(|filter| held.has(filter))
            }
        }
    }

    /// Enters a subscription into this shard's table. True when it is new.
    pub(super) fn subscribe_own(
        &mut self,
        session_key: u32,
        filter: Filter<'_>,
        options: SubscriptionOptions,
        identifier: u32,
    ) -> bool {
        let subscriber = Subscriber {
            session: session_key,
            options,
            identifier,
        };
        let inserted = self.subscriptions.insert(filter, subscriber);
        let new = inserted.replaced.is_none();
        if inserted.first {
            self.change_route(RouteChange::Add(filter.as_str().into()));
        } else if new {
            self.announce_plain(inserted.filter, filter.as_str());
        }
        if new && let Some(session) = self.sessions.get_mut(session_key) {
            session.subscriptions.add(inserted.filter);
        }
        new
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        key: u32,
        version: Version,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Flow {
        if let Some(reason) = self.malformed_filter(unsubscribe.filters()) {
            return self.broke_protocol(key, reason);
        }
        let session = self
            .connections
            .get(key)
            .map_or(NONE, |connection| connection.session);
        let in_use = self.identifier_in_use(session, unsubscribe.packet_id);
        let mut codes = Vec::new();
        for text in unsubscribe.filters() {
            let text = &*self.effective_filter(key, text);
            codes.push(
                match Subscription::parse(text, self.limits.max_topic_levels) {
                    _ if in_use => ReasonCode::PACKET_IDENTIFIER_IN_USE,
                    Ok(subscription) if self.unsubscribe(session, &subscription) => {
                        self.forget_subscription(session, text);
                        self.session_unsubscribed(key, text);
                        ReasonCode::SUCCESS
                    }
                    _ => ReasonCode::NO_SUBSCRIPTION_EXISTED,
                },
            );
        }
        let mut packet = Vec::new();
        encode::unsuback(&mut packet, version, unsubscribe.packet_id, &codes);
        let errors = codes.iter().filter(|code| **code != ReasonCode::SUCCESS);
        self.stats.unsubscribe_errors.add(errors.count() as u64);
        let stored = self.is_durable(session);
        if self.answer(key, &packet, stored) {
            self.stats.count_packet_sent(packet::UNSUBACK);
            Flow::Continue
        } else {
            Flow::Stop
        }
    }

    /// Appends an answer, which may have to wait for what is `stored`. One that the client
    /// cannot take ends the connection: it may not be sent, nor left out [MQTT-3.1.2-24].
    /// Says whether the connection goes on.
    fn answer(&mut self, key: u32, packet: &[u8], stored: bool) -> bool {
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        if packet.len() > connection.maximum_packet_size as usize {
            self.disconnect(key, ReasonCode::PACKET_TOO_LARGE);
            return false;
        }
        self.outbox.mark(connection, key);
        match self.journal.as_deref_mut().filter(|_| stored) {
            // What it says is on the disk first.
            Some(journal) => connection.hold_output(journal, key, |connection| {
                connection.output.bytes.extend_from_slice(packet);
            }),
            None => connection.output.bytes.extend_from_slice(packet),
        }
        true
    }

    pub(super) fn unsubscribe(
        &mut self,
        session_key: u32,
        subscription: &Subscription<'_>,
    ) -> bool {
        if let Some(group) = subscription.group {
            return self.unsubscribe_shared(session_key, group, subscription.filter.as_str());
        }
        let Some(id) = self.subscriptions.find(subscription.filter) else {
            return false;
        };
        let session = self.sessions.get(session_key);
        let is_exclusive = session.is_some_and(|s| s.subscriptions.is_exclusive(id));
        if is_exclusive != subscription.exclusive {
            return false;
        }
        self.end_exclusive(session_key, id, subscription.filter.as_str());
        let Some(removed) = self.subscriptions.remove_by_id(id, session_key) else {
            return false;
        };
        let text = subscription.filter.as_str();
        if removed.last {
            self.change_route(RouteChange::Remove(text.into()));
        } else {
            self.withdraw_plain(removed.filter, text);
        }
        if let Some(session) = self.sessions.get_mut(session_key) {
            session.subscriptions.remove(removed.filter);
        }
        true
    }

    fn unsubscribe_shared(&mut self, session_key: u32, group: &str, filter: &str) -> bool {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return false;
        };
        let (held, outflow) = (&mut session.subscriptions, &session.outflow);
        let Some(name) = held.remove_shared(self.seed, group, filter, outflow) else {
            return false;
        };
        let session = SessionRef {
            shard: self.id,
            session: session_key,
            serial: session.serial,
        };
        self.leave(name, session);
        true
    }

    /// Removes all subscriptions of a session that ends.
    pub(super) fn drop_subscriptions(&mut self, session_key: u32) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let (own, shared) = core::mem::take(&mut session.subscriptions).into_all();
        let session = SessionRef {
            shard: self.id,
            session: session_key,
            serial: session.serial,
        };
        for (filter, is_exclusive) in own {
            let interest = &self.common.interest;
            let watched = interest.in_sys() || interest.in_events();
            let needed = self.routes.is_some() || watched || is_exclusive;
            let text = needed.then(|| self.subscriptions.text(filter));
            if is_exclusive && let Some(text) = &text {
                self.release_filter(text, session);
            }
            let removed = self.subscriptions.remove_by_id(filter, session_key);
            match (removed, text) {
                (Some(Removed { last: true, .. }), Some(text)) => {
                    self.change_route(RouteChange::Remove(text.into()));
                }
                (Some(_), Some(text)) => self.withdraw_plain(filter, &text),
                _ => {}
            }
        }
        for name in shared {
            self.leave(name, session);
        }
    }

    /// Hands a change of routes to the route writer, if there is one.
    pub(super) fn change_route(&mut self, change: RouteChange) {
        match &change {
            RouteChange::Add(filter) | RouteChange::AddHere(filter) => {
                self.common.interest.add(filter);
            }
            RouteChange::Remove(filter) | RouteChange::RemoveHere(filter) => {
                self.common.interest.remove(filter);
            }
            RouteChange::Announce(_) | RouteChange::Withdraw(_) | RouteChange::Fence => {}
        }
        if self.routes.is_some() {
            self.route_changes.push(change);
            self.routes_asked += 1;
        }
    }

    /// Makes a ticket wait until all routes asked for are applied. False when they are.
    pub(super) fn wait_for_routes(&mut self, ticket: u32) -> bool {
        if self.nodes_up() != 0 {
            // What other nodes hear of groups at the end of a turn is waited for, too.
            self.announce_groups();
        }
        let waits = self.routes_asked > self.routes_applied;
        if waits {
            self.route_waits.push_back(RouteWait {
                asked: self.routes_asked,
                ticket,
            });
        }
        waits
    }

    /// The route changes that wait to go to the route writer.
    pub(crate) fn take_route_changes(&mut self) -> Vec<RouteChange> {
        core::mem::take(&mut self.route_changes)
    }

    /// The route writer has applied this many changes of this shard.
    pub(crate) fn routes_applied(&mut self, applied: u64) {
        self.routes_applied = self.routes_applied.max(applied);
        while let Some(wait) = self.route_waits.front()
            && wait.asked <= self.routes_applied
        {
            let ticket = wait.ticket;
            self.route_waits.pop_front();
            self.ticket_done(ticket);
        }
    }

    /// One of the answers that a ticket waits for is there.
    pub(super) fn ticket_done(&mut self, ticket: u32) {
        let Some(held) = self.tickets.get_mut(ticket) else {
            return;
        };
        held.missing = held.missing.saturating_sub(1);
        if held.missing > 0 {
            return;
        }
        if let Then::SubAck { then_nodes, .. } = &mut held.then
            && core::mem::take(then_nodes)
        {
            held.missing = 1;
            if self.wait_for_nodes(ticket) {
                return;
            }
        }
        let Some(done) = self.tickets.remove(ticket) else {
            return;
        };
        match done.then {
            Then::Restored => self.is_restoring = false,
            Then::Arrived { client } => self.arrived_is_in_force(&client),
            Then::Joined { shard, ticket } => {
                if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
                    peer.push(Item::Joined { ticket });
                }
            }
            Then::SubAck {
                connection,
                serial,
                packet,
                replays,
                ..
            } => {
                self.send_suback(connection, serial, &packet, replays);
            }
        }
    }

    /// Takes a ticket for the answer to a join from another shard.
    pub(super) fn ticket_for_join(&mut self, shard: u16, ticket: u32) {
        let own = self.tickets.insert(Ticket {
            missing: 1,
            then: Then::Joined { shard, ticket },
        });
        if !self.wait_for_routes(own) {
            self.ticket_done(own);
        }
    }

    fn send_suback(&mut self, key: u32, serial: u32, packet: &[u8], replays: Vec<ReplayStart>) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial || connection.session == NONE {
            return;
        }
        let session = connection.session;
        connection.held_subacks = connection.held_subacks.saturating_sub(1);
        // A client that was subscribed without asking gets no answer.
        if packet.is_empty() || self.answer(key, packet, false) {
            self.stats.packets_sent[packet::SUBACK].add(u64::from(!packet.is_empty()));
            for replay in replays {
                self.start_replay(session, replay);
            }
        }
    }
}

/// SUBACK, with the first refusal in words if the client wants that.
fn suback(connection: &Connection, packet_id: PacketId, codes: &[ReasonCode]) -> Vec<u8> {
    let refused = codes.iter().find(|code| code.is_error());
    let text = refused.and_then(|code| texts::of(*code));
    let text = text.filter(|_| connection.explains);
    let size_max = connection.maximum_packet_size;
    let mut packet = Vec::new();
    encode::suback_within(
        &mut packet,
        connection.version,
        packet_id,
        codes,
        text,
        size_max,
    );
    packet
}
