//! The side of the route index that changes it.

use std::{error, fmt};

use super::{
    Destination, Shared,
    exact::ExactWriter,
    piece::Pieces,
    stored::{NOWHERE, SetWriter},
    trie::{Context, TrieWriter},
};
use crate::shim::{Arc, Ordering};

/// Records that are left before the index takes no more filters: more than the longest
/// filter, of 65,535 bytes, and the widest set of destinations need.
const RESERVE: usize = 100_000;

/// Changes after which the writer looks for memory that readers are done with.
#[cfg(not(loom))]
const CHANGES_BETWEEN_RECLAIMS: u32 = 64;
#[cfg(loom)]
const CHANGES_BETWEEN_RECLAIMS: u32 = 1;

/// Adds and removes filters. There is one; it belongs to the thread of the route writer.
pub struct RouteWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) owned: Owned,
    /// Filters with at least one destination.
    pub(super) filters: usize,
    /// The filter that is being changed. Memory to use again.
    pub(super) topic: Pieces,
    changes_since_reclaim: u32,
}

/// What belongs to the writer and has to live as long as the readers.
#[derive(Default)]
pub(super) struct Owned {
    pub(super) exact: ExactWriter,
    pub(super) trie: TrieWriter,
    pub(super) sets: SetWriter,
}

/// The index has no room for another filter: it holds about two thousand million.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RoutesFull;

impl RouteWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let owned = Owned {
            trie: TrieWriter::new(&shared.trie),
            ..Owned::default()
        };
        Self {
            shared,
            owned,
            filters: 0,
            topic: Pieces::default(),
            changes_since_reclaim: 0,
        }
    }

    /// Sends what matches `filter` to `destination` as well. Returns whether that is new.
    /// Every match that starts after this has returned finds it.
    ///
    /// The filter is valid, and it is that of a shared subscription without its
    /// `$share/name/`.
    pub fn add(&mut self, filter: &str, destination: Destination) -> Result<bool, RoutesFull> {
        let Owned { exact, trie, sets } = &mut self.owned;
        if exact.left().min(trie.left()).min(sets.numbers().left()) < RESERVE {
            return Err(RoutesFull);
        }
        let shared = &*self.shared;
        let stored = if has_wildcards(filter) {
            let place = trie.find_or_add(context(shared), filter);
            shared.trie.destinations(place)
        } else {
            let hash = self.topic.cut(&shared.seed, filter);
            exact.find_or_add(&shared.exact, filter, hash, &shared.grace)
        };
        let is_new = stored.load(Ordering::Relaxed) == NOWHERE;
        let changed = sets.change(stored, destination, true, &shared.sets, &shared.grace);
        self.filters += usize::from(is_new);
        if changed {
            self.finish_change();
        }
        Ok(changed)
    }

    /// Undoes [`Self::add`]. Returns whether the destination was there.
    pub fn remove(&mut self, filter: &str, destination: Destination) -> bool {
        let changed = if has_wildcards(filter) {
            self.remove_wildcard(filter, destination)
        } else {
            self.remove_exact(filter, destination)
        };
        if changed {
            self.finish_change();
        }
        changed
    }

    /// Filters with at least one destination.
    pub fn len(&self) -> usize {
        self.filters
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.filters == 0
    }

    /// Nodes and leaves of the trie and lines of exact topics that were ever made.
    #[cfg(all(test, not(loom)))]
    pub(super) fn records_made(&self) -> [u32; 3] {
        let Owned { exact, trie, .. } = &self.owned;
        [trie.nodes_made(), trie.leaves_made(), exact.made()]
    }

    fn remove_exact(&mut self, filter: &str, destination: Destination) -> bool {
        let Shared {
            exact: routes,
            grace,
            sets: lines,
            seed,
            ..
        } = &*self.shared;
        let Owned { exact, sets, .. } = &mut self.owned;
        let hash = self.topic.cut(seed, filter);
        let Some(number) = exact.find(routes, filter, hash) else {
            return false;
        };
        let stored = exact.destinations(routes, number);
        let changed = sets.change(stored, destination, false, lines, grace);
        if changed && stored.load(Ordering::Relaxed) == NOWHERE {
            exact.remove(routes, hash, number, grace);
            self.filters -= 1;
        }
        changed
    }

    fn remove_wildcard(&mut self, filter: &str, destination: Destination) -> bool {
        let shared = &*self.shared;
        let Owned { trie, sets, .. } = &mut self.owned;
        let Some((place, up)) = trie.find(context(shared), filter) else {
            return false;
        };
        let stored = shared.trie.destinations(place);
        let changed = sets.change(stored, destination, false, &shared.sets, &shared.grace);
        if changed && stored.load(Ordering::Relaxed) == NOWHERE {
            trie.prune(context(shared), place.link, up);
            self.filters -= 1;
        }
        changed
    }

    /// Tells caches that something has changed, after it has, and now and then frees what
    /// readers are done with.
    pub(super) fn finish_change(&mut self) {
        let generation = &self.shared.generation.0;
        let next = generation.load(Ordering::Relaxed) + 1;
        generation.store(next, Ordering::Release);
        self.changes_since_reclaim += 1;
        if self.changes_since_reclaim >= CHANGES_BETWEEN_RECLAIMS {
            self.changes_since_reclaim = 0;
            self.reclaim();
        }
    }

    fn reclaim(&mut self) {
        let Owned { exact, trie, sets } = &mut self.owned;
        if exact.waiting() + trie.waiting() + sets.numbers().waiting() > 0 {
            let epoch = self.shared.grace.advance();
            exact.reclaim(epoch);
            trie.reclaim(context(&self.shared), epoch);
            sets.numbers().reclaim(epoch);
        }
    }
}

impl Drop for RouteWriter {
    fn drop(&mut self) {
        // Nobody else sets it, so this does not fail.
        let _ = self
            .shared
            .left_by_writer
            .set(std::mem::take(&mut self.owned));
    }
}

impl fmt::Debug for RouteWriter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RouteWriter")
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for RoutesFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the route index is full")
    }
}

impl error::Error for RoutesFull {}

pub(super) fn context(shared: &Shared) -> Context<'_> {
    Context {
        trie: &shared.trie,
        seed: &shared.seed,
        grace: &shared.grace,
    }
}

/// Whether a valid filter can match more than one topic. Other uses of `+` and `#` are not
/// valid, and in the trie they are harmless.
fn has_wildcards(filter: &str) -> bool {
    filter.contains(['+', '#'])
}
