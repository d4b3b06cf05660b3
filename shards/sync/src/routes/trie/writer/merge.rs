//! One leaf for nodes that lead to one filter only.

use super::super::{Children, ENDS_WORD, LEAF, NONE, Node, Place, ROOT, Text};
use super::{Context, Literals, Merged, NOWHERE, Piece, TrieWriter};
use crate::shim::Ordering;

impl TrieWriter {
    /// Puts a leaf in the place of a node that leads to one filter only, and of those above it
    /// for which that holds as well, as far as its text fits. Returns the node above.
    pub(super) fn merge(&mut self, context: Context<'_>, node: u32) -> Option<u32> {
        let is_node = node & LEAF == 0;
        if !is_node || self.literals[node as usize].count > 1 || self.leaves.left() == 0 {
            return None;
        }
        let (mut text, destinations) = self.only_filter(context, node)?;
        let (mut top, mut up) = (node, self.step_to(context, node)?);
        while up.parent != ROOT
            && self.only_child(context, up.parent) == Some(top)
            && let Some(longer) = behind(context, up.parent, Some(text.as_bytes()))
            && let Some(above) = self.step_to(context, up.parent)
        {
            text = longer;
            (top, up) = (up.parent, above);
        }
        let leaf = self.take_leaf(context.trie, up.parent, &text, destinations);
        self.replace(context, up, top, leaf);
        self.moves.note(Place::of_leaf(leaf));
        self.leave(context, top);
        self.give_back(context, top);
        Some(up.parent)
    }

    /// The text of a leaf instead of a node that leads to one filter only, and the destinations
    /// of that. `None` if it leads to more, or to one that goes on over another node, or the
    /// text does not fit.
    fn only_filter(&self, context: Context<'_>, node: u32) -> Option<(Text, u64)> {
        if let Some(child) = self.only_child(context, node) {
            let leaf = context.trie.leaf(child)?;
            let destinations = leaf.destinations().load(Ordering::Relaxed);
            let text = behind(context, node, Some(leaf.text().as_bytes()))?;
            return Some((text, destinations));
        }
        let record = context.trie.nodes.get(node);
        let has_children = record.children() != Children::default();
        match (has_children, record.destinations()) {
            (false, [here, NOWHERE]) => behind(context, node, None).zip(Some(here)),
            (false, [NOWHERE, below]) => behind(context, node, Some(b"#")).zip(Some(below)),
            _ => None,
        }
    }

    /// The link to the only child of a node at which no filter ends.
    fn only_child(&self, context: Context<'_>, node: u32) -> Option<u32> {
        let literals = self.literals[node as usize];
        let record = context.trie.nodes.get(node);
        if record.destinations() != [NOWHERE; 2] {
            return None;
        }
        match (literals.count, record.children().plus()) {
            (1, NONE) => Some(literals.links),
            (0, plus) if plus != NONE => Some(plus),
            _ => None,
        }
    }

    /// Leaves a node that nothing leads to any more, and what is below it, to those readers
    /// that are there.
    fn leave(&mut self, context: Context<'_>, top: u32) {
        let mut node = top;
        loop {
            let child = self.only_child(context, node);
            let step = child.and_then(|child| self.step_to(context, child));
            self.literals[node as usize].count = Literals::GONE;
            if let (Some(child), Some(hash)) = (child, step.and_then(|step| step.literal)) {
                let merged = Merged { child, hash };
                self.merged.keep(context.grace.epoch(), merged);
            } else if let Some(child) = child {
                self.give_back(context, child);
            }
            match child.map(|child| (child, context.trie.leaf(child))) {
                Some((_, Some(leaf))) => return leaf.mark_moved(),
                Some((child, None)) => node = child,
                None => return,
            }
        }
    }
}

impl Node {
    /// The destinations of the filters that end here, and here with a `#`.
    fn destinations(&self) -> [u64; 2] {
        [&self.ends, &self.below].map(|stored| stored.load(Ordering::Relaxed))
    }
}

/// What leads to a node, and then `rest`, if there is any and if it fits.
fn behind(context: Context<'_>, node: u32, rest: Option<&[u8]>) -> Option<Text> {
    let record = context.trie.nodes.get(node);
    let (key, words) = record.edge();
    let parent = context.trie.nodes.get(key & !ENDS_WORD);
    let (bytes, length) = if parent.children().plus() == node {
        Piece::bytes_of(&[u64::from(b'+'), 0, 0, 0, 0])
    } else {
        Piece::bytes_of(&words)
    };
    let is_word = key & ENDS_WORD != 0 && rest.is_some();
    let slash: &[u8] = if is_word { b"/" } else { b"" };
    let rest = rest.unwrap_or_default();
    Text::of(&[&bytes[..length], slash, rest])
}
