//! A PUBLISH encoded once for many receivers.

use std::sync::Arc;

use protocol::aliases::Alias;
use protocol::hash::Seed;
use protocol::message::{Message as Kept, MessageRef};
use protocol::wire::encode::{self, Message};
use protocol::wire::{PacketId, QoS, Version};
use shard_store::Change;

use super::journal::Journal;
use super::outbox::{Output, SHARED_BYTES_MIN};

/// A message and, once one receiver has to keep it, the copy that all of them share.
pub(crate) struct Outgoing<'a> {
    message: MessageRef<'a>,
    kept: Option<Arc<Kept>>,
    /// Several sessions may store it: they share one copy.
    many: bool,
    /// The number of that copy, when there is one.
    stored: u64,
    topic_hash: Option<u64>,
}

impl<'a> Outgoing<'a> {
    pub(crate) fn new(message: MessageRef<'a>) -> Self {
        Self {
            message,
            kept: None,
            many: false,
            stored: 0,
            topic_hash: None,
        }
    }

    /// A message for several sessions.
    pub(crate) fn for_many(message: MessageRef<'a>, many: bool) -> Self {
        Self {
            many,
            ..Self::new(message)
        }
    }

    pub(crate) fn of(kept: &'a Arc<Kept>) -> Self {
        Self {
            message: Kept::by_ref(kept),
            kept: Some(Arc::clone(kept)),
            many: false,
            stored: 0,
            topic_hash: None,
        }
    }

    /// The number under which the message is stored on its own, or 0 when each entry has it.
    /// It counts as referred to until [`Outgoing::end`].
    pub(crate) fn stored_as(&mut self, journal: &mut Journal, changes: &mut Vec<Change>) -> u64 {
        if self.many && self.stored == 0 {
            let message = self.keep();
            let (number, put) = journal.put_message(&message);
            journal.count_shared(number);
            changes.push(put);
            self.stored = number;
        }
        self.stored
    }

    /// The message has gone to all its receivers.
    pub(crate) fn end(&self, journal: Option<&mut Journal>) {
        if self.stored != 0
            && let Some(journal) = journal
        {
            journal.drop_reference(self.stored);
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
    plain: Made,
    /// The same with a topic alias: see [`alias_slot`].
    aliased: Made,
}

/// Which encodings there are, and where.
#[derive(Debug, Default)]
struct Made {
    /// A bit for each of `frames` that holds for this message.
    known: u16,
    frames: [Frame; 16],
}

/// Where an encoding is.
#[derive(Clone, Copy, Debug, Default)]
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
        self.plain.known = 0;
        self.aliased.known = 0;
    }

    /// The encoding for one receiver, made unless there is one.
    #[inline]
    fn frame(&mut self, message: &MessageRef<'_>, variant: Variant<'_>, now_ms: u64) -> Frame {
        let (made, slot) = match variant.alias {
            Alias::None => (&mut self.plain, slot(&variant)),
            Alias::Set(_) | Alias::Known(_) => (&mut self.aliased, alias_slot(&variant)),
        };
        if made.known & 1 << slot != 0 {
            return made.frames[slot];
        }
        let frame = encode(&mut self.bytes, message, variant, now_ms);
        made.known |= 1 << slot;
        made.frames[slot] = frame;
        frame
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
        let alone = !outgoing.many || variant.dup || !variant.identifiers.is_empty();
        if alone && outgoing.message.payload.len() < SHARED_BYTES_MIN {
            return append_alone(output, &outgoing.message, variant, size_max, now_ms);
        }
        if !alone {
            let frame = self.frame(&outgoing.message, variant, now_ms);
            return self.append_frame(output, outgoing, &variant, frame, size_max);
        }
        // Nobody else gets the same bytes: they are not kept.
        let kept = self.bytes.len();
        let frame = encode(&mut self.bytes, &outgoing.message, variant, now_ms);
        let sent = self.append_frame(output, outgoing, &variant, frame, size_max);
        self.bytes.truncate(kept);
        sent
    }

    #[inline]
    fn append_frame(
        &self,
        output: &mut Output,
        outgoing: &mut Outgoing<'_>,
        variant: &Variant<'_>,
        frame: Frame,
        size_max: u32,
    ) -> bool {
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

/// Appends the message for its only receiver: encoded where it is to be.
#[inline]
fn append_alone(
    output: &mut Output,
    message: &MessageRef<'_>,
    variant: Variant<'_>,
    size_max: u32,
    now_ms: u64,
) -> bool {
    let at = output.bytes.len();
    encode_packet(
        &mut output.bytes,
        &wire(message, &variant, now_ms),
        &variant,
    );
    let size = output.bytes.len() - at;
    if size == 0 || size > size_max as usize {
        output.bytes.truncate(at);
        return false;
    }
    true
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
    let wire = wire(message, &variant, now_ms);
    let id_offset = encode_packet(bytes, &wire, &variant);
    Frame {
        start,
        end: bytes.len(),
        id_offset: id_offset.saturating_sub(start),
        alias_offset: wire
            .topic_alias
            .map_or(0, |_| encode::topic_alias_offset(&wire)),
    }
}

#[inline]
fn encode_packet(bytes: &mut Vec<u8>, wire: &Message<'_>, variant: &Variant<'_>) -> usize {
    encode::publish(bytes, variant.version, wire, variant.packet_id)
}

/// What one receiver gets.
#[inline]
fn wire<'a>(message: &MessageRef<'a>, variant: &Variant<'a>, now_ms: u64) -> Message<'a> {
    let (topic, topic_alias) = match variant.alias {
        Alias::None => (message.topic, None),
        Alias::Set(alias) => (message.topic, Some(alias)),
        Alias::Known(alias) => ("", Some(alias)),
    };
    Message {
        qos: variant.qos,
        retain: variant.retain,
        dup: variant.dup,
        topic,
        message_expiry: message.remaining_expiry_s(now_ms),
        properties: message.properties,
        subscription_ids: variant.identifiers,
        topic_alias,
        payload: message.payload,
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
