//! Several shards in one thread, with clients, rings between the shards, the route writer
//! and a clock. What happens when is decided by a seed, and a shard gets a turn only when
//! its engine would wake up.

use std::sync::Arc;

use protocol::wire::Version;
use shard_store::Division;
use shard_sync::routes::route_index;

use super::super::{Common, Journal, Remote, RetainedQuota, Shard, ShardSetup, Stats, part};
use super::disk::Disk;
use super::engine::{Engine, Ring, Routes};
use super::packet::{self, Connect, Publish};
use super::random::Random;
use super::received::{Delivery, Received};
use super::socket::Socket;
use crate::nodes::OwnerRequest;
use crate::settings::{Mqtt, SysTopics};

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
    /// What the shards know together, but for the counters.
    pub(super) common: Common,
    /// Sessions with an expiry are stored: here, with what is there already.
    pub(super) disk: Option<Disk>,
    /// Whether there may be other nodes from the start.
    pub(super) is_clustered: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            shards: 3,
            seed: 1,
            mqtt: Mqtt::default(),
            peer_bytes_max: 256 << 10,
            ring_batches: 64,
            common: Common {
                sys_topics: SysTopics {
                    sys_msg_interval_s: 0,
                    sys_heartbeat_interval_s: 0,
                },
                ..Common::default()
            },
            disk: None,
            is_clustered: false,
        }
    }
}

/// Where a client connects from.
pub(super) fn remote(client: Client) -> Remote {
    Remote::new(([192, 0, 2, 1], 10_000 + client as u16).into(), 1883, 0)
}

/// A client's end of a connection, by number.
pub(super) type Client = usize;

pub(super) struct Node {
    pub(super) shards: Vec<Shard>,
    pub(super) now_ms: u64,
    pub(super) random: Random,
    pub(super) ring_batches: usize,
    /// By client.
    pub(super) sockets: Vec<Socket>,
    /// By shard.
    pub(super) engines: Vec<Engine>,
    /// By sender and receiver.
    pub(super) rings: Vec<Vec<Ring>>,
    pub(super) routes: Routes,
    pub(super) disk: Option<Disk>,
    /// What the shards have said about client identifiers, if others decide about them.
    pub(super) requests: Option<Vec<OwnerRequest>>,
    is_clustered: bool,
    /// The links send no routes for now, and shards of this node wait for that.
    pub(super) holds_routes: bool,
    pub(super) unsent: Vec<usize>,
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
        let retained_quota = Arc::new(RetainedQuota::default());
        let stats = (0..setup.shards).map(|_| Arc::new(Stats::default()));
        let common = Arc::new(Common {
            stats: stats.collect(),
            ..setup.common
        });
        let numbers = setup.disk.as_ref().map(|disk| Arc::clone(&disk.numbers));
        let shards = (0..setup.shards).map(|id| {
            Shard::new(ShardSetup {
                id,
                count: setup.shards,
                limits: Arc::clone(&limits),
                hash_seed: setup.seed,
                id_secret: [setup.seed, 1],
                retained_quota: Arc::clone(&retained_quota),
                peer_bytes_max: setup.peer_bytes_max,
                routes: (count > 1).then(|| reader.clone()),
                journal: numbers
                    .clone()
                    .map(|numbers| Box::new(Journal::new(numbers))),
                stats: Arc::clone(&common.stats[usize::from(id)]),
                common: Arc::clone(&common),
                now_ms: 0,
            })
        });
        let join = |mut shard: Shard| {
            if setup.is_clustered {
                shard.join_cluster(setup.peer_bytes_max);
            }
            shard
        };
        Self {
            shards: shards.map(join).collect(),
            now_ms: 0,
            random: Random::new(setup.seed),
            ring_batches: setup.ring_batches,
            sockets: Vec::new(),
            engines: (0..count).map(|_| Engine::default()).collect(),
            rings: (0..count)
                .map(|_| (0..count).map(|_| Ring::default()).collect())
                .collect(),
            routes: Routes::new((count > 1).then_some(index), count),
            disk: setup.disk,
            requests: None,
            is_clustered: setup.is_clustered,
            holds_routes: false,
            unsent: Vec::new(),
        }
    }

    /// A node whose sessions are stored.
    pub(super) fn durable(shards: u16) -> Self {
        Self::with(Setup {
            shards,
            disk: Some(Disk::new(usize::from(shards))),
            ..Setup::default()
        })
    }

    /// The node after a crash and a start with another number of shards and another seed, unless
    /// that is stored for this number: what was not on the disk is lost, and all connections.
    pub(super) fn crash(self, shards: u16) -> Self {
        let chance = self.random.clone().next() ^ 0xc0ffee;
        let disk = self.disk.map(|disk| disk.after_crash(usize::from(shards)));
        let stored = disk.as_ref().map(Disk::stored).unwrap_or_default();
        let division = stored.division.filter(|known| known.shards == shards);
        let seed = division.map_or(chance, |division| division.seed);
        let mut node = Self::with(Setup {
            shards,
            seed,
            disk,
            is_clustered: self.is_clustered,
            ..Setup::default()
        });
        node.now_ms = self.now_ms;
        node.requests = self.requests.map(|_| Vec::new());
        node.random = Random::new(chance);
        let parts = part(stored, Division { seed, shards });
        for (shard, part) in node.shards.iter_mut().zip(parts) {
            shard.set_now(node.now_ms);
            shard.restore(part);
        }
        node.turn_all();
        for shard in &mut node.shards {
            assert!(shard.is_restored());
            shard.serve();
        }
        node.turn_all();
        node
    }

    /// A turn of each shard, as its engine takes after what was called from outside.
    pub(super) fn turn_all(&mut self) {
        for shard in 0..self.shards.len() {
            self.turn(shard);
        }
        self.settle();
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
        self.sockets.push(Socket::new(version));
        let shard = usize::from(shard);
        self.shards[shard].set_now(self.now_ms);
        let key = self.shards[shard].opened(remote(client));
        self.engines[shard].sockets.insert(key, client);
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
        self.sockets[client].take()
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
        if self.routes.is_runnable() {
            runnable.push(count);
        }
        if self.disk.as_ref().is_some_and(Disk::is_runnable) {
            runnable.push(count + 1);
        }
        if runnable.is_empty() {
            return false;
        }
        let next = *self.random.pick(&runnable);
        if next == count {
            self.apply_routes();
        } else if next > count {
            let first = self.random.below(count);
            self.disk.iter_mut().for_each(|disk| disk.store(first));
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
            let shards = 0..self.shards.len();
            let timers = shards.filter_map(|shard| self.next_deadline_ms(shard));
            let next = timers.min().unwrap_or(u64::MAX);
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
                ("unfinished replays", shard.unfinished_replays.len()),
                ("timers", shard.wheel.len()),
                ("tickets", shard.tickets.len()),
                ("route waits", shard.route_waits.len()),
                ("exclusive filters", shard.exclusive.len()),
                ("delayed messages", shard.delayed.len()),
                ("unsent queues", shard.unsent.len()),
                ("members that do not read", shard.unread.len()),
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
}
