use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{routes::grace::Reader, shim::Arc};

/// A hash of which few bits differ, so that keys collide, in tags as well.
fn bad_hash(key: u32) -> u64 {
    u64::from(key % 23) | u64::from(key % 5) << 56
}

fn slots_of(writer: &TableWriter) -> usize {
    writer.segments.iter().map(Segment::capacity).sum()
}

proptest! {
    #[test]
    fn a_table_behaves_like_a_map(
        operations in prop::collection::vec((0_u32..80, 0..5), 1..400),
    ) {
        let grace = Arc::new(Grace::new());
        let mut reader = Reader::new(grace.clone());
        let table = Table::default();
        let mut writer = TableWriter::default();
        let mut model = HashMap::new();
        for (key, kind) in operations {
            let hash = bad_hash(key);
            match (kind, model.get(&key).copied()) {
                (0 | 1, Some(number)) => {
                    model.remove(&key);
                    writer.remove(&table, hash, number, &grace);
                }
                (2, Some(number)) => {
                    let other = number ^ 0x100;
                    model.insert(key, other);
                    writer.replace(hash, number, other);
                }
                (3 | 4, None) => {
                    model.insert(key, key + 1);
                    writer.insert(&table, hash, key + 1, &grace);
                }
                _ => {}
            }
            writer.reclaim(grace.advance());
            let pin = reader.pin();
            for key in 0..80 {
                let is_key = |number: u32| number & 0xff == key + 1;
                let expected = model.get(&key).copied();
                prop_assert_eq!(table.find(bad_hash(key), &pin, is_key), expected);
                prop_assert_eq!(writer.find(bad_hash(key), is_key), expected);
            }
            for segment in &writer.segments {
                let Some(slots) = &segment.slots else { continue };
                let count = |wanted: fn(u64) -> bool| {
                    let values = slots.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
                    values.filter(|value| wanted(*value)).count()
                };
                prop_assert_eq!(count(|slot| slot as u32 != 0), segment.full);
                prop_assert_eq!(count(|slot| slot == TOMBSTONE), segment.tombstones);
                prop_assert!(count(|slot| slot == EMPTY) > 0);
            }
        }
        prop_assert_eq!(writer.waiting(), 0);
    }
}

#[test]
fn a_table_shrinks_when_its_records_go() {
    let grace = Grace::new();
    let table = Table::default();
    let mut writer = TableWriter::default();
    for number in 1..10_000 {
        writer.insert(&table, u64::from(number), number, &grace);
    }
    assert!((15_000..30_001).contains(&slots_of(&writer)));
    for number in 1..10_000 {
        writer.remove(&table, u64::from(number), number, &grace);
    }
    assert!(slots_of(&writer) <= 2 * SLOTS_MIN);
}

#[test]
fn records_that_come_and_go_do_not_make_a_table_grow() {
    let grace = Grace::new();
    let table = Table::default();
    let mut writer = TableWriter::default();
    for number in 1..100_000_u32 {
        writer.insert(
            &table,
            u64::from(number.wrapping_mul(0x9e37_79b9)),
            number,
            &grace,
        );
        if number > 10 {
            let gone = number - 10;
            writer.remove(
                &table,
                u64::from(gone.wrapping_mul(0x9e37_79b9)),
                gone,
                &grace,
            );
        }
    }
    assert!(slots_of(&writer) <= 64);
}

#[test]
fn records_that_come_and_go_do_not_have_a_table_rebuilt_all_the_time() {
    let hash = |number: u32| u64::from(number.wrapping_mul(0x9e37_79b9));
    for stable in [300, 341, 400, 600, 680, 682, 683, 700] {
        let grace = Grace::new();
        let table = Table::default();
        let mut writer = TableWriter::default();
        for number in 1..=stable {
            writer.insert(&table, hash(number), number, &grace);
        }
        let before = writer.waiting();
        for number in stable + 1..stable + 10_000 {
            writer.remove(&table, hash(number - stable), number - stable, &grace);
            writer.insert(&table, hash(number), number, &grace);
        }
        let rebuilt = writer.waiting() - before;
        assert!(
            rebuilt < 10_000 / 50,
            "{rebuilt} times with {stable} records"
        );
    }
}
