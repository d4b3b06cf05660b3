//! Where the interrupts of the network cards go.

use std::fs;
use std::path::{Path, PathBuf};

use super::{entries, name_of, text};
use crate::config::cpu_list::CpuList;

/// One interrupt of a network card.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Interrupt {
    /// The network interface, such as `eth0`.
    pub(crate) interface: String,
    /// Its number.
    pub(crate) number: u32,
    /// The CPUs that it goes to.
    pub(crate) cpus: CpuList,
}

/// The interrupts of every network interface that is hardware, as far as they are on.
pub(crate) fn of_network_cards() -> Vec<Interrupt> {
    entries("/sys/class/net")
        .iter()
        .flat_map(|interface| of_interface(interface))
        .collect()
}

/// The interrupts of one interface.
fn of_interface(interface: &Path) -> Vec<Interrupt> {
    let Ok(device) = fs::canonicalize(interface.join("device")) else {
        return Vec::new();
    };
    let numbers = message_interrupts(&device);
    let numbers = numbers.iter().filter_map(|path| name_of(path).parse().ok());
    numbers
        .filter_map(|number| {
            let cpus = affinity(number)?;
            Some(Interrupt {
                interface: name_of(interface).to_owned(),
                number,
                cpus,
            })
        })
        .collect()
}

/// The interrupts of a device; those of a virtio device belong to the PCI device above it.
fn message_interrupts(device: &Path) -> Vec<PathBuf> {
    let own = entries(device.join("msi_irqs"));
    match device.parent() {
        Some(parent) if own.is_empty() => entries(parent.join("msi_irqs")),
        _ => own,
    }
}

/// The CPUs that an interrupt goes to.
fn affinity(number: u32) -> Option<CpuList> {
    let read = |name| {
        text(format!("/proc/irq/{number}/{name}"))?
            .parse::<CpuList>()
            .ok()
    };
    let effective = read("effective_affinity_list").filter(|cpus| !cpus.is_empty());
    effective.or_else(|| read("smp_affinity_list"))
}
