//! Kernel version and io_uring.

use super::Item;
use super::facts::Facts;
use crate::host::kernel::OLDEST;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    vec![version(facts), uring(facts)]
}

fn version(facts: &Facts) -> Item {
    let item = Item::ok("kernel", facts.kernel.release.as_str());
    match facts.kernel.version() {
        Some(version) if version < OLDEST => item.problem(
            format!("Linux {}.{} or later is needed", OLDEST.major, OLDEST.minor),
            "uname -r # after installing a later kernel and a reboot",
        ),
        _ => item,
    }
}

fn uring(facts: &Facts) -> Item {
    match &facts.uring {
        Ok(()) => Item::ok("io_uring", "a ring of the kind that shards use can be made"),
        Err(failure) => {
            let advice = failure.advice.first().map_or("", String::as_str);
            // Advice is a label, a colon and what to type.
            let command = advice
                .split_once(": ")
                .map_or(advice, |(_, command)| command);
            Item::ok("io_uring", "not available").problem(failure.what.as_str(), command)
        }
    }
}
