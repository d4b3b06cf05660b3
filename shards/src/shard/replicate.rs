//! Retained messages on every node of a cluster.
//!
//! Each retained message and each removal has a version, given where it is published. Of two
//! values of a topic the one with the larger version stays, in whichever order they come, so
//! all nodes end with the same ones. A message that is to be retained goes to all nodes that
//! are up; to one that comes up, each shard hands all that it retains, and what it knows of
//! removals. Both travel in an envelope that has the version.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use protocol::message::MessageRef;
use protocol::topic::TopicName;
use protocol::wire::QoS;

use super::Shard;
use super::common::is_brokers_own;
use super::connection::Answer;
use super::items::ReplayCursor;
use super::nodes::{FOREIGN_PUBLISHER, NODES_MAX};
use super::publish::{Reach, Routed};
use super::removals::{Removal, Removals};
use super::replay::Retained;
use crate::bits::bits;

/// A message that is to be retained, or a removal: flags, version, length of the topic, topic,
/// payload. Properties and expiry are those of the envelope.
pub(super) const RETAINED: &str = "$cluster/retained";

/// It was published just now: subscribers get it in any case.
const NEWS: u8 = 1 << 2;

/// Topics looked at for one node at a time, and how often in one turn.
const CHUNK: usize = 32;
const CHUNKS_PER_TURN: usize = 8;

/// How often each node has come up. Written by the thread with the links.
#[derive(Debug)]
pub(crate) struct Arrivals {
    all: AtomicU64,
    pub(super) nodes: [AtomicU32; NODES_MAX as usize],
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            all: AtomicU64::default(),
            nodes: std::array::from_fn(|_| AtomicU32::default()),
        }
    }
}

impl Arrivals {
    /// How often any node has come up.
    pub(super) fn count(&self) -> u64 {
        self.all.load(Ordering::Relaxed)
    }

    /// A node has come up. What is to be known of it is written before.
    pub(crate) fn add(&self, node: u16) {
        if let Some(node) = self.nodes.get(usize::from(node)) {
            node.fetch_add(1, Ordering::Relaxed);
            self.all.fetch_add(1, Ordering::Release);
        }
    }
}

/// What a shard has to do with the retained messages of other nodes.
#[derive(Debug)]
pub(super) struct Replicas {
    pub(super) removals: Removals,
    /// As last seen.
    arrivals: u64,
    node_arrivals: [u32; NODES_MAX as usize],
    /// The nodes that have not got everything.
    handings: Vec<Handing>,
    /// What has a version up to here may have been published before its shard knew of a node
    /// that was handed what there was.
    known_to: u64,
}

impl Replicas {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            removals: Removals::new(shards),
            arrivals: 0,
            node_arrivals: [0; NODES_MAX as usize],
            handings: Vec::new(),
            known_to: 0,
        }
    }
}

/// How far a node has got what this shard retains.
#[derive(Debug)]
struct Handing {
    node: u16,
    found: VecDeque<Retained>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Messages(Option<ReplayCursor>),
    /// From this place on.
    Removals(u64),
}

impl Retained {
    /// Whether it takes the place of another value of its topic. Those with the same version
    /// were retained before there were versions, or by two nodes in the same instant: then what
    /// they say decides, so that all nodes decide the same.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, self.content()) > (other.version, other.content())
    }

    fn content(&self) -> (&[u8], &[u8], u8) {
        let message = self.message.by_ref();
        (message.payload, message.properties, message.qos as u8)
    }
}

/// What is in an envelope.
struct Content<'a> {
    message: MessageRef<'a>,
    version: u64,
    is_news: bool,
}

/// The payload of an envelope.
fn wrap(message: &MessageRef<'_>, version: u64, is_news: bool) -> Vec<u8> {
    let topic = message.topic.as_bytes();
    let mut out = Vec::with_capacity(11 + topic.len() + message.payload.len());
    out.push(message.qos as u8 | if is_news { NEWS } else { 0 });
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
    out.extend_from_slice(topic);
    out.extend_from_slice(message.payload);
    out
}

/// The envelope around a payload that was made for a message.
fn envelope<'a>(message: &MessageRef<'a>, payload: &'a [u8]) -> MessageRef<'a> {
    MessageRef {
        topic: RETAINED,
        payload,
        // Nowhere on the way is there a right to drop it.
        qos: QoS::AtLeastOnce,
        retain: false,
        ..*message
    }
}

fn unwrap<'a>(outer: &MessageRef<'a>) -> Option<Content<'a>> {
    let (flags, rest) = outer.payload.split_first()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (topic_len, rest) = rest.split_first_chunk()?;
    let (topic, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*topic_len)))?;
    let topic = core::str::from_utf8(topic).ok()?;
    let message = MessageRef {
        topic,
        payload,
        qos: match flags & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return None,
        },
        retain: true,
        ..*outer
    };
    (!is_brokers_own(topic)).then_some(Content {
        message,
        version: u64::from_le_bytes(*version),
        is_news: flags & NEWS != 0,
    })
}

impl Shard {
    /// The version of a message that is to be retained now.
    pub(super) fn next_version(&self) -> u64 {
        let node = self.common.node_tag();
        self.retained_quota.next_version(self.unix_ms(), node)
    }

    /// Whether a value of a topic is older than what is known of it.
    pub(super) fn is_outdated(&self, topic: TopicName<'_>, retained: &Retained) -> bool {
        if let Some(known) = self.retained.get(topic) {
            return !retained.is_newer_than(known);
        }
        let replicas = self.replicas.as_ref();
        let removed = replicas.and_then(|replicas| replicas.removals.get(topic.as_str()));
        removed.is_some_and(|version| {
            let is_removal = retained.message.payload().is_empty();
            version > retained.version || is_removal && version == retained.version
        })
    }

    /// Nothing is retained for a topic any more.
    pub(super) fn note_removal(&mut self, topic: &str, version: u64) {
        if let Some(replicas) = &mut self.replicas {
            replicas.removals.insert(topic, version, self.now_ms);
        }
    }

    /// Sends a message that is to be retained to all nodes that are up. None of them drops it:
    /// it would miss a value until it comes up the next time.
    #[cold]
    pub(super) fn send_retained_to_nodes(
        &mut self,
        message: &MessageRef<'_>,
        waits: &mut Vec<(u16, u64)>,
    ) {
        let payload;
        let outer = if is_brokers_own(message.topic) {
            *message
        } else {
            payload = wrap(message, self.retaining, true);
            envelope(message, &payload)
        };
        for node in bits(self.nodes_up()) {
            self.send_to_node(self.node_peer(node), &outer, message.qos, waits);
        }
    }

    /// A retained message or removal has come from another node.
    pub(super) fn retained_from_node(&mut self, key: u32, answer: Answer, outer: &MessageRef<'_>) {
        let routed = unwrap(outer).and_then(|content| {
            self.retained_quota.saw(content.version);
            let plan = self.plan_for(content.message.topic)?;
            let routed = if content.is_news {
                let reach = Reach::ThisNode {
                    version: content.version,
                };
                self.follow(&plan, &content.message, reach)
            } else {
                self.take_handed(&content)
            };
            Some(routed)
        });
        if routed.is_none() {
            // It cannot be read, or it was a topic where it came from and is none here.
            self.stats.dropped.add(1);
        }
        self.answer_node_with(key, answer, routed.unwrap_or_default());
    }

    fn take_handed(&mut self, content: &Content<'_>) -> Routed {
        let owner = self.shard_of(content.message.topic);
        let retained = Retained {
            message: content.message.to_message(),
            version: content.version,
        };
        if owner == self.id {
            return self.keep_handed(retained);
        }
        let mut routed = Routed::default();
        if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
            routed.waits.push((owner, peer.keep(retained)));
        }
        routed
    }

    /// Takes a value that was retained on another node before now. If it is newer than what is
    /// known, subscribers get it as they would have when it was published.
    pub(super) fn keep_handed(&mut self, retained: Retained) -> Routed {
        let mut routed = Routed::default();
        let message = Arc::clone(&retained.message);
        let Ok(topic) = TopicName::parse(message.topic(), u16::MAX) else {
            return routed;
        };
        if message.expires_ms <= self.now_ms || self.is_outdated(topic, &retained) {
            return routed;
        }
        self.retaining = retained.version;
        let has_changed = !message.payload().is_empty() || self.retained.get(topic).is_some();
        routed.retain_refused = !self.store_retained(retained);
        if has_changed && !routed.retain_refused {
            let plan = self.plan(topic);
            self.is_foreign = true;
            self.spread(&plan, &message.by_ref(), &mut routed.waits);
        }
        routed.touched = core::mem::take(&mut self.touched);
        routed
    }

    /// What is to be retained was published here and has reached this shard, whose topic it is.
    /// If the publisher's shard may not have known of a node, this one sends it.
    pub(super) fn hand_on(&mut self, retained: &Retained) {
        let known_to = self.replicas.as_ref().map_or(0, |r| r.known_to);
        if retained.version > known_to || is_brokers_own(retained.message.topic()) {
            return;
        }
        for node in bits(self.nodes_up()) {
            self.hand(node, &retained.message.by_ref(), retained.version);
        }
    }

    /// Hands what this shard retains to nodes that have come up, as long as there is room.
    pub(super) fn hand_out_retained(&mut self) {
        self.notice_arrivals();
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let mut handings = core::mem::take(&mut replicas.handings);
        handings.retain_mut(|handing| !self.hand_out(handing));
        if let Some(replicas) = &mut self.replicas {
            replicas.handings = handings;
        }
    }

    /// Whether a node can be handed more.
    pub(super) fn may_hand_out(&self) -> bool {
        let replicas = self.replicas.as_ref();
        replicas.is_some_and(|replicas| {
            let mut handings = replicas.handings.iter();
            handings.any(|handing| self.can_take(handing.node))
        })
    }

    /// When something is to be forgotten.
    pub(super) fn next_removal_ms(&self) -> Option<u64> {
        self.replicas.as_ref()?.removals.next_ms()
    }

    fn notice_arrivals(&mut self) {
        let Some(replicas) = &mut self.replicas else {
            return;
        };
        let arrivals = self.common.arrivals.all.load(Ordering::Acquire);
        if arrivals == replicas.arrivals {
            return;
        }
        replicas.arrivals = arrivals;
        let nodes = self.common.arrivals.nodes.iter();
        let seen = nodes.zip(&mut replicas.node_arrivals);
        for (node, (arrivals, seen)) in seen.enumerate() {
            let node = node as u16;
            let arrivals = arrivals.load(Ordering::Relaxed);
            if core::mem::replace(seen, arrivals) != arrivals {
                replicas.handings.retain(|handing| handing.node != node);
                replicas.handings.push(Handing {
                    node,
                    found: VecDeque::new(),
                    next: Next::Messages(None),
                });
            }
        }
        // Whoever takes a later version knows of these nodes.
        replicas.known_to = self.retained_quota.newest();
    }

    /// Whether the rest of a node's link is free: what is published now goes first.
    pub(super) fn can_take(&self, node: u16) -> bool {
        let peer = self.peers.get(usize::from(self.node_peer(node)));
        peer.is_some_and(|peer| !peer.is_half_full())
    }

    /// True when the node has got everything, or is gone.
    fn hand_out(&mut self, handing: &mut Handing) -> bool {
        if self.nodes_up() & (1 << handing.node) == 0 {
            return true;
        }
        for _ in 0..CHUNKS_PER_TURN {
            while let Some(retained) = handing.found.front() {
                if !self.can_take(handing.node) {
                    return false;
                }
                self.hand(handing.node, &retained.message.by_ref(), retained.version);
                handing.found.pop_front();
            }
            match &mut handing.next {
                Next::Messages(cursor) => {
                    let after = cursor.take();
                    handing.next = self.find_to_hand_out(after, &mut handing.found);
                }
                Next::Removals(place) => {
                    let Some((removal, next)) = self.removal_from(*place) else {
                        return true;
                    };
                    *place = next;
                    handing.found.push_back(removal.retained());
                }
            }
        }
        false
    }

    fn find_to_hand_out(
        &self,
        after: Option<ReplayCursor>,
        found: &mut VecDeque<Retained>,
    ) -> Next {
        let next = self.retained.all(after, CHUNK, &mut |retained: &Retained| {
            let message = &retained.message;
            if message.expires_ms > self.now_ms && !is_brokers_own(message.topic()) {
                found.push_back(retained.clone());
            }
        });
        next.map_or(Next::Removals(0), |next| Next::Messages(Some(next)))
    }

    fn removal_from(&self, place: u64) -> Option<(Removal, u64)> {
        self.replicas.as_ref()?.removals.next(place)
    }

    fn hand(&mut self, node: u16, message: &MessageRef<'_>, version: u64) {
        let message = MessageRef {
            publisher: FOREIGN_PUBLISHER,
            ..*message
        };
        let payload = wrap(&message, version, false);
        let peer = usize::from(self.node_peer(node));
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.publish(&envelope(&message, &payload), false, 0);
        }
    }
}

impl Removal {
    fn retained(&self) -> Retained {
        let message = MessageRef {
            topic: &self.topic,
            properties: &[],
            payload: &[],
            qos: QoS::AtLeastOnce,
            retain: true,
            expires_ms: u64::MAX,
            publisher: FOREIGN_PUBLISHER,
        };
        Retained {
            message: message.to_message(),
            version: self.version,
        }
    }
}
