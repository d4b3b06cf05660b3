//! Ports, backlogs, and the interrupts of network cards.

use super::Item;
use super::facts::Facts;
use crate::host::interrupts::Interrupt;

/// The ports for outgoing connections that are recommended where many are made.
const PORT_RANGE: (u16, u16) = (1024, u16::MAX);
/// Fewer ports than this are worth a word.
const PORTS_MIN: u32 = 50_000;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    let items = [
        port_range(facts),
        reserved_ports(facts),
        accept_backlog(facts),
        syn_backlog(facts),
    ];
    items
        .into_iter()
        .flatten()
        .chain([interrupts(facts)])
        .collect()
}

fn port_range(facts: &Facts) -> Option<Item> {
    let (first, last) = facts.port_range?;
    let ports = u32::from(last.saturating_sub(first)) + 1;
    let item = Item::ok("port range", format!("{first}-{last}"));
    if ports >= PORTS_MIN {
        return Some(item);
    }
    let (from, to) = PORT_RANGE;
    Some(item.advice(
        format!(
            "{ports} outgoing connections to one address; matters for bridges and for load \
             generators on this machine"
        ),
        format!(
            "sudo sysctl -w net.ipv4.ip_local_reserved_ports={} \
             net.ipv4.ip_local_port_range=\"{from} {to}\"",
            reserved(facts)
        ),
    ))
}

/// A listener's port in the range of outgoing connections may be taken by one of those
/// when the broker starts again.
fn reserved_ports(facts: &Facts) -> Option<Item> {
    let range = facts.port_range.map(|(first, last)| first..=last)?;
    let free: Vec<String> = ports(facts)
        .filter(|port| range.contains(port) && !is_reserved(&facts.reserved_ports, *port))
        .map(|port| port.to_string())
        .collect();
    if free.is_empty() {
        return Some(Item::ok(
            "reserved ports",
            "no outgoing connection can take a listener's port",
        ));
    }
    Some(
        Item::ok(
            "reserved ports",
            format!("not reserved: {}", free.join(",")),
        )
        .advice(
            "an outgoing connection may hold a listener's port when the broker starts",
            format!(
                "sudo sysctl -w net.ipv4.ip_local_reserved_ports={}",
                reserved(facts)
            ),
        ),
    )
}

/// The ports that are reserved already and those of the listeners.
fn reserved(facts: &Facts) -> String {
    let already = facts
        .reserved_ports
        .split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned);
    let own = ports(facts).filter(|port| !is_reserved(&facts.reserved_ports, *port));
    let all: Vec<String> = already.chain(own.map(|port| port.to_string())).collect();
    all.join(",")
}

/// The listeners' ports.
fn ports(facts: &Facts) -> impl Iterator<Item = u16> + '_ {
    facts
        .listeners
        .iter()
        .map(|listener| listener.bind.port())
        .filter(|port| *port != 0)
}

/// Whether a port is in a list such as `1883,8000-8999`.
fn is_reserved(list: &str, port: u16) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    })
}

/// The longest queue of connections that a listener asks for.
fn backlog(facts: &Facts) -> u64 {
    facts
        .listeners
        .iter()
        .map(|listener| listener.backlog)
        .max()
        .unwrap_or_default()
        .into()
}

fn accept_backlog(facts: &Facts) -> Option<Item> {
    let (limit, wanted) = (facts.accept_backlog?, backlog(facts));
    let item = Item::ok("accept backlog", format!("net.core.somaxconn = {limit}"));
    let short = limit < wanted;
    let reason = format!("cuts the listeners' backlog of {wanted}");
    let command = format!("sudo sysctl -w net.core.somaxconn={wanted}");
    Some(if short {
        item.advice(reason, command)
    } else {
        item
    })
}

fn syn_backlog(facts: &Facts) -> Option<Item> {
    let (limit, wanted) = (facts.syn_backlog?, backlog(facts));
    let item = Item::ok(
        "SYN backlog",
        format!("net.ipv4.tcp_max_syn_backlog = {limit}"),
    );
    let short = limit < wanted;
    let reason = format!("below the listeners' backlog of {wanted}: a storm of connects is slowed");
    let command = format!("sudo sysctl -w net.ipv4.tcp_max_syn_backlog={wanted}");
    Some(if short {
        item.advice(reason, command)
    } else {
        item
    })
}

fn interrupts(facts: &Facts) -> Item {
    let name = "network interrupts";
    let Ok(placement) = &facts.placement else {
        return Item::ok(name, "see shards");
    };
    let on_shards = |interrupt: &&Interrupt| !interrupt.cpus.common(&placement.shards).is_empty();
    let disturbing: Vec<&Interrupt> = facts.interrupts.iter().filter(on_shards).collect();
    if disturbing.is_empty() {
        return Item::ok(name, "none on the shards' CPUs");
    }
    let shown: Vec<String> = disturbing
        .iter()
        .map(|interrupt| {
            format!(
                "{} {} on CPU {}",
                interrupt.interface, interrupt.number, interrupt.cpus
            )
        })
        .collect();
    let item = Item::ok(name, shown.join(", "));
    if placement.control.is_empty() {
        return item;
    }
    let numbers: Vec<String> = disturbing.iter().map(|i| i.number.to_string()).collect();
    item.advice(
        format!(
            "they interrupt shards; CPUs {} are free for them",
            placement.control
        ),
        format!(
            "for irq in {}; do echo {} | sudo tee /proc/irq/$irq/smp_affinity_list; done",
            numbers.join(" "),
            placement.control
        ),
    )
}
