//! Who gets what a filter matches.

use core::mem;

use super::{GroupId, SessionKey, Subscriber};
use crate::topic::tree::table::Part;

/// Subscribers up to which a session is found by looking at each.
const UNINDEXED_MAX: usize = 16;

/// The subscribers of one filter, a session at most once, and the share groups on it.
/// A single subscriber takes no memory of its own; among many, a session is found by
/// an index.
#[derive(Debug, Default)]
pub(super) enum Receivers {
    #[default]
    None,
    One(Subscriber),
    Many(Box<Many>),
}

/// Anything but a single subscriber.
#[derive(Debug, Default)]
pub(super) struct Many {
    list: Vec<Subscriber>,
    /// Places in `list` by session; empty where there are few.
    places: Part,
    groups: Vec<GroupId>,
}

impl Receivers {
    /// Whether there is neither a subscriber nor a group.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    pub(super) fn subscribers(&self) -> &[Subscriber] {
        match self {
            Self::None => &[],
            Self::One(subscriber) => core::slice::from_ref(subscriber),
            Self::Many(many) => &many.list,
        }
    }

    /// The subscriber that a session is.
    pub(super) fn subscriber(&self, session: SessionKey) -> Option<&Subscriber> {
        match self {
            Self::None => None,
            Self::One(one) => (one.session == session).then_some(one),
            Self::Many(many) => many.list.get(many.place(session)?),
        }
    }

    #[inline]
    pub(super) fn groups(&self) -> &[GroupId] {
        match self {
            Self::None | Self::One(_) => &[],
            Self::Many(many) => &many.groups,
        }
    }

    /// Adds a subscriber, and returns the same session's one that it replaces.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> Option<Subscriber> {
        match self {
            Self::None => {
                *self = Self::One(subscriber);
                None
            }
            Self::One(one) if one.session == subscriber.session => {
                Some(mem::replace(one, subscriber))
            }
            Self::One(_) | Self::Many(_) => self.as_many(|many| many.insert(subscriber)),
        }
    }

    /// Removes a session's subscriber.
    pub(super) fn remove(&mut self, session: SessionKey) -> Option<Subscriber> {
        match self {
            Self::One(one) if one.session == session => {
                let removed = *one;
                *self = Self::None;
                Some(removed)
            }
            Self::None | Self::One(_) => None,
            Self::Many(many) => {
                let removed = many.remove(session)?;
                self.simplify();
                Some(removed)
            }
        }
    }

    /// Adds a group that is not there.
    pub(super) fn add_group(&mut self, group: GroupId) {
        self.as_many(|many| many.groups.push(group));
    }

    /// Removes a group.
    pub(super) fn remove_group(&mut self, group: GroupId) {
        if let Self::Many(many) = self {
            many.groups.retain(|other| *other != group);
            self.simplify();
        }
    }

    /// Changes it in the form that allows everything.
    fn as_many<T>(&mut self, change: impl FnOnce(&mut Many) -> T) -> T {
        let mut many = match mem::take(self) {
            Self::None => Box::default(),
            Self::One(one) => Box::new(Many {
                list: vec![one],
                ..Many::default()
            }),
            Self::Many(many) => many,
        };
        let result = change(&mut many);
        *self = Self::Many(many);
        result
    }

    /// Gives the memory of [`Many`] back where it is not needed any more.
    fn simplify(&mut self) {
        if !self.groups().is_empty() {
            return;
        }
        match *self.subscribers() {
            [] => *self = Self::None,
            [one] => *self = Self::One(one),
            _ => {}
        }
    }
}

impl Many {
    fn insert(&mut self, subscriber: Subscriber) -> Option<Subscriber> {
        if let Some(place) = self.place(subscriber.session) {
            return Some(mem::replace(&mut self.list[place], subscriber));
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
