//! The socket behind a connection.

use std::os::fd::RawFd;

use crate::shard::Output;

use super::vectors::Vectors;

/// What the engine knows of a connection. The descriptor is closed when no operation uses
/// it any more. Owned by the shard's engine.
#[derive(Debug, Default)]
pub(super) struct Socket {
    pub(super) fd: RawFd,
    /// Whether this entry is in use.
    pub(super) open: bool,
    /// A receive operation is under way.
    pub(super) receiving: bool,
    /// It is being cancelled.
    pub(super) cancelling: bool,
    /// A send is under way: `sending` must not be touched.
    pub(super) in_send: bool,
    /// It goes on when the socket is writable.
    pub(super) awaits_writable: bool,
    /// The shard has more output for it meanwhile.
    pub(super) more: bool,
    /// The connection is to end once its output is sent.
    pub(super) closing: bool,
    /// When a closing connection is cut off, in milliseconds of the shard's clock.
    pub(super) cut_off_ms: u64,
    /// Nothing more will be sent.
    pub(super) shut: bool,
    /// The peer has closed its side, or the connection is broken.
    pub(super) ended: bool,
    /// The listener it came from, to count its connections.
    pub(super) listener: u32,
    /// Given to the kernel.
    pub(super) sending: Output,
    /// How many bytes of it the kernel has taken.
    pub(super) sent: usize,
    /// What a vectored send points with, while one is under way.
    pub(super) vectors: Option<Box<Vectors>>,
}

const CHUNK: usize = 256;

/// Sockets by connection key. Growing moves none.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    chunks: Vec<Box<[Socket]>>,
    open: usize,
}

impl Sockets {
    /// Enters the socket of a connection.
    pub(super) fn open(&mut self, key: u32, fd: RawFd, listener: u32) {
        while self.chunks.len() <= key as usize / CHUNK {
            self.chunks
                .push((0..CHUNK).map(|_| Socket::default()).collect());
        }
        self.open += 1;
        if let Some(slot) = self.slot(key) {
            *slot = Socket {
                fd,
                open: true,
                listener,
                ..Socket::default()
            };
        }
    }

    /// Forgets the socket of a connection.
    pub(super) fn remove(&mut self, key: u32) -> Option<Socket> {
        let socket = self.slot(key).filter(|socket| socket.open)?;
        let socket = std::mem::take(socket);
        self.open -= 1;
        Some(socket)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Socket> {
        self.slot(key).filter(|socket| socket.open)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    #[inline]
    fn slot(&mut self, key: u32) -> Option<&mut Socket> {
        self.chunks
            .get_mut(key as usize / CHUNK)?
            .get_mut(key as usize % CHUNK)
    }
}
