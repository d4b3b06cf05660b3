//! What is on its way to clients: the output of a connection, which connections have
//! some, and the buffers it is written to.

use std::sync::Arc;

use protocol::message::Message;

use super::connection::Connection;

/// Payloads from this size on are not copied into the output of each receiver, but shared
/// by all of them. Below it, a copy costs less than another part of a vectored send.
pub(crate) const SHARED_BYTES_MIN: usize = 4096;

/// Buffers kept for the next output; the rest is given back to the allocator.
const POOL_MAX: usize = 2048;

/// A buffer that grew beyond this is not kept.
const POOLED_BYTES_MAX: usize = 64 << 10;

/// Room in a fresh buffer: a few small packets.
const FRESH_BYTES: usize = 512;

/// The output of a connection, in order: bytes of its own and, between them, payloads that
/// it shares with other receivers.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Packets, without the payloads that are shared.
    pub(crate) bytes: Vec<u8>,
    /// `None` while there are no such payloads.
    shared: Option<Box<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Where in `bytes` each payload belongs, ascending.
    payloads: Vec<(usize, Arc<Message>)>,
    bytes: usize,
}

impl Output {
    /// Bytes to send.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.shared.as_ref().map_or(0, |shared| shared.bytes)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_none()
    }

    /// Whether all of it is in `bytes`.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.shared.is_none()
    }

    /// Appends the payload of a message by reference.
    pub(crate) fn share(&mut self, message: Arc<Message>) {
        let shared = self.shared.get_or_insert_default();
        shared.bytes += message.payload().len();
        shared.payloads.push((self.bytes.len(), message));
    }

    /// Appends other output.
    pub(crate) fn append(&mut self, mut other: Self) {
        if self.is_empty() && other.bytes.capacity() >= self.bytes.capacity() {
            *self = other;
            return;
        }
        if let Some(shared) = other.shared.take() {
            let own = self.shared.get_or_insert_default();
            let from = self.bytes.len();
            own.bytes += shared.bytes;
            let payloads = shared.payloads.into_iter();
            own.payloads
                .extend(payloads.map(|(at, message)| (from + at, message)));
        }
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// What to send, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let payloads = self
            .shared
            .as_ref()
            .map_or(&[][..], |shared| &shared.payloads);
        let mut from = 0;
        let pairs = payloads.iter().flat_map(move |(at, message)| {
            let own = self.bytes.get(from..*at).unwrap_or_default();
            from = *at;
            [own, message.payload()]
        });
        let rest = payloads.last().map_or(0, |(at, _)| *at);
        pairs.chain([self.bytes.get(rest..).unwrap_or_default()])
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.shared = None;
    }
}

/// Connections to flush at the end of the turn, and the memory of those that have no
/// output: an idle connection owns no buffer. Owned by one shard.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) dirty: Vec<u32>,
    pool: Vec<Vec<u8>>,
}

impl Outbox {
    /// Before output is written: puts the connection on the list and gives it a buffer.
    #[inline]
    pub(crate) fn mark(&mut self, connection: &mut Connection, key: u32) {
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(key);
            if connection.output.bytes.capacity() == 0 {
                connection.output.bytes = self
                    .pool
                    .pop()
                    .unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES));
            }
        }
    }

    /// Takes back a buffer.
    pub(crate) fn recycle(&mut self, output: Output) {
        let mut buffer = output.bytes;
        let kept = self.pool.len() < POOL_MAX && buffer.capacity() <= POOLED_BYTES_MAX;
        if kept && buffer.capacity() > 0 {
            buffer.clear();
            self.pool.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::message::MessageRef;
    use protocol::wire::QoS;

    fn message(payload: &[u8]) -> Arc<Message> {
        let message = MessageRef {
            topic: "t",
            properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            expires_ms: u64::MAX,
            publisher: u64::MAX,
        };
        message.to_message()
    }

    #[test]
    fn shared_payloads_are_sent_where_they_were_appended() {
        let mut output = Output::default();
        output.share(message(b"first"));
        output.bytes.extend_from_slice(b" own ");
        output.share(message(b"second"));
        output.share(message(b"third"));
        output.bytes.extend_from_slice(b" end");
        let parts: Vec<&[u8]> = output.parts().collect();
        assert_eq!(parts.concat(), b"first own secondthird end");
        assert_eq!(output.len(), parts.concat().len());
        let mut all = Output::default();
        all.bytes.extend_from_slice(b"before ");
        all.append(core::mem::take(&mut output));
        let parts: Vec<&[u8]> = all.parts().collect();
        assert_eq!(parts.concat(), b"before first own secondthird end");
        assert_eq!(all.len(), parts.concat().len());
        output.append(all);
        assert_eq!(
            output.parts().collect::<Vec<_>>().concat().len(),
            output.len()
        );
        output.clear();
        assert!(output.is_empty() && output.is_plain());
        assert_eq!(output.parts().map(<[u8]>::len).sum::<usize>(), 0);
    }
}
