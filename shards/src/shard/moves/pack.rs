//! A session as bytes, for another node. Times are how long it takes until then: nodes have
//! clocks of their own.
//!
//! Whatever the bytes are, they are read or refused: they come from another process.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::session::{Delivery, Identifiers, Membership, StoredAs};
use protocol::wire::{PacketId, QoS, RetainHandling, SubscriptionOptions};
use shard_store::{Sent, SessionNumber, SessionRecord, StoredEntry, StoredSession};
use shard_store::{StoredSubscription, Will as StoredWill};

use crate::shard::nodes::FOREIGN_PUBLISHER;

const RETAIN: u8 = 1 << 2;
const DUP: u8 = 1 << 3;
const MEMBER: u8 = 1 << 4;
const SENT: u8 = 1 << 5;
const RECEIVED: u8 = 1 << 6;

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

/// Never.
const NEVER: u64 = u64::MAX;

/// Writes a session, or parts of one.
#[derive(Debug)]
pub(super) struct Packer {
    now_ms: u64,
    out: Vec<u8>,
}

impl Packer {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            out: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A time, as how long it takes until then.
    pub(super) fn time(&mut self, at_ms: u64) {
        self.u64(match at_ms {
            NEVER => NEVER,
            at_ms => at_ms.saturating_sub(self.now_ms),
        });
    }

    pub(super) fn will(&mut self, will: Option<(&Message, u32, Option<u32>, u64)>) {
        let Some((message, delay_s, expiry_s, due_ms)) = will else {
            return self.out.push(0);
        };
        self.out.push(1);
        self.u32(delay_s);
        self.u64(expiry_s.map_or(NEVER, u64::from));
        self.time(due_ms);
        self.message(message);
    }

    pub(super) fn subscription(
        &mut self,
        filter: &str,
        options: SubscriptionOptions,
        identifier: u32,
        membership: Option<Membership>,
    ) {
        self.bytes(filter.as_bytes());
        let mut flags = options.qos as u8 | (options.retain_handling as u8) << 4;
        if options.no_local {
            flags |= NO_LOCAL;
        }
        if options.retain_as_published {
            flags |= RETAIN_AS_PUBLISHED;
        }
        self.out.push(flags);
        self.u32(identifier);
        self.u32(membership.map_or(0, |membership| membership.0.get()));
    }

    pub(super) fn packet_id(&mut self, id: PacketId) {
        self.out.extend_from_slice(&id.0.get().to_le_bytes());
    }

    /// A message of the session: in flight under an identifier, or queued.
    pub(super) fn entry(&mut self, delivery: &Delivery, sent: Option<PacketId>) {
        let mut flags = delivery.qos as u8;
        for (set, bit) in [
            (delivery.retain, RETAIN),
            (delivery.dup, DUP),
            (delivery.membership.is_some(), MEMBER),
            (sent.is_some(), SENT),
        ] {
            flags |= if set { bit } else { 0 };
        }
        self.out.push(flags);
        if let Some(id) = sent {
            self.packet_id(id);
        }
        if let Some(membership) = delivery.membership {
            self.u32(membership.0.get());
        }
        let identifiers = delivery.identifiers.as_slice();
        self.u32(identifiers.len() as u32);
        identifiers.iter().for_each(|id| self.u32(*id));
        self.message(&delivery.message);
    }

    /// A message for which PUBREC has come: only its identifier is left.
    pub(super) fn received(&mut self, id: PacketId) {
        self.out.push(QoS::ExactlyOnce as u8 | SENT | RECEIVED);
        self.packet_id(id);
    }

    fn message(&mut self, message: &Message) {
        let message = message.by_ref();
        self.out
            .push(message.qos as u8 | if message.retain { RETAIN } else { 0 });
        self.time(message.expires_ms);
        self.bytes(message.topic.as_bytes());
        self.bytes(message.properties);
        self.bytes(message.payload);
    }
}

/// Reads what [`Packer`] has written.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    now_ms: u64,
    rest: &'a [u8],
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(now_ms: u64, bytes: &'a [u8]) -> Self {
        Self {
            now_ms,
            rest: bytes,
        }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Option<u64> {
        Some(match self.u64()? {
            NEVER => NEVER,
            in_ms => self.now_ms.saturating_add(in_ms),
        })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()?;
        self.take(count as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        core::str::from_utf8(self.bytes()?).ok()
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        let id = self.array().map(u16::from_le_bytes)?;
        NonZeroU16::new(id).map(PacketId)
    }

    fn message(&mut self) -> Option<Arc<Message>> {
        let flags = self.u8()?;
        let message = MessageRef {
            qos: qos(flags)?,
            retain: flags & RETAIN != 0,
            expires_ms: self.time()?,
            topic: self.text().filter(|topic| topic.len() <= 0xffff)?,
            properties: self.bytes()?,
            payload: self.bytes()?,
            publisher: FOREIGN_PUBLISHER,
        };
        Some(message.to_message())
    }

    fn will(&mut self) -> Option<Option<StoredWill>> {
        if self.u8()? == 0 {
            return Some(None);
        }
        Some(Some(StoredWill {
            delay_s: self.u32()?,
            expiry_s: u32::try_from(self.u64()?).ok(),
            due_ms: Some(self.time()?),
            message: self.message()?,
        }))
    }

    fn subscription(&mut self) -> Option<StoredSubscription> {
        let filter = self.text()?.into();
        let flags = self.u8()?;
        let options = SubscriptionOptions {
            qos: qos(flags)?,
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match flags >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DontSend,
                _ => return None,
            },
        };
        Some(StoredSubscription {
            filter,
            options,
            identifier: self.u32()?,
            membership: NonZeroU32::new(self.u32()?).map(Membership),
        })
    }

    /// A message of the session, and whether it is to be sent with DUP. `number` is that of
    /// its entry.
    pub(super) fn entry(&mut self, number: u64) -> Option<(StoredEntry, bool)> {
        let flags = self.u8()?;
        let received = flags & RECEIVED != 0;
        let sent = match flags & SENT {
            0 => None,
            _ => Some(Sent {
                packet_id: self.packet_id()?,
                received,
            }),
        };
        let mut entry = StoredEntry {
            number,
            shared: None,
            message: released(),
            qos: qos(flags)?,
            retain: flags & RETAIN != 0,
            identifiers: Identifiers::None,
            sent,
            membership: None,
        };
        if received {
            return Some((entry, false));
        }
        if flags & MEMBER != 0 {
            entry.membership = NonZeroU32::new(self.u32()?).map(Membership);
        }
        let count = self.u32()?;
        let mut identifiers = Vec::new();
        for _ in 0..count {
            identifiers.push(self.u32()?);
        }
        entry.identifiers = Identifiers::from(identifiers.as_slice());
        entry.message = self.message()?;
        Some((entry, flags & DUP != 0))
    }

    /// A whole session. `number` gives the numbers of entries, in ascending order.
    pub(super) fn session(
        mut self,
        client_id: &str,
        number: &mut dyn FnMut() -> u64,
    ) -> Option<StoredSession> {
        let expiry_s = self.u32()?;
        let ends_ms = Some(self.time()?);
        let will = self.will()?;
        let mut subscriptions = Vec::new();
        for _ in 0..self.u32()? {
            subscriptions.push(self.subscription()?);
        }
        let mut held = Vec::new();
        for _ in 0..self.u32()? {
            held.push(self.packet_id()?);
        }
        let (mut entries, mut perhaps_sent) = (Vec::new(), 0);
        for _ in 0..self.u32()? {
            let (entry, dup) = self.entry(number())?;
            if dup {
                perhaps_sent = entry.number;
            }
            entries.push(entry);
        }
        let record = SessionRecord {
            client_id: client_id.into(),
            expiry_s,
            ends_ms,
            will,
            perhaps_sent,
        };
        self.rest.is_empty().then_some(StoredSession {
            number: SessionNumber(0),
            record,
            subscriptions,
            held,
            entries,
        })
    }
}

/// A delivery that was passed on.
pub(super) fn delivery(entry: StoredEntry, dup: bool) -> Delivery {
    Delivery {
        message: entry.message,
        identifiers: entry.identifiers,
        qos: entry.qos,
        retain: entry.retain,
        stored: StoredAs::default(),
        membership: entry.membership,
        dup,
    }
}

/// Stands for a message that the client has and that is to be released.
fn released() -> Arc<Message> {
    let message = MessageRef {
        topic: "$cluster/released",
        properties: &[],
        payload: &[],
        qos: QoS::ExactlyOnce,
        retain: false,
        expires_ms: u64::MAX,
        publisher: FOREIGN_PUBLISHER,
    };
    message.to_message()
}

fn qos(flags: u8) -> Option<QoS> {
    match flags & 3 {
        0 => Some(QoS::AtMostOnce),
        1 => Some(QoS::AtLeastOnce),
        2 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}
