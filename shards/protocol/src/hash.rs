//! The seeded hash that everything here uses, for what is looked up outside.

use crate::topic::tree::hash::Hash;

/// A seed, turned into constants. Whoever does not know it cannot aim for collisions.
#[derive(Clone, Copy, Debug)]
pub struct Seed(Hash);

impl Seed {
    /// Turns a seed into constants.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Hash::new(seed))
    }

    /// The hash of a text.
    #[inline]
    #[must_use]
    pub fn hash(&self, text: &str) -> u64 {
        self.0.text(text)
    }
}
