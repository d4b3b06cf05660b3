//! Values other than messages.

use std::num::NonZeroU32;
use std::sync::Arc;

use protocol::message::Message;
use protocol::session::{Identifiers, Membership};
use protocol::wire::{QoS, RetainHandling, SubscriptionOptions};

use super::message::{read_message, write_message};
use super::read::{Reader, packet_id, qos};
use super::{Damaged, write};
use crate::change::{Body, Division, Sent, SessionRecord, Will};
use crate::clock::{Clock, Reading};
use crate::log::Position;

/// An entry, as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryValue<'a> {
    pub(crate) body: &'a Body,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: &'a Identifiers,
    pub(crate) sent: Option<Sent>,
    pub(crate) membership: Option<Membership>,
}

/// An entry, as it is read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct EntryBody {
    pub(crate) shared: Option<u64>,
    /// Unless it is shared.
    pub(crate) message: Option<Arc<Message>>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: Identifiers,
    pub(crate) sent: Option<Sent>,
    pub(crate) membership: Option<Membership>,
}

const RETAIN: u8 = 1 << 2;
const SHARED: u8 = 1 << 3;
const SENT: u8 = 1 << 4;
const RECEIVED: u8 = 1 << 5;
const IDENTIFIERS: u8 = 1 << 6;
const BY_SHARED: u8 = 1 << 7;

/// The most subscription identifiers that are believed of one delivery.
const IDENTIFIERS_MAX: u64 = 1 << 20;

/// Appends an entry.
pub(crate) fn write_entry(out: &mut Vec<u8>, clock: Clock, entry: &EntryValue<'_>) {
    let identifiers = entry.identifiers.as_slice();
    let mut flags = entry.qos as u8;
    if entry.retain {
        flags |= RETAIN;
    }
    if matches!(entry.body, Body::Shared(_)) {
        flags |= SHARED;
    }
    if let Some(sent) = entry.sent {
        flags |= SENT | if sent.received { RECEIVED } else { 0 };
    }
    if !identifiers.is_empty() {
        flags |= IDENTIFIERS;
    }
    if entry.membership.is_some() {
        flags |= BY_SHARED;
    }
    out.push(flags);
    if let Some(sent) = entry.sent {
        out.extend_from_slice(&sent.packet_id.0.get().to_be_bytes());
    }
    if !identifiers.is_empty() {
        write::number(out, identifiers.len() as u64);
        for identifier in identifiers {
            write::number(out, u64::from(*identifier));
        }
    }
    if let Some(membership) = entry.membership {
        write::number(out, u64::from(membership.0.get()));
    }
    match entry.body {
        Body::Own(message) => write_message(out, clock, message),
        Body::Shared(number) => out.extend_from_slice(&number.to_be_bytes()),
    }
}

/// Reads an entry.
pub(crate) fn read_entry(value: &[u8], clock: Clock) -> Result<EntryBody, Damaged> {
    let mut reader = Reader(value);
    let flags = reader.u8()?;
    if flags & (SENT | RECEIVED) == RECEIVED {
        return Err(Damaged("an entry has unknown flags"));
    }
    let sent = match flags & SENT {
        0 => None,
        _ => Some(Sent {
            packet_id: packet_id(reader.u16()?)?,
            received: flags & RECEIVED != 0,
        }),
    };
    let identifiers = match flags & IDENTIFIERS {
        0 => Identifiers::None,
        _ => read_identifiers(&mut reader)?,
    };
    let membership = match flags & BY_SHARED {
        0 => None,
        _ => Some(read_membership(&mut reader)?),
    };
    let (shared, message) = if flags & SHARED == 0 {
        (None, Some(read_message(reader.rest(), clock)?))
    } else {
        let number = reader.u64()?;
        reader.end()?;
        (Some(number), None)
    };
    Ok(EntryBody {
        shared,
        message,
        qos: qos(flags)?,
        retain: flags & RETAIN != 0,
        identifiers,
        sent,
        membership,
    })
}

fn read_membership(reader: &mut Reader<'_>) -> Result<Membership, Damaged> {
    let number = NonZeroU32::new(narrow(reader.number()?)?);
    number
        .map(Membership)
        .ok_or(Damaged("the number of a shared subscription is 0"))
}

fn read_identifiers(reader: &mut Reader<'_>) -> Result<Identifiers, Damaged> {
    let count = reader.number()?;
    if count == 0 || count > IDENTIFIERS_MAX {
        return Err(Damaged("an entry has an impossible number of identifiers"));
    }
    let mut identifiers = Vec::new();
    for _ in 0..count {
        identifiers.push(narrow(reader.number()?)?);
    }
    Ok(Identifiers::from(identifiers.as_slice()))
}

fn narrow(number: u64) -> Result<u32, Damaged> {
    u32::try_from(number).map_err(|_| Damaged("a number has too many bits"))
}

/// Appends how far an entry is.
pub(crate) fn write_mark(out: &mut Vec<u8>, sent: Sent) {
    out.extend_from_slice(&sent.packet_id.0.get().to_be_bytes());
    out.push(u8::from(sent.received));
}

/// Reads how far an entry is.
pub(crate) fn read_mark(value: &[u8]) -> Result<Sent, Damaged> {
    let mut reader = Reader(value);
    let packet_id = packet_id(reader.u16()?)?;
    let received = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Damaged("a mark has unknown flags")),
    };
    reader.end()?;
    Ok(Sent {
        packet_id,
        received,
    })
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const NUMBERED: u8 = 1 << 6;

/// Appends a subscription: the options byte of SUBSCRIBE, the identifier and the number.
pub(crate) fn write_subscription(
    out: &mut Vec<u8>,
    options: SubscriptionOptions,
    id: u32,
    membership: Option<Membership>,
) {
    let mut flags = options.qos as u8 | (options.retain_handling as u8) << 4;
    if options.no_local {
        flags |= NO_LOCAL;
    }
    if options.retain_as_published {
        flags |= RETAIN_AS_PUBLISHED;
    }
    if membership.is_some() {
        flags |= NUMBERED;
    }
    out.push(flags);
    write::number(out, u64::from(id));
    if let Some(membership) = membership {
        write::number(out, u64::from(membership.0.get()));
    }
}

/// Reads a subscription: options, identifier and number.
pub(crate) fn read_subscription(
    value: &[u8],
) -> Result<(SubscriptionOptions, u32, Option<Membership>), Damaged> {
    let mut reader = Reader(value);
    let flags = reader.u8()?;
    let retain_handling = match (flags & !NUMBERED) >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DontSend,
        _ => return Err(Damaged("a subscription has unknown options")),
    };
    let options = SubscriptionOptions {
        qos: qos(flags)?,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    };
    let identifier = narrow(reader.number()?)?;
    let membership = match flags & NUMBERED {
        0 => None,
        _ => Some(read_membership(&mut reader)?),
    };
    reader.end()?;
    Ok((options, identifier, membership))
}

const ENDS: u8 = 1;
const WILL: u8 = 1 << 1;
const WILL_EXPIRY: u8 = 1 << 2;
const WILL_DUE: u8 = 1 << 3;
const PERHAPS_SENT: u8 = 1 << 4;
const ALL: u8 = ENDS | WILL | WILL_EXPIRY | WILL_DUE | PERHAPS_SENT;

/// Appends the record of a session.
pub(crate) fn write_session(out: &mut Vec<u8>, clock: Clock, record: &SessionRecord) {
    let will = record.will.as_ref();
    let expiry = will.and_then(|will| will.expiry_s);
    let due = will.and_then(|will| will.due_ms);
    let flag = |set, bit| if set { bit } else { 0 };
    out.push(
        flag(record.ends_ms.is_some(), ENDS)
            | flag(will.is_some(), WILL)
            | flag(expiry.is_some(), WILL_EXPIRY)
            | flag(due.is_some(), WILL_DUE)
            | flag(record.perhaps_sent > 0, PERHAPS_SENT),
    );
    write::bytes(out, record.client_id.as_bytes());
    out.extend_from_slice(&record.expiry_s.to_be_bytes());
    if let Some(ends_ms) = record.ends_ms {
        out.extend_from_slice(&clock.stored(ends_ms).to_be_bytes());
    }
    if record.perhaps_sent > 0 {
        write::number(out, record.perhaps_sent);
    }
    if let Some(will) = will {
        out.extend_from_slice(&will.delay_s.to_be_bytes());
        if let Some(expiry_s) = expiry {
            out.extend_from_slice(&expiry_s.to_be_bytes());
        }
        if let Some(due_ms) = due {
            out.extend_from_slice(&clock.stored(due_ms).to_be_bytes());
        }
        write_message(out, clock, &will.message);
    }
}

/// Reads the record of a session.
pub(crate) fn read_session(value: &[u8], clock: Clock) -> Result<SessionRecord, Damaged> {
    let mut reader = Reader(value);
    let flags = reader.u8()?;
    let of_will = flags & (WILL_EXPIRY | WILL_DUE);
    if flags & !ALL != 0 || (of_will != 0 && flags & WILL == 0) {
        return Err(Damaged("a session has unknown flags"));
    }
    let client_id = reader.text()?.into();
    let expiry_s = reader.u32()?;
    let ends_ms = match flags & ENDS {
        0 => None,
        _ => Some(clock.counted(reader.u64()?)),
    };
    let perhaps_sent = match flags & PERHAPS_SENT {
        0 => 0,
        _ => reader.number()?,
    };
    let will = match flags & WILL {
        0 => {
            reader.end()?;
            None
        }
        _ => Some(read_will(flags, reader, clock)?),
    };
    Ok(SessionRecord {
        client_id,
        expiry_s,
        ends_ms,
        will,
        perhaps_sent,
    })
}

fn read_will(flags: u8, mut reader: Reader<'_>, clock: Clock) -> Result<Will, Damaged> {
    let delay_s = reader.u32()?;
    let expiry_s = match flags & WILL_EXPIRY {
        0 => None,
        _ => Some(reader.u32()?),
    };
    let due_ms = match flags & WILL_DUE {
        0 => None,
        _ => Some(clock.counted(reader.u64()?)),
    };
    Ok(Will {
        message: read_message(reader.rest(), clock)?,
        delay_s,
        expiry_s,
        due_ms,
    })
}

/// Appends what the clocks said.
pub(crate) fn write_clock(out: &mut Vec<u8>, reading: Reading) {
    out.extend_from_slice(&reading.wall_ms.to_be_bytes());
    out.extend_from_slice(&reading.stored_ms.to_be_bytes());
}

/// Reads what the clocks said.
pub(crate) fn read_clock(value: &[u8]) -> Result<Reading, Damaged> {
    let mut reader = Reader(value);
    let (wall_ms, stored_ms) = (reader.u64()?, reader.u64()?);
    reader.end()?;
    Ok(Reading { wall_ms, stored_ms })
}

/// Appends the number of the format.
pub(crate) fn write_format(out: &mut Vec<u8>, format: u32) {
    out.extend_from_slice(&format.to_be_bytes());
}

/// Reads the number of the format.
pub(crate) fn read_format(value: &[u8]) -> Result<u32, Damaged> {
    let mut reader = Reader(value);
    let format = reader.u32()?;
    reader.end()?;
    Ok(format)
}

/// Appends what of the log is in the records.
pub(crate) fn write_position(out: &mut Vec<u8>, position: &Position) {
    out.push(u8::from(position.open));
    out.extend_from_slice(&position.applied.to_be_bytes());
    for word in position.secret {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// Reads what of the log is in the records.
pub(crate) fn read_position(value: &[u8]) -> Result<Position, Damaged> {
    let mut reader = Reader(value);
    let open = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Damaged("a log is neither open nor closed")),
    };
    let position = Position {
        open,
        applied: reader.u64()?,
        secret: [reader.u64()?, reader.u64()?],
    };
    reader.end()?;
    Ok(position)
}

/// Appends up to which message of a process a stream is received.
pub(crate) fn write_received(out: &mut Vec<u8>, boot: u64, number: u64) {
    out.extend_from_slice(&boot.to_be_bytes());
    write::number(out, number);
}

/// Reads up to which message of a process a stream is received.
pub(crate) fn read_received(value: &[u8]) -> Result<(u64, u64), Damaged> {
    let mut reader = Reader(value);
    let received = (reader.u64()?, reader.number()?);
    reader.end()?;
    Ok(received)
}

/// Appends how sessions are divided among the shards.
pub(crate) fn write_division(out: &mut Vec<u8>, division: Division) {
    out.extend_from_slice(&division.seed.to_be_bytes());
    out.extend_from_slice(&division.shards.to_be_bytes());
}

/// Reads how sessions are divided among the shards.
pub(crate) fn read_division(value: &[u8]) -> Result<Division, Damaged> {
    let mut reader = Reader(value);
    let division = Division {
        seed: reader.u64()?,
        shards: reader.u16()?,
    };
    reader.end()?;
    Ok(division)
}
