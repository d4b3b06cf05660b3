//! CPU time and memory of a process, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::net::system;

/// What a process has used up to one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// CPU time per thread, by thread id (and worker, where those of several are added).
    threads: BTreeMap<u64, Thread>,
    /// CPU time of the whole process, ended threads included, in coarse ticks.
    total_ticks_ns: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Thread {
    name: String,
    cpu_ns: u64,
}

/// The CPU time of one thread between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadTime {
    /// The thread's name.
    pub name: String,
    /// In nanoseconds.
    pub cpu_ns: u64,
}

impl Usage {
    /// Reads what the process `pid` has used so far.
    pub fn read(pid: u32) -> Result<Self, String> {
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no process {pid} (--broker-pid)"),
            _ => format!("cannot read /proc/{pid}: {error}"),
        };
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(explain)? {
            let path = entry.map_err(explain)?.path();
            let id = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            // A thread may end between the listing and here.
            if let (Some(id), Ok(name), Some(cpu_ns)) = (
                id,
                fs::read_to_string(path.join("comm")),
                fs::read_to_string(path.join("schedstat"))
                    .ok()
                    .and_then(|text| schedstat(&text)),
            ) {
                threads.insert(
                    id,
                    Thread {
                        name: name.trim().to_owned(),
                        cpu_ns,
                    },
                );
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(explain)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(explain)?;
        Ok(Self {
            resident_bytes: resident(&status).unwrap_or(0),
            threads,
            total_ticks_ns: ticks(&stat).unwrap_or(0) * 1_000_000_000
                / system::clock_ticks_per_second(),
        })
    }

    /// Adds what the process of another worker has used; its number keeps thread ids apart.
    pub fn merge(&mut self, other: Self, worker: u32) {
        self.resident_bytes += other.resident_bytes;
        self.total_ticks_ns += other.total_ticks_ns;
        let threads = other.threads.into_iter();
        self.threads
            .extend(threads.map(|(id, thread)| (u64::from(worker) << 32 | id, thread)));
    }

    /// CPU time of the whole process since `earlier`, in nanoseconds.
    pub fn cpu_ns_since(&self, earlier: &Self) -> u64 {
        let exact: u64 = self
            .threads_since(earlier)
            .iter()
            .map(|thread| thread.cpu_ns)
            .sum();
        let ended = earlier
            .threads
            .keys()
            .any(|id| !self.threads.contains_key(id));
        if self.threads.is_empty() || ended {
            return self.total_ticks_ns.saturating_sub(earlier.total_ticks_ns);
        }
        exact
    }

    /// CPU time of each thread since `earlier`, the busiest first; idle ones are left out.
    pub fn threads_since(&self, earlier: &Self) -> Vec<ThreadTime> {
        let since = |(id, thread): (&u64, &Thread)| {
            let before = earlier.threads.get(id).map_or(0, |thread| thread.cpu_ns);
            let cpu_ns = thread.cpu_ns.saturating_sub(before);
            ThreadTime {
                name: thread.name.clone(),
                cpu_ns,
            }
        };
        let mut times: Vec<_> = self.threads.iter().map(since).collect();
        times.retain(|time| time.cpu_ns > 0);
        times.sort_by_key(|time| std::cmp::Reverse(time.cpu_ns));
        times
    }
}

/// The first field of `schedstat`: nanoseconds on a CPU.
fn schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `VmRSS` in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// User and system time of `stat` in ticks. The command name may hold anything but ends at the
/// last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The machine as a report names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// CPUs that are online.
    pub cpus: usize,
    /// Kernel release.
    pub kernel: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let (cpuinfo, meminfo) = (text("/proc/cpuinfo"), text("/proc/meminfo"));
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, model)| model.trim());
        let memory = meminfo
            .lines()
            .find_map(|line| {
                line.strip_prefix("MemTotal:")?
                    .split_ascii_whitespace()
                    .next()
            })
            .and_then(|kibibytes| kibibytes.parse::<u64>().ok());
        Self {
            cpu: cpu.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_bytes: memory.unwrap_or(0) * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 100 20 0 0 20 0 1 0";
        assert_eq!(ticks(stat), Some(120));
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let before = Usage::read(std::process::id()).unwrap();
        let mut sum = 0u64;
        for number in 0..20_000_000u64 {
            sum = sum
                .wrapping_mul(31)
                .wrapping_add(std::hint::black_box(number));
        }
        std::hint::black_box(sum);
        let after = Usage::read(std::process::id()).unwrap();
        assert!(after.cpu_ns_since(&before) > 0);
        assert!(after.resident_bytes > 0);
    }

    #[test]
    fn a_missing_process_is_named() {
        assert_eq!(
            Usage::read(u32::MAX).unwrap_err(),
            "there is no process 4294967295 (--broker-pid)"
        );
    }
}
