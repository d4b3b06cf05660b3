//! A message that outlives the packet it came in.

use std::sync::Arc;

use crate::wire::QoS;

/// An application message, kept for a queue, for re-delivery, as a retained message
/// or as a will. Shared by reference between all sessions that hold it, on any shard,
/// and never changed.
#[derive(Debug, Eq, PartialEq)]
pub struct Message {
    /// Topic, forwarded properties and payload, one after the other.
    bytes: Box<[u8]>,
    topic_len: u16,
    properties_len: u32,
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// When it expires, in milliseconds of the shard's clock; `u64::MAX` never.
    pub expires_ms: u64,
    /// Who published it, for No Local: see [`MessageRef::publisher`].
    pub publisher: u64,
}

/// What delivery needs of a message, wherever its bytes are: in a receive buffer, in a
/// batch from another shard or in a [`Message`].
#[derive(Clone, Copy, Debug)]
pub struct MessageRef<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Properties that go unaltered to subscribers, in their encoded form.
    pub properties: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
    /// The QoS it was published with.
    pub qos: QoS,
    /// The RETAIN flag it was published with.
    pub retain: bool,
    /// When it expires, in milliseconds of the shard's clock; `u64::MAX` never.
    pub expires_ms: u64,
    /// The session that published it, as `shard << 32 | session`, and above that, where a
    /// share group goes by it, 16 bits of the hash of the client identifier; `u64::MAX` for
    /// a message that no session is excluded from.
    pub publisher: u64,
}

impl MessageRef<'_> {
    /// Copies the message, to keep it.
    #[must_use]
    pub fn to_message(&self) -> Arc<Message> {
        let size = self.topic.len() + self.properties.len() + self.payload.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(self.topic.as_bytes());
        bytes.extend_from_slice(self.properties);
        bytes.extend_from_slice(self.payload);
        Arc::new(Message {
            bytes: bytes.into_boxed_slice(),
            // A topic is a string of the wire: at most 65,535 bytes. Properties and
            // payload together are at most 268,435,455.
            topic_len: u16::try_from(self.topic.len()).unwrap_or(u16::MAX),
            properties_len: u32::try_from(self.properties.len()).unwrap_or(u32::MAX),
            qos: self.qos,
            retain: self.retain,
            expires_ms: self.expires_ms,
            publisher: self.publisher,
        })
    }

    /// The Message Expiry Interval to send at `now_ms`, in seconds, rounded up
    /// [MQTT-3.3.2-6]. `None` when the message never expires.
    #[must_use]
    pub fn remaining_expiry_s(&self, now_ms: u64) -> Option<u32> {
        if self.expires_ms == u64::MAX {
            return None;
        }
        let seconds = self.expires_ms.saturating_sub(now_ms).div_ceil(1000);
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl Message {
    /// Bytes it occupies, for the limits of queues and of the retained messages.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Self>()
    }

    /// Topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        let topic = self
            .bytes
            .get(..usize::from(self.topic_len))
            .unwrap_or_default();
        // The bytes were a `str` when the message was made.
        core::str::from_utf8(topic).unwrap_or_default()
    }

    /// Payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let start = usize::from(self.topic_len) + self.properties_len as usize;
        self.bytes.get(start..).unwrap_or_default()
    }

    /// The message by reference.
    #[must_use]
    pub fn by_ref(&self) -> MessageRef<'_> {
        let (topic, rest) = self
            .bytes
            .split_at(usize::from(self.topic_len).min(self.bytes.len()));
        let (properties, payload) = rest.split_at((self.properties_len as usize).min(rest.len()));
        MessageRef {
            topic: core::str::from_utf8(topic).unwrap_or_default(),
            properties,
            payload,
            qos: self.qos,
            retain: self.retain,
            expires_ms: self.expires_ms,
            publisher: self.publisher,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> MessageRef<'static> {
        MessageRef {
            topic: "a/b",
            properties: &[1, 1],
            payload: b"payload",
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_ms: 10_000,
            publisher: 7,
        }
    }

    #[test]
    fn a_kept_message_gives_back_what_it_was_made_of() {
        let kept = sample().to_message();
        let back = kept.by_ref();
        assert_eq!(back.topic, "a/b");
        assert_eq!(back.properties, [1, 1]);
        assert_eq!(back.payload, b"payload");
        assert_eq!(kept.payload(), b"payload");
        assert_eq!((back.qos, back.retain), (QoS::AtLeastOnce, true));
        assert_eq!((back.expires_ms, back.publisher), (10_000, 7));
        assert_eq!(kept.topic(), "a/b");
    }

    #[test]
    fn the_expiry_sent_is_what_remains_rounded_up() {
        let message = sample();
        assert_eq!(message.remaining_expiry_s(0), Some(10));
        assert_eq!(message.remaining_expiry_s(9_001), Some(1));
        assert_eq!(message.remaining_expiry_s(10_000), Some(0));
        let forever = MessageRef {
            expires_ms: u64::MAX,
            ..message
        };
        assert_eq!(forever.remaining_expiry_s(5), None);
    }
}
