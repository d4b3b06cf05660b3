//! The logic of several shards together, without sockets, threads or time.
//!
//! | module | what it holds |
//! |---|---|
//! | [`node`] | several shards in one thread |
//! | [`engine`], [`socket`] | what the engine and the kernel do for them |
//! | [`disk`] | what the store does for them |
//! | [`packet`], [`received`] | what clients send and get, by hand |
//! | [`random`] | chance that repeats exactly |
//! | the others | facts, by subject |

mod acknowledgements;
mod aliases;
mod authentication;
mod cluster;
mod connections;
mod counters;
mod delayed;
mod disk;
mod durable;
mod engine;
mod events;
mod exclusive;
mod exclusive_cluster;
mod full_rings;
mod groups;
mod moves;
mod node;
mod nodes;
mod offers;
mod operator;
mod packet;
mod positions;
mod queues;
mod random;
mod rates;
mod reached;
mod received;
mod replicas;
mod retained;
mod routing;
mod sessions;
mod settling;
mod shared;
mod simulation;
mod slow_readers;
mod socket;
mod sys_topics;
mod upgrade;
mod wills;
