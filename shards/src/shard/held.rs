//! What one session subscribes to.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashTable;
use protocol::hash::Seed;
use protocol::subscriptions::FilterId;

/// The name of a shared subscription.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SharedName {
    pub(crate) group: Box<str>,
    pub(crate) filter: Box<str>,
}

impl SharedName {
    pub(crate) fn hash(&self, seed: Seed) -> u64 {
        hash_shared(seed, &self.group, &self.filter)
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
    /// In the tables of the shards that own the groups. `None` until there is one.
    shared: Option<Box<HashTable<SharedName>>>,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
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

    pub(crate) fn has_shared(&self, seed: Seed, group: &str, filter: &str) -> bool {
        let hash = hash_shared(seed, group, filter);
        let is_it = |name: &SharedName| *name.group == *group && *name.filter == *filter;
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.find(hash, is_it).is_some())
    }

    /// Adds a name that is not held.
    pub(crate) fn add_shared(&mut self, seed: Seed, name: SharedName) {
        let shared = self.shared.get_or_insert_default();
        shared.insert_unique(name.hash(seed), name, |other| other.hash(seed));
    }

    pub(crate) fn remove_shared(
        &mut self,
        seed: Seed,
        group: &str,
        filter: &str,
    ) -> Option<SharedName> {
        let hash = hash_shared(seed, group, filter);
        let is_it = |name: &SharedName| *name.group == *group && *name.filter == *filter;
        let shared = self.shared.as_mut()?;
        let (name, _) = shared.find_entry(hash, is_it).ok()?.remove();
        if shared.is_empty() {
            self.shared = None;
        }
        Some(name)
    }

    /// The shared subscriptions.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &SharedName> {
        self.shared.iter().flat_map(|shared| shared.iter())
    }

    /// Everything: filters and shared subscriptions.
    pub(crate) fn into_all(
        self,
    ) -> (
        impl Iterator<Item = FilterId>,
        impl Iterator<Item = SharedName>,
    ) {
        let shared = self
            .shared
            .into_iter()
            .flat_map(|shared| shared.into_iter());
        (self.own.into_iter(), shared)
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
    use super::*;

    fn name(number: u32) -> SharedName {
        SharedName {
            group: format!("g{}", number % 3).into(),
            filter: format!("f/{number}").into(),
        }
    }

    #[test]
    fn shared_subscriptions_are_told_apart_by_group_and_filter() {
        let (seed, mut held) = (Seed::new(1), Held::default());
        for number in 0..100 {
            held.add_shared(seed, name(number));
        }
        assert_eq!(held.len(), 100);
        assert!(held.has_shared(seed, "g1", "f/1"));
        assert!(!held.has_shared(seed, "g2", "f/1"));
        assert_eq!(held.remove_shared(seed, "g2", "f/1"), None);
        for number in 0..100 {
            let SharedName { group, filter } = name(number);
            let removed = held.remove_shared(seed, &group, &filter);
            assert_eq!(removed, Some(name(number)));
        }
        assert_eq!((held.len(), held.shared().count()), (0, 0));
    }
}
