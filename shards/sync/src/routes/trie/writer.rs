//! The writer's side of the trie.

use super::leaf::Text;
use super::step::{Rest, Step};
use super::{Children, ENDS_WORD, Edge, Ends, LEAF, Leaf, NONE, Node, Numbers, PIECE_WORDS, Piece};
use super::{Place, ROOT, Trie};
use crate::{
    routes::{
        grace::{Grace, Limbo},
        hash::Seed,
        stored::NOWHERE,
        table::TableWriter,
    },
    shim::Ordering,
};

mod merge;
mod moves;

use moves::Moves;

/// Changes a [`Trie`].
#[derive(Default)]
pub(in crate::routes) struct TrieWriter {
    edges: TableWriter,
    nodes: Numbers,
    leaves: Numbers,
    /// The literal children of each node.
    literals: Vec<Literals>,
    /// What was merged and may still be seen.
    merged: Limbo<Merged>,
    /// Where filters have moved to.
    pub(in crate::routes) moves: Moves,
}

/// What a change of the trie needs beside its writer.
#[derive(Clone, Copy)]
pub(in crate::routes) struct Context<'a> {
    pub(in crate::routes) trie: &'a Trie,
    pub(in crate::routes) seed: &'a Seed,
    pub(in crate::routes) grace: &'a Grace,
}

/// The literal children of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Literals {
    /// How many there are, or [`Literals::GONE`].
    count: u32,
    /// The links to them, combined by exclusive or: if there is one, the link to it.
    links: u32,
}

/// A literal child of a node that was merged. Readers in the node may still look for it.
#[derive(Clone, Copy, Debug)]
struct Merged {
    /// The link to it.
    child: u32,
    /// The hash of the edge.
    hash: u64,
}

/// The step that leads to a node or leaf.
#[derive(Clone, Copy, Debug)]
pub(in crate::routes) struct Up {
    parent: u32,
    /// The hash of the edge, if it is a literal one.
    literal: Option<u64>,
}

impl Literals {
    /// Of a node that nothing leads to any more.
    const GONE: u32 = u32::MAX;
}

impl TrieWriter {
    /// The writer of a trie without nodes. It makes the root.
    pub(in crate::routes) fn new(trie: &Trie) -> Self {
        let mut writer = Self::default();
        let root = writer.take_node(trie, NONE | ENDS_WORD, &[0; PIECE_WORDS]);
        debug_assert_eq!(root, ROOT);
        writer
    }

    /// Where the destinations of a filter are. What is missing on the way to them is added.
    pub(in crate::routes) fn find_or_add(&mut self, context: Context<'_>, filter: &str) -> Place {
        let mut node = ROOT;
        let mut rest = Rest::all(filter);
        loop {
            let step = match rest.step(context.seed, node) {
                Ok(step) => step,
                Err(ends) => return Place { link: node, ends },
            };
            let link = self.follow(context, &step);
            if let Some(leaf) = context.trie.leaf(link) {
                if leaf.text().as_bytes() == step.text {
                    return Place::of_leaf(link);
                }
                (node, rest) = self.split(context, link, leaf, &step);
                continue;
            }
            if link == NONE
                && let Some(text) = Text::of(&[step.text])
            {
                let leaf = self.take_leaf(context.trie, node, &text, NOWHERE);
                self.attach(context, &step, leaf);
                return Place::of_leaf(leaf);
            }
            node = if link == NONE {
                self.add_node(context, &step)
            } else {
                link
            };
            rest = step.rest();
        }
    }

    /// Where the destinations of a filter are, and the step that leads there; `None` if nothing
    /// leads there.
    pub(in crate::routes) fn find(
        &self,
        context: Context<'_>,
        filter: &str,
    ) -> Option<(Place, Option<Up>)> {
        let (mut node, mut up) = (ROOT, None);
        let mut rest = Rest::all(filter);
        loop {
            let step = match rest.step(context.seed, node) {
                Ok(step) => step,
                Err(ends) => return Some((Place { link: node, ends }, up)),
            };
            let link = self.follow(context, &step);
            let (parent, literal) = (node, step.literal());
            up = Some(Up { parent, literal });
            if let Some(leaf) = context.trie.leaf(link) {
                let is_it = leaf.text().as_bytes() == step.text;
                return is_it.then_some((Place::of_leaf(link), up));
            }
            if link == NONE {
                return None;
            }
            node = link;
            rest = step.rest();
        }
    }

    /// Removes a node or leaf that leads nowhere any more, and those above it that then do not
    /// either; makes one leaf of what then leads to one filter only. `up` is the step that leads
    /// to it, if it is known.
    pub(in crate::routes) fn prune(&mut self, context: Context<'_>, link: u32, mut up: Option<Up>) {
        let mut child = link;
        while child != ROOT {
            let known = up.take();
            let parent = if !leads_nowhere(context.trie, child) {
                self.merge(context, child)
            } else if let Some(up) = known.or_else(|| self.step_to(context, child)) {
                self.unlink(context, child, up);
                Some(up.parent)
            } else {
                None
            };
            let Some(parent) = parent else { return };
            child = parent;
        }
    }

    /// Whether a record is one that a filter can be in: not one that was left. Those that are
    /// free have no destinations, or were left.
    pub(in crate::routes) fn is_in_use(&self, trie: &Trie, link: u32) -> bool {
        match trie.leaf(link) {
            Some(leaf) => !leaf.has_moved(),
            None => self.literals[link as usize].count != Literals::GONE,
        }
    }

    /// Records that can still be taken.
    pub(in crate::routes) fn left(&self) -> usize {
        self.nodes.left().min(self.leaves.left())
    }

    /// Links to all nodes that were ever made.
    pub(in crate::routes) fn nodes_made(&self) -> u32 {
        self.nodes.made()
    }

    /// How many leaves were ever made.
    pub(in crate::routes) fn leaves_made(&self) -> u32 {
        self.leaves.made()
    }

    /// Nodes, leaves and literal edges that filters need.
    #[cfg(all(test, not(loom)))]
    pub(in crate::routes) fn in_use(&self) -> [usize; 3] {
        let is_leaf = |merged: &Merged| merged.child & LEAF != 0;
        let leaves = self.merged.iter().filter(|merged| is_leaf(merged)).count();
        let nodes = self.merged.len() - leaves;
        let edges = self.edges.len() - self.merged.len();
        [
            self.nodes.in_use() - nodes,
            self.leaves.in_use() - leaves,
            edges,
        ]
    }

    /// Things that wait for readers.
    pub(in crate::routes) fn waiting(&self) -> usize {
        let records = self.nodes.waiting() + self.leaves.waiting();
        records + self.merged.len() + self.edges.waiting()
    }

    /// Frees what was unlinked before `epoch`.
    pub(in crate::routes) fn reclaim(&mut self, context: Context<'_>, epoch: u64) {
        // Before the node above can be used again, which must not have the child. Nobody is in that
        // node, but who looks for another edge may still be at the child.
        while let Some(Merged { child, hash }) = self.merged.take_before(epoch) {
            self.edges
                .remove(&context.trie.edges, hash, child, context.grace);
            self.give_back(context, child);
        }
        self.nodes.reclaim(epoch);
        self.leaves.reclaim(epoch);
        self.edges.reclaim(epoch);
    }

    /// The link that a step takes, or [`NONE`].
    fn follow(&self, context: Context<'_>, step: &Step<'_>) -> u32 {
        let Some(edge) = step.edge() else {
            return context.trie.nodes.get(step.parent).children().plus();
        };
        let is_it = |link| match context.trie.leaf(link) {
            Some(leaf) => leaf.parent() == step.parent && step.is_first_of(&leaf.text()),
            None => context.trie.nodes.get(link).is_child(&edge),
        };
        self.edges.find(edge.hash, is_it).unwrap_or(NONE)
    }

    /// Puts nodes in the place of a leaf as far as another filter goes the same way, and what
    /// the leaf holds behind that below them. Returns the last node, and what is left of the
    /// other filter there. `other` is the step of that one that leads to the leaf.
    fn split<'f>(
        &mut self,
        context: Context<'_>,
        link: u32,
        leaf: &Leaf,
        other: &Step<'f>,
    ) -> (u32, Rest<'f>) {
        let text = leaf.text();
        let destinations = leaf.destinations().load(Ordering::Relaxed);
        let top = self.take_child(context, other);
        let (mut node, mut rest) = (top, other.rest());
        let mut left = other.rest_of(text.as_bytes());
        let place = loop {
            let step = match left.step(context.seed, node) {
                Ok(step) => step,
                Err(ends) => {
                    let place = Place { link: node, ends };
                    let stored = context.trie.destinations(place);
                    stored.store(destinations, Ordering::Relaxed);
                    break place;
                }
            };
            match rest.step(context.seed, node) {
                Ok(other) if other.is_same(&step) => {
                    node = self.add_node(context, &step);
                    (left, rest) = (step.rest(), other.rest());
                }
                _ => {
                    // What is a part of a leaf's text fits into a leaf.
                    let text = Text::of(&[step.text]).unwrap_or(text);
                    let leaf = self.take_leaf(context.trie, node, &text, destinations);
                    self.attach(context, &step, leaf);
                    break Place::of_leaf(leaf);
                }
            }
        };
        let (parent, literal) = (other.parent, other.literal());
        self.replace(context, Up { parent, literal }, link, top);
        self.moves.note(place);
        leaf.mark_moved();
        self.give_back(context, link);
        (node, rest)
    }

    /// Adds the node that a step leads to.
    fn add_node(&mut self, context: Context<'_>, step: &Step<'_>) -> u32 {
        let child = self.take_child(context, step);
        self.attach(context, step, child);
        child
    }

    /// Links a node or leaf that is complete to the node above it.
    fn attach(&mut self, context: Context<'_>, step: &Step<'_>, link: u32) {
        let node = context.trie.nodes.get(step.parent);
        let Some(edge) = step.edge() else {
            node.set_children(node.children().with_plus(link));
            return;
        };
        self.edges
            .insert(&context.trie.edges, edge.hash, link, context.grace);
        let literals = &mut self.literals[step.parent as usize];
        literals.count += 1;
        literals.links ^= link;
        node.set_children(node.children().with_literal(edge.piece));
    }

    /// Has the link to one node or leaf lead to another one.
    fn replace(&mut self, context: Context<'_>, up: Up, from: u32, to: u32) {
        if let Some(hash) = up.literal {
            self.edges.replace(hash, from, to);
            self.literals[up.parent as usize].links ^= from ^ to;
        } else {
            let parent = context.trie.nodes.get(up.parent);
            parent.set_children(parent.children().with_plus(to));
        }
    }

    /// Takes the link to a node or leaf away, and gives it back.
    fn unlink(&mut self, context: Context<'_>, child: u32, up: Up) {
        let node = context.trie.nodes.get(up.parent);
        if let Some(hash) = up.literal {
            self.edges
                .remove(&context.trie.edges, hash, child, context.grace);
            let literals = &mut self.literals[up.parent as usize];
            literals.count -= 1;
            literals.links ^= child;
            if literals.count == 0 {
                node.set_children(node.children().without_literals());
            }
        } else {
            node.set_children(node.children().with_plus(NONE));
        }
        self.give_back(context, child);
    }

    /// The step that leads to a node or leaf, by what it holds. `None` if it does not say.
    fn step_to(&self, context: Context<'_>, child: u32) -> Option<Up> {
        let Context { trie, seed, .. } = context;
        let (parent, hash) = if let Some(leaf) = trie.leaf(child) {
            let (parent, text) = (leaf.parent(), leaf.text());
            let is_word = trie.nodes.get(parent).ends_word();
            let step = Step::new(seed, parent, text.as_bytes(), is_word);
            (parent, step.literal())
        } else {
            let (key, words) = trie.nodes.get(child).edge();
            let piece = Piece::of(seed, &words, key & ENDS_WORD != 0);
            let parent = key & !ENDS_WORD;
            (parent, Some(Edge::new(seed, parent, &piece).hash))
        };
        if trie.nodes.get(parent).children().plus() == child {
            return Some(Up {
                parent,
                literal: None,
            });
        }
        // The text of a node that ends with a zero byte has another hash: then the node stays.
        let found = self.edges.find(hash?, |link| link == child);
        found.map(|_| Up {
            parent,
            literal: hash,
        })
    }

    /// A node for what a step leads to.
    fn take_child(&mut self, context: Context<'_>, step: &Step<'_>) -> u32 {
        let (key, words) = match step.edge() {
            Some(edge) => (edge.key, *edge.piece.words()),
            None => (step.parent | ENDS_WORD, [0; PIECE_WORDS]),
        };
        self.take_node(context.trie, key, &words)
    }

    fn take_node(&mut self, trie: &Trie, edge: u32, text: &[u64; PIECE_WORDS]) -> u32 {
        let number = self.nodes.take(&trie.nodes);
        trie.nodes.get(number).write(edge, text);
        if self.literals.len() <= number as usize {
            let none = Literals::default();
            self.literals.resize(number as usize + 1, none);
        }
        self.literals[number as usize] = Literals::default();
        number
    }

    /// The link to a new leaf.
    fn take_leaf(&mut self, trie: &Trie, parent: u32, text: &Text, destinations: u64) -> u32 {
        let number = self.leaves.take(&trie.leaves);
        trie.leaves.get(number).write(parent, text, destinations);
        number | LEAF
    }

    /// Gives back what no link leads to any more.
    fn give_back(&mut self, context: Context<'_>, link: u32) {
        if link & LEAF != 0 {
            self.leaves.give_back(link & !LEAF, context.grace);
        } else {
            self.nodes.give_back(link, context.grace);
        }
    }
}

impl Place {
    fn of_leaf(link: u32) -> Self {
        let ends = Ends::Here;
        Self { link, ends }
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

    /// Whether a word ends here, so that another one may follow.
    fn ends_word(&self) -> bool {
        self.edge.load(Ordering::Relaxed) & ENDS_WORD != 0
    }
}

fn leads_nowhere(trie: &Trie, link: u32) -> bool {
    if let Some(leaf) = trie.leaf(link) {
        return leaf.leads_nowhere();
    }
    let node = trie.nodes.get(link);
    node.children() == Children::default()
        && node.ends.load(Ordering::Relaxed) == NOWHERE
        && node.below.load(Ordering::Relaxed) == NOWHERE
}
