//! Frames of a stream, one after the other.

use quinn::{ReadError, RecvStream};
use shard_cluster::wire::{Frame, decode, split};

use super::ended::Ended;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Bytes of a buffer that is kept when it is empty.
const KEPT_BYTES: usize = 1 << 20;

/// The receiving side of a stream. Holds one frame that is not complete, and what was read
/// behind it.
pub(super) struct Frames {
    stream: RecvStream,
    bytes: Vec<u8>,
    /// How much of it was handled.
    at: usize,
    frame_max: usize,
}

impl Frames {
    /// Takes frames of at most `frame_max` bytes.
    pub(super) const fn new(stream: RecvStream, frame_max: usize) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            at: 0,
            frame_max,
        }
    }

    /// The next frame that is there, and its size, to be given to [`Frames::handled`].
    pub(super) fn next(&self) -> Result<Option<(Frame<'_>, usize)>, Ended> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match split(rest, self.frame_max)? {
            Some((kind, body, size)) => Ok(Some((decode(kind, body)?, size))),
            None => Ok(None),
        }
    }

    /// The next frame is done with.
    pub(super) const fn handled(&mut self, size: usize) {
        self.at += size;
    }

    /// Waits for more bytes.
    pub(super) async fn read(&mut self) -> Result<(), Ended> {
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        match self.stream.read_chunk(READ_BYTES, true).await {
            Ok(Some(chunk)) => {
                self.bytes.extend_from_slice(&chunk.bytes);
                Ok(())
            }
            Ok(None) => Err(Ended::Lost("it has ended a stream".to_owned())),
            Err(ReadError::ConnectionLost(error)) => Err(Ended::of(&error)),
            Err(error) => Err(Ended::Lost(error.to_string())),
        }
    }
}
