//! Many different filters: exact, `+` and `#`.

use clap::ValueEnum;

/// Which kind of filters to subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// `site/<n>/sensor/temperature`
    Exact,
    /// `site/<n>/+/temperature`
    Plus,
    /// `site/<n>/#`
    Hash,
    /// A third of each
    Mix,
}

impl Pattern {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Plus => "plus",
            Self::Hash => "hash",
            Self::Mix => "mix",
        }
    }

    /// Filter number `number` below `root`. It matches the topic with the same number, and no
    /// other.
    pub fn filter(self, root: &str, number: u32) -> String {
        let kind = match self {
            Self::Mix => [Self::Exact, Self::Plus, Self::Hash][number as usize % 3],
            kind => kind,
        };
        let rest = match kind {
            Self::Plus => "+/temperature",
            Self::Hash => "#",
            _ => "sensor/temperature",
        };
        format!("{root}/{number:07}/{rest}")
    }
}

/// What follows the number in a topic.
pub(super) const TOPIC_END: &str = "/sensor/temperature";

/// The most filters, by the digits of their number.
pub(super) const FILTERS_MAX: i64 = 10_000_000;
