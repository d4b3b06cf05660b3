//! The side of the route index that shards have.

use std::fmt;

use super::{
    DestinationSet, Shared,
    grace::Reader,
    piece::Pieces,
    stored,
    trie::{View, Visit},
};
use crate::shim::Arc;

/// Finds where messages go. Each shard has its own; it belongs to the thread of the shard.
pub struct RouteReader {
    shared: Arc<Shared>,
    reader: Reader,
    /// The topic of the last match. Memory to use again.
    topic: Pieces,
    /// The nodes that a match still has to look at. Memory to use again.
    visits: Vec<Visit>,
}

impl RouteReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            reader: Reader::new(shared.grace.clone()),
            shared,
            topic: Pieces::default(),
            visits: Vec::new(),
        }
    }

    /// Sets `found` to the destinations of all filters that match `topic`.
    ///
    /// The topic name is valid: it has no wildcards. Nothing is allocated once the memory of
    /// reader and set has grown to what the longest topic and the widest set need.
    pub fn matches(&mut self, topic: &str, found: &mut DestinationSet) {
        found.clear();
        let shared = &*self.shared;
        let hash = self.topic.cut(&shared.seed, topic);
        let pin = self.reader.pin();
        shared.exact.prefetch(hash, &pin);
        let view = View {
            trie: &shared.trie,
            sets: &shared.sets,
            seed: &shared.seed,
            pin: &pin,
            text: topic.as_bytes(),
            topic: &self.topic,
        };
        view.collect(&mut self.visits, found);
        if let Some(word) = shared.exact.find(topic, hash, &pin) {
            stored::collect(word, &shared.sets, &pin, found);
        }
    }

    /// Counts the changes of the index.
    ///
    /// For a cache of matches: what a match returns holds for as long as the generation is
    /// the one that was read before the match.
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }
}

impl Clone for RouteReader {
    /// A reader for another thread.
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl fmt::Debug for RouteReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RouteReader")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
