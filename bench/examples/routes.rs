//! How fast a replica follows the routes of another node, and what they take.
//!
//! ```sh
//! cargo run --release -p bench --example routes
//! ```

use std::time::Instant;

use shard_cluster::routes::{Feed, Limits, Routes};
use shard_cluster::wire::{Change, FRAME_MAX, Resume, decode, split};

/// Routes of the owner.
const ROUTES: u64 = 1_000_000;

/// Changes that follow.
const CHANGES: u64 = 500_000;

fn filter(n: u64) -> String {
    format!("site/{}/device/{n}/+", n % 1000)
}

/// Takes all frames, which are ours; returns how many routes changed.
#[expect(
    clippy::expect_used,
    reason = "a benchmark ends where its surroundings fail"
)]
fn apply(replicas: &mut Routes, mut frames: &[u8]) -> u64 {
    let mut changes = 0;
    while let Ok(Some((kind, body, size))) = split(frames, FRAME_MAX) {
        let frame = decode(kind, body).expect("frames of ours");
        let step = replicas.handle(&frame, &mut |_: Change<'_>| changes += 1);
        step.expect("frames of ours");
        frames = &frames[size..];
    }
    changes
}

/// Resident memory of this process.
fn resident_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0
}

fn main() {
    let limits = Limits {
        tail_bytes: 64 << 20,
        ..Limits::default()
    };
    let mut owner = Routes::new("owner", 1, 1, limits);
    let started = Instant::now();
    (0..ROUTES).for_each(|n| {
        owner.own_mut().add(&filter(n));
    });
    println!(
        "{ROUTES} routes added by the owner: {:?}",
        started.elapsed()
    );

    let mut replicas = Routes::new("replica", 1, 2, limits);
    let mut feed = Feed::new("replica");
    feed.resume(
        &Resume {
            owner: "owner",
            incarnation: 0,
            sequence: 0,
        },
        &owner,
    );
    let started = Instant::now();
    let mut frames = Vec::new();
    feed.fill(&owner, &mut frames, usize::MAX);
    println!(
        "snapshot of {} MB made: {:?}",
        frames.len() >> 20,
        started.elapsed()
    );
    let started = Instant::now();
    let changes = apply(&mut replicas, &frames);
    println!(
        "snapshot of {changes} routes applied: {:?}",
        started.elapsed()
    );
    // The first replica has used up what was free.
    let before = resident_bytes();
    let others = [3, 4].map(|seed| {
        let mut other = Routes::new("other", 1, seed, limits);
        apply(&mut other, &frames);
        other
    });
    let bytes = (resident_bytes() - before) / (others.len() as u64 * ROUTES) as f64;
    println!("{bytes:.0} bytes a route");
    drop(others);

    (0..CHANGES).for_each(|n| {
        owner.own_mut().remove(&filter(n));
    });
    frames.clear();
    let started = Instant::now();
    feed.fill(&owner, &mut frames, usize::MAX);
    println!("{CHANGES} changes written: {:?}", started.elapsed());
    let started = Instant::now();
    let changes = apply(&mut replicas, &frames);
    println!("{changes} changes applied: {:?}", started.elapsed());
    let is_equal = replicas.replica("owner").map(|replica| replica.position());
    assert_eq!(is_equal, Some(owner.own().position()));
}
