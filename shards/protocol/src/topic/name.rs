//! Topic names: what a message is published to.

use core::fmt;

use super::{Levels, TEXT_BYTES_MAX, bytes};

/// A topic name: not empty [MQTT-4.7.3-1], without wildcard characters
/// [MQTT-4.7.0-1] and U+0000 [MQTT-4.7.3-2], at most [`TEXT_BYTES_MAX`] long.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TopicName<'a>(&'a str);

/// Why a text is not a topic name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TopicError {
    /// No character at all [MQTT-4.7.3-1].
    Empty,
    /// U+0000 [MQTT-4.7.3-2].
    Null,
    /// More than [`TEXT_BYTES_MAX`] bytes [MQTT-4.7.3-3].
    TooLong,
    /// More levels than this broker takes.
    TooManyLevels,
    /// `+` or `#` [MQTT-4.7.0-1].
    Wildcard,
}

impl<'a> TopicName<'a> {
    /// Checks `text`, which may have `levels_max` levels at most.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        let (mut separators, mut refused) = (0, 0);
        for eight in bytes::eights(text.as_bytes()) {
            separators += bytes::equal(eight, b'/').count_ones();
            let wildcards = bytes::equal(eight, b'+') | bytes::equal(eight, b'#');
            refused |= wildcards | bytes::equal(eight, 0);
        }
        if refused != 0 {
            let is_null = text.contains('\0');
            return Err(if is_null {
                TopicError::Null
            } else {
                TopicError::Wildcard
            });
        }
        if separators >= levels_max.into() {
            return Err(TopicError::TooManyLevels);
        }
        Ok(Self(text))
    }

    /// The whole name.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// Its levels, at least one.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels::of(self.0)
    }

    /// Whether it begins with `$`, which hides it from filters that begin with a
    /// wildcard [MQTT-4.7.2-1].
    #[inline]
    pub fn is_dollar(self) -> bool {
        self.0.starts_with('$')
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "the topic name is empty",
            Self::Null => "the topic name contains U+0000",
            Self::TooLong => "the topic name is longer than 65,535 bytes",
            Self::TooManyLevels => "the topic name has too many levels",
            Self::Wildcard => "the topic name contains a wildcard character",
        })
    }
}

impl core::error::Error for TopicError {}
