//! What shards need to know of other nodes for groups that are on several.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use super::Nodes;
use crate::shard::{Batch, Item, NODES_MAX};

/// The messages of a shard that were lost with a node, by their numbers on the way to it.
#[derive(Debug, Default)]
pub(crate) struct Lost(Mutex<Vec<Range<u64>>>);

impl Lost {
    fn add(&self, numbers: Range<u64>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.last_mut() {
            Some(last) if last.end == numbers.start => last.end = numbers.end,
            _ => all.push(numbers),
        }
    }

    /// Those that were added since this was last asked.
    pub(crate) fn take(&self) -> Vec<Range<u64>> {
        core::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Nodes {
    /// The name of a node, before anything else is said of it.
    pub fn named(&mut self, node: u16, name: &str) {
        self.common.node_tags.set(node, name);
    }

    /// The name of this node, as the others know it.
    pub fn named_self(&mut self, name: &str) {
        self.common.node_tags.set(NODES_MAX, name);
    }

    /// So many more of a shard's messages are lost with a node. Nobody waits for the dead:
    /// they count as accepted. Those for groups go to others.
    pub fn lost(&mut self, node: u16, shard: u16, count: u64) {
        let Some(end) = self
            .shards
            .get(usize::from(shard))
            .and_then(|shard| shard.nodes.get(usize::from(node)))
        else {
            return;
        };
        if count > 0 {
            let settled = end.taken.load(Ordering::Relaxed);
            end.lost.add(settled + 1..settled + count + 1);
            self.node_accepted(node, shard, count, true);
        }
    }

    /// The process of a node that had accepted messages is gone; or, unless it `died`, what it
    /// has said since may be lost.
    pub fn gone(&mut self, node: u16, died: bool) {
        for shard in 0..self.shards.len() {
            let end = self.shards[shard].nodes.get(usize::from(node));
            let taken = end.map_or(0, |end| end.taken.load(Ordering::Relaxed));
            self.tell_shard(shard, node, Item::NodeGone { up_to: taken, died });
        }
    }

    /// Tells all shards something about a node.
    pub(super) fn tell_shards(&mut self, node: u16, item: impl Fn() -> Item) {
        for shard in 0..self.shards.len() {
            self.tell_shard(shard, node, item());
        }
    }

    fn tell_shard(&mut self, shard: usize, node: u16, item: Item) {
        let waiting = &mut self.shards[shard].waiting;
        if waiting.back().is_none_or(|(last, _)| *last != node) {
            waiting.push_back((node, Box::<Batch>::default()));
        }
        if let Some((_, batch)) = waiting.back_mut() {
            batch.items.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_once() {
        let lost = Lost::default();
        lost.add(1..4);
        lost.add(4..5);
        lost.add(9..10);
        assert_eq!(lost.take(), [1..5, 9..10]);
        assert_eq!(lost.take(), []);
    }
}
