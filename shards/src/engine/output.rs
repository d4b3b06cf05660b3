//! From the shard to sockets, and the end of connections.

use std::sync::atomic::Ordering;

use super::socket::Socket;
use super::uring::Uring;
use super::vectors::Vectors;
use super::{CUT_OFF_MS, Engine};

impl Engine {
    /// Sends the output of all connections that have some: one operation each.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.shard.take_dirty(&mut dirty);
        for key in dirty.drain(..) {
            self.flush_one(key);
        }
        self.dirty = dirty;
    }

    #[inline]
    fn flush_one(&mut self, key: u32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let waiting = self.shard.waits_for_output();
        let Some(flush) = self.shard.flush(key) else {
            return;
        };
        socket.closing |= flush.close;
        if !flush.output.is_empty() && !socket.shut {
            if socket.in_send {
                socket.more = true;
            } else {
                std::mem::swap(&mut socket.sending, flush.output);
                let bytes = socket.sending.len() as u64;
                socket.sent = 0;
                self.confirm_soon |= socket.closing || waiting;
                self.unconfirmed.push(key);
                send_rest(&mut self.ring, socket, key);
                self.shard.stats().bytes_sent.add(bytes);
            }
        }
        if socket.closing {
            self.begin_close(key);
        } else if !socket.receiving {
            self.receive(key);
        }
    }

    /// A send took less than all, or failed.
    pub(super) fn send_stopped(&mut self, key: u32, result: i32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if result >= 0 || result == -libc::EAGAIN {
            socket.sent += usize::try_from(result).unwrap_or(0);
            socket.awaits_writable = true;
            self.ring.await_writable(socket.fd, key);
            return;
        }
        socket.in_send = false;
        socket.ended = true;
        self.recycle(key);
        self.shard.closed_by_peer(key);
        self.begin_close(key);
    }

    /// The socket takes output again.
    pub(super) fn send_on(&mut self, key: u32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if !std::mem::take(&mut socket.awaits_writable) {
            return;
        }
        self.unconfirmed.push(key);
        self.confirm_soon |= socket.closing || socket.more || self.shard.waits_for_output();
        send_rest(&mut self.ring, socket, key);
    }

    /// Sends of the last turn that did not stop short are done.
    pub(super) fn confirm_sends(&mut self) {
        if self.ring.has_overflowed() {
            self.confirm_soon = true;
            return;
        }
        self.confirm_soon = false;
        let mut unconfirmed = std::mem::take(&mut self.unconfirmed);
        for key in unconfirmed.drain(..) {
            let Some(socket) = self.sockets.get_mut(key) else {
                continue;
            };
            if !socket.in_send || socket.awaits_writable {
                continue;
            }
            socket.in_send = false;
            if std::mem::take(&mut socket.more) || socket.closing {
                self.dirty.push(key);
            }
            self.recycle(key);
        }
        self.unconfirmed = unconfirmed;
    }

    fn recycle(&mut self, key: u32) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.vectors = None;
            self.shard.recycle(std::mem::take(&mut socket.sending));
        }
    }

    /// Goes one step towards the end of a connection: the last bytes are sent, then this
    /// side is shut, then the peer's end is awaited, so that it can read the last bytes;
    /// then the descriptor is closed.
    pub(super) fn begin_close(&mut self, key: u32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if !socket.closing || socket.cut_off_ms == 0 {
            socket.closing = true;
            socket.cut_off_ms = self.now_ms + CUT_OFF_MS;
            if socket.in_send || !socket.ended {
                self.cut_offs.push_back((socket.cut_off_ms, key));
            }
        }
        if socket.ended && (socket.in_send || socket.receiving) {
            shut(socket.fd, libc::SHUT_RDWR);
            return;
        }
        if socket.in_send {
            return;
        }
        if !socket.ended && !socket.shut {
            socket.shut = true;
            shut(socket.fd, libc::SHUT_WR);
        }
        if !socket.ended {
            self.receive(key);
            return;
        }
        self.close(key);
    }

    fn close(&mut self, key: u32) {
        let Some(socket) = self.sockets.remove(key) else {
            return;
        };
        if let Some(acceptor) = self.acceptors.get(socket.listener as usize) {
            acceptor.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.shard.recycle(socket.sending);
        self.ring.close(socket.fd);
        self.shard.release(key);
    }

    /// Cuts off connections that have had their time, and accepts again after a rest.
    pub(super) fn fire_own_timers(&mut self) {
        while let Some(&(due, key)) = self.cut_offs.front()
            && due <= self.now_ms
        {
            self.cut_offs.pop_front();
            let Some(socket) = self.sockets.get_mut(key) else {
                continue;
            };
            if socket.closing && socket.cut_off_ms == due {
                shut(socket.fd, libc::SHUT_RDWR);
            }
        }
        while let Some(&(due, index)) = self.rested.front()
            && due <= self.now_ms
        {
            self.rested.pop_front();
            self.accept(index);
        }
        if !self.held_back.is_empty() {
            self.admit_held_back();
        }
    }
}

/// Gives the kernel what it has not taken yet of a socket's output.
#[inline]
fn send_rest(ring: &mut Uring, socket: &mut Socket, key: u32) {
    socket.in_send = true;
    if socket.sending.is_plain() {
        let rest = socket.sending.bytes.get(socket.sent..).unwrap_or_default();
        ring.send(socket.fd, key, rest);
    } else {
        let vectors = Vectors::of(&socket.sending, socket.sent);
        ring.send_vectors(socket.fd, key, socket.vectors.insert(vectors));
    }
}

fn shut(fd: std::os::fd::RawFd, how: i32) {
    // SAFETY: the descriptor belongs to a socket that is still open. That the peer may have
    // closed it already is no error here.
    unsafe { libc::shutdown(fd, how) };
}
