//! The known key that somebody who wrote an unknown one probably meant.

use strsim::damerau_levenshtein;

/// The nearest of the known keys, and whether it is near enough to be what was meant.
///
/// A key in the wrong section counts as near: `max_inflight` means `mqtt.max_inflight`.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, bool)> {
    let (distance, key) = known
        .map(|key| (distance(unknown, key), key))
        .min_by_key(|(distance, _)| *distance)?;
    let length = unknown.len().min(key.len());
    Some((key, distance <= 2.max(length / 4)))
}

/// Edits from one key to the other, over the whole path or over the last name alone
/// (with one more edit for the wrong section).
fn distance(unknown: &str, key: &str) -> usize {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let whole = damerau_levenshtein(unknown, key);
    let name = damerau_levenshtein(&last(unknown), &last(key));
    if name <= 1 {
        whole.min(name + 1)
    } else {
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = [
        "data_dir",
        "listeners.tcp.default.bind",
        "mqtt.max_inflight",
        "node.name",
    ];

    fn meant(unknown: &str) -> Option<&'static str> {
        nearest(unknown, KNOWN.into_iter())
            .filter(|(_, near)| *near)
            .map(|(key, _)| key)
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(meant("mqtt.max_inflght"), Some("mqtt.max_inflight"));
        assert_eq!(
            meant("listener.tcp.default.bnd"),
            Some("listeners.tcp.default.bind")
        );
        assert_eq!(meant("datadir"), Some("data_dir"));
        assert_eq!(meant("node_name"), Some("node.name"));
    }

    #[test]
    fn a_key_in_the_wrong_section_is_recognised() {
        assert_eq!(meant("max_inflight"), Some("mqtt.max_inflight"));
        assert_eq!(meant("shards.max_inflight"), Some("mqtt.max_inflight"));
    }

    #[test]
    fn something_else_altogether_is_near_nothing() {
        assert_eq!(meant("completely.different"), None);
        assert!(nearest("completely.different", KNOWN.into_iter()).is_some());
    }
}
