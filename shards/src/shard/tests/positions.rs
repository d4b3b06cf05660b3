//! Streams of another node that go on after a crash: nothing comes twice, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use protocol::wire::QoS;
use shard_store::Process;

use super::super::{Batch, foreign_publisher};
use super::disk::Disk;
use super::node::{Client, Node, Setup};
use super::packet::Connect;
use super::random::Random;

/// The number of the other node, and the stream of it that is looked at.
const NODE: u16 = 3;
const STREAM: u16 = 4;
const SHARDS: u16 = 3;
const MESSAGES: u64 = 60;

/// A node, and another one that sends to it.
struct World {
    node: Node,
    random: Random,
    process: Arc<Process>,
    /// The last message that was sent in this life of the node.
    sent: u64,
    /// Messages that the other node was told are accepted, in all and before this life.
    accepted: u64,
    accepted_before: u64,
    /// By client identifier, what has come.
    came: BTreeMap<String, Vec<u64>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let node = Node::with(Setup {
            shards: SHARDS,
            seed,
            disk: Some(Disk::new(usize::from(SHARDS))),
            is_clustered: true,
            ..Setup::default()
        });
        let mut world = Self {
            node: node.crash(SHARDS),
            random: Random::new(seed),
            process: process(1),
            sent: 0,
            accepted: 0,
            accepted_before: 0,
            came: BTreeMap::new(),
        };
        world.begin();
        for shard in 0..SHARDS {
            let name = world.node.name_at(shard, "kept");
            let client = world.connect(&name);
            world.node.subscribe(client, &format!("some/{shard}/#"), 2);
            world.node.subscribe(client, "all", 2);
            world.node.close(client);
            world.came.insert(name, Vec::new());
        }
        world.node.settle();
        world
    }

    fn begin(&mut self) {
        let common = &self.node.shards[0].common;
        common.nodes_known.store(1 << NODE, Ordering::Relaxed);
        common.nodes_up.store(1 << NODE, Ordering::Relaxed);
        common.lease_until_ms.store(u64::MAX, Ordering::Relaxed);
    }

    fn connect(&mut self, name: &str) -> Client {
        let connect = Connect::new(name).resume().expiry(u32::MAX);
        self.node.connect(&connect)
    }

    /// What is published is a function of its number.
    fn send(&mut self, count: u64) {
        let mut batch = Box::<Batch>::default();
        for _ in 0..count.min(MESSAGES - self.sent) {
            self.sent += 1;
            let number = self.sent;
            let topic = match number % 4 {
                3 => "all".to_owned(),
                shard => format!("some/{shard}/{}", number % 3),
            };
            let text = number.to_string();
            let message = MessageRef {
                topic: &topic,
                properties: &[],
                payload: text.as_bytes(),
                qos: if number.is_multiple_of(5) {
                    QoS::AtLeastOnce
                } else {
                    QoS::ExactlyOnce
                },
                retain: false,
                expires_ms: u64::MAX,
                publisher: foreign_publisher(0, NODE, STREAM),
            };
            batch.place(&self.process, STREAM, number);
            batch.publish(&message, false, 0);
        }
        self.node.shards[usize::from(STREAM % SHARDS)].handle_node_batch(NODE, batch);
        self.node.turn(usize::from(STREAM % SHARDS));
    }

    fn hear(&mut self) {
        let shard = &mut self.node.shards[usize::from(STREAM % SHARDS)];
        if let Some(accepted) = shard.take_accepted(NODE) {
            self.accepted = self.accepted_before + accepted.count;
        }
    }

    /// The node is killed and starts again with so many shards.
    fn crash(self, shards: u16) -> Self {
        let mut world = Self {
            node: self.node.crash(shards),
            sent: self.accepted,
            accepted_before: self.accepted,
            ..self
        };
        world.begin();
        world
    }

    /// A client takes what there is for it.
    fn take(&mut self, name: &str) {
        let client = self.connect(name);
        self.node.settle();
        loop {
            let messages = self.node.take_messages(client);
            if messages.is_empty() {
                break;
            }
            for message in &messages {
                self.came
                    .get_mut(name)
                    .unwrap()
                    .push(message.text().parse().unwrap());
                self.node.acknowledge(client, message);
                self.node.settle();
            }
        }
        self.node.close(client);
        self.node.settle();
    }

    fn take_all(&mut self) {
        let names: Vec<String> = self.came.keys().cloned().collect();
        names.iter().for_each(|name| self.take(name));
    }

    /// Until all is accepted.
    fn finish(&mut self) {
        while self.accepted < MESSAGES {
            self.send(7);
            self.node.settle();
            self.hear();
        }
        self.take_all();
    }
}

fn process(boot: u64) -> Arc<Process> {
    let node = "other@10.0.0.3".into();
    Arc::new(Process { node, boot })
}

/// What each of the sessions is to get.
fn expected() -> Vec<Vec<u64>> {
    let gets = |shard| (1..=MESSAGES).filter(move |number| [3, shard].contains(&(number % 4)));
    (0..3).map(|shard| gets(shard).collect()).collect()
}

#[test]
fn each_message_of_a_stream_is_stored_once_however_often_the_node_is_killed() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        let names: Vec<String> = world.came.keys().cloned().collect();
        while world.accepted < MESSAGES {
            match world.random.below(24) {
                0 => world = world.crash(SHARDS),
                1 => {
                    let name = world.random.pick(&names).clone();
                    world.take(&name);
                }
                2..7 => {
                    let count = world.random.below(5) as u64;
                    world.send(count);
                }
                7 => world.hear(),
                _ => {
                    world.node.step();
                }
            }
        }
        world.finish();
        let mut came: Vec<Vec<u64>> = world.came.values().cloned().collect();
        came.sort_by_key(|numbers| {
            numbers
                .iter()
                .find(|number| **number % 4 != 3)
                .map(|n| n % 4)
        });
        assert_eq!(came, expected(), "seed {seed}");
    }
}

#[test]
fn another_process_of_the_node_begins_anew_and_so_does_another_number_of_shards() {
    let mut world = World::new(1);
    world.send(20);
    world.node.settle();
    // What the other node was told is lost with it.
    world.process = process(2);
    world.sent = 0;
    world.finish();
    let all: usize = world.came.values().map(Vec::len).sum();
    let once: usize = expected().iter().map(Vec::len).sum();
    assert!(all > once);
    // Of other shards nothing is known: it comes again, and is not lost.
    world = World::new(2);
    world.send(MESSAGES);
    world.node.settle();
    world = world.crash(2);
    assert_eq!(world.sent, 0);
    let shard = usize::from(STREAM % 2);
    assert!(world.node.shards[shard].have_received().is_none());
    assert_eq!(world.node.disk.as_ref().unwrap().stored().received, []);
}

#[test]
fn what_nobody_goes_on_with_is_forgotten_a_minute_after_the_start() {
    let mut world = World::new(3);
    world.send(MESSAGES);
    world.node.settle();
    world = world.crash(SHARDS);
    let received = |world: &World| world.node.disk.as_ref().unwrap().stored().received.len();
    assert_eq!(received(&world), usize::from(SHARDS));
    world.node.advance(59_000);
    world.node.turn_all();
    assert_eq!(received(&world), usize::from(SHARDS));
    world.node.advance(2_000);
    world.node.turn_all();
    assert_eq!(received(&world), 0);
}
