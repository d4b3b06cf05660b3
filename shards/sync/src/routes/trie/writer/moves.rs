//! Where filters have moved to while somebody goes through the records by number.

use super::Place;

/// The places that filters have moved to, while that is asked for.
#[derive(Debug, Default)]
pub(in crate::routes) struct Moves {
    /// How many ask.
    watchers: u32,
    places: Vec<Place>,
}

impl Moves {
    /// Has moves noted. Returns how many there are already.
    pub(in crate::routes) fn watch(&mut self) -> usize {
        self.watchers += 1;
        self.places.len()
    }

    /// Undoes [`Self::watch`].
    pub(in crate::routes) fn leave(&mut self) {
        self.watchers -= 1;
        if self.watchers == 0 {
            self.places = Vec::new();
        }
    }

    /// The move with a number, in their order.
    pub(in crate::routes) fn get(&self, number: usize) -> Option<Place> {
        self.places.get(number).copied()
    }

    /// A filter has moved there.
    pub(super) fn note(&mut self, place: Place) {
        if self.watchers > 0 {
            self.places.push(place);
        }
    }
}
