//! Other nodes of the cluster, as a shard sees them.
//!
//! Another node is a peer like another shard: messages for it go into a batch of its own,
//! through a ring to the thread that has the links. It says how many of them the node has
//! accepted, and acknowledgements wait for that.
//!
//! What comes from another node is published by a connection without a socket: its PUBACKs
//! wait for the same shards and the same commits as a client's, and their number is what the
//! node is told. A message from a node goes to no other node: the node where it was published
//! has sent it to all that have subscribers.

use std::num::NonZeroU16;
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use protocol::wire::{PacketId, QoS, ReasonCode, Version};

use super::common::CLUSTER_PREFIX;
use super::connection::{AckKind, Answer, Connection, Phase, Remote};
use super::groups::{GROUP, TOLD};
use super::items::{Batch, Item};
use super::moves::{MARKS, SESSION};
use super::peers::Peer;
use super::plan::Plan;
use super::positions::Positions;
use super::publish::{Reach, Routed};
use super::replicate::{RETAINED, Replicas};
use super::{NONE, Shard};

/// Nodes of a cluster that one node can know.
pub(crate) const NODES_MAX: u16 = 64;

/// Bytes of a PUBACK with Success.
const PUBACK_BYTES: usize = 4;

/// Bytes of messages of QoS 0 after which their node is told at once that they are accepted.
const QUIET_BYTES: usize = 64 << 10;

/// The publisher of a message that was published on another node: no session of this one.
/// What lies above these bits is the hash of the client identifier.
pub(crate) const FOREIGN_PUBLISHER: u64 = (1 << 48) - 1;

/// The publisher of a message that has come from a node by one of its streams. No shard has a
/// number of 16 ones.
pub(crate) const fn foreign_publisher(publisher: u64, node: u16, stream: u16) -> u64 {
    let way = (node as u64) << 16 | stream as u64;
    publisher & !FOREIGN_PUBLISHER | 0xFFFF << 32 | way
}

/// What [`foreign_publisher`] was made with: node and stream.
pub(super) const fn way_of(publisher: u64) -> (u16, u16) {
    ((publisher >> 16) as u16, publisher as u16)
}

/// What comes from one other node.
#[derive(Debug)]
pub(super) struct FromNode {
    /// The connection that stands for it.
    key: u32,
    /// Messages that came from it and are with the sessions that get them, and stored where
    /// they have to be.
    accepted: u64,
    /// Messages that have come from it, and the last one of them for whose acceptance somebody
    /// waits.
    arrived: u64,
    awaited: u64,
    /// Accepted messages when the thread with the links was last woken for them, and bytes that
    /// have come since.
    told: u64,
    quiet_bytes: usize,
    /// Of the last message.
    packet_id: NonZeroU16,
}

/// What is to be said of the messages of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Acceptance {
    /// So many are accepted by now.
    pub(crate) count: u64,
    /// Somebody waits to hear it, or there is room to be made.
    pub(crate) is_urgent: bool,
}

impl Shard {
    /// Makes room for the nodes of a cluster.
    pub(crate) fn join_cluster(&mut self, bytes_max: usize) {
        self.replicas = Some(Box::new(Replicas::new(self.count)));
        self.owners = Some(Box::default());
        self.join_groups();
        if self.journal.is_some() {
            self.positions = Some(Box::new(Positions::new(self.count)));
        }
        for _ in 0..NODES_MAX {
            self.peers.push(Peer::new(bytes_max));
            let serial = self.next_serial();
            let remote = Remote::new(([0, 0, 0, 0], 0).into(), 0, 0);
            let mut connection = Connection::new(serial, self.now_ms, remote);
            connection.phase = Phase::Live;
            connection.version = Version::V311;
            let key = self.connections.insert(connection);
            self.from_nodes.push(FromNode {
                key,
                accepted: 0,
                arrived: 0,
                awaited: 0,
                told: 0,
                quiet_bytes: 0,
                packet_id: NonZeroU16::MIN,
            });
        }
    }

    /// The peer that a node is.
    #[inline]
    pub(crate) fn node_peer(&self, node: u16) -> u16 {
        self.count + node
    }

    /// The nodes that there have been, a bit each.
    #[inline]
    pub(crate) fn nodes_known(&self) -> u64 {
        self.common.nodes_known.load(Ordering::Relaxed)
    }

    /// Whether there is something for a node, whose ring was full.
    pub(crate) fn has_node_batch(&self) -> bool {
        let known = 64 - self.nodes_known().leading_zeros() as u16;
        (0..known).any(|node| self.has_batch(self.node_peer(node)))
    }

    /// The nodes that are up, a bit each.
    #[inline]
    pub(super) fn nodes_up(&self) -> u64 {
        self.common.nodes_up.load(Ordering::Relaxed)
    }

    /// Whether this node may have others.
    #[inline]
    pub(super) fn is_clustered(&self) -> bool {
        !self.from_nodes.is_empty()
    }

    /// Sends a message to the nodes that have subscribers, or that retain it: all that are up.
    pub(super) fn send_to_nodes(
        &mut self,
        plan: &Plan,
        message: &MessageRef<'_>,
        waits: &mut Vec<(u16, u64)>,
    ) {
        if message.retain {
            self.send_retained_to_nodes(message, waits);
            return;
        }
        let up = self.nodes_up();
        for &peer in &plan.peers {
            // The routes of a node that is down are removed one after the other.
            if peer >= self.count && up >> (peer - self.count) & 1 == 1 {
                self.send_to_node(peer, message, message.qos, waits);
            }
        }
    }

    /// A node that takes too little loses QoS 0 messages, and publishers of others wait. `qos`
    /// is the one that the message was published with. With `cluster.publish_ack = "local"` an
    /// acknowledgement waits for the node only if there is no room.
    pub(super) fn send_to_node(
        &mut self,
        peer: u16,
        message: &MessageRef<'_>,
        qos: QoS,
        waits: &mut Vec<(u16, u64)>,
    ) {
        let Some(target) = self.peers.get_mut(usize::from(peer)) else {
            return;
        };
        let mut is_awaited = !self.common.publish_ack_local;
        if target.is_full() {
            if message.qos == QoS::AtMostOnce {
                self.stats.dropped.add(1);
                self.stats.node_full.add(1);
                return;
            }
            self.slow_node = peer - self.count + 1;
            is_awaited = true;
        }
        let sent = target.publish(message, false, 0);
        self.stats.forwarded.add(1);
        if qos != QoS::AtMostOnce && is_awaited {
            waits.push((peer, sent));
        }
    }

    /// The client has published to a node that takes too little: it is not read until there is
    /// room. It alone waits, not those who publish to others.
    #[cold]
    pub(super) fn wait_for_node(&mut self, key: u32) {
        let node = core::mem::take(&mut self.slow_node);
        if let Some(connection) = self.connections.get_mut(key)
            && connection.awaits_node == 0
        {
            connection.awaits_node = node;
            connection.paused = true;
            self.paused.push(key);
        }
    }

    /// Whether the node that a connection waits for has no room yet.
    pub(super) fn is_node_full(&self, awaited: u16) -> bool {
        let peer = self.peers.get(usize::from(self.count + awaited - 1));
        peer.is_some_and(Peer::is_full)
    }

    /// Whether a connection stands for another node.
    pub(super) fn is_node(&self, key: u32) -> bool {
        self.from_nodes.iter().any(|node| node.key == key)
    }

    /// Handles messages from another node, and what there is to know of it.
    pub(crate) fn handle_node_batch(&mut self, node: u16, mut batch: Box<Batch>) {
        if let Some(from) = self.from_nodes.get_mut(usize::from(node)) {
            from.quiet_bytes += batch.size();
        }
        let items = core::mem::take(&mut batch.items);
        for item in &items {
            match item {
                Item::Publish(packed) => {
                    self.count_received();
                    if let Some(message) = packed.message(&batch.bytes) {
                        self.publish_from_node(node, &message);
                    }
                }
                Item::Goes(place) => self.stream_goes_on(place),
                Item::Share { text, add } => self.share_changed(node, text, *add),
                Item::NodeGone { up_to, died } => {
                    self.node_gone(node, *up_to, *died);
                    if *died {
                        self.process_is_gone(node, self.id);
                    }
                }
                _ => {}
            }
        }
        self.note_received();
        batch.items = items;
        batch.clear();
        self.keep_batch(batch);
        self.slow_node = 0;
    }

    fn publish_from_node(&mut self, node: u16, message: &MessageRef<'_>) {
        let Some(from) = self.from_nodes.get_mut(usize::from(node)) else {
            return;
        };
        let key = from.key;
        // What waits for one message is not taken for what waits for another.
        let next = from.packet_id.checked_add(1);
        from.packet_id = next.unwrap_or(NonZeroU16::MIN);
        from.arrived += 1;
        if message.qos != QoS::AtMostOnce {
            from.awaited = from.arrived;
        }
        let answer = Answer {
            packet_id: PacketId(from.packet_id),
            kind: AckKind::PubAck,
            reason: ReasonCode::SUCCESS,
        };
        if message.topic == RETAINED {
            self.stats.from_nodes.add(1);
            self.retained_from_node(key, answer, message);
            return;
        }
        if message.topic == GROUP {
            self.group_from_node(node, message);
            self.answer_node(key, answer);
            return;
        }
        if message.topic.starts_with(CLUSTER_PREFIX) {
            match message.topic {
                SESSION => self.hear_of_session(node, message.payload),
                MARKS => {
                    let (_, stream) = way_of(message.publisher);
                    self.marks_from_node(node, stream, message.payload);
                }
                TOLD => self.hear_told(message.payload),
                _ => {}
            }
            self.answer_node(key, answer);
            return;
        }
        self.stats.from_nodes.add(1);
        let Some(plan) = self.plan_for(message.topic) else {
            // It cannot be delivered: it was a topic where it came from and is none here.
            self.stats.dropped.add(1);
            self.answer_node(key, answer);
            return;
        };
        let routed = match self.have_received() {
            None => self.follow(&plan, message, Reach::ThisNode { version: 0 }),
            Some(shards) => self.follow_again(&plan, message, &shards),
        };
        self.answer_node_with(key, answer, routed);
    }

    /// Accepts a message when all is done that it has led to.
    pub(super) fn answer_node_with(&mut self, key: u32, answer: Answer, routed: Routed) {
        if routed.retain_refused {
            self.stats.retained_refused.add(1);
        }
        if routed.waits.is_empty() && !routed.touched.is_stored() {
            self.answer_node(key, answer);
        } else {
            self.answer_later(key, NONE, answer, routed);
        }
    }

    /// Accepts a message that waits for nothing, behind those that do.
    fn answer_node(&mut self, key: u32, answer: Answer) {
        self.answer_in_turn(key, answer, 0);
    }

    /// How many messages of a node are accepted now, if there are more than when last asked.
    ///
    /// Nobody waits for QoS 0. To tell of each such batch would wake two threads here and two on
    /// the other node for it, which is much where messages are few.
    pub(crate) fn take_accepted(&mut self, node: u16) -> Option<Acceptance> {
        let from = self.from_nodes.get_mut(usize::from(node))?;
        let connection = self.connections.get_mut(from.key)?;
        let answers = connection.output.bytes.len() / PUBACK_BYTES;
        if answers == 0 {
            return None;
        }
        connection.output.bytes.clear();
        connection.dirty = false;
        from.accepted += answers as u64;
        let is_urgent = from.told < from.awaited || from.quiet_bytes >= QUIET_BYTES;
        if is_urgent {
            from.told = from.accepted;
            from.quiet_bytes = 0;
        }
        Some(Acceptance {
            count: from.accepted,
            is_urgent,
        })
    }

    /// A node has accepted so many of this shard's messages, or is known to be dead.
    pub(crate) fn node_accepted(&mut self, node: u16, publishes: u64) {
        let peer = self.node_peer(node);
        let known = self.peers.get(usize::from(peer)).map_or(0, Peer::accepted);
        if publishes > known {
            self.accepted_by(peer, publishes);
            self.node_accepted_groups(node, publishes);
        }
    }
}
