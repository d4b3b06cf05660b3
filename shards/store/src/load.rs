//! Reading everything back at start.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::message::Message;

use crate::change::{Process, Sent, SessionNumber};
use crate::clock::Clock;
use crate::codec::key::{Key, Record, parse};
use crate::codec::{self, Damaged};
use crate::stored::{
    Stored, StoredDelayed, StoredEntry, StoredReceived, StoredRetained, StoredSession,
    StoredSubscription,
};

/// Takes the records in the order of their keys: shared messages, then sessions, then what
/// belongs to sessions.
#[derive(Debug)]
pub(crate) struct Loader {
    clock: Clock,
    stored: Stored,
    /// Messages that entries refer to, and whether one has.
    shared: HashMap<u64, (Arc<Message>, bool)>,
    /// Marks whose entries have not come yet.
    marks: HashMap<(SessionNumber, u64), Sent>,
    /// Where the session of the last record is in `stored.sessions`.
    place: usize,
    /// What belongs to nothing that is stored.
    orphans: Vec<Key>,
    /// Bytes of keys and values.
    bytes: u64,
    records: u64,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) stored: Stored,
    /// Records to take away.
    pub(crate) orphans: Vec<Key>,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// How many records there are.
    pub(crate) records: u64,
}

impl Loader {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            stored: Stored::default(),
            shared: HashMap::new(),
            marks: HashMap::new(),
            place: 0,
            orphans: Vec::new(),
            bytes: 0,
            records: 0,
        }
    }

    /// Takes a record.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Damaged> {
        self.bytes += (key.len() + value.len()) as u64;
        self.records += 1;
        let clock = self.clock;
        match parse(key)? {
            Record::Clock | Record::Format | Record::Log => {}
            Record::Message(number) => {
                let message = codec::read_message(value, clock)?;
                self.shared.insert(number, (message, false));
                self.used(number);
            }
            Record::Session(number) => self.session(number, value)?,
            Record::Subscription(number, filter) => self.subscription(number, filter, value)?,
            Record::Held(number, packet_id) => match self.find(number) {
                Some(session) => session.held.push(packet_id),
                None => self.orphans.push(Key::held(number, packet_id)),
            },
            Record::Mark(session, entry) => {
                self.marks
                    .insert((session, entry), codec::read_mark(value)?);
            }
            Record::Entry(session, entry) => self.entry(session, entry, value)?,
            Record::Retained(topic) => {
                let (message, version) = codec::read_retained(topic.as_bytes(), value, clock)?;
                let retained = StoredRetained { message, version };
                self.stored.retained.push(retained);
            }
            Record::Received(shard, stream, node) => {
                let (boot, number) = codec::read_received(value)?;
                let node = node.into();
                self.stored.received.push(StoredReceived {
                    shard,
                    process: Process { node, boot },
                    stream,
                    number,
                });
            }
            Record::Division => self.stored.division = Some(codec::read_division(value)?),
            Record::Delayed(number) => {
                let (due_ms, message) = codec::read_delayed(value, clock)?;
                self.used(number);
                self.stored.delayed.push(StoredDelayed {
                    number,
                    due_ms,
                    message,
                });
            }
        }
        Ok(())
    }

    /// Everything has been taken.
    pub(crate) fn finish(mut self) -> Loaded {
        let marks = self.marks.keys();
        self.orphans
            .extend(marks.map(|(session, entry)| Key::mark(*session, *entry)));
        let unused = self.shared.iter().filter(|(_, (_, used))| !used);
        self.orphans
            .extend(unused.map(|(number, _)| Key::message(*number)));
        Loaded {
            stored: self.stored,
            orphans: self.orphans,
            bytes: self.bytes,
            records: self.records,
        }
    }

    fn used(&mut self, number: u64) {
        let next = number.saturating_add(1);
        self.stored.next_number = self.stored.next_number.max(next);
    }

    fn session(&mut self, number: SessionNumber, value: &[u8]) -> Result<(), Damaged> {
        let record = codec::read_session(value, self.clock)?;
        self.used(number.0);
        self.stored.sessions.push(StoredSession {
            number,
            record,
            subscriptions: Vec::new(),
            held: Vec::new(),
            entries: Vec::new(),
        });
        Ok(())
    }

    fn subscription(
        &mut self,
        number: SessionNumber,
        filter: &str,
        value: &[u8],
    ) -> Result<(), Damaged> {
        let (options, identifier, membership) = codec::read_subscription(value)?;
        let subscription = StoredSubscription {
            filter: filter.into(),
            options,
            identifier,
            membership,
        };
        match self.find(number) {
            Some(session) => session.subscriptions.push(subscription),
            None => self.orphans.push(Key::subscription(number, filter)),
        }
        Ok(())
    }

    fn entry(&mut self, number: SessionNumber, entry: u64, value: &[u8]) -> Result<(), Damaged> {
        let read = codec::read_entry(value, self.clock)?;
        self.used(entry);
        if self.find(number).is_none() {
            self.orphans.push(Key::entry(number, entry));
            return Ok(());
        }
        let message = match (read.message, read.shared) {
            (Some(message), _) => message,
            (None, shared) => self.shared(shared.unwrap_or(u64::MAX))?,
        };
        let mark = self.marks.remove(&(number, entry));
        let entry = StoredEntry {
            number: entry,
            shared: read.shared,
            message,
            qos: read.qos,
            retain: read.retain,
            identifiers: read.identifiers,
            sent: mark.or(read.sent),
            membership: read.membership,
        };
        if let Some(session) = self.find(number) {
            session.entries.push(entry);
        }
        Ok(())
    }

    fn shared(&mut self, number: u64) -> Result<Arc<Message>, Damaged> {
        let (message, used) = self
            .shared
            .get_mut(&number)
            .ok_or(Damaged("the message of an entry is missing"))?;
        *used = true;
        Ok(Arc::clone(message))
    }

    /// The session of a record. Sessions and what belongs to them come in the same order, so
    /// it is the last one or the next.
    fn find(&mut self, number: SessionNumber) -> Option<&mut StoredSession> {
        let sessions = &mut self.stored.sessions;
        if sessions
            .get(self.place)
            .is_none_or(|last| last.number != number)
        {
            self.place = sessions
                .binary_search_by_key(&number, |session| session.number)
                .ok()?;
        }
        sessions.get_mut(self.place)
    }
}
