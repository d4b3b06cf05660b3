//! The known key that somebody who wrote an unknown one probably meant.

use strsim::{damerau_levenshtein, jaro_winkler};

/// The known key that was meant, if one is near enough.
///
/// A key in the wrong section counts as near: `max_inflight` means `mqtt.max_inflight`.
pub(crate) fn meant<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let key = known
        .iter()
        .copied()
        .min_by_key(|key| distance(unknown, key))?;
    let length = unknown.len().min(key.len());
    (distance(unknown, key) <= 2.max(length / 4)).then_some(key)
}

/// The known key that looks most like an unknown one, above all at its beginning.
pub(crate) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |key: &&str| jaro_winkler(unknown, key);
    known
        .iter()
        .copied()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
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
        super::meant(unknown, &KNOWN)
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
    fn something_else_altogether_is_near_nothing_but_like_something() {
        assert_eq!(meant("mqtt.nonsense"), None);
        assert_eq!(nearest("mqtt.nonsense", &KNOWN), Some("mqtt.max_inflight"));
        assert_eq!(
            nearest("listeners.quic.default", &KNOWN),
            Some("listeners.tcp.default.bind")
        );
    }
}
