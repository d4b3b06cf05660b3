//! How a record is written: keys that sort as they are to be read, and values that are short.
//!
//! | tag | key | value |
//! |---|---|---|
//! | 0 | `clock` | what the clocks said |
//! | 0 | `format` | the number of this format |
//! | 0 | `log` | what of the log is in the records |
//! | 0 | `division` | how sessions are divided among the shards |
//! | 1 | message | a message that several entries refer to |
//! | 2 | session | its record |
//! | 3 | session, filter | a subscription |
//! | 4 | session, packet identifier | a QoS 2 message of the client that is not released |
//! | 5 | session, entry | that the entry was sent since it was stored |
//! | 6 | session, entry | a message of the session |
//! | 7 | topic | a retained message |
//! | 8 | message | a delayed message |
//! | 9 | shard, stream, node | up to which message of the stream the shard's sessions have all |
//!
//! Numbers in keys have the most significant byte first, so that the entries of a session
//! come in their order. Nothing here trusts what it reads: any bytes give a value or
//! [`Damaged`].

pub(crate) mod key;
mod message;
mod read;
mod record;
mod step;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use message::{read_delayed, read_message, read_retained};
pub(crate) use message::{write_delayed, write_message, write_retained};
pub(crate) use record::EntryValue;
pub(crate) use record::{read_clock, read_entry, read_format, read_mark, read_session};
pub(crate) use record::{read_division, read_received, write_division, write_received};
pub(crate) use record::{read_position, write_position};
pub(crate) use record::{read_subscription, write_clock, write_entry, write_format, write_mark};
pub(crate) use record::{write_session, write_subscription};
pub(crate) use step::{Step, read_steps, write_step};

/// A record that no version of ShardMQ has written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Damaged(pub(crate) &'static str);
