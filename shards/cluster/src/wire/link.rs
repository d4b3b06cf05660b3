//! Messages of one shard to another node.

use protocol::topic::TopicName;
use protocol::wire::QoS;

use super::reader::Reader;
use super::writer::Writer;
use super::{WireError, kind};

/// Bytes of a batch of messages before its first one, with the frame's length and kind.
pub const MESSAGES_HEAD: usize = super::HEAD + 2 + 8 + 4 + 4;

const QOS: u8 = 0b0000_0011;
const RETAIN: u8 = 0b0000_0100;
const EXPIRES: u8 = 0b0000_1000;

/// Where a stream goes on: after a connection was made, and after messages were given up.
/// Everything before is accepted, or the sender has given it up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Begin {
    /// The stream: the shard that sends.
    pub stream: u16,
    /// The next message.
    pub next: u64,
}

/// All messages of a stream up to this one are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// The stream.
    pub stream: u16,
    /// The last one.
    pub up_to: u64,
}

/// Messages of a stream, one after the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Messages<'a> {
    /// The stream: the shard that sends.
    pub stream: u16,
    /// The number of the first one, counted from 1 in each life of the sender.
    pub first: u64,
    /// How long they had waited when they were sent; comes off what remains of their life.
    pub age_ms: u32,
    /// How many there are.
    pub count: u32,
    entries: Reader<'a>,
}

/// A message on its way to another node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Forward<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Properties that go unaltered to subscribers, in their encoded form. Not looked at here.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// How long it has to live, in milliseconds; `u64::MAX` for ever.
    pub remaining_ms: u64,
    /// Who published it, for No Local; a number that the sender's node gives.
    pub publisher: u64,
}

/// The messages in a batch. Ends behind the first one that cannot be read.
#[derive(Clone, Debug)]
pub struct Forwards<'a> {
    left: u32,
    age_ms: u32,
    entries: Reader<'a>,
}

impl Begin {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::BEGIN);
        frame.u16(self.stream).u64(self.next);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let begin = Self {
            stream: from.u16()?,
            next: from.u64()?,
        };
        (begin.next > 0).then_some(begin).ok_or(WireError::Invalid)
    }
}

impl Accepted {
    /// Writes the frame to the end of a buffer.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut frame = Writer::begin(out, kind::ACCEPTED);
        frame.u16(self.stream).u64(self.up_to);
        frame.end();
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            stream: from.u16()?,
            up_to: from.u64()?,
        })
    }
}

impl<'a> Messages<'a> {
    /// The head of a frame whose entries have `bytes` bytes.
    #[must_use]
    pub fn head(
        stream: u16,
        first: u64,
        age_ms: u32,
        count: u32,
        bytes: usize,
    ) -> [u8; MESSAGES_HEAD] {
        let length = bytes.saturating_add(MESSAGES_HEAD).saturating_sub(4);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let mut head = [0; MESSAGES_HEAD];
        let fields: [&[u8]; 6] = [
            &length.to_le_bytes(),
            &[kind::MESSAGES],
            &stream.to_le_bytes(),
            &first.to_le_bytes(),
            &age_ms.to_le_bytes(),
            &count.to_le_bytes(),
        ];
        let fields = fields.into_iter().flatten();
        head.iter_mut()
            .zip(fields)
            .for_each(|(to, from)| *to = *from);
        head
    }

    pub(super) fn read(from: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            stream: from.u16()?,
            first: from.u64()?,
            age_ms: from.u32()?,
            count: from.u32()?,
            entries: Reader::new(from.rest()),
        })
    }

    /// The messages, with what remains of their life now.
    #[must_use]
    pub const fn entries(&self) -> Forwards<'a> {
        Forwards {
            left: self.count,
            age_ms: self.age_ms,
            entries: self.entries,
        }
    }
}

/// Writes a message to the end of a batch's entries. Its topic has at most 65,535 bytes,
/// its properties and its payload together at most 268,435,455, as in any packet of MQTT.
pub fn put_forward(out: &mut Vec<u8>, message: &Forward<'_>) {
    let mut flags = message.qos as u8;
    flags |= if message.retain { RETAIN } else { 0 };
    flags |= if message.remaining_ms == u64::MAX {
        0
    } else {
        EXPIRES
    };
    out.push(flags);
    out.extend_from_slice(&(message.topic.len() as u16).to_le_bytes());
    out.extend_from_slice(&(message.properties.len() as u32).to_le_bytes());
    out.extend_from_slice(&(message.payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&message.publisher.to_le_bytes());
    if message.remaining_ms != u64::MAX {
        out.extend_from_slice(&message.remaining_ms.to_le_bytes());
    }
    out.extend_from_slice(message.topic.as_bytes());
    out.extend_from_slice(message.properties);
    out.extend_from_slice(message.payload);
}

impl<'a> Forward<'a> {
    fn read(from: &mut Reader<'a>, age_ms: u32) -> Result<Self, WireError> {
        let flags = from.u8()?;
        if flags & !(QOS | RETAIN | EXPIRES) != 0 {
            return Err(WireError::Invalid);
        }
        let topic_len = from.u16()?;
        let properties_len = from.u32()?;
        let payload_len = from.u32()?;
        let publisher = from.u64()?;
        let remaining_ms = match flags & EXPIRES {
            0 => u64::MAX,
            _ => from.u64()?.saturating_sub(u64::from(age_ms)),
        };
        Ok(Self {
            qos: match flags & QOS {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                2 => QoS::ExactlyOnce,
                _ => return Err(WireError::Invalid),
            },
            retain: flags & RETAIN != 0,
            remaining_ms,
            publisher,
            topic: topic(from.bytes(usize::from(topic_len))?)?,
            properties: from.bytes(properties_len as usize)?,
            payload: from.bytes(payload_len as usize)?,
        })
    }
}

fn topic(bytes: &[u8]) -> Result<&str, WireError> {
    let text = core::str::from_utf8(bytes).map_err(|_| WireError::Invalid)?;
    match TopicName::parse(text, u16::MAX) {
        Ok(_) => Ok(text),
        Err(_) => Err(WireError::Invalid),
    }
}

impl<'a> Iterator for Forwards<'a> {
    type Item = Result<Forward<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Some(left) = self.left.checked_sub(1) else {
            return core::mem::replace(&mut self.entries, Reader::new(&[]))
                .finish()
                .err()
                .map(Err);
        };
        let message = Forward::read(&mut self.entries, self.age_ms);
        self.left = if message.is_ok() { left } else { 0 };
        if message.is_err() {
            self.entries = Reader::new(&[]);
        }
        Some(message)
    }
}
