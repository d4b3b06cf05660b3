//! Exclusive subscriptions: a filter that one session has for itself.
//!
//! Who has a filter is known to the shard that the filter hashes to. A session's shard asks
//! it before it makes the subscription, and tells it when the subscription ends; so two that
//! ask at once are told apart there. Otherwise the subscription is like any other.
//!
//! In a cluster that shard asks the cluster, under a name that no client can have, and with the
//! client that is to have the filter. A session that comes from another node asks like a SUBSCRIBE,
//! and its subscription is in force when it has the filter; until then its former node passes on
//! what comes. What was stored is in force from the start on, and given up if somebody else has it.

use log::info;
use protocol::subscriptions::FilterId;
use protocol::topic::{Filter, Subscription};
use protocol::wire::{ReasonCode, RetainHandling};

use super::durable::EXCLUSIVE_PREFIX;
use super::items::{Claim, Item, SessionRef};
use super::owners::PATIENCE_MS;
use super::subscribe::{ReplayStart, Then};
use super::{NONE, Shard};
use crate::nodes::{OwnerRequest, exclusive_name};

/// What became of a claim.
pub(super) enum Claimed {
    /// The filter is the session's.
    Granted(Option<ReplayStart>),
    /// Another session has it.
    Refused,
    /// Another shard, or the cluster, has to answer.
    Asked,
}

/// A filter that the cluster was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who wants it, by shard, the first of them first: it is asked for that one.
    claims: Vec<(u16, Claim)>,
    /// When nobody waits any longer.
    until_ms: u64,
}

impl Shard {
    /// Asks for a filter for a session of this shard, and subscribes the session if the
    /// answer is there at once.
    pub(super) fn claim(&mut self, filter: Filter<'_>, claim: Claim) -> Claimed {
        let owner = self.shard_of(filter.as_str());
        let holder = self.holder(claim.session.session);
        let is_former = self.is_restoring;
        if owner != self.id {
            if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                let filter = filter.as_str().into();
                peer.push(Item::Claim {
                    filter,
                    claim,
                    holder,
                    is_former,
                });
            }
            return Claimed::Asked;
        }
        let from = self.id;
        match self.grant(filter.as_str(), (from, claim), &holder, is_former) {
            Some(true) => Claimed::Granted(self.subscribe_exclusively(filter, &claim)),
            Some(false) => Claimed::Refused,
            None => Claimed::Asked,
        }
    }

    /// The client identifier of a session, if the cluster is asked.
    fn holder(&self, session: u32) -> Box<str> {
        let session = self.sessions.get(session).filter(|_| self.owners.is_some());
        session.map_or_else(Box::default, |session| session.client_id.clone())
    }

    /// A session of another shard asks for a filter of this one.
    pub(super) fn claim_for(
        &mut self,
        from: u16,
        filter: Box<str>,
        claim: Claim,
        (holder, is_former): (&str, bool),
    ) {
        if let Some(granted) = self.grant(&filter, (from, claim), holder, is_former) {
            self.answer_claim(from, filter, claim, granted);
        }
    }

    fn answer_claim(&mut self, shard: u16, filter: Box<str>, claim: Claim, granted: bool) {
        if shard == self.id {
            return self.claimed(&filter, claim, granted);
        }
        if let Some(peer) = self.peers.get_mut(usize::from(shard)) {
            peer.push(Item::Claimed {
                filter,
                claim,
                granted,
            });
        }
    }

    /// Gives a filter to a session, unless another has it. Nothing if the cluster has to say.
    fn grant(
        &mut self,
        filter: &str,
        (from, claim): (u16, Claim),
        holder: &str,
        is_former: bool,
    ) -> Option<bool> {
        if let Some(holder) = self.exclusive.get(filter) {
            return Some(*holder == claim.session);
        }
        let until_ms = self.now_ms + PATIENCE_MS;
        if let Some(owners) = &mut self.owners {
            let asked = owners.filters.get_mut(filter);
            if let Some(asked) = asked {
                asked.claims.push((from, claim));
                return None;
            }
            owners.request(OwnerRequest::ClaimFilter {
                client: exclusive_name(filter),
                holder: holder.into(),
                is_former,
            });
            if !is_former {
                let claims = vec![(from, claim)];
                owners
                    .filters
                    .insert(filter.into(), Asked { claims, until_ms });
                return None;
            }
        }
        self.exclusive.insert(filter.into(), claim.session);
        Some(true)
    }

    /// The cluster has given this node a filter.
    pub(super) fn filter_granted(&mut self, filter: &str) {
        let Some(owners) = &mut self.owners else {
            return;
        };
        let asked = owners.filters.remove(filter);
        let claims = asked.map_or_else(Vec::new, |asked| asked.claims);
        let known = self.exclusive.get(filter).copied();
        let holder = known.or_else(|| claims.first().map(|(_, claim)| claim.session));
        let Some(holder) = holder else {
            // Nobody wants it any more.
            let client = exclusive_name(filter);
            return owners.request(OwnerRequest::Release { client });
        };
        self.exclusive.insert(filter.into(), holder);
        for (shard, claim) in claims {
            self.answer_claim(shard, filter.into(), claim, claim.session == holder);
        }
    }

    /// A client on another node has a filter.
    pub(super) fn filter_denied(&mut self, filter: &str) {
        let asked = self
            .owners
            .as_mut()
            .and_then(|owners| owners.filters.remove(filter));
        match asked {
            None => self.lose_filter(filter),
            Some(asked) => self.refuse_claims(filter, asked),
        }
    }

    fn refuse_claims(&mut self, filter: &str, asked: Asked) {
        for (shard, claim) in asked.claims {
            self.answer_claim(shard, filter.into(), claim, false);
        }
    }

    /// A filter is to be given up for another node.
    pub(super) fn filter_revoked(&mut self, filter: &str, epoch: u64) {
        self.lose_filter(filter);
        if let Some(owners) = &mut self.owners {
            let client = exclusive_name(filter);
            owners.request(OwnerRequest::Revoked {
                client,
                epoch,
                keeps: false,
            });
        }
    }

    /// Whoever has a filter here has it no more.
    fn lose_filter(&mut self, filter: &str) {
        let Some(session) = self.exclusive.remove(filter) else {
            return;
        };
        if session.shard == self.id {
            self.filter_lost(filter, session);
        } else if let Some(peer) = self.peers.get_mut(usize::from(session.shard)) {
            let filter = filter.into();
            peer.push(Item::FilterLost { filter, session });
        }
    }

    /// A session of this shard has lost a filter: if it is not on its way to another node with
    /// it, its subscription ends, and its client is disconnected so that it hears of it.
    pub(super) fn filter_lost(&mut self, filter: &str, session: SessionRef) {
        let key = session.session;
        let found = self.sessions.get(key);
        let Some(found) = found.filter(|found| found.serial == session.serial) else {
            return;
        };
        let owners = self.owners.as_ref();
        if owners.is_some_and(|owners| owners.moves.is_leaving(&found.client_id)) {
            return;
        }
        let (connection, client) = (found.connection, found.client_id.clone());
        let text = format!("{EXCLUSIVE_PREFIX}{filter}");
        if let Ok(subscription) = Subscription::parse(&text, u16::MAX)
            && self.unsubscribe(key, &subscription)
        {
            self.forget_subscription(key, &text);
            self.session_unsubscribed(connection, &text);
        }
        self.end_for_lost_filter(connection, &client, filter);
    }

    fn end_for_lost_filter(&mut self, connection: u32, client: &str, filter: &str) {
        info!("{client} has lost its exclusive subscription to {filter}: another client has it");
        if connection != NONE {
            self.disconnect(connection, ReasonCode::QUOTA_EXCEEDED);
        }
    }

    /// A session goes on here after all: what it has for itself may have been given up for the
    /// node that was to have it.
    pub(super) fn hold_filters_again(&mut self, key: u32) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let (held, serial) = (&session.subscriptions, session.serial);
        if !held.has_rare() {
            return;
        }
        let filters = held.plain().filter(|filter| held.is_exclusive(*filter));
        let texts = filters.map(|filter| self.subscriptions.text(filter));
        let session = SessionRef {
            shard: self.id,
            session: key,
            serial,
        };
        for text in texts.collect::<Vec<_>>() {
            let (owner, holder) = (self.shard_of(&text), self.holder(key));
            let filter: Box<str> = text.into();
            if owner == self.id {
                self.hold_filter(&filter, session, &holder);
            } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                peer.push(Item::Hold {
                    filter,
                    session,
                    holder,
                });
            }
        }
    }

    /// A session goes on that has had a filter.
    pub(super) fn hold_filter(&mut self, filter: &str, session: SessionRef, holder: &str) {
        let owner = *self.exclusive.entry(filter.into()).or_insert(session);
        if owner == session {
            if let Some(owners) = &mut self.owners {
                // Answered at once if it is this node's still.
                owners.request(OwnerRequest::ClaimFilter {
                    client: exclusive_name(filter),
                    holder: holder.into(),
                    is_former: true,
                });
            }
            return;
        }
        if session.shard == self.id {
            self.filter_lost(filter, session);
        } else if let Some(peer) = self.peers.get_mut(usize::from(session.shard)) {
            let filter = filter.into();
            peer.push(Item::FilterLost { filter, session });
        }
    }

    /// When somebody waits no longer for a filter.
    pub(super) fn next_filter_ms(&self) -> Option<u64> {
        let filters = self.owners.as_ref()?.filters.values();
        filters.map(|asked| asked.until_ms).min()
    }

    /// Whoever has waited too long for a filter does not get it.
    pub(super) fn tick_filters(&mut self) {
        let now_ms = self.now_ms;
        let Some(owners) = &mut self.owners else {
            return;
        };
        if owners.filters.is_empty() {
            return;
        }
        let late = owners
            .filters
            .extract_if(|_, asked| asked.until_ms <= now_ms);
        for (filter, asked) in late.collect::<Vec<_>>() {
            self.refuse_claims(&filter, asked);
        }
    }

    /// The answer to a claim.
    pub(super) fn claimed(&mut self, filter: &str, claim: Claim, granted: bool) {
        let session = self.sessions.get(claim.session.session);
        let session = session.filter(|session| session.serial == claim.session.serial);
        // Several may have been asked for at once.
        let has_room = session.is_some_and(|session| {
            let found = Filter::parse(filter, u16::MAX).ok();
            let held = &session.subscriptions;
            let found = found.and_then(|filter| self.subscriptions.find(filter));
            held.len() < self.limits.max_subscriptions as usize
                || found.is_some_and(|filter| held.has(filter))
        });
        let connection = session.map_or(NONE, |session| session.connection);
        match Filter::parse(filter, u16::MAX) {
            Ok(filter) if granted && has_room => {
                let replay = self.subscribe_exclusively(filter, &claim);
                let text = format!("$exclusive/{}", filter.as_str());
                self.session_subscribed(connection, &text, claim.options);
                let (options, identifier) = (claim.options, claim.identifier);
                let key = claim.session.session;
                if self.record_subscription(key, &text, options, identifier) {
                    self.wait_with_ticket(claim.ticket);
                }
                self.granted_later(claim.ticket, replay);
            }
            _ => {
                if granted {
                    self.release_filter(filter, claim.session);
                }
                self.stats.subscribe_errors.add(1);
                self.refused_later(claim.ticket, claim.index, ReasonCode::QUOTA_EXCEEDED);
                self.arrived_without(filter, &claim);
            }
        }
        self.ticket_done(claim.ticket);
    }

    /// A session that has come from another node has not got a filter that it had there.
    fn arrived_without(&mut self, filter: &str, claim: &Claim) {
        let ticket = self.tickets.get(claim.ticket);
        if !ticket.is_some_and(|ticket| matches!(ticket.then, Then::Arrived { .. })) {
            return;
        }
        let key = claim.session.session;
        let session = self.sessions.get(key);
        if let Some(session) = session.filter(|found| found.serial == claim.session.serial) {
            let (connection, client) = (session.connection, session.client_id.clone());
            self.forget_subscription(key, &format!("{EXCLUSIVE_PREFIX}{filter}"));
            self.end_for_lost_filter(connection, &client, filter);
        }
    }

    fn subscribe_exclusively(&mut self, filter: Filter<'_>, claim: &Claim) -> Option<ReplayStart> {
        let key = claim.session.session;
        let new = self.subscribe_own(key, filter, claim.options, claim.identifier);
        if let Some(id) = self.subscriptions.find(filter)
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.subscriptions.set_exclusive(id, true);
        }
        let replays = match claim.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => new,
            RetainHandling::DontSend => false,
        };
        replays.then(|| ReplayStart {
            filter: filter.as_str().into(),
            qos: claim.options.qos,
            identifier: claim.identifier,
        })
    }

    /// The session has the filter for itself no more, if it had.
    pub(super) fn end_exclusive(&mut self, session_key: u32, filter: FilterId, text: &str) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        if session.subscriptions.set_exclusive(filter, false) {
            let session = SessionRef {
                shard: self.id,
                session: session_key,
                serial: session.serial,
            };
            self.release_filter(text, session);
        }
    }

    /// Tells the shard that knows who has a filter that a session does not want it.
    pub(super) fn release_filter(&mut self, filter: &str, session: SessionRef) {
        let owner = self.shard_of(filter);
        if owner == self.id {
            self.release_claim(filter, session);
        } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
            let filter = filter.into();
            peer.push(Item::Release { filter, session });
        }
    }

    /// A session does not want a filter any more.
    pub(super) fn release_claim(&mut self, filter: &str, session: SessionRef) {
        if self.exclusive.get(filter) == Some(&session) {
            self.exclusive.remove(filter);
            if let Some(owners) = &mut self.owners {
                let client = exclusive_name(filter);
                owners.request(OwnerRequest::Release { client });
            }
        }
    }
}
