//! The writer's side of the trie.

use super::{Arena, Children, ENDS_WORD, Edge, Ends, NONE, Node, Numbers, PIECE_WORDS, Piece};
use super::{ROOT, Trie};
use crate::{
    routes::{grace::Grace, hash::Seed, piece::Pieces, stored::NOWHERE, table::TableWriter},
    shim::{AtomicU64, Ordering},
};

/// Changes a [`Trie`].
#[derive(Default)]
pub(in crate::routes) struct TrieWriter {
    edges: TableWriter,
    numbers: Numbers,
    /// The number of literal children of each node.
    literals: Vec<u32>,
    /// The word that is being followed. Memory to use again.
    word: Pieces,
    /// The steps from the root to the end of the filter that is being removed. Memory to use
    /// again.
    path: Vec<Step>,
}

/// What a change of the trie needs beside its writer.
#[derive(Clone, Copy)]
pub(in crate::routes) struct Context<'a> {
    pub(in crate::routes) trie: &'a Trie,
    pub(in crate::routes) seed: &'a Seed,
    pub(in crate::routes) grace: &'a Grace,
}

/// A step from a node to one of its children.
#[derive(Clone, Copy, Debug)]
struct Step {
    parent: u32,
    child: u32,
    /// The hash of the edge, if it is a literal one.
    literal: Option<u64>,
}

impl TrieWriter {
    /// The writer of a trie without nodes. It makes the root.
    pub(in crate::routes) fn new(trie: &Trie) -> Self {
        let mut writer = Self::default();
        let root = writer.take_node(&trie.nodes, NONE, &[0; PIECE_WORDS]);
        debug_assert_eq!(root, ROOT);
        writer
    }

    /// The destinations of a filter, for the writer to change. What is missing on the way to
    /// them is added.
    pub(in crate::routes) fn find_or_add<'a>(
        &mut self,
        context: Context<'a>,
        filter: &str,
    ) -> &'a AtomicU64 {
        let (words, ends) = split(filter);
        let mut node = ROOT;
        for word in words {
            node = if word == "+" {
                self.plus_child(context, node)
            } else {
                self.literal_child(context, node, word)
            };
        }
        context.trie.destinations(node, ends)
    }

    /// The destinations of a filter, for the writer to change; `None` if nothing leads there.
    /// Remembers the way for [`Self::prune`].
    pub(in crate::routes) fn find<'a>(
        &mut self,
        context: Context<'a>,
        filter: &str,
    ) -> Option<&'a AtomicU64> {
        let (words, ends) = split(filter);
        self.path.clear();
        let mut node = ROOT;
        for word in words {
            node = if word == "+" {
                self.step_plus(context, node)?
            } else {
                self.step_literal(context, node, word)?
            };
        }
        Some(context.trie.destinations(node, ends))
    }

    /// Removes what leads nowhere any more on the way that [`Self::find`] took.
    pub(in crate::routes) fn prune(&mut self, context: Context<'_>) {
        while let Some(step) = self.path.pop() {
            let node = context.trie.nodes.get(step.child);
            if !node.leads_nowhere() {
                break;
            }
            self.unlink(context, step);
        }
    }

    /// Removes a node that leads nowhere any more, and those above it that then do not either.
    pub(in crate::routes) fn prune_from(&mut self, context: Context<'_>, node: u32) {
        let mut child = node;
        while child != ROOT && context.trie.nodes.get(child).leads_nowhere() {
            let Some(step) = self.step_to(context, child) else {
                return;
            };
            self.unlink(context, step);
            child = step.parent;
        }
    }

    /// The step that leads to a node, by what the node holds. `None` if it does not say.
    fn step_to(&self, context: Context<'_>, child: u32) -> Option<Step> {
        let (key, words) = context.trie.nodes.get(child).edge();
        let parent = key & !ENDS_WORD;
        if context.trie.nodes.get(parent).children().plus() == child {
            let literal = None;
            return Some(Step {
                parent,
                child,
                literal,
            });
        }
        let piece = Piece::of(context.seed, &words, key & ENDS_WORD != 0);
        let edge = Edge::new(context.seed, parent, &piece);
        // A text that ends with a zero byte has another hash: then the node stays.
        let found = self.find_edge(context.trie, &edge);
        found.filter(|found| *found == child).map(|child| Step {
            parent,
            child,
            literal: Some(edge.hash),
        })
    }

    fn unlink(&mut self, context: Context<'_>, step: Step) {
        match step.literal {
            Some(hash) => self.unlink_literal(context, step, hash),
            None => {
                let parent = context.trie.nodes.get(step.parent);
                parent.set_children(parent.children().with_plus(NONE));
            }
        }
        self.numbers.give_back(step.child, context.grace);
    }

    /// Nodes that can still be taken.
    pub(in crate::routes) fn left(&self) -> usize {
        self.numbers.left()
    }

    /// Records that were ever made.
    pub(in crate::routes) fn made(&self) -> u32 {
        self.numbers.made()
    }

    /// Things that wait for readers.
    pub(in crate::routes) fn waiting(&self) -> usize {
        self.numbers.waiting() + self.edges.waiting()
    }

    /// Frees what was unlinked before `epoch`.
    pub(in crate::routes) fn reclaim(&mut self, epoch: u64) {
        self.numbers.reclaim(epoch);
        self.edges.reclaim(epoch);
    }

    fn plus_child(&mut self, context: Context<'_>, parent: u32) -> u32 {
        let node = context.trie.nodes.get(parent);
        let children = node.children();
        if children.plus() != NONE {
            return children.plus();
        }
        let child = self.take_node(&context.trie.nodes, parent, &[0; PIECE_WORDS]);
        node.set_children(children.with_plus(child));
        child
    }

    fn literal_child(&mut self, context: Context<'_>, parent: u32, word: &str) -> u32 {
        let mut pieces = std::mem::take(&mut self.word);
        let child = pieces
            .cut_only_word(context.seed, word)
            .iter()
            .fold(parent, |parent, piece| {
                self.piece_child(context, parent, piece)
            });
        self.word = pieces;
        child
    }

    fn piece_child(&mut self, context: Context<'_>, parent: u32, piece: &Piece) -> u32 {
        let edge = Edge::new(context.seed, parent, piece);
        if let Some(child) = self.find_edge(context.trie, &edge) {
            return child;
        }
        let child = self.take_node(&context.trie.nodes, edge.key, piece.words());
        self.edges
            .insert(&context.trie.edges, edge.hash, child, context.grace);
        self.literals[parent as usize] += 1;
        let node = context.trie.nodes.get(parent);
        node.set_children(node.children().with_literal(piece));
        child
    }

    fn find_edge(&self, trie: &Trie, edge: &Edge<'_>) -> Option<u32> {
        self.edges
            .find(edge.hash, |node| trie.nodes.get(node).is_child(edge))
    }

    fn take_node(&mut self, nodes: &Arena<Node>, edge: u32, text: &[u64; PIECE_WORDS]) -> u32 {
        let number = self.numbers.take(nodes);
        nodes.get(number).write(edge, text);
        if self.literals.len() <= number as usize {
            self.literals.resize(number as usize + 1, 0);
        }
        number
    }

    fn step_plus(&mut self, context: Context<'_>, parent: u32) -> Option<u32> {
        let child = context.trie.nodes.get(parent).children().plus();
        if child == NONE {
            return None;
        }
        self.path.push(Step {
            parent,
            child,
            literal: None,
        });
        Some(child)
    }

    fn step_literal(&mut self, context: Context<'_>, parent: u32, word: &str) -> Option<u32> {
        let mut pieces = std::mem::take(&mut self.word);
        let child =
            pieces
                .cut_only_word(context.seed, word)
                .iter()
                .try_fold(parent, |parent, piece| {
                    let edge = Edge::new(context.seed, parent, piece);
                    let child = self.find_edge(context.trie, &edge)?;
                    self.path.push(Step {
                        parent,
                        child,
                        literal: Some(edge.hash),
                    });
                    Some(child)
                });
        self.word = pieces;
        child
    }

    fn unlink_literal(&mut self, context: Context<'_>, step: Step, hash: u64) {
        self.edges
            .remove(&context.trie.edges, hash, step.child, context.grace);
        let literals = &mut self.literals[step.parent as usize];
        *literals -= 1;
        if *literals == 0 {
            let parent = context.trie.nodes.get(step.parent);
            parent.set_children(parent.children().without_literals());
        }
    }
}

impl Node {
    fn children(&self) -> Children {
        Children(self.children.load(Ordering::Relaxed))
    }

    fn set_children(&self, children: Children) {
        // Release: whoever finds the `+` child finds it written.
        self.children.store(children.0, Ordering::Release);
    }

    fn leads_nowhere(&self) -> bool {
        self.children() == Children::default()
            && self.ends.load(Ordering::Relaxed) == NOWHERE
            && self.below.load(Ordering::Relaxed) == NOWHERE
    }
}

/// The words of a filter before a `#` at its end, and where it ends then.
fn split(filter: &str) -> (impl Iterator<Item = &str>, Ends) {
    let (words, ends) = match filter.strip_suffix('#') {
        Some("") => (None, Ends::Below),
        Some(before) if before.ends_with('/') => (Some(&before[..before.len() - 1]), Ends::Below),
        _ => (Some(filter), Ends::Here),
    };
    (words.into_iter().flat_map(|words| words.split('/')), ends)
}
