//! Filter → sessions: the table that each shard keeps for itself.
//!
//! Filters without a wildcard are found by the hash of their whole text. The others
//! form a tree, whose branches a topic follows: at each level the one with its word
//! and the one with `+`; a `#` met on the way matches. So a match visits no more
//! nodes than there are, and of those at most 2^levels, however the filters are
//! chosen: what `+/+/+` costs is bounded by the subscriptions that somebody holds.
//!
//! A [`SubscriptionTree`] belongs to one shard and is used by its thread only.

mod exact;
mod filters;
mod group;
mod groups;
mod receivers;
mod strategy;
#[cfg(test)]
mod tests;
mod wildcards;

use core::fmt;

use self::filters::Filters;
pub use self::group::{Ability, Member, Resort};
use self::groups::Groups;
use self::receivers::Receivers;
pub use self::strategy::{Occasion, Random, Strategies, Strategy};
use crate::topic::tree::hash::Hash;
use crate::topic::{Filter, TopicName};
use crate::wire::SubscriptionOptions;

/// The number by which a shard knows one of its sessions.
pub type SessionKey = u32;

/// A filter that has subscribers on this shard, as long as it has any. The number is
/// given to another filter later.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FilterId(u32);

/// A share group on one filter, as long as it has members. The number is given to
/// another group later.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupId(u32);

/// One session's subscription to a filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscriber {
    /// Who subscribed.
    pub session: SessionKey,
    /// What was asked for and granted.
    pub options: SubscriptionOptions,
    /// The Subscription Identifier; 0 for none.
    pub identifier: u32,
}

/// What [`SubscriptionTree::insert`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Inserted {
    /// The filter.
    pub filter: FilterId,
    /// Whether the filter had neither a subscriber nor a group on this shard: its route
    /// has to be announced.
    pub first: bool,
    /// The session's former subscription to the filter [MQTT-3.8.4-3].
    pub replaced: Option<Subscriber>,
}

/// What [`SubscriptionTree::insert_shared`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InsertedMember {
    /// The group.
    pub group: GroupId,
    /// The filter.
    pub filter: FilterId,
    /// Whether the filter had neither a subscriber nor a group on this shard: its route
    /// has to be announced.
    pub first: bool,
    /// What the session was in the group before.
    pub replaced: Option<Member>,
}

/// What a removal left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Removed {
    /// The filter; where `last` is set, the number is free from here on.
    pub filter: FilterId,
    /// Whether the filter has neither a subscriber nor a group on this shard any more:
    /// its route has to be withdrawn.
    pub last: bool,
}

/// Who is told what a topic matches.
pub trait Visitor {
    /// A matching filter's subscribers: at least one, in no particular order. A session
    /// is told once for each of its matching filters.
    fn subscribers(&mut self, subscribers: &[Subscriber]);

    /// A share group whose filter matches; [`SubscriptionTree::pick`] says which member
    /// gets the message.
    fn group(&mut self, group: GroupId);
}

/// Filter → subscribers and share groups of one shard.
pub struct SubscriptionTree {
    filters: Filters,
    groups: Groups,
    subscribers: usize,
    generation: u64,
}

impl SubscriptionTree {
    /// An empty table. `seed` makes its hashes unpredictable from outside.
    pub fn new(seed: u64) -> Self {
        Self::with_strategies(seed, Strategies::default())
    }

    /// An empty table whose groups have these strategies.
    pub fn with_strategies(seed: u64, strategies: Strategies) -> Self {
        Self::with_hash(Hash::new(seed), strategies)
    }

    fn with_hash(hash: Hash, strategies: Strategies) -> Self {
        Self {
            filters: Filters::new(hash),
            groups: Groups::new(hash, strategies),
            subscribers: 0,
            generation: 0,
        }
    }

    /// Subscribes a session, or replaces its subscription to the same filter.
    pub fn insert(&mut self, filter: Filter<'_>, subscriber: Subscriber) -> Inserted {
        let id = self.filters.obtain(filter);
        let receivers = self.filters.receivers_mut(id);
        let first = receivers.is_empty();
        let replaced = receivers.insert(subscriber);
        if replaced.is_none() {
            self.subscribers += 1;
        }
        if replaced != Some(subscriber) {
            self.generation += 1;
        }
        Inserted {
            filter: id,
            first,
            replaced,
        }
    }

    /// Ends a session's subscription to a filter; `None` where it has none.
    pub fn remove(&mut self, filter: Filter<'_>, session: SessionKey) -> Option<Removed> {
        let id = self.filters.find(filter)?;
        self.remove_by_id(id, session)
    }

    /// Ends a session's subscription to a filter; `None` where it has none. For when the
    /// session ends, which knows its filters by number.
    pub fn remove_by_id(&mut self, filter: FilterId, session: SessionKey) -> Option<Removed> {
        self.filters.receivers(filter)?;
        self.filters.receivers_mut(filter).remove(session)?;
        self.subscribers -= 1;
        self.generation += 1;
        Some(self.release(filter))
    }

    /// Adds a member to the group `name` on a filter, or replaces it.
    pub fn insert_shared(
        &mut self,
        name: &str,
        filter: Filter<'_>,
        member: Member,
    ) -> InsertedMember {
        let (group, id, first) = self.obtain_group(name, filter);
        let replaced = self.groups.insert_member(group, member);
        InsertedMember {
            group,
            filter: id,
            first,
            replaced,
        }
    }

    /// Takes a member out of the group `name` on a filter; `None` where it is not in it.
    pub fn remove_shared(
        &mut self,
        name: &str,
        filter: Filter<'_>,
        shard: u16,
        session: SessionKey,
    ) -> Option<Removed> {
        let id = self.filters.find(filter)?;
        let group = self.groups.find(id, name)?;
        self.remove_shared_by_id(group, shard, session)
    }

    /// Takes a member out of a group; `None` where it is not in it.
    pub fn remove_shared_by_id(
        &mut self,
        group: GroupId,
        shard: u16,
        session: SessionKey,
    ) -> Option<Removed> {
        let filter = self.groups.filter(group)?;
        self.groups.remove_member(group, shard, session)?;
        Some(self.remove_needless(group, filter))
    }

    /// Makes the group `name` on a filter stay whether it has members or not: it has some
    /// that this table does not know. Returns it, and whether the filter is the first as in
    /// [`Inserted::first`].
    pub fn hold_group(&mut self, name: &str, filter: Filter<'_>) -> (GroupId, bool) {
        let (group, _, first) = self.obtain_group(name, filter);
        self.groups.set_held(group, true);
        (group, first)
    }

    /// Ends what [`Self::hold_group`] said; `None` where nothing was said.
    pub fn release_group(&mut self, group: GroupId) -> Option<Removed> {
        let filter = self.groups.filter(group)?;
        let was_held = self.groups.set_held(group, false)?;
        was_held.then(|| self.remove_needless(group, filter))
    }

    /// The group, its filter, and whether that is the first as in [`Inserted::first`].
    fn obtain_group(&mut self, name: &str, filter: Filter<'_>) -> (GroupId, FilterId, bool) {
        let id = self.filters.obtain(filter);
        let first = self.filters.receivers_mut(id).is_empty();
        let group = self.groups.find(id, name).unwrap_or_else(|| {
            let group = self.groups.create(id, name);
            self.filters.receivers_mut(id).add_group(group);
            self.generation += 1;
            group
        });
        (group, id, first)
    }

    /// Removes a group that nobody needs.
    fn remove_needless(&mut self, group: GroupId, filter: FilterId) -> Removed {
        if !self.groups.is_needless(group) {
            return Removed {
                filter,
                last: false,
            };
        }
        self.groups.remove(group);
        self.filters.receivers_mut(filter).remove_group(group);
        self.generation += 1;
        self.release(filter)
    }

    /// What tells a group from others that had its number before or will have it; `None`
    /// where there is no such group.
    pub fn group_serial(&self, group: GroupId) -> Option<u32> {
        self.groups.serial(group)
    }

    /// The group `name` on a filter.
    pub fn find_group(&self, name: &str, filter: Filter<'_>) -> Option<GroupId> {
        self.groups.find(self.filters.find(filter)?, name)
    }

    /// Says whether a member's client is connected. Returns false where there is no such
    /// member.
    pub fn set_online(
        &mut self,
        group: GroupId,
        shard: u16,
        session: SessionKey,
        online: bool,
    ) -> bool {
        self.groups.set_online(group, shard, session, online)
    }

    /// Says what a member can do with the next message, until it comes or goes or this is
    /// said again. Returns false where there is no such member.
    pub fn set_ability(
        &mut self,
        group: GroupId,
        shard: u16,
        session: SessionKey,
        ability: Ability,
    ) -> bool {
        self.groups.set_ability(group, shard, session, ability)
    }

    /// The member that is to get a message, by the strategy of the group, and what is asked
    /// of it: to send the message, if somebody can; else to queue it, if somebody online
    /// can; else to queue it while its client is away. A member that refuses is to be
    /// reported by [`Self::set_ability`] before the next is picked.
    pub fn pick(
        &mut self,
        group: GroupId,
        occasion: Occasion<'_>,
        random: &mut Random,
    ) -> Option<(Member, Resort)> {
        self.groups.pick(group, occasion, random)
    }

    /// A member of a group.
    pub fn member(&self, group: GroupId, shard: u16, session: SessionKey) -> Option<&Member> {
        self.groups.member(group, shard, session)
    }

    /// Members of a group.
    pub fn members_of(&self, group: GroupId) -> usize {
        self.groups.members_of(group)
    }

    /// Members of a group whose clients are connected.
    pub fn online(&self, group: GroupId) -> usize {
        self.groups.online_of(group)
    }

    /// Tells `visitor` everything whose filter matches `topic`, each filter once.
    pub fn matches(&self, topic: TopicName<'_>, visitor: &mut impl Visitor) {
        self.filters.matches(topic, visitor);
    }

    /// The number of a filter that has subscribers or groups.
    pub fn find(&self, filter: Filter<'_>) -> Option<FilterId> {
        self.filters.find(filter)
    }

    /// The text of a filter; empty where the number is of none.
    pub fn text(&self, filter: FilterId) -> String {
        self.filters.text(filter).unwrap_or_default()
    }

    /// The filters that have subscribers or groups.
    pub fn filters(&self) -> impl Iterator<Item = FilterId> {
        self.filters.ids()
    }

    /// A part of the filters, so that no call takes long: those among `most` numbers from
    /// `from` on, 0 at first, and where to go on.
    pub fn filters_part(&self, from: u32, most: u32) -> (Vec<FilterId>, Option<u32>) {
        self.filters.part(from, most)
    }

    /// A session's own subscription to a filter.
    pub fn subscriber(&self, filter: FilterId, session: SessionKey) -> Option<&Subscriber> {
        self.filters.receivers(filter)?.subscriber(session)
    }

    /// The subscribers of a filter, without groups.
    pub fn subscribers(&self, filter: FilterId) -> &[Subscriber] {
        self.filters
            .receivers(filter)
            .map_or(&[], Receivers::subscribers)
    }

    /// The groups on a filter.
    pub fn groups(&self, filter: FilterId) -> &[GroupId] {
        self.filters
            .receivers(filter)
            .map_or(&[], Receivers::groups)
    }

    /// Whether somebody of this table has a filter: it is not only held.
    pub fn is_used(&self, filter: FilterId) -> bool {
        let mut groups = self.groups(filter).iter();
        !self.subscribers(filter).is_empty() || groups.any(|group| self.members_of(*group) > 0)
    }

    /// The name of a group; empty where the number is of none.
    pub fn group_name(&self, group: GroupId) -> &str {
        self.groups.name(group)
    }

    /// The filter of a group.
    pub fn group_filter(&self, group: GroupId) -> Option<FilterId> {
        self.groups.filter(group)
    }

    /// The members of a group, in no particular order.
    pub fn members(&self, group: GroupId) -> impl Iterator<Item = &Member> {
        self.groups.members(group)
    }

    /// A number that changes exactly when what [`Self::matches`] tells changes: it
    /// validates what was remembered of a match. Members of groups do not count.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Subscriptions, those of group members included.
    pub fn len(&self) -> usize {
        self.subscribers + self.groups.members_len()
    }

    /// Members of groups.
    pub fn shared_len(&self) -> usize {
        self.groups.members_len()
    }

    /// Whether nobody subscribes to anything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Filters that have subscribers or groups.
    pub fn filters_len(&self) -> usize {
        self.filters.len()
    }

    /// Bytes of memory it holds, about.
    pub fn bytes(&self) -> usize {
        let beside_the_first = self.subscribers.saturating_sub(self.filters.len());
        let subscribers = beside_the_first * size_of::<Subscriber>();
        self.filters.bytes() + self.groups.bytes() + subscribers
    }

    fn release(&mut self, filter: FilterId) -> Removed {
        let last = self.filters.receivers_mut(filter).is_empty();
        if last {
            self.filters.remove(filter);
        }
        Removed { filter, last }
    }
}

impl fmt::Debug for SubscriptionTree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SubscriptionTree")
            .field("filters", &self.filters_len())
            .field("subscriptions", &self.len())
            .field("generation", &self.generation)
            .finish()
    }
}
