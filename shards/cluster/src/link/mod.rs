//! Messages to another node.
//!
//! Each shard has one stream of messages to each other node, so that the order of each
//! publisher's messages holds. A connection forgets what was under way when it dies; so a
//! message has a number in its stream, stays with the sender until the receiver has said that
//! it is accepted, and is sent again over the next connection. The receiver knows by the number
//! what it already has.
//!
//! ```text
//!   push ─> [accepted | sent, not accepted | closed batches | open batch]   Outgoing
//!                ▲                 │ Begin, Messages
//!                └── Accepted ── Incoming ─> deliver, once and in order
//! ```
//!
//! **Who is who.** A stream belongs to a process of a node ([`Hello::boot`], the life with
//! which it began) and a shard. The numbers begin at 1 in each process, and go on when the node
//! takes a new life because it was given up. [`Incoming`] is told by
//! [`hello`](Incoming::hello) which process it hears; one that is over is refused.
//!
//! **A receiver that lives again** (another incarnation) is sent everything that its former
//! life has not acknowledged. It is not reported as lost: a session that outlives the restart
//! is to get the message (design, section 7: every destination has accepted it, *or is known
//! dead*, and the node is not dead). So that nothing comes twice, a receiver that stores
//! messages stores with them, in the same commit, how far it has accepted the stream, and
//! gives that to [`Incoming::restore`]; or, if several parts of it store on their own, each leaves
//! out what it has, as the shards do. One that stores nothing has no session left that could
//! get a message twice. One that was given up and goes on with its memory keeps its `Incoming`.
//!
//! **A receiver that is known dead** ([`Outgoing::give_up`], once the members have given it
//! up): what it has not accepted is lost with the node, and who waits for it need not wait
//! longer. `Begin` tells it, should it come back, where the stream goes on.
//!
//! **Bounds.** Once what is not accepted takes [`Limits::full_bytes`], [`Outgoing::is_full`]:
//! publishers of QoS 1 and 2 whose messages go to that node are to be paused, QoS 0 is refused
//! and counted. What is published all the same, such as wills, is taken up to
//! [`Limits::refuse_bytes`].

mod incoming;
mod outgoing;
#[cfg(test)]
mod tests;

pub use incoming::{Incoming, StreamPosition};
pub use outgoing::{Limits, Outgoing, Pushed, Settled, Transmit};

#[cfg(doc)]
use crate::wire::Hello;
use crate::wire::WireError;

/// What the other node must not do. The connection is to be dropped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkError {
    /// Messages before `found` are missing.
    Gap {
        /// The next number of the stream.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// It acknowledges what was not sent.
    NotSent,
    /// Messages of a stream that did not begin on this connection.
    NotBegun,
    /// More streams than it has shards.
    UnknownStream(u16),
    /// A process of the sender that is over.
    Stale,
    /// It cannot be read.
    Wire(WireError),
}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(out, "message {found} came where {expected} was the next")
            }
            Self::NotSent => out.write_str("a message is acknowledged that was not sent"),
            Self::NotBegun => out.write_str("messages of a stream that did not begin"),
            Self::UnknownStream(stream) => write!(out, "there is no stream {stream}"),
            Self::Stale => out.write_str("a process of the node that is over"),
            Self::Wire(error) => error.fmt(out),
        }
    }
}

impl core::error::Error for LinkError {}
