//! The tree of words below [`crate::subscriptions`] and [`crate::retained`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`hash`] | a seeded hash of words, texts and edges |
//! | [`slab`] | values with stable numbers, in blocks that never move |
//! | [`table`] | hash → number, without the key |
//! | [`word`] | one level's text in 16 bytes |
//! | [`trie`] | nodes and their edges `(parent, word) → child`, in one table |

pub(crate) mod hash;
pub(crate) mod slab;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod trie;
pub(crate) mod word;

/// The number of no node, no filter and no message.
pub(crate) const NONE: u32 = u32::MAX;
