//! Answers to those who look after the broker. Each takes a bounded time.

use protocol::topic::Filter;
use protocol::wire::{ReasonCode, SubscriptionOptions};

use super::connection::{Connection, Phase};
use super::session::Session;
use super::{NONE, Shard};
use crate::operator::{
    Answer, Client, Connected, Held, Listed, MemberOf, Part, Patience, Pick, Place, Question, Step,
};

/// Places of a table that one answer looks at.
pub(super) const SLOTS_MAX: u32 = 512;

/// Entries of one answer.
pub(super) const ENTRIES_MAX: u32 = 128;

/// Bytes of text in one answer, but for the last entry.
const TEXT_MAX: usize = 64 << 10;

/// An answer to be filled.
struct Filling<T> {
    listed: Listed<T>,
    skip: u64,
    most: usize,
    bytes: usize,
}

impl<T> Filling<T> {
    fn new(part: &Part) -> Self {
        Self {
            listed: Listed {
                entries: Vec::new(),
                skipped: 0,
                next: None,
            },
            skip: part.skip,
            most: part.most.min(ENTRIES_MAX) as usize,
            bytes: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.listed.entries.len() >= self.most || self.bytes >= TEXT_MAX
    }

    /// Whether the next entry is one of those that are passed over.
    fn skips(&mut self) -> bool {
        let skips = self.listed.skipped < self.skip;
        self.listed.skipped += u64::from(skips);
        skips
    }

    fn push(&mut self, entry: T, bytes: usize) {
        self.bytes += bytes;
        self.listed.entries.push(entry);
    }

    fn end(mut self, next: Option<Place>) -> Listed<T> {
        self.listed.next = next;
        self.listed
    }
}

impl Shard {
    /// Answers a question.
    pub(crate) fn tell_operator(&mut self, question: &Question) -> Answer {
        match question {
            Question::Clients(part, pick) => Answer::Clients(self.list_clients(part, pick)),
            Question::Client(client_id) => {
                let found = self.find_session(client_id);
                let session = found.and_then(|key| self.sessions.get(key));
                Answer::Client(session.map(|session| Box::new(self.client(session))))
            }
            Question::Kick(client_id) => Answer::Kick(self.kick(client_id)),
            Question::SendAway(part, patience) => {
                Answer::SendAway(self.end_some(part, *patience, Self::send_drained_away))
            }
            Question::EndConnections(part, patience) => {
                Answer::EndConnections(self.end_some(part, *patience, Self::end_for_shutdown))
            }
            Question::HandOver(part) => self.hand_some_over(part),
            Question::Subscriptions(part) => {
                Answer::Subscriptions(Some(self.list_subscriptions(part)))
            }
            Question::SubscriptionsOf(client_id, part) => {
                Answer::Subscriptions(self.list_subscriptions_of(client_id, part))
            }
            Question::Filters(part) => Answer::Filters(self.list_filters(part)),
            Question::HasFilters(filters) => {
                let has = |filter: &str| self.find_filter(filter).is_some();
                Answer::HasFilters(filters.iter().map(|it| has(it)).collect())
            }
            Question::Members(members) => {
                let options = members.iter().map(|member| self.options_of(member));
                Answer::Members(options.collect())
            }
        }
    }

    /// Disconnects a client and ends its session. Says whether there was one.
    fn kick(&mut self, client_id: &str) -> bool {
        let Some(key) = self.find_session(client_id) else {
            return false;
        };
        let connection = self.sessions.get(key).map_or(NONE, |it| it.connection);
        if connection != NONE {
            self.disconnect(connection, ReasonCode::ADMINISTRATIVE_ACTION);
        }
        // One that expires at once has ended with its connection.
        if self.find_session(client_id) == Some(key) {
            self.end_session(key);
        }
        true
    }

    /// Sends a client where the clients of this node go while it is emptied.
    fn send_drained_away(&mut self, key: u32) {
        let reference = self.common.drain.reference();
        self.send_away(key, &reference, false);
    }

    /// Ends connections; their sessions stay.
    fn end_some(
        &mut self,
        part: &Part,
        patience: Patience,
        mut end_one: impl FnMut(&mut Self, u32),
    ) -> Step {
        let end = self.sessions.end();
        let last = part.from.slot.saturating_add(SLOTS_MAX).min(end);
        let (mut done, mut left) = (0, 0);
        for slot in part.from.slot..last {
            if done >= part.most.min(ENTRIES_MAX) {
                let next = Some(at(slot, 0));
                return Step { done, left, next };
            }
            let session = self.sessions.get(slot);
            let connection = session.map_or(NONE, |session| session.connection);
            if connection == NONE {
                continue;
            }
            if patience == Patience::Some && self.has_to_complete(slot) {
                left += 1;
            } else {
                end_one(self, connection);
                done += 1;
            }
        }
        let next = (last < end).then_some(at(last, 0));
        Step { done, left, next }
    }

    fn list_clients(&self, part: &Part, pick: &Pick) -> Listed<Client> {
        let mut filling = Filling::new(part);
        let end = self.sessions.end();
        let last = part.from.slot.saturating_add(SLOTS_MAX).min(end);
        for slot in part.from.slot..last {
            if filling.is_full() {
                return filling.end(Some(at(slot, 0)));
            }
            let Some(session) = self.sessions.get(slot) else {
                continue;
            };
            if self.is_picked(session, pick) && !filling.skips() {
                filling.push(self.client(session), session.client_id.len());
            }
        }
        filling.end((last < end).then_some(at(last, 0)))
    }

    fn is_picked(&self, session: &Session, pick: &Pick) -> bool {
        let is_connected = session.connection != NONE;
        pick.connected.is_none_or(|wanted| wanted == is_connected)
            && pick
                .like
                .as_deref()
                .is_none_or(|text| session.client_id.contains(text))
            && pick.username.as_deref().is_none_or(|wanted| {
                let connection = self.connections.get(session.connection);
                connection.and_then(|it| it.username.as_deref()) == Some(wanted)
            })
    }

    fn client(&self, session: &Session) -> Client {
        let connection = self.connections.get(session.connection);
        let connection = connection.filter(|connection| connection.phase == Phase::Live);
        let expiry_ms = u64::from(session.expiry_s) * 1000;
        let is_known = session.connection == NONE && session.ends_ms != u64::MAX;
        Client {
            client_id: session.client_id.clone(),
            connection: connection.map(|connection| self.connected(connection)),
            expiry_s: session.expiry_s,
            disconnected_at_ms: is_known
                .then(|| (self.epoch_ms + session.ends_ms).saturating_sub(expiry_ms)),
            subscriptions: session.subscriptions.len() as u32,
            inflight: session.outflow.in_flight().into(),
            queued: session.outflow.queued() as u32,
            awaiting_release: session.inflow.len() as u32,
            dropped: session.dropped,
            durable: session.durable,
        }
    }

    fn connected(&self, connection: &Connection) -> Connected {
        let percent = u32::from(self.limits.keepalive_multiplier_percent).max(1);
        Connected {
            username: connection.username.clone(),
            ip_address: connection.remote.host(),
            port: connection.remote.port,
            listener: connection.remote.listener,
            version: connection.version,
            keep_alive_s: connection.silence_ms_max / 10 / percent,
            connected_at_ms: connection.connected_unix_ms,
        }
    }

    fn list_subscriptions(&self, part: &Part) -> Listed<Held> {
        let mut filling = Filling::new(part);
        let end = self.sessions.end();
        let last = part.from.slot.saturating_add(SLOTS_MAX).min(end);
        let mut offset = part.from.offset;
        for slot in part.from.slot..last {
            if filling.is_full() {
                return filling.end(Some(at(slot, offset)));
            }
            if let Some(session) = self.sessions.get(slot)
                && let Some(offset) = self.fill_subscriptions(slot, session, offset, &mut filling)
            {
                return filling.end(Some(at(slot, offset)));
            }
            offset = 0;
        }
        filling.end((last < end).then_some(at(last, 0)))
    }

    fn list_subscriptions_of(&self, client_id: &str, part: &Part) -> Option<Listed<Held>> {
        let key = self.find_session(client_id)?;
        let session = self.sessions.get(key)?;
        let mut filling = Filling::new(part);
        let next = self.fill_subscriptions(key, session, part.from.offset, &mut filling);
        Some(filling.end(next.map(|offset| at(key, offset))))
    }

    /// Adds subscriptions of one session, from one on. Gives the first one that found no room.
    fn fill_subscriptions(
        &self,
        key: u32,
        session: &Session,
        from: u32,
        filling: &mut Filling<Held>,
    ) -> Option<u32> {
        let held = &session.subscriptions;
        let own = held.own().map(|filter| (Some(filter), None));
        let shared = held.shared().map(|name| (None, Some(name)));
        let all = own.chain(shared).enumerate().skip(from as usize);
        for (looked_at, (number, (filter, name))) in all.enumerate() {
            if filling.is_full() || looked_at >= SLOTS_MAX as usize {
                return Some(number as u32);
            }
            if filling.skips() {
                continue;
            }
            let text = match (filter, name) {
                (Some(filter), _) => self.subscriptions.text(filter),
                (_, Some(name)) => name.filter.to_string(),
                (None, None) => continue,
            };
            let bytes = text.len() + session.client_id.len();
            let options = filter.and_then(|id| self.subscriptions.subscriber(id, key));
            let entry = Held {
                client_id: session.client_id.clone(),
                filter: text,
                group: name.map(|name| name.group.clone()),
                exclusive: filter.is_some_and(|filter| held.is_exclusive(filter)),
                options: options.map(|subscriber| subscriber.options),
                session: key,
            };
            filling.push(entry, bytes);
        }
        None
    }

    fn list_filters(&self, part: &Part) -> Listed<String> {
        let mut filling = Filling::new(part);
        let (filters, next) = self.subscriptions.filters_part(part.from.slot, SLOTS_MAX);
        for (number, filter) in filters.into_iter().enumerate() {
            // Groups of other nodes are known here, too.
            if (number as u32) < part.from.offset || !self.subscriptions.is_used(filter) {
                continue;
            }
            if filling.is_full() {
                return filling.end(Some(at(part.from.slot, number as u32)));
            }
            if !filling.skips() {
                let text = self.subscriptions.text(filter);
                let bytes = text.len();
                filling.push(text, bytes);
            }
        }
        filling.end(next.map(|slot| at(slot, 0)))
    }

    fn find_filter(&self, text: &str) -> Option<protocol::subscriptions::FilterId> {
        let filter = Filter::parse(text, u16::MAX).ok()?;
        let found = self.subscriptions.find(filter)?;
        self.subscriptions.is_used(found).then_some(found)
    }

    /// What a member of a group has asked for, if the group is here.
    fn options_of(&self, member: &MemberOf) -> Option<SubscriptionOptions> {
        let filter = Filter::parse(&member.filter, u16::MAX).ok()?;
        let group = self.subscriptions.find_group(&member.group, filter)?;
        let member = self
            .subscriptions
            .member(group, member.shard, member.session);
        member.map(|member| member.options)
    }
}

fn at(slot: u32, offset: u32) -> Place {
    Place { slot, offset }
}
