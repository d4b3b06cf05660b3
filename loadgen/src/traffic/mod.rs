//! Publishers and subscribers: what all scenarios with a flow of messages have in common.
//!
//! A scenario describes its flow by a [`Plan`]: who publishes where, who hears whom, at what
//! pace. The rest is here: connecting, subscribing, publishing, checking, draining.

mod crossings;
mod listeners;
mod part;
mod plan;
mod publishers;
mod returns;
mod schedule;

pub use crossings::Crossed;
pub use part::Traffic;
pub use plan::{Audience, Pace, Plan, TopicNames};
pub use returns::Table;
