//! Kernel version and io_uring.

use super::Item;
use super::facts::Facts;
use crate::failure::Failure;
use crate::host::kernel::OLDEST;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    vec![version(facts), uring(facts)]
}

fn version(facts: &Facts) -> Item {
    let item = Item::ok("kernel", facts.kernel.release.as_str());
    match facts.kernel.version() {
        Some(version) if version < OLDEST => item.problem(Failure::new(format!(
            "install Linux {}.{} or later, and start it",
            OLDEST.major, OLDEST.minor
        ))),
        _ => item,
    }
}

fn uring(facts: &Facts) -> Item {
    match &facts.uring {
        Ok(()) => Item::ok("io_uring", "a ring of the kind that shards use can be made"),
        Err(failure) => Item::ok("io_uring", "not available").problem(failure.clone()),
    }
}
