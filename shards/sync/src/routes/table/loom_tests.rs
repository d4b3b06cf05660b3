use loom::thread;

use super::*;
use crate::routes::grace::Reader;

/// Puts the records with these numbers into a table in which all ways begin at one slot, then
/// applies `change` while a reader looks for each of `wanted`. Returns what it found.
fn find_beside(
    before: &[u32],
    change: impl FnOnce(&mut TableWriter, &Table, &Grace) + Send + 'static,
    wanted: [u32; 2],
) -> [Option<u32>; 2] {
    let grace = Arc::new(Grace::new());
    let table = Arc::new(Table::default());
    let mut writer = TableWriter::default();
    let mut reader = Reader::new(grace.clone());
    for number in before {
        writer.insert(&table, 0, *number, &grace);
    }
    let writing = thread::spawn({
        let table = table.clone();
        move || {
            change(&mut writer, &table, &grace);
            writer
        }
    });
    let found = {
        let pin = reader.pin();
        wanted.map(|wanted| table.find(0, &pin, |number| number == wanted))
    };
    drop(writing.join());
    found
}

fn remove(writer: &mut TableWriter, table: &Table, number: u32, grace: &Grace) {
    writer.remove(table, 0, number, grace);
    writer.reclaim(grace.advance());
}

fn insert(writer: &mut TableWriter, table: &Table, number: u32, grace: &Grace) {
    writer.insert(table, 0, number, grace);
    writer.reclaim(grace.advance());
}

#[test]
fn loom_removing_a_record_does_not_cut_the_way_to_those_behind_it() {
    loom::model(|| {
        let found = find_beside(
            &[1, 2, 3, 4],
            |writer, table, grace| {
                remove(writer, table, 1, grace);
                remove(writer, table, 3, grace);
                remove(writer, table, 4, grace);
            },
            [2, 5],
        );
        assert_eq!(found, [Some(2), None]);
    });
}

#[test]
fn loom_filling_a_tombstone_hides_nothing() {
    loom::model(|| {
        let found = find_beside(
            &[1, 2],
            |writer, table, grace| {
                remove(writer, table, 1, grace);
                insert(writer, table, 3, grace);
                remove(writer, table, 3, grace);
            },
            [2, 1],
        );
        assert_eq!(found[0], Some(2));
    });
}

#[test]
fn loom_growing_and_shrinking_hide_nothing() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let found = find_beside(
            &[1],
            |writer, table, grace| {
                insert(writer, table, 2, grace);
                insert(writer, table, 3, grace);
                insert(writer, table, 4, grace);
                remove(writer, table, 2, grace);
                remove(writer, table, 4, grace);
            },
            [1, 5],
        );
        assert_eq!(found, [Some(1), None]);
    });
}
