//! The tree against a map that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A message: its topic and a number that no other message has.
type Message = (String, u32);

#[derive(Clone, Debug)]
enum Step {
    Insert(String),
    Remove(String),
}

struct Both {
    tree: RetainedTree<Message>,
    model: BTreeMap<String, u32>,
    inserted: u32,
}

impl Both {
    fn new(hash: Hash) -> Self {
        Self {
            tree: RetainedTree::with_hash(hash),
            model: BTreeMap::new(),
            inserted: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Insert(text) => {
                self.inserted += 1;
                let number = self.inserted;
                let replaced = self.tree.insert(topic(text), (text.clone(), number));
                let expected = self.model.insert(text.clone(), number);
                assert_eq!(replaced, expected.map(|number| (text.clone(), number)));
            }
            Step::Remove(text) => {
                let removed = self.tree.remove(topic(text));
                let expected = self.model.remove(text);
                assert_eq!(removed, expected.map(|number| (text.clone(), number)));
            }
        }
    }

    fn matching(&self, text: &str) -> BTreeSet<String> {
        let matching = self
            .model
            .keys()
            .filter(|name| filter(text).matches(topic(name)));
        matching.cloned().collect()
    }
}

fn hash() -> impl Strategy<Value = Hash> {
    select(vec![Hash::new(7), Hash::COLLIDING])
}

fn level() -> impl Strategy<Value = &'static str> {
    select(vec![
        "a",
        "b",
        "c",
        "",
        "$a",
        "exactly-16-bytes",
        "seventeen-bytes-!",
    ])
}

fn topic_text() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..4)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("topics are not empty", |text| !text.is_empty())
}

fn filter_text() -> impl Strategy<Value = String> {
    let levels = prop::collection::vec(prop_oneof![1 => level(), 1 => Just("+")], 0..4);
    (levels, any::<bool>())
        .prop_map(|(mut levels, below)| {
            levels.extend(below.then_some("#"));
            levels.join("/")
        })
        .prop_filter("filters are not empty", |text| !text.is_empty())
}

fn steps(at_most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (topic_text(), any::<bool>()).prop_map(|(text, insert)| {
        if insert {
            Step::Insert(text)
        } else {
            Step::Remove(text)
        }
    });
    prop::collection::vec(step, 0..at_most)
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_map_finds(
        hash in hash(),
        steps in steps(150),
        filters in prop::collection::vec((filter_text(), 1..50_usize), 8),
    ) {
        let mut both = Both::new(hash);
        for step in &steps {
            both.take(step);
        }
        prop_assert_eq!(both.tree.len(), both.model.len());
        for (text, limit) in filters {
            let mut found = BTreeSet::new();
            let mut cursor = None;
            loop {
                let mut visit = |(name, _): &Message| assert!(found.insert(name.clone()));
                cursor = both.tree.matches(filter(&text), cursor, limit, &mut visit);
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(found, both.matching(&text));
        }
    }

    /// What is there from the first call to the last is visited once, whatever happens to
    /// the rest; and no message at all is visited twice.
    #[test]
    fn a_search_is_complete_while_the_tree_changes(
        hash in hash(),
        before in steps(150),
        text in filter_text(),
        turns in prop::collection::vec((steps(8), 1..6_usize), 0..60),
    ) {
        let mut both = Both::new(hash);
        for step in &before {
            both.take(step);
        }
        let mut staying = both.matching(&text);
        let mut visited: Vec<Message> = Vec::new();
        let mut cursor = None;
        // A last turn without a limit ends every search.
        for (steps, limit) in turns.into_iter().chain([(Vec::new(), usize::MAX)]) {
            let mut visit = |message: &Message| visited.push(message.clone());
            cursor = both.tree.matches(filter(&text), cursor, limit, &mut visit);
            if cursor.is_none() {
                break;
            }
            for step in &steps {
                both.take(step);
                staying = staying.intersection(&both.matching(&text)).cloned().collect();
            }
        }
        prop_assert!(cursor.is_none());
        for name in &staying {
            let times = visited.iter().filter(|(other, _)| other == name).count();
            prop_assert_eq!(times, 1, "{}", name);
        }
        prop_assert!(visited.iter().all(|(name, _)| filter(&text).matches(topic(name))));
        let numbers: BTreeSet<u32> = visited.iter().map(|(_, number)| *number).collect();
        prop_assert_eq!(numbers.len(), visited.len());
    }

    #[test]
    fn nothing_is_left_when_everything_is_removed(hash in hash(), steps in steps(150)) {
        let mut both = Both::new(hash);
        let start = (both.tree.topics.counts(), both.tree.bytes());
        for step in &steps {
            both.take(step);
        }
        let names: Vec<String> = both.model.keys().cloned().collect();
        for name in names {
            both.take(&Step::Remove(name));
        }
        prop_assert_eq!((both.tree.topics.counts(), both.tree.bytes()), start);
    }
}
