//! The lines of an export.

use std::num::NonZeroU32;

use protocol::message::Message;
use protocol::session::Membership;
use protocol::wire::{PacketId, SubscriptionOptions};
use serde::{Deserialize, Serialize};

use super::base64;
use crate::change::{Sent, SessionNumber, SessionRecord, Will};
use crate::clock::Clock;
use crate::stored::{StoredDelayed, StoredEntry, StoredRetained, StoredSubscription};

/// One line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Shardmq(Header),
    Session(Box<Session>),
    Subscription(Subscription),
    Held(Held),
    Message(Shared),
    Entry(Box<Entry>),
    Retained(Text),
    Delayed(Delayed),
}

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) export: u32,
}

/// The version of this text.
pub(super) const EXPORT: u32 = 1;

impl Default for Header {
    fn default() -> Self {
        Self { export: EXPORT }
    }
}

/// A time in milliseconds since 1970, or `"never"`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Time {
    At(u64),
    Never(Never),
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Never {
    Never,
}

impl Time {
    fn of(shard_ms: u64, clock: Clock) -> Self {
        match clock.stored(shard_ms) {
            u64::MAX => Self::Never(Never::Never),
            time => Self::At(time),
        }
    }

    pub(super) fn counted(self, clock: Clock) -> u64 {
        match self {
            Self::At(time) => clock.counted(time),
            Self::Never(_) => u64::MAX,
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) client_id: String,
    pub(super) expiry_s: u32,
    /// Not there while the client is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ends_ms: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) will: Option<WillText>,
    /// QoS 1 entries up to this number are sent with DUP.
    #[serde(default, skip_serializing_if = "is_0")]
    pub(super) perhaps_sent: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_0(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WillText {
    pub(super) message: Text,
    pub(super) delay_s: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expiry_s: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_ms: Option<Time>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscription {
    pub(super) session: u64,
    pub(super) filter: String,
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) no_local: bool,
    #[serde(default)]
    pub(super) retain_as_published: bool,
    #[serde(default)]
    pub(super) retain_handling: u8,
    /// 0 for none.
    #[serde(default)]
    pub(super) identifier: u32,
    /// The number that entries know a shared subscription by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) membership: Option<NonZeroU32>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) session: u64,
    pub(super) packet_id: u16,
}

/// A message that entries refer to.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    pub(super) number: u64,
    pub(super) message: Text,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) session: u64,
    pub(super) number: u64,
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) identifiers: Vec<u32>,
    /// That it is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sent: Option<InFlight>,
    /// The shared subscription of its session that it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) membership: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Text>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InFlight {
    pub(super) packet_id: u16,
    /// Whether PUBREC has come.
    pub(super) received: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delayed {
    pub(super) number: u64,
    pub(super) due_ms: Time,
    pub(super) message: Text,
}

/// A message.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    pub(super) topic: String,
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires_ms: Option<Time>,
    /// Of a retained message: the largest is the newest of its topic in a cluster.
    #[serde(default, skip_serializing_if = "is_0")]
    pub(super) version: u64,
    /// The properties of MQTT 5.0 that are forwarded, as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) properties_base64: Option<String>,
    /// The payload where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<String>,
    /// The payload where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_base64: Option<String>,
}

impl Text {
    pub(super) fn of(message: &Message, clock: Clock) -> Self {
        let message = message.by_ref();
        let text = std::str::from_utf8(message.payload).ok();
        let base64 = |bytes: &[u8]| base64::encode(bytes);
        Self {
            topic: message.topic.to_owned(),
            qos: message.qos as u8,
            retain: message.retain,
            expires_ms: (message.expires_ms != u64::MAX)
                .then(|| Time::of(message.expires_ms, clock)),
            version: 0,
            properties_base64: (!message.properties.is_empty()).then(|| base64(message.properties)),
            payload: text.map(str::to_owned),
            payload_base64: text.is_none().then(|| base64(message.payload)),
        }
    }

    pub(super) fn retained(retained: &StoredRetained, clock: Clock) -> Self {
        Self {
            version: retained.version,
            ..Self::of(&retained.message, clock)
        }
    }
}

fn number(membership: Membership) -> NonZeroU32 {
    membership.0
}

impl Line {
    pub(super) fn session(number: SessionNumber, record: &SessionRecord, clock: Clock) -> Self {
        let will = |will: &Will| WillText {
            message: Text::of(&will.message, clock),
            delay_s: will.delay_s,
            expiry_s: will.expiry_s,
            due_ms: will.due_ms.map(|time| Time::of(time, clock)),
        };
        Self::Session(Box::new(Session {
            number: number.0,
            client_id: record.client_id.to_string(),
            expiry_s: record.expiry_s,
            ends_ms: record.ends_ms.map(|time| Time::of(time, clock)),
            will: record.will.as_ref().map(will),
            perhaps_sent: record.perhaps_sent,
        }))
    }

    pub(super) fn subscription(session: SessionNumber, of: &StoredSubscription) -> Self {
        let SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        } = of.options;
        Self::Subscription(Subscription {
            session: session.0,
            filter: of.filter.to_string(),
            qos: qos as u8,
            no_local,
            retain_as_published,
            retain_handling: retain_handling as u8,
            identifier: of.identifier,
            membership: of.membership.map(number),
        })
    }

    pub(super) fn held(session: SessionNumber, packet_id: PacketId) -> Self {
        Self::Held(Held {
            session: session.0,
            packet_id: packet_id.0.get(),
        })
    }

    pub(super) fn delayed(delayed: &StoredDelayed, clock: Clock) -> Self {
        Self::Delayed(Delayed {
            number: delayed.number,
            due_ms: Time::of(delayed.due_ms, clock),
            message: Text::of(&delayed.message, clock),
        })
    }
}

impl Entry {
    pub(super) fn of(session: SessionNumber, entry: &StoredEntry, clock: Clock) -> Self {
        let in_flight = |sent: Sent| InFlight {
            packet_id: sent.packet_id.0.get(),
            received: sent.received,
        };
        Self {
            session: session.0,
            number: entry.number,
            qos: entry.qos as u8,
            retain: entry.retain,
            identifiers: entry.identifiers.as_slice().to_vec(),
            sent: entry.sent.map(in_flight),
            membership: entry.membership.map(number),
            shared: entry.shared,
            message: entry
                .shared
                .is_none()
                .then(|| Text::of(&entry.message, clock)),
        }
    }
}
