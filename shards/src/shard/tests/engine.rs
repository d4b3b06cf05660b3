//! What the engine does for a shard, without the kernel: a turn follows it step by step.

use std::collections::{BTreeMap, VecDeque};

use shard_sync::routes::{Destination, RouteWriter};

use super::super::{Batch, Handover, Input, RouteChange};
use super::node::{Client, Node, remote};
use crate::nodes::{OwnerEvent, OwnerRequest};

/// How long a closing connection may take to take its last bytes, in milliseconds.
const CUT_OFF_MS: u64 = 2000;

/// What the engine of one shard holds.
#[derive(Default)]
pub(super) struct Engine {
    /// The sockets, by the key of their connection.
    pub(super) sockets: BTreeMap<u32, Client>,
    /// Connections whose last send operation has not been looked at.
    unconfirmed: Vec<u32>,
    /// To be looked at even if nothing else happens.
    confirm_soon: bool,
    /// Connections to be flushed with those that have new output.
    dirty: Vec<u32>,
}

/// From one shard to another.
#[derive(Default)]
pub(super) struct Ring {
    batches: VecDeque<Box<Batch>>,
    /// The receiver does not look.
    pub(super) held: bool,
}

/// The route writer.
pub(super) struct Routes {
    /// `None` where there is one shard.
    pub(super) index: Option<RouteWriter>,
    /// By shard.
    changes: Vec<VecDeque<RouteChange>>,
    applied: Vec<u64>,
    /// As the shard has last read it.
    seen: Vec<u64>,
    pub(super) held: bool,
    /// What was applied, in order.
    pub(super) said: Vec<RouteChange>,
}

impl Routes {
    pub(super) fn new(index: Option<RouteWriter>, shards: usize) -> Self {
        Self {
            index,
            changes: vec![VecDeque::new(); shards],
            applied: vec![0; shards],
            seen: vec![0; shards],
            held: false,
            said: Vec::new(),
        }
    }

    /// Whether the writer has something to do.
    pub(super) fn is_runnable(&self) -> bool {
        !self.held && self.changes.iter().any(|changes| !changes.is_empty())
    }
}

impl Ring {
    fn is_ready(&self) -> bool {
        !self.held && !self.batches.is_empty()
    }
}

impl Node {
    /// Whether the engine of a shard would wake up, or would not have gone to sleep.
    pub(super) fn is_runnable(&self, shard: usize) -> bool {
        let (logic, engine) = (&self.shards[shard], &self.engines[shard]);
        let others = 0..self.shards.len();
        let mut sockets = engine.sockets.iter();
        engine.confirm_soon
            || !logic.outbox.dirty.is_empty()
            || logic.has_work()
            || logic
                .next_deadline_ms()
                .is_some_and(|due| due <= self.now_ms)
            || self.routes.applied[shard] > self.routes.seen[shard]
            || self.disk.as_ref().is_some_and(|disk| disk.has_news(shard))
            || !logic.is_stored()
            || others
                .clone()
                .any(|from| self.rings[from][shard].is_ready())
            || others.clone().any(|to| {
                logic.has_batch(to as u16)
                    && self.rings[shard][to].batches.len() < self.ring_batches
            })
            || sockets.any(|(key, client)| {
                let socket = &self.sockets[*client];
                socket.is_writable() || socket.is_due(self.now_ms) || self.has_input(shard, *key)
            })
    }

    /// When the engine of a shard wakes up by itself.
    pub(super) fn next_deadline_ms(&self, shard: usize) -> Option<u64> {
        let clients = self.engines[shard].sockets.values();
        let cut_offs = clients.filter_map(|client| self.sockets[*client].cut_off_ms);
        cut_offs.chain(self.shards[shard].next_deadline_ms()).min()
    }

    /// Whether a receive operation is under way that ends.
    fn has_input(&self, shard: usize, key: u32) -> bool {
        let socket = &self.sockets[self.engines[shard].sockets[&key]];
        let wanted = match self.shards[shard].input(key) {
            Input::Wanted | Input::WantedOnce => true,
            Input::Paused => !self.shards[shard].is_full(key),
            Input::Leaving => false,
        };
        wanted && (socket.ended || !socket.to_broker.is_empty())
    }

    /// The route writer applies some changes of one shard.
    pub(super) fn apply_routes(&mut self) {
        let Some(index) = &mut self.routes.index else {
            return;
        };
        let shard = self.random.below(self.shards.len());
        for _ in 0..=self.random.below(3) {
            let Some(change) = self.routes.changes[shard].pop_front() else {
                return;
            };
            let destination = Destination::Shard(shard as u8);
            match &change {
                RouteChange::Add(filter) | RouteChange::AddHere(filter) => {
                    let added = index.add(filter, destination);
                    assert!(added.is_ok(), "the index has room");
                }
                RouteChange::Remove(filter) | RouteChange::RemoveHere(filter) => {
                    index.remove(filter, destination);
                }
                RouteChange::Announce(_) | RouteChange::Withdraw(_) | RouteChange::Fence => {}
            }
            self.routes.said.push(change);
            self.routes.applied[shard] += 1;
        }
    }

    /// A turn of a shard.
    pub(super) fn turn(&mut self, shard: usize) {
        self.shards[shard].set_now(self.now_ms);
        self.confirm_sends(shard);
        self.complete_operations(shard);
        self.take_batches(shard);
        self.shards[shard].tick();
        self.shards[shard].finish_turn();
        for handover in self.shards[shard].take_handovers() {
            self.hand_over(shard, handover);
        }
        self.flush(shard);
        self.send_batches(shard);
        self.ask_for_clients(shard);
    }

    /// Takes what a shard says about client identifiers: they are this node's, if nobody
    /// decides otherwise.
    fn ask_for_clients(&mut self, shard: usize) {
        let Some(mut asked) = self.shards[shard].take_owner_requests() else {
            return;
        };
        let before = asked.len();
        asked.retain(|request| !matches!(request, OwnerRequest::AskPassedOn { .. }));
        if asked.len() < before {
            self.unsent.push(shard);
            if !self.holds_routes {
                self.send_routes();
            }
        }
        if let Some(requests) = &mut self.requests {
            return requests.extend(asked);
        }
        let granted = asked.into_iter().filter_map(|request| match request {
            OwnerRequest::Claim { client } => Some(OwnerEvent::Granted {
                client,
                epoch: 1,
                former: None,
            }),
            _ => None,
        });
        let granted: Vec<OwnerEvent> = granted.collect();
        if !granted.is_empty() {
            self.shards[shard].owner_events(granted);
            self.turn(shard);
        }
    }

    /// The links send what there is.
    pub(super) fn send_routes(&mut self) {
        self.holds_routes = false;
        for shard in std::mem::take(&mut self.unsent) {
            let number = shard as u16;
            self.shards[shard].owner_events(vec![OwnerEvent::PassedOn { shard: number }]);
            self.turn(shard);
        }
    }

    fn confirm_sends(&mut self, shard: usize) {
        let engine = &mut self.engines[shard];
        engine.confirm_soon = false;
        for key in std::mem::take(&mut engine.unconfirmed) {
            let Some(client) = engine.sockets.get(&key) else {
                continue;
            };
            let socket = &mut self.sockets[*client];
            socket.in_send = false;
            if std::mem::take(&mut socket.more) || socket.closing {
                engine.dirty.push(key);
            }
        }
    }

    /// Send and receive operations end, some of them.
    fn complete_operations(&mut self, shard: usize) {
        let keys: Vec<u32> = self.engines[shard].sockets.keys().copied().collect();
        for key in keys {
            let socket = &mut self.sockets[self.engines[shard].sockets[&key]];
            if socket.is_due(self.now_ms) {
                self.end(shard, key);
                continue;
            }
            if socket.is_writable() && !self.random.one_in(4) {
                socket.send_stuck();
                let engine = &mut self.engines[shard];
                engine.unconfirmed.push(key);
                engine.confirm_soon |=
                    socket.closing || socket.more || self.shards[shard].waits_for_output();
            }
            if self.has_input(shard, key) && !self.random.one_in(4) {
                self.receive(shard, key);
            }
        }
    }

    fn receive(&mut self, shard: usize, key: u32) {
        let socket = &mut self.sockets[self.engines[shard].sockets[&key]];
        let waiting = socket.waiting();
        if waiting == 0 {
            self.end(shard, key);
            return;
        }
        let count = if self.random.one_in(3) {
            self.random.below(waiting) + 1
        } else {
            waiting
        };
        let input: Vec<u8> = socket.to_broker.drain(..count).collect();
        self.shards[shard].received(key, &input);
    }

    /// The connection is over on both sides.
    fn end(&mut self, shard: usize, key: u32) {
        self.shards[shard].closed_by_peer(key);
        self.shards[shard].release(key);
        if let Some(client) = self.engines[shard].sockets.remove(&key) {
            self.sockets[client].close();
        }
    }

    /// Takes a batch of some shards.
    fn take_batches(&mut self, shard: usize) {
        for from in 0..self.shards.len() {
            if !self.rings[from][shard].is_ready() || self.random.one_in(4) {
                continue;
            }
            let Some(batch) = self.rings[from][shard].batches.pop_front() else {
                continue;
            };
            // The sender's engine looks at its ring again soon.
            let held = self.rings[from][shard].batches.len();
            self.shards[from].ring_holds(shard as u16, held);
            let mut arrived = Vec::new();
            let adopt = &mut |connection| arrived.push(connection);
            self.shards[shard].handle_batch(from as u16, batch, adopt);
            for connection in arrived {
                let client = connection.fd as Client;
                let key = self.shards[shard].opened(remote(client));
                self.engines[shard].sockets.insert(key, client);
                self.shards[shard].received(key, &connection.input);
            }
        }
        self.routes.seen[shard] = self.routes.applied[shard];
        self.shards[shard].routes_applied(self.routes.seen[shard]);
        if let Some(disk) = &mut self.disk {
            let (commit, full) = (disk.read(shard), disk.full);
            self.shards[shard].committed(commit, false, full);
        }
    }

    fn hand_over(&mut self, shard: usize, handover: Handover) {
        let sockets = &mut self.engines[shard].sockets;
        let Some(client) = sockets.remove(&handover.connection) else {
            return;
        };
        self.shards[shard].release(handover.connection);
        self.shards[shard].send_connection(handover, client as i32, 0);
    }

    fn flush(&mut self, shard: usize) {
        let mut dirty = std::mem::take(&mut self.engines[shard].dirty);
        self.shards[shard].take_dirty(&mut dirty);
        for key in dirty {
            self.flush_one(shard, key);
        }
    }

    fn flush_one(&mut self, shard: usize, key: u32) {
        let (logic, engine) = (&mut self.shards[shard], &mut self.engines[shard]);
        let Some(client) = engine.sockets.get(&key) else {
            return;
        };
        let waiting = logic.waits_for_output();
        let Some(flush) = logic.flush(key) else {
            return;
        };
        let socket = &mut self.sockets[*client];
        socket.closing |= flush.close;
        if !flush.output.is_empty() {
            if socket.in_send {
                socket.more = true;
            } else if socket.send(flush.output) {
                engine.unconfirmed.push(key);
                engine.confirm_soon |= socket.closing || waiting;
            }
        }
        if !socket.closing {
            return;
        }
        if !socket.in_send {
            self.end(shard, key);
        } else if socket.cut_off_ms.is_none() {
            socket.cut_off_ms = Some(self.now_ms + CUT_OFF_MS);
        }
    }

    fn send_batches(&mut self, shard: usize) {
        for (to, ring) in self.rings[shard].iter_mut().enumerate() {
            self.shards[shard].ring_holds(to as u16, ring.batches.len());
            if ring.batches.len() < self.ring_batches
                && let Some(batch) = self.shards[shard].take_batch(to as u16)
            {
                ring.batches.push_back(batch);
            }
        }
        let changes = self.shards[shard].take_route_changes();
        self.routes.changes[shard].extend(changes);
        if let Some(disk) = &mut self.disk
            && let Some(commit) = self.shards[shard].take_commit()
        {
            disk.send(shard, commit);
        }
    }
}
