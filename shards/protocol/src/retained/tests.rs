use std::cell::Cell;
use std::rc::Rc;

use super::*;

mod model;

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text, 128).unwrap()
}

fn topic(text: &str) -> TopicName<'_> {
    TopicName::parse(text, 128).unwrap()
}

/// A tree whose messages are their topics.
fn tree_of(topics: &[&'static str]) -> RetainedTree<&'static str> {
    let mut tree = RetainedTree::new(7);
    for text in topics {
        assert_eq!(tree.insert(topic(text), *text), None);
    }
    tree
}

/// What `text` matches, sorted, found `limit` nodes at a time.
fn matches(tree: &RetainedTree<&'static str>, text: &str, limit: usize) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        cursor = tree.matches(filter(text), cursor, limit, &mut |message| {
            found.push(*message)
        });
        if cursor.is_none() {
            found.sort_unstable();
            return found;
        }
    }
}

#[test]
fn a_filter_finds_the_topics_that_it_matches() {
    let tree = tree_of(&[
        "a",
        "a/b",
        "a/b/c",
        "a/x/c",
        "b",
        "b/b/c",
        "/",
        "a/",
        "x-rather-long-word/b",
    ]);
    for limit in [1, 2, 3, usize::MAX] {
        assert_eq!(matches(&tree, "a/b", limit), ["a/b"]);
        assert_eq!(
            matches(&tree, "a/#", limit),
            ["a", "a/", "a/b", "a/b/c", "a/x/c"]
        );
        assert_eq!(
            matches(&tree, "+/b", limit),
            ["a/b", "x-rather-long-word/b"]
        );
        assert_eq!(matches(&tree, "+/+/c", limit), ["a/b/c", "a/x/c", "b/b/c"]);
        assert_eq!(
            matches(&tree, "+/b/#", limit),
            ["a/b", "a/b/c", "b/b/c", "x-rather-long-word/b"]
        );
        assert_eq!(matches(&tree, "+", limit), ["a", "b"]);
        assert_eq!(matches(&tree, "/+", limit), ["/"]);
        assert_eq!(matches(&tree, "#", limit).len(), 9);
        assert!(matches(&tree, "a/b/c/+", limit).is_empty());
        assert!(matches(&tree, "no-topic-has-this-word/#", limit).is_empty());
    }
}

#[test]
fn filters_that_begin_with_a_wildcard_do_not_find_dollar_topics() {
    let tree = tree_of(&["$SYS", "$SYS/a", "$a-name-that-is-rather-long/a", "a/$SYS"]);
    for limit in [1, 2, usize::MAX] {
        assert_eq!(matches(&tree, "#", limit), ["a/$SYS"]);
        assert_eq!(matches(&tree, "+/+", limit), ["a/$SYS"]);
        assert!(matches(&tree, "+/a", limit).is_empty());
        assert_eq!(matches(&tree, "$SYS/#", limit), ["$SYS", "$SYS/a"]);
        assert_eq!(matches(&tree, "$SYS/+", limit), ["$SYS/a"]);
    }
}

#[test]
fn a_message_replaces_the_one_before_it() {
    let mut tree = RetainedTree::new(7);
    assert_eq!(tree.insert(topic("a/b"), 1), None);
    assert_eq!(tree.insert(topic("a/b"), 2), Some(1));
    assert_eq!(tree.get(topic("a/b")), Some(&2));
    assert_eq!(
        (tree.get(topic("a")), tree.get(topic("a/b/c"))),
        (None, None)
    );
    assert_eq!(tree.len(), 1);
    assert_eq!(tree.remove(topic("a")), None);
    assert_eq!(tree.remove(topic("a/b")), Some(2));
    assert_eq!(tree.remove(topic("a/b")), None);
    assert!(tree.is_empty());
}

#[test]
fn a_removed_message_is_let_go_at_once() {
    let message = Rc::new(Cell::new(0));
    let mut tree = RetainedTree::new(7);
    tree.insert(topic("a"), Rc::clone(&message));
    tree.insert(topic("b"), Rc::clone(&message));
    tree.remove(topic("a"));
    assert_eq!(Rc::strong_count(&message), 2);
}

#[test]
fn a_call_looks_at_no_more_than_its_limit_also_where_nothing_matches() {
    let mut tree = RetainedTree::new(7);
    let topics: Vec<String> = (0..1000).map(|n| format!("{n}/a")).collect();
    for text in &topics {
        tree.insert(topic(text), ());
    }
    let mut calls = 0;
    let mut cursor = None;
    loop {
        calls += 1;
        cursor = tree.matches(filter("+/b"), cursor, 100, &mut |()| {
            unreachable!("no match")
        });
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(calls, 11);
}

#[test]
fn a_cursor_goes_on_behind_a_node_that_is_gone() {
    let topics = ["a/1/x", "a/2/x", "a/3/x", "a/4/x"];
    for stop in 1..12 {
        let mut tree = tree_of(&topics);
        let mut found = Vec::new();
        let cursor = tree.matches(filter("a/+/x"), None, stop, &mut |message| {
            found.push(*message)
        });
        let Some(cursor) = cursor else { continue };
        let gone = found.last().copied().unwrap_or("a/1/x");
        tree.remove(topic(gone));
        tree.insert(topic("b/1/x"), "not asked for");
        let end = tree.matches(filter("a/+/x"), Some(cursor), 99, &mut |message| {
            found.push(*message)
        });
        assert!(end.is_none());
        found.retain(|text| *text != gone);
        found.sort_unstable();
        let expected: Vec<_> = topics.into_iter().filter(|text| *text != gone).collect();
        assert_eq!(found, expected, "stopped after {stop}");
    }
}

/// Nodes below `a` go and come, so that `c` has the number that `b` had when the search
/// stopped below it.
#[test]
fn a_cursor_does_not_follow_a_number_to_another_word() {
    let mut tree = tree_of(&["a", "a/b/x", "a/b/y"]);
    let cursor = tree.matches(filter("a/b/+"), None, 3, &mut |_| {});
    assert!(cursor.is_some());
    tree.remove(topic("a/b/x"));
    tree.remove(topic("a/b/y"));
    for other in ["a/c/x", "a/c/y", "a/c/z"] {
        tree.insert(topic(other), other);
    }
    let end = tree.matches(filter("a/b/+"), cursor, 99, &mut |other| panic!("{other}"));
    assert!(end.is_none());
}

#[test]
fn a_cursor_of_a_tree_that_became_empty_ends() {
    let mut tree = tree_of(&["a/b/c", "a/b/d"]);
    let cursor = tree.matches(filter("#"), None, 3, &mut |_| {});
    assert!(cursor.is_some());
    tree.remove(topic("a/b/c"));
    tree.remove(topic("a/b/d"));
    let cursor = tree.matches(filter("#"), cursor, 3, &mut |_| unreachable!("it is empty"));
    assert!(cursor.is_none());
}

#[test]
fn the_deepest_topics_are_found() {
    let deep: &'static str = Box::leak(("a/".repeat(127) + "a").into_boxed_str());
    let tree = tree_of(&[deep]);
    for limit in [1, 100, 1000] {
        assert_eq!(matches(&tree, "#", limit), [deep]);
        assert_eq!(matches(&tree, &("+/".repeat(127) + "+"), limit), [deep]);
    }
    assert_eq!(tree.get(topic(deep)), Some(&deep));
}

#[test]
fn all_messages_are_found_those_of_dollar_topics_too() {
    let tree = tree_of(&["a", "a/b", "$a", "$a/b", "/"]);
    for limit in [1, 2, usize::MAX] {
        let mut found = Vec::new();
        let mut cursor = tree.all(None, limit, &mut |message| found.push(*message));
        while cursor.is_some() {
            cursor = tree.all(cursor, limit, &mut |message| found.push(*message));
        }
        found.sort_unstable();
        assert_eq!(found, ["$a", "$a/b", "/", "a", "a/b"]);
    }
}
