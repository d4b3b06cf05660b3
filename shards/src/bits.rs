//! Sets of small numbers in one word.

use shard_sync::routes::ones;

/// The positions of the bits that are set.
pub(crate) fn bits(word: u64) -> impl Iterator<Item = u16> {
    ones(word).map(|bit| bit as u16)
}
