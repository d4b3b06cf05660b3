//! The changes that go to the disk together.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::change::{Body, Change, SessionNumber};
use crate::clock::Clock;
use crate::codec::key::Key;
use crate::codec::{self, EntryValue};
use crate::disk::Op;

/// Changes, folded: for each record only what it is in the end.
///
/// An entry or message that is put and dropped in one batch does not get to the disk at all,
/// which its number, used once, allows: there is nothing older under it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// By key, since a tree is fastest to change in its order.
    ops: BTreeMap<Key, Fate>,
    /// The values.
    bytes: Vec<u8>,
    /// How many values there are.
    values: usize,
    /// Sessions that ended: they go with everything, before `ops`.
    ended: Vec<SessionNumber>,
}

/// What becomes of a record.
#[derive(Clone, Debug)]
enum Fate {
    /// It is stored.
    Put(Range<usize>),
    /// It is not there any more.
    Delete,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.ended.is_empty()
    }

    /// Records that change.
    pub(crate) fn len(&self) -> usize {
        self.ops.len() + self.ended.len()
    }

    /// Bytes of values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many values there are.
    pub(crate) fn values(&self) -> usize {
        self.values
    }

    /// Forgets everything and keeps some memory.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 1 << 20;
        self.ops.clear();
        self.ended.clear();
        self.bytes.clear();
        self.values = 0;
        self.bytes.shrink_to(KEPT);
    }

    /// What is to be done, in order.
    pub(crate) fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let ended = self.ended.iter().flat_map(|session| {
            let drop = Op::Delete(Key::session(*session));
            let ranges = Key::with_session(*session);
            let ranges = ranges
                .into_iter()
                .map(|(first, end)| Op::DeleteRange(first, end));
            std::iter::once(drop).chain(ranges)
        });
        let ops = self.ops.iter().map(|(key, fate)| match fate {
            Fate::Put(range) => Op::Put(key, &self.bytes[range.clone()]),
            Fate::Delete => Op::Delete(key.clone()),
        });
        ended.chain(ops)
    }

    /// Adds a record as it is.
    pub(crate) fn put(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.values += 1;
        self.ops.insert(key, Fate::Put(start..self.bytes.len()));
    }

    /// Takes a record away, whether or not it is there.
    pub(crate) fn delete(&mut self, key: Key) {
        self.ops.insert(key, Fate::Delete);
    }

    /// Takes away a record whose key is used once; true if it was put in this batch.
    fn annul(&mut self, key: Key) -> bool {
        if let Some(Fate::Put(_)) = self.ops.get(&key) {
            self.ops.remove(&key);
            return true;
        }
        self.delete(key);
        false
    }

    /// Adds a change.
    pub(crate) fn add(&mut self, change: &Change, clock: Clock) {
        match change {
            Change::PutSession { session, record } => self.put(Key::session(*session), |out| {
                codec::write_session(out, clock, record);
            }),
            Change::DropSession { session } => self.end(*session),
            Change::PutSubscription {
                session,
                filter,
                options,
                identifier,
                membership,
            } => self.put(Key::subscription(*session, filter), |out| {
                codec::write_subscription(out, *options, *identifier, *membership);
            }),
            Change::DropSubscription { session, filter } => {
                self.delete(Key::subscription(*session, filter));
            }
            Change::HoldPacketId { session, packet_id } => {
                self.put(Key::held(*session, *packet_id), |_| {});
            }
            Change::ReleasePacketId { session, packet_id } => {
                self.delete(Key::held(*session, *packet_id));
            }
            Change::Retain { message } => self.put(Key::retained(message.topic()), |out| {
                codec::write_retained(out, clock, message);
            }),
            Change::Forget { topic } => self.delete(Key::retained(topic)),
            _ => self.add_message(change, clock),
        }
    }

    fn add_message(&mut self, change: &Change, clock: Clock) {
        match change {
            Change::PutMessage { number, message } => self.put(Key::message(*number), |out| {
                codec::write_message(out, clock, message);
            }),
            Change::DropMessage { number } => {
                self.annul(Key::message(*number));
            }
            Change::PutDelayed {
                number,
                due_ms,
                message,
            } => self.put(Key::delayed(*number), |out| {
                codec::write_delayed(out, clock, *due_ms, message);
            }),
            Change::DropDelayed { number } => {
                self.annul(Key::delayed(*number));
            }
            _ => self.add_entry(change, clock),
        }
    }

    fn add_entry(&mut self, change: &Change, clock: Clock) {
        match change {
            Change::PutEntry {
                session,
                number,
                body,
                qos,
                retain,
                identifiers,
                sent,
                membership,
            } => {
                let value = EntryValue {
                    body,
                    qos: *qos,
                    retain: *retain,
                    identifiers,
                    sent: *sent,
                    membership: *membership,
                };
                self.put_entry(*session, *number, &value, clock);
            }
            Change::MarkSent {
                session,
                number,
                sent,
            } => self.put(Key::mark(*session, *number), |out| {
                codec::write_mark(out, *sent);
            }),
            Change::DropEntry { session, number } => {
                let mark = Key::mark(*session, *number);
                if self.annul(Key::entry(*session, *number)) {
                    self.ops.remove(&mark);
                } else {
                    self.delete(mark);
                }
            }
            _ => {}
        }
    }

    fn put_entry(
        &mut self,
        session: SessionNumber,
        number: u64,
        value: &EntryValue<'_>,
        clock: Clock,
    ) {
        if let Body::Own(message) = value.body {
            self.bytes.reserve(message.size());
        }
        self.put(Key::entry(session, number), |out| {
            codec::write_entry(out, clock, value);
        });
    }

    /// A session ends: what this batch has of it is of no use.
    fn end(&mut self, session: SessionNumber) {
        self.ops.remove(&Key::session(session));
        for (first, end) in Key::with_session(session) {
            let keys: Vec<Key> = self
                .ops
                .range(first..end)
                .map(|(key, _)| key.clone())
                .collect();
            for key in keys {
                self.ops.remove(&key);
            }
        }
        self.ended.push(session);
    }
}
