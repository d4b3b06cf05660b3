//! Leaves that are split and merged.

use super::*;

const GONE: Destination = Destination::Node(700);

/// Nodes, leaves and literal edges in use.
fn in_use(writer: &RouteWriter) -> [usize; 3] {
    writer.owned.trie.in_use()
}

fn writer_of(filters: &[&str]) -> (RouteWriter, RouteReader) {
    let (mut writer, reader) = route_index(7);
    for filter in filters {
        assert_eq!(writer.add(filter, SHARD), Ok(true));
    }
    (writer, reader)
}

#[test]
fn a_filter_that_is_alone_takes_one_leaf() {
    for (filter, edges) in [
        ("a/+", 1),
        ("+", 0),
        ("a/#", 1),
        ("+/#", 0),
        ("a/+/b/+/c/+/d/#", 1),
        ("+/+/+/+/+/+/+/+/+/+/+/+/+/+/+/+", 0),
        ("+/", 0),
        ("/+", 1),
    ] {
        let (mut writer, _) = writer_of(&[filter]);
        assert_eq!(in_use(&writer), [1, 1, edges], "{filter}");
        assert!(writer.remove(filter, SHARD));
        assert_eq!(in_use(&writer), [1, 0, 0], "{filter}");
    }
}

#[test]
fn the_rest_of_a_filter_that_does_not_fit_begins_a_word_later() {
    let (word, long) = ("w".repeat(36), "v".repeat(40));
    for (filter, nodes) in [
        (format!("{word}/+/{}", "x".repeat(12)), 0),
        (format!("{word}/+/{}", "x".repeat(13)), 1),
        // A long word is two pieces, of which the second is in the leaf.
        (format!("{long}/+/{}", "x".repeat(8)), 0),
        (format!("{long}/+/{}", "x".repeat(9)), 1),
        (format!("{word}/{word}/+/{word}"), 2),
        (format!("+/{word}/+/{word}"), 2),
    ] {
        let (mut writer, mut reader) = writer_of(&[&filter]);
        assert_eq!(in_use(&writer)[..2], [1 + nodes, 1], "{filter}");
        let mut found = DestinationSet::new();
        reader.matches(&filter.replace('+', "x"), &mut found);
        assert!(found.contains(SHARD), "{filter}");
        reader.matches(&filter.replace('x', "y").replace('+', "x"), &mut found);
        assert!(found.is_empty() || !filter.contains('x'), "{filter}");
        assert!(writer.remove(&filter, SHARD));
        assert_eq!(in_use(&writer), [1, 0, 0], "{filter}");
    }
}

#[test]
fn two_filters_part_where_they_differ_and_one_that_is_left_is_one_leaf_again() {
    let (word, long) = ("w".repeat(20), "v".repeat(60));
    for (stays, goes, nodes) in [
        ("a/b/+/c", "a/b/+/d", 3),
        ("a/b/+", "a/b/+/d", 3),
        ("a/b/+/d", "a/b/+", 3),
        ("a/b/#", "a/b/+", 2),
        ("a/b/+/#", "a/b/#", 2),
        ("a/+/", "a/+", 2),
        ("a//+", "a//#", 2),
        ("+/a", "+/#", 1),
        ("a/+/bb", "a/+/b", 2),
        ("a/+/b", "b/+/b", 0),
        (&format!("a/+/{word}x"), &format!("a/+/{word}y"), 2),
        (&format!("a/{long}/+"), &format!("a/{long}/#"), 3),
        (&format!("{long}/+"), &format!("{long}{word}/+"), 1),
    ] {
        let (mut writer, mut reader) = writer_of(&[stays]);
        let alone = in_use(&writer);
        writer.add(goes, GONE).unwrap();
        assert_eq!(in_use(&writer)[0], 1 + nodes, "{stays} and {goes}");
        let mut found = DestinationSet::new();
        for is_there in [true, false] {
            reader.matches(&stays.replace(['+', '#'], "x"), &mut found);
            assert!(found.contains(SHARD), "{stays} beside {goes}");
            reader.matches(&goes.replace(['+', '#'], "x"), &mut found);
            assert_eq!(found.contains(GONE), is_there, "{goes} beside {stays}");
            assert_eq!(writer.remove(goes, GONE), is_there);
            assert_eq!(in_use(&writer), alone, "{stays} without {goes}");
        }
    }
}

#[test]
fn destinations_move_with_their_filter() {
    let (mut writer, mut reader) = writer_of(&[]);
    let mut found = DestinationSet::new();
    let nodes = || (0..30).map(Destination::Node);
    for node in nodes() {
        writer.add("a/+/b", node).unwrap();
    }
    for round in 0..50 {
        // Each of these splits the leaf at another word, and then it is merged.
        for other in ["a/+/c", "a/x/b/#", "a/+", "a/#", "a/+/b/#"] {
            writer.add(other, SHARD).unwrap();
            writer.add("a/+/b", Destination::Node(100)).unwrap();
            reader.matches("a/z/b", &mut found);
            assert_eq!(found.nodes().len(), 31, "{other}, round {round}");
            assert!(writer.remove(other, SHARD));
            assert!(writer.remove("a/+/b", Destination::Node(100)));
            reader.matches("a/z/b", &mut found);
            assert_eq!(found.nodes().len(), 30, "{other}, round {round}");
        }
    }
    assert!(nodes().all(|node| writer.remove("a/+/b", node)));
    assert!(writer.is_empty());
    assert_eq!(in_use(&writer), [1, 0, 0]);
}

/// Lets readers' memory be reused: the writer looks for it now and then only.
fn pass_time(writer: &mut RouteWriter) {
    for _ in 0..200 {
        assert_eq!(writer.add("time", SHARD), Ok(true));
        assert!(writer.remove("time", SHARD));
    }
}

#[test]
fn a_sweep_finds_filters_that_move_to_where_it_has_been() {
    for moves in [["b/last/+/x", "b/last/+/y"], ["b/last/#", "b/last/+"]] {
        for is_merged in [false, true] {
            let (mut writer, mut reader) = writer_of(&[]);
            let first: Vec<_> = (0..200).map(|n| format!("a/{n}/+")).collect();
            first
                .iter()
                .for_each(|filter| _ = writer.add(filter, SHARD).unwrap());
            writer.add(moves[0], GONE).unwrap();
            if is_merged {
                writer.add(moves[1], SHARD).unwrap();
            }
            for filter in &first[..150] {
                assert!(writer.remove(filter, SHARD));
            }
            pass_time(&mut writer);
            // One piece each for exact filters, nodes, and most of the leaves.
            let mut sweep = Sweep::new([GONE]);
            assert!((0..3).all(|_| !writer.sweep(&mut sweep, 190)));
            if is_merged {
                assert!(writer.remove(moves[1], SHARD));
            } else {
                writer.add(moves[1], SHARD).unwrap();
            }
            while !writer.sweep(&mut sweep, 1000) {}
            let mut found = DestinationSet::new();
            reader.matches("b/last/z/x", &mut found);
            assert!(!found.contains(GONE), "{moves:?}, merged: {is_merged}");
            assert!(!writer.remove(moves[0], GONE));
            assert_eq!(writer.len(), 50 + usize::from(!is_merged));
        }
    }
}

#[test]
fn a_deep_filter_takes_no_more_records_than_it_has_words() {
    let (mut writer, mut reader) = writer_of(&[]);
    let mut found = DestinationSet::new();
    // Each filter goes a word further than the one before, so each splits the last leaf.
    let filters: Vec<_> = (1..400).map(|words| vec!["+"; words].join("/")).collect();
    for filter in &filters {
        writer.add(filter, SHARD).unwrap();
    }
    let [nodes, leaves, edges] = in_use(&writer);
    assert!(nodes + leaves <= 401 && edges == 0, "{nodes}, {leaves}");
    for filter in &filters {
        reader.matches(&filter.replace('+', "a"), &mut found);
        assert!(found.contains(SHARD));
    }
    // The longest one is left, in the way that it takes alone.
    for filter in &filters[..filters.len() - 1] {
        assert!(writer.remove(filter, SHARD));
    }
    let (alone, _) = writer_of(&[filters.last().unwrap()]);
    assert_eq!(in_use(&writer), in_use(&alone));
    assert!(writer.remove(filters.last().unwrap(), SHARD));
    assert_eq!(in_use(&writer), [1, 0, 0]);
}
