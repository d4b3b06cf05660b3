//! What other nodes ask for of what the broker itself says: without that nothing is made of it.

use std::collections::BTreeSet;

use crate::routes::RouteCopy;
use crate::shard::Interest;

/// Filters of other nodes below `$SYS/` and `$events/`.
#[derive(Debug, Default)]
pub(super) struct Watched(BTreeSet<(RouteCopy, Box<str>)>);

impl Watched {
    /// A node has a filter, or has it no more.
    pub(super) fn change(&mut self, to: &Interest, copy: RouteCopy, filter: &str, add: bool) {
        if !Interest::counts_in(filter) {
            return;
        }
        let entry = (copy, filter.into());
        if add && !self.0.contains(&entry) {
            to.add(filter);
            self.0.insert(entry);
        } else if !add && self.0.remove(&entry) {
            to.remove(filter);
        }
    }

    /// All filters of a copy go.
    pub(super) fn forget(&mut self, to: &Interest, copy: RouteCopy) {
        let mut rest = self.0.split_off(&(copy, Box::default()));
        while let Some((of, filter)) = rest.pop_first() {
            if of != copy {
                self.0.insert((of, filter));
                break;
            }
            to.remove(&filter);
        }
        self.0.append(&mut rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_interest_as_long_as_a_node_has_a_filter() {
        let (mut watched, interest) = (Watched::default(), Interest::default());
        let [one, two, three] = [1, 2, 3].map(|node| RouteCopy::new(node, 0));
        watched.change(&interest, one, "a/b", true);
        assert!(!interest.in_events() && !interest.in_sys());
        for copy in [one, two, two, three] {
            watched.change(&interest, copy, "$events/#", true);
        }
        watched.change(&interest, two, "$SYS/#", true);
        watched.change(&interest, one, "$events/#", false);
        watched.change(&interest, one, "$events/#", false);
        assert!(interest.in_events() && interest.in_sys());
        watched.forget(&interest, two);
        assert!(interest.in_events() && !interest.in_sys());
        watched.forget(&interest, three);
        assert!(!interest.in_events());
    }
}
