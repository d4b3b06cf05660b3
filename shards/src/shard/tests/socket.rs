//! A connection between a client and the broker, from the kernel's point of view.

use std::collections::{BTreeMap, VecDeque};

use protocol::wire::Version;

use super::super::Output;
use super::received::{Delivery, Received, take_packets};

/// Bytes that one receive operation brings.
const RECEIVE_BYTES: usize = 8 << 10;

/// A connection.
pub(super) struct Socket {
    pub(super) version: Version,
    /// Sent by the client and not received by the shard.
    pub(super) to_broker: VecDeque<u8>,
    /// The client has closed its side.
    pub(super) ended: bool,
    /// The client takes what comes.
    pub(super) reads: bool,
    from_broker: Vec<u8>,
    /// Packets from the broker that were taken apart and put back.
    pub(super) packets: Vec<Received>,
    /// What the topic aliases of the broker stand for.
    aliases: BTreeMap<u16, String>,

    /// A send operation is under way, or the shard has not looked whether it is.
    pub(super) in_send: bool,
    /// What the client does not take.
    stuck: Output,
    /// There was more to send while a send operation was under way.
    pub(super) more: bool,
    /// The broker wants to close the connection.
    pub(super) closing: bool,
    /// When the broker cuts it off, once it is closing.
    pub(super) cut_off_ms: Option<u64>,
    /// Nothing comes any more.
    pub(super) closed: bool,
}

impl Socket {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            to_broker: VecDeque::new(),
            ended: false,
            reads: true,
            from_broker: Vec::new(),
            packets: Vec::new(),
            aliases: BTreeMap::new(),
            in_send: false,
            stuck: Output::default(),
            more: false,
            closing: false,
            cut_off_ms: None,
            closed: false,
        }
    }

    /// Begins to send. True when the client takes it.
    pub(super) fn send(&mut self, output: &mut Output) -> bool {
        self.in_send = true;
        std::mem::swap(&mut self.stuck, output);
        self.send_stuck()
    }

    /// Whether the client takes what it did not take before.
    pub(super) fn is_writable(&self) -> bool {
        self.reads && !self.stuck.is_empty()
    }

    /// Bytes that the client does not take.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Goes on with a send operation. True when the client takes it.
    pub(super) fn send_stuck(&mut self) -> bool {
        if self.reads {
            let output = std::mem::take(&mut self.stuck);
            self.from_broker
                .extend(output.parts().flat_map(|part| part.iter()));
        }
        self.reads
    }

    /// How many bytes the next receive operation can bring.
    pub(super) fn waiting(&self) -> usize {
        self.to_broker.len().min(RECEIVE_BYTES)
    }

    /// The connection is over.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.stuck.clear();
    }

    /// Takes the packets that have come.
    pub(super) fn take(&mut self) -> Vec<Received> {
        let mut packets = std::mem::take(&mut self.packets);
        let mut fresh = take_packets(self.version, &mut self.from_broker);
        for packet in &mut fresh {
            if let Received::Publish(delivery) = packet {
                self.resolve(delivery);
            }
        }
        packets.append(&mut fresh);
        packets
    }

    /// Finds the topic of a message whose topic is empty, and learns aliases.
    fn resolve(&mut self, delivery: &mut Delivery) {
        let Some(alias) = delivery.alias else {
            assert!(!delivery.topic.is_empty(), "neither topic nor alias");
            return;
        };
        delivery.is_bare = delivery.topic.is_empty();
        if delivery.is_bare {
            let topic = self.aliases.get(&alias);
            delivery.topic = topic.expect("an alias that was set").clone();
        } else {
            self.aliases.insert(alias, delivery.topic.clone());
        }
    }

    /// Whether the broker cuts it off.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.cut_off_ms.is_some_and(|due| due <= now_ms)
    }
}
