//! Topic aliases towards one client: which topics get one, and what to send.
//!
//! An alias is a number of two bytes that stands for a topic on one connection. It is set by
//! a PUBLISH that carries both, and set anew in the same way (5.0 section 3.3.2.3.4). Nothing
//! acknowledges it, so a table may only remember what has really gone into the output:
//! [`TopicAliases::offer`] says what to send, [`TopicAliases::sent`] is told when it was.

use core::num::NonZeroU16;

use hashbrown::HashTable;

/// A shorter topic gets no alias: the property takes more bytes than it.
pub const TOPIC_BYTES_MIN: usize = 3;

/// A longer topic gets no alias, so that a table is bounded.
pub const TOPIC_BYTES_MAX: usize = 1024;

/// Uses of a topic that are remembered at most.
const USES_MAX: u8 = 15;

/// Topics without an alias that a table remembers to have seen.
const SEEN: usize = 64;

/// How a topic is to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alias {
    /// As it is.
    None,
    /// With this alias, which the client is to know from now on.
    Set(NonZeroU16),
    /// As this alias only.
    Known(NonZeroU16),
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    topic: Box<str>,
    /// Uses since it came, less what the hand took off.
    uses: u8,
}

/// The aliases that one client knows. Belongs to one connection.
///
/// While there are aliases to give, a topic gets one when it is sent for the first time. When
/// all are given, a hand goes round the table: each time another topic repeats, the entry it
/// points at loses one use, and its alias if it has none left. So topics that are used often
/// stay.
///
/// About 250 bytes, and 50 bytes and the topic for each alias.
#[derive(Debug)]
pub struct TopicAliases {
    /// By alias, from 1.
    entries: Vec<Entry>,
    /// Hash of a topic → place in `entries`.
    places: HashTable<u16>,
    /// How many aliases the client takes.
    maximum: u16,
    hand: u16,
    /// Marks of topics without an alias, by hash.
    seen: [u16; SEEN],
}

impl TopicAliases {
    /// A table for a client that takes `maximum` aliases.
    #[must_use]
    pub fn new(maximum: NonZeroU16) -> Self {
        Self {
            entries: Vec::new(),
            places: HashTable::new(),
            maximum: maximum.get(),
            hand: 0,
            seen: [0; SEEN],
        }
    }

    /// How to send a topic now. `topic_hash` is always the same for the same topic.
    pub fn offer(&mut self, topic_hash: u64, topic: &str) -> Alias {
        if let Some(place) = self.find(topic_hash, topic) {
            if let Some(entry) = self.entries.get_mut(usize::from(place)) {
                entry.uses = entry.uses.saturating_add(1).min(USES_MAX);
            }
            return Alias::Known(number(place));
        }
        if !(TOPIC_BYTES_MIN..=TOPIC_BYTES_MAX).contains(&topic.len()) {
            return Alias::None;
        }
        let free = self.entries.len();
        if free < usize::from(self.maximum) {
            return Alias::Set(number(free as u16));
        }
        if !self.repeats(topic_hash) {
            return Alias::None;
        }
        self.turn_hand().map_or(Alias::None, Alias::Set)
    }

    /// The packet that sets an alias is in the output.
    pub fn sent(&mut self, alias: NonZeroU16, topic_hash: u64, topic: &str) {
        let place = alias.get() - 1;
        let entry = Entry {
            hash: topic_hash,
            topic: topic.into(),
            uses: 1,
        };
        let given = self.entries.len();
        match self.entries.get_mut(usize::from(place)) {
            Some(old) => {
                let old = core::mem::replace(old, entry);
                let found = self.places.find_entry(old.hash, |other| *other == place);
                if let Ok(found) = found {
                    found.remove();
                }
            }
            None if usize::from(place) == given => self.entries.push(entry),
            None => return,
        }
        let entries = &self.entries;
        self.places.insert_unique(topic_hash, place, |place| {
            entries
                .get(usize::from(*place))
                .map_or(0, |entry| entry.hash)
        });
    }

    fn find(&self, hash: u64, topic: &str) -> Option<u16> {
        let is_it = |place: &u16| {
            self.entries
                .get(usize::from(*place))
                .is_some_and(|entry| entry.hash == hash && *entry.topic == *topic)
        };
        self.places.find(hash, is_it).copied()
    }

    /// Sees a topic without an alias. True when it was the last one of its place as well.
    fn repeats(&mut self, hash: u64) -> bool {
        // 0 is the mark of nothing.
        let mark = (hash >> 32) as u16 | 1;
        let slot = self.seen.get_mut(hash as usize % SEEN);
        slot.is_some_and(|slot| core::mem::replace(slot, mark) == mark)
    }

    /// Takes a use off the entry under the hand, or its alias when it has none left.
    fn turn_hand(&mut self) -> Option<NonZeroU16> {
        let place = self.hand;
        let entry = self.entries.get_mut(usize::from(place))?;
        self.hand = (place + 1) % self.maximum;
        match entry.uses {
            0 => Some(number(place)),
            _ => {
                entry.uses -= 1;
                None
            }
        }
    }
}

/// The alias of a place.
fn number(place: u16) -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(place)
}

#[cfg(test)]
mod tests;
