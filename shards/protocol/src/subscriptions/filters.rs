//! The filters that somebody subscribes to, and which of them match a topic.

use core::cell::Cell;

use super::exact::ExactFilters;
use super::receivers::Receivers;
use super::wildcards::{Walk, WildcardFilters};
use super::{FilterId, Visitor};
use crate::topic::tree::hash::Hash;
use crate::topic::{Filter, TopicName};

/// The filters of one shard.
pub(super) struct Filters {
    exact: ExactFilters,
    wildcards: WildcardFilters,
    walk: Cell<Walk>,
}

/// Where a [`FilterId`] points.
enum Place {
    Exact(u32),
    Wildcard(u32),
}

/// Set in the number of a filter with a wildcard.
const WILDCARD: u32 = 1 << 31;

impl Filters {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            exact: ExactFilters::new(hash),
            wildcards: WildcardFilters::new(hash),
            walk: Cell::default(),
        }
    }

    /// Tells `visitor` everything whose filter matches `topic`.
    pub(super) fn matches(&self, topic: TopicName<'_>, visitor: &mut impl Visitor) {
        if let Some(number) = self.exact.find(topic.as_str()) {
            visit(self.exact.receivers(number), visitor);
        }
        let mut walk = self.walk.take();
        self.wildcards.walk(topic, &mut walk);
        for number in &walk.found {
            visit(self.wildcards.receivers(*number), visitor);
        }
        self.walk.set(walk.if_small());
    }

    pub(super) fn find(&self, filter: Filter<'_>) -> Option<FilterId> {
        if filter.has_wildcard() {
            return Some(Place::Wildcard(self.wildcards.find(filter)?).into());
        }
        Some(Place::Exact(self.exact.find(filter.as_str())?).into())
    }

    /// The number of a filter, which gets one if it has none.
    pub(super) fn obtain(&mut self, filter: Filter<'_>) -> FilterId {
        if filter.has_wildcard() {
            Place::Wildcard(self.wildcards.obtain(filter)).into()
        } else {
            Place::Exact(self.exact.obtain(filter.as_str())).into()
        }
    }

    /// Forgets a filter that has no receivers any more.
    pub(super) fn remove(&mut self, filter: FilterId) {
        match filter.into() {
            Place::Exact(number) => self.exact.remove(number),
            Place::Wildcard(number) => self.wildcards.remove(number),
        }
    }

    /// The receivers of a filter that exists.
    pub(super) fn receivers_mut(&mut self, filter: FilterId) -> &mut Receivers {
        match filter.into() {
            Place::Exact(number) => self.exact.receivers_mut(number),
            Place::Wildcard(number) => self.wildcards.receivers_mut(number),
        }
    }

    /// The receivers of a filter, if it exists.
    pub(super) fn receivers(&self, filter: FilterId) -> Option<&Receivers> {
        match filter.into() {
            Place::Exact(number) => self.exact.find_receivers(number),
            Place::Wildcard(number) => self.wildcards.find_receivers(number),
        }
    }

    /// The text of a filter, if it exists.
    pub(super) fn text(&self, filter: FilterId) -> Option<String> {
        match filter.into() {
            Place::Exact(number) => self.exact.text(number).map(str::to_owned),
            Place::Wildcard(number) => self.wildcards.text(number),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = FilterId> {
        let exact = self.exact.numbers().map(Place::Exact);
        exact
            .chain(self.wildcards.numbers().map(Place::Wildcard))
            .map(FilterId::from)
    }

    /// Those with the next `most` numbers from `from` on, and where to go on if there are more.
    pub(super) fn part(&self, from: u32, most: u32) -> (Vec<FilterId>, Option<u32>) {
        let (base, end) = match from & WILDCARD {
            0 => (0, self.exact.numbers_end()),
            _ => (WILDCARD, self.wildcards.numbers_end()),
        };
        let first = (from & !WILDCARD).min(end);
        let last = first.saturating_add(most).min(end);
        let ids = (first..last).map(|number| FilterId(base | number));
        let found = ids.filter(|id| self.text(*id).is_some()).collect();
        let next = match (base, last) {
            (_, last) if last < end => Some(base | last),
            (0, _) => Some(WILDCARD),
            _ => None,
        };
        (found, next)
    }

    pub(super) fn len(&self) -> usize {
        self.exact.len() + self.wildcards.len()
    }

    /// Bytes of memory it holds, without what receivers point to.
    pub(super) fn bytes(&self) -> usize {
        self.exact.bytes() + self.wildcards.bytes()
    }

    /// Nodes, edges and long words of the tree.
    #[cfg(test)]
    pub(super) fn counts(&self) -> [usize; 3] {
        self.wildcards.counts()
    }
}

fn visit(receivers: &Receivers, visitor: &mut impl Visitor) {
    let subscribers = receivers.subscribers();
    if !subscribers.is_empty() {
        visitor.subscribers(subscribers);
    }
    for group in receivers.groups() {
        visitor.group(*group);
    }
}

impl From<FilterId> for Place {
    fn from(filter: FilterId) -> Self {
        if filter.0 & WILDCARD == 0 {
            Self::Exact(filter.0)
        } else {
            Self::Wildcard(filter.0 & !WILDCARD)
        }
    }
}

impl From<Place> for FilterId {
    fn from(place: Place) -> Self {
        match place {
            Place::Exact(number) => Self(number),
            Place::Wildcard(number) => Self(number | WILDCARD),
        }
    }
}
