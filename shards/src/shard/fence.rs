//! A node that may not acknowledge: it has no lease from a majority of the cores.
//!
//! Whoever has given this node up may have taken over its sessions, and messages for them no
//! longer come here. So a node without a lease takes no message of QoS 1 or 2 from its clients,
//! and neither sends what it owes for those before nor what waits for the disk. All of it goes
//! on when there is a lease again; clients that do not want to wait for that connect elsewhere.
//! QoS 0, and what sessions here already have, flow on.
//!
//! The lease ends by this shard's own clock, which is looked at when a turn begins: what is
//! decided in a turn is sent at its end. The thread with the links rings when there is a new one,
//! which it tells only when this shard has heard whose its clients are: while there was none,
//! another node may have got them.

use std::sync::atomic::Ordering;

use super::Shard;

/// Whether the node may acknowledge, and what waits until it may. Owned by its shard.
#[derive(Debug, Default)]
pub(super) struct Fence {
    pub(super) is_up: bool,
    /// The node stops and has no clients any more: nothing is held back.
    is_over: bool,
    /// Connections, with their serials, that have acknowledgements to send.
    waiting: Vec<(u32, u32)>,
}

impl Shard {
    /// Whether the node may not acknowledge QoS 1 and 2 now.
    #[inline]
    pub(super) fn is_fenced(&self) -> bool {
        self.fence.is_up
    }

    /// Looks at the lease, at the beginning of a turn.
    pub(super) fn watch_lease(&mut self) {
        let until_ms = self.common.lease_until_ms.load(Ordering::Acquire);
        let is_up = self.now_ms >= until_ms && !self.fence.is_over;
        let was_up = core::mem::replace(&mut self.fence.is_up, is_up);
        if was_up && !is_up {
            for (key, serial) in core::mem::take(&mut self.fence.waiting) {
                self.release_acks(key, serial);
            }
        }
    }

    /// A connection's acknowledgements are sent when the fence is down.
    pub(super) fn wait_for_lease(&mut self, key: u32, serial: u32) {
        self.fence.waiting.push((key, serial));
    }

    /// The node stops and all clients are sent away: what is still to be stored is stored.
    pub(super) fn end_fence(&mut self) {
        self.fence.is_over = true;
        self.watch_lease();
    }
}
