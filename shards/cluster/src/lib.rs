//! The cluster as a pure function of bytes and time.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or starts a thread:
//! bytes, milliseconds and chance come in as arguments, decisions go out as values. So all of
//! it runs in a simulator, and a run that fails can be run again.
//!
//! | module | what it holds |
//! |---|---|
//! | [`wire`] | frames between two nodes, to and from bytes |
//! | [`routes`] | the log of a node's routes, and the replicas of the other nodes' |
//! | [`directory`] | which node has the session of a client identifier |
//! | [`members`] | who is alive, and whether this node may go on |
//! | [`registry`] | who belongs to the cluster, by consensus of the cores |
//! | [`link`] | messages to another node: numbered, acknowledged, sent again |
#![forbid(unsafe_code)]

pub mod directory;
pub mod link;
pub mod members;
pub mod registry;
pub mod routes;
mod siphash;
pub mod wire;
