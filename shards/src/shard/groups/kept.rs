//! Messages that went to other nodes for members of groups, until nothing can become of them
//! any more.
//!
//! ```text
//!   node that gives              node with the member
//!   envelope, number   ───────►  gives it to the member
//!                      ◄───────  accepted: the publisher is acknowledged
//!                                the member acknowledges
//!                      ◄───────  settled: numbers
//! ```
//!
//! If the node dies before it has accepted a message, that is given to another member, and so
//! is one with QoS 1 that is not settled. One with QoS 2 may be with its member, and no other
//! must get it then [MQTT-4.8.2-5].

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::wire::QoS;

use super::super::held::SharedName;
use super::super::items::Item;
use super::super::nodes::{FOREIGN_PUBLISHER, NODES_MAX};
use super::super::transaction::Touched;
use super::super::{NONE, Shard};
use super::Way;
use super::envelope::{Journey, Origin};

/// The numbers of messages of groups that are settled.
pub(in super::super) const SETTLED: &str = "$cluster/settled";

/// Numbers in one message.
const NUMBERS_MAX: usize = 4096;

/// How often it is looked what is settled.
const SETTLE_MS: u64 = 100;

/// How long a message that is under way to a group without members waits for one: the members
/// may have gone to a node that has not said so here.
const ORPHAN_MS: u64 = 1000;

/// The shard is above these bits of a number.
const SHARD_BIT: u32 = 48;

/// A message that another node has for a group.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) name: Arc<SharedName>,
    pub(super) message: Arc<Message>,
    pub(super) node: u16,
    /// The transaction that waits for it, or [`NONE`], and whether it is atomic.
    pub(super) transaction: u32,
    pub(super) atomic: bool,
    /// The node that it came from.
    pub(super) origin: Option<Origin>,
    /// How often the node had been gone.
    ends: u32,
    is_accepted: bool,
    is_settled: bool,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct ToNode {
    /// Messages that it has not accepted: their numbers on the way to it, and those of `sent`.
    order: VecDeque<(u64, u64)>,
    /// Numbers on the way to it that were lost with it.
    lost: VecDeque<Range<u64>>,
    /// How often it was gone.
    ends: u32,
}

/// What is done with a message that a node has accepted, or is lost with it.
enum Outcome {
    /// This transaction has waited for it.
    Accepted(u32),
    Again(Sent),
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
    /// Of that, what nothing can become of any more.
    settled: Vec<Origin>,
    settle_ms: u64,
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
            settled: Vec::new(),
            settle_ms: 0,
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
        sent.ends = to.ends;
        self.sent.insert(number, sent);
    }

    /// A node may have got members of a group.
    pub(super) fn retry_orphans(&mut self) {
        self.retry |= !self.orphans.is_empty();
    }

    fn next_accepted(&mut self, node: u16, up_to: u64) -> Option<Outcome> {
        let to = self.to.get_mut(usize::from(node))?;
        let (place, number) = *to.order.front()?;
        if place > up_to {
            return None;
        }
        to.order.pop_front();
        while to.lost.front().is_some_and(|lost| lost.end <= place) {
            to.lost.pop_front();
        }
        let is_lost = to.lost.front().is_some_and(|lost| lost.contains(&place));
        let Some(sent) = self.sent.get_mut(&number) else {
            return Some(Outcome::Accepted(NONE));
        };
        let is_kept = sent.message.qos == QoS::AtLeastOnce && !sent.is_settled;
        let transaction = sent.transaction;
        if !is_lost && is_kept && sent.ends == to.ends {
            sent.is_accepted = true;
            sent.transaction = NONE;
            return Some(Outcome::Accepted(transaction));
        }
        let sent = self.sent.remove(&number)?;
        Some(if is_lost || is_kept {
            Outcome::Again(sent)
        } else {
            Outcome::Accepted(transaction)
        })
    }

    /// A node is gone: what it had accepted and not settled, in the order in which it was sent.
    fn take_unsettled(&mut self, node: u16) -> Vec<Sent> {
        if let Some(to) = self.to.get_mut(usize::from(node)) {
            to.ends = to.ends.wrapping_add(1);
        }
        let theirs = |sent: &Sent| sent.node == node && sent.is_accepted;
        let found = self.sent.iter().filter(|(_, sent)| theirs(sent));
        let mut numbers: Vec<u64> = found.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let taken = numbers.iter().filter_map(|number| self.sent.remove(number));
        taken.collect()
    }

    fn settle(&mut self, number: u64) {
        let Some(sent) = self.sent.get_mut(&number) else {
            return;
        };
        sent.is_settled = true;
        if sent.is_accepted {
            self.sent.remove(&number);
        }
    }

    fn owe(&mut self, origin: Origin, message: Option<Arc<Message>>, now_ms: u64) {
        if self.owed.is_empty() && self.settled.is_empty() {
            self.settle_ms = now_ms + SETTLE_MS;
        }
        match message {
            Some(message) => self.owed.push((origin, message)),
            None => self.settled.push(origin),
        }
    }

    /// When something is to be done.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let owes = !self.owed.is_empty() || !self.settled.is_empty();
        let settle = owes.then_some(self.settle_ms);
        let retry = self.retry.then_some(0);
        let orphans = self.orphans.iter().map(|(due_ms, _)| *due_ms);
        orphans.chain(settle).chain(retry).min()
    }

    /// What is settled since this was last asked.
    fn take_settled(&mut self, now_ms: u64) -> Vec<Origin> {
        if now_ms < self.settle_ms {
            return Vec::new();
        }
        self.settle_ms = now_ms + SETTLE_MS;
        let settled = &mut self.settled;
        // The session has let go of it, and so has whoever might give it to another.
        self.owed.retain(|(origin, message)| {
            let is_settled = Arc::strong_count(message) == 1;
            if is_settled {
                settled.push(*origin);
            }
            !is_settled
        });
        core::mem::take(settled)
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
            && self.settled.is_empty()
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
            origin: None,
            ends: 0,
            is_accepted: false,
            is_settled: false,
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
            && let Some(outcome) = kept.next_accepted(node, up_to)
        {
            match outcome {
                Outcome::Accepted(transaction) => self.answered(transaction),
                Outcome::Again(sent) => self.give_sent_again(sent),
            }
        }
    }

    /// A node is gone, and with it what its members have not acknowledged.
    pub(in super::super) fn node_gone(&mut self, node: u16) {
        let unsettled = self.kept().map(|kept| kept.take_unsettled(node));
        for sent in unsettled.unwrap_or_default() {
            self.give_sent_again(sent);
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
        let journey = Journey {
            origin: sent.origin,
            ..Journey::default()
        };
        self.give_kept(group, &sent.message, &Way::new(journey));
        let touched = core::mem::take(&mut self.touched);
        if !touched.atomic {
            self.wait_in_transaction(touched.transaction, touched.stored);
        }
        self.answered(touched.transaction);
    }

    /// A message for a group that has no members that this node knows of.
    pub(super) fn wait_for_members(&mut self, sent: Sent) {
        let due_ms = self.now_ms + ORPHAN_MS;
        if let Some(kept) = self.kept() {
            kept.orphans.push((due_ms, sent));
        }
    }

    /// A member of this shard has a message of another node; `stored` if it is not lost with
    /// this one.
    pub(in super::super) fn owe(&mut self, origin: Origin, message: &Arc<Message>, stored: bool) {
        let now_ms = self.now_ms;
        let message = (!stored).then(|| Arc::clone(message));
        if let Some(kept) = self.kept() {
            kept.owe(origin, message, now_ms);
        }
    }

    /// When [`Shard::tick_groups`] has something to do.
    pub(in super::super) fn next_group_ms(&self) -> Option<u64> {
        self.groups.as_ref()?.kept.next_ms()
    }

    /// Does what is due: tells other nodes what is settled, and looks for members.
    pub(in super::super) fn tick_groups(&mut self) {
        let now_ms = self.now_ms;
        let Some(kept) = self.kept() else {
            return;
        };
        if kept.next_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        let settled = kept.take_settled(now_ms);
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
        self.tell_settled(&settled);
    }

    fn tell_settled(&mut self, settled: &[Origin]) {
        let mut by_node: HashMap<u16, Vec<u8>> = HashMap::new();
        for Origin { node, number } in settled {
            let numbers = by_node.entry(*node).or_default();
            numbers.extend_from_slice(&number.to_le_bytes());
        }
        for (node, numbers) in by_node {
            let peer = usize::from(self.node_peer(node));
            let is_up = self.nodes_up() & (1 << node) != 0;
            let Some(peer) = self.peers.get_mut(peer).filter(|_| is_up) else {
                continue;
            };
            for payload in numbers.chunks(8 * NUMBERS_MAX) {
                let message = MessageRef {
                    topic: SETTLED,
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

    /// Another node says what is settled.
    pub(in super::super) fn hear_settled(&mut self, payload: &[u8]) {
        let (numbers, _) = payload.as_chunks();
        let mut by_shard: HashMap<u16, Vec<u64>> = HashMap::new();
        for number in numbers {
            let number = u64::from_le_bytes(*number);
            let shard = (number >> SHARD_BIT) as u16;
            by_shard.entry(shard).or_default().push(number);
        }
        for (shard, numbers) in by_shard {
            if shard == self.id {
                self.settle(&numbers);
            } else if shard < self.count
                && let Some(peer) = self.peers.get_mut(usize::from(shard))
            {
                peer.push(Item::Settled { numbers });
            }
        }
    }

    /// Nothing can become of messages of this shard any more.
    pub(in super::super) fn settle(&mut self, numbers: &[u64]) {
        if let Some(kept) = self.kept() {
            numbers.iter().for_each(|number| kept.settle(*number));
        }
    }
}
