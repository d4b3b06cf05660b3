//! Takes destinations out of all filters, a piece of the index at a time.
//!
//! Records do not move, so going through them by number meets each filter that was there at
//! the start, whatever changes in between. Nobody has to remember which filters a destination
//! has: for a node of a cluster that would be the text of each once more.

//!
//! A filter with wildcards may move to another record when others come or go beside it. Such moves
//! are noted while a sweep is under way, and it looks there as well.

use super::{
    Destination, RouteWriter,
    arena::NONE,
    stored::NOWHERE,
    trie::{Ends, LEAF, Place},
    writer::{Owned, context},
};
use crate::shim::Ordering;

/// What [`RouteWriter::sweep`] still has to do. It is to be gone through to its end: until then
/// the index keeps notes for it. Destinations that are added to while it is under way may lose
/// what was added, or not.
#[derive(Debug)]
pub struct Sweep {
    /// The numbers of the destinations.
    numbers: Vec<u64>,
    /// What is being gone through.
    part: Part,
    /// The record that comes next.
    next: u32,
    /// The move that comes next. `None` before the first piece.
    moves_seen: Option<usize>,
}

/// A part of the index.
#[derive(Clone, Copy, Debug)]
enum Part {
    Exact,
    Nodes,
    Leaves,
}

impl Sweep {
    /// Everything that leads to these.
    pub fn new(destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            numbers: destinations.into_iter().map(Destination::number).collect(),
            part: Part::Exact,
            next: NONE + 1,
            moves_seen: None,
        }
    }
}

impl RouteWriter {
    /// Looks at so many records, and removes what leads from them to the destinations. True
    /// when all of the index has been looked at.
    pub fn sweep(&mut self, sweep: &mut Sweep, records: u32) -> bool {
        let moves = &mut self.owned.trie.moves;
        sweep.moves_seen.get_or_insert_with(|| moves.watch());
        let Owned { exact, trie, .. } = &self.owned;
        let made = match sweep.part {
            Part::Exact => exact.made(),
            Part::Nodes => trie.nodes_made(),
            Part::Leaves => trie.leaves_made(),
        };
        let end = made.min(sweep.next.saturating_add(records).saturating_sub(1));
        while sweep.next <= end {
            self.sweep_record(sweep.part, sweep.next, &sweep.numbers);
            sweep.next += 1;
        }
        self.sweep_moved(sweep);
        if sweep.next <= made {
            return false;
        }
        sweep.next = NONE + 1;
        sweep.part = match sweep.part {
            Part::Exact => Part::Nodes,
            Part::Nodes => Part::Leaves,
            Part::Leaves => {
                sweep.moves_seen = None;
                self.owned.trie.moves.leave();
                return true;
            }
        };
        false
    }

    /// Looks where filters have moved to since the last piece, and within this one.
    fn sweep_moved(&mut self, sweep: &mut Sweep) {
        let Some(seen) = &mut sweep.moves_seen else {
            return;
        };
        while let Some(place) = self.owned.trie.moves.get(*seen) {
            *seen += 1;
            self.sweep_place(place, &sweep.numbers);
        }
    }

    fn sweep_record(&mut self, part: Part, number: u32, gone: &[u64]) {
        match part {
            Part::Exact => self.sweep_line(number, gone),
            Part::Nodes => {
                for ends in [Ends::Here, Ends::Below] {
                    self.sweep_place(Place { link: number, ends }, gone);
                }
            }
            Part::Leaves => {
                let (link, ends) = (number | LEAF, Ends::Here);
                self.sweep_place(Place { link, ends }, gone);
            }
        }
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

    /// A node or leaf that is free has no destinations, or is not in use.
    fn sweep_place(&mut self, place: Place, gone: &[u64]) {
        let shared = &*self.shared;
        let Owned { trie, sets, .. } = &mut self.owned;
        let stored = shared.trie.destinations(place);
        if !trie.is_in_use(&shared.trie, place.link)
            || !sets.remove_all(stored, gone, &shared.sets, &shared.grace)
        {
            return;
        }
        if stored.load(Ordering::Relaxed) == NOWHERE {
            trie.prune(context(shared), place.link, None);
            self.filters -= 1;
        }
        self.finish_change();
    }
}
