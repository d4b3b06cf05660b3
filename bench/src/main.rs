//! Benchmarks of ShardMQ.
fn main() {}
