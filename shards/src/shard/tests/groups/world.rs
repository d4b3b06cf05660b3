//! Several nodes with links: what the thread with the links does, by hand.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use shard_sync::routes::Destination;

use super::super::super::{Batch, Common, Item, NODES_MAX, RouteChange, SHARE_PREFIX};
use super::super::disk::Disk;
use super::super::node::{Client, Node, Setup};
use super::super::packet::{Connect, Publish};
use super::super::received::Received;
use crate::settings::{Mqtt, SysTopics};

pub(super) const SHARDS: u16 = 2;

/// Nodes that know each other: each calls another one by its number here.
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) dead: Vec<bool>,
    /// By sender, receiver and shard.
    links: HashMap<(usize, usize, usize), Link>,
    /// How often each node has each route.
    routes: Vec<HashMap<String, i32>>,
    /// Nothing comes to these nodes, but it is not lost.
    pub(super) held: Vec<bool>,
}

#[derive(Default)]
struct Link {
    /// Batches on the way.
    under_way: VecDeque<Box<Batch>>,
    /// Messages that were handed over.
    handed: u64,
    /// Accepted, as the receiver said and as the sender was told.
    said: u64,
    told: u64,
    /// Sent so far.
    sent: u64,
}

/// A client of a node.
pub(super) type At = (usize, Client);

impl World {
    pub(super) fn new(count: usize) -> Self {
        Self::with(count, &Mqtt::default())
    }

    pub(super) fn with(count: usize, mqtt: &Mqtt) -> Self {
        Self::of(count, |setup| setup.mqtt = mqtt.clone())
    }

    /// Nodes where publishers do not wait for others.
    pub(super) fn local(count: usize, durable: bool) -> Self {
        Self::of(count, |setup| {
            setup.common.publish_ack_local = true;
            setup.disk = durable.then(|| Disk::new(usize::from(SHARDS)));
        })
    }

    pub(super) fn of(count: usize, set: impl Fn(&mut Setup)) -> Self {
        let nodes = (0..count).map(|number| {
            let mut setup = setup(number);
            set(&mut setup);
            Node::with(setup)
        });
        let mut nodes: Vec<Node> = nodes.collect();
        for (number, node) in nodes.iter_mut().enumerate() {
            let common = std::sync::Arc::clone(&node.shards[0].common);
            common.node_tags.set(NODES_MAX, &format!("node-{number}"));
            let mut others = 0;
            for other in (0..count).filter(|other| *other != number) {
                common.node_tags.set(other as u16, &format!("node-{other}"));
                others |= 1 << other;
            }
            common.nodes_known.store(others, Ordering::Relaxed);
            common.nodes_up.store(others, Ordering::Relaxed);
            common.lease_until_ms.store(u64::MAX, Ordering::Relaxed);
            for shard in &mut node.shards {
                shard.join_cluster(1 << 20);
            }
        }
        Self {
            nodes,
            dead: vec![false; count],
            links: HashMap::new(),
            routes: vec![HashMap::new(); count],
            held: vec![false; count],
        }
    }

    fn others(&self, node: usize) -> impl Iterator<Item = usize> + use<> {
        let dead = self.dead.clone();
        (0..self.nodes.len()).filter(move |other| *other != node && !dead[*other])
    }

    /// Lets everything happen that is to.
    pub(super) fn settle(&mut self) {
        loop {
            for number in 0..self.nodes.len() {
                if !self.dead[number] {
                    self.nodes[number].settle();
                }
            }
            let mut news = self.spread_routes();
            for from in 0..self.nodes.len() {
                for to in self.others(from) {
                    for shard in 0..usize::from(SHARDS) {
                        news |= !self.dead[from] && self.carry(from, to, shard);
                    }
                }
            }
            if !news {
                return;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(50) {
            for number in 0..self.nodes.len() {
                if !self.dead[number] {
                    self.nodes[number].advance(50);
                }
            }
            self.settle();
        }
    }

    fn spread_routes(&mut self) -> bool {
        let mut news = false;
        for from in 0..self.nodes.len() {
            for change in std::mem::take(&mut self.nodes[from].routes.said) {
                let (text, by) = match change {
                    RouteChange::Add(text) | RouteChange::Announce(text) => (text, 1),
                    RouteChange::Remove(text) | RouteChange::Withdraw(text) => (text, -1),
                    RouteChange::AddHere(_) | RouteChange::RemoveHere(_) | RouteChange::Fence => {
                        continue;
                    }
                };
                let count = self.routes[from].entry(text.to_string()).or_default();
                *count += by;
                assert!(*count >= 0, "{text} is removed and was not there");
                let changes = *count == i32::from(by > 0);
                if changes && !self.dead[from] {
                    news = true;
                    for to in self.others(from) {
                        self.route(from, to, &text, by > 0);
                    }
                }
            }
        }
        news
    }

    fn route(&mut self, from: usize, to: usize, text: &str, add: bool) {
        let node = &mut self.nodes[to];
        if text.starts_with(SHARE_PREFIX) {
            for shard in 0..usize::from(SHARDS) {
                let text = text.into();
                tell(node, shard, from, Item::Share { text, add });
            }
            return;
        }
        let index = node.routes.index.as_mut().unwrap();
        if add {
            index.add(text, Destination::Node(from as u32)).unwrap();
        } else {
            index.remove(text, Destination::Node(from as u32));
        }
    }

    /// Carries what a shard has for another node, and what that has accepted. False if there
    /// is nothing.
    fn carry(&mut self, from: usize, to: usize, number: usize) -> bool {
        let link = self.links.entry((from, to, number)).or_default();
        let shard = &mut self.nodes[from].shards[number];
        let peer = shard.node_peer(to as u16);
        let mut news = false;
        while let Some(batch) = shard.take_batch(peer) {
            shard.ring_holds(peer, 0);
            link.sent += batch.items.len() as u64;
            link.under_way.push_back(batch);
        }
        if self.held[to] {
            return false;
        }
        while let Some(batch) = link.under_way.pop_front() {
            link.handed += batch.items.len() as u64;
            self.nodes[to].shards[number].handle_node_batch(from as u16, copy(&batch));
            self.nodes[to].turn(number);
            news = true;
        }
        if let Some(accepted) = self.nodes[to].shards[number].take_accepted(from as u16) {
            let said = accepted.count;
            link.told += said - link.said;
            link.said = said;
            self.nodes[from].shards[number].node_accepted(to as u16, link.told);
            self.nodes[from].turn(number);
            news = true;
        }
        news
    }

    /// A node dies. The others hear of it.
    pub(super) fn kill(&mut self, dead: usize) {
        self.dead[dead] = true;
        for other in self.others(dead) {
            let common = &self.nodes[other].shards[0].common;
            common.nodes_up.fetch_and(!(1 << dead), Ordering::Relaxed);
            for number in 0..usize::from(SHARDS) {
                let node = &mut self.nodes[other];
                let shard = &mut node.shards[number];
                let link = self.links.entry((other, dead, number)).or_default();
                let peer = shard.node_peer(dead as u16);
                while let Some(batch) = shard.take_batch(peer) {
                    link.sent += batch.items.len() as u64;
                }
                link.under_way.clear();
                let up_to = link.told;
                let gone = Item::NodeGone { up_to, died: true };
                tell(node, number, dead, gone);
                let link = self.links.entry((other, dead, number)).or_default();
                let shard = &mut node.shards[number];
                if link.sent > link.told {
                    shard.node_lost(dead as u16, link.told + 1..link.sent + 1);
                    link.told = link.sent;
                    shard.node_accepted(dead as u16, link.told);
                }
                node.turn(number);
            }
            let routes = self.routes[dead].clone().into_iter();
            for (text, _) in routes.filter(|(_, count)| *count > 0) {
                self.route(dead, other, &text, false);
            }
        }
    }

    pub(super) fn client(&mut self, node: usize, name: &str) -> At {
        self.connect(node, &Connect::new(name))
    }

    pub(super) fn connect(&mut self, node: usize, connect: &Connect) -> At {
        let client = self.nodes[node].connect(connect);
        self.settle();
        (node, client)
    }

    /// A client that has subscribed.
    pub(super) fn member(&mut self, node: usize, name: &str, filter: &str, qos: u8) -> At {
        let at = self.client(node, name);
        self.subscribe(at, filter, qos);
        at
    }

    pub(super) fn subscribe(&mut self, (node, client): At, filter: &str, qos: u8) {
        self.nodes[node].subscribe(client, filter, qos);
        self.settle();
    }

    pub(super) fn publish(&mut self, (node, client): At, publish: &Publish) {
        self.nodes[node].publish(client, publish);
        self.settle();
    }

    pub(super) fn send(&mut self, (node, client): At, bytes: &[u8]) {
        self.nodes[node].send(client, bytes);
        self.settle();
    }

    pub(super) fn cut(&mut self, (node, client): At) {
        self.nodes[node].cut(client);
        self.settle();
    }

    pub(super) fn take(&mut self, (node, client): At) -> Vec<Received> {
        self.nodes[node].take(client)
    }

    pub(super) fn texts(&mut self, (node, client): At) -> Vec<String> {
        self.nodes[node].take_texts(client)
    }

    /// Takes the messages that have come and acknowledges them.
    pub(super) fn complete(&mut self, (node, client): At) -> Vec<String> {
        let messages = self.nodes[node].take_messages(client);
        for message in &messages {
            self.nodes[node].acknowledge(client, message);
        }
        self.settle();
        messages.iter().map(|m| m.text().to_owned()).collect()
    }

    /// The identifiers of PUBACK and PUBREC that have come.
    pub(super) fn acknowledged(&mut self, at: At) -> Vec<u16> {
        let packets = self.take(at).into_iter();
        let ids = packets.map(|packet| match packet {
            Received::PubAck { id, .. } | Received::PubRec { id, .. } => id,
            other => panic!("{other:?} instead of an acknowledgement"),
        });
        ids.collect()
    }

    /// No living node keeps anything for members of groups.
    #[track_caller]
    pub(super) fn assert_settled(&mut self) {
        self.advance(1500);
        for (number, node) in self.nodes.iter().enumerate() {
            for shard in node.shards.iter().filter(|_| !self.dead[number]) {
                assert!(shard.keeps_nothing(), "node {number}: {:?}", shard.groups);
                assert!(shard.is_settled(), "node {number} waits");
            }
        }
    }
}

fn setup(number: usize) -> Setup {
    Setup {
        shards: SHARDS,
        seed: number as u64 + 11,
        common: Common {
            node: format!("node-{number}").into(),
            sys_topics: SysTopics {
                sys_msg_interval_s: 0,
                sys_heartbeat_interval_s: 0,
            },
            ..Common::default()
        },
        ..Setup::default()
    }
}

fn tell(node: &mut Node, shard: usize, about: usize, item: Item) {
    let mut batch = Box::<Batch>::default();
    batch.items.push(item);
    node.shards[shard].handle_node_batch(about as u16, batch);
    node.turn(shard);
}

/// As the link makes it anew. All nodes have the same clock.
fn copy(batch: &Batch) -> Box<Batch> {
    let mut copy = Box::<Batch>::default();
    for item in &batch.items {
        let Item::Publish(packed) = item else {
            panic!("{item:?} for another node");
        };
        let message = packed.message(&batch.bytes).unwrap();
        let message = MessageRef {
            publisher: super::super::super::foreign_publisher(message.publisher, 0, 0),
            ..message
        };
        copy.publish(&message, false, 0);
    }
    copy
}
