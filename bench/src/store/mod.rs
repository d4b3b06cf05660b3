//! The store on its own: what a message costs on its way to the disk and away from it.

mod disk;
mod flow;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use protocol::message::MessageRef;
use protocol::session::Identifiers;
use protocol::wire::{QoS, RetainHandling, SubscriptionOptions};
use shard_store::{
    Body, Change, Commit, Counts, Durability, Expect, Options as StoreOptions, SessionNumber,
    SessionRecord, Store, Stored,
};
use shard_sync::Doorbell;

/// What is measured, and where.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Folder on the disk to measure; a folder of its own is made in it and removed
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Publishers
    #[arg(long, default_value_t = 64)]
    publishers: u64,
    /// Messages that a publisher has in flight when it goes as fast as it can
    #[arg(long, default_value_t = 20)]
    window: u64,
    /// Messages a second at a fixed rate
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Messages that come and go
    #[arg(long, default_value_t = 2_000_000)]
    messages: u64,
    /// Messages that are stored at a start
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
    /// Sessions at a start, with a subscription each
    #[arg(long, default_value_t = 100_000)]
    sessions: u64,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<bool, String> {
    let folder = options
        .folder
        .join(format!("shardmq-bench-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(text)?;
    let result = measure(options, &folder);
    fs::remove_dir_all(&folder).map_err(text)?;
    result.map(|()| true)
}

fn measure(options: &Options, folder: &Path) -> Result<(), String> {
    let bare = disk::bare(&folder.join("bare"))?;
    println!("bare pwrite + fdatasync of 100 kB: {bare}");
    let fresh = |name: &str| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).map_err(text).map(|()| folder)
    };
    let fast = fresh("fast")?;
    let measured = flow::run(&fast, options, None, options.messages)?;
    println!("as fast as it can: {measured}");
    println!("    {}", sizes(&fast)?);
    let steady = fresh("steady")?;
    let measured = flow::run(&steady, options, Some(options.rate), options.rate * 10)?;
    println!("at {} messages/s: {measured}", options.rate);
    let ratio = measured.p99.as_secs_f64() / bare.p99.as_secs_f64();
    println!("    p99 of the acknowledgement: {ratio:.1} times that of a bare fdatasync");
    start(&fresh("start")?, options)
}

/// A start with much that was stored.
fn start(folder: &Path, options: &Options) -> Result<(), String> {
    let (mut store, _) = open(folder)?;
    let begun = Instant::now();
    let sessions: Vec<Change> = (0..options.sessions).flat_map(session).collect();
    store.apply(&sessions)?;
    for first in (0..options.stored).step_by(50_000) {
        let end = options.stored.min(first + 50_000);
        let entries = first..end;
        let entries = entries.map(|n| entry(n % options.sessions, options.sessions + n));
        store.apply(&entries.collect::<Vec<_>>())?;
    }
    drop(store);
    println!(
        "stored in {:.1} s; {}",
        begun.elapsed().as_secs_f64(),
        sizes(folder)?
    );
    let begun = Instant::now();
    let cpu = disk::cpu();
    let (_store, stored) = open(folder)?;
    let took = begun.elapsed();
    let counts = Counts::of(&stored);
    println!(
        "start with {} messages, {} sessions, {} subscriptions: {:.2} s, {:.2} s of CPU, \
         {} MiB of memory at most",
        counts.entries,
        counts.sessions,
        counts.subscriptions,
        took.as_secs_f64(),
        (disk::cpu() - cpu).as_secs_f64(),
        disk::memory_mib(),
    );
    Ok(())
}

fn open(folder: &Path) -> Result<(Store, Stored), String> {
    let options = StoreOptions {
        started: Instant::now(),
        durability: Durability::Synced,
        reserve_bytes: 16 << 20,
        cache_bytes: 64 << 20,
        log_bytes: 64 << 20,
    };
    shard_store::open(folder, Expect::Any, options).map_err(text)
}

fn sizes(folder: &Path) -> Result<String, String> {
    let taken = disk::taken(&folder.join("store.redb"))?;
    Ok(format!(
        "{:.1} MiB on the disk",
        taken as f64 / f64::from(1 << 20)
    ))
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn session(number: u64) -> [Change; 2] {
    let session = SessionNumber(number);
    let record = SessionRecord {
        client_id: format!("client-{number:08}").into(),
        expiry_s: 7200,
        ends_ms: None,
        will: None,
        perhaps_sent: 0,
    };
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    [
        Change::PutSession {
            session,
            record: Box::new(record),
        },
        Change::PutSubscription {
            session,
            filter: format!("devices/{number:08}/commands").into(),
            options,
            identifier: 0,
            membership: None,
        },
    ]
}

/// About 150 bytes on the disk, with its key.
fn entry(session: u64, number: u64) -> Change {
    let mut payload = [0x2e; 100];
    payload[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let message = MessageRef {
        topic: "fleet/0123/telemetry",
        properties: &[],
        payload: &payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires_ms: u64::MAX,
        publisher: u64::MAX,
    };
    Change::PutEntry {
        session: SessionNumber(session),
        number,
        body: Body::Own(message.to_message()),
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: Identifiers::None,
        sent: None,
        membership: None,
    }
}

fn drop_entry(session: u64, number: u64) -> Change {
    Change::DropEntry {
        session: SessionNumber(session),
        number,
    }
}

/// A commit of what one turn of a shard changes.
fn commit(number: u64, changes: Vec<Change>) -> Commit {
    const BYTES_EACH: usize = 150;
    let bytes = changes.len() * BYTES_EACH;
    Commit {
        number,
        changes,
        bytes,
    }
}

/// A doorbell of a shard that never sleeps.
fn doorbell() -> Result<Arc<Doorbell>, String> {
    Doorbell::new().map(Arc::new).map_err(text)
}

/// Sorted durations and what they say.
#[derive(Clone, Copy, Debug)]
struct Quantiles {
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Quantiles {
    fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |share: f64| {
            let place = (durations.len().saturating_sub(1)) as f64 * share;
            durations.get(place as usize).copied().unwrap_or_default()
        };
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            out,
            "p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
            ms(self.p50),
            ms(self.p99),
            ms(self.max)
        )
    }
}
