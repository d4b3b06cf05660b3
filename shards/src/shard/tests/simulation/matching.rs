//! Which filters match which topics, as the specification says it.

/// Whether a filter without `$share` matches a topic.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(word)) if level == word => {}
            _ => return false,
        }
    }
}
