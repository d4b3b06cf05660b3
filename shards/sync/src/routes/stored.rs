//! The destinations of one filter, in one atomic word.
//!
//! ```text
//!   00 bitmap                         shards 0 to 61
//!   01 20 bits | 20 bits | 20 bits    up to three destinations, as their number plus one
//!   10 number                         more: the first of a list of lines
//! ```
//!
//! A list is never changed: the writer makes another one and stores its number.

use super::{
    arena::{Arena, NONE, Numbers},
    chunk::Record,
    destination::{Destination, DestinationSet, ones},
    grace::{Grace, Pin},
};
use crate::shim::{AtomicU32, AtomicU64, Ordering};

#[cfg(all(test, not(loom)))]
mod tests;

/// The bits that tell the three forms apart.
const FORM: u64 = 0b11 << 62;
const FORM_BITMAP: u64 = 0b00 << 62;
const FORM_THREE: u64 = 0b01 << 62;
const FORM_LIST: u64 = 0b10 << 62;

/// Destinations below this number fit into the bitmap.
const BITMAP_END: u64 = 62;

/// Bits of a destination in the form of three.
const THREE_BITS: u32 = 20;

/// The word of no destination.
pub(super) const NOWHERE: u64 = 0;

/// The lists of all filters that have one.
pub(super) type SetLines = Arena<SetLine>;

/// Up to seven destinations of a filter.
#[derive(Debug, Default)]
pub(super) struct SetLine {
    /// The line with the other destinations, or [`NONE`].
    next: AtomicU32,
    /// Destinations in this line.
    count: AtomicU32,
    /// The numbers of the destinations.
    numbers: [AtomicU64; 7],
}

// SAFETY: it consists of atomic integers only.
unsafe impl Record for SetLine {}

/// Adds the destinations of a stored word to `set`.
#[inline]
pub(super) fn collect(word: u64, lines: &SetLines, _pin: &Pin<'_>, set: &mut DestinationSet) {
    if word & FORM == FORM_BITMAP {
        set.insert_first_shards(word);
    } else {
        decode(word, lines, |number| {
            set.insert(Destination::from_number(number))
        });
    }
}

/// The writer's side of the lists.
#[derive(Default)]
pub(super) struct SetWriter {
    numbers: Numbers,
    /// The destinations of the set that is being changed, in ascending order.
    destinations: Vec<u64>,
}

impl SetWriter {
    pub(super) fn numbers(&mut self) -> &mut Numbers {
        &mut self.numbers
    }

    /// Adds a destination to a stored set, or takes it out of it. Returns whether that
    /// changed it.
    pub(super) fn change(
        &mut self,
        stored: &AtomicU64,
        destination: Destination,
        present: bool,
        lines: &SetLines,
        grace: &Grace,
    ) -> bool {
        let before = stored.load(Ordering::Relaxed);
        self.destinations.clear();
        decode(before, lines, |number| self.destinations.push(number));
        let number = destination.number();
        match (self.destinations.binary_search(&number), present) {
            (Err(position), true) => self.destinations.insert(position, number),
            (Ok(position), false) => _ = self.destinations.remove(position),
            _ => return false,
        }
        // Release: whoever finds a list finds it written.
        stored.store(self.encode(lines), Ordering::Release);
        self.give_back(before, lines, grace);
        true
    }

    /// Takes destinations, by their numbers, out of a stored set. Returns whether any was there.
    pub(super) fn remove_all(
        &mut self,
        stored: &AtomicU64,
        gone: &[u64],
        lines: &SetLines,
        grace: &Grace,
    ) -> bool {
        let before = stored.load(Ordering::Relaxed);
        self.destinations.clear();
        let mut are_any_gone = false;
        decode(before, lines, |number| {
            if gone.contains(&number) {
                are_any_gone = true;
            } else {
                self.destinations.push(number);
            }
        });
        if are_any_gone {
            // Release: whoever finds a list finds it written.
            stored.store(self.encode(lines), Ordering::Release);
            self.give_back(before, lines, grace);
        }
        are_any_gone
    }

    fn encode(&mut self, lines: &SetLines) -> u64 {
        let highest = self.destinations.last().copied().unwrap_or(0);
        if highest < BITMAP_END {
            return self
                .destinations
                .iter()
                .fold(NOWHERE, |word, number| word | 1 << number);
        }
        if self.destinations.len() <= 3 && highest + 1 < 1 << THREE_BITS {
            let shifts = [0, THREE_BITS, 2 * THREE_BITS];
            return self
                .destinations
                .iter()
                .zip(shifts)
                .fold(FORM_THREE, |word, (number, shift)| {
                    word | (number + 1) << shift
                });
        }
        FORM_LIST | u64::from(self.write_list(lines))
    }

    /// The lines are written from the last to the first, so that the list is in order.
    fn write_list(&mut self, lines: &SetLines) -> u32 {
        let mut first = NONE;
        for destinations in self.destinations.rchunks(7) {
            let line_number = self.numbers.take(lines);
            let line = lines.get(line_number);
            line.next.store(first, Ordering::Relaxed);
            line.count
                .store(destinations.len() as u32, Ordering::Relaxed);
            for (stored, number) in line.numbers.iter().zip(destinations) {
                stored.store(*number, Ordering::Relaxed);
            }
            first = line_number;
        }
        first
    }

    fn give_back(&mut self, word: u64, lines: &SetLines, grace: &Grace) {
        if word & FORM == FORM_LIST {
            let mut line = word as u32;
            while line != NONE {
                self.numbers.give_back(line, grace);
                line = lines.get(line).next.load(Ordering::Relaxed);
            }
        }
    }
}

/// Visits the numbers of the destinations in ascending order.
fn decode(word: u64, lines: &SetLines, mut visit: impl FnMut(u64)) {
    match word & FORM {
        FORM_BITMAP => ones(word).for_each(|bit| visit(u64::from(bit))),
        FORM_THREE => {
            let mut rest = word & !FORM;
            while rest != 0 {
                visit((rest & ((1 << THREE_BITS) - 1)) - 1);
                rest >>= THREE_BITS;
            }
        }
        _ => {
            let mut number = word as u32;
            while number != NONE {
                let line = lines.get(number);
                let count = line.count.load(Ordering::Relaxed) as usize;
                line.numbers.iter().take(count).for_each(|number| {
                    visit(number.load(Ordering::Relaxed));
                });
                number = line.next.load(Ordering::Relaxed);
            }
        }
    }
}
