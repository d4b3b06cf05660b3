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
    destination::DestinationSet,
    grace::Pin,
    hash::Seed,
    piece::{PIECE_WORDS, Piece, Pieces},
    stored::{self, NOWHERE, SetLines},
    table::Table,
};
use crate::shim::{AtomicU32, AtomicU64, Ordering};

mod writer;

pub(super) use writer::{Context, TrieWriter};

/// The node where every filter begins: the first record that is taken.
const ROOT: u32 = NONE + 1;

/// The bit of [`Node::children`] that says that the node has literal children.
const HAS_LITERALS: u32 = 1 << 31;

/// Nodes and edges, for everybody.
#[derive(Debug, Default)]
pub(super) struct Trie {
    /// The literal edges, by parent and piece.
    edges: Table,
    nodes: Arena<Node>,
}

/// A place in the trie.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Node {
    /// The node that the literal edge to this one comes from.
    parent: AtomicU32,
    /// The node that `+` leads to, or [`NONE`]; and [`HAS_LITERALS`].
    children: AtomicU32,
    /// The destinations of the filter that ends here.
    ends: AtomicU64,
    /// The destinations of the filter that goes on with `#` from here.
    below: AtomicU64,
    /// The piece that the literal edge to this node stands for.
    piece: [AtomicU64; PIECE_WORDS],
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
        visits.push(Visit {
            node: ROOT,
            word: 0,
        });
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
            let children = node.children.load(Ordering::Acquire);
            let word = topic.next_word(visit.word);
            let plus = children & !HAS_LITERALS;
            if plus != NONE && takes_wildcards {
                visits.push(Visit { node: plus, word });
            }
            if children & HAS_LITERALS != 0
                && let Some(node) = self.literal_child(visit.node, topic.word(visit.word))
            {
                visits.push(Visit { node, word });
            }
        }
    }

    fn collect_set(self, stored: &AtomicU64, found: &mut DestinationSet) {
        // Acquire: if the word leads to a list, the list is complete.
        stored::collect(stored.load(Ordering::Acquire), self.sets, self.pin, found);
    }

    /// The node that a word leads to, over as many edges as the word has pieces.
    fn literal_child(self, parent: u32, word: &[Piece]) -> Option<u32> {
        word.iter().try_fold(parent, |parent, piece| {
            let hash = self.seed.edge(parent, piece.hash());
            self.trie.edges.find(hash, self.pin, |node| {
                self.trie.nodes.get(node).is_edge(parent, piece)
            })
        })
    }
}

impl Node {
    /// Makes a node without children and destinations.
    fn write(&self, parent: u32, piece: &[u64; PIECE_WORDS]) {
        self.parent.store(parent, Ordering::Relaxed);
        self.children.store(NONE, Ordering::Relaxed);
        self.ends.store(NOWHERE, Ordering::Relaxed);
        self.below.store(NOWHERE, Ordering::Relaxed);
        for (stored, word) in self.piece.iter().zip(piece) {
            stored.store(*word, Ordering::Relaxed);
        }
    }

    /// Whether the edge to this node is the one from `parent` with `piece`.
    fn is_edge(&self, parent: u32, piece: &Piece) -> bool {
        self.parent.load(Ordering::Relaxed) == parent
            && self
                .piece
                .iter()
                .zip(piece.used_words())
                .all(|(stored, word)| stored.load(Ordering::Relaxed) == *word)
    }
}
