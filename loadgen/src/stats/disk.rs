//! How long the disk takes to keep what is written.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Latency;

/// Bytes written at a time.
const BLOCK: usize = 4096;
/// Writes at most, and the longest they may take together.
const WRITES: u64 = 500;
const TIME: Duration = Duration::from_secs(3);

/// Writes block after block to a file in `folder`, each followed by fdatasync.
pub fn measure(folder: &Path) -> io::Result<Latency> {
    let path = folder.join(format!("loadgen-fsync-{}", std::process::id()));
    let measured = File::create_new(&path).and_then(|file| write(&file));
    fs::remove_file(&path)?;
    measured
}

fn write(file: &File) -> io::Result<Latency> {
    let block = [0x5a; BLOCK];
    let mut latency = Latency::default();
    let begin = Instant::now();
    for number in 0..WRITES {
        let start = Instant::now();
        file.write_all_at(&block, number * BLOCK as u64)?;
        file.sync_data()?;
        latency.record(start.elapsed().as_nanos() as u64);
        if begin.elapsed() > TIME {
            break;
        }
    }
    Ok(latency)
}
