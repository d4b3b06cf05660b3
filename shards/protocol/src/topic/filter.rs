//! Topic filters: what a subscription asks for.

use core::fmt;

use super::{Levels, TEXT_BYTES_MAX, TopicName, bytes};

/// A topic filter without the prefix of a shared subscription: not empty
/// [MQTT-4.7.3-1], without U+0000 [MQTT-4.7.3-2], at most [`TEXT_BYTES_MAX`] long,
/// each wildcard alone in its level [MQTT-4.7.1-2] and `#` only in the last
/// [MQTT-4.7.1-1].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Filter<'a> {
    text: &'a str,
    has_wildcard: bool,
}

/// Why a text is not a topic filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterError {
    /// No character at all [MQTT-4.7.3-1], or none behind `$share/{group}/`
    /// [MQTT-4.8.2-2].
    Empty,
    /// `#` that is not a whole level or not the last one [MQTT-4.7.1-1].
    MultiLevelWildcard,
    /// U+0000 [MQTT-4.7.3-2].
    Null,
    /// `$share/` that is not followed by a name without `+` and `#` and a `/`
    /// [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    ShareName,
    /// `+` that is not a whole level [MQTT-4.7.1-2].
    SingleLevelWildcard,
    /// More than [`TEXT_BYTES_MAX`] bytes [MQTT-4.7.3-3].
    TooLong,
    /// More levels than this broker takes.
    TooManyLevels,
}

impl<'a> Filter<'a> {
    /// Checks `text`, which may have `levels_max` levels at most. A `$share/` in front
    /// has no meaning here; see [`super::Subscription`].
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        let (mut separators, mut wildcards, mut nulls) = (0, 0, 0);
        for eight in bytes::eights(text.as_bytes()) {
            separators += bytes::equal(eight, b'/').count_ones();
            wildcards |= bytes::equal(eight, b'+') | bytes::equal(eight, b'#');
            nulls |= bytes::equal(eight, 0);
        }
        if nulls != 0 {
            return Err(FilterError::Null);
        }
        if separators >= levels_max.into() {
            return Err(FilterError::TooManyLevels);
        }
        let has_wildcard = wildcards != 0;
        if has_wildcard {
            check_wildcards(text)?;
        }
        Ok(Self { text, has_wildcard })
    }

    /// The whole filter.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// Its levels, at least one.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels::of(self.text)
    }

    /// Whether it contains `+` or `#`. Without, it matches the one topic that has its
    /// text.
    #[inline]
    pub fn has_wildcard(self) -> bool {
        self.has_wildcard
    }

    /// Whether it matches `topic`. Compares level by level, so it is for single
    /// checks; [`crate::subscriptions`] matches many filters at once.
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        if topic.is_dollar() && self.text.starts_with(['+', '#']) {
            return false;
        }
        let mut topic_levels = topic.levels();
        for level in self.levels() {
            match (level, topic_levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (word, Some(topic_word)) if word == topic_word => {}
                _ => return false,
            }
        }
        topic_levels.next().is_none()
    }
}

fn check_wildcards(text: &str) -> Result<(), FilterError> {
    let mut levels = Levels::of(text).peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(FilterError::MultiLevelWildcard);
        }
        if level.contains('+') && level != "+" {
            return Err(FilterError::SingleLevelWildcard);
        }
    }
    Ok(())
}

impl fmt::Display for FilterError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "the topic filter is empty",
            Self::MultiLevelWildcard => "# is not alone in the last level of the topic filter",
            Self::Null => "the topic filter contains U+0000",
            Self::ShareName => "$share/ is not followed by a name and a topic filter",
            Self::SingleLevelWildcard => "+ is not alone in its level of the topic filter",
            Self::TooLong => "the topic filter is longer than 65,535 bytes",
            Self::TooManyLevels => "the topic filter has too many levels",
        })
    }
}

impl core::error::Error for FilterError {}
