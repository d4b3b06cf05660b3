//! Keys.

use std::cmp::Ordering;
use std::fmt;

use protocol::wire::PacketId;

use super::Damaged;
use super::read::{Reader, packet_id};
use crate::change::SessionNumber;

const META: u8 = 0;
const MESSAGE: u8 = 1;
const SESSION: u8 = 2;
const SUBSCRIPTION: u8 = 3;
const HELD: u8 = 4;
const MARK: u8 = 5;
const ENTRY: u8 = 6;
const RETAINED: u8 = 7;
const DELAYED: u8 = 8;
const RECEIVED: u8 = 9;

/// The tags of what goes with a session.
const WITH_SESSION: [u8; 4] = [SUBSCRIPTION, HELD, MARK, ENTRY];

const CLOCK: &[u8] = b"clock";
const FORMAT: &[u8] = b"format";
const LOG: &[u8] = b"log";
const DIVISION: &[u8] = b"division";

/// Bytes of the keys that are not allocated: those of entries, the most frequent ones.
const INLINE: usize = 17;

/// The key of a record.
#[derive(Clone)]
pub(crate) enum Key {
    /// Up to [`INLINE`] bytes.
    Short(u8, [u8; INLINE]),
    /// More.
    Long(Box<[u8]>),
}

impl Key {
    pub(crate) fn clock() -> Self {
        Self::of(META, &[CLOCK])
    }

    pub(crate) fn format() -> Self {
        Self::of(META, &[FORMAT])
    }

    pub(crate) fn log() -> Self {
        Self::of(META, &[LOG])
    }

    pub(crate) fn division() -> Self {
        Self::of(META, &[DIVISION])
    }

    /// A key as it was written.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        match bytes.split_first() {
            Some((tag, rest)) => Self::of(*tag, &[rest]),
            None => Self::Short(0, [0; INLINE]),
        }
    }

    /// Whether there is never a second record under this key.
    pub(crate) fn is_used_once(&self) -> bool {
        matches!(self.as_slice(), [MESSAGE | ENTRY | DELAYED, ..])
    }

    /// The key of the mark of this entry, if it is one.
    pub(crate) fn mark_of_entry(&self) -> Option<Self> {
        match self.as_slice() {
            [ENTRY, rest @ ..] => Some(Self::of(MARK, &[rest])),
            _ => None,
        }
    }

    pub(crate) fn message(number: u64) -> Self {
        Self::of(MESSAGE, &[&number.to_be_bytes()])
    }

    pub(crate) fn session(session: SessionNumber) -> Self {
        Self::of(SESSION, &[&session.0.to_be_bytes()])
    }

    pub(crate) fn subscription(session: SessionNumber, filter: &str) -> Self {
        Self::of(SUBSCRIPTION, &[&session.0.to_be_bytes(), filter.as_bytes()])
    }

    pub(crate) fn held(session: SessionNumber, packet_id: PacketId) -> Self {
        let packet_id = packet_id.0.get().to_be_bytes();
        Self::of(HELD, &[&session.0.to_be_bytes(), &packet_id])
    }

    pub(crate) fn mark(session: SessionNumber, entry: u64) -> Self {
        Self::of(MARK, &[&session.0.to_be_bytes(), &entry.to_be_bytes()])
    }

    pub(crate) fn entry(session: SessionNumber, entry: u64) -> Self {
        Self::of(ENTRY, &[&session.0.to_be_bytes(), &entry.to_be_bytes()])
    }

    pub(crate) fn retained(topic: &str) -> Self {
        Self::of(RETAINED, &[topic.as_bytes()])
    }

    pub(crate) fn delayed(number: u64) -> Self {
        Self::of(DELAYED, &[&number.to_be_bytes()])
    }

    pub(crate) fn received(shard: u16, stream: u16, node: &str) -> Self {
        let (shard, stream) = (shard.to_be_bytes(), stream.to_be_bytes());
        Self::of(RECEIVED, &[&shard, &stream, node.as_bytes()])
    }

    /// The keys of everything that goes with a session, from the first of each pair up to
    /// and without the second.
    pub(crate) fn with_session(session: SessionNumber) -> [(Self, Self); 4] {
        WITH_SESSION.map(|tag| {
            let first = Self::of(tag, &[&session.0.to_be_bytes()]);
            let end = match session.0.checked_add(1) {
                Some(next) => Self::of(tag, &[&next.to_be_bytes()]),
                None => Self::of(tag + 1, &[]),
            };
            (first, end)
        })
    }

    fn of(tag: u8, parts: &[&[u8]]) -> Self {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        if length > INLINE {
            let mut bytes = Vec::with_capacity(length);
            bytes.push(tag);
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            return Self::Long(bytes.into_boxed_slice());
        }
        let mut bytes = [0; INLINE];
        bytes[0] = tag;
        let mut end = 1;
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        Self::Short(length as u8, bytes)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => &bytes[..usize::from(*length)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:02x?}", self.as_slice())
    }
}

/// What a key is the key of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Record<'a> {
    Clock,
    Format,
    Log,
    Message(u64),
    Session(SessionNumber),
    Subscription(SessionNumber, &'a str),
    Held(SessionNumber, PacketId),
    Mark(SessionNumber, u64),
    Entry(SessionNumber, u64),
    Retained(&'a str),
    Delayed(u64),
    /// Shard, stream and node.
    Received(u16, u16, &'a str),
    Division,
}

impl Record<'_> {
    /// The session that the record belongs to.
    pub(crate) fn session(self) -> Option<SessionNumber> {
        match self {
            Self::Session(session)
            | Self::Subscription(session, _)
            | Self::Held(session, _)
            | Self::Mark(session, _)
            | Self::Entry(session, _) => Some(session),
            _ => None,
        }
    }
}

/// Reads a key.
pub(crate) fn parse(key: &[u8]) -> Result<Record<'_>, Damaged> {
    let mut reader = Reader(key);
    let tag = reader.u8()?;
    let record = match tag {
        META => match reader.rest() {
            CLOCK => Record::Clock,
            FORMAT => Record::Format,
            LOG => Record::Log,
            DIVISION => Record::Division,
            _ => return Err(Damaged("a record is of an unknown kind")),
        },
        MESSAGE => Record::Message(reader.u64()?),
        SESSION => Record::Session(SessionNumber(reader.u64()?)),
        SUBSCRIPTION => {
            let session = SessionNumber(reader.u64()?);
            Record::Subscription(session, super::read::text(reader.rest())?)
        }
        HELD => Record::Held(SessionNumber(reader.u64()?), packet_id(reader.u16()?)?),
        MARK => Record::Mark(SessionNumber(reader.u64()?), reader.u64()?),
        ENTRY => Record::Entry(SessionNumber(reader.u64()?), reader.u64()?),
        RETAINED => Record::Retained(super::read::text(reader.rest())?),
        DELAYED => Record::Delayed(reader.u64()?),
        RECEIVED => {
            let (shard, stream) = (reader.u16()?, reader.u16()?);
            Record::Received(shard, stream, super::read::text(reader.rest())?)
        }
        _ => return Err(Damaged("a record is of an unknown kind")),
    };
    reader.end()?;
    Ok(record)
}
