//! Hash → number, without the key: who asks compares.

use hashbrown::HashTable;

/// Numbers by the hash of what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Table {
    numbers: HashTable<u32>,
}

impl Table {
    /// The number with `hash` that `is_it` says yes to.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.numbers.find(hash, |number| is_it(*number)).copied()
    }

    /// Adds a number that is not there. `hash_of` gives the hash of any number in the
    /// table, for when it grows.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        self.numbers
            .insert_unique(hash, number, |number| hash_of(*number));
    }

    /// Removes a number, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
            entry.remove();
        }
        if self.numbers.is_empty() {
            *self = Self::default();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.numbers.allocation_size()
    }
}
