//! Takes destinations out of all filters, a piece of the index at a time.
//!
//! Records do not move, so going through them by number meets each filter that was there at
//! the start, whatever changes in between. Nobody has to remember which filters a destination
//! has: for a node of a cluster that would be the text of each once more.

use super::{
    Destination, RouteWriter,
    arena::NONE,
    stored::NOWHERE,
    trie::Ends,
    writer::{Owned, context},
};
use crate::shim::Ordering;

/// What [`RouteWriter::sweep`] still has to do. Destinations that are added to while it is
/// under way may lose what was added, or not.
#[derive(Debug)]
pub struct Sweep {
    /// The numbers of the destinations.
    numbers: Vec<u64>,
    /// Whether the exact filters are done with.
    in_trie: bool,
    /// The record that comes next.
    next: u32,
}

impl Sweep {
    /// Everything that leads to these.
    pub fn new(destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            numbers: destinations.into_iter().map(Destination::number).collect(),
            in_trie: false,
            next: NONE + 1,
        }
    }
}

impl RouteWriter {
    /// Looks at so many records, and removes what leads from them to the destinations. True
    /// when all of the index has been looked at.
    pub fn sweep(&mut self, sweep: &mut Sweep, records: u32) -> bool {
        let Owned { exact, trie, .. } = &self.owned;
        let made = if sweep.in_trie {
            trie.made()
        } else {
            exact.made()
        };
        let end = made.min(sweep.next.saturating_add(records).saturating_sub(1));
        while sweep.next <= end {
            let number = sweep.next;
            sweep.next += 1;
            if sweep.in_trie {
                self.sweep_node(number, &sweep.numbers, Ends::Here);
                self.sweep_node(number, &sweep.numbers, Ends::Below);
            } else {
                self.sweep_line(number, &sweep.numbers);
            }
        }
        if sweep.next <= made {
            return false;
        }
        if sweep.in_trie {
            return true;
        }
        sweep.in_trie = true;
        sweep.next = NONE + 1;
        false
    }

    /// A line that is not the first of a topic, or is free, has no destinations.
    fn sweep_line(&mut self, number: u32, gone: &[u64]) {
        let shared = &*self.shared;
        let Owned { exact, sets, .. } = &mut self.owned;
        let stored = exact.destinations(&shared.exact, number);
        if !sets.remove_all(stored, gone, &shared.sets, &shared.grace) {
            return;
        }
        if stored.load(Ordering::Relaxed) == NOWHERE {
            let text = shared.exact.text(number);
            let hash = self.topic.cut_bytes(&shared.seed, &text);
            exact.remove(&shared.exact, hash, number, &shared.grace);
            self.filters -= 1;
        }
        self.finish_change();
    }

    /// A node that is free has no destinations.
    fn sweep_node(&mut self, number: u32, gone: &[u64], ends: Ends) {
        let shared = &*self.shared;
        let Owned { trie, sets, .. } = &mut self.owned;
        let stored = shared.trie.destinations(number, ends);
        if !sets.remove_all(stored, gone, &shared.sets, &shared.grace) {
            return;
        }
        if stored.load(Ordering::Relaxed) == NOWHERE {
            trie.prune_from(context(shared), number);
            self.filters -= 1;
        }
        self.finish_change();
    }
}
