//! Messages that went to other nodes for members of groups, until nothing can become of them
//! any more.
//!
//! ```text
//!   node that gives              node with the member
//!   envelope, number   ───────►  gives it to the member
//!                      ◄───────  taken: the publisher is acknowledged,
//!                                or back: it goes to another
//!                                the member acknowledges
//!                      ◄───────  settled
//! ```
//!
//! If the node dies before it has taken a message, that is given to another member, and so is
//! one with QoS 1 that is not settled. One with QoS 2 may be with its member, and no other must
//! get it then [MQTT-4.8.2-5].
//!
//! A node accepts an envelope from the link at once, and answers by a message. Acceptances have
//! an order, so two nodes that wait for each other's members would wait for ever.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::wire::QoS;

use super::super::held::SharedName;
use super::super::items::Item;
use super::super::nodes::{FOREIGN_PUBLISHER, NODES_MAX};
use super::super::transaction::{Then, Touched};
use super::super::{NONE, Shard};
use super::Way;
use super::envelope::{Journey, Origin};

/// What has become of messages of groups: for each what it is, and the number.
pub(in super::super) const TOLD: &str = "$cluster/told";

/// Bytes of that for one message, and messages told of at once.
const TOLD_BYTES: usize = 9;
const TOLD_MAX: usize = 4096;

/// How often it is looked what is settled.
const SETTLE_MS: u64 = 100;

/// How long a message that is under way to a group without members waits for one: the members
/// may have gone to a node that has not said so here.
const ORPHAN_MS: u64 = 1000;

/// Messages kept from which on publishers wait for members, whatever `cluster.publish_ack` says.
pub(in super::super) const AHEAD_MAX: usize = if cfg!(test) { 16 } else { 4096 };

/// The shard is above these bits of a number.
const SHARD_BIT: u32 = 48;

/// What has become of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Told {
    /// It is with a member, and stored if that is promised.
    Taken,
    /// No member can take it.
    Back,
    /// Nothing can become of it any more.
    Settled,
}

impl Told {
    fn read(byte: u8) -> Option<Self> {
        let all = [Self::Taken, Self::Back, Self::Settled];
        all.into_iter().find(|told| *told as u8 == byte)
    }
}

/// A message that another node has for a group.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) name: Arc<SharedName>,
    pub(super) message: Arc<Message>,
    pub(super) node: u16,
    /// The transaction that waits for it, or [`NONE`], and whether it is atomic.
    pub(super) transaction: u32,
    pub(super) atomic: bool,
    /// The nodes where it has been.
    pub(super) journey: Journey,
    /// Its number on the way to the node.
    place: u64,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct ToNode {
    /// Messages that it has not accepted: their numbers on the way to it, and those of `sent`.
    order: VecDeque<(u64, u64)>,
    /// Numbers on the way to it that were lost with it.
    lost: VecDeque<Range<u64>>,
}

/// What this shard has sent to other nodes for groups, and has got from them.
#[derive(Debug)]
pub(super) struct Kept {
    sent: HashMap<u64, Sent>,
    to: Vec<ToNode>,
    next_number: u64,
    /// What no group was found for, and when that is given up.
    orphans: Vec<(u64, Sent)>,
    /// A group may have been found since.
    retry: bool,
    /// What members of this shard have of other nodes.
    owed: Vec<(Origin, Arc<Message>)>,
    settle_ms: u64,
    /// What other nodes are to be told.
    told: Vec<(Origin, Told)>,
}

impl Kept {
    /// `random` keeps the numbers apart from those of an earlier process.
    pub(super) fn new(shard: u16, random: u64) -> Self {
        let first = (random >> (64 - SHARD_BIT + 8)) + 1;
        Self {
            sent: HashMap::new(),
            to: (0..NODES_MAX).map(|_| ToNode::default()).collect(),
            next_number: u64::from(shard) << SHARD_BIT | first,
            orphans: Vec::new(),
            retry: false,
            owed: Vec::new(),
            settle_ms: 0,
            told: Vec::new(),
        }
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A message went to a node, where it has the number `place` among those of this shard.
    pub(super) fn insert(&mut self, number: u64, place: u64, mut sent: Sent) {
        let Some(to) = self.to.get_mut(usize::from(sent.node)) else {
            return;
        };
        to.order.push_back((place, number));
        sent.place = place;
        self.sent.insert(number, sent);
    }

    /// A node may have got members of a group.
    pub(super) fn retry_orphans(&mut self) {
        self.retry |= !self.orphans.is_empty();
    }

    /// The next message that has left the way to a node, if it is lost.
    fn next_lost(&mut self, node: u16, up_to: u64) -> Option<Sent> {
        let to = self.to.get_mut(usize::from(node))?;
        while let Some((place, number)) = to.order.front().copied()
            && place <= up_to
        {
            to.order.pop_front();
            while to.lost.front().is_some_and(|lost| lost.end <= place) {
                to.lost.pop_front();
            }
            let is_lost = to.lost.front().is_some_and(|lost| lost.contains(&place));
            if is_lost && let Some(sent) = self.sent.remove(&number) {
                return Some(sent);
            }
        }
        None
    }

    /// Takes what a node has of the messages up to this one, in the order in which they were
    /// sent.
    fn take_from(&mut self, node: u16, up_to: u64) -> Vec<Sent> {
        let theirs = |sent: &Sent| sent.node == node && sent.place <= up_to;
        let found = self.sent.iter().filter(|(_, sent)| theirs(sent));
        let mut numbers: Vec<u64> = found.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let taken = numbers.iter().filter_map(|number| self.sent.remove(number));
        taken.collect()
    }

    /// A node has taken a message: the transaction that has waited for it, or [`NONE`].
    fn taken(&mut self, number: u64) -> u32 {
        let Some(sent) = self.sent.get_mut(&number) else {
            return NONE;
        };
        let transaction = core::mem::replace(&mut sent.transaction, NONE);
        if sent.message.qos != QoS::AtLeastOnce {
            self.sent.remove(&number);
        }
        transaction
    }

    /// When something is to be done.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let settle = (!self.owed.is_empty()).then_some(self.settle_ms);
        let retry = self.retry.then_some(0);
        let orphans = self.orphans.iter().map(|(due_ms, _)| *due_ms);
        orphans.chain(settle).chain(retry).min()
    }

    /// Looks for what is settled.
    fn find_settled(&mut self, now_ms: u64) {
        if self.owed.is_empty() || now_ms < self.settle_ms {
            return;
        }
        self.settle_ms = now_ms + SETTLE_MS;
        let told = &mut self.told;
        // The session has let go of it, and so has whoever might give it to another.
        self.owed.retain(|(origin, message)| {
            let is_settled = Arc::strong_count(message) == 1;
            if is_settled {
                told.push((*origin, Told::Settled));
            }
            !is_settled
        });
    }

    fn take_orphans(&mut self, now_ms: u64) -> Vec<(u64, Sent)> {
        let due = self.orphans.iter().any(|(due_ms, _)| *due_ms <= now_ms);
        if core::mem::take(&mut self.retry) || due {
            return core::mem::take(&mut self.orphans);
        }
        Vec::new()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
            && self.orphans.is_empty()
            && self.owed.is_empty()
            && self.told.is_empty()
            && self.to.iter().all(|to| to.order.is_empty())
    }
}

impl Sent {
    pub(super) fn new(name: Arc<SharedName>, message: Arc<Message>, node: u16) -> Self {
        Self {
            name,
            message,
            node,
            transaction: NONE,
            atomic: false,
            journey: Journey::default(),
            place: 0,
        }
    }
}

impl Shard {
    /// Whether this shard keeps no message for a member of another node.
    #[cfg(test)]
    pub(in super::super) fn keeps_nothing(&self) -> bool {
        self.groups
            .as_ref()
            .is_none_or(|groups| groups.kept.is_empty())
    }

    /// Whether so many messages are kept that no publisher may be ahead of the members.
    pub(super) fn keeps_many(&self) -> bool {
        let groups = self.groups.as_ref();
        groups.is_some_and(|groups| groups.kept.sent.len() >= AHEAD_MAX)
    }

    fn kept(&mut self) -> Option<&mut Kept> {
        self.groups.as_mut().map(|groups| &mut groups.kept)
    }

    /// Messages with these numbers on the way to a node are lost with it. To be told before
    /// they count as accepted.
    pub(crate) fn node_lost(&mut self, node: u16, numbers: Range<u64>) {
        if let Some(kept) = self.kept()
            && let Some(to) = kept.to.get_mut(usize::from(node))
        {
            to.lost.push_back(numbers);
        }
    }

    /// A node has accepted so many of this shard's messages, or they are lost with it.
    pub(in super::super) fn node_accepted_groups(&mut self, node: u16, up_to: u64) {
        while let Some(kept) = self.kept()
            && let Some(sent) = kept.next_lost(node, up_to)
        {
            self.give_sent_again(sent);
        }
    }

    /// The process of a node that has accepted messages up to this one is gone, and with it
    /// what its members have not acknowledged. Or, unless it `died`, what it has said of them
    /// may be lost: it has them.
    pub(in super::super) fn node_gone(&mut self, node: u16, up_to: u64, died: bool) {
        let theirs = self.kept().map(|kept| kept.take_from(node, up_to));
        for sent in theirs.unwrap_or_default() {
            if died {
                self.give_sent_again(sent);
            } else {
                self.answered(sent.transaction);
            }
        }
    }

    /// Gives a message to another member, or lets it wait for one.
    fn give_sent_again(&mut self, sent: Sent) {
        if sent.message.expires_ms <= self.now_ms {
            self.stats.expired.add(1);
            self.answered(sent.transaction);
            return;
        }
        let Some(group) = self.living_group(&sent.name) else {
            self.wait_for_members(sent);
            return;
        };
        self.touched = Touched {
            stored: false,
            transaction: sent.transaction,
            atomic: sent.atomic,
        };
        self.give_kept(group, &sent.message, &Way::new(sent.journey));
        let touched = core::mem::take(&mut self.touched);
        if !touched.atomic {
            self.wait_in_transaction(touched.transaction, touched.stored);
        }
        self.answered(touched.transaction);
    }

    /// A member has left a message behind, and no other is known: it waits for one.
    pub(in super::super) fn wait_for_group(&mut self, name: &SharedName, message: &Arc<Message>) {
        let mut sent = Sent::new(Arc::new(name.clone()), Arc::clone(message), 0);
        sent.transaction = self.expect_answer();
        self.wait_for_members(sent);
    }

    /// A message for a group that has no members that this node knows of.
    fn wait_for_members(&mut self, mut sent: Sent) {
        let due_ms = self.now_ms + ORPHAN_MS;
        sent.journey = Journey::default();
        if let Some(kept) = self.kept() {
            kept.orphans.push((due_ms, sent));
        }
    }

    /// A member of this shard has got a message of another node. That is told when it is
    /// stored, if it is to be.
    pub(in super::super) fn took(&mut self, origin: Origin, message: &Arc<Message>) {
        let now_ms = self.now_ms;
        let is_stored = core::mem::take(&mut self.touched.stored);
        let Some(kept) = self.kept() else {
            return;
        };
        if message.qos == QoS::AtLeastOnce && !is_stored {
            if kept.owed.is_empty() {
                kept.settle_ms = now_ms + SETTLE_MS;
            }
            kept.owed.push((origin, Arc::clone(message)));
        }
        if !is_stored {
            kept.told.push((origin, Told::Taken));
            return;
        }
        let transaction = self.open_transaction(false, Then::Taken(origin), Vec::new());
        self.wait_in_transaction(transaction, true);
        self.answered(transaction);
    }

    /// A message of another node is stored for its member: it is not lost with this one.
    pub(in super::super) fn took_for_good(&mut self, origin: Origin) {
        self.tell(origin, Told::Taken);
        self.tell(origin, Told::Settled);
    }

    /// Tells a node what has become of its message.
    pub(in super::super) fn tell(&mut self, origin: Origin, told: Told) {
        if let Some(kept) = self.kept() {
            kept.told.push((origin, told));
        }
    }

    /// When [`Shard::tick_groups`] has something to do.
    pub(in super::super) fn next_group_ms(&self) -> Option<u64> {
        self.groups.as_ref()?.kept.next_ms()
    }

    /// Does what is due: looks what is settled, and for members.
    pub(in super::super) fn tick_groups(&mut self) {
        let now_ms = self.now_ms;
        let Some(kept) = self.kept() else {
            return;
        };
        kept.find_settled(now_ms);
        for (due_ms, sent) in kept.take_orphans(now_ms) {
            if self.living_group(&sent.name).is_some() {
                self.give_sent_again(sent);
            } else if due_ms > now_ms {
                if let Some(kept) = self.kept() {
                    kept.orphans.push((due_ms, sent));
                }
            } else {
                // Undelivered messages end with their group (5.0 section 4.8.2).
                self.stats.dropped.add(1);
                self.answered(sent.transaction);
            }
        }
    }

    /// Tells other nodes what has become of their messages.
    pub(super) fn tell_nodes(&mut self) {
        let told = self.kept().map(|kept| core::mem::take(&mut kept.told));
        let mut by_node: HashMap<u16, Vec<u8>> = HashMap::new();
        for (Origin { node, number }, told) in told.unwrap_or_default() {
            let bytes = by_node.entry(node).or_default();
            bytes.push(told as u8);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (node, told) in by_node {
            let peer = usize::from(self.node_peer(node));
            let is_up = self.nodes_up() & (1 << node) != 0;
            let Some(peer) = self.peers.get_mut(peer).filter(|_| is_up) else {
                continue;
            };
            for payload in told.chunks(TOLD_BYTES * TOLD_MAX) {
                let message = MessageRef {
                    topic: TOLD,
                    properties: &[],
                    payload,
                    qos: QoS::AtLeastOnce,
                    retain: false,
                    expires_ms: u64::MAX,
                    publisher: FOREIGN_PUBLISHER,
                };
                peer.publish(&message, false, 0);
            }
        }
    }

    /// Another node says what has become of messages.
    pub(in super::super) fn hear_told(&mut self, payload: &[u8]) {
        let (entries, _) = payload.as_chunks::<TOLD_BYTES>();
        let mut by_shard: HashMap<u16, Vec<(Told, u64)>> = HashMap::new();
        for [told, number @ ..] in entries {
            let number = u64::from_le_bytes(*number);
            if let Some(told) = Told::read(*told) {
                let shard = (number >> SHARD_BIT) as u16;
                by_shard.entry(shard).or_default().push((told, number));
            }
        }
        for (shard, told) in by_shard {
            if shard == self.id {
                self.told(&told);
            } else if shard < self.count
                && let Some(peer) = self.peers.get_mut(usize::from(shard))
            {
                peer.push(Item::Told(told));
            }
        }
    }

    /// What has become of messages of this shard.
    pub(in super::super) fn told(&mut self, all: &[(Told, u64)]) {
        for (told, number) in all {
            let Some(kept) = self.kept() else {
                return;
            };
            match told {
                Told::Taken => {
                    let transaction = kept.taken(*number);
                    self.answered(transaction);
                }
                Told::Settled => {
                    kept.sent.remove(number);
                }
                Told::Back => {
                    if let Some(mut sent) = kept.sent.remove(number) {
                        let tag = self.common.tag_of(sent.node);
                        sent.journey.visited.push(tag);
                        self.give_sent_again(sent);
                    }
                }
            }
        }
    }
}
