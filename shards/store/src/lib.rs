//! What outlives the process: sessions with their subscriptions and messages, retained
//! messages, delayed messages and wills.
//!
//! A shard says what changes ([`Change`]), in the order in which it happened, and hands over
//! the changes of a turn as one [`Commit`]. A commit is on the disk as a whole or not at all.
//! At start everything is read back as [`Stored`], whatever the number of shards was.
//!
//! Times are milliseconds of the shards' clock, which begins anew with each process; on the
//! disk they are milliseconds since 1970.

mod change;
mod stored;

pub use change::{Body, Change, Commit, Sent, SessionNumber, SessionRecord, Will};
pub use stored::{Stored, StoredDelayed, StoredEntry, StoredSession, StoredSubscription};
