//! User properties.

use core::fmt;

use super::{Section, Value};

/// The user properties of a packet, in the order sent.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// All properties of the packet, checked.
    section: &'a [u8],
    /// How many of them are user properties.
    count: u32,
}

impl<'a> UserProperties<'a> {
    /// `count` user properties among the checked properties `section`.
    pub(in crate::wire) const fn new(section: &'a [u8], count: u32) -> Self {
        Self { section, count }
    }

    /// How many there are. Counted while decoding: costs nothing here.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Section::of_checked(self.section).filter_map(|property| match property.value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl Eq for UserProperties<'_> {}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}
