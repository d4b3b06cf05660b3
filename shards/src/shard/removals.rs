//! Retained messages that are gone, and when that was.
//!
//! A node that was away, or a message that took longer than its removal, must not bring them
//! back. They are known for a while: where there is no cluster, nothing is noted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How long a removal is known.
pub(super) const KNOWN_MS: u64 = 10 * 60 * 1000;

/// Removals of one node, over all its shards.
const NODE_MAX: usize = 100_000;

/// Bytes of the topics of one node.
const NODE_BYTES_MAX: usize = 16 << 20;

/// The removals of one shard, the oldest first.
#[derive(Debug)]
pub(super) struct Removals {
    versions: HashMap<Arc<str>, u64>,
    order: VecDeque<Removal>,
    /// The place of the first of `order` among all that there have been.
    first: u64,
    bytes: usize,
    max: usize,
    bytes_max: usize,
}

/// The removal of a topic's message.
#[derive(Clone, Debug)]
pub(super) struct Removal {
    pub(super) topic: Arc<str>,
    pub(super) version: u64,
    until_ms: u64,
}

impl Removals {
    /// The removals of one of `shards` shards.
    pub(super) fn new(shards: u16) -> Self {
        let shards = usize::from(shards.max(1));
        Self {
            versions: HashMap::new(),
            order: VecDeque::new(),
            first: 0,
            bytes: 0,
            max: NODE_MAX / shards,
            bytes_max: NODE_BYTES_MAX / shards,
        }
    }

    /// The version of the removal of a topic's message, if it is known.
    pub(super) fn get(&self, topic: &str) -> Option<u64> {
        self.versions.get(topic).copied()
    }

    /// The message of a topic is removed. Forgets the oldest ones if there are too many.
    pub(super) fn insert(&mut self, topic: &str, version: u64, now_ms: u64) {
        let topic: Arc<str> = topic.into();
        self.bytes += topic.len();
        self.versions.insert(Arc::clone(&topic), version);
        self.order.push_back(Removal {
            topic,
            version,
            until_ms: now_ms + KNOWN_MS,
        });
        while self.order.len() > self.max || self.bytes > self.bytes_max {
            self.forget_first();
        }
    }

    /// A topic has a newer message.
    pub(super) fn remove(&mut self, topic: &str) {
        self.versions.remove(topic);
    }

    /// Forgets what was known for long enough.
    pub(super) fn forget(&mut self, now_ms: u64) {
        while self.next_ms().is_some_and(|until_ms| until_ms <= now_ms) {
            self.forget_first();
        }
    }

    /// When the next one is forgotten.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.order.front().map(|removal| removal.until_ms)
    }

    /// The first removal from a place on that still stands, and the place behind it.
    pub(super) fn next(&self, place: u64) -> Option<(Removal, u64)> {
        let skipped = place.saturating_sub(self.first) as usize;
        let left = self.order.iter().enumerate().skip(skipped);
        let mut standing = left.filter(|(_, removal)| self.stands(removal));
        let (index, removal) = standing.next()?;
        Some((removal.clone(), self.first + index as u64 + 1))
    }

    fn stands(&self, removal: &Removal) -> bool {
        self.get(&removal.topic) == Some(removal.version)
    }

    fn forget_first(&mut self) {
        let Some(removal) = self.order.pop_front() else {
            return;
        };
        self.first += 1;
        self.bytes -= removal.topic.len();
        if self.stands(&removal) {
            self.versions.remove(&removal.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_known_for_its_time_and_as_long_as_there_is_room() {
        let mut removals = Removals::new(50_000);
        assert_eq!(removals.max, 2);
        removals.insert("a", 1, 0);
        removals.insert("a", 2, 5);
        removals.forget(KNOWN_MS);
        assert_eq!(removals.get("a"), Some(2));
        removals.insert("b", 3, 6);
        removals.insert("c", 4, 7);
        assert_eq!([removals.get("a"), removals.get("b")], [None, Some(3)]);
        removals.remove("b");
        let (next, place) = removals.next(0).unwrap();
        assert_eq!((&*next.topic, next.version), ("c", 4));
        assert!(removals.next(place).is_none());
        removals.forget(KNOWN_MS + 7);
        assert_eq!((removals.next_ms(), removals.bytes), (None, 0));
        assert!(removals.versions.is_empty());
        removals.insert(&"x".repeat(400), 1, 0);
        assert_eq!(removals.get(&"x".repeat(400)), None);
    }
}
