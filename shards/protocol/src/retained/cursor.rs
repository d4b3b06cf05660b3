//! A search through the retained messages that can stop anywhere and go on later.

use std::collections::btree_set::Range;

use super::RetainedTree;
use crate::topic::Filter;
use crate::topic::tree::trie::{Key, ROOT};

/// Where a search stopped. It borrows nothing and stays valid whatever happens to the
/// tree.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// From a first level's node to the one that was looked at last.
    path: Box<[u32]>,
}

/// One call's part of a search, depth first, the children of a node in order.
pub(super) struct Search<'t, M> {
    tree: &'t RetainedTree<M>,
    levels: Vec<Level>,
    /// The nodes from below the root to the one at hand.
    path: Vec<u32>,
    /// For the root and each node of `path`, the children that are still to be looked at.
    pending: Vec<Pending<'t>>,
}

/// What a level of the filter asks for.
enum Level {
    /// This word, if any node has it.
    Word(Option<Key>),
    /// `+`.
    Any,
    /// `#`, always the last.
    Below,
}

enum Pending<'t> {
    One(Option<u32>),
    Many {
        parent: u32,
        range: Range<'t, (u32, u32)>,
    },
}

impl<'t, M> Search<'t, M> {
    pub(super) fn new(tree: &'t RetainedTree<M>, filter: Filter<'_>) -> Self {
        let level = |text| match text {
            "#" => Level::Below,
            "+" => Level::Any,
            word => Level::Word(tree.topics.key(word)),
        };
        let levels = filter.levels().map(level).collect();
        Self {
            tree,
            levels,
            path: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Looks at up to `limit` nodes.
    pub(super) fn run(
        mut self,
        cursor: Option<Cursor>,
        limit: usize,
        visit: &mut dyn FnMut(&M),
    ) -> Option<Cursor> {
        self.resume(cursor);
        let mut looked_at = 0;
        loop {
            let Some(number) = self.pending.last_mut()?.next() else {
                self.pending.pop();
                self.path.pop();
                continue;
            };
            self.path.push(number);
            let asked_for = !self.is_hidden(number);
            if asked_for && self.is_match() {
                self.tree.message(number).into_iter().for_each(&mut *visit);
            }
            looked_at += 1;
            if looked_at == limit {
                return Some(Cursor {
                    path: self.path.into(),
                });
            }
            if asked_for && self.tree.topics.node(number).has_children() {
                self.pending.push(self.children(number, None));
            } else {
                self.path.pop();
            }
        }
    }

    /// Takes up the place that `cursor` names, or what follows where it is gone.
    fn resume(&mut self, cursor: Option<Cursor>) {
        let mut parent = ROOT;
        for number in cursor.map(|cursor| cursor.path).unwrap_or_default() {
            self.pending.push(self.children(parent, Some(number)));
            if !self.leads_to(parent, number) {
                return;
            }
            self.path.push(number);
            parent = number;
        }
        self.pending.push(self.children(parent, None));
    }

    /// The children of `parent` that the filter asks for, behind `after` in their order.
    /// `path` ends with `parent`.
    fn children(&self, parent: u32, after: Option<u32>) -> Pending<'t> {
        match self.level(self.path.len()) {
            None => Pending::One(None),
            Some(Level::Word(_)) if after.is_some() => Pending::One(None),
            Some(Level::Word(key)) => {
                let child = key
                    .as_ref()
                    .and_then(|key| self.tree.topics.child(parent, key));
                Pending::One(child)
            }
            Some(Level::Any | Level::Below) => {
                let start = after.map_or(0, |after| after.saturating_add(1));
                Pending::Many {
                    parent,
                    range: self.tree.children.range((parent, start)..),
                }
            }
        }
    }

    /// Whether `number`, which was a child of `parent`, still is one that the filter asks
    /// for. `path` ends with `parent`.
    fn leads_to(&self, parent: u32, number: u32) -> bool {
        match self.level(self.path.len()) {
            None => false,
            Some(Level::Word(key)) => {
                let child = key
                    .as_ref()
                    .and_then(|key| self.tree.topics.child(parent, key));
                child == Some(number)
            }
            Some(Level::Any | Level::Below) => {
                self.tree.topics.is_child(number, parent)
                    && (parent != ROOT || !self.tree.topics.is_dollar(number))
            }
        }
    }

    /// What the filter asks of the children of a node at `depth`; the root is at 0.
    fn level(&self, depth: usize) -> Option<&Level> {
        match self.levels.last() {
            Some(below @ Level::Below) if depth >= self.levels.len() => Some(below),
            _ => self.levels.get(depth),
        }
    }

    /// Whether the node at the end of `path` has a topic that the filter matches.
    fn is_match(&self) -> bool {
        match self.levels.last() {
            Some(Level::Below) => self.path.len() + 1 >= self.levels.len(),
            _ => self.path.len() == self.levels.len(),
        }
    }

    /// Whether the node at the end of `path` begins with `$` and the filter with a
    /// wildcard [MQTT-4.7.2-1].
    fn is_hidden(&self, number: u32) -> bool {
        self.path.len() == 1
            && matches!(self.levels.first(), Some(Level::Any | Level::Below))
            && self.tree.topics.is_dollar(number)
    }
}

impl Iterator for Pending<'_> {
    type Item = u32;

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
