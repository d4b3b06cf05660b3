use std::collections::BTreeMap;

use proptest::prelude::*;

use super::hash::{Hash, padded};
use super::slab::Slab;
use super::table::Part;
use super::trie::{ROOT, Trie};

#[test]
fn words_of_any_length_lead_to_their_own_child() {
    let mut trie = Trie::<u8>::new(Hash::new(1));
    let words: Vec<String> = (0..40).map(|length| "x".repeat(length)).collect();
    let nodes: Vec<u32> = words
        .iter()
        .map(|word| trie.add_child(ROOT, word))
        .collect();
    for (word, node) in words.iter().zip(nodes) {
        let key = trie.key(word).unwrap();
        assert_eq!(trie.child(ROOT, &key), Some(node));
        assert_eq!(trie.text(node), **word);
    }
    assert!(trie.key("a word of more than sixteen bytes").is_none());
}

#[test]
fn a_long_word_is_kept_once_and_goes_with_its_last_use() {
    let mut trie = Trie::<u8>::new(Hash::new(1));
    let start = trie.bytes();
    let word = "a word of more than sixteen bytes";
    let outer = trie.add_child(ROOT, word);
    let inner = trie.add_child(outer, word);
    assert_eq!(trie.text(inner), format!("{word}/{word}"));
    assert_eq!(trie.counts(), [2, 2, 1]);
    trie.remove_child(inner);
    assert_eq!(trie.counts(), [1, 1, 1]);
    trie.remove_child(outer);
    assert_eq!(trie.counts(), [0, 0, 0]);
    assert_eq!(trie.bytes(), start);
}

#[test]
fn the_seed_changes_every_hash() {
    let (one, other) = (Hash::new(1), Hash::new(2));
    assert_ne!(one.text("a"), other.text("a"));
    assert_ne!(
        one.text("sixteen bytes and more"),
        other.text("sixteen bytes and more")
    );
    assert_ne!(one.word(&[0; 16]), other.word(&[0; 16]));
    assert_ne!(one.with(7, 3), other.with(7, 3));
}

#[test]
fn texts_that_differ_in_zeros_at_the_end_have_different_hashes() {
    let hash = Hash::new(1);
    assert_ne!(hash.text("a"), hash.text("a\0"));
    assert_ne!(
        hash.text("sixteen bytes ab"),
        hash.text("sixteen bytes ab\0")
    );
}

#[test]
fn the_colliding_hash_collides() {
    let hash = Hash::COLLIDING;
    assert_eq!(hash.text("a"), hash.text("b"));
    assert_eq!(
        hash.with(hash.text("a"), 1),
        hash.with(hash.text("sixteen bytes and more"), 2)
    );
}

#[test]
fn a_slab_gives_a_number_again_after_its_value_was_removed() {
    let mut slab = Slab::new();
    let numbers: Vec<u32> = (0..2000_u32).map(|value| slab.insert(value)).collect();
    assert_eq!(numbers, (0..2000).collect::<Vec<_>>());
    assert_eq!(slab.remove(700), 700);
    assert_eq!(slab.find(700), Some(&0));
    assert_eq!(slab.insert(5), 700);
    assert_eq!((slab.find(1999), slab.find(2000)), (Some(&1999), None));
}

proptest! {
    #[test]
    fn padding_keeps_the_bytes_and_adds_zeros(bytes in prop::collection::vec(any::<u8>(), 0..=16)) {
        let mut expected = [0; 16];
        expected[..bytes.len()].copy_from_slice(&bytes);
        prop_assert_eq!(padded(&bytes), expected);
    }

    /// Hashes from few values, so that equal and neighbouring ones are frequent, also at
    /// both ends of their range.
    #[test]
    fn a_table_finds_what_was_inserted_and_not_removed(
        steps in prop::collection::vec((any::<bool>(), 0..60_u32), 0..400),
    ) {
        let hash_of = |number: u32| match number % 3 {
            0 => number / 20,
            1 => u32::MAX - number / 30,
            _ => number.wrapping_mul(0x9e37_79b9),
        };
        let mut table = Part::default();
        let mut model = BTreeMap::new();
        for (insert, number) in steps {
            if insert && model.insert(number, ()).is_none() {
                table.insert(hash_of(number), number);
            } else if !insert && model.remove(&number).is_some() {
                table.remove(hash_of(number), number);
            }
            for number in 0..60 {
                let found = table.find(hash_of(number), |other| other == number);
                prop_assert_eq!(found.is_some(), model.contains_key(&number));
            }
        }
        for number in model.keys() {
            table.remove(hash_of(*number), *number);
        }
        prop_assert!(table.is_empty());
        prop_assert_eq!(table.bytes(), 0);
    }
}
