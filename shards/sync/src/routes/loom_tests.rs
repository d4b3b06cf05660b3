//! One writer and one reader. Tables have few slots here and every change reclaims, so that
//! a few changes grow tables and use records again.

use loom::{model::Builder, sync::atomic::AtomicBool, thread};

use super::*;

const OURS: Destination = Destination::Node(1);
const OTHER: Destination = Destination::Node(2);

/// All executions in which threads are interrupted at most six times.
fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = Some(6);
    model.max_branches = 10_000;
    model.check(test);
}

/// Starts with `before` in the index, applies `change` while one match of `topic` runs, and
/// returns what the match found.
fn match_beside(
    before: &[(&str, Destination)],
    change: impl FnOnce(&mut RouteWriter) + Send + 'static,
    topic: &'static str,
) -> DestinationSet {
    let (mut writer, mut reader) = route_index(7);
    for (filter, destination) in before {
        assert_eq!(writer.add(filter, *destination), Ok(true));
    }
    let writing = thread::spawn(move || {
        change(&mut writer);
        writer
    });
    let mut found = DestinationSet::new();
    reader.matches(topic, &mut found);
    drop(writing.join());
    found
}

fn sweep_other(writer: &mut RouteWriter) {
    let mut sweep = Sweep::new([OTHER]);
    while !writer.sweep(&mut sweep, 9) {}
}

#[test]
fn loom_an_exact_filter_is_found_while_its_table_grows() {
    check(|| {
        let found = match_beside(
            &[("a", OURS)],
            |writer| {
                assert!(writer.add("b", OTHER).is_ok());
                assert!(writer.add("c", OTHER).is_ok());
            },
            "a",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_an_exact_filter_is_found_while_others_go_and_their_records_are_reused() {
    check(|| {
        let found = match_beside(
            &[("b", OTHER), ("a", OURS)],
            |writer| {
                assert!(writer.remove("b", OTHER));
                assert!(writer.add("c", OTHER).is_ok());
            },
            "a",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_wildcard_filter_is_found_while_the_trie_grows_around_it() {
    check(|| {
        let found = match_beside(
            &[("a/+", OURS)],
            |writer| {
                assert!(writer.add("a/b/+", OTHER).is_ok());
                assert!(writer.add("c/#", OTHER).is_ok());
            },
            "a/b",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_wildcard_filter_is_found_while_its_neighbours_go() {
    check(|| {
        let found = match_beside(
            &[("a/b/+", OTHER), ("a/+/c", OURS), ("a/+/#", OTHER)],
            |writer| {
                assert!(writer.remove("a/b/+", OTHER));
                assert!(writer.remove("a/+/#", OTHER));
            },
            "a/b/c",
        );
        assert!(found.contains(OURS));
    });
}

#[test]
fn loom_a_record_that_is_used_again_leads_no_message_astray() {
    check(|| {
        let found = match_beside(
            &[("a/+", OURS)],
            |writer| {
                assert!(writer.remove("a/+", OURS));
                assert!(writer.add("b/+", OTHER).is_ok());
                assert!(writer.remove("b/+", OTHER));
                assert!(writer.add("c/+", OTHER).is_ok());
            },
            "a/x",
        );
        assert!(!found.contains(OTHER));
    });
}

#[test]
fn loom_a_filter_is_found_while_its_leaf_is_split() {
    check(|| {
        let found = match_beside(
            &[("a/+/c", OURS)],
            |writer| assert!(writer.add("a/+/d", OTHER).is_ok()),
            "a/b/c",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_filter_is_found_while_the_nodes_above_it_become_a_leaf() {
    check(|| {
        let found = match_beside(
            &[("a/+/c", OURS), ("a/+/d", OTHER)],
            |writer| {
                assert!(writer.remove("a/+/d", OTHER));
                assert!(writer.add("b/+", OTHER).is_ok());
            },
            "a/b/c",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_filter_that_ends_at_a_node_is_found_while_that_becomes_a_leaf() {
    check(|| {
        let found = match_beside(
            &[("a/+", OURS), ("a/+/c", OTHER)],
            |writer| {
                assert!(writer.remove("a/+/c", OTHER));
                assert!(writer.add("a/+/d", OTHER).is_ok());
            },
            "a/b",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_filter_is_found_while_its_leaf_is_merged_and_split_again() {
    check(|| {
        let found = match_beside(
            &[("a/b/+", OURS), ("a/c/+", OTHER)],
            |writer| {
                assert!(writer.remove("a/c/+", OTHER));
                assert!(writer.add("a/d/+", OTHER).is_ok());
            },
            "a/b/x",
        );
        assert_eq!(found.nodes(), [1]);
    });
}

#[test]
fn loom_a_leaf_that_was_merged_and_is_used_again_leads_no_message_astray() {
    check(|| {
        let found = match_beside(
            &[("a/b/+", OURS), ("a/c/+", OURS)],
            |writer| {
                assert!(writer.remove("a/c/+", OURS));
                assert!(writer.remove("a/b/+", OURS));
                assert!(writer.add("d/b/+", OTHER).is_ok());
                assert!(writer.add("d/c/+", OTHER).is_ok());
            },
            "a/b/x",
        );
        assert!(!found.contains(OTHER));
    });
}

#[test]
fn loom_an_exact_record_that_is_used_again_has_forgotten_its_destinations() {
    check(|| {
        let found = match_beside(
            &[("b", OTHER)],
            |writer| {
                assert!(writer.remove("b", OTHER));
                assert!(writer.add("c", OURS).is_ok());
            },
            "c",
        );
        assert!(!found.contains(OTHER));
    });
}

#[test]
fn loom_a_node_that_is_used_again_has_forgotten_its_destinations() {
    check(|| {
        let found = match_beside(
            &[("a/+", OTHER)],
            |writer| {
                assert!(writer.remove("a/+", OTHER));
                assert!(writer.add("+", OURS).is_ok());
            },
            "a",
        );
        assert!(!found.contains(OTHER));
    });
}

#[test]
fn loom_filters_are_found_while_other_destinations_are_swept() {
    check(|| {
        let found = match_beside(&[("a", OTHER), ("a", OURS), ("b", OTHER)], sweep_other, "a");
        assert!(found.contains(OURS));
    });
}

#[test]
fn loom_a_wildcard_filter_is_found_while_what_is_below_it_is_swept() {
    check(|| {
        let found = match_beside(
            &[("a/+", OURS), ("a/+/c", OTHER), ("a/b/#", OTHER)],
            sweep_other,
            "a/b",
        );
        assert!(found.contains(OURS));
    });
}

#[test]
fn loom_a_list_of_destinations_is_read_whole() {
    check(|| {
        let nodes = [1, 2, 3, 4].map(Destination::Node);
        let found = match_beside(
            &nodes.map(|node| ("#", node)),
            |writer| {
                assert!(writer.add("#", Destination::Node(5)).is_ok());
                assert!(writer.add("#", Destination::Node(6)).is_ok());
            },
            "a",
        );
        assert!(nodes.iter().all(|node| found.contains(*node)));
    });
}

#[test]
fn loom_what_was_added_before_is_found_after() {
    check(|| {
        let (mut writer, mut reader) = route_index(7);
        let is_added = Arc::new(AtomicBool::new(false));
        let generation_before = reader.generation();
        let writing = thread::spawn({
            let is_added = is_added.clone();
            move || {
                assert!(writer.add("a/b", OURS).is_ok());
                assert!(writer.add("a/+", OTHER).is_ok());
                is_added.store(true, Ordering::Release);
                writer
            }
        });
        let is_added = is_added.load(Ordering::Acquire);
        let generation = reader.generation();
        let mut found = DestinationSet::new();
        reader.matches("a/b", &mut found);
        let is_found = found.contains(OURS) && found.contains(OTHER);
        assert!(is_found || !is_added && generation < generation_before + 2);
        drop(writing.join());
    });
}
