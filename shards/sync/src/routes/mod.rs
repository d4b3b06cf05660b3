//! The route index: filter → destinations, read by all shards, written by one thread.
//!
//! A destination is a local shard or another node of the cluster. A PUBLISH is matched here
//! once, where it arrives, and goes to each destination once; there it is matched again in
//! the destination's own table of sessions.
//!
//! Filters without wildcards are in a hash table by the whole topic (`exact`), the others
//! in a trie (`trie`) whose edges `(parent, word) → child` are in a hash table as well. What a
//! filter with wildcards shares with no other one is in one record.
//!
//! ```text
//!   table                       arena
//!   hash bits → [tag|id] ─────→ record: key to verify, destinations, '+' child
//!               [tag|id]        record
//!               [  0   ]        one cache line each
//! ```
//!
//! **What readers may rely on.** After [`RouteWriter::add`] has returned, every match that
//! starts later finds the filter. A filter that is in the index during a whole match is
//! found, one that is in it at no time of the match is not found, whatever happens to other
//! filters meanwhile. Readers wait for nobody and write nothing but their own epoch.
//!
//! **Why this holds.** There is one writer. Each change becomes visible by one store of one
//! word: a slot of a table, the word of a record that holds its destinations, the link to a
//! `+` child, or the pointer to a bigger table. A filter that moves to another record is complete
//! there before the one link that leads to it changes. What such a word leads to is complete before
//! the store and is not reused before every reader that may have seen it is done
//! (`grace`). Words of topics are compared byte by byte, so a collision of hashes costs
//! time and delivers nothing to the wrong client.

mod arena;
#[cfg_attr(loom, path = "loom_chunk.rs")]
mod chunk;
mod destination;
mod exact;
mod grace;
mod hash;
mod piece;
mod reader;
mod stored;
mod sweep;
mod table;
mod trie;
mod writer;

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::OnceLock;

use crate::shim::{Arc, AtomicU64, CachePadded, Ordering};

pub use destination::{Destination, DestinationSet, ones};
pub use reader::RouteReader;
pub use sweep::Sweep;
pub use writer::{RouteWriter, RoutesFull};

use self::{exact::ExactRoutes, grace::Grace, hash::Seed, stored::SetLines, trie::Trie};

/// An empty route index. `seed` should be random, so that nobody outside can aim for
/// collisions of its hashes.
pub fn route_index(seed: u64) -> (RouteWriter, RouteReader) {
    let shared = Arc::new(Shared {
        seed: Seed::new(seed),
        generation: CachePadded(AtomicU64::new(0)),
        grace: Arc::new(Grace::new()),
        exact: ExactRoutes::default(),
        trie: Trie::default(),
        sets: SetLines::default(),
        left_by_writer: OnceLock::new(),
    });
    (RouteWriter::new(shared.clone()), RouteReader::new(shared))
}

/// What the writer and the readers hold together.
struct Shared {
    seed: Seed,
    /// Counts the changes.
    generation: CachePadded<AtomicU64>,
    grace: Arc<Grace>,
    exact: ExactRoutes,
    trie: Trie,
    sets: SetLines,
    /// The tables that readers still use when the writer is gone.
    left_by_writer: OnceLock<writer::Owned>,
}

impl Shared {
    fn generation(&self) -> u64 {
        self.generation.0.load(Ordering::Acquire)
    }
}
