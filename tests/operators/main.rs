//! What operators see and do: the HTTP API on its socket and its port, and `shardmq ctl`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each file of tests uses a part of it"
)]
#[path = "../common/mod.rs"]
mod common;

mod ctl;
mod exchange;
mod http;
mod nodes;
