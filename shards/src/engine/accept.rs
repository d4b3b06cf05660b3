//! Accepting connections. Where there is a limit to how many in how long, they are accepted
//! one by one, and one that comes too early is held until it may come in: those behind it wait
//! in the kernel meanwhile, and nobody is refused.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::Ordering;

use socket2::SockRef;

use super::uring::Completion;
use super::{ACCEPT_PAUSE_MS, Engine};
use crate::shard::Remote;

/// A connection that may not come in yet.
#[derive(Debug)]
pub(super) struct HeldBack {
    pub(super) due_ms: u64,
    listener: u32,
    fd: RawFd,
}

impl Engine {
    /// Begins to accept on a listener.
    pub(super) fn accept(&mut self, index: u32) {
        let Some(acceptor) = self.acceptors.get(index as usize) else {
            return;
        };
        let socket = acceptor.socket.as_raw_fd();
        if acceptor.gates.is_empty() {
            self.ring.accept(socket, index);
        } else {
            self.ring.accept_once(socket, index);
        }
    }

    pub(super) fn accepted(&mut self, completion: Completion) {
        let index = completion.key;
        if completion.result >= 0 {
            if self.hold_back(index, completion.result) {
                return;
            }
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

    /// Holds a connection that came too early. Its listener accepts no other meanwhile.
    fn hold_back(&mut self, listener: u32, fd: RawFd) -> bool {
        let Some(acceptor) = self.acceptors.get(listener as usize) else {
            return false;
        };
        let gates = acceptor.gates.iter();
        let due_ms = gates.map(|gate| gate.pass(self.now_ms)).max();
        let Some(due_ms) = due_ms.filter(|due_ms| *due_ms > self.now_ms && !self.stopping) else {
            return false;
        };
        self.held_back.push(HeldBack {
            due_ms,
            listener,
            fd,
        });
        true
    }

    /// Lets in who has waited long enough, and accepts again.
    pub(super) fn admit_held_back(&mut self) {
        let now_ms = self.now_ms;
        for held in self
            .held_back
            .extract_if(.., |held| held.due_ms <= now_ms)
            .collect::<Vec<_>>()
        {
            self.admit(held.listener, held.fd);
            self.accept(held.listener);
        }
    }

    /// Closes who still waits to be let in.
    pub(super) fn drop_held_back(&mut self) {
        for held in std::mem::take(&mut self.held_back) {
            self.ring.close(held.fd);
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
        let address = address.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into());
        let port = self.acceptors.get(listener as usize).map_or(0, |a| a.port);
        Remote::new(address, port, u16::try_from(listener).unwrap_or(u16::MAX))
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
