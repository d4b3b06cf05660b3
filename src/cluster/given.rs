//! When this node could last have given a lease, for the process that comes after this one.
//!
//! A process that has just started does not know to whom the one before gave leases, so it has to
//! wait until they have run out. With this it waits no longer than that. The time is that of the
//! machine since it was booted, which goes on between processes and which nobody sets; after
//! another boot, or on another machine, nothing is known.
//!
//! It is written twice a second, into the page cache and no further: what a process has written
//! is there when it is killed, and a machine that crashes boots anew.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use log::warn;

/// The file in the data folder: the boot, and the time in milliseconds since then.
const FILE: &str = "LEASES";

/// So far ahead the time is written, in milliseconds.
const AHEAD_MS: u64 = 600;

/// What stands for the time when no lease runs any more.
const NONE_MS: u64 = 0;

/// When this node could last have given a lease.
#[derive(Debug)]
pub(super) struct Given {
    file: Option<(PathBuf, File)>,
    boot: String,
    written_ms: u64,
}

impl Given {
    /// That of a node whose data are in `folder`, and for how long the process before has given
    /// none.
    pub(super) fn open(folder: Option<&Path>) -> (Self, u64) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        let path = folder.map(|folder| folder.join(FILE));
        let former = path
            .as_deref()
            .and_then(|path| fs::read_to_string(path).ok());
        let rested_ms = match (former, now_ms()) {
            (Some(former), Some(now_ms)) => rested_ms(&former, &boot, now_ms),
            _ => 0,
        };
        let mut given = Self {
            file: None,
            boot,
            written_ms: 0,
        };
        if let Some(path) = path {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            match options.open(&path) {
                Ok(file) => given.file = Some((path, file)),
                Err(why) => warn!("{} cannot be written: {why}", path.display()),
            }
        }
        // Whatever happens to this process, it could have given some.
        given.cover();
        (given, rested_ms)
    }

    /// A lease may be given now.
    pub(super) fn cover(&mut self) {
        let Some(now_ms) = now_ms() else {
            return self.forget();
        };
        if now_ms > self.written_ms {
            self.written_ms = now_ms + AHEAD_MS;
            self.write(self.written_ms);
        }
    }

    /// No lease runs any more, and none will be given.
    pub(super) fn end(&mut self) {
        self.write(NONE_MS);
    }

    fn write(&mut self, at_ms: u64) {
        let Some((path, file)) = &self.file else {
            return;
        };
        let line = line(&self.boot, at_ms);
        if let Err(why) = file.write_all_at(line.as_bytes(), 0) {
            warn!("{} cannot be written: {why}", path.display());
            self.forget();
        }
    }

    /// Nothing is known, and nothing is to be read.
    fn forget(&mut self) {
        if let Some((path, file)) = self.file.take()
            && file.set_len(0).is_err()
            && let Err(why) = fs::remove_file(&path)
        {
            warn!(
                "{} cannot be removed: {why}; remove it before this node starts again",
                path.display()
            );
        }
    }
}

/// A line, as long as any other.
fn line(boot: &str, at_ms: u64) -> String {
    format!("{boot} {at_ms:020}\n")
}

/// For how long no lease was given, by what a former process has written.
fn rested_ms(former: &str, boot: &str, now_ms: u64) -> u64 {
    let Some((then, at_ms)) = former.trim_end().split_once(' ') else {
        return 0;
    };
    match at_ms.parse() {
        Ok(NONE_MS) => u64::MAX,
        Ok(at_ms) if then == boot && !boot.is_empty() => now_ms.saturating_sub(at_ms),
        _ => 0,
    }
}

/// Milliseconds since the machine was booted.
fn now_ms() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    parse_uptime(&text)
}

/// The first number of `/proc/uptime`: seconds, with hundredths.
fn parse_uptime(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let (seconds, hundredths): (u64, u64) = (seconds.parse().ok()?, hundredths.parse().ok()?);
    Some(seconds * 1000 + hundredths * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_since_the_same_boot_says_how_long_ago_it_was() {
        assert_eq!(rested_ms(&line("boot", 5000), "boot", 7500), 2500);
        assert_eq!(rested_ms(&line("boot", 5000), "boot", 4500), 0);
        assert_eq!(rested_ms(&line("boot", 5000), "another", 7500), 0);
        assert_eq!(rested_ms(&line("", 5000), "", 7500), 0);
        assert_eq!(rested_ms(&line("boot", NONE_MS), "another", 7500), u64::MAX);
        for damaged in ["", "boot", "boot ", "boot x", " "] {
            assert_eq!(rested_ms(damaged, "boot", 7500), 0, "{damaged}");
        }
    }

    #[test]
    fn the_uptime_has_hundredths_of_a_second() {
        assert_eq!(parse_uptime("12.34 56.78\n"), Some(12_340));
        assert_eq!([parse_uptime(""), parse_uptime("12 3")], [None, None]);
    }

    #[test]
    fn a_process_that_was_killed_could_have_given_leases_until_then_and_one_that_ended_not() {
        let folder = std::env::temp_dir().join(format!("given-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (first, rested_ms) = Given::open(Some(&folder));
        assert_eq!(rested_ms, 0);
        drop(first);
        let (mut second, rested_ms) = Given::open(Some(&folder));
        assert_ne!(rested_ms, u64::MAX);
        second.end();
        assert_eq!(Given::open(Some(&folder)).1, u64::MAX);
        assert_ne!(Given::open(Some(&folder)).1, u64::MAX);
        assert_eq!(Given::open(None).1, 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
