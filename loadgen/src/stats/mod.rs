//! Measured values: latencies, and the report made of them.

pub mod disk;
mod latency;
mod nodes;
mod outcome;
mod progress;
mod report;

pub use latency::Latency;
pub use outcome::Outcome;
pub use progress::Progress;
pub use report::{Report, grouped};
