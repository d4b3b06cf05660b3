use super::*;

mod against_naive;
mod leaves;
mod under_churn;

const SHARD: Destination = Destination::Shard(1);

/// The filters, of those given, that match a topic. Each is added with a destination of its
/// own.
fn matching<'a>(filters: &[&'a str], topic: &str) -> Vec<&'a str> {
    let (mut writer, mut reader) = route_index(7);
    for (number, filter) in filters.iter().enumerate() {
        assert_eq!(
            writer.add(filter, Destination::Node(number as u32)),
            Ok(true)
        );
    }
    let mut found = DestinationSet::new();
    reader.matches(topic, &mut found);
    let mut numbers = found.nodes().to_vec();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|number| filters[number as usize])
        .collect()
}

fn matches(filter: &str, topic: &str) -> bool {
    !matching(&[filter], topic).is_empty()
}

#[test]
fn a_filter_without_wildcards_matches_its_topic_only() {
    let filters = ["a", "a/b", "/a", "a/", "A", "a/b/c"];
    for filter in filters {
        assert_eq!(matching(&filters, filter), [filter]);
    }
    assert!(matching(&filters, "b").is_empty());
}

#[test]
fn a_plus_matches_exactly_one_level() {
    let filters = ["+", "a/+", "+/+", "/+", "+/b/+", "a/+/c"];
    assert_eq!(matching(&filters, "a"), ["+"]);
    assert_eq!(matching(&filters, "a/b"), ["a/+", "+/+"]);
    assert_eq!(matching(&filters, "a/"), ["a/+", "+/+"]);
    assert_eq!(matching(&filters, "/a"), ["+/+", "/+"]);
    assert_eq!(matching(&filters, "a/b/c"), ["+/b/+", "a/+/c"]);
}

#[test]
fn a_hash_matches_any_number_of_levels() {
    let filters = ["#", "a/#", "a/b/#", "+/b/#", "/#"];
    assert_eq!(matching(&filters, "a"), ["#", "a/#"]);
    assert_eq!(matching(&filters, "a/b"), ["#", "a/#", "a/b/#", "+/b/#"]);
    assert_eq!(
        matching(&filters, "a/b/c/d"),
        ["#", "a/#", "a/b/#", "+/b/#"]
    );
    assert_eq!(matching(&filters, "/x"), ["#", "/#"]);
    assert_eq!(matching(&filters, "/"), ["#", "/#"]);
}

#[test]
fn a_filter_that_ends_in_hash_matches_its_parent() {
    assert!(matches("a/b/#", "a/b"));
    assert!(matches("a/+/#", "a/b"));
    assert!(matches("+/#", "a"));
    assert!(!matches("a/b/#", "a"));
}

#[test]
fn a_wildcard_at_the_start_does_not_match_a_topic_that_starts_with_a_dollar() {
    let filters = ["#", "+/#", "+/x", "$SYS/#", "$SYS/+", "$SYS/x"];
    assert_eq!(matching(&filters, "$SYS/x"), ["$SYS/#", "$SYS/+", "$SYS/x"]);
    assert_eq!(matching(&filters, "$SYS"), ["$SYS/#"]);
    assert_eq!(matching(&filters, "a/$SYS"), ["#", "+/#"]);
}

#[test]
fn words_of_any_length_are_told_apart() {
    for length in [
        0, 1, 6, 7, 8, 38, 39, 40, 47, 48, 49, 78, 79, 117, 500, 65_000,
    ] {
        let word = "w".repeat(length);
        let other = format!("{word}x");
        for (filter, topic, different) in [
            (word.clone(), word.clone(), other.clone()),
            (
                format!("{word}/+"),
                format!("{word}/a"),
                format!("{other}/a"),
            ),
            (
                format!("+/{word}/#"),
                format!("a/{word}"),
                format!("a/{other}"),
            ),
        ] {
            if filter.is_empty() {
                continue;
            }
            assert!(matches(&filter, &topic), "{length}");
            assert!(!matches(&filter, &different), "{length}");
            assert!(
                !matches(&filter.replace('w', "v"), &topic) || length == 0,
                "{length}"
            );
        }
    }
}

#[test]
fn a_zero_byte_does_not_make_words_equal() {
    assert!(!matches("a\0/+", "a/b"));
    assert!(!matches("a", "a\0"));
    assert!(!matches("a\0", "a"));
}

#[test]
fn a_destination_is_added_once_and_removed_once() {
    let (mut writer, mut reader) = route_index(7);
    let mut found = DestinationSet::new();
    for filter in ["a/b", "a/+", "a/#"] {
        assert_eq!(writer.add(filter, SHARD), Ok(true));
        assert_eq!(writer.add(filter, SHARD), Ok(false));
        assert_eq!(writer.len(), 1);
        assert!(!writer.remove(filter, Destination::Shard(2)));
        assert!(writer.remove(filter, SHARD));
        assert!(!writer.remove(filter, SHARD));
        assert!(writer.is_empty());
        reader.matches("a/b", &mut found);
        assert!(found.is_empty());
    }
}

#[test]
fn removing_a_filter_that_leads_to_another_one_leaves_the_other() {
    let (mut writer, mut reader) = route_index(7);
    let mut found = DestinationSet::new();
    for filter in ["a/+", "a/+/b/+", "a/#", "a/+/b/#"] {
        writer.add(filter, SHARD).unwrap();
    }
    for filter in ["a/+", "a/#", "a/+/b/#"] {
        assert!(writer.remove(filter, SHARD));
        reader.matches("a/x/b/y", &mut found);
        assert!(found.contains(SHARD), "without {filter}");
    }
    assert!(!writer.remove("a/+/b", SHARD));
}

#[test]
fn all_kinds_of_destinations_come_back() {
    let (mut writer, mut reader) = route_index(7);
    let mut expected = DestinationSet::new();
    let mut found = DestinationSet::new();
    let nodes = [0, 1, 500, (1 << 20) - 258, (1 << 20) - 257, u32::MAX];
    let all: Vec<_> = (0..=255)
        .map(Destination::Shard)
        .chain(nodes.map(Destination::Node))
        .collect();
    for destination in &all {
        writer.add("a/+", *destination).unwrap();
        expected.insert(*destination);
        reader.matches("a/b", &mut found);
        assert_eq!(found, expected);
    }
    for (index, destination) in all.iter().enumerate() {
        assert!(writer.remove("a/+", *destination));
        reader.matches("a/b", &mut found);
        assert!(!found.contains(*destination));
        assert_eq!(
            found.shards().count() + found.nodes().len(),
            all.len() - index - 1
        );
    }
    assert!(writer.is_empty());
}

#[test]
fn a_change_has_a_generation_of_its_own() {
    let (mut writer, reader) = route_index(7);
    let mut last = reader.generation();
    let mut has_changed =
        || std::mem::replace(&mut last, reader.generation()) != reader.generation();
    writer.add("a", SHARD).unwrap();
    assert!(has_changed());
    writer.add("a", SHARD).unwrap();
    assert!(!has_changed());
    assert!(writer.remove("a", SHARD));
    assert!(has_changed());
    assert!(!writer.remove("a", SHARD));
    assert!(!has_changed());
}

#[test]
fn readers_go_on_without_the_writer() {
    let (mut writer, reader) = route_index(7);
    for number in 0..1000 {
        writer.add(&format!("a/{number}"), SHARD).unwrap();
        writer
            .add(&format!("+/{number}"), Destination::Shard(2))
            .unwrap();
    }
    drop(writer);
    let mut reader = reader.clone();
    let mut found = DestinationSet::new();
    reader.matches("a/567", &mut found);
    assert_eq!(found.shards().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_sweep_takes_destinations_out_whatever_changes_in_between() {
    let (mut writer, mut reader) = route_index(7);
    let [gone, stays] = [700, 3].map(Destination::Node);
    let long = "w".repeat(100);
    let filters = |n: u32| {
        [
            format!("a/{n}"),
            format!("{long}/{n}"),
            format!("b/{n}/+"),
            format!("+/{long}/{n}/#"),
        ]
    };
    for filter in (0..100).flat_map(filters) {
        assert_eq!(writer.add(&filter, gone), Ok(true));
    }
    for filter in (50..100).flat_map(filters) {
        assert_eq!(writer.add(&filter, stays), Ok(true));
    }
    let mut sweep = Sweep::new([gone]);
    let (mut pieces, mut found) = (0, DestinationSet::new());
    while !writer.sweep(&mut sweep, 10) {
        // Some come and some go, by the same records.
        let n = 100 + pieces;
        for filter in filters(n) {
            assert_eq!(writer.add(&filter, stays), Ok(true));
        }
        if pieces % 2 == 0 {
            assert!(writer.remove(&filters(n)[2], stays));
        }
        pieces += 1;
    }
    assert!(pieces > 60, "{pieces}");
    for n in 0..100 {
        reader.matches(&format!("b/{n}/x"), &mut found);
        assert_eq!(found.contains(stays), n >= 50);
        assert!(!found.contains(gone));
    }
    let left = (50..100 + pieces).flat_map(filters);
    let removed = left.filter(|filter| writer.remove(filter, stays)).count();
    let withdrawn = pieces.div_ceil(2);
    assert_eq!(removed as u32, 4 * (50 + pieces) - withdrawn);
    assert!(writer.is_empty());
}

#[test]
fn a_sweep_leaves_alone_what_it_cannot_find_again() {
    let (mut writer, mut reader) = route_index(7);
    let mut found = DestinationSet::new();
    // No client can have such a filter.
    for filter in ["a\0/+", "a/+", "\0", "b\0"] {
        writer.add(filter, SHARD).unwrap();
    }
    let mut sweep = Sweep::new([SHARD]);
    while !writer.sweep(&mut sweep, 1) {}
    assert!(writer.is_empty());
    for topic in ["a\0/b", "a/b", "\0", "b\0"] {
        reader.matches(topic, &mut found);
        assert!(found.is_empty());
        writer.add(topic, SHARD).unwrap();
        reader.matches(topic, &mut found);
        assert!(found.contains(SHARD));
    }
}

#[test]
fn records_are_used_again() {
    let (mut writer, mut reader) = route_index(7);
    let mut found = DestinationSet::new();
    let filters = |round: u32| (0..100).map(move |n| format!("{round}/{n}/+/some-long-word"));
    for round in 0..200 {
        for filter in filters(round) {
            writer.add(&filter, SHARD).unwrap();
            writer.add(&filter.replace('+', "x"), SHARD).unwrap();
        }
        for filter in filters(round) {
            assert!(writer.remove(&filter, SHARD));
            assert!(writer.remove(&filter.replace('+', "x"), SHARD));
        }
        reader.matches("1/1/1/1", &mut found);
    }
    let [nodes, leaves, topics] = writer.records_made();
    assert!(
        nodes < 1000 && leaves < 1000 && topics < 1000,
        "{nodes} nodes, {leaves} leaves, {topics} topics"
    );
}
