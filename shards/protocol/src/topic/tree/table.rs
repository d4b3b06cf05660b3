//! Hash → number, without the key: who asks compares.

use super::NONE;

/// Parts that a table grows by, one at a time, so that no insertion has to wait for
/// more than a 64th of the table to be copied.
const PARTS: usize = 64;

/// A place without a number. It compares greater than every entry.
const VACANT: u64 = u64::MAX;

/// Numbers by the hash of what they stand for.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// [`PARTS`] of them, or none at all.
    parts: Vec<Part>,
    len: usize,
}

impl Table {
    /// The number with `hash` that `is_it` says yes to.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.parts.get(part_of(hash))?.find(hash as u32, is_it)
    }

    /// Adds a number that is not there with this hash.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, Part::default);
        }
        self.parts[part_of(hash)].insert(hash as u32, number);
        self.len += 1;
    }

    /// Removes a number that is there with this hash.
    pub(crate) fn remove(&mut self, hash: u64, number: u32) {
        self.parts[part_of(hash)].remove(hash as u32, number);
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.parts
            .iter()
            .map(|part| size_of::<Part>() + part.bytes())
            .sum()
    }
}

fn part_of(hash: u64) -> usize {
    (hash >> 58) as usize
}

/// A table that grows as a whole.
///
/// An entry is 32 bits of the hash above the number. Entries stand in ascending order,
/// each at the place that is proportional to its hash or as near behind it as there is
/// room. So a look-up reads one or two neighbouring cache lines, ends early where
/// nothing is found, and looks at nothing else unless all 32 bits agree; and growing by
/// any factor is a copy from front to back.
#[derive(Debug, Default)]
pub(crate) struct Part {
    places: Vec<u64>,
    /// Places that hashes are spread over; the others, behind them, take what the last
    /// of these have no room for.
    spread: u32,
    len: u32,
}

impl Part {
    /// The number with `hash` that `is_it` says yes to.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        for entry in self.places.get(self.home(hash)..)? {
            let found = (entry >> 32) as u32;
            if found > hash || *entry == VACANT {
                return None;
            }
            let number = *entry as u32;
            if found == hash && is_it(number) {
                return Some(number);
            }
        }
        None
    }

    /// Adds a number that is not there with this hash.
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        debug_assert_ne!(number, NONE, "the number of nothing");
        if self.len >= self.spread / 5 * 4 {
            self.spread_over(self.spread + self.spread / 2 + 10);
        }
        let entry = entry(hash, number);
        let place = self.place(entry);
        let behind = &self.places[place..];
        match behind.iter().position(|other| *other == VACANT) {
            Some(gap) => self.places.copy_within(place..place + gap, place + 1),
            None => {
                make_room(&mut self.places);
                self.places.insert(place, VACANT);
            }
        }
        self.places[place] = entry;
        self.len += 1;
    }

    /// Removes a number that is there with this hash.
    pub(crate) fn remove(&mut self, hash: u32, number: u32) {
        let entry = entry(hash, number);
        let place = self.place(entry);
        debug_assert_eq!(self.places.get(place), Some(&entry), "it is there");
        let mut end = place + 1;
        while let Some(next) = self.places.get(end)
            && *next != VACANT
            && self.home((next >> 32) as u32) < end
        {
            end += 1;
        }
        self.places.copy_within(place + 1..end, place);
        self.places[end - 1] = VACANT;
        self.len -= 1;
        if self.len <= self.spread / 4 {
            self.spread_over(self.len * 2);
        }
    }

    /// Whether there is no number.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory it holds beside itself.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u64>()
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * u64::from(self.spread)) >> 32) as usize
    }

    /// Where `entry` is, or has to be inserted.
    fn place(&self, entry: u64) -> usize {
        let home = self.home((entry >> 32) as u32);
        let behind = self.places.get(home..).unwrap_or_default();
        home + behind.iter().take_while(|other| **other < entry).count()
    }

    fn spread_over(&mut self, spread: u32) {
        let mut places = Vec::with_capacity(spread as usize);
        self.spread = spread;
        for entry in self.places.iter().filter(|entry| **entry != VACANT) {
            let home = self.home((entry >> 32) as u32);
            if home > places.len() {
                places.resize(home, VACANT);
            }
            make_room(&mut places);
            places.push(*entry);
        }
        if places.len() < spread as usize {
            places.resize(spread as usize, VACANT);
        }
        self.places = places;
    }
}

fn entry(hash: u32, number: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(number)
}

/// Makes room for one more place behind the spread, where few are ever needed.
fn make_room(places: &mut Vec<u64>) {
    if places.len() == places.capacity() {
        places.reserve_exact(4);
    }
}
