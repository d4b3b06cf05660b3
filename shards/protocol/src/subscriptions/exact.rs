//! Filters without a wildcard, by their whole text.
//!
//! A topic finds its filter by one look-up and one comparison, however many levels it
//! has, and the filter costs no nodes of the tree.

use super::receivers::Receivers;
use crate::topic::tree::hash::Hash;
use crate::topic::tree::slab::Slab;
use crate::topic::tree::table::Table;

pub(super) struct ExactFilters {
    hash: Hash,
    filters: Slab<ExactFilter>,
    numbers: Table,
    text_bytes: usize,
}

/// A filter, vacant while its text is empty.
#[derive(Default)]
struct ExactFilter {
    text: Box<str>,
    receivers: Receivers,
}

impl ExactFilters {
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            hash,
            filters: Slab::new(),
            numbers: Table::default(),
            text_bytes: 0,
        }
    }

    /// The number of the filter `text`.
    #[inline]
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.find_hashed(self.hash.text(text), text)
    }

    /// The number of the filter `text`, which gets one if it has none.
    pub(super) fn obtain(&mut self, text: &str) -> u32 {
        let hash = self.hash.text(text);
        self.find_hashed(hash, text).unwrap_or_else(|| {
            let filter = ExactFilter {
                text: text.into(),
                receivers: Receivers::None,
            };
            let number = self.filters.insert(filter);
            self.numbers.insert(hash, number);
            self.text_bytes += text.len();
            number
        })
    }

    /// Forgets a filter.
    pub(super) fn remove(&mut self, number: u32) {
        let text = self.filters.remove(number).text;
        self.numbers.remove(self.hash.text(&text), number);
        self.text_bytes -= text.len();
    }

    #[inline]
    pub(super) fn receivers(&self, number: u32) -> &Receivers {
        &self.filters.get(number).receivers
    }

    pub(super) fn receivers_mut(&mut self, number: u32) -> &mut Receivers {
        &mut self.filters.get_mut(number).receivers
    }

    /// The receivers of a filter; none where the number is of none.
    pub(super) fn find_receivers(&self, number: u32) -> Option<&Receivers> {
        self.filters.find(number).map(|filter| &filter.receivers)
    }

    /// The text of a filter; `None` where the number is of none.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        let filter = self.filters.find(number)?;
        (!filter.text.is_empty()).then_some(&filter.text)
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.filters.numbers_end()).filter(|number| self.text(*number).is_some())
    }

    /// All numbers are below.
    pub(super) fn numbers_end(&self) -> u32 {
        self.filters.numbers_end()
    }

    pub(super) fn len(&self) -> usize {
        self.filters.len()
    }

    /// Bytes of memory it holds, without what receivers point to.
    pub(super) fn bytes(&self) -> usize {
        self.filters.bytes() + self.numbers.bytes() + self.text_bytes
    }

    #[inline]
    fn find_hashed(&self, hash: u64, text: &str) -> Option<u32> {
        self.numbers
            .find(hash, |number| *self.filters.get(number).text == *text)
    }
}
