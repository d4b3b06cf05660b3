//! Nodes in one thread, each with its shards, that carry messages, routes and the owners of
//! client identifiers between them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use shard_sync::routes::Destination;

use super::super::{Batch, Common, Item, NODES_MAX, RouteChange, foreign_publisher};
use super::disk::Disk;
use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish};
use super::random::Random;
use super::received::Received;
use crate::nodes::{OwnerEvent, OwnerRequest, Place, RoutesAt, exclusive_filter};
use crate::settings::SysTopics;

pub(super) const SHARDS: u16 = 2;

/// Who has a client identifier, and who waits for it.
#[derive(Default)]
struct Owner {
    node: usize,
    epoch: u64,
    waiter: Option<usize>,
    /// Of a filter that one client has for itself.
    holder: Box<str>,
}

/// Nodes that all see each other, each under its number.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Node>,
    owners: BTreeMap<Box<str>, Owner>,
    epoch: u64,
    /// By sender, receiver and shard: messages that are accepted.
    accepted: BTreeMap<(usize, usize, usize), u64>,
    said: BTreeMap<(usize, usize, usize), u64>,
    /// How many shards of a node have a filter.
    routes: Vec<BTreeMap<Box<str>, usize>>,
    /// What each node has changed, and how much of it each other one knows.
    logs: Vec<Vec<(Box<str>, bool)>>,
    known: BTreeMap<(usize, usize), usize>,
    /// What waits on a node for routes of another one.
    awaiting: Vec<(usize, OwnerRequest)>,
    /// Messages between these two do not come now.
    pub(super) held: Option<(usize, usize)>,
    /// Routes of the first of these do not come to the second one.
    pub(super) held_routes: Option<(usize, usize)>,
}

fn setup(number: usize, disk: Option<Disk>) -> Setup {
    Setup {
        shards: SHARDS,
        seed: 7 + number as u64,
        disk,
        is_clustered: true,
        peer_bytes_max: 1 << 20,
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

impl Cluster {
    pub(super) fn new(count: usize, durable: bool) -> Self {
        Self::with(count, durable, |_| {})
    }

    /// Nodes that say SUBACK when the others have the routes.
    pub(super) fn acked(count: usize) -> Self {
        Self::with(count, false, |common| common.suback_acked = true)
    }

    /// Nodes with settings of their own.
    pub(super) fn with(count: usize, durable: bool, set: impl Fn(&mut Common)) -> Self {
        let setups = (0..count).map(|number| {
            let disk = durable.then(|| Disk::new(usize::from(SHARDS)));
            let mut setup = setup(number, disk);
            set(&mut setup.common);
            setup
        });
        Self::of(setups.collect())
    }

    fn of(setups: Vec<Setup>) -> Self {
        let count = setups.len();
        let nodes = setups.into_iter().map(Node::with);
        let mut cluster = Self {
            nodes: nodes.collect(),
            owners: BTreeMap::new(),
            epoch: 0,
            accepted: BTreeMap::new(),
            said: BTreeMap::new(),
            routes: vec![BTreeMap::new(); count],
            logs: vec![Vec::new(); count],
            known: BTreeMap::new(),
            awaiting: Vec::new(),
            held: None,
            held_routes: None,
        };
        for number in 0..count {
            cluster.join(number);
        }
        cluster
    }

    fn join(&mut self, number: usize) {
        let others = ((1 << self.nodes.len()) - 1) & !(1 << number);
        let node = &mut self.nodes[number];
        node.requests.get_or_insert_default();
        let common = &node.shards[0].common;
        for other in 0..self.routes.len() {
            let place = if other == number {
                NODES_MAX
            } else {
                other as u16
            };
            common.node_tags.set(place, &format!("node-{other}"));
        }
        common.nodes_known.store(others, Ordering::Relaxed);
        common.nodes_up.store(others, Ordering::Relaxed);
        common.lease_until_ms.store(u64::MAX, Ordering::Relaxed);
    }

    /// A node that was lost comes back with what is on its disk.
    pub(super) fn restart(&mut self, number: usize) {
        let node = self.nodes.remove(number);
        self.nodes.insert(number, node.crash(SHARDS));
        self.join(number);
        self.routes[number].clear();
        self.logs[number].clear();
        self.known
            .retain(|(from, to), _| *from != number && *to != number);
        for other in (0..self.nodes.len()).filter(|other| *other != number) {
            let common = &self.nodes[other].shards[0].common;
            common.nodes_up.fetch_or(1 << number, Ordering::Relaxed);
            common.arrivals.add(number as u16);
        }
        self.said
            .retain(|(from, to, _), _| *from != number && *to != number);
        self.accepted
            .retain(|(from, to, _), _| *from != number && *to != number);
        for shard in &mut self.nodes[number].shards {
            shard.serve();
        }
        self.nodes[number].turn_all();
        self.settle();
    }

    /// Whether a node has met another one.
    pub(super) fn meets(&mut self, at: usize, other: usize, has_met: bool) {
        let common = &self.nodes[at].shards[0].common;
        let name = format!("node-{other}");
        let name = if has_met { &*name } else { "nobody" };
        common.node_tags.set(other as u16, name);
        if has_met {
            common.nodes_up.fetch_or(1 << other, Ordering::Relaxed);
            common.arrivals.add(other as u16);
        } else {
            common.nodes_up.fetch_and(!(1 << other), Ordering::Relaxed);
        }
        self.nodes[at].turn_all();
    }

    /// The other nodes hear that the process of one is gone, which may be there again by then.
    pub(super) fn process_dies(&mut self, gone: usize) {
        for number in (0..self.nodes.len()).filter(|number| *number != gone) {
            for shard in 0..usize::from(SHARDS) {
                let mut batch = Box::<Batch>::default();
                let (up_to, died) = (0, true);
                batch.items.push(Item::NodeGone { up_to, died });
                self.nodes[number].shards[shard].handle_node_batch(gone as u16, batch);
            }
            self.nodes[number].turn_all();
        }
    }

    /// The other nodes know that one is gone.
    pub(super) fn lose(&mut self, gone: usize) {
        for number in (0..self.nodes.len()).filter(|number| *number != gone) {
            let common = &self.nodes[number].shards[0].common;
            common.nodes_up.fetch_and(!(1 << gone), Ordering::Relaxed);
        }
        self.process_dies(gone);
        let mut grants = Vec::new();
        for (client, owner) in &mut self.owners {
            if owner.node == gone
                && let Some(waiter) = owner.waiter.take()
            {
                owner.node = waiter;
                owner.epoch += 1000;
                grants.push((client.clone(), waiter, owner.epoch));
            }
        }
        self.owners.retain(|_, owner| owner.node != gone);
        for (client, node, epoch) in grants {
            self.tell(
                node,
                OwnerEvent::Granted {
                    client,
                    epoch,
                    former: None,
                },
            );
        }
    }

    pub(super) fn tell(&mut self, node: usize, event: OwnerEvent) {
        let home = usize::from(match event.place() {
            Place::Client(client) => {
                let name = exclusive_filter(client).unwrap_or(client);
                self.nodes[node].home(name)
            }
            Place::Shard(shard) => shard,
        });
        self.nodes[node].shards[home].owner_events(vec![event]);
        self.nodes[node].turn(home);
    }

    /// Lets everything happen that needs no time.
    pub(super) fn settle(&mut self) {
        loop {
            let mut goes_on = false;
            for number in 0..self.nodes.len() {
                self.nodes[number].settle();
                goes_on |= self.hear_of_routes(number);
                let requests = self.nodes[number].requests.as_mut().map(std::mem::take);
                for request in requests.unwrap_or_default() {
                    goes_on = true;
                    self.decide(number, request);
                }
                for to in 0..self.nodes.len() {
                    for shard in 0..usize::from(SHARDS) {
                        goes_on |= to != number && self.carry(number, to, shard);
                    }
                }
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Lets some of what can happen do so, in random order.
    pub(super) fn drift(&mut self, random: &mut Random, steps: usize) {
        for _ in 0..steps {
            let (from, to) = (
                random.below(self.nodes.len()),
                random.below(self.nodes.len()),
            );
            match random.below(4) {
                0 if from != to => {
                    self.carry(from, to, random.below(usize::from(SHARDS)));
                }
                1 if from != to && random.one_in(3) => {
                    self.hear_of_route(from, to);
                    self.stop_awaiting();
                }
                2 => {
                    let requests = self.nodes[from].requests.as_mut().map(std::mem::take);
                    let requests = requests.unwrap_or_default();
                    requests
                        .into_iter()
                        .for_each(|request| self.decide(from, request));
                }
                _ => {
                    self.nodes[from].step();
                }
            }
        }
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.settle();
        for node in &mut self.nodes {
            node.advance(ms);
        }
        self.settle();
    }

    fn decide(&mut self, from: usize, request: OwnerRequest) {
        if let OwnerRequest::ClaimFilter {
            client,
            holder,
            is_former,
        } = request
        {
            return self.decide_filter(from, client, holder, is_former);
        }
        let client: Box<str> = match &request {
            OwnerRequest::AskRoutesAt { shard } => {
                let (shard, at) = (*shard, self.position(from));
                return self.tell(from, OwnerEvent::RoutesAt { shard, at });
            }
            OwnerRequest::AskPassedOn { .. } => return,
            OwnerRequest::AwaitRoutes { .. } => return self.awaiting.push((from, request)),
            OwnerRequest::Claim { client }
            | OwnerRequest::ClaimFilter { client, .. }
            | OwnerRequest::ClaimFormer { client }
            | OwnerRequest::Revoked { client, .. }
            | OwnerRequest::Dropped { client }
            | OwnerRequest::Settled { client }
            | OwnerRequest::Release { client } => client.clone(),
        };
        let known = self.owners.get_mut(&client);
        match (request, known) {
            (OwnerRequest::Claim { client } | OwnerRequest::ClaimFormer { client }, None) => {
                self.grant(from, client, None);
            }
            (OwnerRequest::ClaimFormer { client }, Some(owner)) if owner.node != from => {
                self.tell(from, OwnerEvent::Denied { client });
            }
            (OwnerRequest::Claim { client }, Some(owner)) if owner.node == from => {
                let epoch = owner.epoch;
                self.tell(
                    from,
                    OwnerEvent::Granted {
                        client,
                        epoch,
                        former: None,
                    },
                );
            }
            (OwnerRequest::Claim { .. }, Some(owner)) => {
                let (node, epoch) = (owner.node, owner.epoch);
                if let Some(denied) = owner.waiter.replace(from) {
                    self.tell(denied, OwnerEvent::Denied { client });
                } else {
                    self.tell(node, OwnerEvent::Revoke { client, epoch });
                }
            }
            (OwnerRequest::Revoked { client, epoch, .. }, Some(owner))
                if (owner.node, owner.epoch) == (from, epoch) =>
            {
                if let Some(next) = owner.waiter.take() {
                    self.grant(next, client, Some(from as u16));
                }
            }
            (OwnerRequest::Release { client }, Some(owner)) if owner.node == from => {
                let waiter = owner.waiter.take();
                self.owners.remove(&client);
                if let Some(next) = waiter {
                    self.grant(next, client, None);
                }
            }
            _ => {}
        }
    }

    fn decide_filter(&mut self, from: usize, client: Box<str>, holder: Box<str>, is_former: bool) {
        let Some(owner) = self.owners.get_mut(&client) else {
            let owner = Owner {
                holder,
                ..Owner::default()
            };
            self.owners.insert(client.clone(), owner);
            return self.grant(from, client, None);
        };
        let (node, epoch, former) = (owner.node, owner.epoch, None);
        if node == from {
            let granted = OwnerEvent::Granted {
                client,
                epoch,
                former,
            };
            self.tell(from, granted);
        } else if is_former || owner.holder != holder {
            self.tell(from, OwnerEvent::Denied { client });
        } else {
            owner.waiter = Some(from);
            self.tell(node, OwnerEvent::Revoke { client, epoch });
        }
    }

    fn grant(&mut self, node: usize, client: Box<str>, former: Option<u16>) {
        self.epoch += 1;
        let epoch = self.epoch;
        let before = self.owners.remove(&client).unwrap_or_default();
        let owner = Owner {
            node,
            epoch,
            waiter: None,
            holder: before.holder,
        };
        self.owners.insert(client.clone(), owner);
        self.tell(
            node,
            OwnerEvent::Granted {
                client,
                epoch,
                former,
            },
        );
    }

    /// Connects and takes the CONNACK, which says yes; what comes behind it stays. Also says
    /// whether the session was present.
    #[track_caller]
    pub(super) fn connect(&mut self, node: usize, connect: &Connect) -> (Client, bool) {
        let client = self.begin(node, connect);
        self.settle();
        (client, self.connack(node, client))
    }

    /// Sends CONNECT.
    pub(super) fn begin(&mut self, node: usize, connect: &Connect) -> Client {
        let node = &mut self.nodes[node];
        let shard = node.random.below(usize::from(SHARDS)) as u16;
        let client = node.open(shard, connect.version);
        node.send(client, &connect.encode());
        client
    }

    /// Takes the CONNACK, which says yes: whether the session was present.
    #[track_caller]
    pub(super) fn connack(&mut self, node: usize, client: Client) -> bool {
        let node = &mut self.nodes[node];
        let mut packets = node.take(client);
        let Some(&Received::ConnAck { present, reason: 0 }) = packets.first() else {
            panic!("CONNECT was answered by {packets:?}");
        };
        node.sockets[client].packets = packets.split_off(1);
        present
    }

    pub(super) fn publish(&mut self, node: usize, client: Client, publish: &Publish) {
        self.nodes[node].publish(client, publish);
        self.settle();
    }

    /// Who has a client identifier.
    pub(super) fn owner(&self, client: &str) -> Option<usize> {
        self.owners.get(client).map(|owner| owner.node)
    }

    fn position(&mut self, node: usize) -> RoutesAt {
        self.log_routes(node);
        RoutesAt {
            incarnation: 1,
            sequence: self.logs[node].len() as u64,
        }
    }

    fn log_routes(&mut self, number: usize) {
        for change in std::mem::take(&mut self.nodes[number].routes.said) {
            self.log_route(number, &change);
        }
    }

    /// All other nodes hear of what has changed, and a node goes on with what has waited for
    /// that. False if there was nothing.
    fn hear_of_routes(&mut self, from: usize) -> bool {
        self.log_routes(from);
        let mut goes_on = false;
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            while self.hear_of_route(from, to) {
                goes_on = true;
            }
        }
        goes_on | self.stop_awaiting()
    }

    /// One node hears of one change of another. False if there is none.
    pub(super) fn hear_of_route(&mut self, from: usize, to: usize) -> bool {
        self.log_routes(from);
        let known = self.known.entry((from, to)).or_default();
        let Some((filter, add)) = self.logs[from].get(*known) else {
            return false;
        };
        if self.held_routes == Some((from, to)) {
            return false;
        }
        *known += 1;
        if let Some(index) = &mut self.nodes[to].routes.index {
            let destination = Destination::Node(from as u32);
            match add {
                true => index.add(filter, destination).map(|_| ()).unwrap(),
                false => drop(index.remove(filter, destination)),
            }
        }
        true
    }

    /// Tells those who have waited for routes that are known by now.
    pub(super) fn stop_awaiting(&mut self) -> bool {
        let (mut events, mut awaiting) = (Vec::new(), Vec::new());
        for (from, request) in std::mem::take(&mut self.awaiting) {
            let OwnerRequest::AwaitRoutes {
                shard,
                node,
                at,
                payload,
                all,
            } = &request
            else {
                panic!("{request:?} waits for no routes");
            };
            let known = self.known.get(&(usize::from(*node), from)).copied();
            if (known.unwrap_or(0) as u64) < at.sequence {
                awaiting.push((from, request));
                continue;
            }
            let shards = (0..SHARDS).filter(|other| *all || other == shard);
            events.extend(shards.map(|shard| {
                let (node, payload) = (*node, payload.clone());
                let known = OwnerEvent::RoutesKnown {
                    shard,
                    node,
                    payload,
                };
                (from, known)
            }));
        }
        self.awaiting = awaiting;
        let goes_on = !events.is_empty();
        for (node, event) in events {
            self.tell(node, event);
        }
        goes_on
    }

    fn log_route(&mut self, from: usize, change: &RouteChange) {
        let (filter, add) = match change {
            RouteChange::Add(filter) => (filter, true),
            RouteChange::Remove(filter) => (filter, false),
            // Of groups, which have routes of their own.
            _ => return,
        };
        let count = self.routes[from].entry(filter.clone()).or_default();
        let before = *count;
        *count = if add { before + 1 } else { before - 1 };
        let is_news = if add { before == 0 } else { *count == 0 };
        if is_news {
            self.logs[from].push((filter.clone(), add));
        }
    }

    /// Carries what a shard has for another node. False if that is nothing.
    fn carry(&mut self, from: usize, to: usize, number: usize) -> bool {
        if self.held == Some((from, to)) {
            return false;
        }
        let shard = &mut self.nodes[from].shards[number];
        let peer = shard.node_peer(to as u16);
        let mut goes_on = self.answer(from, to, number);
        let shard = &mut self.nodes[from].shards[number];
        let Some(batch) = shard.take_batch(peer) else {
            return goes_on;
        };
        shard.ring_holds(peer, 0);
        let (now_ms, then_ms) = (self.nodes[from].now_ms, self.nodes[to].now_ms);
        let mut arriving = Box::<Batch>::default();
        for item in &batch.items {
            if let Item::Publish(packed) = item
                && let Some(message) = packed.message(&batch.bytes)
            {
                let expires_ms = match message.expires_ms {
                    u64::MAX => u64::MAX,
                    at => then_ms + at.saturating_sub(now_ms),
                };
                let message = MessageRef {
                    publisher: foreign_publisher(message.publisher, from as u16, number as u16),
                    expires_ms,
                    ..message
                };
                arriving.publish(&message, false, 0);
            }
        }
        let count = arriving.items.len();
        self.nodes[to].shards[number].handle_node_batch(from as u16, arriving);
        self.nodes[to].turn(number);
        goes_on |= self.answer(from, to, number);
        goes_on || count > 0
    }

    /// Tells a shard how many of its messages another node has accepted.
    fn answer(&mut self, from: usize, to: usize, number: usize) -> bool {
        let shard = &mut self.nodes[to].shards[number];
        if let Some(accepted) = shard.take_accepted(from as u16) {
            self.accepted.insert((from, to, number), accepted.count);
        }
        let accepted = self.accepted.get(&(from, to, number)).copied();
        let accepted = accepted.unwrap_or(0);
        let said = self.said.entry((from, to, number)).or_default();
        if *said == accepted {
            return false;
        }
        *said = accepted;
        self.nodes[from].shards[number].node_accepted(to as u16, accepted);
        self.nodes[from].turn(number);
        true
    }
}
