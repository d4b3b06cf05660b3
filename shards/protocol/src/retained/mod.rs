//! Topic → retained message, found by filter without a scan.
//!
//! The topics form a tree. An exact word of a filter is one look-up below a node; only
//! `+` and `#` go through a node's children, in the order of their numbers. A node
//! keeps its number as long as it exists, so a place in that order stays valid
//! whatever is inserted and removed.
//!
//! A [`RetainedTree`] belongs to one shard and is used by its thread only.

mod cursor;
#[cfg(test)]
mod tests;

use core::fmt;
use std::collections::BTreeSet;

pub use self::cursor::Cursor;
use self::cursor::Search;
use crate::topic::tree::NONE;
use crate::topic::tree::slab::Slab;
use crate::topic::tree::trie::{ROOT, Trie};
use crate::topic::{Filter, TopicName};

/// What a child costs in the ordered set, about: 8 bytes in leaves that are two thirds
/// full, and what leads to them.
const CHILD_BYTES: usize = 15;

/// Retained messages `M` by topic.
pub struct RetainedTree<M> {
    topics: Trie<Topic>,
    /// The edges again, as (parent, child): the children of a node in order.
    children: BTreeSet<(u32, u32)>,
    messages: Slab<Option<M>>,
}

/// What a node knows beside its edges.
#[derive(Debug)]
struct Topic {
    /// The retained message.
    message: u32,
}

impl<M> RetainedTree<M> {
    /// An empty tree. `seed` makes its hashes unpredictable from outside.
    pub fn new(seed: u64) -> Self {
        Self {
            topics: Trie::new(seed),
            children: BTreeSet::new(),
            messages: Slab::new(),
        }
    }

    /// Retains `message` and returns the one that it replaces [MQTT-3.3.1-5].
    pub fn insert(&mut self, topic: TopicName<'_>, message: M) -> Option<M> {
        let node = self.obtain(topic);
        let number = self.topics.value(node).message;
        if number != NONE {
            return self.messages.get_mut(number).replace(message);
        }
        self.topics.value_mut(node).message = self.messages.insert(Some(message));
        None
    }

    /// Removes the message of a topic.
    pub fn remove(&mut self, topic: TopicName<'_>) -> Option<M> {
        let node = self.find(topic)?;
        let number = self.topics.value(node).message;
        if number == NONE {
            return None;
        }
        self.topics.value_mut(node).message = NONE;
        self.prune(node);
        self.messages.remove(number)
    }

    /// The message of a topic.
    pub fn get(&self, topic: TopicName<'_>) -> Option<&M> {
        self.message(self.find(topic)?)
    }

    /// Tells `visit` the messages whose topics match `filter`, after looking at no more
    /// than about `limit` nodes of the tree. Returns where to go on with the same filter,
    /// or `None` at the end.
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
        if !filter.has_wildcard() {
            let topic = self.find_levels(filter.levels());
            topic
                .and_then(|node| self.message(node))
                .into_iter()
                .for_each(visit);
            return None;
        }
        Search::new(self, filter).run(cursor, limit.max(1), visit)
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
        self.topics.bytes() + self.children.len() * CHILD_BYTES + self.messages.bytes()
    }

    fn obtain(&mut self, topic: TopicName<'_>) -> u32 {
        topic.levels().fold(ROOT, |node, word| {
            let key = self.topics.key(word);
            let child = key.and_then(|key| self.topics.child(node, &key));
            child.unwrap_or_else(|| {
                let child = self.topics.add_child(node, word);
                self.children.insert((node, child));
                child
            })
        })
    }

    /// Removes a node and those above it, as far as they lead to no message.
    fn prune(&mut self, mut number: u32) {
        while number != ROOT {
            let node = self.topics.node(number);
            if node.has_children() || node.value.message != NONE {
                return;
            }
            let parent = node.parent();
            self.topics.remove_child(number);
            self.children.remove(&(parent, number));
            number = parent;
        }
    }

    fn find(&self, topic: TopicName<'_>) -> Option<u32> {
        self.find_levels(topic.levels())
    }

    fn find_levels<'a>(&self, mut levels: impl Iterator<Item = &'a str>) -> Option<u32> {
        levels.try_fold(ROOT, |node, word| {
            self.topics.child(node, &self.topics.key(word)?)
        })
    }

    fn message(&self, node: u32) -> Option<&M> {
        let number = self.topics.value(node).message;
        self.messages.find(number)?.as_ref()
    }
}

impl Default for Topic {
    fn default() -> Self {
        Self { message: NONE }
    }
}

impl<M> fmt::Debug for RetainedTree<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RetainedTree")
            .field("messages", &self.len())
            .finish()
    }
}
