//! A PUBLISH encoded once for many receivers.

use std::num::NonZeroU16;
use std::sync::Arc;

use protocol::aliases::Alias;
use protocol::hash::Seed;
use protocol::message::{Message as Kept, MessageRef};
use protocol::wire::encode::{self, Message};
use protocol::wire::{PacketId, QoS, Version};

use super::outbox::{Output, SHARED_BYTES_MIN};

/// A message and, once one receiver has to keep it, the copy that all of them share.
pub(crate) struct Outgoing<'a> {
    message: MessageRef<'a>,
    kept: Option<Arc<Kept>>,
    topic_hash: Option<u64>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(message: MessageRef<'a>) -> Self {
        Self {
            message,
            kept: None,
            topic_hash: None,
        }
    }

    pub(crate) fn of(kept: &'a Arc<Kept>) -> Self {
        Self {
            message: Kept::by_ref(kept),
            kept: Some(Arc::clone(kept)),
            topic_hash: None,
        }
    }

    pub(crate) fn message(&self) -> &MessageRef<'a> {
        &self.message
    }

    /// The hash of the topic, worked out when the first receiver needs it.
    pub(crate) fn topic_hash(&mut self, seed: Seed) -> u64 {
        let topic = self.message.topic;
        *self.topic_hash.get_or_insert_with(|| seed.hash(topic))
    }

    pub(crate) fn keep(&mut self) -> Arc<Kept> {
        Arc::clone(self.kept.get_or_insert_with(|| self.message.to_message()))
    }
}

/// The encodings of one message, made when the first receiver needs them: by protocol
/// version (5.0 or earlier), RETAIN flag and whether there is a packet identifier.
/// Reused from message to message.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    made: [Option<Frame>; 16],
    /// The same with a topic alias: see [`alias_slot`].
    aliased: Option<Box<[Option<Frame>; 16]>>,
    has_aliased: bool,
}

/// Where an encoding is.
#[derive(Clone, Copy, Debug)]
struct Frame {
    start: usize,
    end: usize,
    /// Of the packet identifier from `start`.
    id_offset: usize,
    /// Of the topic alias from `start`.
    alias_offset: usize,
}

/// What varies between the receivers of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant<'a> {
    pub(crate) version: Version,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) identifiers: &'a [u32],
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) alias: Alias,
}

impl Frames {
    /// Forgets the encodings: the next message is another one.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.made = [None; 16];
        if self.has_aliased {
            self.aliased = self.aliased.take().map(|mut made| {
                *made = [None; 16];
                made
            });
            self.has_aliased = false;
        }
    }

    /// Appends the message to `output` for one receiver. False, and nothing appended, when
    /// the packet would be larger than `size_max` bytes or than a packet can be.
    #[inline]
    pub(crate) fn append(
        &mut self,
        output: &mut Output,
        outgoing: &mut Outgoing<'_>,
        variant: Variant<'_>,
        size_max: u32,
        now_ms: u64,
    ) -> bool {
        let bytes = &mut self.bytes;
        let made = match (
            variant.identifiers.is_empty() && !variant.dup,
            variant.alias,
        ) {
            (false, _) => None,
            (true, Alias::None) => Some(&mut self.made[slot(&variant)]),
            (true, Alias::Set(_) | Alias::Known(_)) => {
                self.has_aliased = true;
                let aliased = self.aliased.get_or_insert_default();
                Some(&mut aliased[alias_slot(&variant)])
            }
        };
        let frame = match made {
            Some(Some(frame)) => *frame,
            Some(made) => *made.insert(encode(bytes, &outgoing.message, variant, now_ms)),
            None => encode(bytes, &outgoing.message, variant, now_ms),
        };
        let size = frame.end - frame.start;
        if size == 0 || size > size_max as usize {
            return false;
        }
        let at = output.bytes.len();
        let payload = outgoing.message.payload.len();
        if payload < SHARED_BYTES_MIN {
            output
                .bytes
                .extend_from_slice(&self.bytes[frame.start..frame.end]);
        } else {
            let head = &self.bytes[frame.start..frame.end - payload];
            output.bytes.extend_from_slice(head);
            output.share(outgoing.keep());
        }
        if let Some(id) = variant.packet_id {
            encode::set_packet_id(&mut output.bytes, at + frame.id_offset, id);
        }
        if let Alias::Set(alias) | Alias::Known(alias) = variant.alias {
            encode::set_topic_alias(&mut output.bytes, at + frame.alias_offset, alias);
        }
        true
    }
}

fn slot(variant: &Variant<'_>) -> usize {
    usize::from(variant.version == Version::V5)
        | usize::from(variant.retain) << 1
        | (variant.qos as usize) << 2
}

/// Aliases are for 5.0 only; their number is filled in for each receiver.
fn alias_slot(variant: &Variant<'_>) -> usize {
    usize::from(matches!(variant.alias, Alias::Known(_)))
        | usize::from(variant.retain) << 1
        | (variant.qos as usize) << 2
}

fn encode(
    bytes: &mut Vec<u8>,
    message: &MessageRef<'_>,
    variant: Variant<'_>,
    now_ms: u64,
) -> Frame {
    let start = bytes.len();
    let topic_alias: Option<NonZeroU16> = match variant.alias {
        Alias::None => None,
        Alias::Set(alias) | Alias::Known(alias) => Some(alias),
    };
    let wire = Message {
        qos: variant.qos,
        retain: variant.retain,
        dup: variant.dup,
        topic: match variant.alias {
            Alias::None | Alias::Set(_) => message.topic,
            Alias::Known(_) => "",
        },
        message_expiry: message.remaining_expiry_s(now_ms),
        properties: message.properties,
        subscription_ids: variant.identifiers,
        topic_alias,
        payload: message.payload,
    };
    let id_offset = encode::publish(bytes, variant.version, &wire, variant.packet_id);
    Frame {
        start,
        end: bytes.len(),
        id_offset: id_offset.saturating_sub(start),
        alias_offset: topic_alias.map_or(0, |_| encode::topic_alias_offset(&wire)),
    }
}

/// Bytes of the PUBLISH packet.
pub(crate) fn size(
    message: &MessageRef<'_>,
    qos: QoS,
    identifiers: &[u32],
    version: Version,
    now_ms: u64,
) -> usize {
    let wire = Message {
        qos,
        retain: false,
        dup: false,
        topic: message.topic,
        message_expiry: message.remaining_expiry_s(now_ms),
        properties: message.properties,
        subscription_ids: identifiers,
        topic_alias: None,
        payload: message.payload,
    };
    encode::publish_size(version, &wire)
}
