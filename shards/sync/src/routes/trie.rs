//! Filters with wildcards: a trie whose literal edges are in one hash table.
//!
//! ```text
//!   fleet/7/+/telemetry   fleet/7/#   and   fleet/8/+/telemetry
//!
//!   root ──fleet──→ node ──7──→ node ──+──→ leaf "+/telemetry"
//!                    │          below
//!                    └──8──→ leaf "8/+/telemetry"
//! ```
//!
//! Where only one filter goes on, the rest of it is a leaf, with the word that leads there, if
//! it is at most [`leaf::LEAF_BYTES`] long. So most filters are one record, however many words they
//! have. A second filter with the same next word splits the leaf into a node and a leaf below
//! it; when the second one goes, node and leaf become one leaf again.
//!
//! Node and leaf are one cache line each, which also holds the word that leads to it, so that a
//! step of a match costs two: a slot of the table and the record.
//!
//! To split or to merge, the writer makes what is to be there and then changes the one link to
//! it. Readers that are in what it replaces find all of it until they are done: a leaf below a
//! node that was merged loses its slot in the table only then ([`writer`]).

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

mod leaf;
mod step;
mod writer;

use leaf::{Leaf, Text};
pub(super) use writer::{Context, TrieWriter};

/// The node where every filter begins: the first record that is taken.
const ROOT: u32 = NONE + 1;

/// The bit of [`Node::edge`] that says that a word ends here.
const ENDS_WORD: u32 = 1 << 31;

/// The bit of a link that says that it leads to a leaf, with the number in the other bits.
/// Without it, it is the number of a node.
pub(super) const LEAF: u32 = 1 << 31;

/// Nodes, leaves and edges, for everybody.
#[derive(Default)]
pub(super) struct Trie {
    /// The literal edges, by parent and piece.
    edges: Table,
    nodes: Arena<Node>,
    leaves: Arena<Leaf>,
}

/// A place in the trie where filters part: one cache line.
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
    /// The node that the edge to this one comes from, and [`ENDS_WORD`].
    edge: AtomicU32,
}

/// Where a filter ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// With the word that leads to a node, or in a leaf.
    Here,
    /// With a `#` behind it.
    Below,
}

/// Where the destinations of a filter are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The node or leaf.
    pub(super) link: u32,
    pub(super) ends: Ends,
}

/// What [`Node::children`] holds: the link that `+` leads to, or [`NONE`], and a set of the
/// pieces that lead on. The set may contain more than that: each piece stands for one of 32
/// bits. It spares the look into the table for most pieces that lead nowhere.
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

/// What a match still has to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    /// A node, or a leaf that a `+` leads to.
    link: u32,
    /// Where in the topic the word begins that is to be compared next.
    word: u32,
}

/// What a match needs to look at the trie.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) trie: &'a Trie,
    pub(super) sets: &'a SetLines,
    pub(super) seed: &'a Seed,
    pub(super) pin: &'a Pin<'a>,
    /// The topic, and the pieces that it is cut into.
    pub(super) text: &'a [u8],
    pub(super) topic: &'a Pieces,
}

impl View<'_> {
    /// Adds the destinations of all filters that match a topic. `visits` is memory to use.
    pub(super) fn collect(self, visits: &mut Vec<Visit>, found: &mut DestinationSet) {
        let topic = self.topic;
        visits.clear();
        visits.push(self.visit(ROOT, 0));
        while let Some(visit) = visits.pop() {
            if let Some(leaf) = self.trie.leaf(visit.link) {
                if leaf.matches(topic.rest(self.text, visit.word)) {
                    self.collect_set(leaf.destinations(), found);
                }
                continue;
            }
            let node = self.trie.nodes.get(visit.link);
            // A filter that begins with a wildcard matches no topic that begins with `$`
            // [MQTT-4.7.2-1].
            let takes_wildcards = visit.link != ROOT || !topic.is_reserved();
            if takes_wildcards {
                self.collect_set(&node.below, found);
            }
            if topic.ends_at(visit.word) {
                self.collect_set(&node.ends, found);
                continue;
            }
            let children = Children(node.children.load(Ordering::Acquire));
            let word = topic.next_word(visit.word);
            let plus = children.plus();
            if plus != NONE && takes_wildcards {
                // A leaf holds the `+` that leads to it.
                let next = if plus & LEAF != 0 { visit.word } else { word };
                visits.push(self.visit(plus, next));
            }
            let pieces = topic.word(visit.word);
            if children.may_have(&pieces[0])
                && let Some(node) = self.literal_child(visit.link, pieces, found)
            {
                visits.push(self.visit(node, word));
            }
        }
    }

    /// A visit to make later, until when the processor fetches what it will need: the node,
    /// and the slot of its literal child, or the leaf.
    fn visit(self, link: u32, word: u32) -> Visit {
        if let Some(leaf) = self.trie.leaf(link) {
            prefetch(leaf);
            return Visit { link, word };
        }
        prefetch(self.trie.nodes.get(link));
        if !self.topic.ends_at(word) {
            let edge = Edge::new(self.seed, link, &self.topic.word(word)[0]);
            self.trie.edges.prefetch(edge.hash, self.pin);
        }
        Visit { link, word }
    }

    fn collect_set(self, stored: &AtomicU64, found: &mut DestinationSet) {
        // Acquire: if the word leads to a list, the list is complete.
        stored::collect(stored.load(Ordering::Acquire), self.sets, self.pin, found);
    }

    /// The node that a word leads to, over as many edges as the word has pieces. If it leads to
    /// a leaf that matches, the destinations of that are added and there is no node.
    fn literal_child(self, parent: u32, word: &[Piece], found: &mut DestinationSet) -> Option<u32> {
        let mut parent = parent;
        for piece in word {
            let edge = Edge::new(self.seed, parent, piece);
            let is_it = |link| match self.trie.leaf(link) {
                Some(leaf) => leaf.parent() == parent && leaf.matches_from(piece, self.text),
                None => self.trie.nodes.get(link).is_child(&edge),
            };
            let link = self.trie.edges.find(edge.hash, self.pin, is_it)?;
            if let Some(leaf) = self.trie.leaf(link) {
                self.collect_set(leaf.destinations(), found);
                return None;
            }
            parent = link;
        }
        Some(parent)
    }
}

impl Trie {
    /// The destinations of the filter that ends at a place, for the writer to change.
    pub(super) fn destinations(&self, place: Place) -> &AtomicU64 {
        if let Some(leaf) = self.leaf(place.link) {
            return leaf.destinations();
        }
        let node = self.nodes.get(place.link);
        match place.ends {
            Ends::Here => &node.ends,
            Ends::Below => &node.below,
        }
    }

    /// The leaf that a link leads to.
    #[inline]
    fn leaf(&self, link: u32) -> Option<&Leaf> {
        (link & LEAF != 0).then(|| self.leaves.get(link & !LEAF))
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
    /// The link that `+` leads to, or [`NONE`].
    fn plus(self) -> u32 {
        self.0 as u32
    }

    fn with_plus(self, plus: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(plus))
    }

    /// Whether `piece` can lead on.
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
        let key = Self::key(parent, piece);
        let hash = seed.edge(key, piece.hash());
        Self { key, hash, piece }
    }

    fn key(parent: u32, piece: &Piece) -> u32 {
        parent | if piece.is_last() { ENDS_WORD } else { 0 }
    }
}
