//! Huge pages.

use super::Item;
use super::facts::Facts;

pub(crate) fn items(facts: &Facts) -> Vec<Item> {
    huge_pages(facts).into_iter().collect()
}

fn huge_pages(facts: &Facts) -> Option<Item> {
    let choices = facts.huge_pages.as_deref()?;
    let chosen = choices.split_once('[')?.1.split_once(']')?.0;
    let item = Item::ok("huge pages", chosen);
    Some(if chosen == "always" {
        item.advice(
            "memory that is used sparsely, as by idle connections, takes whole huge pages",
            "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
        )
    } else {
        item
    })
}
