//! The data plane of ShardMQ.
