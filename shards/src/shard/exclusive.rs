//! Exclusive subscriptions: a filter that one session on the node has for itself.
//!
//! Who has a filter is known to the shard that the filter hashes to. A session's shard asks
//! it before it makes the subscription, and tells it when the subscription ends; so two that
//! ask at once are told apart there. Otherwise the subscription is like any other.

use protocol::subscriptions::FilterId;
use protocol::topic::Filter;
use protocol::wire::{ReasonCode, RetainHandling};

use super::items::{Claim, Item, SessionRef};
use super::subscribe::ReplayStart;
use super::{NONE, Shard};

/// What became of a claim.
pub(super) enum Claimed {
    /// The filter is the session's.
    Granted(Option<ReplayStart>),
    /// Another session has it.
    Refused,
    /// Another shard has to answer.
    Asked,
}

impl Shard {
    /// Asks for a filter for a session of this shard, and subscribes the session if the
    /// answer is there at once.
    pub(super) fn claim(&mut self, filter: Filter<'_>, claim: Claim) -> Claimed {
        let owner = self.shard_of(filter.as_str());
        if owner != self.id {
            if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
                let filter = filter.as_str().into();
                peer.push(Item::Claim { filter, claim });
            }
            return Claimed::Asked;
        }
        if !self.grant(filter.as_str(), claim.session) {
            return Claimed::Refused;
        }
        Claimed::Granted(self.subscribe_exclusively(filter, &claim))
    }

    /// A session of another shard asks for a filter of this one.
    pub(super) fn claim_for(&mut self, from: u16, filter: Box<str>, claim: Claim) {
        let granted = self.grant(&filter, claim.session);
        if let Some(peer) = self.peers.get_mut(usize::from(from)) {
            peer.push(Item::Claimed {
                filter,
                claim,
                granted,
            });
        }
    }

    /// Gives a filter to a session, unless another has it.
    fn grant(&mut self, filter: &str, session: SessionRef) -> bool {
        if let Some(holder) = self.exclusive.get(filter) {
            return *holder == session;
        }
        self.exclusive.insert(filter.into(), session);
        true
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
                self.granted_later(claim.ticket, replay);
            }
            _ => {
                if granted {
                    self.release_filter(filter, claim.session);
                }
                self.stats.subscribe_errors.add(1);
                self.refused_later(claim.ticket, claim.index, ReasonCode::QUOTA_EXCEEDED);
            }
        }
        self.ticket_done(claim.ticket);
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
        }
    }
}
