//! The data plane of ShardMQ: pinned shards that share nothing but the route
//! index.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | every bound and tunable, with unit and default |
//! | `node` | starting and stopping the shards |
//! | `engine` | a shard's sockets: one ring, one task, bounded turns |
//! | `shard` | a shard's logic: bytes in, bytes out, no socket and no clock |
//! | [`Nodes`] | between the shards and the links to other nodes |
//! | [`operator`] | between the shards and those who look after the broker |
//! | `routes` | between the shards and the writer of the route index |
//! | `wheel` | the timers of a shard |
//! | `bits` | sets of small numbers in one word |
//! | `slots` | values under small keys, in memory that never moves |
//! | [`Alone`] | a shard without all that, for counting what its work costs |

mod alone;
mod bits;
mod engine;
mod node;
mod nodes;
pub mod operator;
mod routes;
pub mod settings;
mod shard;
mod slots;
mod wheel;

pub use alone::Alone;
pub use node::{Running, StartError, Stopper, Storage, start};
pub use nodes::{Nodes, OwnerEvent, OwnerRequest, RoutesAt};
pub use shard::{
    CLUSTER_GAUGES, CLUSTER_METRICS, Counter, GAUGES, METRICS, Metric, Stats, rfc3339, sum,
};
pub use shard_store as store;
