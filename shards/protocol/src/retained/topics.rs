//! The topics that have a retained message, as a tree of words.

use std::collections::BTreeSet;
use std::collections::btree_set::Range;

use crate::topic::tree::NONE;
use crate::topic::tree::hash::Hash;
use crate::topic::tree::trie::{Key, ROOT, Trie};

/// What a child costs in the ordered set, about: 8 bytes in leaves that are two thirds
/// full, and what leads to them.
const CHILD_BYTES: usize = 15;

/// Topics as nodes. A node exists while a message hangs on it or below it, and keeps
/// its number as long.
pub(super) struct Topics {
    tree: Trie<Topic>,
    /// (parent, child) for all children that have siblings: a node's children in order.
    siblings: BTreeSet<(u32, u32)>,
}

/// What a node knows beside its edges.
struct Topic {
    /// The number of its message.
    message: u32,
    /// The child of a node that has a single one.
    only_child: u32,
}

/// Children of a node, in the order of their numbers.
pub(super) enum Children<'t> {
    One(Option<u32>),
    Many {
        parent: u32,
        range: Range<'t, (u32, u32)>,
    },
}

impl Topics {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            tree: Trie::new(hash),
            siblings: BTreeSet::new(),
        }
    }

    /// The node that `levels` lead to.
    pub(super) fn find<'a>(&self, mut levels: impl Iterator<Item = &'a str>) -> Option<u32> {
        levels.try_fold(ROOT, |node, word| self.child(node, &self.key(word)?))
    }

    /// The node that `levels` lead to, which is made if need be. The caller gives it a
    /// message.
    pub(super) fn obtain<'a>(&mut self, levels: impl Iterator<Item = &'a str>) -> u32 {
        levels.fold(ROOT, |node, word| {
            let key = self.key(word);
            let child = key.and_then(|key| self.child(node, &key));
            child.unwrap_or_else(|| self.add_child(node, word))
        })
    }

    fn add_child(&mut self, parent: u32, word: &str) -> u32 {
        let child = self.tree.add_child(parent, word);
        if self.tree.node(parent).children_len() == 1 {
            self.tree.value_mut(parent).only_child = child;
            return child;
        }
        let only_child = &mut self.tree.value_mut(parent).only_child;
        if *only_child != NONE {
            self.siblings.insert((parent, *only_child));
            *only_child = NONE;
        }
        self.siblings.insert((parent, child));
        child
    }

    /// Removes a node and those above it, as far as they lead to no message.
    pub(super) fn prune(&mut self, mut number: u32) {
        while number != ROOT {
            let node = self.tree.node(number);
            if node.has_children() || node.value.message != NONE {
                return;
            }
            let parent = node.parent();
            self.tree.remove_child(number);
            self.forget_sibling(parent, number);
            number = parent;
        }
    }

    fn forget_sibling(&mut self, parent: u32, child: u32) {
        self.siblings.remove(&(parent, child));
        let only_child = match self.tree.node(parent).children_len() {
            0 => NONE,
            1 => self.children(parent, None).next().unwrap_or(NONE),
            _ => return,
        };
        self.siblings.remove(&(parent, only_child));
        self.tree.value_mut(parent).only_child = only_child;
    }

    /// The children of `parent`, only those behind `after` where it is given.
    pub(super) fn children(&self, parent: u32, after: Option<u32>) -> Children<'_> {
        let only_child = self.tree.value(parent).only_child;
        if only_child != NONE {
            let is_behind = after.is_none_or(|after| after < only_child);
            return Children::One(is_behind.then_some(only_child));
        }
        let start = after.map_or(0, |after| after.saturating_add(1));
        Children::Many {
            parent,
            range: self.siblings.range((parent, start)..),
        }
    }

    /// Prepares a word for [`Self::child`]; `None` where no node has such a word.
    pub(super) fn key(&self, word: &str) -> Option<Key> {
        self.tree.key(word)
    }

    pub(super) fn child(&self, parent: u32, key: &Key) -> Option<u32> {
        self.tree.child(parent, key)
    }

    pub(super) fn has_children(&self, node: u32) -> bool {
        self.tree.node(node).has_children()
    }

    /// Whether `number`, which may be anything, is a child of `parent`.
    pub(super) fn is_child(&self, number: u32, parent: u32) -> bool {
        self.tree.is_child(number, parent)
    }

    /// Whether the word of a node begins with `$`.
    pub(super) fn is_dollar(&self, node: u32) -> bool {
        self.tree.is_dollar(node)
    }

    /// The number of a node's message; [`NONE`] for none.
    pub(super) fn message(&self, node: u32) -> u32 {
        self.tree.value(node).message
    }

    pub(super) fn message_mut(&mut self, node: u32) -> &mut u32 {
        &mut self.tree.value_mut(node).message
    }

    /// Bytes of memory it holds, about.
    pub(super) fn bytes(&self) -> usize {
        self.tree.bytes() + self.siblings.len() * CHILD_BYTES
    }

    /// Nodes, edges, long words, and children with siblings.
    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 4] {
        let [nodes, edges, long_words] = self.tree.counts();
        [nodes, edges, long_words, self.siblings.len()]
    }
}

impl Iterator for Children<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            Self::One(child) => child.take(),
            Self::Many { parent, range } => {
                let (owner, child) = range.next()?;
                (owner == parent).then_some(*child)
            }
        }
    }
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            message: NONE,
            only_child: NONE,
        }
    }
}
