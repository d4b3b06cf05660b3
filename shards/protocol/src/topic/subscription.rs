//! What one entry of a SUBSCRIBE or UNSUBSCRIBE names.

use super::{Filter, FilterError, TEXT_BYTES_MAX};

const SHARE_PREFIX: &str = "$share/";

/// A topic filter as a client writes it, with the name of the share group apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subscription<'a> {
    /// The share group of `$share/{group}/{filter}`.
    pub group: Option<&'a str>,
    /// What topics have to match.
    pub filter: Filter<'a>,
}

impl<'a> Subscription<'a> {
    /// Checks `text`, whose filter may have `levels_max` levels at most.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, FilterError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        let Some(shared) = text.strip_prefix(SHARE_PREFIX) else {
            let filter = Filter::parse(text, levels_max)?;
            return Ok(Self {
                group: None,
                filter,
            });
        };
        let Some((group, filter)) = shared.split_once('/') else {
            return Err(FilterError::ShareName);
        };
        if group.is_empty() || group.contains(['+', '#', '\0']) {
            return Err(FilterError::ShareName);
        }
        let filter = Filter::parse(filter, levels_max)?;
        Ok(Self {
            group: Some(group),
            filter,
        })
    }
}
