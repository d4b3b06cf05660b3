//! Packets that wait to go over a link for others.

use std::mem;
use std::rc::Rc;

use shard_cluster::wire::Relayed;
use tokio::sync::Notify;

/// Bytes that wait for one link, at most.
const BYTES_MAX: usize = 1 << 20;

/// Packets, as frames, one behind the other.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Queue {
    frames: Vec<u8>,
    /// There is something.
    pub(in crate::cluster) notify: Rc<Notify>,
}

impl Queue {
    /// Adds a packet. False if there is no room.
    pub(super) fn push(&mut self, packet: &Relayed<'_>) -> bool {
        if self.frames.len() >= BYTES_MAX {
            return false;
        }
        packet.put(&mut self.frames);
        self.notify.notify_one();
        true
    }

    /// Takes all of them, in exchange for an empty buffer.
    pub(super) fn take(&mut self, empty: &mut Vec<u8>) {
        mem::swap(&mut self.frames, empty);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_dropped_until_something_is_taken() {
        let packet = Relayed {
            links: 1,
            from: "a",
            to: "b",
            packet: &[0; 1000],
        };
        let mut queue = Queue::default();
        let pushed = (0..5000).take_while(|_| queue.push(&packet)).count();
        assert!((1000..1100).contains(&pushed), "{pushed}");
        let mut out = Vec::new();
        queue.take(&mut out);
        assert!(out.len() < BYTES_MAX + 2000);
        assert!(queue.push(&packet));
    }
}
