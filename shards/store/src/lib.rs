//! What outlives the process: sessions with their subscriptions and messages, retained
//! messages, delayed messages and wills.
//!
//! A shard says what changes ([`Change`]), in the order in which it happened, and hands over
//! the changes of a turn as one [`Commit`]. A commit is on the disk as a whole or not at all.
//! At start everything is read back as [`Stored`], whatever the number of shards was.
//!
//! ```text
//!   shards ── Commit ──► ring ──► store thread ──► fold ──► encode ──► log
//!      ◄── number of the last stored commit, doorbell ──┘     │
//!                         database ◄── its thread ◄── fold ◄──┘
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `change`, `stored` | what goes in and what comes back |
//! | `link`, `thread` | the way to the threads that write, and how they start and stop |
//! | `writer`, `log` | the thread that shards wait for, and what it writes |
//! | `checkpoint` | how the database gets what the log has |
//! | `batch` | the changes that go to the disk together, folded |
//! | `codec` | the bytes of a record |
//! | `disk`, `files` | the storage library, behind a trait, and the files |
//! | `open`, `load` | what a start does |
//! | `dump` | all of it as text, and back |
//! | `clock`, `space`, `ballast` | wall clock, room on the disk, room that is held |
//! | `schedule` | what the threads ask of the kernel |
//!
//! Times are milliseconds of the shards' clock, which begins anew with each process; on the
//! disk they are milliseconds since 1970.

mod ballast;
mod batch;
mod change;
mod checkpoint;
mod clock;
mod codec;
mod disk;
mod dump;
mod files;
pub mod fuzz;
mod link;
mod load;
mod log;
mod open;
mod schedule;
mod space;
mod stored;
#[cfg(test)]
mod tests;
mod thread;
mod writer;

pub use change::{
    Body, Change, Commit, Division, Process, Sent, SessionNumber, SessionRecord, Will,
};
pub use dump::{Counts, ImportError, export, import};
pub use link::StoreLink;
pub use open::{Durability, Expect, FORMAT, OpenError, Options, Store, exists, open, remove_empty};
pub use stored::{
    Stored, StoredDelayed, StoredEntry, StoredReceived, StoredRetained, StoredSession,
    StoredSubscription,
};
pub use thread::{OnFailure, StoreFailure, StoreHandle};
