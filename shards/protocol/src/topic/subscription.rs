//! What one entry of a SUBSCRIBE or UNSUBSCRIBE names.

use super::{Filter, FilterError, TEXT_BYTES_MAX};

const SHARE_PREFIX: &str = "$share/";
/// Of a shared subscription without a name, as other brokers have it.
const QUEUE_PREFIX: &str = "$queue/";
/// The group that `$queue/{filter}` means.
const QUEUE_GROUP: &str = "$queue";
const EXCLUSIVE_PREFIX: &str = "$exclusive/";

/// A topic filter as a client writes it, with the name of the share group apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Subscription<'a> {
    /// The share group of `$share/{group}/{filter}`; that of `$queue/{filter}` is `$queue`.
    pub group: Option<&'a str>,
    /// Written as `$exclusive/{filter}`: no other session may have it so.
    pub exclusive: bool,
    /// What topics have to match.
    pub filter: Filter<'a>,
}

impl<'a> Subscription<'a> {
    /// Checks `text`, whose filter may have `levels_max` levels at most.
    pub fn parse(text: &'a str, levels_max: u16) -> Result<Self, FilterError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(FilterError::TooLong);
        }
        let (group, rest) = if let Some(shared) = text.strip_prefix(SHARE_PREFIX) {
            let (group, filter) = shared.split_once('/').ok_or(FilterError::ShareName)?;
            if group.is_empty() || group.contains(['+', '#', '\0']) {
                return Err(FilterError::ShareName);
            }
            (Some(group), filter)
        } else if let Some(filter) = text.strip_prefix(QUEUE_PREFIX) {
            (Some(QUEUE_GROUP), filter)
        } else {
            (None, text)
        };
        let exclusive = rest
            .strip_prefix(EXCLUSIVE_PREFIX)
            .filter(|_| group.is_none());
        Ok(Self {
            group,
            exclusive: exclusive.is_some(),
            filter: Filter::parse(exclusive.unwrap_or(rest), levels_max)?,
        })
    }

    /// Whether a text, checked or not, is meant as a shared subscription.
    #[must_use]
    pub fn is_shared(text: &str) -> bool {
        text.starts_with(SHARE_PREFIX) || text.starts_with(QUEUE_PREFIX)
    }
}
