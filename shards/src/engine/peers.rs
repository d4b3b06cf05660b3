//! What goes to the other shards and comes from them.

use std::sync::atomic::Ordering;

use super::Engine;
use crate::bits::bits;

/// Bytes of messages on their way to the store from which on publishers with QoS 1 and 2 wait.
const STORE_BYTES_MAX: u64 = 64 << 20;

impl Engine {
    /// Handles what other shards have sent, one batch of each.
    pub(super) fn take_batches(&mut self) {
        for from in 0..self.neighbours.from.len() {
            let Some(consumer) = &mut self.neighbours.from[from] else {
                continue;
            };
            let Some(batch) = consumer.pop() else {
                continue;
            };
            let mut adopted = Vec::new();
            self.shard
                .handle_batch(from as u16, batch, &mut |connection| {
                    adopted.push(connection)
                });
            for connection in adopted {
                self.adopt(connection.fd, connection.listener, &connection.input);
            }
        }
        self.take_from_nodes();
        self.answer_operator();
        if let Some(routes) = &mut self.routes {
            let applied = routes.applied();
            self.shard.routes_applied(applied);
        }
        if let Some(store) = &mut self.store {
            let behind = store.bytes_under_way() > STORE_BYTES_MAX;
            let committed = store.committed();
            self.shard.committed(committed, behind, store.is_full());
            if store.is_stuck() {
                self.shard.end_waits();
            }
        }
    }

    /// Handles what other nodes have sent, one batch, and hears what they have accepted.
    fn take_from_nodes(&mut self) {
        let Some(nodes) = &mut self.neighbours.nodes else {
            return;
        };
        for node in bits(self.shard.nodes_known()) {
            nodes.known = nodes.known.max(usize::from(node) + 1);
            let to = &mut nodes.to[usize::from(node)];
            let taken = to.taken.load(Ordering::Acquire);
            if taken != to.taken_seen {
                to.taken_seen = taken;
                for lost in to.lost.take() {
                    self.shard.node_lost(node, lost);
                }
            }
            self.shard.node_accepted(node, to.taken_seen);
        }
        if let Some((node, batch)) = nodes.from.pop() {
            self.shard.handle_node_batch(node, batch);
        }
        if let Some(events) = nodes.owners.from.pop() {
            self.shard.owner_events(events);
        }
    }

    /// Answers one question of those who look after the broker.
    fn answer_operator(&mut self) {
        if let Some(operator) = &mut self.neighbours.operator
            && let Some((number, question)) = operator.from.pop()
        {
            let answer = Box::new(self.shard.tell_operator(&question));
            // There are never more questions open than answers have room.
            let pushed = operator.to.push((number, answer));
            debug_assert!(pushed.is_ok());
            operator.doorbell.ring();
        }
    }

    /// Puts what there is for each node into its ring, and says what was accepted.
    fn send_to_nodes(&mut self) {
        let Some(nodes) = &mut self.neighbours.nodes else {
            return;
        };
        let mut news = false;
        if nodes.owners.has_room()
            && let Some(requests) = self.shard.take_owner_requests()
        {
            // There was room, and only this shard fills the ring.
            let pushed = nodes.owners.to.push(requests);
            debug_assert!(pushed.is_ok());
            news = true;
        }
        for node in bits(self.shard.nodes_known()) {
            let to = &mut nodes.to[usize::from(node)];
            let peer = self.shard.node_peer(node);
            let held = to.ring.len();
            self.shard.ring_holds(peer, held);
            if held < to.ring.capacity()
                && let Some(batch) = self.shard.take_batch(peer)
            {
                // There was room, and only this shard fills the ring.
                let pushed = to.ring.push(batch);
                debug_assert!(pushed.is_ok());
                news = true;
            }
            if let Some(accepted) = self.shard.take_accepted(node) {
                to.accepted.store(accepted.count, Ordering::Release);
                // What is not urgent is seen with the next news, or a tick of the links.
                news |= accepted.is_urgent;
            }
        }
        if news {
            nodes.doorbell.ring();
        }
    }

    /// Sends connections that belong to other shards on their way.
    pub(super) fn send_handovers(&mut self) {
        for handover in self.shard.take_handovers() {
            let Some(socket) = self.sockets.remove(handover.connection) else {
                continue;
            };
            self.shard.release(handover.connection);
            self.shard
                .send_connection(handover, socket.fd, socket.listener);
        }
    }

    /// Puts what there is for each other shard into its ring, as one batch. What finds no
    /// room stays, grows with what is added, and goes when there is room.
    pub(super) fn send_batches(&mut self) {
        for (peer, outward) in self.neighbours.to.iter_mut().enumerate() {
            let Some(outward) = outward else { continue };
            let held = outward.ring.len();
            self.shard.ring_holds(peer as u16, held);
            if held == outward.ring.capacity() {
                continue;
            }
            if let Some(batch) = self.shard.take_batch(peer as u16) {
                // There was room, and only this shard fills the ring.
                let pushed = outward.ring.push(batch);
                debug_assert!(pushed.is_ok());
                outward.doorbell.ring();
            }
        }
        self.send_to_nodes();
        if let Some(routes) = &mut self.routes {
            for change in self.shard.take_route_changes() {
                routes.send(change);
            }
            routes.ring();
        }
        if let Some(store) = &mut self.store {
            if let Some(commit) = self.shard.take_commit() {
                store.send(*commit);
            }
            store.ring();
        }
    }
}
