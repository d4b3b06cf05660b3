//! The other shards of this node.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::subscriptions::Ability;
use protocol::wire::QoS;

use super::held::SharedName;
use super::items::{ArrivedConnection, Batch, ForGroup, Item, Packed};
use super::items::{SessionRef, SharedDelivery};
use super::replay::Retained;
use super::transaction::{Later, Then, Token};
use super::{Handover, NONE, Shard};

/// Emptied batches kept to be filled again.
const SPARE_MAX: usize = 8;

/// A change of this shard's routes, for the route writer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RouteChange {
    /// The first subscription to a filter on this shard.
    Add(Box<str>),
    /// The last one is gone.
    Remove(Box<str>),
    /// The same for a filter that only groups have: other nodes do not hear of it.
    AddHere(Box<str>),
    /// The last group is gone.
    RemoveHere(Box<str>),
    /// Something that only other nodes hear of.
    Announce(Box<str>),
    /// It is not so any more.
    Withdraw(Box<str>),
    /// Nothing: the thread with the links wants to know when all before it is applied.
    Fence,
}

/// What this shard has for another one, and what it waits for from it.
#[derive(Debug)]
pub(crate) struct Peer {
    batch: Box<Batch>,
    /// Bytes of messages that may be under way to it, in the batch and in the ring.
    bytes_max: usize,
    /// The sizes of the batches in the ring, oldest first, and their sum.
    under_way: VecDeque<usize>,
    under_way_bytes: usize,
    /// Publishes sent to it so far.
    sent: u64,
    /// Publishes it has accepted, in the order they were sent.
    accepted: u64,
    /// Connections that wait for an acceptance: up to which publish, key and serial.
    waits: VecDeque<(u64, u32, u32)>,
    /// Who waits until it has stored a publish.
    later: HashMap<u64, Later>,
    /// Publishes that came from it so far.
    arrived: u64,
}

impl Peer {
    /// All shards of a node.
    pub(crate) fn all(count: u16, bytes_max: usize) -> Vec<Self> {
        (0..count).map(|_| Self::new(bytes_max)).collect()
    }

    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            batch: Box::default(),
            bytes_max,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            sent: 0,
            accepted: 0,
            waits: VecDeque::new(),
            later: HashMap::new(),
            arrived: 0,
        }
    }

    /// Whether so much waits that no more QoS 0 messages are taken and QoS 1 and 2
    /// publishers are paused.
    pub(super) fn is_full(&self) -> bool {
        self.under_way_bytes + self.batch.size() >= self.bytes_max
    }

    /// Whether as much waits as may be under way of what is in no hurry.
    pub(super) fn is_half_full(&self) -> bool {
        self.under_way_bytes + self.batch.size() >= self.bytes_max / 2
    }

    /// Publishes sent to it.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Publishes it has accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn push(&mut self, item: Item) {
        self.batch.items.push(item);
    }

    /// Adds a message; returns its number, counted from 1.
    pub(super) fn publish(
        &mut self,
        message: &MessageRef<'_>,
        atomic: bool,
        retaining: u64,
    ) -> u64 {
        self.batch.publish(message, atomic, retaining);
        self.batch.wants_answer |= message.qos != QoS::AtMostOnce;
        self.sent += 1;
        self.sent
    }

    /// Adds a message that the other shard is to retain. Counts as a publish; returns its
    /// number.
    pub(super) fn retain(&mut self, retained: Retained) -> u64 {
        self.batch.kept_bytes += retained.message.size();
        self.batch.items.push(Item::Retain(retained));
        self.batch.wants_answer = true;
        self.sent += 1;
        self.sent
    }

    /// Adds what another node retained before now. Counts as a publish; returns its number.
    pub(super) fn keep(&mut self, retained: Retained) -> u64 {
        self.batch.kept_bytes += retained.message.size();
        self.batch.items.push(Item::Keep(retained));
        self.batch.wants_answer = true;
        self.sent += 1;
        self.sent
    }

    /// Adds a message that another node has sent for a group.
    pub(super) fn give_for_group(&mut self, given: ForGroup) {
        self.batch.kept_bytes += given.message.size();
        self.batch.items.push(Item::ForGroup(Box::new(given)));
    }

    /// The message that was added last comes from another node.
    pub(super) fn mark_foreign(&mut self) {
        self.batch.mark_foreign();
    }

    /// Adds a message for a member of a group.
    pub(super) fn deliver(&mut self, to: SessionRef, delivery: SharedDelivery) {
        self.batch.kept_bytes += delivery.message.size();
        self.batch.items.push(Item::Deliver { to, delivery });
    }

    /// Sends a message of a group back to its owner.
    pub(super) fn bounce(
        &mut self,
        member: SessionRef,
        ability: Option<Ability>,
        delivery: SharedDelivery,
    ) {
        self.batch.kept_bytes += delivery.message.size();
        self.batch.items.push(Item::Bounced {
            member,
            ability,
            delivery,
        });
    }

    /// Sends messages that a member leaves behind to the owner of their group.
    pub(super) fn give_back(
        &mut self,
        name: SharedName,
        messages: Vec<Arc<Message>>,
        token: Option<Token>,
    ) {
        let size: usize = messages.iter().map(|message| message.size()).sum();
        self.batch.kept_bytes += size;
        self.batch.items.push(Item::Returned {
            name,
            messages,
            token,
        });
    }

    /// Somebody waits until publish number `sent` is stored.
    pub(super) fn wait_later(&mut self, sent: u64, who: Later) {
        self.later.insert(sent, who);
    }

    /// Who waited until a publish is stored.
    pub(super) fn forget_later(&mut self, sent: u64) -> Option<Later> {
        self.later.remove(&sent)
    }

    /// Whether somebody waits until a publish is stored.
    pub(super) fn has_later(&self, sent: u64) -> bool {
        self.later.contains_key(&sent)
    }

    /// The connection that waits until publish number `sent` is accepted, and its serial.
    pub(super) fn who_waits(&self, sent: u64) -> Option<(u32, u32)> {
        let index = self.waits.partition_point(|(other, ..)| *other < sent);
        let &(found, key, serial) = self.waits.get(index)?;
        (found == sent).then_some((key, serial))
    }

    /// A connection waits until publish number `sent` is accepted.
    pub(super) fn wait(&mut self, sent: u64, key: u32, serial: u32) {
        self.waits.push_back((sent, key, serial));
    }
}

impl Shard {
    /// What there is for another shard, as one batch. Its place in the ring must be sure.
    pub(crate) fn take_batch(&mut self, peer: u16) -> Option<Box<Batch>> {
        let peer = self.peers.get_mut(usize::from(peer))?;
        if peer.batch.items.is_empty() {
            return None;
        }
        let size = peer.batch.size();
        peer.under_way.push_back(size);
        peer.under_way_bytes += size;
        let fresh = self.spare_batches.pop().unwrap_or_default();
        Some(core::mem::replace(&mut peer.batch, fresh))
    }

    /// The ring to another shard holds this many batches: the older ones are taken.
    pub(crate) fn ring_holds(&mut self, peer: u16, batches: usize) {
        let Some(peer) = self.peers.get_mut(usize::from(peer)) else {
            return;
        };
        while peer.under_way.len() > batches {
            let size = peer.under_way.pop_front().unwrap_or(0);
            peer.under_way_bytes = peer.under_way_bytes.saturating_sub(size);
        }
    }

    /// Whether there is something for another shard.
    pub(crate) fn has_batch(&self, peer: u16) -> bool {
        self.peers
            .get(usize::from(peer))
            .is_some_and(|peer| !peer.batch.items.is_empty())
    }

    /// Sends a connection to the shard it belongs to.
    pub(crate) fn send_connection(&mut self, handover: Handover, fd: i32, listener: u32) {
        if let Some(peer) = self.peers.get_mut(usize::from(handover.target)) {
            let input = handover.input;
            peer.push(Item::Connection(ArrivedConnection {
                fd,
                listener,
                input,
            }));
        }
    }

    /// Handles what another shard sent. Connections in it are handed to `adopt`.
    pub(crate) fn handle_batch(
        &mut self,
        from: u16,
        mut batch: Box<Batch>,
        adopt: &mut dyn FnMut(ArrivedConnection),
    ) {
        let wants_answer = core::mem::take(&mut batch.wants_answer);
        let mut items = core::mem::take(&mut batch.items);
        for item in items.drain(..) {
            self.handle_item(from, item, &batch.bytes, adopt);
        }
        batch.items = items;
        batch.clear();
        self.keep_batch(batch);
        // No publisher of this shard is to wait for it.
        self.slow_node = 0;
        if wants_answer && let Some(peer) = self.peers.get_mut(usize::from(from)) {
            let publishes = peer.arrived;
            peer.push(Item::Accepted { publishes });
        }
    }

    /// Keeps an emptied batch to be filled again.
    pub(super) fn keep_batch(&mut self, batch: Box<Batch>) {
        if self.spare_batches.len() < SPARE_MAX {
            self.spare_batches.push(batch);
        }
    }

    fn handle_item(
        &mut self,
        from: u16,
        item: Item,
        bytes: &[u8],
        adopt: &mut dyn FnMut(ArrivedConnection),
    ) {
        match item {
            Item::Connection(connection) => adopt(connection),
            Item::Publish(packed) => self.publish_arrived(from, &packed, bytes),
            Item::Retain(retained) => self.retain_arrived(from, retained),
            Item::Keep(retained) => self.keep_arrived(from, retained),
            Item::StoredLater { publish } => self.stored_later(from, publish),
            Item::Staged { token, changes } => self.staged_by(from, token, changes),
            Item::Committed { token } => self.committed_by(from, token),
            Item::Accepted { publishes } => self.accepted_by(from, publishes),
            Item::Refused { publish, full } => self.refused_by(from, publish, full),
            Item::Replay {
                to,
                replay,
                filter,
                after,
            } => {
                self.answer_replay(from, to, replay, &filter, after);
            }
            Item::Replayed {
                to,
                replay,
                found,
                next,
            } => {
                self.replay_found(to, replay, found, next);
            }
            Item::Received(place) => self.received_up_to(place),
            Item::Session { node, payload } => self.hear_of_session(node, &payload),
            Item::Marks {
                node,
                stream,
                payload,
            } => self.marks_at_home_or_turn((node, stream), &payload),
            Item::ProcessGone { node } => self.process_is_gone(node, from),
            about_subscriptions => self.handle_subscription_item(from, about_subscriptions),
        }
    }

    /// What concerns shared and exclusive subscriptions.
    fn handle_subscription_item(&mut self, from: u16, item: Item) {
        match item {
            Item::Deliver { to, delivery } => self.deliver_to_member(from, to, delivery),
            Item::Bounced {
                member,
                ability,
                delivery,
            } => self.deliver_again(member, ability, &delivery),
            Item::ForGroup(given) => self.give_from_node(*given),
            Item::Told(told) => self.told(&told),
            Item::Able {
                group,
                group_serial,
                member,
                ability,
            } => self.set_ability(group, group_serial, member, ability),
            Item::Returned {
                name,
                messages,
                token,
            } => self.returned(from, &name, &messages, token),
            Item::Return { name, member } => self.give_back_queued(&name, member),
            Item::Claim {
                filter,
                claim,
                holder,
                is_former,
            } => self.claim_for(from, filter, claim, (&holder, is_former)),
            Item::Hold {
                filter,
                session,
                holder,
            } => self.hold_filter(&filter, session, &holder),
            Item::FilterLost { filter, session } => self.filter_lost(&filter, session),
            Item::Claimed {
                filter,
                claim,
                granted,
            } => self.claimed(&filter, claim, granted),
            Item::Release { filter, session } => self.release_claim(&filter, session),
            Item::Join {
                name,
                member,
                online,
                ticket,
            } => {
                self.join_for(from, &name, member, online, ticket);
            }
            Item::Joined { ticket } => self.ticket_done(ticket),
            Item::Leave { name, session } => self.leave_group(&name, session),
            Item::Presence {
                name,
                session,
                online,
                queued,
            } => self.set_presence(&name, session, online, queued),
            _ => {}
        }
    }

    fn publish_arrived(&mut self, from: u16, packed: &Packed, bytes: &[u8]) {
        let publish = self.count_arrived(from);
        if packed.atomic {
            let token = Token::Publish(publish);
            self.begin_atomic(Then::Answer { shard: from, token }, Vec::new());
        }
        self.retaining = packed.retaining;
        self.is_foreign = packed.is_foreign;
        self.comes_from(Some(from));
        if let Some(message) = packed.message(bytes)
            && !self.route_arrived(&message)
        {
            self.stats.dropped.add(1);
            self.refuse_arrived(from, true);
        }
        self.comes_from(None);
        self.settle_arrived(from, publish);
    }

    fn retain_arrived(&mut self, from: u16, retained: Retained) {
        let publish = self.count_arrived(from);
        if self.store_retained(retained.clone()) {
            self.hand_on(&retained);
            self.settle_arrived(from, publish);
        } else {
            self.stats.dropped.add(1);
            self.refuse_arrived(from, self.store_is_full());
        }
    }

    fn keep_arrived(&mut self, from: u16, retained: Retained) {
        let publish = self.count_arrived(from);
        let routed = self.keep_handed(retained);
        if routed.retain_refused {
            self.refuse_arrived(from, self.store_is_full());
            return;
        }
        self.touched = routed.touched;
        self.settle_arrived(from, publish);
    }

    fn count_arrived(&mut self, from: u16) -> u64 {
        let peer = self.peers.get_mut(usize::from(from));
        peer.map_or(0, |peer| {
            peer.arrived += 1;
            peer.arrived
        })
    }

    /// Tells another shard that its last publish was not taken.
    fn refuse_arrived(&mut self, from: u16, full: bool) {
        if let Some(peer) = self.peers.get_mut(usize::from(from)) {
            let publish = peer.arrived;
            peer.push(Item::Refused { publish, full });
        }
    }

    fn refused_by(&mut self, from: u16, publish: u64, full: bool) {
        let Some(peer) = self.peers.get_mut(usize::from(from)) else {
            return;
        };
        let waiting = peer.who_waits(publish);
        if let Some(Later::Transaction(transaction)) = peer.forget_later(publish) {
            self.refused_in(transaction);
        }
        if let Some((key, serial)) = waiting {
            if self.is_node(key) {
                self.stats.retained_refused.add(1);
                return;
            }
            self.refuse_pending(key, serial, (from, publish), full);
        }
    }

    pub(super) fn accepted_by(&mut self, from: u16, publishes: u64) {
        let Some(peer) = self.peers.get_mut(usize::from(from)) else {
            return;
        };
        peer.accepted = peer.accepted.max(publishes);
        let mut last = (NONE, 0);
        while let Some(peer) = self.peers.get_mut(usize::from(from))
            && let Some(&(sent, key, serial)) = peer.waits.front()
            && sent <= peer.accepted
        {
            peer.waits.pop_front();
            if last != (key, serial) {
                last = (key, serial);
                self.release_acks(key, serial);
            }
        }
    }

    /// Whether publishers have to wait: too much is under way to another shard or the store.
    #[inline]
    pub(super) fn is_congested(&self) -> bool {
        self.is_ring_full() || self.store_is_behind()
    }

    /// Whether too much is under way to another shard.
    #[inline]
    pub(super) fn is_ring_full(&self) -> bool {
        let shards = self.peers.iter().take(usize::from(self.count));
        shards.into_iter().any(Peer::is_full)
    }

    /// Goes on with paused connections when there is room again.
    pub(super) fn resume_paused(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let full = self.is_congested() || self.is_fenced();
        for key in core::mem::take(&mut self.paused) {
            let awaited = self.connections.get(key).map_or(0, |c| c.awaits_node);
            let node_is_full = awaited != 0 && self.is_node_full(awaited);
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if !node_is_full {
                connection.awaits_node = 0;
            }
            if full || connection.waits(&self.limits) {
                self.paused.push(key);
            } else if connection.paused {
                connection.paused = false;
                self.continue_input(key);
            }
        }
    }

    /// Whether a connection is paused because too much is under way to another shard.
    pub(crate) fn waits_for_rings(&self) -> bool {
        !self.paused.is_empty() && self.is_congested() || self.delayed_waits_for_rings()
    }

    /// Whether the next [`Shard::finish_turn`] goes on with a paused connection: its batch
    /// or its output may have gone since the last one.
    pub(super) fn may_resume(&self) -> bool {
        let waits = |key: &u32| {
            let connection = self.connections.get(*key);
            connection.is_some_and(|connection| {
                let awaited = connection.awaits_node;
                let has_room = awaited != 0 && !self.is_node_full(awaited);
                connection.waits(&self.limits) && !has_room
            })
        };
        let held = self.paused.is_empty() || self.is_congested() || self.is_fenced();
        !held && !self.paused.iter().all(waits)
    }
}
