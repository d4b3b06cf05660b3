//! What one session subscribes to.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use hashbrown::HashTable;
use protocol::hash::Seed;
use protocol::session::{Membership, Outflow};
use protocol::subscriptions::{Ability, FilterId, GroupId};
use protocol::wire::SubscriptionOptions;

/// The name of a shared subscription.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct SharedName {
    pub(crate) group: Box<str>,
    pub(crate) filter: Box<str>,
}

impl SharedName {
    pub(crate) fn hash(&self, seed: Seed) -> u64 {
        hash_shared(seed, &self.group, &self.filter)
    }

    fn is(&self, group: &str, filter: &str) -> bool {
        *self.group == *group && *self.filter == *filter
    }
}

/// The subscriptions of one session, for when one of them or the session ends. What was
/// asked for with them is in the tables of the shards. Owned by the session's shard.
///
/// With one subscription it costs about 50 bytes, with many about 8 bytes each; a shared
/// one also costs its name.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// In the table of the session's shard.
    own: HashTable<FilterId>,
    /// What few sessions need. `None` until they do.
    rare: Option<Box<Rare>>,
}

/// What a session has beside its plain subscriptions.
#[derive(Debug, Default)]
struct Rare {
    /// Shared subscriptions, in the tables of the shards that own the groups.
    shared: HashTable<(SharedName, Membership)>,
    /// The numbers of those.
    live: HashSet<Membership>,
    /// Numbers given to them so far. None is given again, so this stays when the last one
    /// ends: a message for an earlier one may be on its way.
    numbered: u32,
    /// Shared subscriptions that have ended, while messages that came by them may be with
    /// the session.
    ended: Vec<(SharedName, Membership)>,
    /// Of the plain subscriptions, those that no other session may have.
    exclusive: HashSet<FilterId>,
    /// Groups that were refused a message, and what they were told, by owner and number.
    refused: HashMap<(u16, GroupId), Refused>,
    /// What was asked for with the shared subscriptions: options and Subscription Identifier.
    terms: HashMap<Membership, (SubscriptionOptions, u32)>,
}

impl Rare {
    fn enter(&mut self, seed: Seed, name: &SharedName, number: Membership) {
        let entry = (name.clone(), number);
        let rehash = |(other, _): &(SharedName, Membership)| other.hash(seed);
        self.shared.insert_unique(name.hash(seed), entry, rehash);
        self.live.insert(number);
    }
}

/// What a group believes of a member that has refused a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) owner: u16,
    pub(crate) group: GroupId,
    pub(crate) group_serial: u32,
    pub(crate) ability: Ability,
}

/// Shared subscriptions that have ended and are kept before it is looked which of them are
/// still needed.
const ENDED_MIN: usize = 64;

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.rare.as_ref().map_or(0, |rare| rare.shared.len())
    }

    pub(crate) fn has(&self, filter: FilterId) -> bool {
        let found = self.own.find(hash(filter), |other| *other == filter);
        found.is_some()
    }

    /// Adds a filter that is not held.
    pub(crate) fn add(&mut self, filter: FilterId) {
        self.own
            .insert_unique(hash(filter), filter, |other| hash(*other));
    }

    pub(crate) fn remove(&mut self, filter: FilterId) {
        let entry = self.own.find_entry(hash(filter), |other| *other == filter);
        if let Ok(entry) = entry {
            entry.remove();
        }
    }

    /// Whether a plain subscription is one that no other session may have.
    pub(crate) fn is_exclusive(&self, filter: FilterId) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.exclusive.contains(&filter))
    }

    /// Says whether a plain subscription is exclusive; returns whether it was.
    pub(crate) fn set_exclusive(&mut self, filter: FilterId, exclusive: bool) -> bool {
        if exclusive {
            return !self.rare.get_or_insert_default().exclusive.insert(filter);
        }
        let rare = self.rare.as_mut();
        rare.is_some_and(|rare| rare.exclusive.remove(&filter))
    }

    pub(crate) fn has_shared(&self, seed: Seed, group: &str, filter: &str) -> bool {
        let hash = hash_shared(seed, group, filter);
        let is_it = |(name, _): &(SharedName, Membership)| name.is(group, filter);
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.shared.find(hash, is_it).is_some())
    }

    /// The number of a shared subscription that the session has.
    pub(crate) fn membership(&self, seed: Seed, group: &str, filter: &str) -> Option<Membership> {
        let hash = hash_shared(seed, group, filter);
        let is_it = |(name, _): &(SharedName, Membership)| name.is(group, filter);
        let rare = self.rare.as_ref()?;
        rare.shared
            .find(hash, is_it)
            .map(|(_, membership)| *membership)
    }

    /// Whether the session has a shared subscription with this number.
    pub(crate) fn is_member(&self, membership: Membership) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| rare.live.contains(&membership))
    }

    /// The number of a shared subscription, which it has or gets here.
    pub(crate) fn add_shared(&mut self, seed: Seed, name: &SharedName) -> Membership {
        let rare = self.rare.get_or_insert_default();
        let is_it = |(other, _): &(SharedName, Membership)| other == name;
        if let Some((_, membership)) = rare.shared.find(name.hash(seed), is_it) {
            return *membership;
        }
        rare.numbered = rare.numbered.wrapping_add(1).max(1);
        let number = NonZeroU32::new(rare.numbered).unwrap_or(NonZeroU32::MIN);
        rare.enter(seed, name, Membership(number));
        Membership(number)
    }

    /// What was asked for with a shared subscription.
    pub(crate) fn set_terms(&mut self, number: Membership, options: SubscriptionOptions, id: u32) {
        let rare = self.rare.get_or_insert_default();
        rare.terms.insert(number, (options, id));
    }

    /// The shared subscriptions with their numbers, options and Subscription Identifiers.
    pub(crate) fn shared_with_terms(
        &self,
    ) -> impl Iterator<Item = (&SharedName, Membership, SubscriptionOptions, u32)> {
        let rare = self.rare.iter();
        rare.flat_map(|rare| {
            rare.shared.iter().filter_map(|(name, number)| {
                let (options, id) = rare.terms.get(number)?;
                Some((name, *number, *options, *id))
            })
        })
    }

    /// The plain subscriptions, exclusive ones among them.
    pub(crate) fn plain(&self) -> impl Iterator<Item = FilterId> {
        self.own.iter().copied()
    }

    /// Puts back a shared subscription with the number that it had.
    pub(crate) fn restore_shared(&mut self, seed: Seed, name: &SharedName, number: Membership) {
        let rare = self.rare.get_or_insert_default();
        rare.enter(seed, name, number);
        rare.numbered = rare.numbered.max(number.0.get());
    }

    /// A message has come by the shared subscription with this number: no other gets it.
    pub(crate) fn restore_number(&mut self, number: Membership) {
        let rare = self.rare.get_or_insert_default();
        rare.numbered = rare.numbered.max(number.0.get());
    }

    /// Ends a shared subscription. `outflow` may hold messages that came by it: its name is
    /// known as long as it does.
    pub(crate) fn remove_shared(
        &mut self,
        seed: Seed,
        group: &str,
        filter: &str,
        outflow: &Outflow,
    ) -> Option<SharedName> {
        let hash = hash_shared(seed, group, filter);
        let rare = self.rare.as_mut()?;
        let is_it = |(name, _): &(SharedName, Membership)| name.is(group, filter);
        let (entry, _) = rare.shared.find_entry(hash, is_it).ok()?.remove();
        let name = entry.0.clone();
        rare.live.remove(&entry.1);
        rare.terms.remove(&entry.1);
        if outflow.is_empty() {
            rare.ended.clear();
        } else {
            if rare.ended.len() >= ENDED_MIN && rare.ended.len().is_power_of_two() {
                let needed: HashSet<Membership> = outflow.memberships().collect();
                rare.ended.retain(|(_, ended)| needed.contains(ended));
            }
            rare.ended.push(entry);
        }
        Some(name)
    }

    /// The plain subscriptions.
    pub(crate) fn own(&self) -> impl Iterator<Item = FilterId> {
        self.own.iter().copied()
    }

    /// The shared subscriptions.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &SharedName> {
        let rare = self.rare.iter();
        rare.flat_map(|rare| rare.shared.iter().map(|(name, _)| name))
    }

    /// Whether it has something beside plain subscriptions.
    #[inline]
    pub(crate) fn has_rare(&self) -> bool {
        self.rare.is_some()
    }

    /// The names of all shared subscriptions by number, those that have ended included.
    pub(crate) fn shared_by_number(&self) -> HashMap<Membership, &SharedName> {
        let rare = self.rare.iter();
        let all = rare.flat_map(|rare| rare.shared.iter().chain(&rare.ended));
        all.map(|(name, membership)| (*membership, name)).collect()
    }

    /// Remembers a group that was refused a message.
    pub(crate) fn refuse(&mut self, refused: Refused) {
        let rare = self.rare.get_or_insert_default();
        let key = (refused.owner, refused.group);
        rare.refused.insert(key, refused);
    }

    /// Whether a group was refused a message since it was last told better.
    #[inline]
    pub(crate) fn has_refused(&self) -> bool {
        let rare = self.rare.as_ref();
        rare.is_some_and(|rare| !rare.refused.is_empty())
    }

    /// Takes those that were refused a message and believe what is worse than `ability`.
    pub(crate) fn take_refused(&mut self, ability: Ability) -> Vec<Refused> {
        let Some(rare) = &mut self.rare else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        for refused in rare.refused.values_mut() {
            if refused.ability as u8 > ability as u8 {
                refused.ability = ability;
                taken.push(*refused);
            }
        }
        if ability == Ability::Ready {
            rare.refused = HashMap::new();
        }
        taken
    }

    /// Everything: filters, each with whether it is exclusive, and shared subscriptions.
    pub(crate) fn into_all(
        self,
    ) -> (
        impl Iterator<Item = (FilterId, bool)>,
        impl Iterator<Item = SharedName>,
    ) {
        let rare = self.rare.map(|rare| *rare).unwrap_or_default();
        let exclusive = rare.exclusive;
        let own = self.own.into_iter();
        let own = own.map(move |filter| (filter, exclusive.contains(&filter)));
        (own, rare.shared.into_iter().map(|(name, _)| name))
    }
}

fn hash(filter: FilterId) -> u64 {
    let mut hasher = DefaultHasher::new();
    filter.hash(&mut hasher);
    hasher.finish()
}

fn hash_shared(seed: Seed, group: &str, filter: &str) -> u64 {
    seed.hash(filter) ^ seed.hash(group).rotate_left(32)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use protocol::session::{Delivery, Identifiers, StoredAs};
    use protocol::wire::QoS;

    use super::*;

    fn name(number: u32) -> SharedName {
        SharedName {
            group: format!("g{}", number % 3).into(),
            filter: format!("f/{number}").into(),
        }
    }

    fn outflow() -> Outflow {
        Outflow::new(NonZeroU16::MIN, true)
    }

    #[test]
    fn shared_subscriptions_are_told_apart_by_group_and_filter() {
        let (seed, mut held) = (Seed::new(1), Held::default());
        for number in 0..100 {
            let membership = held.add_shared(seed, &name(number));
            assert_eq!(membership.0.get(), number + 1);
            assert!(held.is_member(membership));
            assert_eq!(held.add_shared(seed, &name(number)), membership);
        }
        assert_eq!(held.len(), 100);
        assert!(held.has_shared(seed, "g1", "f/1"));
        assert!(!held.has_shared(seed, "g2", "f/1"));
        assert_eq!(held.remove_shared(seed, "g2", "f/1", &outflow()), None);
        for number in 0..100 {
            let SharedName { group, filter } = name(number);
            let removed = held.remove_shared(seed, &group, &filter, &outflow());
            assert_eq!(removed, Some(name(number)));
        }
        assert_eq!((held.len(), held.shared().count()), (0, 0));
        let again = held.add_shared(seed, &name(1));
        assert_eq!(again.0.get(), 101, "a number is given once");
    }

    #[test]
    fn the_name_of_a_shared_subscription_is_known_while_a_message_came_by_it() {
        let (seed, mut held, mut outflow) = (Seed::new(1), Held::default(), outflow());
        let message = protocol::message::MessageRef {
            topic: "t",
            properties: &[],
            payload: &[],
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            publisher: u64::MAX,
        };
        let first = held.add_shared(seed, &name(0));
        outflow.send_by(QoS::AtLeastOnce, Some(first), || Delivery {
            message: message.to_message(),
            identifiers: Identifiers::None,
            qos: QoS::AtLeastOnce,
            retain: false,
            stored: StoredAs::default(),
            membership: Some(first),
            dup: false,
        });
        for number in 0..1000 {
            held.add_shared(seed, &name(number));
            let SharedName { group, filter } = name(number);
            held.remove_shared(seed, &group, &filter, &outflow).unwrap();
        }
        assert_eq!((held.len(), held.is_member(first)), (0, false));
        let known = held.shared_by_number();
        assert_eq!(known.get(&first), Some(&&name(0)));
        assert!(known.len() <= 2 * ENDED_MIN, "{}", known.len());
    }

    #[test]
    fn a_group_that_was_refused_is_told_once_of_what_is_better() {
        let mut held = Held::default();
        let refused = Refused {
            owner: 1,
            group: some_group(),
            group_serial: 5,
            ability: Ability::Full,
        };
        held.refuse(refused);
        held.refuse(refused);
        let busy = Refused {
            ability: Ability::Busy,
            ..refused
        };
        assert_eq!(held.take_refused(Ability::Busy), [busy]);
        assert_eq!(held.take_refused(Ability::Busy), []);
        let told = held.take_refused(Ability::Ready);
        assert_eq!((told.len(), told[0].ability), (1, Ability::Ready));
        assert!(!held.has_refused());
    }

    fn some_group() -> GroupId {
        use protocol::subscriptions::{Member, SubscriptionTree};
        use protocol::topic::Filter;
        use protocol::wire::{RetainHandling, SubscriptionOptions};
        let member = Member {
            shard: 0,
            online: true,
            ability: Ability::Ready,
            session: 0,
            serial: 0,
            options: SubscriptionOptions {
                qos: QoS::AtMostOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            },
            identifier: 0,
            membership: Membership(NonZeroU32::MIN),
        };
        let filter = Filter::parse("f", 8).unwrap();
        let mut tree = SubscriptionTree::new(1);
        tree.insert_shared("g", filter, member).group
    }
}
