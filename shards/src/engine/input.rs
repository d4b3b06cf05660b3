//! From completions to the shard.

use crate::shard::Input;

use super::Engine;
use super::uring::{Completion, Operation};

impl Engine {
    /// Handles completions, no more in one turn than the settings allow. The others wait
    /// for the next turn.
    pub(super) fn handle_completions(&mut self) {
        let mut stopped = std::mem::take(&mut self.stopped_sends);
        self.ring
            .take_completions(&mut stopped, &mut self.completions);
        for completion in stopped.drain(..) {
            self.send_stopped(completion.key, completion.result);
        }
        self.stopped_sends = stopped;
        self.confirm_sends();
        for _ in 0..self.settings.turn_completions {
            let Some(completion) = self.completions.pop_front() else {
                break;
            };
            match completion.operation {
                Operation::Accept => self.accepted(completion),
                Operation::Receive => self.received(completion),
                Operation::Wake => self.woken(completion),
                Operation::Writable => self.send_on(completion.key),
                Operation::Send | Operation::Other => {}
            }
        }
        self.buffers.publish();
    }

    fn woken(&mut self, completion: Completion) {
        self.neighbours.own.drain();
        if !completion.more {
            self.ring.watch(self.neighbours.own.fd());
        }
    }

    #[inline]
    fn received(&mut self, completion: Completion) {
        let key = completion.key;
        if let Some(buffer) = completion.buffer {
            if completion.result > 0 {
                let input = self.buffers.filled(buffer, completion.result as usize);
                self.shard.stats().bytes_received.add(input.len() as u64);
                self.shard.received(key, input);
            }
            self.buffers.give_back(buffer);
        }
        if completion.more {
            self.check_pause(key);
            return;
        }
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        socket.receiving = false;
        socket.cancelling = false;
        match completion.result {
            1.. => self.receive(key),
            // No buffer was free: by now they are back.
            result if result == -libc::ENOBUFS => self.receive(key),
            result if result == -libc::ECANCELED && !socket.closing => self.receive(key),
            _ => {
                socket.ended = true;
                self.shard.closed_by_peer(key);
                self.begin_close(key);
            }
        }
    }

    /// Arms the receive operation of a connection, if it is to be read.
    pub(super) fn receive(&mut self, key: u32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if socket.receiving || socket.ended {
            return;
        }
        let once = match self.shard.input(key) {
            Input::Wanted => false,
            // Until CONNECT is there the connection may have to move to another shard, so
            // nothing may be under way for it. With one shard it never moves.
            Input::WantedOnce => self.neighbours.to.len() > 1,
            Input::Paused | Input::Leaving => return,
        };
        socket.receiving = true;
        if once {
            self.ring
                .receive_once(socket.fd, key, self.buffers.buffer_bytes());
        } else {
            self.ring.receive(socket.fd, key);
        }
    }

    /// Stops receiving from a paused connection that has sent enough.
    fn check_pause(&mut self, key: u32) {
        if self.shard.input(key) != Input::Paused || !self.shard.is_full(key) {
            return;
        }
        if let Some(socket) = self.sockets.get_mut(key)
            && socket.receiving
            && !socket.cancelling
        {
            socket.cancelling = true;
            self.ring.cancel_receive(key);
        }
    }
}
