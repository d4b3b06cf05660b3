//! The sending side of a stream.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::wire::QoS;

use super::LinkError;
use crate::wire::{Accepted, Begin, Forward, MESSAGES_HEAD, Messages, put_forward};

/// Emptied buffers kept to be filled again.
const SPARE_MAX: usize = 4;

/// Bytes up to which an emptied buffer is kept.
const SPARE_BYTES: usize = 256 << 10;

/// What bounds a stream.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a batch: one that has as many is closed.
    pub batch_bytes: usize,
    /// Bytes that are not accepted, from which on the stream is full.
    pub full_bytes: usize,
    /// Bytes that are not accepted, from which on everything is refused.
    pub refuse_bytes: usize,
}

impl Default for Limits {
    /// Batches of 64 KiB; full at 16 MiB; nothing taken from 32 MiB on.
    fn default() -> Self {
        Self {
            batch_bytes: 64 << 10,
            full_bytes: 16 << 20,
            refuse_bytes: 32 << 20,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pushed {
    /// It has this number in the stream, and is accepted once [`Outgoing::settled`] has
    /// reached it.
    Queued(u64),
    /// There is no room. It was counted.
    Refused,
}

/// What is to be sent next.
#[derive(Clone, Debug)]
pub enum Transmit {
    /// First of all, where the stream goes on.
    Begin(Begin),
    /// A batch: its head, then its entries, which are shared with the stream.
    Messages {
        /// To be written first.
        head: [u8; MESSAGES_HEAD],
        /// To be written behind it.
        entries: Arc<Vec<u8>>,
    },
}

/// Messages that are newly accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// So many.
    pub count: u64,
    /// There may be one of QoS 1 or 2 among them, whose publisher waits.
    pub is_awaited: bool,
}

/// The messages of one shard to one node.
#[derive(Debug)]
pub struct Outgoing {
    stream: u16,
    limits: Limits,
    /// The number of the next message.
    next: u64,
    /// All messages up to this one are accepted or given up.
    settled: u64,
    /// What is not accepted, oldest first. Only the last one may be open.
    batches: VecDeque<Batch>,
    /// How many of them were sent over this connection.
    sent: usize,
    /// The last message that was ever sent.
    sent_up_to: u64,
    /// Bytes of all batches.
    bytes: usize,
    is_connected: bool,
    /// The other side has not been told where the stream goes on.
    begin: bool,
    spare: Vec<Vec<u8>>,
    refused: u64,
    lost: u64,
}

/// Messages that are sent together.
#[derive(Debug)]
struct Batch {
    first: u64,
    count: u32,
    /// When the first one came: what remains of the life of each is counted from then.
    opened_ms: u64,
    is_open: bool,
    /// One of its messages has QoS 1 or 2.
    is_awaited: bool,
    entries: Arc<Vec<u8>>,
}

impl Outgoing {
    /// An empty stream of the shard `stream`, not connected.
    #[must_use]
    pub const fn new(stream: u16, limits: Limits) -> Self {
        Self {
            stream,
            limits,
            next: 1,
            settled: 0,
            batches: VecDeque::new(),
            sent: 0,
            sent_up_to: 0,
            bytes: 0,
            is_connected: false,
            begin: false,
            spare: Vec::new(),
            refused: 0,
            lost: 0,
        }
    }

    /// Takes a message. What remains of its life counts from now on.
    pub fn push(&mut self, now_ms: u64, message: &Forward<'_>) -> Pushed {
        let may_go = message.qos == QoS::AtMostOnce;
        if self.bytes >= self.limits.refuse_bytes || may_go && self.is_full() {
            self.refused += 1;
            return Pushed::Refused;
        }
        let number = self.next;
        self.next += 1;
        let batch_bytes = self.limits.batch_bytes;
        let batch = self.open(now_ms);
        // Copies nothing: an open batch was not sent, and so is not shared.
        let entries = Arc::make_mut(&mut batch.entries);
        let before = entries.len();
        // What remains is told as of when the batch was opened.
        let waited_ms = now_ms.saturating_sub(batch.opened_ms);
        let remaining_ms = message.remaining_ms.saturating_add(waited_ms);
        let message = Forward {
            remaining_ms,
            ..*message
        };
        put_forward(entries, &message);
        batch.count += 1;
        batch.is_awaited |= message.qos != QoS::AtMostOnce;
        let (size, added) = (entries.len(), entries.len() - before);
        batch.is_open = size < batch_bytes;
        self.bytes += added;
        Pushed::Queued(number)
    }

    /// The batch that takes the next message, whose number is taken.
    fn open(&mut self, now_ms: u64) -> &mut Batch {
        if !self.batches.back().is_some_and(|batch| batch.is_open) {
            self.batches.push_back(Batch {
                first: self.next - 1,
                count: 0,
                opened_ms: now_ms,
                is_open: true,
                is_awaited: false,
                entries: Arc::new(self.spare.pop().unwrap_or_default()),
            });
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    /// What is to be sent next over the connection. Closes the open batch.
    pub fn transmit(&mut self, now_ms: u64) -> Option<Transmit> {
        if !self.is_connected {
            return None;
        }
        if core::mem::take(&mut self.begin) {
            let first = self.batches.front().map(|batch| batch.first);
            return Some(Transmit::Begin(Begin {
                stream: self.stream,
                next: first.map_or(self.next, |first| first.max(self.settled + 1)),
            }));
        }
        let batch = self.batches.get_mut(self.sent)?;
        batch.is_open = false;
        let age_ms = now_ms.saturating_sub(batch.opened_ms);
        let head = Messages::head(
            self.stream,
            batch.first,
            u32::try_from(age_ms).unwrap_or(u32::MAX),
            batch.count,
            batch.entries.len(),
        );
        self.sent += 1;
        self.sent_up_to = self.sent_up_to.max(batch.last());
        Some(Transmit::Messages {
            head,
            entries: Arc::clone(&batch.entries),
        })
    }

    /// There is a connection to the node, in whatever life: all that is not accepted is sent.
    pub const fn connected(&mut self) {
        self.is_connected = true;
        self.begin = true;
        self.sent = 0;
    }

    /// The connection is gone.
    pub const fn disconnected(&mut self) {
        self.is_connected = false;
        self.sent = 0;
    }

    /// The other node has accepted messages. Returns which are newly accepted.
    ///
    /// # Errors
    /// It accepts what was not sent.
    pub fn accepted(&mut self, accepted: Accepted) -> Result<Settled, LinkError> {
        if accepted.stream != self.stream {
            return Err(LinkError::UnknownStream(accepted.stream));
        }
        if accepted.up_to > self.sent_up_to {
            return Err(LinkError::NotSent);
        }
        let mut newly = Settled {
            count: accepted.up_to.saturating_sub(self.settled),
            is_awaited: false,
        };
        self.settled = self.settled.max(accepted.up_to);
        while let Some(batch) = self.batches.front()
            && batch.last() <= self.settled
            && let Some(batch) = self.batches.pop_front()
        {
            self.sent = self.sent.saturating_sub(1);
            newly.is_awaited |= batch.is_awaited;
            self.forget(batch);
        }
        if let Some(batch) = self.batches.front() {
            newly.is_awaited |= batch.is_awaited && batch.first <= self.settled;
        }
        Ok(newly)
    }

    /// The node is known dead: what it has not accepted is lost with it. Returns how many
    /// messages that are. Those who wait for them are released: see [`Outgoing::settled`].
    pub fn give_up(&mut self) -> u64 {
        let lost = self.unsettled();
        self.settled = self.next - 1;
        // Should the other node have more of them than it has said, it may still say so.
        self.sent_up_to = self.settled;
        self.batches.clear();
        self.bytes = 0;
        self.sent = 0;
        self.begin = true;
        self.lost += lost;
        lost
    }

    fn forget(&mut self, batch: Batch) {
        self.bytes -= batch.entries.len();
        // Whoever sends it may still have it.
        if let Ok(mut entries) = Arc::try_unwrap(batch.entries)
            && self.spare.len() < SPARE_MAX
            && entries.capacity() <= SPARE_BYTES
        {
            entries.clear();
            self.spare.push(entries);
        }
    }

    /// Whether QoS 0 is refused and publishers of QoS 1 and 2 are to be paused.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= self.limits.full_bytes
    }

    /// All messages up to this one are accepted or given up.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.settled
    }

    /// Messages that are neither accepted nor given up.
    #[must_use]
    pub const fn unsettled(&self) -> u64 {
        self.next - 1 - self.settled
    }

    /// Bytes of them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that found no room, since the stream was made.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Messages that were lost with the node, since the stream was made.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

impl Batch {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }
}
