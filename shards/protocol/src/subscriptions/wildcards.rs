//! Filters with a wildcard, as a tree of words.

use super::receivers::Receivers;
use crate::topic::tree::NONE;
use crate::topic::tree::hash::Hash;
use crate::topic::tree::slab::Slab;
use crate::topic::tree::trie::{ROOT, Trie};
use crate::topic::{Filter, TopicName};

/// Nodes and filters that a [`Walk`] may have room for between two matches.
const KEPT_MAX: usize = 8192;

pub(super) struct WildcardFilters {
    tree: Trie<Branch>,
    filters: Slab<WildcardFilter>,
}

/// What a node knows beside its edges. A `#` takes no node of its own.
struct Branch {
    /// The child by `+`, which is not among the edges.
    any: u32,
    /// The filter that ends here.
    here: u32,
    /// The filter that ends with a `#` below this node.
    below: u32,
}

struct WildcardFilter {
    receivers: Receivers,
    /// Where it ends, before its `#` if it has one; [`NONE`] while vacant.
    node: u32,
    has_below: bool,
}

/// Memory for one walk, kept for the next one.
#[derive(Default)]
pub(super) struct Walk {
    /// The nodes reached, level by level.
    nodes: Vec<u32>,
    /// The filters that match.
    pub(super) found: Vec<u32>,
}

impl WildcardFilters {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            tree: Trie::new(hash),
            filters: Slab::new(),
        }
    }

    /// Puts the filters that match `topic` into `walk.found`, each once.
    ///
    /// All branches are followed together, level by level.
    pub(super) fn walk(&self, topic: TopicName<'_>, walk: &mut Walk) {
        let Walk { nodes, found } = walk;
        nodes.clear();
        found.clear();
        nodes.push(ROOT);
        let mut start = 0;
        let mut wildcards_match = !topic.is_dollar();
        for level in topic.levels() {
            let end = nodes.len();
            if start == end {
                return;
            }
            let key = self.tree.key(level);
            for index in start..end {
                let number = nodes[index];
                let node = self.tree.node(number);
                if let Some(key) = &key
                    && node.has_children()
                    && let Some(child) = self.tree.child(number, key)
                {
                    nodes.push(child);
                }
                if wildcards_match {
                    found.extend(some(node.value.below));
                    nodes.extend(some(node.value.any));
                }
            }
            start = end;
            wildcards_match = true;
        }
        for number in &nodes[start..] {
            let Branch { here, below, .. } = self.tree.value(*number);
            found.extend(some(*here).into_iter().chain(some(*below)));
        }
    }

    pub(super) fn find(&self, filter: Filter<'_>) -> Option<u32> {
        let mut node = ROOT;
        for level in filter.levels() {
            node = match level {
                "#" => return some(self.tree.value(node).below),
                "+" => some(self.tree.value(node).any)?,
                word => self.tree.child(node, &self.tree.key(word)?)?,
            };
        }
        some(self.tree.value(node).here)
    }

    /// The number of a filter, which gets one if it has none.
    pub(super) fn obtain(&mut self, filter: Filter<'_>) -> u32 {
        let mut node = ROOT;
        for level in filter.levels() {
            node = match level {
                "#" => {
                    return some(self.tree.value(node).below).unwrap_or_else(|| {
                        let number = self.filters.insert(WildcardFilter::new(node, true));
                        self.tree.value_mut(node).below = number;
                        number
                    });
                }
                "+" => self.obtain_any(node),
                word => self.tree.obtain_child(node, word),
            };
        }
        some(self.tree.value(node).here).unwrap_or_else(|| {
            let number = self.filters.insert(WildcardFilter::new(node, false));
            self.tree.value_mut(node).here = number;
            number
        })
    }

    fn obtain_any(&mut self, node: u32) -> u32 {
        some(self.tree.value(node).any).unwrap_or_else(|| {
            let any = self.tree.add_unlisted(node, "+");
            self.tree.value_mut(node).any = any;
            any
        })
    }

    /// Forgets a filter.
    pub(super) fn remove(&mut self, number: u32) {
        let filter = self.filters.remove(number);
        let branch = self.tree.value_mut(filter.node);
        if filter.has_below {
            branch.below = NONE;
        } else {
            branch.here = NONE;
        }
        self.prune(filter.node);
    }

    /// Removes a node and those above it, as far as they lead to no filter.
    fn prune(&mut self, mut number: u32) {
        while number != ROOT {
            let node = self.tree.node(number);
            let Branch { any, here, below } = node.value;
            if node.has_children() || [any, here, below] != [NONE; 3] {
                return;
            }
            let parent = node.parent();
            let above = self.tree.value_mut(parent);
            if above.any == number {
                above.any = NONE;
                self.tree.remove_unlisted(number);
            } else {
                self.tree.remove_child(number);
            }
            number = parent;
        }
    }

    #[inline]
    pub(super) fn receivers(&self, number: u32) -> &Receivers {
        &self.filters.get(number).receivers
    }

    pub(super) fn receivers_mut(&mut self, number: u32) -> &mut Receivers {
        &mut self.filters.get_mut(number).receivers
    }

    /// The receivers of a filter; none where the number is of none.
    pub(super) fn find_receivers(&self, number: u32) -> Option<&Receivers> {
        self.filters.find(number).map(|filter| &filter.receivers)
    }

    /// The text of a filter; `None` where the number is of none.
    pub(super) fn text(&self, number: u32) -> Option<String> {
        let filter = self
            .filters
            .find(number)
            .filter(|filter| filter.node != NONE)?;
        let mut text = self.tree.text(filter.node);
        if filter.has_below {
            text.push_str(if filter.node == ROOT { "#" } else { "/#" });
        }
        Some(text)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let is_used = |number: &u32| self.filters.get(*number).node != NONE;
        (0..self.filters.numbers_end()).filter(is_used)
    }

    /// All numbers are below.
    pub(super) fn numbers_end(&self) -> u32 {
        self.filters.numbers_end()
    }

    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Bytes of memory it holds, without what receivers point to.
    pub(super) fn bytes(&self) -> usize {
        self.filters.bytes() + self.tree.bytes()
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 3] {
        self.tree.counts()
    }
}

impl Walk {
    /// Itself, or nothing where it holds much memory after an unusual match.
    pub(super) fn if_small(self) -> Self {
        if self.nodes.capacity() + self.found.capacity() <= KEPT_MAX {
            self
        } else {
            Self::default()
        }
    }
}

impl WildcardFilter {
    fn new(node: u32, has_below: bool) -> Self {
        Self {
            receivers: Receivers::None,
            node,
            has_below,
        }
    }
}

impl Default for WildcardFilter {
    fn default() -> Self {
        Self::new(NONE, false)
    }
}

impl Default for Branch {
    fn default() -> Self {
        Self {
            any: NONE,
            here: NONE,
            below: NONE,
        }
    }
}

fn some(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}
