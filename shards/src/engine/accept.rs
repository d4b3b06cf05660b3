//! Accepting connections.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::Ordering;

use socket2::SockRef;

use super::uring::Completion;
use super::{ACCEPT_PAUSE_MS, Engine};
use crate::shard::Remote;

impl Engine {
    /// Begins to accept on a listener.
    pub(super) fn accept(&mut self, index: u32) {
        if let Some(acceptor) = self.acceptors.get(index as usize) {
            self.ring.accept(acceptor.socket.as_raw_fd(), index);
        }
    }

    pub(super) fn accepted(&mut self, completion: Completion) {
        let index = completion.key;
        if completion.result >= 0 {
            self.admit(index, completion.result);
        }
        if completion.more || self.stopping {
            return;
        }
        // Out of descriptors or memory: those who wait stay in the backlog meanwhile.
        if completion.result < 0 {
            self.rested
                .push_back((self.now_ms + ACCEPT_PAUSE_MS, index));
        } else {
            self.accept(index);
        }
    }

    fn admit(&mut self, index: u32, fd: RawFd) {
        let Some(acceptor) = self.acceptors.get(index as usize) else {
            return;
        };
        let before = acceptor.connections.fetch_add(1, Ordering::Relaxed);
        let full = acceptor.connections_max > 0 && before >= acceptor.connections_max;
        if full || self.stopping {
            acceptor.connections.fetch_sub(1, Ordering::Relaxed);
            self.ring.close(fd);
            return;
        }
        let key = self.shard.opened(self.remote(fd, index));
        self.sockets.open(key, fd, index);
        self.receive(key);
    }

    /// Where a connection comes from; nowhere, if it has broken already.
    fn remote(&self, fd: RawFd, listener: u32) -> Remote {
        // SAFETY: the descriptor is open, and closed no earlier than by this engine.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        let address = SockRef::from(&socket).peer_addr();
        let address = address.ok().and_then(|address| address.as_socket());
        let port = self.acceptors.get(listener as usize).map(|a| a.port);
        address.map_or_else(Remote::default, |address| {
            Remote::new(address, port.unwrap_or(0))
        })
    }

    /// Takes a connection that another shard has accepted, with what it has read.
    pub(super) fn adopt(&mut self, fd: RawFd, listener: u32, input: &[u8]) {
        // It was under way when the broker began to stop.
        if self.stopping {
            if let Some(acceptor) = self.acceptors.get(listener as usize) {
                acceptor.connections.fetch_sub(1, Ordering::Relaxed);
            }
            self.ring.close(fd);
            return;
        }
        let key = self.shard.opened(self.remote(fd, listener));
        self.sockets.open(key, fd, listener);
        self.shard.received(key, input);
        self.receive(key);
    }
}
