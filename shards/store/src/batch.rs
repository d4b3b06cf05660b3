//! The changes that go to the disk together.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use crate::change::{Body, Change, SessionNumber};
use crate::clock::Clock;
use crate::codec::key::{Key, parse};
use crate::codec::{self, Damaged, EntryValue, Step};
use crate::disk::{Op, Visit};

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
    /// Bytes of the values that are to be stored.
    live: usize,
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

    /// Bytes of the values that are to be stored.
    pub(crate) fn live(&self) -> usize {
        self.live
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
        self.live = 0;
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

    /// Appends everything, as the log has it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for session in &self.ended {
            codec::write_step(out, Step::End(*session));
        }
        for (key, fate) in &self.ops {
            let step = match fate {
                Fate::Put(range) => Step::Put(key.as_slice(), &self.bytes[range.clone()]),
                Fate::Delete => Step::Delete(key.as_slice()),
            };
            codec::write_step(out, step);
        }
    }

    /// Adds what [`Batch::write`] wrote. Some of it may be in the database already, so that
    /// nothing is left out as if it had never been there.
    pub(crate) fn replay(&mut self, steps: &[u8]) -> Result<(), Damaged> {
        codec::read_steps(steps, |step| match step {
            Step::Put(key, value) => {
                self.put(Key::read(key), |out| out.extend_from_slice(value));
            }
            Step::Delete(key) => self.delete(Key::read(key)),
            Step::End(session) => self.end(session),
        })
    }

    /// Adds a batch that comes after this one. Nothing of this one is in the database yet.
    pub(crate) fn merge(&mut self, later: &Self) {
        for session in &later.ended {
            self.end(*session);
        }
        for (key, fate) in &later.ops {
            match fate {
                Fate::Put(range) => {
                    let value = &later.bytes[range.clone()];
                    self.put(key.clone(), |out| out.extend_from_slice(value));
                }
                Fate::Delete if !key.is_used_once() => self.delete(key.clone()),
                Fate::Delete => {
                    let annulled = self.annul(key.clone());
                    if let Some(mark) = key.mark_of_entry().filter(|_| annulled) {
                        self.remove(&mark);
                    }
                }
            }
        }
    }

    /// What this batch makes of the records in a database: calls `visit` with all that there
    /// are in the end, in order, while `scan` calls its argument with those in the database.
    pub(crate) fn over<E: From<Damaged>>(
        &self,
        scan: impl FnOnce(&mut Visit<'_>) -> Result<(), E>,
        visit: &mut Visit<'_>,
    ) -> Result<(), E> {
        let ended: HashSet<SessionNumber> = self.ended.iter().copied().collect();
        let mut ops = self.ops.iter().peekable();
        let value = |fate: &Fate| match fate {
            Fate::Put(range) => Some(&self.bytes[range.clone()]),
            Fate::Delete => None,
        };
        scan(&mut |key, old| {
            while let Some((new, fate)) = ops.next_if(|(new, _)| new.as_slice() < key) {
                value(fate).map_or(Ok(()), |value| visit(new.as_slice(), value))?;
            }
            if let Some((_, fate)) = ops.next_if(|(new, _)| new.as_slice() == key) {
                return value(fate).map_or(Ok(()), |value| visit(key, value));
            }
            let session = parse(key)?.session();
            if session.is_some_and(|session| ended.contains(&session)) {
                return Ok(());
            }
            visit(key, old)
        })?;
        for (new, fate) in ops {
            value(fate).map_or(Ok(()), |value| visit(new.as_slice(), value))?;
        }
        Ok(())
    }

    /// The value that a record is to have, if it is in this batch.
    pub(crate) fn value(&self, key: &Key) -> Option<&[u8]> {
        match self.ops.get(key)? {
            Fate::Put(range) => Some(&self.bytes[range.clone()]),
            Fate::Delete => None,
        }
    }

    /// Adds a record as it is.
    pub(crate) fn put(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.values += 1;
        self.live += self.bytes.len() - start;
        let fate = Fate::Put(start..self.bytes.len());
        let earlier = self.ops.insert(key, fate);
        self.forget(earlier);
    }

    /// Takes a record away, whether or not it is there.
    pub(crate) fn delete(&mut self, key: Key) {
        let earlier = self.ops.insert(key, Fate::Delete);
        self.forget(earlier);
    }

    fn remove(&mut self, key: &Key) {
        let earlier = self.ops.remove(key);
        self.forget(earlier);
    }

    /// A value is not to be stored any more.
    fn forget(&mut self, fate: Option<Fate>) {
        if let Some(Fate::Put(range)) = fate {
            self.live -= range.len();
        }
    }

    /// Takes away a record whose key is used once; true if it was put in this batch.
    fn annul(&mut self, key: Key) -> bool {
        if let Some(Fate::Put(_)) = self.ops.get(&key) {
            self.remove(&key);
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
            Change::Retain { message, version } => {
                self.put(Key::retained(message.topic()), |out| {
                    codec::write_retained(out, clock, message, *version);
                });
            }
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
                    self.remove(&mark);
                } else {
                    self.delete(mark);
                }
            }
            _ => self.add_received(change),
        }
    }

    fn add_received(&mut self, change: &Change) {
        match change {
            Change::PutReceived {
                shard,
                process,
                stream,
                number,
            } => self.put(Key::received(*shard, *stream, &process.node), |out| {
                codec::write_received(out, process.boot, *number);
            }),
            Change::DropReceived {
                shard,
                node,
                stream,
            } => self.delete(Key::received(*shard, *stream, node)),
            Change::PutDivision(division) => self.put(Key::division(), |out| {
                codec::write_division(out, *division);
            }),
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
        self.remove(&Key::session(session));
        for (first, end) in Key::with_session(session) {
            let keys: Vec<Key> = self
                .ops
                .range(first..end)
                .map(|(key, _)| key.clone())
                .collect();
            for key in keys {
                self.remove(&key);
            }
        }
        self.ended.push(session);
    }
}
