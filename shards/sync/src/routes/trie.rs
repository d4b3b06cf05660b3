//! Filters with wildcards: a trie whose literal edges are in one hash table.
//!
//! ```text
//!   fleet/+/telemetry   and   fleet/#
//!
//!   root ──fleet──→ node ──+──→ node ──telemetry──→ node
//!                   below                           ends
//! ```
//!
//! A node is one cache line, which also holds the word that leads to it, so that a step of a
//! match costs two: a slot of the table and the node.

use super::{
    arena::{Arena, NONE, Numbers},
    chunk::Record,
    destination::DestinationSet,
    grace::Pin,
    hash::Seed,
    piece::{PIECE_WORDS, Piece, Pieces},
    stored::{self, NOWHERE, SetLines},
    table::Table,
};
use crate::shim::{AtomicU32, AtomicU64, Ordering, prefetch};

mod writer;

pub(super) use writer::{Context, TrieWriter};

/// The node where every filter begins: the first record that is taken.
const ROOT: u32 = NONE + 1;

/// The bit of [`Node::edge`] that says that the word ends with the piece.
const ENDS_WORD: u32 = 1 << 31;

/// Nodes and edges, for everybody.
#[derive(Default)]
pub(super) struct Trie {
    /// The literal edges, by parent and piece.
    edges: Table,
    nodes: Arena<Node>,
}

/// A place in the trie: one cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Node {
    /// See [`Children`].
    children: AtomicU64,
    /// The destinations of the filter that ends here.
    ends: AtomicU64,
    /// The destinations of the filter that goes on with `#` from here.
    below: AtomicU64,
    /// The first bytes of the piece that the literal edge to this node stands for.
    text: [AtomicU64; PIECE_WORDS - 1],
    /// The last bytes of the piece.
    text_end: AtomicU32,
    /// The node that the literal edge to this one comes from, and [`ENDS_WORD`].
    edge: AtomicU32,
}

/// Where a filter ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// With the word that leads to a node.
    Here,
    /// With a `#` behind it.
    Below,
}

/// What [`Node::children`] holds: the node that `+` leads to, or [`NONE`], and a set of the
/// pieces that lead to other nodes. The set may contain more than that: each piece stands for
/// one of 32 bits. It spares the look into the table for most pieces that lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Children(u64);

/// A literal edge that is looked for.
#[derive(Clone, Copy, Debug)]
struct Edge<'a> {
    /// What [`Node::edge`] holds.
    key: u32,
    piece: &'a Piece,
    /// Of both.
    hash: u64,
}

/// A node that a match still has to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    node: u32,
    /// Where in the topic its children's word begins.
    word: u32,
}

/// What a match needs to look at the trie.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) trie: &'a Trie,
    pub(super) sets: &'a SetLines,
    pub(super) seed: &'a Seed,
    pub(super) pin: &'a Pin<'a>,
}

impl View<'_> {
    /// Adds the destinations of all filters that match a topic. `visits` is memory to use.
    pub(super) fn collect(
        self,
        topic: &Pieces,
        visits: &mut Vec<Visit>,
        found: &mut DestinationSet,
    ) {
        visits.clear();
        visits.push(self.visit(topic, ROOT, 0));
        while let Some(visit) = visits.pop() {
            let node = self.trie.nodes.get(visit.node);
            // A filter that begins with a wildcard matches no topic that begins with `$`
            // [MQTT-4.7.2-1].
            let takes_wildcards = visit.node != ROOT || !topic.is_reserved();
            if takes_wildcards {
                self.collect_set(&node.below, found);
            }
            if topic.ends_at(visit.word) {
                self.collect_set(&node.ends, found);
                continue;
            }
            let children = Children(node.children.load(Ordering::Acquire));
            let word = topic.next_word(visit.word);
            if children.plus() != NONE && takes_wildcards {
                visits.push(self.visit(topic, children.plus(), word));
            }
            let pieces = topic.word(visit.word);
            if children.may_have(&pieces[0])
                && let Some(node) = self.literal_child(visit.node, pieces)
            {
                visits.push(self.visit(topic, node, word));
            }
        }
    }

    /// A visit to make later, until when the processor fetches what it will need: the node,
    /// and the slot of its literal child.
    fn visit(self, topic: &Pieces, node: u32, word: u32) -> Visit {
        prefetch(self.trie.nodes.get(node));
        if !topic.ends_at(word) {
            let edge = Edge::new(self.seed, node, &topic.word(word)[0]);
            self.trie.edges.prefetch(edge.hash, self.pin);
        }
        Visit { node, word }
    }

    fn collect_set(self, stored: &AtomicU64, found: &mut DestinationSet) {
        // Acquire: if the word leads to a list, the list is complete.
        stored::collect(stored.load(Ordering::Acquire), self.sets, self.pin, found);
    }

    /// The node that a word leads to, over as many edges as the word has pieces.
    fn literal_child(self, parent: u32, word: &[Piece]) -> Option<u32> {
        word.iter().try_fold(parent, |parent, piece| {
            let edge = Edge::new(self.seed, parent, piece);
            self.trie.edges.find(edge.hash, self.pin, |node| {
                self.trie.nodes.get(node).is_child(&edge)
            })
        })
    }
}

impl Trie {
    /// The destinations of the filter that ends at a node, for the writer to change.
    pub(super) fn destinations(&self, node: u32, ends: Ends) -> &AtomicU64 {
        let node = self.nodes.get(node);
        match ends {
            Ends::Here => &node.ends,
            Ends::Below => &node.below,
        }
    }
}

// SAFETY: it consists of atomic integers only.
unsafe impl Record for Node {}

impl Node {
    /// Makes a node without children and destinations.
    fn write(&self, edge: u32, text: &[u64; PIECE_WORDS]) {
        self.children
            .store(Children::default().0, Ordering::Relaxed);
        self.ends.store(NOWHERE, Ordering::Relaxed);
        self.below.store(NOWHERE, Ordering::Relaxed);
        for (stored, word) in self.text.iter().zip(text) {
            stored.store(*word, Ordering::Relaxed);
        }
        let text_end = text[PIECE_WORDS - 1] as u32;
        self.text_end.store(text_end, Ordering::Relaxed);
        self.edge.store(edge, Ordering::Relaxed);
    }

    /// What was written as its edge and text.
    fn edge(&self) -> (u32, [u64; PIECE_WORDS]) {
        let mut words = [0; PIECE_WORDS];
        for (word, stored) in words.iter_mut().zip(&self.text) {
            *word = stored.load(Ordering::Relaxed);
        }
        words[PIECE_WORDS - 1] = self.text_end.load(Ordering::Relaxed).into();
        (self.edge.load(Ordering::Relaxed), words)
    }

    /// Whether `edge` is the one to this node.
    fn is_child(&self, edge: &Edge<'_>) -> bool {
        let words = edge.piece.words();
        let differing = self.text.iter().zip(words).fold(0, |bits, (stored, word)| {
            bits | stored.load(Ordering::Relaxed) ^ word
        });
        differing == 0
            && self.text_end.load(Ordering::Relaxed) == words[PIECE_WORDS - 1] as u32
            && self.edge.load(Ordering::Relaxed) == edge.key
    }
}

impl Default for Children {
    fn default() -> Self {
        Self(u64::from(NONE))
    }
}

impl Children {
    /// The node that `+` leads to, or [`NONE`].
    fn plus(self) -> u32 {
        self.0 as u32
    }

    fn with_plus(self, plus: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(plus))
    }

    /// Whether `piece` can lead to a node.
    fn may_have(self, piece: &Piece) -> bool {
        self.0 & Self::bit_of(piece) != 0
    }

    fn with_literal(self, piece: &Piece) -> Self {
        Self(self.0 | Self::bit_of(piece))
    }

    fn without_literals(self) -> Self {
        Self(u64::from(self.plus()))
    }

    fn bit_of(piece: &Piece) -> u64 {
        1 << (32 + (piece.hash() >> 59))
    }
}

impl<'a> Edge<'a> {
    fn new(seed: &Seed, parent: u32, piece: &'a Piece) -> Self {
        let key = parent | if piece.is_last() { ENDS_WORD } else { 0 };
        let hash = seed.edge(key, piece.hash());
        Self { key, hash, piece }
    }
}
