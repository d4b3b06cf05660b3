//! What several shards touch at once. Everything else in the data plane belongs to one
//! shard.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ring`](mod@ring) | a bounded queue from one shard to another |
//! | [`doorbell`] | how a shard that sleeps learns that something was pushed to it |
//! | [`routes`] | which shards and nodes a message goes to |
//!
//! The crate is small and stands alone so that its proofs can be run:
//! `RUSTFLAGS="--cfg loom" cargo test -p shard-sync --lib loom_` tries every order in which
//! the threads of a test can take their steps, and every value that the memory model lets
//! a load return.
#![warn(unsafe_op_in_unsafe_fn)]

pub mod doorbell;
pub mod ring;
pub mod routes;

mod shim;

pub use doorbell::Doorbell;
pub use ring::{Consumer, Producer, ring};
pub use routes::{Destination, DestinationSet, RouteReader, RouteWriter, Sweep, route_index};
