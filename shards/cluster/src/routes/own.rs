//! The routes that point to this node.

use std::collections::BTreeMap;

use super::Limits;
use super::log::{Log, Position};
use crate::wire::Change;

/// The filters that this node's shards have subscriptions to.
#[derive(Debug)]
pub struct OwnRoutes {
    log: Log,
    /// On how many shards more than one a filter is.
    more: BTreeMap<Box<str>, u32>,
}

impl OwnRoutes {
    pub(super) fn new(name: &str, incarnation: u64, seed: u64, limits: Limits) -> Self {
        Self {
            log: Log::new(name, incarnation, seed, limits),
            more: BTreeMap::new(),
        }
    }

    /// A shard has its first subscription to a filter. True if it is the node's first.
    pub fn add(&mut self, filter: &str) -> bool {
        if self.log.filters().contains(filter) {
            *self.more.entry(filter.into()).or_insert(0) += 1;
            return false;
        }
        self.log.push(Change::Add(filter))
    }

    /// A shard has lost its last subscription to a filter. True if it was the node's last.
    /// What is not there is not removed.
    pub fn remove(&mut self, filter: &str) -> bool {
        if let Some(more) = self.more.get_mut(filter) {
            *more -= 1;
            if *more == 0 {
                self.more.remove(filter);
            }
            return false;
        }
        self.log.filters().contains(filter) && self.log.push(Change::Remove(filter))
    }

    /// The node has a new life: others had given it up. The routes stay; everybody copies
    /// them again.
    pub fn renew(&mut self, incarnation: u64) {
        self.log.renew(incarnation);
    }

    /// The end of the log.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.log.position()
    }

    /// How many filters there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.log.filters().len()
    }

    /// All filters, in no order.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.log.filters().iter()
    }

    pub(super) const fn log(&self) -> &Log {
        &self.log
    }
}
