//! From lines to changes: what nobody but a broker writes has to be looked at.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::session::{Identifiers, Membership};
use protocol::topic::Subscription as Filter;
use protocol::wire::{
    PacketId, QoS, RetainHandling, Split, SubscriptionOptions, Version, decode_publish, encode,
    split,
};

use super::base64;
use super::line::{Delayed, EXPORT, Entry, Line, Session, Shared, Subscription, Text, WillText};
use crate::change::{Body, Change, Sent, SessionNumber, SessionRecord, Will};
use crate::clock::Clock;

/// The largest number of a session, message or entry, so that there is a next one.
const NUMBER_MAX: u64 = u64::MAX >> 8;
/// Bytes of the longest text on the wire.
const TEXT_MAX: usize = 0xffff;
/// The largest Subscription Identifier.
const IDENTIFIER_MAX: u32 = 268_435_455;

/// What has been read.
#[derive(Debug, Default)]
pub(super) struct Checker {
    begun: bool,
    sessions: HashSet<u64>,
    clients: HashSet<String>,
    messages: HashSet<u64>,
    numbers: HashSet<u64>,
}

impl Checker {
    /// The change that a line means.
    pub(super) fn take(&mut self, line: Line, clock: Clock) -> Result<Option<Change>, String> {
        if let Line::Shardmq(header) = line {
            return match header.export {
                EXPORT => {
                    self.begun = true;
                    Ok(None)
                }
                newer => Err(format!("export {newer}, this version knows {EXPORT}")),
            };
        }
        if !self.begun {
            return Err(format!(
                "the first line must be {{\"shardmq\":{{\"export\":{EXPORT}}}}}"
            ));
        }
        match line {
            Line::Shardmq(_) => return Ok(None),
            Line::Session(session) => self.session(*session, clock),
            Line::Subscription(subscription) => self.subscription(&subscription),
            Line::Held(held) => Ok(Change::HoldPacketId {
                session: self.known(held.session)?,
                packet_id: packet_id(held.packet_id)?,
            }),
            Line::Message(shared) => self.message(&shared, clock),
            Line::Entry(entry) => self.entry(&entry, clock),
            Line::Retained(text) => Ok(Change::Retain {
                message: message(&text, clock)?,
                version: text.version,
            }),
            Line::Delayed(delayed) => self.delayed(&delayed, clock),
        }
        .map(Some)
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) -> Result<(), String> {
        if self.begun {
            Ok(())
        } else {
            Err("there is nothing in it".to_owned())
        }
    }

    fn session(&mut self, session: Session, clock: Clock) -> Result<Change, String> {
        number(session.number)?;
        if session.client_id.is_empty() || session.client_id.len() > TEXT_MAX {
            return Err("a client identifier has 1 to 65,535 bytes".to_owned());
        }
        if !self.sessions.insert(session.number) || !self.numbers.insert(session.number) {
            return Err(format!("number {} is used twice", session.number));
        }
        if !self.clients.insert(session.client_id.clone()) {
            return Err(format!("client {:?} has two sessions", session.client_id));
        }
        let will = match &session.will {
            Some(text) => Some(will(text, clock)?),
            None => None,
        };
        Ok(Change::PutSession {
            session: SessionNumber(session.number),
            record: Box::new(SessionRecord {
                client_id: session.client_id.into(),
                expiry_s: session.expiry_s,
                ends_ms: session.ends_ms.map(|time| time.counted(clock)),
                will,
                perhaps_sent: session.perhaps_sent,
            }),
        })
    }

    fn subscription(&mut self, text: &Subscription) -> Result<Change, String> {
        let session = self.known(text.session)?;
        Filter::parse(&text.filter, u16::MAX)
            .map_err(|_| format!("{:?} is no topic filter", text.filter))?;
        if text.identifier > IDENTIFIER_MAX {
            return Err("a subscription identifier is at most 268,435,455".to_owned());
        }
        let retain_handling = match text.retain_handling {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DontSend,
            _ => return Err("retain_handling is 0, 1 or 2".to_owned()),
        };
        Ok(Change::PutSubscription {
            session,
            filter: text.filter.as_str().into(),
            options: SubscriptionOptions {
                qos: qos(text.qos)?,
                no_local: text.no_local,
                retain_as_published: text.retain_as_published,
                retain_handling,
            },
            identifier: text.identifier,
            membership: text.membership.map(Membership),
        })
    }

    fn message(&mut self, shared: &Shared, clock: Clock) -> Result<Change, String> {
        self.unused(shared.number)?;
        self.messages.insert(shared.number);
        Ok(Change::PutMessage {
            number: shared.number,
            message: message(&shared.message, clock)?,
        })
    }

    fn entry(&mut self, entry: &Entry, clock: Clock) -> Result<Change, String> {
        let session = self.known(entry.session)?;
        self.unused(entry.number)?;
        let body = match (&entry.message, entry.shared) {
            (Some(text), None) => Body::Own(message(text, clock)?),
            (None, Some(number)) if self.messages.contains(&number) => Body::Shared(number),
            (None, Some(number)) => return Err(format!("no message {number} comes before")),
            _ => return Err("an entry has either message or shared".to_owned()),
        };
        if entry
            .identifiers
            .iter()
            .any(|id| !(1..=IDENTIFIER_MAX).contains(id))
        {
            return Err("a subscription identifier is 1 to 268,435,455".to_owned());
        }
        let sent = match &entry.sent {
            Some(sent) => Some(Sent {
                packet_id: packet_id(sent.packet_id)?,
                received: sent.received,
            }),
            None => None,
        };
        Ok(Change::PutEntry {
            session,
            number: entry.number,
            body,
            qos: qos(entry.qos)?,
            retain: entry.retain,
            identifiers: Identifiers::from(entry.identifiers.as_slice()),
            sent,
            membership: entry.membership.map(Membership),
        })
    }

    fn delayed(&mut self, delayed: &Delayed, clock: Clock) -> Result<Change, String> {
        self.unused(delayed.number)?;
        Ok(Change::PutDelayed {
            number: delayed.number,
            due_ms: delayed.due_ms.counted(clock),
            message: message(&delayed.message, clock)?,
        })
    }

    fn known(&self, session: u64) -> Result<SessionNumber, String> {
        if self.sessions.contains(&session) {
            Ok(SessionNumber(session))
        } else {
            Err(format!("no session {session} comes before"))
        }
    }

    fn unused(&mut self, given: u64) -> Result<(), String> {
        number(given)?;
        if self.numbers.insert(given) {
            Ok(())
        } else {
            Err(format!("number {given} is used twice"))
        }
    }
}

fn number(number: u64) -> Result<(), String> {
    if number <= NUMBER_MAX {
        Ok(())
    } else {
        Err(format!("{number} is too big a number"))
    }
}

fn qos(number: u8) -> Result<QoS, String> {
    match number {
        0 => Ok(QoS::AtMostOnce),
        1 => Ok(QoS::AtLeastOnce),
        2 => Ok(QoS::ExactlyOnce),
        _ => Err("a QoS is 0, 1 or 2".to_owned()),
    }
}

fn packet_id(number: u16) -> Result<PacketId, String> {
    NonZeroU16::new(number)
        .map(PacketId)
        .ok_or_else(|| "a packet identifier is 1 to 65,535".to_owned())
}

fn will(text: &WillText, clock: Clock) -> Result<Will, String> {
    Ok(Will {
        message: message(&text.message, clock)?,
        delay_s: text.delay_s,
        expiry_s: text.expiry_s,
        due_ms: text.due_ms.map(|time| time.counted(clock)),
    })
}

fn message(text: &Text, clock: Clock) -> Result<Arc<Message>, String> {
    let bytes =
        |text: &str| base64::decode(text).ok_or_else(|| "what should be base64 is not".to_owned());
    let properties = bytes(text.properties_base64.as_deref().unwrap_or_default())?;
    let payload = match (&text.payload, &text.payload_base64) {
        (Some(payload), None) => payload.as_bytes().to_vec(),
        (None, Some(payload)) => bytes(payload)?,
        (None, None) => Vec::new(),
        _ => return Err("a message has either payload or payload_base64".to_owned()),
    };
    let message = MessageRef {
        topic: &text.topic,
        properties: &properties,
        payload: &payload,
        qos: qos(text.qos)?,
        retain: text.retain,
        expires_ms: text.expires_ms.map_or(u64::MAX, |time| time.counted(clock)),
        publisher: u64::MAX,
    };
    if !is_publishable(&message) {
        return Err(format!(
            "no client could publish this to {:?}: its topic or its properties are wrong",
            text.topic
        ));
    }
    Ok(message.to_message())
}

/// Whether a PUBLISH with this is one that a client could send.
fn is_publishable(message: &MessageRef<'_>) -> bool {
    if message.topic.is_empty() || message.topic.len() > TEXT_MAX {
        return false;
    }
    let mut out = Vec::new();
    let publish = encode::Message {
        qos: QoS::AtMostOnce,
        retain: false,
        dup: false,
        topic: message.topic,
        message_expiry: None,
        properties: message.properties,
        subscription_ids: &[],
        topic_alias: None,
        payload: message.payload,
    };
    encode::publish(&mut out, Version::V5, &publish, None);
    let Ok(Split::Packet { first, body, .. }) = split(&out, u32::MAX) else {
        return false;
    };
    decode_publish(Version::V5, first, body).is_ok_and(|publish| {
        let mut forwarded = Vec::new();
        publish.properties.forwarded_into(&mut forwarded);
        forwarded == message.properties
    })
}
