//! A set of filters and its digest.

use hashbrown::HashTable;
use protocol::hash::Seed;

use crate::siphash::siphash128;

/// Filters, each once.
#[derive(Debug)]
pub(super) struct FilterSet {
    table: HashTable<Box<str>>,
    seed: Seed,
    /// The key of the digest.
    incarnation: u64,
    digest: u128,
}

impl FilterSet {
    pub(super) fn new(seed: Seed, incarnation: u64) -> Self {
        Self {
            table: HashTable::new(),
            seed,
            incarnation,
            digest: 0,
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.table.len() as u64
    }

    /// The sum of the hashes of all filters.
    pub(super) const fn digest(&self) -> u128 {
        self.digest
    }

    pub(super) fn contains(&self, filter: &str) -> bool {
        let hash = self.seed.hash(filter);
        self.table.find(hash, |other| **other == *filter).is_some()
    }

    /// Adds a filter; false if it is there.
    pub(super) fn insert(&mut self, filter: &str) -> bool {
        let hash = self.seed.hash(filter);
        if self.table.find(hash, |other| **other == *filter).is_some() {
            return false;
        }
        let seed = self.seed;
        self.table
            .insert_unique(hash, filter.into(), |other| seed.hash(other));
        self.digest = self.digest.wrapping_add(self.weight(filter));
        true
    }

    /// Takes a filter out; false if it is not there.
    pub(super) fn remove(&mut self, filter: &str) -> bool {
        let hash = self.seed.hash(filter);
        let found = self.table.find_entry(hash, |other| **other == *filter);
        let Ok(found) = found else {
            return false;
        };
        found.remove();
        self.digest = self.digest.wrapping_sub(self.weight(filter));
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            let seed = self.seed;
            self.table
                .shrink_to(self.table.len() * 2, |other| seed.hash(other));
        }
        true
    }

    /// All filters, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.table.iter().map(|filter| &**filter)
    }

    /// The same filters in another life of their owner.
    pub(super) fn set_incarnation(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        let weights = self.table.iter().map(|filter| self.weight(filter));
        self.digest = weights.fold(0, u128::wrapping_add);
    }

    fn weight(&self, filter: &str) -> u128 {
        siphash128([self.incarnation, 0], filter.as_bytes())
    }
}
