//! ShardMQ.
fn main() {}
