//! Changes of the routes of other nodes, on their way to the route writer.

use crate::shard::NODES_MAX;

/// Bytes of text of a batch. Small enough for the heap of the thread that makes it, which then
/// uses it again.
const BYTES: usize = 16 << 10;

/// What the thread with the links has for the route writer.
pub(crate) enum NodeOrder {
    /// Changes of the routes of a copy.
    Changes(RouteBatch),
    /// All routes of a copy go.
    Forget(RouteCopy),
    /// Nothing: it comes back when all before it is applied.
    Fence,
}

/// The routes of a node that came one after the other: a destination of the index.
///
/// When all routes of a node come anew they are another copy, so that those before can be found
/// and removed, and a node's life ends without a list of its routes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct RouteCopy(u32);

impl RouteCopy {
    pub(crate) fn new(node: u16, copy: u8) -> Self {
        debug_assert!(node < NODES_MAX);
        Self(u32::from(copy) * u32::from(NODES_MAX) + u32::from(node))
    }

    /// The number of the destination.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The node that a destination stands for.
    #[inline]
    pub(crate) const fn node(number: u32) -> u16 {
        number as u16 % NODES_MAX
    }
}

/// Some changes, in their order.
#[derive(Debug)]
pub(crate) struct RouteBatch {
    copy: RouteCopy,
    text: String,
    /// Where each filter ends in the text, and whether it was added.
    changes: Vec<(u32, bool)>,
}

impl RouteBatch {
    pub(crate) fn new(copy: RouteCopy) -> Self {
        Self {
            copy,
            text: String::new(),
            changes: Vec::new(),
        }
    }

    pub(crate) const fn copy(&self) -> RouteCopy {
        self.copy
    }

    pub(crate) fn is_full(&self) -> bool {
        self.text.len() >= BYTES
    }

    pub(crate) fn push(&mut self, filter: &str, add: bool) {
        self.text.push_str(filter);
        self.changes.push((self.text.len() as u32, add));
    }

    /// The changes: the filter, and whether it was added.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&str, bool)> {
        let mut start = 0;
        self.changes.iter().map(move |(end, add)| {
            let end = *end as usize;
            let filter = self.text.get(start..end).unwrap_or_default();
            start = end;
            (filter, *add)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_what_was_put_in() {
        let mut batch = RouteBatch::new(RouteCopy::new(63, 15));
        let changes = [("a/+", true), ("ü", false), ("b", true)];
        for (filter, add) in changes {
            batch.push(filter, add);
        }
        assert_eq!(batch.changes().collect::<Vec<_>>(), changes);
        assert!(!batch.is_full());
        batch.push(&"x".repeat(BYTES), true);
        assert!(batch.is_full());
    }

    #[test]
    fn each_copy_of_each_node_is_another_destination_of_that_node() {
        let copies = (0..NODES_MAX).flat_map(|node| (0..16).map(move |copy| (node, copy)));
        let numbers: std::collections::BTreeSet<u32> = copies
            .map(|(node, copy)| {
                let number = RouteCopy::new(node, copy).number();
                assert_eq!(RouteCopy::node(number), node);
                number
            })
            .collect();
        assert_eq!(numbers.len(), 1024);
    }
}
