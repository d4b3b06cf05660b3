//! The receiving side of all streams of a node.

use std::collections::BTreeMap;

use super::LinkError;
use crate::wire::{Accepted, Begin, Forward, Messages, WireError};

/// How far a stream is accepted: what a receiver stores that stores messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StreamPosition {
    /// The stream.
    pub stream: u16,
    /// All messages up to this one are accepted.
    pub accepted: u64,
}

/// The streams of one node. Outlives its connections.
#[derive(Debug, Default)]
pub struct Incoming {
    /// The process of the node whose streams these are.
    boot: u64,
    /// How many streams there may be.
    streams_max: u16,
    streams: BTreeMap<u16, Stream>,
}

/// One stream.
#[derive(Debug, Default)]
struct Stream {
    /// It was told on this connection where it goes on.
    begun: bool,
    /// The last message that was handed over.
    received: u64,
    /// All messages up to this one are accepted here.
    accepted: u64,
    /// The sender was told, on this connection.
    told: u64,
}

impl Incoming {
    /// Knows nothing of the node yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was stored about a node: the process of it that was heard, and how far its streams
    /// are accepted.
    #[must_use]
    pub fn restore(boot: u64, stored: impl IntoIterator<Item = StreamPosition>) -> Self {
        let streams = stored.into_iter().map(|position| {
            let stream = Stream {
                received: position.accepted,
                accepted: position.accepted,
                ..Stream::default()
            };
            (position.stream, stream)
        });
        Self {
            boot,
            streams_max: 0,
            streams: streams.collect(),
        }
    }

    /// A connection with the node is there; `boot` and the number of streams are what its
    /// hello says.
    ///
    /// # Errors
    /// The process that speaks is over.
    pub fn hello(&mut self, boot: u64, streams_max: u16) -> Result<(), LinkError> {
        if boot < self.boot {
            return Err(LinkError::Stale);
        }
        if boot > self.boot {
            self.streams.clear();
        }
        self.boot = boot;
        self.streams_max = streams_max;
        self.streams
            .values_mut()
            .for_each(|stream| stream.begun = false);
        Ok(())
    }

    /// A stream goes on. Returns how many messages the sender has given up that did not
    /// come.
    ///
    /// # Errors
    /// The node has no such stream.
    pub fn begin(&mut self, begin: Begin) -> Result<u64, LinkError> {
        if begin.stream >= self.streams_max {
            return Err(LinkError::UnknownStream(begin.stream));
        }
        let before = begin.next.saturating_sub(1);
        let stream = self.streams.entry(begin.stream).or_insert_with(|| Stream {
            received: before,
            accepted: before,
            ..Stream::default()
        });
        stream.begun = true;
        // What the sender may not have heard.
        stream.told = before;
        let given_up = before.saturating_sub(stream.received);
        stream.received += given_up;
        Ok(given_up)
    }

    /// Hands over the messages that are new, with their numbers, in order, until `deliver`
    /// says that it has no room for one. False if it did: then the same batch is to be given
    /// again later, and nothing else of the stream before.
    ///
    /// # Errors
    /// Messages are missing, or cannot be read. Those before were handed over.
    pub fn receive(
        &mut self,
        messages: &Messages<'_>,
        deliver: &mut dyn FnMut(u64, &Forward<'_>) -> bool,
    ) -> Result<bool, LinkError> {
        let stream = self.streams.get_mut(&messages.stream);
        let stream = stream
            .filter(|stream| stream.begun)
            .ok_or(LinkError::NotBegun)?;
        let expected = stream.received + 1;
        if messages.first > expected {
            return Err(LinkError::Gap {
                expected,
                found: messages.first,
            });
        }
        let end = messages.first.checked_add(u64::from(messages.count));
        if messages.first == 0 || end.is_none() {
            return Err(LinkError::Wire(WireError::Invalid));
        }
        let numbers = messages.first..;
        for (number, message) in numbers.zip(messages.entries()) {
            let message = message?;
            if number > stream.received {
                if !deliver(number, &message) {
                    return Ok(false);
                }
                stream.received = number;
            }
        }
        Ok(true)
    }

    /// All messages of a stream up to this one are accepted, for good if that was promised.
    /// `boot` is the process that they came from: what is said of one that is over is ignored,
    /// since its numbers are other messages now.
    pub fn accept(&mut self, boot: u64, stream: u16, up_to: u64) {
        if let Some(stream) = self.streams.get_mut(&stream)
            && boot == self.boot
        {
            stream.accepted = stream.accepted.max(up_to.min(stream.received));
        }
    }

    /// Writes what the sender has not been told. To be done once a turn.
    pub fn acknowledge(&mut self, out: &mut Vec<u8>) {
        for (number, stream) in &mut self.streams {
            if stream.begun && stream.accepted > stream.told {
                stream.told = stream.accepted;
                let accepted = Accepted {
                    stream: *number,
                    up_to: stream.accepted,
                };
                accepted.put(out);
            }
        }
    }

    /// The process of the node whose streams these are; zero if none was heard.
    #[must_use]
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    /// How far each stream is accepted, to be stored with what was accepted.
    pub fn positions(&self) -> impl Iterator<Item = StreamPosition> {
        self.streams.iter().map(|(stream, state)| StreamPosition {
            stream: *stream,
            accepted: state.accepted,
        })
    }
}
