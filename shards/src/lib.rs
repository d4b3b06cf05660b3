//! The data plane of ShardMQ: pinned shards that share nothing but the route
//! index.

pub mod settings;
pub mod wheel;
