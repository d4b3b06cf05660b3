//! What is known about the machine.

use shards::settings::Listener;

use crate::config::Config;
use crate::config::cpu_list::CpuList;
use crate::failure::Failure;
use crate::host::cpus::{self, Cpus};
use crate::host::interrupts::{self, Interrupt};
use crate::host::kernel::Kernel;
use crate::host::system::{self, Limit, Resource};
use crate::host::{number, text, uring};
use crate::start::placement::{self, Placement};

/// Everything that the items are made from. What could not be read is `None`.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) kernel: Kernel,
    /// Whether a ring can be had.
    pub(crate) uring: Result<(), Failure>,
    pub(crate) open_files: Option<Limit>,
    /// `fs.nr_open`: the most that the limit of open files can be.
    pub(crate) open_files_max: Option<u64>,
    pub(crate) locked_memory: Option<Limit>,
    /// `net.ipv4.ip_local_port_range`.
    pub(crate) port_range: Option<(u16, u16)>,
    /// `net.ipv4.ip_local_reserved_ports`, in the notation of the kernel.
    pub(crate) reserved_ports: String,
    /// `net.core.somaxconn`.
    pub(crate) accept_backlog: Option<u64>,
    /// `net.ipv4.tcp_max_syn_backlog`.
    pub(crate) syn_backlog: Option<u64>,
    pub(crate) cpus: Cpus,
    /// Where the shards would run.
    pub(crate) placement: Result<Placement, Failure>,
    /// The governors of the shards' CPUs.
    pub(crate) governors: Vec<String>,
    /// CPUs that are one core.
    pub(crate) smt_groups: Vec<CpuList>,
    /// The CPUs of each NUMA node.
    pub(crate) numa_nodes: Vec<(usize, CpuList)>,
    /// Where the network cards' interrupts go.
    pub(crate) interrupts: Vec<Interrupt>,
    /// `transparent_hugepage/enabled`: the choices, with the one in force in brackets.
    pub(crate) huge_pages: Option<String>,
    /// The listeners of the configuration.
    pub(crate) listeners: Vec<Listener>,
}

impl Facts {
    /// Reads them.
    pub(crate) fn of_this_host(config: &Config) -> Self {
        let kernel = Kernel::of_this_host();
        let cpus = Cpus::of_this_host();
        let placement = placement::place(config, &cpus);
        let shards = placement
            .as_ref()
            .map_or_else(|_| cpus.allowed.clone(), |p| p.shards.clone());
        Self {
            uring: uring::probe(&kernel),
            kernel,
            open_files: system::limit(Resource::OpenFiles).ok(),
            open_files_max: number("/proc/sys/fs/nr_open"),
            locked_memory: system::limit(Resource::LockedMemory).ok(),
            port_range: port_range(),
            reserved_ports: text("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default(),
            accept_backlog: number("/proc/sys/net/core/somaxconn"),
            syn_backlog: number("/proc/sys/net/ipv4/tcp_max_syn_backlog"),
            governors: cpus::governors(&shards),
            smt_groups: cpus::smt_groups(&cpus.online),
            numa_nodes: cpus::numa_nodes(),
            cpus,
            placement,
            interrupts: interrupts::of_network_cards(),
            huge_pages: text("/sys/kernel/mm/transparent_hugepage/enabled"),
            listeners: config.listeners.clone(),
        }
    }

    /// The CPUs of the shards, or those they could have if they cannot be placed.
    pub(crate) fn shards(&self) -> &CpuList {
        self.placement
            .as_ref()
            .map_or(&self.cpus.allowed, |placement| &placement.shards)
    }
}

/// The first and the last port of outgoing connections.
fn port_range() -> Option<(u16, u16)> {
    let range = text("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (first, last) = range.split_once(char::is_whitespace)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}
