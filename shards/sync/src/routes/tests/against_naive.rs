//! The index against the obvious matcher.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Section 4.7 of the specification, word for word.
fn matches_naively(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_naively(filter, topic),
        ([word, filter @ ..], [same, topic @ ..]) if word == same => matches_naively(filter, topic),
        _ => false,
    }
}

fn expected(model: &BTreeMap<String, BTreeSet<Destination>>, topic: &str) -> BTreeSet<Destination> {
    let topic_words: Vec<_> = topic.split('/').collect();
    model
        .iter()
        .filter(|(filter, _)| !(topic.starts_with('$') && filter.starts_with(['+', '#'])))
        .filter(|(filter, _)| matches_naively(&filter.split('/').collect::<Vec<_>>(), &topic_words))
        .flat_map(|(_, destinations)| destinations.iter().copied())
        .collect()
}

/// Lengths of words, without the last letter.
const LENGTHS: [usize; 13] = [7, 8, 31, 34, 35, 36, 39, 47, 49, 50, 51, 71, 79];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab]?",
        1 => Just("$SYS".to_owned()),
        1 => "[a-zé]{1,3}",
        // Around the sizes at which a word becomes two pieces, a topic two lines, and the rest of a
        // filter does not fit into a leaf.
        2 => (prop::sample::select(&LENGTHS), "[ab]")
            .prop_map(|(length, end)| "w".repeat(length) + &end),
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(word(), 1..6)
        .prop_map(|words| words.join("/"))
        .prop_filter("a topic has at least one character", |topic| {
            !topic.is_empty()
        })
}

fn filter() -> impl Strategy<Value = String> {
    let word = prop_oneof![3 => word(), 2 => Just("+".to_owned())];
    (prop::collection::vec(word, 0..6), any::<bool>())
        .prop_map(|(mut words, ends_in_hash)| {
            if ends_in_hash || words.is_empty() {
                words.push("#".to_owned());
            }
            words.join("/")
        })
        .prop_filter("a filter has at least one character", |filter| {
            !filter.is_empty()
        })
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        6 => (0_u8..4).prop_map(Destination::Shard),
        1 => any::<u8>().prop_map(Destination::Shard),
        3 => (0_u32..8).prop_map(Destination::Node),
        1 => any::<u32>().prop_map(Destination::Node),
    ]
}

#[derive(Clone, Debug)]
enum Operation {
    Add(String, Destination),
    RemoveAny(prop::sample::Index, prop::sample::Index),
    Remove(String, Destination),
    /// Everything that leads to these, so many records at a time.
    Sweep(Vec<Destination>, u32),
    Match(String),
}

fn operation() -> impl Strategy<Value = Operation> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (filter(), destination()).prop_map(|(f, d)| Operation::Add(f, d)),
        2 => (index(), index()).prop_map(|(f, d)| Operation::RemoveAny(f, d)),
        1 => (filter(), destination()).prop_map(|(f, d)| Operation::Remove(f, d)),
        1 => (prop::collection::vec(destination(), 1..3), 1_u32..20)
            .prop_map(|(gone, records)| Operation::Sweep(gone, records)),
        3 => topic().prop_map(Operation::Match),
    ]
}

proptest! {
    #[test]
    fn the_index_finds_what_the_specification_says(
        seed in any::<u64>(),
        operations in prop::collection::vec(operation(), 1..300),
        last_topics in prop::collection::vec(topic(), 20),
    ) {
        let (mut writer, mut reader) = route_index(seed);
        let mut model: BTreeMap<String, BTreeSet<Destination>> = BTreeMap::new();
        let mut found = DestinationSet::new();
        let matches = last_topics.into_iter().map(Operation::Match);
        for operation in operations.into_iter().chain(matches) {
            match operation {
                Operation::Add(filter, destination) => {
                    let is_new = model.entry(filter.clone()).or_default().insert(destination);
                    prop_assert_eq!(writer.add(&filter, destination), Ok(is_new));
                }
                Operation::Remove(filter, destination) => {
                    let was_there = remove(&mut model, &filter, destination);
                    prop_assert_eq!(writer.remove(&filter, destination), was_there);
                }
                Operation::Sweep(gone, records) => {
                    let mut sweep = Sweep::new(gone.iter().copied());
                    while !writer.sweep(&mut sweep, records) {}
                    model.values_mut().for_each(|all| all.retain(|one| !gone.contains(one)));
                    model.retain(|_, all| !all.is_empty());
                }
                Operation::RemoveAny(..) if model.is_empty() => {}
                Operation::RemoveAny(filter, destination) => {
                    let filters: Vec<_> = model.keys().cloned().collect();
                    let filter = filter.get(&filters);
                    let destinations: Vec<_> = model[filter].iter().copied().collect();
                    let destination = *destination.get(&destinations);
                    prop_assert!(writer.remove(filter, destination));
                    remove(&mut model, filter, destination);
                }
                Operation::Match(topic) => {
                    reader.matches(&topic, &mut found);
                    let shards = found.shards().map(Destination::Shard);
                    let nodes = found.nodes().iter().copied().map(Destination::Node);
                    let all: Vec<_> = shards.chain(nodes).collect();
                    let set: BTreeSet<_> = all.iter().copied().collect();
                    prop_assert_eq!(all.len(), set.len(), "a destination twice");
                    prop_assert_eq!(set, expected(&model, &topic), "{}", topic);
                }
            }
            prop_assert_eq!(writer.len(), model.len());
        }
        // What has gone has left nothing behind.
        let (mut other, _) = route_index(seed);
        for (filter, destination) in model.keys().zip((0..).map(Destination::Node)) {
            prop_assert_eq!(other.add(filter, destination), Ok(true));
        }
        prop_assert_eq!(writer.owned.trie.in_use(), other.owned.trie.in_use());
    }
}

fn remove(
    model: &mut BTreeMap<String, BTreeSet<Destination>>,
    filter: &str,
    destination: Destination,
) -> bool {
    let Some(destinations) = model.get_mut(filter) else {
        return false;
    };
    let was_there = destinations.remove(&destination);
    if destinations.is_empty() {
        model.remove(filter);
    }
    was_there
}
