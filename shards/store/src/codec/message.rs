//! Messages. The time of expiry is that of the disk; who published it is not stored, since
//! the number of a session on its shard means nothing to another process.

use std::sync::Arc;

use protocol::message::{Message, MessageRef};

use super::Damaged;
use super::read::{Reader, qos, text};
use super::write;
use crate::clock::Clock;

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
/// A retained message has a version; it comes behind the time of expiry.
const VERSION: u8 = 1 << 4;
const ALL: u8 = 0b11 | RETAIN | EXPIRES;

/// The longest topic name, as on the wire.
const TOPIC_BYTES_MAX: usize = 0xffff;
/// The longest message, as on the wire.
const MESSAGE_BYTES_MAX: usize = 268_435_455;

/// Appends a message; it goes on to the end of the value.
pub(crate) fn write_message(out: &mut Vec<u8>, clock: Clock, message: &Message) {
    let message = message.by_ref();
    write_parts(out, clock, &message, message.topic, 0);
}

/// Appends a retained message, whose topic is the key.
pub(crate) fn write_retained(out: &mut Vec<u8>, clock: Clock, message: &Message, version: u64) {
    write_parts(out, clock, &message.by_ref(), "", version);
}

/// Appends a delayed message.
pub(crate) fn write_delayed(out: &mut Vec<u8>, clock: Clock, due_ms: u64, message: &Message) {
    out.extend_from_slice(&clock.stored(due_ms).to_be_bytes());
    write_message(out, clock, message);
}

fn write_parts(
    out: &mut Vec<u8>,
    clock: Clock,
    message: &MessageRef<'_>,
    topic: &str,
    version: u64,
) {
    let expires = message.expires_ms != u64::MAX;
    let flags = message.qos as u8
        | if message.retain { RETAIN } else { 0 }
        | if expires { EXPIRES } else { 0 }
        | if version > 0 { VERSION } else { 0 };
    out.push(flags);
    if expires {
        out.extend_from_slice(&clock.stored(message.expires_ms).to_be_bytes());
    }
    if version > 0 {
        out.extend_from_slice(&version.to_be_bytes());
    }
    write::bytes(out, topic.as_bytes());
    write::bytes(out, message.properties);
    out.extend_from_slice(message.payload);
}

/// Reads a message, which takes all that is left.
pub(crate) fn read_message(value: &[u8], clock: Clock) -> Result<Arc<Message>, Damaged> {
    Ok(read_parts(Reader(value), clock, None)?.0)
}

/// Reads a retained message, whose topic is the key, and its version.
pub(crate) fn read_retained(
    topic: &[u8],
    value: &[u8],
    clock: Clock,
) -> Result<(Arc<Message>, u64), Damaged> {
    read_parts(Reader(value), clock, Some(text(topic)?))
}

/// Reads a delayed message and when it is due.
pub(crate) fn read_delayed(value: &[u8], clock: Clock) -> Result<(u64, Arc<Message>), Damaged> {
    let mut reader = Reader(value);
    let due_ms = clock.counted(reader.u64()?);
    Ok((due_ms, read_parts(reader, clock, None)?.0))
}

pub(super) fn read_parts(
    mut reader: Reader<'_>,
    clock: Clock,
    key: Option<&str>,
) -> Result<(Arc<Message>, u64), Damaged> {
    let flags = reader.u8()?;
    let all = ALL | if key.is_some() { VERSION } else { 0 };
    if flags & !all != 0 {
        return Err(Damaged("a message has unknown flags"));
    }
    let expires_ms = match flags & EXPIRES {
        0 => u64::MAX,
        _ => clock.counted(reader.u64()?),
    };
    let version = match flags & VERSION {
        0 => 0,
        _ => reader.u64()?,
    };
    let written = reader.text()?;
    let topic = match key {
        Some(_) if !written.is_empty() => return Err(Damaged("a message has two topics")),
        Some(key) => key,
        None => written,
    };
    let properties = reader.bytes()?;
    let payload = reader.rest();
    if topic.len() > TOPIC_BYTES_MAX || properties.len() + payload.len() > MESSAGE_BYTES_MAX {
        return Err(Damaged("a message is longer than any can be"));
    }
    let message = MessageRef {
        topic,
        properties,
        payload,
        qos: qos(flags)?,
        retain: flags & RETAIN != 0,
        expires_ms,
        publisher: u64::MAX,
    };
    Ok((message.to_message(), version))
}
