//! Nodes and their edges `(parent, word) → child`, in one table for the whole tree.
//!
//! A hash map in every node would cost some 300 bytes a filter; one table of node
//! numbers costs about 8, because a node itself says who its parent is and what
//! word leads to it.

use core::mem;

use super::NONE;
use super::hash::Hash;
use super::slab::Slab;
use super::table::Table;
use super::word::{LongWords, Word};

/// The node that all first levels hang below.
pub(crate) const ROOT: u32 = 0;

/// A tree of words whose nodes carry a `V` each. Lives on one shard.
#[derive(Debug)]
pub(crate) struct Trie<V> {
    hash: Hash,
    nodes: Slab<Node<V>>,
    edges: Table,
    long_words: LongWords,
}

#[derive(Debug)]
pub(crate) struct Node<V> {
    word: Word,
    parent: u32,
    /// Edges from this node in the table.
    children: u32,
    pub(crate) value: V,
}

/// A word, ready to be looked up below any number of nodes.
pub(crate) struct Key {
    word: Word,
    hash: u64,
}

impl<V: Default> Trie<V> {
    pub(crate) fn new(hash: Hash) -> Self {
        Self {
            hash,
            nodes: Self::only(Node::default()),
            edges: Table::default(),
            long_words: LongWords::new(),
        }
    }

    fn only(root: Node<V>) -> Slab<Node<V>> {
        let mut nodes = Slab::new();
        nodes.insert(root);
        nodes
    }

    /// Prepares `text` for [`Self::child`]; `None` where no node has such a word.
    #[inline]
    pub(crate) fn key(&self, text: &str) -> Option<Key> {
        let word = Word::short(text).or_else(|| self.long_words.find(&self.hash, text))?;
        Some(Key {
            word,
            hash: word.hash(&self.hash),
        })
    }

    /// The child of `parent` by a word.
    #[inline]
    pub(crate) fn child(&self, parent: u32, key: &Key) -> Option<u32> {
        self.edges.find(self.hash.with(key.hash, parent), |number| {
            let node = self.nodes.get(number);
            node.parent == parent && node.word == key.word
        })
    }

    /// The child of `parent` by a word, which is added if there is none.
    pub(crate) fn obtain_child(&mut self, parent: u32, text: &str) -> u32 {
        let key = self.key(text);
        let child = key.and_then(|key| self.child(parent, &key));
        child.unwrap_or_else(|| self.add_child(parent, text))
    }

    /// Adds a child by a word that `parent` has no child by.
    pub(crate) fn add_child(&mut self, parent: u32, text: &str) -> u32 {
        let child = self.add_unlisted(parent, text);
        self.edges
            .insert(self.nodes.get(child).edge_hash(&self.hash), child);
        self.nodes.get_mut(parent).children += 1;
        child
    }

    /// Adds a child that [`Self::child`] does not find.
    pub(crate) fn add_unlisted(&mut self, parent: u32, text: &str) -> u32 {
        let word = Word::short(text).unwrap_or_else(|| self.long_words.acquire(&self.hash, text));
        self.nodes.insert(Node {
            word,
            parent,
            children: 0,
            value: V::default(),
        })
    }

    /// Removes a node without children that [`Self::add_child`] made.
    pub(crate) fn remove_child(&mut self, number: u32) {
        let node = self.nodes.get(number);
        let (edge_hash, parent) = (node.edge_hash(&self.hash), node.parent);
        self.edges.remove(edge_hash, number);
        self.nodes.get_mut(parent).children -= 1;
        self.remove_unlisted(number);
    }

    /// Removes a node without children that [`Self::add_unlisted`] made.
    pub(crate) fn remove_unlisted(&mut self, number: u32) {
        let node = self.nodes.remove(number);
        self.long_words.release(&self.hash, node.word);
        if self.nodes.len() == 1 {
            let root = mem::take(self.nodes.get_mut(ROOT));
            self.nodes = Self::only(root);
        }
    }

    #[inline]
    pub(crate) fn node(&self, number: u32) -> &Node<V> {
        self.nodes.get(number)
    }

    #[inline]
    pub(crate) fn value(&self, number: u32) -> &V {
        &self.nodes.get(number).value
    }

    #[inline]
    pub(crate) fn value_mut(&mut self, number: u32) -> &mut V {
        &mut self.nodes.get_mut(number).value
    }

    /// Whether `number` is a child of `parent` at present.
    pub(crate) fn is_child(&self, number: u32, parent: u32) -> bool {
        self.nodes
            .find(number)
            .is_some_and(|node| node.parent == parent)
    }

    /// Whether the word that leads to a node begins with `$`.
    pub(crate) fn is_dollar(&self, number: u32) -> bool {
        self.node(number).word.is_dollar(&self.long_words)
    }

    /// The words from the root to a node, with separators.
    pub(crate) fn text(&self, number: u32) -> String {
        let mut path = Vec::new();
        let mut at = number;
        while at != ROOT {
            let node = self.node(at);
            path.push(&node.word);
            at = node.parent;
        }
        let mut text = String::new();
        for (index, word) in path.into_iter().rev().enumerate() {
            if index > 0 {
                text.push('/');
            }
            self.long_words.append(word, &mut text);
        }
        text
    }

    /// Nodes beside the root, edges, and long words.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> [usize; 3] {
        [
            self.nodes.len() - 1,
            self.edges.len(),
            self.long_words.len(),
        ]
    }

    /// Bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.nodes.bytes() + self.edges.bytes() + self.long_words.bytes()
    }
}

impl<V> Node<V> {
    #[inline]
    pub(crate) fn parent(&self) -> u32 {
        self.parent
    }

    #[inline]
    pub(crate) fn has_children(&self) -> bool {
        self.children > 0
    }

    #[inline]
    pub(crate) fn children_len(&self) -> u32 {
        self.children
    }

    fn edge_hash(&self, hash: &Hash) -> u64 {
        hash.with(self.word.hash(hash), self.parent)
    }
}

impl<V: Default> Default for Node<V> {
    fn default() -> Self {
        Self {
            word: Word::default(),
            parent: NONE,
            children: 0,
            value: V::default(),
        }
    }
}
