//! The subscribers of one filter.

use hashbrown::HashTable;

use super::{SessionKey, Subscriber};

/// Subscribers up to which a session is found by looking at each.
const UNINDEXED_MAX: usize = 16;

/// The subscribers of one filter, a session at most once. One takes no memory of its
/// own; among many a session is found by an index.
#[derive(Debug, Default)]
pub(super) enum SubscriberSet {
    #[default]
    Empty,
    One(Subscriber),
    Many(Box<Many>),
}

/// Two subscribers or more.
#[derive(Debug)]
pub(super) struct Many {
    list: Vec<Subscriber>,
    /// Places in `list` by session; empty up to [`UNINDEXED_MAX`] subscribers.
    places: HashTable<u32>,
}

impl SubscriberSet {
    #[inline]
    pub(super) fn as_slice(&self) -> &[Subscriber] {
        match self {
            Self::Empty => &[],
            Self::One(subscriber) => core::slice::from_ref(subscriber),
            Self::Many(many) => &many.list,
        }
    }

    /// Adds a subscriber, and returns the same session's one that it replaces.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> Option<Subscriber> {
        match self {
            Self::Empty => *self = Self::One(subscriber),
            Self::One(one) if one.session == subscriber.session => {
                return Some(core::mem::replace(one, subscriber));
            }
            Self::One(one) => {
                let list = vec![*one, subscriber];
                *self = Self::Many(Box::new(Many {
                    list,
                    places: HashTable::new(),
                }));
            }
            Self::Many(many) => return many.insert(subscriber),
        }
        None
    }

    /// Removes a session's subscriber.
    pub(super) fn remove(&mut self, session: SessionKey) -> Option<Subscriber> {
        match self {
            Self::One(one) if one.session == session => {
                let removed = *one;
                *self = Self::Empty;
                Some(removed)
            }
            Self::Empty | Self::One(_) => None,
            Self::Many(many) => {
                let removed = many.remove(session)?;
                if let [one] = *many.list {
                    *self = Self::One(one);
                }
                Some(removed)
            }
        }
    }
}

impl Many {
    fn insert(&mut self, subscriber: Subscriber) -> Option<Subscriber> {
        if let Some(place) = self.place(subscriber.session) {
            return Some(core::mem::replace(&mut self.list[place], subscriber));
        }
        self.list.push(subscriber);
        if self.list.len() > UNINDEXED_MAX || !self.places.is_empty() {
            self.index_from(self.places.len());
        }
        None
    }

    fn remove(&mut self, session: SessionKey) -> Option<Subscriber> {
        let place = self.place(session)?;
        let last = self.list.len() - 1;
        if !self.places.is_empty() {
            self.forget(session, place);
            if place != last {
                let moved = self.list[last].session;
                self.forget(moved, last);
                let list = &self.list;
                let hash_of = |place: &u32| hash(list[*place as usize].session);
                self.places
                    .insert_unique(hash(moved), place as u32, hash_of);
            }
        }
        let removed = self.list.swap_remove(place);
        self.shrink();
        Some(removed)
    }

    fn place(&self, session: SessionKey) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|other| other.session == session);
        }
        let is_it = |place: &u32| self.list[*place as usize].session == session;
        self.places
            .find(hash(session), is_it)
            .map(|place| *place as usize)
    }

    fn index_from(&mut self, start: usize) {
        let list = &self.list;
        let hash_of = |place: &u32| hash(list[*place as usize].session);
        for (place, subscriber) in list.iter().enumerate().skip(start) {
            self.places
                .insert_unique(hash(subscriber.session), place as u32, hash_of);
        }
    }

    fn forget(&mut self, session: SessionKey, place: usize) {
        if let Ok(entry) = self
            .places
            .find_entry(hash(session), |other| *other as usize == place)
        {
            entry.remove();
        }
    }

    /// Gives memory back where three quarters of it are unused.
    fn shrink(&mut self) {
        if self.list.len() <= UNINDEXED_MAX / 2 {
            self.places = HashTable::new();
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
            let list = &self.list;
            self.places
                .shrink_to(list.len() * 2, |place| hash(list[*place as usize].session));
        }
    }
}

/// Session numbers are given by the shard, so no seed is needed.
fn hash(session: SessionKey) -> u64 {
    let product = u64::from(session)
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}
