//! The start: what was stored comes back into the tables, before anybody connects.
//!
//! Every shard takes its part ([`Shard::restore`]); when the routes and groups of all of them
//! are in force ([`Shard::is_restored`] on each), they begin to serve ([`Shard::serve`]), which
//! is when wills and delayed messages that are due go out.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use protocol::hash::Seed;
use protocol::session::{Delivery, Outflow, StoredAs};
use protocol::topic::{Subscription, TopicName};
use protocol::wire::QoS;
use shard_store::{
    Division, SessionNumber, SessionRecord, Stored, StoredEntry, StoredRetained, StoredSession,
    StoredSubscription,
};

use super::held::SharedName;
use super::replay::Retained;
use super::session::{Session, Will};
use super::subscribe::{Then, Ticket};
use super::{NONE, Shard};
use crate::nodes::OwnerRequest;

/// Parts what was stored among the shards. The first one is told how, and gets what is known of
/// streams, if it was another division for which that holds.
pub(crate) fn part(stored: Stored, division: Division) -> Vec<Stored> {
    let (seed, count) = (Seed::new(division.seed), division.shards);
    let mut parts: Vec<Stored> = (0..count).map(|_| Stored::default()).collect();
    let is_new = stored.division != Some(division);
    for received in stored.received {
        let shard = match is_new {
            true => 0,
            false => received.stream % count,
        };
        if let Some(part) = parts.get_mut(usize::from(shard)) {
            part.received.push(received);
        }
    }
    if let Some(first) = parts.first_mut().filter(|_| is_new) {
        first.division = Some(division);
    }
    let shard = |name: &str| (seed.hash(name) % u64::from(count)) as usize;
    for session in stored.sessions {
        if let Some(part) = parts.get_mut(shard(&session.record.client_id)) {
            part.sessions.push(session);
        }
    }
    for retained in stored.retained {
        if let Some(part) = parts.get_mut(shard(retained.message.topic())) {
            part.retained.push(retained);
        }
    }
    for delayed in stored.delayed {
        if let Some(part) = parts.get_mut(shard(delayed.message.topic())) {
            part.delayed.push(delayed);
        }
    }
    disown(&mut parts);
    parts
}

/// A message whose entries are now of several shards is nobody's to drop: each shard counts
/// only its own. The next start finds it without entries and drops it then.
fn disown(parts: &mut [Stored]) {
    let mut owners: HashMap<u64, usize> = HashMap::new();
    let mut divided: HashSet<u64> = HashSet::new();
    for (index, part) in parts.iter().enumerate() {
        let entries = part.sessions.iter().flat_map(|session| &session.entries);
        for message in entries.filter_map(|entry| entry.shared) {
            if *owners.entry(message).or_insert(index) != index {
                divided.insert(message);
            }
        }
    }
    let sessions = parts.iter_mut().flat_map(|part| &mut part.sessions);
    for entry in sessions.flat_map(|session| &mut session.entries) {
        if entry
            .shared
            .is_some_and(|message| divided.contains(&message))
        {
            entry.shared = None;
        }
    }
}

impl Shard {
    /// Takes what was stored of this shard's sessions and topics. Once, and first of all.
    pub(crate) fn restore(&mut self, stored: Stored) {
        let then = Then::Restored;
        let ticket = self.tickets.insert(Ticket { missing: 1, then });
        self.is_restoring = true;
        self.delayed.held = true;
        self.restore_positions(stored.received, stored.division);
        let mut missing = 1;
        let mut sessions = stored.sessions;
        // Of two with one client identifier the later one counts.
        sessions.sort_by_key(|session| Reverse(session.number));
        for session in sessions {
            missing += self.restore_session(session, ticket);
        }
        for retained in stored.retained {
            self.restore_retained(retained);
        }
        let mut delayed = stored.delayed;
        delayed.sort_by_key(|delayed| delayed.number);
        for delayed in delayed {
            self.restore_delayed(delayed);
        }
        missing += u32::from(self.wait_for_routes(ticket));
        if let Some(held) = self.tickets.get_mut(ticket) {
            held.missing = missing;
        }
        self.ticket_done(ticket);
    }

    /// Whether everything that was stored is in force.
    pub(crate) fn is_restored(&self) -> bool {
        !self.is_restoring
    }

    /// All shards have their part: time goes on for the sessions whose clients are away, and
    /// for delayed messages.
    pub(crate) fn serve(&mut self) {
        self.delayed.held = false;
        let sessions: Vec<u32> = self.sessions.keys().collect();
        for key in sessions {
            let Some(session) = self.sessions.get(key) else {
                continue;
            };
            if self.find_session(&session.client_id) != Some(key) {
                self.end_session(key);
                continue;
            }
            if let Some(owners) = &mut self.owners {
                let client = session.client_id.clone();
                owners.request(OwnerRequest::ClaimFormer { client });
            }
            if session.connection == NONE {
                self.watch_absence(key);
            }
        }
    }

    /// Returns how many answers to wait for.
    pub(super) fn restore_session(&mut self, stored: StoredSession, ticket: u32) -> u32 {
        // A crash came between the end of this one and the start of the next: it ends when all
        // serve, with its will and what it leaves to the groups it was a member of.
        let is_superseded = self.find_session(&stored.record.client_id).is_some();
        let was_connected = stored.record.ends_ms.is_none();
        // A QoS 1 message is sent before it is on the disk that it was: of those of a client
        // that was connected nobody knows. When it went away, all was on the disk.
        let perhaps_sent = match stored.record.ends_ms {
            None => u64::MAX,
            Some(_) => stored.record.perhaps_sent,
        };
        let key = self.restore_record(stored.number, stored.record, is_superseded);
        let mut joins = 0;
        let subscriptions = stored.subscriptions.iter();
        for subscription in subscriptions.filter(|one| !is_superseded || one.is_shared()) {
            joins += u32::from(self.restore_subscription(key, subscription, ticket));
        }
        if let Some(session) = self.sessions.get_mut(key) {
            for packet_id in stored.held {
                session.inflow.hold(packet_id);
            }
        }
        self.restore_entries(key, stored.entries, perhaps_sent);
        if was_connected {
            // Its end, and what was perhaps sent, count from now, also after another crash.
            self.record_session(key);
        }
        joins
    }

    /// Puts back what was in flight and what was queued. QoS 1 messages up to the entry
    /// `perhaps_sent` are sent with DUP.
    fn restore_entries(&mut self, key: u32, entries: Vec<StoredEntry>, perhaps_sent: u64) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let mut sent = Vec::new();
        for entry in entries {
            if let (Some(message), Some(journal)) = (entry.shared, &mut self.journal) {
                journal.count_shared(message);
            }
            if let Some(membership) = entry.membership {
                session.subscriptions.restore_number(membership);
            }
            let in_flight = entry.sent;
            let mut delivery = delivery(entry);
            if let Some(state) = in_flight {
                sent.push((state.packet_id, state.received, delivery));
                continue;
            }
            // That a QoS 2 message is sent is on the disk before.
            delivery.dup =
                delivery.qos == QoS::AtLeastOnce && delivery.stored.entry <= perhaps_sent;
            let priority = self.priorities.of(delivery.message.topic());
            session.outflow.restore_queued(delivery, priority);
        }
        session.outflow.restore_in_flight(sent);
    }

    /// A session whose connection, if it had one, ended with the broker.
    fn restore_record(
        &mut self,
        number: SessionNumber,
        record: SessionRecord,
        is_superseded: bool,
    ) -> u32 {
        let now_ms = self.now_ms;
        let in_s = |seconds: u32| match seconds {
            u32::MAX => u64::MAX,
            seconds => now_ms + u64::from(seconds) * 1000,
        };
        let expiry_s = record.expiry_s;
        let window = NonZeroU16::new(self.limits.max_inflight).unwrap_or(NonZeroU16::MIN);
        let will = record.will.map(|will| {
            Box::new(Will {
                message: will.message,
                delay_s: will.delay_s,
                expiry_s: will.expiry_s,
                due_ms: will.due_ms.unwrap_or_else(|| in_s(will.delay_s)),
            })
        });
        let serial = self.next_serial();
        let outflow = Outflow::new(window, expiry_s > 0);
        let session = Session {
            expiry_s,
            will,
            ends_ms: record.ends_ms.unwrap_or_else(|| in_s(expiry_s)),
            number: number.0,
            durable: expiry_s > 0,
            ..Session::new(record.client_id, serial, outflow)
        };
        if is_superseded {
            // It is not found by its name.
            return self.sessions.insert(session);
        }
        self.insert_session(session)
    }

    /// True if the owner of a group has to answer.
    fn restore_subscription(&mut self, key: u32, stored: &StoredSubscription, ticket: u32) -> bool {
        let Ok(subscription) = Subscription::parse(&stored.filter, u16::MAX) else {
            return false;
        };
        if let (Some(group), Some(number)) = (subscription.group, stored.membership)
            && let Some(session) = self.sessions.get_mut(key)
        {
            let name = SharedName {
                group: group.into(),
                filter: subscription.filter.as_str().into(),
            };
            let held = &mut session.subscriptions;
            held.restore_shared(self.seed, &name, number);
        }
        let (options, identifier) = (stored.options, stored.identifier);
        let place = (ticket, 0);
        let outcome = self.enter_subscription(key, &subscription, options, identifier, place);
        outcome.waits
    }

    fn restore_retained(&mut self, stored: StoredRetained) {
        let StoredRetained { message, version } = stored;
        self.retained_quota.saw(version);
        let name = Arc::clone(&message);
        if let Ok(topic) = TopicName::parse(name.topic(), u16::MAX) {
            self.retained_quota.restore(message.size());
            self.put_retained(topic, Retained { message, version });
        }
    }
}

fn delivery(entry: StoredEntry) -> Delivery {
    Delivery {
        message: entry.message,
        identifiers: entry.identifiers,
        qos: entry.qos,
        retain: entry.retain,
        stored: StoredAs {
            entry: entry.number,
            message: entry.shared.unwrap_or(0),
        },
        membership: entry.membership,
        dup: false,
    }
}
