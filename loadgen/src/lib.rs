//! The load generator: simulates MQTT clients by the million and judges what the broker does.
//!
//! It is built to be cheaper than any broker, so that the broker is what is measured, and to be
//! believed: latencies count from the time a message was due, and every message that is lost,
//! duplicated, reordered or altered makes the run fail.

#![deny(unsafe_code)]

pub mod check;
pub mod cli;
pub mod codec;
pub mod coordinate;
pub mod crash;
pub mod net;
pub mod payload;
pub mod procfs;
pub mod run;
pub mod scenarios;
pub mod session;
pub mod stats;
pub mod traffic;
