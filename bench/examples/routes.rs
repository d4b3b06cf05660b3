//! How fast a node follows the routes of another one, and what they take: everything that a node
//! keeps of them, which is the replica and the route index. Memory is what the allocator was asked
//! for and not given back, and what the index has mapped.
//!
//! ```sh
//! cargo run --release -p bench --example routes
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use shard_cluster::routes::{Feed, Limits, Order, Routes};
use shard_cluster::wire::{Change, FRAME_MAX, Resume, decode, split};
use shard_sync::{Destination, RouteWriter, Sweep, route_index};

/// Routes of the owner.
const ROUTES: u64 = 1_000_000;

/// Changes that follow.
const CHANGES: u64 = 500_000;

/// Records of a piece of a sweep, as the broker has it.
const RECORDS: u32 = 2048;

/// Bytes that are allocated now.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Counts what is allocated.
struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Kinds of filters, with a number in place of `*`. Of several, each number has each.
const KINDS: [(&str, &[&str]); 9] = [
    ("exact", &["device/*/command"]),
    ("hash", &["device/*/#"]),
    ("plus", &["device/*/+"]),
    ("plus and a word", &["device/*/+/command"]),
    ("plus and three words", &["device/*/+/a/b/c"]),
    ("many plus", &["device/*/+/+/+/+/+/+/+/+"]),
    ("two of a device", &["device/*/+/state", "device/*/cmd/#"]),
    ("one within the other", &["device/*/+", "device/*/+/state"]),
    (
        "long",
        &["fleet/*-4b1e-9c7d-2f6a-0123456789ab/+/configuration/#"],
    ),
];

/// A copy, and a change in it or its end.
type Kept = (u8, Option<(bool, Box<str>)>);

/// A node that follows others.
struct Follower {
    routes: Routes,
    index: RouteWriter,
    /// What is to be removed.
    forgotten: Option<Sweep>,
    /// The time that went into the index.
    in_index: Duration,
    told: u64,
}

impl Follower {
    fn new(limits: Limits) -> Self {
        Self {
            routes: Routes::new("follower", 1, 2, limits),
            index: route_index(3).0,
            forgotten: None,
            in_index: Duration::ZERO,
            told: 0,
        }
    }

    fn obey(&mut self, orders: Vec<Kept>) {
        let started = Instant::now();
        for (copy, change) in orders {
            let destination = Destination::Node(u32::from(copy) * 64);
            self.told += 1;
            match change {
                Some((true, filter)) => _ = self.index.add(&filter, destination),
                Some((false, filter)) => _ = self.index.remove(&filter, destination),
                None => self.forgotten = Some(Sweep::new([destination])),
            }
        }
        self.in_index += started.elapsed();
    }

    /// Takes frames, which are ours. Returns the time that went into the replica.
    #[expect(
        clippy::expect_used,
        reason = "a benchmark ends where its surroundings fail"
    )]
    fn apply(&mut self, mut frames: &[u8]) -> Duration {
        let mut in_replica = Duration::ZERO;
        while let Ok(Some((kind, body, size))) = split(frames, FRAME_MAX) {
            let mut orders = Vec::new();
            let started = Instant::now();
            let frame = decode(kind, body).expect("frames of ours");
            let step = self
                .routes
                .handle(&frame, &mut |order| orders.extend(kept(order)));
            step.expect("frames of ours");
            in_replica += started.elapsed();
            self.obey(orders);
            frames = &frames[size..];
        }
        in_replica
    }
}

/// An order, to be carried out after the replica's time is taken.
fn kept(order: Order<'_>) -> Option<Kept> {
    match order {
        Order::Change { copy, change } => {
            let is_added = matches!(change, Change::Add(_));
            Some((copy, Some((is_added, change.filter().into()))))
        }
        Order::Forget { copy } => Some((copy, None)),
        Order::Share(_) => None,
    }
}

/// Resident memory of this process that belongs to no file.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn filter(patterns: &[&str], n: u64) -> String {
    let count = patterns.len() as u64;
    let pattern = patterns[(n % count) as usize];
    pattern.replace('*', &format!("{:08}", n / count))
}

fn per(what: Duration, count: u64) -> String {
    format!("{:.3} µs", what.as_secs_f64() * 1e6 / count as f64)
}

fn run(name: &str, patterns: &[&str]) {
    let limits = Limits::default();
    let mut owner = Routes::new("owner", 1, 1, limits);
    let before = ALLOCATED.load(Ordering::Relaxed);
    (0..ROUTES).for_each(|n| {
        owner.own_mut().add(&filter(patterns, n));
    });
    let owners = ALLOCATED.load(Ordering::Relaxed) - before;
    let mut feed = Feed::new();
    feed.resume(
        &Resume {
            owner: "owner",
            incarnation: 0,
            sequence: 0,
        },
        &owner,
    );
    let mut frames = Vec::new();
    let started = Instant::now();
    feed.fill(&owner, &mut frames, usize::MAX);
    let made = started.elapsed();

    let mut follower = Follower::new(limits);
    let (allocated, resident) = (ALLOCATED.load(Ordering::Relaxed), resident_bytes());
    let in_replica = follower.apply(&frames);
    let heap = ALLOCATED.load(Ordering::Relaxed) - allocated;
    let resident = resident_bytes().saturating_sub(resident);
    println!("{name}: {}, {ROUTES} routes", patterns.join(" and "));
    println!(
        "  snapshot: made in {}, applied in {} by the replica and {} by the index, each",
        per(made, ROUTES),
        per(in_replica, ROUTES),
        per(follower.in_index, ROUTES)
    );
    println!(
        "  memory of a route: {} bytes of heap, {} resident with what the index maps; \
         {} at the owner beside its index",
        heap / ROUTES as usize,
        resident / ROUTES as usize,
        owners / ROUTES as usize
    );

    frames.clear();
    let (mut in_replica, mut sent) = (Duration::ZERO, Duration::ZERO);
    follower.in_index = Duration::ZERO;
    for n in 0..CHANGES {
        owner.own_mut().remove(&filter(patterns, n));
        if n % 1000 == 999 {
            frames.clear();
            let started = Instant::now();
            feed.fill(&owner, &mut frames, usize::MAX);
            sent += started.elapsed();
            in_replica += follower.apply(&frames);
        }
    }
    println!(
        "  change: written in {}, applied in {} by the replica and {} by the index",
        per(sent, CHANGES),
        per(in_replica, CHANGES),
        per(follower.in_index, CHANGES)
    );
    end(&mut follower);
}

/// The owner dies.
fn end(follower: &mut Follower) {
    let mut orders = Vec::new();
    let left = follower.index.len() as u64;
    let started = Instant::now();
    follower
        .routes
        .gone("owner", 1, &mut |order| orders.extend(kept(order)));
    let told = started.elapsed();
    follower.obey(orders);
    let (mut longest, mut pieces) = (Duration::ZERO, 0);
    let started = Instant::now();
    while let Some(sweep) = &mut follower.forgotten {
        let piece = Instant::now();
        if follower.index.sweep(sweep, RECORDS) {
            follower.forgotten = None;
        }
        longest = longest.max(piece.elapsed());
        pieces += 1;
    }
    println!(
        "  end of the owner: {told:?} for the replica, {} each for the index in {pieces} pieces, \
         the longest {longest:?}",
        per(started.elapsed(), left)
    );
    assert!(follower.index.is_empty());
}

fn main() {
    for (name, patterns) in KINDS {
        run(name, patterns);
    }
}
