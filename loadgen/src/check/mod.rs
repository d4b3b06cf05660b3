//! The judge: finds loss, duplicates and wrong order in the sequences that arrive.
//!
//! [`Flows`] follows each (subscriber, publisher) pair where every message must arrive at every
//! subscriber; [`Ledger`] follows each publisher where a message must arrive exactly once at
//! any one of many subscribers.

mod flow;
mod ledger;
mod tally;

pub use flow::{Flows, Repeat};
pub use ledger::Ledger;
pub use tally::Tally;

#[cfg(test)]
mod tests;
