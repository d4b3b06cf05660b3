//! Topic → retained message, found by filter without a scan.
//!
//! The topics form a tree. An exact word of a filter is one look-up below a node; only
//! `+` and `#` go through a node's children, in the order of their numbers. A node
//! keeps its number as long as it exists, so a place in that order stays valid
//! whatever is inserted and removed.
//!
//! A [`RetainedTree`] belongs to one shard and is used by its thread only.

mod search;
#[cfg(test)]
mod tests;
mod topics;

use core::fmt;

pub use self::search::Cursor;
use self::search::Search;
use self::topics::Topics;
use crate::topic::tree::NONE;
use crate::topic::tree::hash::Hash;
use crate::topic::tree::slab::Slab;
use crate::topic::{Filter, TopicName};

/// Retained messages `M` by topic.
pub struct RetainedTree<M> {
    topics: Topics,
    messages: Slab<Option<M>>,
}

impl<M> RetainedTree<M> {
    /// An empty tree. `seed` makes its hashes unpredictable from outside.
    pub fn new(seed: u64) -> Self {
        Self::with_hash(Hash::new(seed))
    }

    fn with_hash(hash: Hash) -> Self {
        Self {
            topics: Topics::new(hash),
            messages: Slab::new(),
        }
    }

    /// Retains `message` and returns the one that it replaces [MQTT-3.3.1-5].
    pub fn insert(&mut self, topic: TopicName<'_>, message: M) -> Option<M> {
        let node = self.topics.obtain(topic.levels());
        let number = self.topics.message(node);
        if number != NONE {
            return self.messages.get_mut(number).replace(message);
        }
        *self.topics.message_mut(node) = self.messages.insert(Some(message));
        None
    }

    /// Removes the message of a topic [MQTT-3.3.1-6].
    pub fn remove(&mut self, topic: TopicName<'_>) -> Option<M> {
        let node = self.topics.find(topic.levels())?;
        let number = self.topics.message(node);
        if number == NONE {
            return None;
        }
        *self.topics.message_mut(node) = NONE;
        self.topics.prune(node);
        self.messages.remove(number)
    }

    /// The message of a topic.
    pub fn get(&self, topic: TopicName<'_>) -> Option<&M> {
        self.message(self.topics.find(topic.levels())?)
    }

    /// Tells `visit` the messages whose topics match `filter`, and returns where to go on
    /// with the same filter, or `None` at the end. Each call looks at up to `limit`
    /// topics and levels above topics (at one if it is 0), so it is bounded also where
    /// nothing matches.
    ///
    /// What is inserted or removed between two calls may be visited or not; everything
    /// else is visited exactly once.
    pub fn matches(
        &self,
        filter: Filter<'_>,
        cursor: Option<Cursor>,
        limit: usize,
        visit: &mut dyn FnMut(&M),
    ) -> Option<Cursor> {
        if filter.has_wildcard() {
            return Search::new(self, filter).run(cursor, limit.max(1), visit);
        }
        let node = self.topics.find(filter.levels());
        node.and_then(|node| self.message(node))
            .into_iter()
            .for_each(visit);
        None
    }

    /// Like [`RetainedTree::matches`], for all messages, those of topics that begin with `$`
    /// among them.
    pub fn all(
        &self,
        cursor: Option<Cursor>,
        limit: usize,
        visit: &mut dyn FnMut(&M),
    ) -> Option<Cursor> {
        Search::all(self).run(cursor, limit.max(1), visit)
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory it holds, about, without what messages point to.
    pub fn bytes(&self) -> usize {
        self.topics.bytes() + self.messages.bytes()
    }

    fn message(&self, node: u32) -> Option<&M> {
        self.messages.find(self.topics.message(node))?.as_ref()
    }
}

impl<M> fmt::Debug for RetainedTree<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RetainedTree")
            .field("messages", &self.len())
            .finish_non_exhaustive()
    }
}
