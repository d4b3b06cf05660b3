//! MQTT as a pure function of bytes and time.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or starts
//! a thread: bytes, time and chance come in as arguments, decisions go out as
//! values. So everything can be tested exactly, fuzzed and simulated.
//!
//! | module | what it holds |
//! |---|---|
//! | [`wire`] | packets to and from bytes, for MQTT 3.1, 3.1.1 and 5.0 |
//! | [`topic`] | topic names, topic filters, shared subscriptions' names |
//! | [`aliases`] | topic aliases that the broker gives to a client |
//! | [`auth`] | enhanced authentication, whatever the mechanism |
//! | [`hash`] | the seeded hash that all tables use |
//! | [`message`] | a message that is kept: queued, in flight, retained, a will |
//! | [`rate`] | rates as they are written, and buckets that hold somebody to one |
//! | [`session`] | the delivery state of a session: inflight window, queue, QoS 2 identifiers |
//! | [`subscriptions`] | filter → sessions: the table that each shard keeps for itself |
//! | [`retained`] | topic → retained message, found by filter without a scan |
#![forbid(unsafe_code)]

pub mod aliases;
pub mod auth;
pub mod hash;
pub mod message;
pub mod rate;
pub mod retained;
pub mod session;
pub mod subscriptions;
pub mod topic;
pub mod wire;
