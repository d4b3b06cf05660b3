//! Which filters match which topics, by the specification's rules and examples
//! (5.0: 4.7).

/// Topics to tell filters apart by.
pub(crate) const TOPICS: [&str; 16] = [
    "a", "/", "//", "/a", "a/", "a/b", "a//b", "a/b/c", "b", "b/a", "b/b/c", "a/$o", "ab/c", "$o",
    "$o/a", "$o/a/b",
];

/// Filters with those of [`TOPICS`] that they match, in that order.
pub(crate) const FILTERS: [(&str, &[&str]); 27] = [
    ("#", NOT_DOLLAR),
    ("+/#", NOT_DOLLAR),
    ("+", &["a", "b"]),
    ("+/+", &["/", "/a", "a/", "a/b", "b/a", "a/$o", "ab/c"]),
    ("+/+/+", &["//", "a//b", "a/b/c", "b/b/c"]),
    ("/+", &["/", "/a"]),
    ("+/", &["/", "a/"]),
    ("/#", &["/", "//", "/a"]),
    ("/", &["/"]),
    ("//", &["//"]),
    ("+//+", &["//", "a//b"]),
    ("a", &["a"]),
    ("a/b", &["a/b"]),
    ("a//b", &["a//b"]),
    ("a/#", &["a", "a/", "a/b", "a//b", "a/b/c", "a/$o"]),
    ("a/+", &["a/", "a/b", "a/$o"]),
    ("a/+/#", &["a/", "a/b", "a//b", "a/b/c", "a/$o"]),
    ("a/+/b", &["a//b"]),
    ("+/a", &["/a", "b/a"]),
    ("+/a/b", &[]),
    ("+/b", &["a/b"]),
    ("+/b/#", &["a/b", "a/b/c", "b/b/c"]),
    ("$o", &["$o"]),
    ("$o/#", &["$o", "$o/a", "$o/a/b"]),
    ("$o/+", &["$o/a"]),
    ("$o/+/b", &["$o/a/b"]),
    ("$o/a/#", &["$o/a", "$o/a/b"]),
];

/// What a filter that begins with a wildcard can match at all [MQTT-4.7.2-1].
const NOT_DOLLAR: &[&str] = &[
    "a", "/", "//", "/a", "a/", "a/b", "a//b", "a/b/c", "b", "b/a", "b/b/c", "a/$o", "ab/c",
];
