//! What is published while a session moves comes once and in order, whatever overtakes what.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cluster::Cluster;
use super::node::Client;
use super::packet::{self, Connect, Publish};
use super::random::Random;
use super::received::Received;

/// Seeds of a test run; `SHARDMQ_SIM_SEEDS` says another number, `SHARDMQ_SIM_SEED` runs one.
const SEEDS: u64 = 400;

const NODES: usize = 3;

/// Things that happen in one run.
const EVENTS: usize = 120;

fn kept(name: &str) -> Connect {
    Connect::new(name).resume().expiry(1000)
}

/// A client that moves, and all that it has got on any node.
struct Mover {
    name: &'static str,
    /// Its connections, the last one at the end, and of each whether it was let in.
    connections: Vec<(usize, Client, bool)>,
    /// What it is to answer, and to whom.
    answers: Vec<(usize, Client, Vec<u8>)>,
    /// By publisher: what has come.
    came: BTreeMap<String, Vec<u32>>,
}

impl Mover {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            connections: Vec::new(),
            answers: Vec::new(),
            came: BTreeMap::new(),
        }
    }

    /// Connects to another node, if it is not on its way to one.
    fn moves_to(&mut self, cluster: &mut Cluster, node: usize) {
        if let Some((before, client, false)) = self.connections.last()
            && !cluster.nodes[*before].is_closed(*client)
        {
            return;
        }
        let client = cluster.begin(node, &kept(self.name));
        self.connections.push((node, client, false));
    }

    /// Takes what has come on all connections, and acknowledges it.
    fn reads(&mut self, cluster: &mut Cluster) {
        self.takes(cluster);
        for (node, client, answer) in self.answers.drain(..) {
            cluster.nodes[node].send(client, &answer);
        }
    }

    /// Takes what has come on the last connection, and until there is something, on the one
    /// before: that is closed then.
    fn takes(&mut self, cluster: &mut Cluster) {
        let Some((node, client, _)) = self.connections.last().copied() else {
            return;
        };
        let packets = cluster.nodes[node].take(client);
        let before = self.connections.iter().rev().nth(1).copied();
        if let Some((node, client, true)) = before {
            let packets = cluster.nodes[node].take(client);
            self.takes_from(node, client, packets);
        }
        if !packets.is_empty() {
            let last = self.connections.len() - 1;
            for (node, client, _) in self.connections.drain(..last) {
                cluster.nodes[node].cut(client);
            }
        }
        self.takes_from(node, client, packets);
    }

    fn takes_from(&mut self, node: usize, client: Client, packets: Vec<Received>) {
        let mut answer = |packet| self.answers.push((node, client, packet));
        for packet in packets {
            match packet {
                Received::ConnAck { reason, .. } => {
                    let last = self.connections.last_mut().unwrap();
                    last.2 = reason == 0;
                }
                Received::Publish(message) => {
                    let number = message.text().parse().unwrap();
                    let came = self.came.entry(message.topic.clone()).or_default();
                    // It comes again if it was not acknowledged, and only with DUP.
                    if !message.dup || !came.contains(&number) {
                        came.push(number);
                    }
                    answer(match message.qos {
                        1 => packet::puback(message.id),
                        _ => packet::pubrec(message.id),
                    });
                }
                Received::PubRel { id, .. } => answer(packet::pubcomp(id)),
                _ => {}
            }
        }
    }

    fn is_in(&self) -> bool {
        self.connections.last().is_some_and(|(.., is_in)| *is_in)
    }

    /// Goes to another node if it has been sent away, and again until it is let in.
    fn is_in_or_tries(&mut self, cluster: &mut Cluster, node: usize) -> bool {
        let last = self.connections.last().copied();
        let is_away = last.is_none_or(|(node, client, _)| cluster.nodes[node].is_closed(client));
        if is_away {
            if let Some(last) = self.connections.last_mut() {
                last.2 = false;
            }
            self.moves_to(cluster, node);
        }
        !is_away && self.is_in()
    }
}

/// A client that publishes numbers to a topic of its own.
struct Publisher {
    node: usize,
    client: Client,
    topic: String,
    sent: u32,
    acknowledged: usize,
}

impl Publisher {
    fn publishes(&mut self, cluster: &mut Cluster, qos: u8) {
        self.sent += 1;
        let message = Publish::new(&self.topic, self.sent.to_string());
        let message = message.qos(qos, self.sent as u16);
        cluster.nodes[self.node].publish(self.client, &message);
    }

    fn reads(&mut self, cluster: &mut Cluster) {
        let node = &mut cluster.nodes[self.node];
        for packet in node.take(self.client) {
            match packet {
                Received::PubAck { id, .. } | Received::PubComp { id, .. } => {
                    assert!(u32::from(id) <= self.sent);
                    self.acknowledged += 1;
                }
                Received::PubRec { id, .. } => node.send(self.client, &packet::pubrel(id)),
                other => panic!("{other:?}"),
            }
        }
    }
}

struct World {
    cluster: Cluster,
    random: Random,
    mover: Mover,
    /// One that stays, so that there are routes to its node in any case.
    stays: Mover,
    publishers: Vec<Publisher>,
    qos: u8,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::with(NODES, random.one_in(2), |common| {
            common.publish_ack_local = seed % 2 == 1;
        });
        let qos = 1 + random.below(2) as u8;
        let mut mover = Mover::new("mover");
        let mut stays = Mover::new("stays");
        mover.moves_to(&mut cluster, 0);
        stays.moves_to(&mut cluster, 1);
        cluster.settle();
        let both = [&mut mover, &mut stays];
        // Where the other one has no subscription, routes come and go with the session.
        let count = 1 + random.below(2);
        for client in both.into_iter().take(count) {
            client.reads(&mut cluster);
            let (node, key, _) = client.connections[0];
            cluster.nodes[node].subscribe(key, "t/#", qos);
        }
        let publishers = (0..NODES).flat_map(|node| [(node, 0), (node, 1)]);
        let publishers = publishers.map(|(node, number)| Publisher {
            node,
            client: 0,
            topic: format!("t/{node}/{number}"),
            sent: 0,
            acknowledged: 0,
        });
        let mut publishers: Vec<_> = publishers.collect();
        for publisher in &mut publishers {
            let name = format!("publisher-{}", publisher.topic);
            // Messages of QoS 2 of a stored session are stored as a whole before they go out.
            let connect = match random.one_in(2) {
                true => kept(&name),
                false => Connect::new(&name),
            };
            publisher.client = cluster.connect(publisher.node, &connect).0;
        }
        cluster.settle();
        Self {
            cluster,
            random,
            mover,
            stays,
            publishers,
            qos,
        }
    }

    fn something_happens(&mut self) {
        match self.random.below(10) {
            0..4 => {
                let publisher = self.random.below(self.publishers.len());
                self.publishers[publisher].publishes(&mut self.cluster, self.qos);
            }
            4 if self.random.one_in(3) => {
                let node = self.random.below(NODES);
                self.mover.moves_to(&mut self.cluster, node);
            }
            4 | 5 => self.mover.reads(&mut self.cluster),
            _ => {
                let steps = self.random.below(40);
                self.drifts(steps);
            }
        }
        let publishers = self.publishers.iter_mut();
        publishers.for_each(|publisher| publisher.reads(&mut self.cluster));
    }

    fn drifts(&mut self, steps: usize) {
        for _ in 0..steps {
            self.cluster.drift(&mut self.random, 1);
            self.mover.takes(&mut self.cluster);
        }
    }

    fn end(&mut self) {
        self.drifts(3000);
        self.reads_all();
        let node = self.random.below(NODES);
        while !self.mover.is_in_or_tries(&mut self.cluster, node) {
            self.reads_all();
        }
        self.judge();
    }

    fn reads_all(&mut self) {
        for _ in 0..20 {
            self.cluster.settle();
            self.mover.reads(&mut self.cluster);
            self.stays.reads(&mut self.cluster);
            let publishers = self.publishers.iter_mut();
            publishers.for_each(|publisher| publisher.reads(&mut self.cluster));
        }
    }

    fn judge(&self) {
        for publisher in &self.publishers {
            let all: Vec<u32> = (1..=publisher.sent).collect();
            let came = self.mover.came.get(&publisher.topic);
            let topic = &publisher.topic;
            assert_eq!(came.unwrap_or(&Vec::new()), &all, "{topic} at the mover");
            if let Some(came) = self.stays.came.get(topic) {
                assert_eq!(came, &all, "{topic} at the one that stays");
            }
            let sent = publisher.sent as usize;
            assert_eq!(publisher.acknowledged, sent, "{topic} acknowledged");
        }
        let owner = self.cluster.owner("mover").unwrap();
        for (number, node) in self.cluster.nodes.iter().enumerate() {
            for shard in &node.shards {
                assert!(!shard.has_moves, "something moves on node {number}");
                assert_eq!(
                    shard.transactions.len(),
                    0,
                    "a transaction on node {number}"
                );
                assert_eq!(shard.tickets.len(), 0, "a ticket on node {number}");
                let found = shard.find_session("mover").is_some();
                assert!(!found || number == owner, "a copy on node {number}");
            }
        }
    }
}

#[test]
fn each_message_comes_once_and_in_order_wherever_the_session_moves() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SHARDMQ_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHARDMQ_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            (0..EVENTS).for_each(|_| world.something_happens());
            world.end();
        });
        assert!(
            catch_unwind(run).is_ok(),
            "SHARDMQ_SIM_SEED={seed} runs the seed that failed alone"
        );
    }
}

/// A mover whose session is on node 0, and a publisher on node 2.
fn two() -> (Cluster, Mover, Publisher) {
    let mut cluster = Cluster::new(NODES, true);
    let mut mover = Mover::new("mover");
    mover.moves_to(&mut cluster, 0);
    cluster.settle();
    mover.reads(&mut cluster);
    cluster.nodes[0].subscribe(mover.connections[0].1, "t/#", 2);
    let client = cluster.connect(2, &Connect::new("publisher")).0;
    cluster.settle();
    let publisher = Publisher {
        node: 2,
        client,
        topic: "t/x".into(),
        sent: 0,
        acknowledged: 0,
    };
    (cluster, mover, publisher)
}

fn numbers(mover: &Mover) -> &[u32] {
    mover.came.get("t/x").map_or(&[], Vec::as_slice)
}

#[test]
fn a_node_that_learns_of_the_routes_late_loses_nothing() {
    let (mut cluster, mut mover, mut publisher) = two();
    cluster.held_routes = Some((1, 2));
    mover.moves_to(&mut cluster, 1);
    for _ in 0..5 {
        publisher.publishes(&mut cluster, 2);
        cluster.advance(2000);
        publisher.reads(&mut cluster);
        mover.reads(&mut cluster);
    }
    assert!(mover.is_in());
    assert_eq!(numbers(&mover), [1, 2, 3, 4, 5]);
    cluster.held_routes = None;
    publisher.publishes(&mut cluster, 2);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2, 3, 4, 5, 6]);
    let has_copy = |shard: &crate::shard::Shard| shard.find_session("mover").is_some();
    assert!(!cluster.nodes[0].shards.iter().any(has_copy));
}

#[test]
fn what_comes_directly_waits_for_what_comes_by_the_former_owner() {
    let (mut cluster, mut mover, mut publisher) = two();
    mover.moves_to(&mut cluster, 1);
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    cluster.held = Some((2, 0));
    mover.moves_to(&mut cluster, 2);
    cluster.settle();
    // The session is on node 2 by way of node 1; and on again.
    mover.moves_to(&mut cluster, 0);
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    cluster.held = None;
    cluster.settle();
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2, 3]);
}

/// A publisher with a stored session: each of its messages of QoS 2 is stored as a whole, and
/// delivered then.
fn stored_publisher(cluster: &mut Cluster, publisher: &mut Publisher, node: usize) {
    publisher.node = node;
    publisher.client = cluster.connect(node, &kept("stored publisher")).0;
    cluster.settle();
}

#[test]
fn what_is_stored_as_a_whole_is_passed_on_once() {
    let (mut cluster, mut mover, mut publisher) = two();
    stored_publisher(&mut cluster, &mut publisher, 0);
    // The session is fetched, and does not come yet.
    cluster.held = Some((0, 1));
    mover.moves_to(&mut cluster, 1);
    cluster.settle();
    publisher.publishes(&mut cluster, 2);
    cluster.settle();
    cluster.held = None;
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1]);
}

#[test]
fn what_follows_does_not_overtake_what_is_being_stored_when_the_session_is_taken() {
    let (mut cluster, mut mover, mut publisher) = two();
    stored_publisher(&mut cluster, &mut publisher, 0);
    cluster.held = Some((0, 1));
    mover.moves_to(&mut cluster, 1);
    cluster.settle();
    cluster.nodes[0].disk.as_mut().unwrap().held = true;
    publisher.publishes(&mut cluster, 2);
    cluster.settle();
    // It is taken now, and its routes are not known.
    cluster.held_routes = Some((1, 0));
    cluster.held = None;
    cluster.settle();
    publisher.publishes(&mut cluster, 2);
    cluster.settle();
    cluster.nodes[0].disk.as_mut().unwrap().held = false;
    cluster.settle();
    cluster.held_routes = None;
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2]);
}

#[test]
fn nobody_waits_for_a_node_that_is_gone() {
    for gone in [0, 2] {
        let (mut cluster, mut mover, mut publisher) = two();
        let here = cluster.connect(1, &Connect::new("here")).0;
        cluster.held_routes = Some((1, 2));
        mover.moves_to(&mut cluster, 1);
        publisher.publishes(&mut cluster, 1);
        cluster.settle();
        mover.reads(&mut cluster);
        assert_eq!(numbers(&mover), [1]);
        // A SUBACK waits until all have turned.
        let (_, client, _) = *mover.connections.last().unwrap();
        let subscribe = packet::subscribe(protocol::wire::Version::V5, 9, 0, &[("t/+", 1)]);
        cluster.nodes[1].send(client, &subscribe);
        cluster.settle();
        assert!(cluster.nodes[1].take(client).is_empty());
        cluster.lose(gone);
        cluster.settle();
        let packets = cluster.nodes[1].take(client);
        assert!(
            matches!(packets[..], [Received::SubAck { id: 9, .. }]),
            "{packets:?}"
        );
        cluster.publish(1, here, &Publish::new("t/x", "2").qos(2, 1));
        mover.reads(&mut cluster);
        assert_eq!(numbers(&mover), [1, 2]);
        let moves = |shard: &crate::shard::Shard| shard.has_moves;
        assert!(!cluster.nodes[1].shards.iter().any(moves));
    }
}

#[test]
fn a_node_that_does_not_turn_keeps_nobody_from_moving_on() {
    let (mut cluster, mut mover, mut publisher) = two();
    cluster.held_routes = Some((1, 2));
    mover.moves_to(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    let (_, client, _) = *mover.connections.last().unwrap();
    let subscribe = packet::subscribe(protocol::wire::Version::V5, 9, 0, &[("t/+", 1)]);
    cluster.nodes[1].send(client, &subscribe);
    cluster.advance(4000);
    assert!(cluster.nodes[1].take(client).is_empty());
    cluster.advance(2000);
    let packets = cluster.nodes[1].take(client);
    assert!(
        matches!(packets[..], [Received::SubAck { id: 9, .. }]),
        "{packets:?}"
    );
    // The former owner still passes on what node 2 publishes.
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1]);
    mover.moves_to(&mut cluster, 0);
    cluster.advance(4000);
    mover.reads(&mut cluster);
    assert!(!mover.is_in());
    cluster.advance(2000);
    mover.reads(&mut cluster);
    assert!(mover.is_in());
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2]);
}

#[test]
fn a_node_that_comes_up_meanwhile_turns_too() {
    let (mut cluster, mut mover, mut publisher) = two();
    cluster.held_routes = Some((1, 2));
    mover.moves_to(&mut cluster, 1);
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    cluster.lose(2);
    cluster.held_routes = None;
    cluster.restart(2);
    publisher.client = cluster.connect(2, &Connect::new("publisher")).0;
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2]);
    let moves = |shard: &crate::shard::Shard| shard.has_moves;
    assert!(
        !cluster
            .nodes
            .iter()
            .flat_map(|node| &node.shards)
            .any(moves)
    );
}

#[test]
fn a_node_that_meets_the_former_owner_late_tells_it_that_it_has_turned() {
    let (mut cluster, mut mover, mut publisher) = two();
    cluster.held_routes = Some((1, 2));
    mover.moves_to(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    cluster.process_dies(2);
    cluster.restart(2);
    cluster.meets(2, 0, false);
    cluster.held_routes = None;
    publisher.client = cluster.connect(2, &Connect::new("publisher")).0;
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    // The former owner may still have something of that node, as far as the new one knows.
    assert_eq!(numbers(&mover), [0_u32; 0]);
    cluster.meets(2, 0, true);
    cluster.settle();
    publisher.publishes(&mut cluster, 1);
    cluster.settle();
    mover.reads(&mut cluster);
    assert_eq!(numbers(&mover), [1, 2]);
    let mut shards = cluster.nodes.iter().flat_map(|node| &node.shards);
    assert!(!shards.any(|shard| shard.has_moves));
}
