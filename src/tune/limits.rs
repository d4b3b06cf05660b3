//! Open files and locked memory.

use super::Item;
use super::facts::Facts;
use crate::failure::Failure;
use crate::host::kernel::Capability;
use crate::host::limits::{self, LOCKED_MEMORY_MIN, LOCKED_MEMORY_PER_SHARD};
use crate::host::system::Limit;

/// The limit of open files that is recommended.
const OPEN_FILES: u64 = 1 << 20;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    [open_files(facts), locked_memory(facts)]
        .into_iter()
        .flatten()
        .collect()
}

fn open_files(facts: &Facts) -> Option<Item> {
    let limit = facts.open_files?;
    let connections = limits::connections(limit.hard, facts.shards().len(), facts.listeners.len());
    let value = format!(
        "soft {}, hard {}: enough for {connections} connections",
        shown(limit.soft),
        shown(limit.hard)
    );
    let item = Item::ok("open files", value);
    let raise = format!("sudo prlimit --pid $$ --nofile={OPEN_FILES}:{OPEN_FILES}");
    let command = match facts.open_files_max {
        Some(max) if max < OPEN_FILES => {
            format!("sudo sysctl -w fs.nr_open={OPEN_FILES} && {raise}")
        }
        _ => raise,
    };
    Some(if connections == 0 {
        item.problem(Failure::new("not enough for the broker itself").command(command))
    } else if limit.hard < OPEN_FILES {
        item.advice(
            "for this shell; for good: tuning/limits.conf or LimitNOFILE=",
            command,
        )
    } else {
        item
    })
}

fn locked_memory(facts: &Facts) -> Option<Item> {
    let limit = facts.locked_memory?;
    let wanted = LOCKED_MEMORY_PER_SHARD * facts.shards().len() as u64;
    let item = Item::ok("locked memory", format!("hard {}", bytes(limit.hard)));
    let command = "sudo prlimit --pid $$ --memlock=unlimited:unlimited";
    let too_low = limit.hard < LOCKED_MEMORY_MIN;
    Some(if too_low && !facts.kernel.may(Capability::SysResource) {
        item.problem(
            Failure::new(format!("io_uring needs {}", bytes(LOCKED_MEMORY_MIN))).command(command),
        )
    } else if limit.hard < wanted && !facts.kernel.may(Capability::IpcLock) {
        item.advice(
            format!(
                "the shards would register {} with their rings",
                bytes(wanted)
            ),
            command,
        )
    } else {
        item
    })
}

/// A number of files.
fn shown(number: u64) -> String {
    if number == Limit::UNLIMITED {
        "unlimited".to_owned()
    } else {
        number.to_string()
    }
}

/// A number of bytes.
fn bytes(number: u64) -> String {
    if number == Limit::UNLIMITED {
        "unlimited".to_owned()
    } else {
        format!("{} KiB", number >> 10)
    }
}
