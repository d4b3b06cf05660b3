//! The subscribers of one filter.

use super::{SessionKey, Subscriber};
use crate::topic::tree::table::Part;

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
    places: Part,
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
                    places: Part::default(),
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
        if !self.places.is_empty() {
            self.index(self.list.len() - 1);
        } else if self.list.len() > UNINDEXED_MAX {
            (0..self.list.len()).for_each(|place| self.index(place));
        }
        None
    }

    fn remove(&mut self, session: SessionKey) -> Option<Subscriber> {
        let place = self.place(session)?;
        if !self.places.is_empty() {
            let last = self.list.len() - 1;
            let moved = self.list[last].session;
            self.places.remove(hash(moved), last as u32);
            if place != last {
                self.places.remove(hash(session), place as u32);
                self.places.insert(hash(moved), place as u32);
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
        let is_it = |place| self.list[place as usize].session == session;
        self.places
            .find(hash(session), is_it)
            .map(|place| place as usize)
    }

    fn index(&mut self, place: usize) {
        self.places
            .insert(hash(self.list[place].session), place as u32);
    }

    /// Gives memory back where three quarters of it are unused.
    fn shrink(&mut self) {
        if self.list.len() <= UNINDEXED_MAX / 2 {
            self.places = Part::default();
        }
        if self.list.len() < self.list.capacity() / 4 {
            self.list.shrink_to(self.list.len() * 2);
        }
    }
}

/// Session numbers are given by the shard, so no seed is needed. Different numbers
/// have different hashes.
fn hash(session: SessionKey) -> u32 {
    session.wrapping_mul(0x9e37_79b9)
}
