//! The nodes, the network, and what happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::wire::QoS;
use shard_cluster::members::{Config, State};
use shard_cluster::wire::{Reason, Role};

use crate::ledger::Ledger;
use crate::net::{Arrival, Net};
use crate::node::{CONTROL, Disk, Node, Out, SHARDS};
use crate::random::Random;
use crate::sessions::Letter;

const STEP_MS: u64 = 20;
const CORES: usize = 3;
const CLIENTS: u64 = 8;
/// Filters that one client may have for itself.
const FILTERS: u64 = 3;

/// A place where a node runs, or not.
struct Place {
    node: Option<Node>,
    disk: Disk,
    stores: bool,
    /// What its clock shows at the beginning, and how fast it runs, in thousandths.
    clock: (u64, u64),
}

pub(crate) struct World {
    now_ms: u64,
    random: Random,
    net: Net,
    names: Vec<String>,
    places: Vec<Place>,
    ledger: Ledger,
    /// What nodes say of sessions, by sender and receiver, and when it arrives.
    letters: BTreeMap<(usize, usize), VecDeque<(u64, Letter)>>,
    /// One in so many steps, sessions of a node accept what came from another.
    patience: u64,
    /// One in so many steps, something fails.
    trouble: u64,
    /// How many of twenty faults mend a direction.
    mending: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let count = CORES + random.index(3);
        let names: Vec<_> = (0..count).map(|index| format!("shardmq@{index}")).collect();
        let places = names.iter().map(|_| Place {
            node: None,
            disk: Disk::default(),
            stores: random.one_in(2),
            clock: (1 + random.below(100_000), 985 + random.below(31)),
        });
        let places = places.collect();
        let mut world = Self {
            now_ms: 0,
            random,
            net: Net::default(),
            names,
            places,
            ledger: Ledger::default(),
            letters: BTreeMap::new(),
            patience: 1 + seed % 16,
            trouble: 10 + seed % 7 * 10,
            mending: 2 + seed % 5 * 2,
        };
        (0..count).for_each(|index| world.start(index));
        world
    }

    fn clock(&self, place: usize) -> u64 {
        let (offset, speed) = self.places[place].clock;
        offset + self.now_ms * speed / 1000
    }

    fn start(&mut self, index: usize) {
        let cores: Vec<&str> = self.names[..CORES].iter().map(String::as_str).collect();
        let role = if index < CORES {
            Role::Core
        } else {
            Role::Replicant
        };
        let now_ms = self.clock(index);
        let place = &mut self.places[index];
        place.disk.incarnation += 1;
        let incarnation = place.disk.incarnation;
        let config = Config::new("home", &self.names[index], role, incarnation, &cores);
        let (names, stores) = (&self.names, place.stores);
        let node = Node::start(now_ms, config, names, stores, &mut place.disk);
        place.node = Some(node);
    }

    pub(crate) fn run(&mut self, for_ms: u64, faults: bool) {
        let end_ms = self.now_ms + for_ms;
        while self.now_ms < end_ms {
            self.now_ms += STEP_MS;
            if faults {
                self.fault();
            }
            self.connect();
            self.end_stopped();
            self.tick();
            if faults || self.now_ms + 15_000 < end_ms {
                (0..4).for_each(|_| self.clients());
            }
            self.accept();
            self.move_clients(faults || self.now_ms + 15_000 < end_ms);
            self.pump();
            self.deliver();
            self.deliver_letters();
            self.acknowledge();
            self.check_given_up();
            self.check_owners();
            self.check_exclusive();
        }
    }

    fn fault(&mut self) {
        let (a, b) = (
            self.random.index(self.places.len()),
            self.random.index(self.places.len()),
        );
        if a == b || !self.random.one_in(self.trouble) {
            return;
        }
        match self.random.below(15 + self.mending) {
            0 => self.net.cut(a, b),
            1 => {
                self.net.cut(a, b);
                self.net.cut(b, a);
            }
            2 => (0..self.places.len())
                .filter(|other| *other != a)
                .for_each(|other| {
                    self.net.cut(a, other);
                    self.net.cut(other, a);
                }),
            3 => self.net.mend_all(),
            4..8 => self.disconnect(a, b),
            8 => self.crash(a),
            9..11 => self.stop(a),
            11..15 => {
                if self.places[a].node.is_none() {
                    self.start(a);
                }
            }
            _ => {
                self.net.mend(a, b);
                self.net.mend(b, a);
            }
        }
    }

    fn crash(&mut self, index: usize) {
        let now_ms = self.clock(index);
        let place = &mut self.places[index];
        if let Some(node) = &mut place.node {
            node.ends(now_ms, &mut place.disk);
        }
        self.close_all(index);
        self.places[index].node = None;
        self.letters.retain(|(from, _), _| *from != index);
    }

    /// A node says goodbye, or ends if it has.
    fn stop(&mut self, index: usize) {
        let now_ms = self.clock(index);
        let place = &mut self.places[index];
        let Some(node) = &mut place.node else {
            return;
        };
        if node.is_ending {
            return self.crash(index);
        }
        let life = (index, node.incarnation());
        let goodbyes = node.say_goodbye(now_ms, &mut place.disk);
        self.ledger.down.insert(life);
        self.send(index, goodbyes);
    }

    /// Nodes that have said goodbye end soon.
    fn end_stopped(&mut self) {
        for index in 0..self.places.len() {
            let node = self.places[index].node.as_ref();
            if node.is_some_and(|node| node.is_ending) && self.random.one_in(20) {
                self.crash(index);
                if self.random.one_in(2) {
                    self.start(index);
                }
            }
        }
    }

    pub(crate) fn end_faults(&mut self) {
        self.net.mend_all();
        for index in 0..self.places.len() {
            let node = self.places[index].node.as_ref();
            if node.is_some_and(|node| node.is_ending) {
                self.crash(index);
            }
            if self.places[index].node.is_none() {
                self.start(index);
            }
        }
    }

    fn close_all(&mut self, index: usize) {
        for (a, b) in self.net.of(index) {
            self.disconnect(a, b);
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        if self.net.disconnect(a, b) {
            for (node, peer) in [(a, b), (b, a)] {
                if let Some(node) = &mut self.places[node].node {
                    node.disconnected(peer);
                }
            }
        }
    }

    fn connect(&mut self) {
        for (a, b) in self.net.silent(self.now_ms) {
            self.disconnect(a, b);
        }
        let goes_on = |place: &Place| place.node.as_ref().is_some_and(|node| !node.is_ending);
        for a in 0..self.places.len() {
            for b in a + 1..self.places.len() {
                let both = goes_on(&self.places[a]) && goes_on(&self.places[b]);
                if both
                    && !self.net.is_connected(a, b)
                    && self.random.one_in(10)
                    && self.net.connect(self.now_ms, a, b)
                {
                    self.greet(a, b);
                    self.greet(b, a);
                }
            }
        }
    }

    fn greet(&mut self, from: usize, to: usize) {
        if let Some(node) = &mut self.places[from].node {
            let hello = node.connected(to);
            self.send(from, vec![(to, CONTROL, hello)]);
        }
    }

    fn send(&mut self, from: usize, out: Vec<Out>) {
        for (to, channel, frame) in out {
            let way = (from, to, channel);
            self.net.send(way, frame, self.now_ms, &mut self.random);
        }
    }

    fn tick(&mut self) {
        for index in 0..self.places.len() {
            let now_ms = self.clock(index);
            let place = &mut self.places[index];
            let Some(node) = &mut place.node else {
                continue;
            };
            let due = node.members.tick(now_ms);
            let renewed = node.events(&mut place.disk, &mut self.ledger);
            let beats = if due {
                node.heartbeats(now_ms, &mut place.disk)
            } else {
                Vec::new()
            };
            if renewed {
                self.close_all(index);
            } else {
                self.send(index, beats);
            }
        }
    }

    /// Clients subscribe, unsubscribe and publish.
    fn clients(&mut self) {
        let index = self.random.index(self.places.len());
        let boots = self.places.iter().map(|place| place.node.as_ref());
        let boots: Vec<u64> = boots.map(|node| node.map_or(0, |node| node.boot)).collect();
        let topic = format!("t/{}", self.random.below(12));
        let now_ms = self.clock(index);
        let place = &mut self.places[index];
        let Some(node) = &mut place.node else {
            return;
        };
        match self.random.below(10) {
            0 => node.subscribe(&topic, &mut place.disk),
            1 => node.unsubscribe(&topic, &mut place.disk),
            _ => {
                let qos = if self.random.one_in(4) {
                    QoS::AtMostOnce
                } else {
                    QoS::AtLeastOnce
                };
                let shard = self.random.below(u64::from(SHARDS)) as u16;
                node.publish(now_ms, (shard, &topic, qos), &boots, &mut self.ledger);
            }
        }
    }

    /// Clients connect to one node and another, and their sessions end.
    fn move_clients(&mut self, connect: bool) {
        for index in 0..self.places.len() {
            let now_ms = self.clock(index);
            let client = format!("client-{}", self.random.below(CLIENTS));
            let what = self.random.below(60);
            let (revokes, anew) = (self.random.one_in(5), self.random.one_in(6));
            let place = &mut self.places[index];
            let Some(node) = &mut place.node else {
                continue;
            };
            match what {
                0..2 if connect => node.connect(now_ms, &client, anew),
                2 if connect => node.release(&client, &mut self.ledger),
                3..6 if connect => {
                    let filter = self.random.below(FILTERS);
                    node.want(filter, what != 5, &mut self.random);
                }
                _ => {}
            }
            let (disk, ledger) = (&mut place.disk, &mut self.ledger);
            let out = node.clients(now_ms, revokes, disk, ledger, &mut self.random);
            self.send(index, out);
            self.post(index);
            self.check_sessions(index);
        }
    }

    /// What a node says of sessions goes on its way: at least once, and in order, as long as
    /// neither the sender nor the receiver ends.
    fn post(&mut self, from: usize) {
        let Some(node) = &mut self.places[from].node else {
            return;
        };
        for (to, letter) in core::mem::take(&mut node.clients.letters) {
            let earliest_ms = self.now_ms + self.random.below(60);
            let queue = self.letters.entry((from, to)).or_default();
            queue.push_back((earliest_ms, letter));
        }
        let is_down = |to: usize| !node.clients.knows(to);
        self.letters
            .retain(|(by, to), _| *by != from || !is_down(*to));
    }

    fn deliver_letters(&mut self) {
        let pairs: Vec<_> = self.letters.keys().copied().collect();
        for (from, to) in pairs {
            let ends = [(from, to), (to, from)];
            let is_linked = |(at, peer): (usize, usize)| {
                let node = self.places[at].node.as_ref();
                node.is_some_and(|node| node.has_greeted(peer))
            };
            if !ends.into_iter().all(is_linked) || self.net.is_cut(from, to) {
                continue;
            }
            let now_ms = self.now_ms;
            while let Some(queue) = self.letters.get_mut(&(from, to))
                && queue.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms)
                && let Some((_, letter)) = queue.pop_front()
                && let Some(node) = &mut self.places[to].node
            {
                node.hear(from, letter, &mut self.ledger);
            }
        }
    }

    /// A client that is let in gets its session, if a node that lives has it; and nobody gets one
    /// that is older than what such a node has.
    fn check_sessions(&mut self, at: usize) {
        let Some(node) = &mut self.places[at].node else {
            return;
        };
        let let_in = core::mem::take(&mut node.clients.let_in);
        if self.who_acts(at).is_none() {
            return;
        }
        for one in let_in {
            self.ledger.found += u64::from(one.session.is_some());
            let others = (0..self.places.len()).filter(|other| *other != at && !one.begins_anew);
            for other in others.filter(|other| one.unmet != Some(*other)) {
                let known = self.who_acts(other);
                let has = known.and_then(|node| node.clients.sure(&one.client));
                assert!(
                    has <= one.session.max(self.ledger.last_ended(&one.client)),
                    "{} is let in by {at} with {:?} at {}, and {other} has {has:?}",
                    one.client,
                    one.session,
                    self.now_ms
                );
            }
        }
    }

    /// A node that lives, has its lease, and was given up by nobody.
    fn who_acts(&self, index: usize) -> Option<&Node> {
        let node = self.places[index].node.as_ref()?;
        let is_down = self.ledger.down.contains(&(index, node.incarnation()));
        let acts = node.members.may_acknowledge(self.clock(index)) && !node.is_ending;
        (acts && !is_down).then_some(node)
    }

    /// Sessions accept what came, some time later.
    fn accept(&mut self) {
        for index in 0..self.places.len() {
            for from in (0..self.places.len()).filter(|from| *from != index) {
                if !self.random.one_in(self.patience) {
                    continue;
                }
                let count = self.random.index(12);
                let place = &mut self.places[index];
                if let Some(node) = &mut place.node {
                    node.accept(from, count, &mut place.disk);
                }
            }
        }
    }

    fn pump(&mut self) {
        let digests = self.now_ms.is_multiple_of(1000);
        for index in 0..self.places.len() {
            let now_ms = self.clock(index);
            if let Some(node) = &mut self.places[index].node {
                let out = node.pump(now_ms, digests);
                self.send(index, out);
            }
        }
    }

    fn deliver(&mut self) {
        let places = &self.places;
        let ready = |from: usize, to: usize, channel: u16| {
            let node = places[to].node.as_ref();
            channel == CONTROL || node.is_some_and(|node| node.has_greeted(from))
        };
        for arrival in self.net.arrivals(self.now_ms, ready) {
            let Arrival { from, to, .. } = arrival;
            if self.net.number(from, to) == Some(arrival.connection) {
                self.handle(&arrival);
            }
        }
    }

    fn handle(&mut self, arrival: &Arrival) {
        let &Arrival {
            from, to, channel, ..
        } = arrival;
        let now_ms = self.clock(to);
        let Some(node) = &mut self.places[to].node else {
            return;
        };
        match node.handle(now_ms, (from, channel), &arrival.frame) {
            Ok(out) => self.send(to, out),
            Err(reason) => {
                assert_eq!(reason, Reason::Stale);
                self.disconnect(from, to);
                // It is told, unless that is lost.
                if let Some(node) = &mut self.places[from].node
                    && !self.random.one_in(4)
                {
                    node.refused_by(to);
                }
            }
        }
    }

    fn acknowledge(&mut self) {
        for index in 0..self.places.len() {
            let now_ms = self.clock(index);
            if let Some(node) = &mut self.places[index].node {
                node.acknowledge(now_ms, &mut self.ledger);
            }
        }
    }

    /// Who was given up does not acknowledge.
    fn check_given_up(&self) {
        for (index, place) in self.places.iter().enumerate() {
            let Some(node) = &place.node else {
                continue;
            };
            let is_down = self.ledger.down.contains(&(index, node.incarnation()));
            assert!(
                !is_down || !node.members.may_acknowledge(self.clock(index)),
                "{} was given up and acknowledges at {}",
                node.name(),
                self.now_ms
            );
        }
    }

    /// Of all that may act, one at most has a client identifier. A node whose lease has just come
    /// back does not serve what it had before its directory has heard so.
    fn check_owners(&self) {
        let mut owners = BTreeSet::new();
        for (index, place) in self.places.iter().enumerate() {
            let Some(node) = &place.node else {
                continue;
            };
            if node.members.may_acknowledge(self.clock(index)) {
                let owned = node.directory.owned().map(|(client, _)| client);
                for client in owned.filter(|client| node.directory.owns(client).is_some()) {
                    let is_only = owners.insert(client);
                    assert!(is_only, "{client} has two owners at {}", self.now_ms);
                }
            }
        }
    }

    /// Of all clients whose nodes may act, one at most has a filter for itself.
    fn check_exclusive(&self) {
        let mut held = BTreeSet::new();
        for (index, place) in self.places.iter().enumerate() {
            let Some(node) = &place.node else {
                continue;
            };
            if node.members.may_acknowledge(self.clock(index)) {
                for filter in node.exclusive() {
                    let is_only = held.insert(filter);
                    assert!(is_only, "{filter:?} has two holders at {}", self.now_ms);
                }
            }
        }
    }

    pub(crate) fn check(&self) {
        assert!(self.ledger.grants > 0);
        assert!(self.ledger.exclusive_grants > 0);
        assert!(self.ledger.found > 0);
        let nodes = self.places.iter().filter_map(|place| place.node.as_ref());
        let nodes: Vec<&Node> = nodes.collect();
        assert_eq!(nodes.len(), self.places.len());
        for (index, node) in nodes.iter().enumerate() {
            assert!(node.members.may_acknowledge(self.clock(index)));
            for (name, status) in node.members.peers() {
                assert_eq!(status.state, State::Alive, "{name} at {}", node.name());
            }
            assert_eq!((node.unsettled(), node.waits()), (0, 0), "{}", node.name());
            assert_eq!(node.directory.claims(), 0, "{}", node.name());
            for (other, owner) in nodes
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
            {
                let routes: &BTreeSet<String> = &owner.filters;
                assert_eq!(node.index_of(other), *routes, "{other} at {index}");
            }
            self.ledger
                .check(index, node.boot, node.stores, &node.sessions);
        }
    }
}
