//! What the machine says.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Quantiles, text};

/// Writes and syncs without a database, to compare with.
pub(super) fn bare(path: &Path) -> Result<Quantiles, String> {
    const BYTES: u64 = 100_000;
    const ROUNDS: u64 = 500;
    let file = File::create(path).map_err(text)?;
    let block = vec![0x5a; BYTES as usize];
    for round in 0..ROUNDS {
        file.write_all_at(&block, round * BYTES).map_err(text)?;
    }
    file.sync_all().map_err(text)?;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let begun = Instant::now();
        file.write_all_at(&block, round * BYTES).map_err(text)?;
        file.sync_data().map_err(text)?;
        times.push(begun.elapsed());
    }
    Ok(Quantiles::of(times))
}

/// Bytes that a file takes, without its holes.
pub(super) fn taken(path: &Path) -> Result<u64, String> {
    fs::metadata(path)
        .map(|metadata| metadata.blocks() * 512)
        .map_err(text)
}

/// CPU time of this process, in steps of 10 ms.
pub(super) fn cpu() -> Duration {
    times("/proc/self/stat")
}

/// CPU time of the threads with a name.
pub(super) fn cpu_of_thread(name: &str) -> Duration {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    threads
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .map(|path| times(&path.join("stat").to_string_lossy()))
        .sum()
}

/// User and system time of a `stat` file.
fn times(path: &str) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(path).unwrap_or_default();
    // The name, in parentheses, may have spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.filter_map(|ticks| ticks.parse::<u32>().ok());
    TICK * ticks.sum::<u32>()
}

/// The most memory that this process had.
pub(super) fn memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
