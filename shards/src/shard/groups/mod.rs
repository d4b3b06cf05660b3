//! Shared subscriptions over several nodes.
//!
//! The shard that owns a group on a node knows its members there, and how many there are on
//! each other node ([`share`]). Where a message is published, it picks a node; that node's
//! owner of the group picks a member, or says that none can take it ([`envelope`]). Whoever has
//! sent a message to another node keeps it until nothing can become of it any more ([`kept`]);
//! one with QoS 0 is passed on instead.
//!
//! ```text
//!   publisher's shard ──► owner of the group ──► a member here
//!                                          └───► owner of the group on another node ──► …
//! ```
//!
//! A node that goes gets no messages of a group as long as others have members that are there:
//! so its own have completed what they have when it ends their connections. Whoever sends it one
//! nevertheless, since it has not heard of it yet, gets it back.
//!
//! A plain subscription is announced to other nodes as a route. A filter that only groups have
//! is not, so its node gets no copy of what is not for its members.

mod envelope;
mod kept;
mod share;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::message::{Message, MessageRef};
use protocol::subscriptions::{FilterId, GroupId, Occasion};
use protocol::topic::Filter;
use protocol::wire::QoS;

use self::kept::{Kept, Sent};
use self::share::{Place, Share, Shares, Wish};
use super::Shard;
use super::frames::{Frames, Outgoing};
use super::held::SharedName;
use super::items::ForGroup;
use super::nodes::NODES_MAX;
use super::peers::{Peer, RouteChange};
use super::transaction::{Then, Touched};

pub(super) use self::envelope::{GROUP, Journey, Origin};
#[cfg(test)]
pub(super) use self::kept::AHEAD_MAX;
pub(super) use self::kept::{TOLD, Told};
#[cfg(test)]
pub(crate) use self::share::SHARE_PREFIX;

/// The groups of this shard that are, or could be, on several nodes.
#[derive(Debug)]
pub(super) struct Groups {
    /// Those that have members on other nodes, with their names.
    shares: HashMap<GroupId, (Arc<SharedName>, Shares)>,
    /// What the other nodes know of the members here.
    announced: HashMap<SharedName, Share>,
    /// Groups whose members have changed since.
    changed: HashSet<SharedName>,
    /// Turns by name, where all groups of a name share them.
    turns: HashMap<Box<str>, u64>,
    kept: Kept,
}

impl Groups {
    pub(super) fn new(shard: u16, random: u64) -> Self {
        Self {
            shares: HashMap::new(),
            announced: HashMap::new(),
            changed: HashSet::new(),
            turns: HashMap::new(),
            kept: Kept::new(shard, random),
        }
    }
}

/// How a message has come to the owner of its group.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// How often a member has sent it back.
    pub(super) bounces: u8,
    /// How it has come from another node; `None` if it was published here and has not left.
    pub(super) journey: Option<Arc<Journey>>,
    /// This node was chosen already.
    pub(super) is_for_here: bool,
    /// It was published just now: nobody has it but its publisher.
    pub(super) is_news: bool,
}

impl Way {
    pub(super) fn new(journey: Journey) -> Self {
        let is_first = journey == Journey::default();
        Self {
            journey: (!is_first).then(|| Arc::new(journey)),
            ..Self::default()
        }
    }

    /// The node that keeps it, if it has come from another one.
    pub(super) fn origin(&self) -> Option<Origin> {
        self.journey.as_ref().and_then(|journey| journey.origin)
    }

    /// Whether a member whose client is away may get it.
    pub(super) fn is_last(&self) -> bool {
        self.journey.as_ref().is_some_and(|journey| journey.last)
    }
}

impl Shard {
    /// Makes room for groups over several nodes.
    pub(super) fn join_groups(&mut self) {
        let groups = Groups::new(self.id, self.random.next_number());
        self.groups = Some(Box::new(groups));
    }

    /// Whether a group has members on other nodes.
    #[inline]
    pub(super) fn has_shares(&self, group: GroupId) -> bool {
        let groups = self.groups.as_ref();
        groups.is_some_and(|groups| groups.shares.contains_key(&group))
    }

    /// Whether a group has members on other nodes whose clients are there.
    pub(super) fn is_online_elsewhere(&self, group: GroupId) -> bool {
        let groups = self.groups.as_ref();
        let shares = groups.and_then(|groups| groups.shares.get(&group));
        shares.is_some_and(|(_, shares)| shares.online() > 0)
    }

    /// Whether members on nodes that stay are to get the messages of a group: this node goes, and
    /// there are some whose clients are there.
    pub(super) fn is_for_others(&self, group: GroupId) -> bool {
        if !self.common.goes.load(Ordering::Relaxed) {
            return false;
        }
        let stays = self.nodes_up() & !self.common.nodes_going.load(Ordering::Relaxed);
        let groups = self.groups.as_ref();
        let shares = groups.and_then(|groups| groups.shares.get(&group));
        shares.is_some_and(|(_, shares)| shares.online_on(stays) > 0)
    }

    /// A group that has members here or on a node that is up.
    fn living_group(&self, name: &SharedName) -> Option<GroupId> {
        let group = self.find_group(name)?;
        let shares = self.groups.as_ref()?.shares.get(&group);
        let mut nodes = shares.iter().flat_map(|(_, shares)| shares.nodes());
        let up = self.nodes_up();
        let is_living =
            self.subscriptions.members_of(group) > 0 || nodes.any(|node| up & (1 << node) != 0);
        is_living.then_some(group)
    }

    /// The members of a group have changed: other nodes are told at the end of the turn.
    #[inline]
    pub(super) fn group_changed(&mut self, name: &SharedName) {
        if let Some(groups) = &mut self.groups {
            groups.kept.retry_orphans();
            groups.changed.insert(name.clone());
        }
    }

    /// The members of a group on this node.
    fn own_share(&self, group: GroupId) -> Share {
        let online = self.subscriptions.online(group);
        let away = self.subscriptions.members_of(group) - online;
        Share {
            online: online as u32,
            away: away as u32,
        }
    }

    /// Tells the other nodes how many members groups have here, and what has become of their
    /// messages.
    pub(super) fn tell_of_groups(&mut self) {
        self.announce_groups();
        self.tell_nodes();
    }

    pub(super) fn announce_groups(&mut self) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        for name in core::mem::take(&mut groups.changed) {
            let group = self.find_group(&name);
            let share = group.map_or_else(Share::default, |group| self.own_share(group));
            let Some(groups) = &mut self.groups else {
                return;
            };
            let before = groups.announced.get(&name).copied().unwrap_or_default();
            if share == before {
                continue;
            }
            let text = |share: Share| (!share.is_empty()).then(|| share.text(&name)).flatten();
            // First what there is, so that there is never nothing.
            let added = text(share).map(RouteChange::Announce);
            let removed = text(before).map(RouteChange::Withdraw);
            if share.is_empty() {
                groups.announced.remove(&name);
            } else {
                groups.announced.insert(name, share);
            }
            for change in added.into_iter().chain(removed) {
                self.change_route(change);
            }
        }
    }

    /// Tells the other nodes of the first plain subscription to a filter that a group has.
    pub(super) fn announce_plain(&mut self, filter: FilterId, text: &str) {
        if self.is_clustered() && self.subscriptions.subscribers(filter).len() == 1 {
            self.change_route(RouteChange::Announce(text.into()));
        }
    }

    /// Takes that back when only groups have the filter any more.
    pub(super) fn withdraw_plain(&mut self, filter: FilterId, text: &str) {
        if self.is_clustered() && self.subscriptions.subscribers(filter).is_empty() {
            self.change_route(RouteChange::Withdraw(text.into()));
        }
    }

    /// Another node has said how many members of a group it has, or has taken that back.
    pub(super) fn share_changed(&mut self, node: u16, text: &str, add: bool) {
        let Some((share, name)) = Share::parse(text) else {
            return;
        };
        let Ok(filter) = Filter::parse(&name.filter, u16::MAX) else {
            return;
        };
        if self.group_owner(&name) != self.id {
            return;
        }
        if add {
            self.add_share(node, share, &name, filter);
        } else if let Some(group) = self.subscriptions.find_group(&name.group, filter) {
            self.remove_share(node, share, &name, group);
        }
    }

    fn add_share(&mut self, node: u16, share: Share, name: &SharedName, filter: Filter<'_>) {
        let tag = self.common.tag_of(node);
        let strategies = &self.strategies;
        let by = [strategies.of(&name.group), strategies.initial_sticky_pick];
        let Some(groups) = &mut self.groups else {
            return;
        };
        // A group without members here stays as long as others have some.
        let (group, first) = self.subscriptions.hold_group(&name.group, filter);
        let known = groups.shares.entry(group);
        let (_, shares) = known.or_insert_with(|| (Arc::new(name.clone()), Shares::new(name, by)));
        shares.set(node, tag, share);
        groups.kept.retry_orphans();
        if first {
            self.change_route(RouteChange::AddHere(name.filter.clone()));
        }
    }

    fn remove_share(&mut self, node: u16, share: Share, name: &SharedName, group: GroupId) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        let Some((_, shares)) = groups.shares.get_mut(&group) else {
            return;
        };
        shares.remove(node, share);
        if !shares.is_empty() {
            return;
        }
        groups.shares.remove(&group);
        let released = self.subscriptions.release_group(group);
        if released.is_some_and(|released| released.last) {
            self.change_route(RouteChange::RemoveHere(name.filter.clone()));
        }
    }

    /// Gives a message to one member of a group, wherever that is.
    pub(super) fn give_in_cluster(
        &mut self,
        group: GroupId,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        mut way: Way,
    ) {
        let is_for_others = !way.is_last() && self.is_for_others(group);
        if let Some(origin) = way.origin() {
            // The node that has sent it keeps it.
            if is_for_others || !self.give(group, frames, outgoing, &way, way.is_last()) {
                self.tell(origin, Told::Back);
            }
            return;
        }
        let qos = outgoing.message().qos;
        let is_kept = qos != QoS::AtMostOnce || self.limits.upgrade_qos;
        let mut is_for_here = way.is_for_here && !is_for_others;
        loop {
            let place = match core::mem::take(&mut is_for_here) {
                true => Some(Place::Here),
                false => self.choose(group, outgoing.message(), &way),
            };
            match place {
                Some(Place::Here) if self.give(group, frames, outgoing, &way, way.is_last()) => {
                    return;
                }
                Some(Place::Here) => {
                    let tag = self.common.tag_of(NODES_MAX);
                    way.journey_mut().visited.push(tag);
                }
                Some(Place::Node(node)) => {
                    self.send_for_group(node, group, outgoing, way);
                    return;
                }
                None if is_kept && !way.is_last() => {
                    let journey = way.journey_mut();
                    journey.last = true;
                    journey.visited.clear();
                }
                None => {
                    self.stats.dropped.add(1);
                    return;
                }
            }
        }
    }

    /// The place that gets a message of a group that may be on other nodes.
    fn choose(&mut self, group: GroupId, message: &MessageRef<'_>, way: &Way) -> Option<Place> {
        let own = (self.own_share(group), self.common.tag_of(NODES_MAX));
        let journey = way.journey.as_deref();
        if journey.is_some_and(|journey| journey.visited.len() > usize::from(NODES_MAX)) {
            return None;
        }
        let (last, up) = (way.is_last(), self.nodes_up());
        let going = self.common.nodes_going.load(Ordering::Relaxed);
        let goes = self.common.goes.load(Ordering::Relaxed);
        let (peers, first) = (&self.peers, usize::from(self.count));
        let may_drop = message.qos == QoS::AtMostOnce;
        let may = |place, tag| {
            let is_there = match place {
                Place::Here => true,
                Place::Node(node) => {
                    let peer = peers.get(first + usize::from(node));
                    up & (1 << node) != 0 && !(may_drop && peer.is_none_or(Peer::is_full))
                }
            };
            is_there && !journey.is_some_and(|journey| journey.visited.contains(&tag))
        };
        let Groups { shares, turns, .. } = &mut **self.groups.as_mut()?;
        let Some((name, shares)) = shares.get_mut(&group) else {
            let (Share { online, away }, tag) = own;
            let has_members = if last { away > 0 } else { online > 0 };
            return (has_members && may(Place::Here, tag)).then_some(Place::Here);
        };
        let mut wish = Wish {
            own,
            occasion: Occasion {
                topic: message.topic,
                publisher: message.publisher >> 48,
                shard: 0,
            },
            last,
            turn: 0,
        };
        if shares.takes_turns_per_group() {
            let turn = turns.entry(name.group.clone()).or_default();
            *turn = turn.wrapping_add(1);
            wish.turn = *turn;
        }
        if going != 0 || goes {
            let stays = |place, tag| match place {
                Place::Here => !goes && may(place, tag),
                Place::Node(node) => going & (1 << node) == 0 && may(place, tag),
            };
            let chosen = shares.choose(&wish, &mut self.random, stays);
            if chosen.is_some() {
                return chosen;
            }
        }
        shares.choose(&wish, &mut self.random, may)
    }

    /// Sends a message to a node for a group.
    fn send_for_group(&mut self, node: u16, group: GroupId, outgoing: &mut Outgoing<'_>, way: Way) {
        let message = *outgoing.message();
        let is_acknowledged = message.qos != QoS::AtMostOnce;
        let Some(groups) = &mut self.groups else {
            return;
        };
        let Some((name, _)) = groups.shares.get(&group) else {
            return;
        };
        let name = Arc::clone(name);
        let number = is_acknowledged.then(|| groups.kept.take_number());
        let is_news = way.is_news;
        let journey = way.journey.map(Arc::unwrap_or_clone).unwrap_or_default();
        let payload = envelope::wrap(&name, &message, &journey, number.unwrap_or(0));
        let outer = MessageRef {
            topic: GROUP,
            payload: &payload,
            retain: false,
            ..message
        };
        let peer = self.node_peer(node);
        let Some(peer) = self.peers.get_mut(usize::from(peer)) else {
            return;
        };
        let is_full = peer.is_full();
        if is_full {
            self.slow_node = node + 1;
        }
        let place = peer.publish(&outer, false, 0);
        let Some(number) = number else {
            return;
        };
        let may_be_ahead = is_news && self.common.publish_ack_local;
        let mut sent = Sent::new(name, outgoing.keep(), node);
        if may_be_ahead && !is_full && !self.keeps_many() {
            // Nobody waits for it, unless this node stops.
            sent.transaction = self.open_transaction(false, Then::Nothing, Vec::new());
        } else {
            sent.transaction = self.expect_answer();
            sent.atomic = self.touched.atomic;
        }
        sent.journey = journey;
        if let Some(groups) = &mut self.groups {
            groups.kept.insert(number, place, sent);
        }
    }

    /// A member of this shard has got a message, which may have come from another node.
    pub(super) fn took_for(
        &mut self,
        journey: Option<&Journey>,
        message: impl FnOnce() -> Arc<Message>,
    ) {
        if let Some(origin) = journey.and_then(|journey| journey.origin) {
            self.took(origin, &message());
        }
    }

    /// A message has come from another node for a group.
    pub(super) fn group_from_node(&mut self, node: u16, outer: &MessageRef<'_>) {
        let Some(given) = envelope::open(node, outer) else {
            self.stats.dropped.add(1);
            return;
        };
        let owner = self.group_owner(&given.name);
        if owner == self.id {
            self.give_from_node(given);
        } else if let Some(peer) = self.peers.get_mut(usize::from(owner)) {
            peer.give_for_group(given);
        }
    }

    /// A message has come from another node, for a group of this shard.
    pub(super) fn give_from_node(&mut self, given: ForGroup) {
        if let Some(group) = self.find_group(&given.name) {
            let way = Way {
                journey: Some(given.journey),
                is_for_here: true,
                ..Way::default()
            };
            self.give_kept(group, &given.message, &way);
            // Who waits is told, and not the link.
            self.touched = Touched::default();
        } else if let Some(origin) = given.journey.origin {
            self.tell(origin, Told::Back);
        } else {
            self.stats.dropped.add(1);
        }
    }
}

impl Way {
    /// How it has come, to be changed.
    fn journey_mut(&mut self) -> &mut Journey {
        Arc::make_mut(self.journey.get_or_insert_default())
    }
}
