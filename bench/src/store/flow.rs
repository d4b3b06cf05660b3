//! Messages that come and go: each is put, acknowledged once it is stored, and dropped in the
//! next turn.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Options, Quantiles, commit, disk, doorbell, drop_entry, entry, open, session, text};

/// A pause of the driver when there is nothing to do.
const PAUSE: Duration = Duration::from_micros(50);

/// What came out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    rate: f64,
    latency: Quantiles,
    pub(super) p99: Duration,
    cpu_us: f64,
    taken_max: u64,
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:.0} messages/s, acknowledged after {}; CPU of the store {:.2} us a message; \
             at most {:.1} MiB on the disk",
            self.rate,
            self.latency,
            self.cpu_us,
            self.taken_max as f64 / f64::from(1 << 20)
        )
    }
}

/// The messages of one commit.
struct Turn {
    commit: u64,
    sent: Instant,
    messages: Vec<u64>,
}

/// Runs `total` messages through a store: `rate` a second, or as many as the windows allow.
pub(super) fn run(
    folder: &Path,
    options: &Options,
    rate: Option<u64>,
    total: u64,
) -> Result<Measured, String> {
    let (mut store, _) = open(folder)?;
    let sessions: Vec<_> = (1..=options.publishers).flat_map(session).collect();
    store.apply(&sessions)?;
    let failed = Box::new(|failure: &shard_store::StoreFailure| eprintln!("{failure}"));
    let (mut links, handle) = store.start(&[doorbell()?], failed).map_err(text)?;
    let mut link = links.pop().ok_or("no link")?;
    let window = options.publishers * options.window;
    let (mut sent, mut acknowledged, mut number) = (0, 0, 0);
    let mut turns: VecDeque<Turn> = VecDeque::new();
    let mut latencies = Vec::new();
    let mut changes = Vec::new();
    let mut taken_max = 0;
    let session_of = |message: u64| message % options.publishers + 1;
    let begun = Instant::now();
    while acknowledged < total {
        let committed = link.committed();
        while turns.front().is_some_and(|turn| turn.commit <= committed)
            && let Some(turn) = turns.pop_front()
        {
            acknowledged += turn.messages.len() as u64;
            latencies.extend(turn.messages.iter().map(|_| turn.sent.elapsed()));
            let drops = turn.messages.into_iter();
            changes.extend(drops.map(|message| drop_entry(session_of(message), message)));
        }
        let due = match rate {
            Some(rate) => (begun.elapsed().as_secs_f64() * rate as f64) as u64,
            None => acknowledged + window,
        };
        let first = sent;
        sent = due.min(total).max(sent);
        let messages: Vec<u64> = (first..sent).map(|n| 1000 + n).collect();
        let puts = messages.iter();
        changes.extend(puts.map(|message| entry(session_of(*message), *message)));
        if changes.is_empty() {
            std::thread::sleep(PAUSE);
            continue;
        }
        number += 1;
        link.send(commit(number, std::mem::take(&mut changes)));
        link.ring();
        turns.push_back(Turn {
            commit: number,
            sent: Instant::now(),
            messages,
        });
        if number % 256 == 0 {
            taken_max = disk::taken(&folder.join("store.redb"))?.max(taken_max);
        }
        std::thread::sleep(PAUSE);
    }
    let took = begun.elapsed();
    let cpu = disk::cpu_of_thread("store");
    handle.stop().map_err(text)?;
    let latency = Quantiles::of(latencies);
    Ok(Measured {
        rate: total as f64 / took.as_secs_f64(),
        latency,
        p99: latency.p99,
        cpu_us: cpu.as_secs_f64() * 1e6 / total as f64,
        taken_max,
    })
}
