//! Retained messages: kept by the shard that their topic hashes to, sent to a subscriber
//! at the pace at which it takes them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use protocol::message::Message;
use protocol::topic::{Filter, TopicName};
use protocol::wire::{QoS, ReasonCode};
use shard_store::Change;

use super::common::is_brokers_own;
use super::deliver::Receiver;
use super::frames::Outgoing;
use super::items::{Item, ReplayCursor, SessionRef};
use super::plan::Plan;
use super::subscribe::ReplayStart;
use super::transaction::Touched;
use super::{NONE, Shard};

/// Retained messages looked up at a time.
const CHUNK: usize = 128;

/// Replays of one session under way at a time.
const ACTIVE_MAX: usize = 16;

/// Look-ups for one replay at a time: what matches nothing takes several turns.
const LOOKUPS: usize = 8;

/// Replays that are not finished and wait for nothing, gone on with in one turn.
const UNFINISHED_PER_TURN: usize = 8;

/// Topics of which a session with replays is known to have got a newer message.
const NEWER_MAX: usize = 1024;

/// Expired retained messages forgotten in one turn.
const EXPIRED_PER_TURN: usize = 256;

/// Output of a subscriber above which the replay waits, in bytes; a lower limit of all
/// output counts as well.
const OUTPUT_HIGH: usize = 64 << 10;

/// A retained message, or the removal of one, and its version: the largest is the newest of its
/// topic, on all nodes. 0 if it was stored without.
#[derive(Clone, Debug)]
pub(crate) struct Retained {
    pub(crate) message: Arc<Message>,
    pub(crate) version: u64,
}

/// The retained messages of one new subscription, on their way to the subscriber. Lives on
/// the subscriber's shard.
#[derive(Debug)]
pub(super) struct Replay {
    session: u32,
    serial: u32,
    filter: Box<str>,
    qos: QoS,
    identifier: u32,
    /// Shards still to ask; the last one is being asked.
    sources: Vec<u16>,
    /// Another shard has been asked and has not answered.
    asked: bool,
    after: Option<ReplayCursor>,
    found: VecDeque<Retained>,
    /// On the list of those that wait for room.
    stalled: bool,
}

/// The replays of one session. At most [`ACTIVE_MAX`] times the look-ups and the found
/// messages of one, and as many that wait as a session may have subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    /// Under way.
    active: usize,
    /// Those that begin when others are over.
    waiting: VecDeque<ReplayStart>,
    /// The last message to be retained that the session got since they began, by topic, of
    /// topics of other shards.
    newer: HashMap<Box<str>, Retained>,
}

/// The retained messages that expire, by when they do; others are not among them. Where a
/// message lies in memory tells it from others that expire at the same time.
#[derive(Debug, Default)]
pub(super) struct Expiries(BTreeMap<(u64, usize), Arc<Message>>);

impl Expiries {
    fn key(message: &Arc<Message>) -> (u64, usize) {
        (message.expires_ms, Arc::as_ptr(message).addr())
    }

    fn insert(&mut self, message: &Arc<Message>) {
        if message.expires_ms != u64::MAX {
            self.0.insert(Self::key(message), Arc::clone(message));
        }
    }

    fn remove(&mut self, message: &Arc<Message>) {
        if message.expires_ms != u64::MAX {
            self.0.remove(&Self::key(message));
        }
    }

    /// When the next one expires.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let ((expires_ms, _), _) = self.0.first_key_value()?;
        Some(*expires_ms)
    }

    fn pop_expired(&mut self, now_ms: u64) -> Option<Arc<Message>> {
        let first = self.0.first_entry()?;
        (first.key().0 <= now_ms).then(|| first.remove())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Shard {
    /// Keeps, or with an empty payload forgets, the retained message of a topic, unless a newer
    /// one has come before. False when the store is full.
    pub(super) fn store_retained(&mut self, retained: Retained) -> bool {
        let message = Arc::clone(&retained.message);
        let version = retained.version;
        let Ok(topic) = TopicName::parse(message.topic(), u16::MAX) else {
            return false;
        };
        if self.is_outdated(topic, &retained) {
            return true;
        }
        if message.payload().is_empty() {
            self.forget_retained(topic);
            self.note_removal(topic.as_str(), version);
            let topic = topic.as_str().into();
            self.record_retained(message.qos, Change::Forget { topic });
            return true;
        }
        if is_brokers_own(message.topic()) {
            let new = self.retained.insert(topic, retained).is_none();
            self.own_retained += usize::from(new);
            return true;
        }
        if self.store_is_full() {
            return false;
        }
        let old = self.retained.get(topic).map(|old| old.message.size());
        let has_room = self.retained_quota.take(message.size(), old, &self.limits);
        if has_room {
            self.put_retained(topic, retained);
            self.record_retained(message.qos, Change::Retain { message, version });
        }
        has_room
    }

    /// Puts a message into the tree in place of the one of its topic.
    pub(super) fn put_retained(&mut self, topic: TopicName<'_>, retained: Retained) {
        self.retained_expiries.insert(&retained.message);
        if let Some(replicas) = &mut self.replicas {
            replicas.removals.remove(topic.as_str());
        }
        if let Some(old) = self.retained.insert(topic, retained) {
            self.retained_expiries.remove(&old.message);
        }
    }

    /// Forgets retained messages that have expired, so that they leave their room to others
    /// though nobody looks for them.
    pub(super) fn forget_expired(&mut self) {
        if let Some(replicas) = &mut self.replicas {
            replicas.removals.forget(self.now_ms);
        }
        for _ in 0..EXPIRED_PER_TURN {
            let Some(message) = self.retained_expiries.pop_expired(self.now_ms) else {
                return;
            };
            self.expire_retained(&message);
        }
    }

    fn expire_retained(&mut self, message: &Message) {
        if let Ok(topic) = TopicName::parse(message.topic(), u16::MAX) {
            if let Some(version) = self.forget_retained(topic) {
                self.note_removal(topic.as_str(), version);
            }
            let topic = topic.as_str().into();
            self.record_retained(QoS::AtMostOnce, Change::Forget { topic });
        }
    }

    /// Stores a change of a retained message. QoS 0 waits for nothing. Always at once, also for
    /// an atomic transaction: it would be stored when that is complete, after a newer message
    /// of the topic. A crash before the transaction is stored brings the message again.
    fn record_retained(&mut self, qos: QoS, change: Change) {
        if self.journal.is_none() {
            return;
        }
        self.touched.stored |= qos != QoS::AtMostOnce;
        if let Some(journal) = &mut self.journal {
            journal.push(change);
        }
    }

    /// Returns the version of what was retained.
    fn forget_retained(&mut self, topic: TopicName<'_>) -> Option<u64> {
        let old = self.retained.remove(topic)?;
        self.retained_expiries.remove(&old.message);
        self.retained_quota.give_back(old.message.size());
        Some(old.version)
    }

    /// Sends the retained messages that a new subscription matches, at once or when fewer
    /// replays of its session are under way.
    pub(super) fn start_replay(&mut self, session_key: u32, start: ReplayStart) {
        let none = self.retained.len() == self.own_retained && !start.filter.starts_with('$');
        if self.count == 1 && none {
            return;
        }
        let waiting_max = self.limits.max_subscriptions as usize;
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let replays = session.replays.get_or_insert_default();
        if replays.active < ACTIVE_MAX {
            replays.active += 1;
            let serial = session.serial;
            let replay = self.begin_replay(session_key, serial, start);
            self.advance_replay(replay);
        } else if replays.waiting.len() < waiting_max {
            replays.waiting.push_back(start);
        } else {
            let connection = session.connection;
            self.disconnect(connection, ReasonCode::QUOTA_EXCEEDED);
        }
    }

    fn begin_replay(&mut self, session: u32, serial: u32, start: ReplayStart) -> u32 {
        let wildcard = Filter::parse(&start.filter, u16::MAX).is_ok_and(|f| f.has_wildcard());
        let sources = if wildcard {
            // This shard is looked through first, with SUBACK: what is published when others
            // have answered reaches the subscriber as any message, not once more from here.
            let others = (0..self.count).filter(|&shard| shard != self.id);
            others.chain([self.id]).collect()
        } else {
            vec![self.shard_of(&start.filter)]
        };
        self.replays.insert(Replay {
            session,
            serial,
            filter: start.filter,
            qos: start.qos,
            identifier: start.identifier,
            sources,
            asked: false,
            after: None,
            found: VecDeque::new(),
            stalled: false,
        })
    }

    /// A replay is over. Returns the one of its session that takes its place.
    fn end_replay(&mut self, key: u32) -> Option<u32> {
        let Replay {
            session, serial, ..
        } = self.replays.remove(key)?;
        let current = self.sessions.get_mut(session);
        let current = current.filter(|current| current.serial == serial)?;
        let replays = current.replays.as_mut()?;
        let Some(start) = replays.waiting.pop_front() else {
            replays.active = replays.active.saturating_sub(1);
            if replays.active == 0 {
                current.replays = None;
            }
            return None;
        };
        Some(self.begin_replay(session, serial, start))
    }

    /// Sends and looks up until the subscriber has enough, an answer is missing, all is sent,
    /// or others have their turn. Goes on with the replays that take the place of this one.
    fn advance_replay(&mut self, mut key: u32) {
        let mut lookups = 0;
        loop {
            let Some(replay) = self.replays.get_mut(key) else {
                return;
            };
            let current = self.sessions.get(replay.session);
            if current.is_none_or(|session| session.serial != replay.serial) {
                self.replays.remove(key);
                return;
            }
            if !replay.found.is_empty() {
                if self.send_replayed(key) {
                    continue;
                }
                return;
            }
            if replay.asked {
                return;
            }
            let Some(&source) = replay.sources.last() else {
                let Some(next) = self.end_replay(key) else {
                    return;
                };
                key = next;
                continue;
            };
            if lookups == LOOKUPS {
                self.unfinished_replays.push_back(key);
                return;
            }
            lookups += 1;
            self.ask_replay(key, source);
        }
    }

    /// Sends one message of a replay; false when the subscriber has enough for now.
    fn send_replayed(&mut self, key: u32) -> bool {
        let Some(replay) = self.replays.get_mut(key) else {
            return false;
        };
        let Some(session) = self.sessions.get(replay.session) else {
            return false;
        };
        let connection = self.connections.get(session.connection);
        let highest = self.limits.delivered_qos(replay.qos, QoS::ExactlyOnce);
        let output_max = OUTPUT_HIGH.min(self.limits.max_output_bytes as usize);
        let room = connection.is_some_and(|connection| connection.output.len() < output_max)
            && (highest == QoS::AtMostOnce || session.outflow.is_open());
        if !room {
            if !replay.stalled {
                replay.stalled = true;
                self.stalled_replays.push(key);
            }
            return false;
        }
        let Some(found) = replay.found.pop_front() else {
            return false;
        };
        let session = replay.session;
        let Some(message) = self.current_retained(session, found) else {
            return true;
        };
        let Some(replay) = self.replays.get(key) else {
            return false;
        };
        let identifier = [replay.identifier];
        let receiver = Receiver {
            session: replay.session,
            qos: self.limits.delivered_qos(replay.qos, message.qos),
            retain: true,
            membership: None,
            dup: false,
            identifiers: if replay.identifier == 0 {
                &[]
            } else {
                &identifier
            },
        };
        if message.expires_ms > self.now_ms {
            self.deliver_kept(&message, receiver);
            self.touched = Touched::default();
        }
        true
    }

    /// The message to send for one that was found some time ago. Of a topic of this shard it
    /// is the one that is retained now, of another shard's the one that the client got since, if
    /// that is newer: it must not get an older one after it.
    fn current_retained(&self, session: u32, found: Retained) -> Option<Arc<Message>> {
        if self.shard_of(found.message.topic()) == self.id {
            let topic = TopicName::parse(found.message.topic(), u16::MAX).ok()?;
            let retained = self.retained.get(topic)?;
            return Some(Arc::clone(&retained.message));
        }
        let replays = self.sessions.get(session)?.replays.as_ref();
        let newer = replays.and_then(|replays| replays.newer.get(found.message.topic()));
        let newer = newer.filter(|newer| newer.version > found.version);
        let message = newer.map_or(found.message, |newer| Arc::clone(&newer.message));
        // An empty one has ended what was retained.
        (!message.payload().is_empty()).then_some(message)
    }

    /// Notes at sessions with replays under way that they get a message that is to be retained
    /// by another shard: an older one may have been found there.
    #[cold]
    pub(super) fn note_newer(&mut self, plan: &Plan, outgoing: &mut Outgoing<'_>) {
        let topic = outgoing.message().topic;
        if self.shard_of(topic) == self.id {
            return;
        }
        let version = self.retaining;
        for target in &plan.targets {
            let session = self.sessions.get_mut(target.session);
            let Some(replays) = session.and_then(|session| session.replays.as_mut()) else {
                continue;
            };
            let known = replays.newer.get(topic).map(|newer| newer.version);
            let is_newer = known.is_none_or(|known| known < version);
            if is_newer && (known.is_some() || replays.newer.len() < NEWER_MAX) {
                let message = outgoing.keep();
                let retained = Retained { message, version };
                replays.newer.insert(topic.into(), retained);
            }
        }
    }

    fn ask_replay(&mut self, key: u32, source: u16) {
        let Some(replay) = self.replays.get_mut(key) else {
            return;
        };
        let after = replay.after.take();
        let to = SessionRef {
            shard: self.id,
            session: replay.session,
            serial: replay.serial,
        };
        replay.asked = true;
        let filter = replay.filter.clone();
        if source == self.id {
            let (found, next) = self.find_retained(&filter, after);
            self.take_found(to, key, found, next);
        } else if let Some(peer) = self.peers.get_mut(usize::from(source)) {
            peer.push(Item::Replay {
                to,
                replay: key,
                filter,
                after,
            });
        }
    }

    /// Looks up retained messages for a subscriber on another shard.
    pub(super) fn answer_replay(
        &mut self,
        from: u16,
        to: SessionRef,
        replay: u32,
        filter: &str,
        after: Option<ReplayCursor>,
    ) {
        let (found, next) = self.find_retained(filter, after);
        if let Some(peer) = self.peers.get_mut(usize::from(from)) {
            peer.push(Item::Replayed {
                to,
                replay,
                found,
                next,
            });
        }
    }

    /// The answer of another shard.
    pub(super) fn replay_found(
        &mut self,
        to: SessionRef,
        replay: u32,
        found: Vec<Retained>,
        next: Option<ReplayCursor>,
    ) {
        if self.take_found(to, replay, found, next) {
            self.advance_replay(replay);
        }
    }

    fn take_found(
        &mut self,
        to: SessionRef,
        key: u32,
        found: Vec<Retained>,
        next: Option<ReplayCursor>,
    ) -> bool {
        let Some(replay) = self.replays.get_mut(key) else {
            return false;
        };
        if (replay.session, replay.serial) != (to.session, to.serial) {
            return false;
        }
        replay.asked = false;
        replay.found.extend(found);
        if next.is_none() {
            replay.sources.pop();
        }
        replay.after = next;
        true
    }

    fn find_retained(
        &mut self,
        filter: &str,
        after: Option<ReplayCursor>,
    ) -> (Vec<Retained>, Option<ReplayCursor>) {
        let Ok(filter) = Filter::parse(filter, u16::MAX) else {
            return (Vec::new(), None);
        };
        let (mut found, mut expired) = (Vec::new(), Vec::new());
        let now_ms = self.now_ms;
        let next = self
            .retained
            .matches(filter, after, CHUNK, &mut |retained: &Retained| {
                if retained.message.expires_ms > now_ms {
                    found.push(retained.clone());
                } else {
                    expired.push(Arc::clone(&retained.message));
                }
            });
        for message in expired {
            self.expire_retained(&message);
        }
        (found, next)
    }

    /// Goes on with replays that waited for their turn or their subscriber.
    pub(super) fn resume_replays(&mut self) {
        let unfinished = self.unfinished_replays.len().min(UNFINISHED_PER_TURN);
        for _ in 0..unfinished {
            if let Some(key) = self.unfinished_replays.pop_front() {
                self.advance_replay(key);
            }
        }
        if self.stalled_replays.is_empty() {
            return;
        }
        for key in core::mem::take(&mut self.stalled_replays) {
            let Some(replay) = self.replays.get_mut(key) else {
                continue;
            };
            replay.stalled = false;
            let session = self.sessions.get_mut(replay.session);
            let session = session.filter(|session| session.serial == replay.serial);
            // Without a client the rest is not sent: a subscription made again brings it.
            if let Some(session) = session
                && session.connection == NONE
            {
                session.replays = None;
                self.replays.remove(key);
            } else {
                self.advance_replay(key);
            }
        }
    }
}
