//! A search through the retained messages that can stop anywhere and go on later.

use super::RetainedTree;
use super::topics::{Children, Topics};
use crate::topic::Filter;
use crate::topic::tree::trie::{Key, ROOT};

/// Where a search stopped. It borrows nothing, holds four bytes a level, and stays valid
/// whatever happens to the tree.
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
    pending: Vec<Children<'t>>,
    /// First levels that begin with `$` are looked at too.
    all: bool,
}

/// What a level of the filter asks for.
enum Level {
    /// This word; `None` where no topic has it.
    Word(Option<Key>),
    /// `+`.
    Any,
    /// `#`, always the last.
    Below,
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
            all: false,
        }
    }

    /// A search for everything.
    pub(super) fn all(tree: &'t RetainedTree<M>) -> Self {
        Self {
            tree,
            levels: vec![Level::Below],
            path: Vec::new(),
            pending: Vec::new(),
            all: true,
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
            let Some(node) = self.pending.last_mut()?.next() else {
                self.pending.pop();
                self.path.pop();
                continue;
            };
            let asked_for = !self.is_hidden(node);
            self.path.push(node);
            if asked_for && self.is_match() {
                self.tree.message(node).into_iter().for_each(&mut *visit);
            }
            looked_at += 1;
            if looked_at == limit {
                return Some(Cursor {
                    path: self.path.into(),
                });
            }
            if asked_for && self.topics().has_children(node) {
                self.pending.push(self.children(node, None));
            } else {
                self.path.pop();
            }
        }
    }

    /// Takes up the place that `cursor` names, or what follows it where it is gone.
    fn resume(&mut self, cursor: Option<Cursor>) {
        let mut parent = ROOT;
        for node in cursor.map(|cursor| cursor.path).unwrap_or_default() {
            self.pending.push(self.children(parent, Some(node)));
            if !self.leads_to(parent, node) {
                return;
            }
            self.path.push(node);
            parent = node;
        }
        self.pending.push(self.children(parent, None));
    }

    /// The children that the filter asks for of the node at the end of `path`, which is
    /// `parent`; only those behind `after` in their order.
    fn children(&self, parent: u32, after: Option<u32>) -> Children<'t> {
        match self.level() {
            None => Children::One(None),
            Some(Level::Word(_)) if after.is_some() => Children::One(None),
            Some(Level::Word(key)) => Children::One(self.child(parent, key.as_ref())),
            Some(Level::Any | Level::Below) => self.topics().children(parent, after),
        }
    }

    /// Whether `node`, which was a child of the node at the end of `path`, still is one
    /// that the filter asks for.
    fn leads_to(&self, parent: u32, node: u32) -> bool {
        match self.level() {
            None => false,
            Some(Level::Word(key)) => self.child(parent, key.as_ref()) == Some(node),
            Some(Level::Any | Level::Below) => {
                self.topics().is_child(node, parent) && !self.is_hidden(node)
            }
        }
    }

    fn child(&self, parent: u32, key: Option<&Key>) -> Option<u32> {
        self.topics().child(parent, key?)
    }

    /// What the filter asks of the children of the node at the end of `path`.
    fn level(&self) -> Option<&Level> {
        match self.levels.last() {
            Some(below @ Level::Below) if self.path.len() >= self.levels.len() => Some(below),
            _ => self.levels.get(self.path.len()),
        }
    }

    /// Whether the filter matches the topic of the node at the end of `path`.
    fn is_match(&self) -> bool {
        match self.levels.last() {
            Some(Level::Below) => self.path.len() + 1 >= self.levels.len(),
            _ => self.path.len() == self.levels.len(),
        }
    }

    /// Whether `node`, a child of the node at the end of `path`, is a first level that
    /// begins with `$`, and the filter begins with a wildcard [MQTT-4.7.2-1].
    fn is_hidden(&self, node: u32) -> bool {
        !self.all
            && self.path.is_empty()
            && matches!(self.levels.first(), Some(Level::Any | Level::Below))
            && self.topics().is_dollar(node)
    }

    fn topics(&self) -> &'t Topics {
        &self.tree.topics
    }
}
