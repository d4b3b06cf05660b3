//! The delivery state of a session: what is on its way to the client
//! ([`Outflow`]) and what is on its way from it ([`Inflow`]).
//!
//! ```text
//!  PUBLISH QoS 1 →            ← PUBACK            Outflow: sent → gone
//!  PUBLISH QoS 2 →  ← PUBREC  PUBREL →  ← PUBCOMP Outflow: sent → received → gone
//!  PUBLISH QoS 2 ←  → PUBREC  PUBREL ←  → PUBCOMP Inflow:  held → gone
//! ```
//!
//! Both are plain values owned by one session on one shard. They hold no socket and
//! write no bytes: they say what is to be sent.

mod inflow;
mod lane;
mod outflow;
mod queue;

pub use inflow::Inflow;
pub use outflow::{
    AckOutcome, Delivery, Identifiers, Membership, Outflow, Resend, StoredAs, Unknown,
};
pub use queue::{Enqueued, Left, QueueLimits, WhenFull, WhyLeft};
