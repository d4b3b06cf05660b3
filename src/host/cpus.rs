//! The CPUs of this machine.

use super::{entries, name_of, system, text};
use crate::config::cpu_list::CpuList;

/// Where the kernel describes CPUs.
const CPUS: &str = "/sys/devices/system/cpu";
/// Where the kernel describes NUMA nodes.
const NODES: &str = "/sys/devices/system/node";

/// Which CPUs there are and which may be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cpus {
    /// Those that are there and switched on.
    pub(crate) online: CpuList,
    /// Those that this process may use. A container, `taskset` or a systemd unit may
    /// have taken some away.
    pub(crate) allowed: CpuList,
}

impl Cpus {
    /// Those of this machine. Must be asked before the process pins itself.
    pub(crate) fn of_this_host() -> Self {
        let online = list(&format!("{CPUS}/online"));
        let allowed = system::affinity()
            .ok()
            .or_else(|| online.clone())
            .unwrap_or_default();
        Self {
            online: online.unwrap_or_else(|| allowed.clone()),
            allowed,
        }
    }
}

/// Groups of CPUs that are one core seen several times (SMT), each with two or more.
pub(crate) fn smt_groups(online: &CpuList) -> Vec<CpuList> {
    let siblings = |cpu| list(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"));
    let groups = online
        .iter()
        .filter_map(|cpu| siblings(cpu).map(|group| (cpu, group)));
    // Each group is seen once for every CPU in it; the first one stands for all.
    groups
        .filter(|(cpu, group)| group.len() > 1 && group.iter().next() == Some(*cpu))
        .map(|(_, group)| group)
        .collect()
}

/// The CPUs of each NUMA node that has any, by node number.
pub(crate) fn numa_nodes() -> Vec<(usize, CpuList)> {
    let number = |name: &str| name.strip_prefix("node")?.parse::<usize>().ok();
    let mut nodes: Vec<(usize, CpuList)> = entries(NODES)
        .iter()
        .filter_map(|path| {
            Some((
                number(name_of(path))?,
                list(path.join("cpulist").to_str()?)?,
            ))
        })
        .filter(|(_, cpus)| !cpus.is_empty())
        .collect();
    nodes.sort_by_key(|(number, _)| *number);
    nodes
}

/// The frequency governors of some CPUs, each once. Empty where the machine (a virtual
/// one, as a rule) does not let the kernel choose frequencies.
pub(crate) fn governors(cpus: &CpuList) -> Vec<String> {
    let governor = |cpu| text(format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor"));
    let mut governors: Vec<String> = cpus.iter().filter_map(governor).collect();
    governors.sort();
    governors.dedup();
    governors
}

/// A file in the kernel's list notation.
fn list(path: &str) -> Option<CpuList> {
    text(path)?.parse().ok()
}
