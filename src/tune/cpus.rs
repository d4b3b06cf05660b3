//! Placement of shards, frequency governor, SMT and NUMA.

use super::Item;
use super::facts::Facts;
use crate::config::cpu_list::CpuList;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    vec![placement(facts), governor(facts), smt(facts), numa(facts)]
}

fn placement(facts: &Facts) -> Item {
    match &facts.placement {
        Ok(placement) if placement.control.is_empty() => {
            Item::ok("shards", format!("on CPUs {}", placement.shards))
        }
        Ok(placement) => Item::ok(
            "shards",
            format!(
                "on CPUs {}, control threads on {}",
                placement.shards, placement.control
            ),
        ),
        Err(failure) => Item::ok("shards", "cannot be placed").problem(
            failure
                .clone()
                .command(format!("shardmq --cpus {}", facts.cpus.allowed)),
        ),
    }
}

fn governor(facts: &Facts) -> Item {
    if facts.governors.is_empty() {
        return Item::ok(
            "CPU governor",
            "frequencies are not this kernel's to choose",
        );
    }
    let item = Item::ok("CPU governor", facts.governors.join(", "));
    if facts.governors == ["performance"] {
        return item;
    }
    item.advice(
        "a CPU that slept answers late until its frequency is up again",
        "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )
}

fn smt(facts: &Facts) -> Item {
    let shared: Vec<CpuList> = facts
        .smt_groups
        .iter()
        .map(|group| group.common(facts.shards()))
        .filter(|group| group.len() > 1)
        .collect();
    if shared.is_empty() {
        return Item::ok("SMT", "no two shards share a core");
    }
    let groups: Vec<String> = shared.iter().map(|group| format!("CPUs {group}")).collect();
    let doubles: CpuList = shared
        .iter()
        .flat_map(|group| group.iter().skip(1))
        .collect();
    let command = format!("shardmq --cpus {}", facts.shards().without(&doubles));
    Item::ok("SMT", format!("{} are one core each", groups.join("; "))).advice(
        "two shards on one core slow each other; one per core is steadier",
        command,
    )
}

fn numa(facts: &Facts) -> Item {
    let used: Vec<(usize, CpuList)> = facts
        .numa_nodes
        .iter()
        .map(|(node, cpus)| (*node, cpus.common(facts.shards())))
        .filter(|(_, cpus)| !cpus.is_empty())
        .collect();
    let nodes: Vec<String> = used
        .iter()
        .map(|(node, cpus)| format!("node {node}: CPUs {cpus}"))
        .collect();
    let item = Item::ok(
        "NUMA",
        if nodes.is_empty() {
            "one node".to_owned()
        } else {
            nodes.join("; ")
        },
    );
    let largest = used.iter().max_by_key(|(_, cpus)| cpus.len());
    match largest {
        Some((_, cpus)) if used.len() > 1 => item.advice(
            "messages between nodes are slower; if one node is enough, use one",
            format!("shardmq --cpus {cpus}"),
        ),
        _ => item,
    }
}
