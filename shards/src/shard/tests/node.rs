//! Several shards in one thread, with what the engine does for them carried out by hand:
//! sockets, rings between the shards, the route writer and the clock. What happens when
//! is decided by a seed, and a shard gets a turn only when its engine would wake up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use protocol::wire::Version;
use shard_sync::routes::{Destination, RouteWriter, route_index};

use super::super::{Batch, Handover, Input, RouteChange, Shard, ShardSetup, Stats};
use super::packet::{self, Connect, Publish};
use super::random::Random;
use super::received::{Delivery, Received, take_packets};
use crate::settings::Mqtt;

/// Bytes that one receive operation brings.
const RECEIVE_BYTES: usize = 8 << 10;

/// How long a closing connection may take to take its last bytes, in milliseconds.
const CUT_OFF_MS: u64 = 2000;

/// Turns after which a node that has not come to rest never will.
const TURNS_MAX: usize = 1_000_000;

/// What a node is made with.
pub(super) struct Setup {
    pub(super) shards: u16,
    pub(super) seed: u64,
    pub(super) mqtt: Mqtt,
    /// Bytes of messages that may wait for one other shard.
    pub(super) peer_bytes_max: usize,
    /// Batches that fit into a ring.
    pub(super) ring_batches: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 3,
            seed: 1,
            mqtt: Mqtt::default(),
            peer_bytes_max: 256 << 10,
            ring_batches: 64,
        }
    }
}

/// A client's end of a connection, by number.
pub(super) type Client = usize;

pub(super) struct Node {
    pub(super) shards: Vec<Shard>,
    pub(super) now_ms: u64,
    pub(super) random: Random,
    ring_batches: usize,
    sockets: Vec<Socket>,
    /// By shard: the sockets it holds, by the key of their connection.
    held: Vec<BTreeMap<u32, Client>>,
    /// By shard: connections whose output was sent since they were flushed.
    sent: Vec<Vec<u32>>,
    /// By sender and receiver.
    rings: Vec<Vec<Ring>>,
    pub(super) routes: Routes,
}

#[derive(Default)]
struct Ring {
    batches: VecDeque<Box<Batch>>,
    /// The receiver does not look.
    held: bool,
}

/// The route writer.
pub(super) struct Routes {
    pub(super) index: Option<RouteWriter>,
    /// By shard.
    changes: Vec<VecDeque<RouteChange>>,
    applied: Vec<u64>,
    /// As the shard has last read it.
    seen: Vec<u64>,
    held: bool,
}

/// A connection, from the kernel's point of view.
struct Socket {
    version: Version,
    /// Sent by the client and not received by the shard.
    to_broker: VecDeque<u8>,
    /// The client has closed its side.
    ended: bool,
    /// Under way to the client.
    sending: Vec<u8>,
    /// The client takes what comes.
    reads: bool,
    from_broker: Vec<u8>,
    /// Packets from the broker that were taken apart and put back.
    packets: Vec<Received>,
    /// When the broker cuts it off, once it is closing.
    cut_off_ms: Option<u64>,
    /// Nothing comes any more.
    closed: bool,
}

impl Node {
    pub(super) fn new(shards: u16) -> Self {
        Self::with(Setup {
            shards,
            ..Setup::default()
        })
    }

    pub(super) fn with(setup: Setup) -> Self {
        let count = usize::from(setup.shards);
        let (index, reader) = route_index(setup.seed);
        let limits = Arc::new(setup.mqtt);
        let shards = (0..setup.shards).map(|id| {
            Shard::new(ShardSetup {
                id,
                count: setup.shards,
                limits: Arc::clone(&limits),
                hash_seed: setup.seed,
                id_secret: [setup.seed, 1],
                peer_bytes_max: setup.peer_bytes_max,
                routes: (count > 1).then(|| reader.clone()),
                stats: Arc::new(Stats::default()),
                now_ms: 0,
            })
        });
        Self {
            shards: shards.collect(),
            now_ms: 0,
            random: Random::new(setup.seed),
            ring_batches: setup.ring_batches,
            sockets: Vec::new(),
            held: vec![BTreeMap::new(); count],
            sent: vec![Vec::new(); count],
            rings: (0..count)
                .map(|_| (0..count).map(|_| Ring::default()).collect())
                .collect(),
            routes: Routes {
                index: (count > 1).then_some(index),
                changes: vec![VecDeque::new(); count],
                applied: vec![0; count],
                seen: vec![0; count],
                held: false,
            },
        }
    }

    /// The shard that a client identifier belongs to.
    pub(super) fn home(&self, client_id: &str) -> u16 {
        self.shards[0].shard_of(client_id)
    }

    /// A name that begins with `prefix` and belongs to a shard: a client identifier or a
    /// topic.
    pub(super) fn name_at(&self, shard: u16, prefix: &str) -> String {
        let mut names = (0..).map(|number| format!("{prefix}-{number}"));
        names
            .find(|name| self.home(name) == shard)
            .expect("names never end")
    }

    /// Opens a connection, which the given shard accepts.
    pub(super) fn open(&mut self, shard: u16, version: Version) -> Client {
        let client = self.sockets.len();
        self.sockets.push(Socket {
            version,
            to_broker: VecDeque::new(),
            ended: false,
            sending: Vec::new(),
            reads: true,
            from_broker: Vec::new(),
            packets: Vec::new(),
            cut_off_ms: None,
            closed: false,
        });
        let shard = usize::from(shard);
        self.shards[shard].set_now(self.now_ms);
        let key = self.shards[shard].opened();
        self.held[shard].insert(key, client);
        client
    }

    /// Connects and takes the CONNACK, which says yes; what comes behind it stays. Also
    /// says whether the session was present.
    pub(super) fn connect_at(&mut self, shard: u16, connect: &Connect) -> (Client, bool) {
        let client = self.open(shard, connect.version);
        self.send(client, &connect.encode());
        self.settle();
        let mut packets = self.take(client);
        let Some(&Received::ConnAck { present, reason: 0 }) = packets.first() else {
            panic!("{connect:?} was answered by {packets:?}");
        };
        self.sockets[client].packets = packets.split_off(1);
        (client, present)
    }

    /// Connects through a shard that chance picks.
    pub(super) fn connect(&mut self, connect: &Connect) -> Client {
        let shard = self.random.below(self.shards.len()) as u16;
        self.connect_at(shard, connect).0
    }

    /// A 5.0 client with a clean session that lives on the given shard.
    pub(super) fn client_on(&mut self, shard: u16, prefix: &str) -> Client {
        let name = self.name_at(shard, prefix);
        self.connect(&Connect::new(&name))
    }

    /// Subscribes to one filter and takes the SUBACK, which grants what was asked for.
    pub(super) fn subscribe(&mut self, client: Client, filter: &str, options: u8) {
        let version = self.sockets[client].version;
        let packet = packet::subscribe(version, 77, 0, &[(filter, options)]);
        self.send(client, &packet);
        self.settle();
        let codes = vec![options & 3];
        assert_eq!(self.take_first(client), Received::SubAck { id: 77, codes });
    }

    pub(super) fn publish(&mut self, client: Client, publish: &Publish) {
        let packet = publish.encode(self.sockets[client].version);
        self.send(client, &packet);
    }

    /// Sends bytes.
    pub(super) fn send(&mut self, client: Client, bytes: &[u8]) {
        self.sockets[client].to_broker.extend(bytes);
    }

    /// Closes the client's side behind what it has sent.
    pub(super) fn close(&mut self, client: Client) {
        self.sockets[client].ended = true;
    }

    /// Closes the connection and forgets what the shard has not received.
    pub(super) fn cut(&mut self, client: Client) {
        self.sockets[client].to_broker.clear();
        self.close(client);
    }

    /// Whether the client is to take what comes.
    pub(super) fn set_reading(&mut self, client: Client, reads: bool) {
        self.sockets[client].reads = reads;
    }

    /// Bytes that the client has sent and no shard has received.
    pub(super) fn waiting_input(&self, client: Client) -> usize {
        self.sockets[client].to_broker.len()
    }

    /// Acknowledges a message: for QoS 2, to the end of the exchange.
    pub(super) fn acknowledge(&mut self, client: Client, message: &Delivery) {
        match message.qos {
            0 => {}
            1 => self.send(client, &packet::puback(message.id)),
            _ => {
                self.send(client, &packet::pubrec(message.id));
                self.settle();
                let pubrel = Received::PubRel {
                    id: message.id,
                    reason: 0,
                };
                let packets = self.take(client).into_iter();
                let (releases, others): (Vec<_>, Vec<_>) =
                    packets.partition(|packet| *packet == pubrel);
                assert_eq!(releases.len(), 1, "{releases:?}");
                self.sockets[client].packets = others;
                self.send(client, &packet::pubcomp(message.id));
            }
        }
    }

    /// Whether the broker has closed the connection and all before that has come.
    pub(super) fn is_closed(&self, client: Client) -> bool {
        self.sockets[client].closed
    }

    /// Takes the packets that have come.
    pub(super) fn take(&mut self, client: Client) -> Vec<Received> {
        let socket = &mut self.sockets[client];
        let mut packets = std::mem::take(&mut socket.packets);
        packets.extend(take_packets(socket.version, &mut socket.from_broker));
        packets
    }

    /// Takes the messages that have come; no other packets have.
    pub(super) fn take_messages(&mut self, client: Client) -> Vec<Delivery> {
        let packets = self.take(client).into_iter();
        packets
            .map(|packet| match packet {
                Received::Publish(delivery) => delivery,
                other => panic!("expected messages only, got {other:?}"),
            })
            .collect()
    }

    /// Takes the payloads of the messages that have come; no other packets have.
    pub(super) fn take_texts(&mut self, client: Client) -> Vec<String> {
        let messages = self.take_messages(client);
        messages.iter().map(|m| m.text().to_owned()).collect()
    }

    /// Takes the one packet that has come.
    #[track_caller]
    pub(super) fn take_first(&mut self, client: Client) -> Received {
        let mut packets = self.take(client);
        assert_eq!(packets.len(), 1, "one packet was expected: {packets:?}");
        packets.remove(0)
    }

    /// The shard on the other end of a ring does not look at it until it is released.
    pub(super) fn hold_ring(&mut self, from: u16, to: u16, held: bool) {
        self.rings[usize::from(from)][usize::from(to)].held = held;
    }

    /// The route writer rests until it is released.
    pub(super) fn hold_routes(&mut self, held: bool) {
        self.routes.held = held;
    }

    /// Lets things happen in random order until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.step() {
                return;
            }
        }
        panic!("the node does not come to rest");
    }

    /// One turn of one shard or of the route writer. False when there is nothing to do.
    pub(super) fn step(&mut self) -> bool {
        let count = self.shards.len();
        let runnable = (0..count).filter(|shard| self.is_runnable(*shard));
        let mut runnable: Vec<usize> = runnable.collect();
        if !self.routes.held
            && self
                .routes
                .changes
                .iter()
                .any(|changes| !changes.is_empty())
        {
            runnable.push(count);
        }
        if runnable.is_empty() {
            return false;
        }
        let next = *self.random.pick(&runnable);
        if next == count {
            self.apply_routes();
        } else {
            self.turn(next);
        }
        true
    }

    /// Lets time pass, and what is due happen when it is due.
    pub(super) fn advance(&mut self, ms: u64) {
        let target = self.now_ms + ms;
        loop {
            self.settle();
            let timers = self.shards.iter().filter_map(Shard::next_deadline_ms);
            let cut_offs = self.held.iter().flat_map(BTreeMap::values);
            let cut_offs = cut_offs.filter_map(|client| self.sockets[*client].cut_off_ms);
            let next = timers.chain(cut_offs).min().unwrap_or(u64::MAX);
            if next > target {
                break;
            }
            assert!(next > self.now_ms, "what is due was not done");
            self.now_ms = next;
        }
        self.now_ms = target;
        self.settle();
    }

    /// Checks that no shard holds anything for anybody but retained messages.
    #[track_caller]
    pub(super) fn assert_empty(&self) {
        for (id, shard) in self.shards.iter().enumerate() {
            let held = [
                ("connections", shard.connections.len()),
                ("sessions", shard.sessions.len()),
                ("clients", shard.clients.len()),
                ("subscriptions", shard.subscriptions.len()),
                ("filters", shard.subscriptions.filters_len()),
                ("replays", shard.replays.len()),
                ("stalled replays", shard.stalled_replays.len()),
                ("timers", shard.wheel.len()),
                ("tickets", shard.tickets.len()),
                ("route waits", shard.route_waits.len()),
                ("paused connections", shard.paused.len()),
                ("dirty connections", shard.outbox.dirty.len()),
            ];
            let left: Vec<_> = held.iter().filter(|(_, count)| *count > 0).collect();
            assert!(left.is_empty(), "shard {id} still holds {left:?}");
            assert_eq!(shard.stats.connections.get(), 0);
            assert_eq!(shard.stats.sessions.get(), 0);
        }
        if let Some(index) = &self.routes.index {
            assert!(index.is_empty(), "{} filters have a route", index.len());
        }
    }

    /// Whether the engine of a shard would wake up.
    fn is_runnable(&self, shard: usize) -> bool {
        let logic = &self.shards[shard];
        let others = 0..self.shards.len();
        let mut held = self.held[shard].iter();
        !self.sent[shard].is_empty()
            || !logic.outbox.dirty.is_empty()
            || logic.has_work()
            || logic
                .next_deadline_ms()
                .is_some_and(|due| due <= self.now_ms)
            || self.routes.applied[shard] > self.routes.seen[shard]
            || others
                .clone()
                .any(|from| self.rings[from][shard].is_ready())
            || others.clone().any(|to| {
                logic.has_batch(to as u16)
                    && self.rings[shard][to].batches.len() < self.ring_batches
            })
            || held.any(|(key, client)| {
                let socket = &self.sockets[*client];
                socket.can_send() || socket.is_due(self.now_ms) || self.has_input(shard, *key)
            })
    }

    /// Whether a receive operation is under way that ends.
    fn has_input(&self, shard: usize, key: u32) -> bool {
        let socket = &self.sockets[self.held[shard][&key]];
        let wanted = match self.shards[shard].input(key) {
            Input::Wanted | Input::WantedOnce => true,
            Input::Paused => !self.shards[shard].is_full(key),
            Input::Leaving => false,
        };
        wanted && (socket.ended || !socket.to_broker.is_empty())
    }

    fn apply_routes(&mut self) {
        let Some(index) = &mut self.routes.index else {
            return;
        };
        let shard = self.random.below(self.shards.len());
        let count = self.random.below(3) + 1;
        for _ in 0..count {
            let Some(change) = self.routes.changes[shard].pop_front() else {
                return;
            };
            let destination = Destination::Shard(shard as u8);
            match change {
                RouteChange::Add(filter) => {
                    index.add(&filter, destination).expect("an index with room");
                }
                RouteChange::Remove(filter) => {
                    index.remove(&filter, destination);
                }
            }
            self.routes.applied[shard] += 1;
        }
    }

    /// A turn of a shard, step by step as in the engine.
    fn turn(&mut self, shard: usize) {
        self.shards[shard].set_now(self.now_ms);
        self.complete_operations(shard);
        self.take_batches(shard);
        self.shards[shard].tick();
        self.shards[shard].finish_turn();
        for handover in self.shards[shard].take_handovers() {
            self.hand_over(shard, handover);
        }
        self.flush(shard);
        self.send_batches(shard);
    }

    fn complete_operations(&mut self, shard: usize) {
        let keys: Vec<u32> = self.held[shard].keys().copied().collect();
        for key in keys {
            let client = self.held[shard][&key];
            if self.sockets[client].is_due(self.now_ms) {
                self.end(shard, key);
                continue;
            }
            let socket = &mut self.sockets[client];
            if socket.can_send() && !self.random.one_in(4) {
                socket.from_broker.append(&mut socket.sending);
                self.sent[shard].push(key);
            }
            if self.has_input(shard, key) && !self.random.one_in(4) {
                self.receive(shard, key);
            }
        }
    }

    fn receive(&mut self, shard: usize, key: u32) {
        let client = self.held[shard][&key];
        let socket = &mut self.sockets[client];
        let waiting = socket.to_broker.len().min(RECEIVE_BYTES);
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
        if let Some(client) = self.held[shard].remove(&key) {
            self.sockets[client].closed = true;
            self.sockets[client].sending = Vec::new();
        }
    }

    fn take_batches(&mut self, shard: usize) {
        for from in 0..self.shards.len() {
            if !self.rings[from][shard].is_ready() || self.random.one_in(4) {
                continue;
            }
            let Some(batch) = self.rings[from][shard].batches.pop_front() else {
                continue;
            };
            let mut arrived = Vec::new();
            let adopt = &mut |connection| arrived.push(connection);
            self.shards[shard].handle_batch(from as u16, batch, adopt);
            for connection in arrived {
                let key = self.shards[shard].opened();
                self.held[shard].insert(key, connection.fd as Client);
                self.shards[shard].received(key, &connection.input);
            }
        }
        self.routes.seen[shard] = self.routes.applied[shard];
        self.shards[shard].routes_applied(self.routes.seen[shard]);
    }

    fn hand_over(&mut self, shard: usize, handover: Handover) {
        let Some(client) = self.held[shard].remove(&handover.connection) else {
            return;
        };
        self.shards[shard].release(handover.connection);
        self.shards[shard].send_connection(handover, client as i32, 0);
    }

    fn flush(&mut self, shard: usize) {
        let mut dirty = std::mem::take(&mut self.sent[shard]);
        self.shards[shard].take_dirty(&mut dirty);
        for key in dirty {
            let Some(&client) = self.held[shard].get(&key) else {
                continue;
            };
            let Some(flush) = self.shards[shard].flush(key) else {
                continue;
            };
            let socket = &mut self.sockets[client];
            if socket.sending.is_empty() {
                std::mem::swap(&mut socket.sending, flush.output);
            }
            if flush.close && socket.sending.is_empty() {
                self.end(shard, key);
            } else if flush.close && socket.cut_off_ms.is_none() {
                socket.cut_off_ms = Some(self.now_ms + CUT_OFF_MS);
            }
        }
    }

    fn send_batches(&mut self, shard: usize) {
        for (to, ring) in self.rings[shard].iter_mut().enumerate() {
            if ring.batches.len() < self.ring_batches
                && let Some(batch) = self.shards[shard].take_batch(to as u16)
            {
                ring.batches.push_back(batch);
            }
        }
        let changes = self.shards[shard].take_route_changes();
        self.routes.changes[shard].extend(changes);
    }
}

impl Ring {
    fn is_ready(&self) -> bool {
        !self.held && !self.batches.is_empty()
    }
}

impl Socket {
    /// A send operation is under way that ends.
    fn can_send(&self) -> bool {
        self.reads && !self.sending.is_empty()
    }

    fn is_due(&self, now_ms: u64) -> bool {
        self.cut_off_ms.is_some_and(|due| due <= now_ms)
    }
}
