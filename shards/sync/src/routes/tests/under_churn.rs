//! What readers may rely on while the writer is busy.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Permanent filters, and topics that they match. Those of `Node(n)` are `n`'s.
const PERMANENT: u32 = 64;

fn permanent_filter(number: u32) -> String {
    match number % 4 {
        0 => format!("fleet/{number}/state"),
        1 => format!("fleet/{number}/+"),
        2 => format!("+/{number}/state/#"),
        _ => format!("fleet/{number}/#"),
    }
}

/// Filters that come and go on the same branches as the permanent ones.
fn passing_filters(round: u32) -> impl Iterator<Item = String> {
    (0..PERMANENT).flat_map(move |number| {
        let child = round % 7;
        [
            format!("fleet/{number}/state/{child}"),
            format!("fleet/{number}/+/{child}"),
            format!("fleet/{number}/{child}/#"),
            format!("+/{number}/+"),
            format!("+/{number}/{child}/some/more/levels/+"),
            format!("fleet/{}/state", PERMANENT + number * 7 + child),
        ]
    })
}

/// Adds and removes until `stop`. Announces in `added` the last round whose filter
/// `announced` is in the index.
fn churn(writer: &mut RouteWriter, stop: &AtomicBool, announced: &AtomicU64) {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let filters: Vec<_> = passing_filters(round).collect();
        for (index, filter) in filters.iter().enumerate() {
            add(writer, filter, Destination::Node(1000 + index as u32 % 5));
            add(writer, filter, Destination::Shard(250));
        }
        add(writer, &format!("announced/{}/+", round + 1), SHARD);
        announced.store(u64::from(round) + 1, Ordering::Release);
        add(writer, &format!("announced/{}/+", round + 2), SHARD);
        if round > 100 {
            assert!(writer.remove(&format!("announced/{}/+", round - 100), SHARD));
        }
        for (index, filter) in filters.iter().enumerate() {
            assert!(writer.remove(filter, Destination::Node(1000 + index as u32 % 5)));
            assert!(writer.remove(filter, Destination::Shard(250)));
        }
        round += 1;
    }
}

fn add(writer: &mut RouteWriter, filter: &str, destination: Destination) {
    assert!(writer.add(filter, destination).is_ok(), "{filter}");
}

/// Matches until `stop`; returns how often.
fn watch(reader: &mut RouteReader, stop: &AtomicBool, announced: &AtomicU64) -> u64 {
    let mut found = DestinationSet::new();
    let mut matches = 0;
    while !stop.load(Ordering::Relaxed) {
        for number in 0..PERMANENT {
            reader.matches(&format!("fleet/{number}/state"), &mut found);
            assert!(found.contains(Destination::Node(number)), "lost {number}");
            let strangers = found
                .nodes()
                .iter()
                .filter(|node| **node < 1000 && **node != number);
            assert_eq!(strangers.count(), 0, "{found:?} for {number}");
            reader.matches(&format!("fleet/{number}-no/state"), &mut found);
            assert!(found.is_empty(), "{found:?} for nobody");
        }

        let round = announced.load(Ordering::Acquire);
        if round > 0 {
            reader.matches(&format!("announced/{round}/x"), &mut found);
            let overtaken = announced.load(Ordering::Relaxed) > round + 50;
            assert!(found.contains(SHARD) || overtaken, "round {round}");
        }
        matches += u64::from(PERMANENT);
    }
    matches
}

#[test]
fn two_readers_always_find_what_stays_while_everything_else_changes() {
    let (mut writer, reader) = route_index(99);
    for number in 0..PERMANENT {
        writer
            .add(&permanent_filter(number), Destination::Node(number))
            .unwrap();
    }
    let stop = AtomicBool::new(false);
    let announced = AtomicU64::new(0);
    thread::scope(|scope| {
        let writing = scope.spawn(|| churn(&mut writer, &stop, &announced));
        let reading = [reader.clone(), reader].map(|mut reader| {
            let (stop, announced) = (&stop, &announced);
            scope.spawn(move || watch(&mut reader, stop, announced))
        });
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end
            && !writing.is_finished()
            && !reading.iter().any(|r| r.is_finished())
        {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        writing.join().unwrap();
        for reading in reading {
            assert!(reading.join().unwrap() > 0);
        }
    });
}
