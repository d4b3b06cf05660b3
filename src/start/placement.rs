//! Which CPUs shards and control threads get.

use crate::config::Config;
use crate::config::cpu_list::CpuList;
use crate::failure::Failure;
use crate::host::cpus::Cpus;

/// From this many CPUs on, one is kept for control threads unless the configuration says
/// otherwise.
const CPUS_TO_SPARE_ONE: usize = 4;

/// A CPU for each shard, and those that control threads are kept to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Placement {
    /// One shard each. Never empty.
    pub(crate) shards: CpuList,
    /// Where control threads run; anywhere if it is empty. Never one of `shards`.
    pub(crate) control: CpuList,
}

/// Places what the configuration asks for on the CPUs of this machine.
pub(crate) fn place(config: &Config, cpus: &Cpus) -> Result<Placement, Failure> {
    for (key, list) in [
        ("shards.cpus", &config.cpus),
        ("shards.control_cpus", &config.control_cpus),
    ] {
        if let Some(list) = list {
            usable(key, list, config, cpus)?;
        }
    }
    let shards = match &config.cpus {
        Some(list) => list.first(config.shard_count.unwrap_or(list.len())),
        None => unnamed(config, &cpus.allowed)?,
    };
    let control = config
        .control_cpus
        .clone()
        .unwrap_or_else(|| spare(&cpus.allowed, &shards));
    Ok(Placement { shards, control })
}

/// The CPUs for shards where only their number is given, or nothing.
fn unnamed(config: &Config, allowed: &CpuList) -> Result<CpuList, Failure> {
    let kept = match (&config.control_cpus, config.shard_count) {
        (Some(control), _) => control.clone(),
        // Who asks for as many shards as there are CPUs wants them all.
        (None, Some(count)) if count == allowed.len() => CpuList::default(),
        (None, _) => spare(allowed, &CpuList::default()),
    };
    let free = allowed.without(&kept);
    let count = config.shard_count.unwrap_or(free.len());
    if count > free.len() || free.is_empty() {
        let besides = if kept.is_empty() {
            ""
        } else {
            " beside the control CPUs"
        };
        return Err(Failure::new(format!(
            "shards.count = {count}, but this process may use {} CPUs{besides} ({free})",
            free.len()
        ))
        .advise("A shard needs a CPU of its own: lower shards.count or shards.control_cpus"));
    }
    Ok(free.first(count))
}

/// The CPU that control threads get if nobody says anything: the last that is left, on a
/// machine that has enough.
fn spare(allowed: &CpuList, shards: &CpuList) -> CpuList {
    if allowed.len() < CPUS_TO_SPARE_ONE {
        return CpuList::default();
    }
    allowed.without(shards).last()
}

/// Whether this process may use every CPU of a list.
fn usable(key: &str, list: &CpuList, config: &Config, cpus: &Cpus) -> Result<(), Failure> {
    let complaint =
        |rest: String| Failure::new(format!("{}: {key} = {list}: {rest}", config.origin(key)));
    let missing = list.without(&cpus.online);
    if !missing.is_empty() {
        let rest = format!(
            "no CPU {missing} on this machine, which has {}",
            cpus.online
        );
        return Err(complaint(rest));
    }
    let denied = list.without(&cpus.allowed);
    if !denied.is_empty() {
        let rest = format!(
            "this process may not use CPU {denied}, only {}",
            cpus.allowed
        );
        return Err(complaint(rest).advise(
            "The restriction comes from taskset, a cgroup's cpuset, a container or CPUAffinity=",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// Where shards and control threads go on a machine.
    fn placed(set: &[&str], online: &str, allowed: &str) -> Result<(String, String), String> {
        let set = set.iter().map(|pair| pair.split_once('=').unwrap());
        let set = set
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let config = Config::load(&Sources {
            file: Some("/dev/null".into()),
            set,
            ..Sources::default()
        });
        let cpus = Cpus {
            online: online.parse().unwrap(),
            allowed: allowed.parse().unwrap(),
        };
        place(&config.unwrap(), &cpus)
            .map(|placement| (placement.shards.to_string(), placement.control.to_string()))
            .map_err(|failure| failure.what)
    }

    fn places(shards: &str, control: &str) -> Result<(String, String), String> {
        Ok((shards.to_owned(), control.to_owned()))
    }

    #[test]
    fn a_small_machine_is_all_shards() {
        assert_eq!(placed(&[], "0-1", "0-1"), places("0-1", ""));
        assert_eq!(placed(&["shards.count=1"], "0-1", "0-1"), places("0", ""));
    }

    #[test]
    fn a_larger_machine_keeps_one_cpu_for_control() {
        assert_eq!(placed(&[], "0-3", "0-3"), places("0-2", "3"));
        assert_eq!(
            placed(&["shards.count=2"], "0-3", "0-3"),
            places("0-1", "3")
        );
    }

    #[test]
    fn who_asks_for_all_cpus_gets_them() {
        assert_eq!(placed(&["shards.count=4"], "0-3", "0-3"), places("0-3", ""));
        assert_eq!(
            placed(&["shards.control_cpus="], "0-3", "0-3"),
            places("0-3", "")
        );
    }

    #[test]
    fn only_allowed_cpus_are_used() {
        assert_eq!(placed(&[], "0-7", "2,4,6"), places("2,4,6", ""));
    }

    #[test]
    fn named_cpus_are_taken_as_they_are() {
        assert_eq!(
            placed(&["shards.cpus=1-2"], "0-3", "0-3"),
            places("1-2", "3")
        );
        assert_eq!(
            placed(&["shards.cpus=1-3"], "0-3", "0-3"),
            places("1-3", "0")
        );
        assert_eq!(
            placed(&["shards.cpus=0-3"], "0-3", "0-3"),
            places("0-3", "")
        );
        assert_eq!(
            placed(&["shards.cpus=2,3", "shards.count=1"], "0-3", "0-3"),
            places("2", "3")
        );
    }

    #[test]
    fn a_cpu_that_is_not_here_is_named() {
        assert_eq!(
            placed(&["shards.cpus=0-3"], "0-1", "0-1"),
            Err("--set: shards.cpus = 0-3: no CPU 2-3 on this machine, which has 0-1".to_owned())
        );
        assert_eq!(
            placed(&["shards.control_cpus=1"], "0-1", "0"),
            Err(
                "--set: shards.control_cpus = 1: this process may not use CPU 1, only 0".to_owned()
            )
        );
    }

    #[test]
    fn more_shards_than_cpus_are_refused() {
        assert_eq!(
            placed(&["shards.count=3"], "0-1", "0-1"),
            Err("shards.count = 3, but this process may use 2 CPUs (0-1)".to_owned())
        );
        assert!(placed(&["shards.control_cpus=0-1"], "0-1", "0-1").is_err());
    }
}
