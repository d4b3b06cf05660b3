//! The node, the actors, and what happens next.

use std::collections::BTreeSet;

use protocol::topic::Filter;
use protocol::wire::Version;

use super::super::disk::Disk;
use super::super::node::{Node, Setup};
use super::super::packet::{self, Connect, Will};
use super::super::random::Random;
use super::actor::{Actor, Connection, FILTERS, SHARED, plain};
use super::ledger::Ledger;
use super::matching::matches;
use crate::settings::{Mqtt, QueueFull, SharedStrategy};

const ACTORS: usize = 7;

const TOPICS: [&str; 5] = ["t/1", "t/2", "t/1/x", "other/1", "t"];

/// Session Expiry Intervals, in seconds.
const EXPIRIES: [u32; 4] = [0, 10, 3600, 3600];

/// One run.
pub(super) struct World {
    node: Node,
    random: Random,
    actors: Vec<Actor>,
    ledger: Ledger,
    /// Messages with QoS 1 or 2 that a client may have sent without acknowledgement.
    receive_maximum: usize,
    /// No queue overflows.
    lossless: bool,
    /// No member of a group asks for QoS 0.
    reliable: bool,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let lossless = !random.one_in(5);
        let reliable = random.one_in(2);
        let strategy = |random: &mut Random| random.pick(&SharedStrategy::ALL).1;
        let mqtt = Mqtt {
            shared_subscription_strategy: strategy(&mut random),
            shared_subscription_groups: [("h".to_owned(), strategy(&mut random))].into(),
            receive_maximum: *random.pick(&[2, 5, 1024]),
            max_inflight: *random.pick(&[1, 2, 5, 128]),
            max_mqueue_len: if lossless { 100_000 } else { 5 },
            mqueue_full: *random.pick(&[QueueFull::DropOldest, QueueFull::DropNewest]),
            max_output_bytes: *random.pick(&[150, 2000, 1 << 20]),
            ..Mqtt::default()
        };
        let receive_maximum = usize::from(mqtt.receive_maximum);
        let shards = *random.pick(&[1, 2, 3, 3, 4]);
        let disk = random.one_in(2).then(|| Disk::new(usize::from(shards)));
        let node = Node::with(Setup {
            shards,
            disk,
            seed,
            mqtt,
            peer_bytes_max: *random.pick(&[20, 200, 256 << 10]),
            ring_batches: *random.pick(&[1, 2, 64]),
            ..Setup::default()
        });
        let actors = (0..ACTORS).map(|index| actor(index, &mut random));
        Self {
            actors: actors.collect(),
            node,
            random,
            ledger: Ledger::default(),
            receive_maximum,
            lossless,
            reliable,
        }
    }

    pub(super) fn something_happens(&mut self) {
        let who = self.random.below(ACTORS);
        match self.random.below(100) {
            0..2 => self.time_passes(),
            2..5 => self.hold_something(),
            5..8 => self.node.hold_routes(false),
            8..12 => self.toggle_reading(who),
            12..16 => self.leave(who),
            16..18 => self.connect(who),
            18..25 => {
                let count = self.random.below(4) + 1;
                self.actors[who].answer(&mut self.node, count);
            }
            _ => self.act(who),
        }
        for _ in 0..self.random.below(6) {
            self.node.step();
        }
    }

    /// An actor reads what has come and then does what it is there for.
    fn act(&mut self, who: usize) {
        self.actors[who].read(&mut self.node, &mut self.ledger);
        if self.actors[who].connection.is_none() {
            self.connect(who);
        } else if self.actors[who].is_ready() {
            match self.random.below(10) {
                0..2 => self.subscribe(who),
                2 if self.random.one_in(3) => self.unsubscribe(who),
                _ => self.publish(who),
            }
        }
    }

    /// Opens a connection; one that is open is taken over.
    fn connect(&mut self, who: usize) {
        let shard = self.random.below(self.node.shards.len()) as u16;
        let expects_present = self.forget_connection(who, true);
        if self.actors[who].uncertain {
            // An earlier CONNECT that is still on its way would take over from this one.
            self.come_to_rest();
        }
        let actor = &mut self.actors[who];
        actor.leaving = None;
        let clean = actor.uncertain || self.random.one_in(5);
        let expiry_s = match (actor.version, clean) {
            (Version::V5, _) => *self.random.pick(&EXPIRIES),
            (_, true) => 0,
            (_, false) => 7200,
        };
        let mut connect = Connect::new(&actor.name).version(actor.version);
        if !clean {
            connect = connect.resume();
        }
        if actor.version == Version::V5 {
            let window = *self.random.pick(&[1, 2, 10, u16::MAX]);
            let aliases = *self.random.pick(&[0, 1, 3, u16::MAX]);
            connect = connect.expiry(expiry_s).receive_maximum(window);
            connect = connect.topic_alias_maximum(aliases);
        }
        let will = self.random.one_in(3).then(|| {
            let topic = format!("will/{who}");
            let number = self.ledger.enter(who, &topic, 1);
            self.ledger.entries[number].will = true;
            number
        });
        if let Some(number) = will {
            let delay_s = *self.random.pick(&[0, 0, 5, 100]);
            let topic = format!("will/{who}");
            let will = Will::new(&topic, &number.to_string()).qos(1);
            let is_5 = actor.version == Version::V5;
            connect = connect.will(if is_5 { will.delay(delay_s) } else { will });
        }
        let client = self.node.open(shard, actor.version);
        self.node.send(client, &connect.encode());
        actor.connection = Some(Connection {
            client,
            accepted: false,
            expiry_s,
            expects_present: if clean { Some(false) } else { expects_present },
            will,
            prompt: !self.random.one_in(3),
            answers: Default::default(),
            subscribing: Default::default(),
        });
        if clean {
            actor.end_session(&mut self.ledger);
        }
        if let Some(session) = &mut actor.session {
            session.ends_ms = None;
        }
        actor.uncertain = true;
    }

    /// The actor has no connection any more. Returns whether its session must be there at
    /// the next one.
    fn forget_connection(&mut self, who: usize, taken_over: bool) -> Option<bool> {
        let actor = &mut self.actors[who];
        if let Some(connection) = actor.connection.take() {
            // What is on the way on the old connection is lost, or not.
            if !taken_over {
                self.node.close(connection.client);
            }
            if !connection.accepted {
                actor.lose_sight(&mut self.ledger);
                return None;
            }
            let session = actor.session.as_mut()?;
            session.ends_ms = Some(self.node.now_ms + u64::from(session.expiry_s) * 1000);
            // A subscription without SUBACK may be there or not.
            if session.expiry_s == 0 {
                actor.end_session(&mut self.ledger);
            }
        }
        if actor.uncertain {
            return None;
        }
        Some(actor.session.is_some())
    }

    /// Closes the connection, with or without good-bye.
    fn leave(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        let Some(connection) = &actor.connection else {
            return;
        };
        let (client, will, accepted) = (connection.client, connection.will, connection.accepted);
        if accepted && self.random.one_in(2) {
            self.node.send(client, &packet::DISCONNECT);
            actor.leaving = will;
        } else if self.random.one_in(2) {
            self.node.cut(client);
        }
        self.forget_connection(who, false);
    }

    fn subscribe(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        let filter = *if actor.shares {
            self.random.pick(&SHARED)
        } else {
            self.random.pick(&FILTERS)
        };
        let qos_min = usize::from(actor.shares && self.reliable);
        let mut options = (qos_min + self.random.below(3 - qos_min)) as u8;
        if actor.version == Version::V5 {
            options |= (self.random.below(3) as u8) << 4;
        }
        actor.subscribe(&mut self.node, &mut self.ledger, filter, options);
    }

    fn unsubscribe(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        let session = actor.session.as_ref();
        let filters: Vec<&'static str> = session.map_or_else(Vec::new, |session| {
            session.subscriptions.keys().copied().collect()
        });
        if !filters.is_empty() {
            let filter = self.random.pick(&filters);
            actor.unsubscribe(&mut self.node, &mut self.ledger, filter);
        }
    }

    fn publish(&mut self, who: usize) {
        for _ in 0..=self.random.below(4) {
            let actor = &mut self.actors[who];
            let session = actor.session.as_ref();
            let waiting = session.map_or(0, |session| session.unacknowledged.len());
            let qos = self.random.below(3) as u8;
            if qos > 0 && waiting >= self.receive_maximum.min(900) {
                return;
            }
            let retain = self.random.one_in(8);
            let own = format!("r/{who}");
            let topic = if retain {
                &own
            } else {
                *self.random.pick(&TOPICS)
            };
            let number = self.ledger.enter(who, topic, qos);
            self.ledger.entries[number].retain = retain;
            actor.publish(&mut self.node, &self.ledger, number);
        }
    }

    fn toggle_reading(&mut self, who: usize) {
        if let Some(connection) = &self.actors[who].connection {
            let reads = !self.random.one_in(3);
            self.node.set_reading(connection.client, reads);
        }
    }

    fn hold_something(&mut self) {
        let shards = self.node.shards.len();
        let (from, to) = (self.random.below(shards), self.random.below(shards));
        let held = self.random.one_in(2);
        self.node.hold_ring(from as u16, to as u16, held);
        self.node.hold_routes(self.random.one_in(2));
    }

    /// Nothing is held back any more.
    fn release_everything(&mut self) {
        let shards = self.node.shards.len() as u16;
        for (from, to) in (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to))) {
            self.node.hold_ring(from, to, false);
        }
        self.node.hold_routes(false);
        for actor in &self.actors {
            if let Some(connection) = &actor.connection {
                self.node.set_reading(connection.client, true);
            }
        }
    }

    /// All that is under way arrives.
    fn come_to_rest(&mut self) {
        self.release_everything();
        self.node.settle();
        let steady = self.steady();
        for actor in &mut self.actors {
            if let Some(will) = actor.leaving.take() {
                self.ledger.entries[will].forbidden = true;
            }
            if !actor.uncertain {
                actor.settle(&mut self.ledger, &steady);
            }
        }
    }

    /// The groups that have had a member for a while.
    fn steady(&self) -> BTreeSet<&'static str> {
        let steady = |group: &&str| self.actors.iter().any(|actor| actor.is_steady_in(group));
        SHARED.into_iter().filter(steady).collect()
    }

    fn time_passes(&mut self) {
        self.come_to_rest();
        let ms = *self.random.pick(&[1, 100, 4_000, 9_000, 20_000]);
        self.node.advance(ms);
        for actor in &mut self.actors {
            let session = actor.session.as_ref();
            let ends_ms = session.and_then(|session| session.ends_ms);
            if ends_ms.is_some_and(|ends_ms| ends_ms <= self.node.now_ms) {
                actor.end_session(&mut self.ledger);
            }
        }
        let steady = self.steady();
        for actor in self.actors.iter_mut().filter(|actor| !actor.uncertain) {
            actor.settle(&mut self.ledger, &steady);
        }
    }

    /// Everybody comes back and takes what there is; then all is checked, and everybody
    /// goes.
    pub(super) fn end(mut self) {
        self.come_to_rest();
        self.drain();
        for who in 0..ACTORS {
            let actor = &self.actors[who];
            if actor.connection.is_none() && actor.session.is_some() && !actor.uncertain {
                self.return_to_session(who);
            }
        }
        self.drain();
        self.come_to_rest();
        self.check_subscribers();
        self.check_groups();
        self.check_exclusive();
        self.check_retained();
        self.everybody_goes();
    }

    fn return_to_session(&mut self, who: usize) {
        let actor = &mut self.actors[who];
        let mut connect = Connect::new(&actor.name).version(actor.version).resume();
        if actor.version == Version::V5 {
            connect = connect.expiry(3600);
        }
        let client = self.node.open(0, actor.version);
        self.node.send(client, &connect.encode());
        actor.connection = Some(Connection {
            client,
            accepted: false,
            expiry_s: 3600,
            expects_present: Some(true),
            will: None,
            prompt: true,
            answers: Default::default(),
            subscribing: Default::default(),
        });
    }

    /// Everybody reads and answers until nothing comes any more.
    fn drain(&mut self) {
        loop {
            self.node.settle();
            let mut something = false;
            for actor in &mut self.actors {
                something |= actor.read(&mut self.node, &mut self.ledger);
                actor.answer(&mut self.node, usize::MAX);
            }
            if !something {
                return;
            }
        }
    }

    /// What was acknowledged has reached everybody who was subscribed throughout.
    fn check_subscribers(&self) {
        for actor in self.actors.iter().filter(|actor| !actor.shares) {
            let Some(session) = actor.session.as_ref().filter(|_| actor.is_ready()) else {
                continue;
            };
            if !self.lossless && self.dropped(&actor.name) > 0 {
                continue;
            }
            for (filter, subscription) in &session.subscriptions {
                let Some(since) = subscription.since.filter(|_| subscription.qos > 0) else {
                    continue;
                };
                for (number, entry) in self.ledger.acknowledged() {
                    let due = entry.sent_at > since && matches(plain(filter), &entry.topic);
                    assert!(
                        !due || session.has_got(number),
                        "{} did not get {number} by {filter}: {entry:?}",
                        actor.name
                    );
                }
            }
        }
    }

    /// What was acknowledged has reached one member of each group that did not change, or,
    /// with QoS 1, of each that always had a member.
    fn check_groups(&self) {
        if !self.lossless {
            return;
        }
        for (name, group) in &self.ledger.groups {
            let members = self.actors.iter().filter_map(|actor| {
                let session = actor.session.as_ref().filter(|_| actor.is_ready())?;
                session.subscriptions.get(name)
            });
            let members: Vec<_> = members.collect();
            let mut uncertain = self.actors.iter().filter(|actor| actor.uncertain);
            if uncertain.any(|actor| actor.may_be_in(name)) {
                continue;
            }
            if members.is_empty() || members.iter().any(|m| m.qos == 0 || m.since.is_none()) {
                continue;
            }
            for (number, entry) in self.ledger.acknowledged() {
                // What is under way with QoS 2 ends with the session that it is given to.
                let since = if entry.qos == 1 && !group.lossy {
                    group.alone_at
                } else {
                    group.changed_at
                };
                let due = entry.sent_at > since && matches(plain(name), &entry.topic);
                assert!(
                    !due || group.deliveries.contains_key(&number),
                    "nobody in {name} got {number}: {entry:?}"
                );
            }
        }
    }

    /// What shards know of exclusive subscriptions agrees, and nobody has one with another.
    fn check_exclusive(&self) {
        let mut holders = Vec::new();
        for shard in &self.node.shards {
            for (filter, holder) in &shard.exclusive {
                let home = &self.node.shards[usize::from(holder.shard)];
                let session = home.sessions.get(holder.session).expect("a holder");
                assert_eq!(session.serial, holder.serial, "the holder of {filter}");
                let id = home.subscriptions.find(Filter::parse(filter, 9).unwrap());
                let is_held = |id| session.subscriptions.is_exclusive(id);
                assert!(id.is_some_and(is_held), "{filter} is not held");
                holders.push((filter.to_string(), session.client_id.clone()));
            }
        }
        for actor in self.actors.iter().filter(|actor| actor.is_ready()) {
            let session = actor.session.as_ref().expect("a session");
            for (filter, subscription) in &session.subscriptions {
                if filter.starts_with("$exclusive/") && subscription.since.is_some() {
                    let holder = (plain(filter).to_owned(), actor.name.clone().into());
                    assert!(
                        holders.contains(&holder),
                        "{holder:?} is not in {holders:?}"
                    );
                }
            }
        }
    }

    /// The last message that a client retained is the one that is retained.
    fn check_retained(&mut self) {
        let client = self.node.connect(&Connect::new("checker"));
        let topics: Vec<String> = (0..ACTORS).map(|who| format!("r/{who}")).collect();
        let filters: Vec<(&str, u8)> = topics.iter().map(|topic| (topic.as_str(), 0)).collect();
        self.node
            .send(client, &packet::subscribe(Version::V5, 1, 0, &filters));
        self.node.settle();
        let packets = self.node.take(client);
        let mut retained: Vec<(String, String)> = Vec::new();
        for packet in packets {
            if let super::super::received::Received::Publish(message) = packet {
                retained.push((message.topic.clone(), message.text().to_owned()));
            }
        }
        for topic in topics {
            let mut found = retained.iter().filter(|(other, _)| *other == topic);
            let entries = self.ledger.entries.iter().enumerate();
            let own: Vec<_> = entries.filter(|(_, entry)| entry.topic == topic).collect();
            let value = found.next().map(|(_, text)| text.clone());
            assert_eq!(found.next(), None, "two messages are retained for {topic}");
            // What was sent again with QoS 1 may have come after a later one of QoS 2.
            if let Some((number, last)) = own.last()
                && last.acknowledged
                && own.iter().all(|(_, entry)| entry.repeats == 0)
            {
                assert_eq!(value, Some(number.to_string()), "retained for {topic}");
            }
        }
        self.node.close(client);
    }

    /// Messages that the queue of a session had no room for.
    fn dropped(&self, name: &str) -> u64 {
        let shard = &self.node.shards[usize::from(self.node.home(name))];
        let sessions = shard.sessions.keys();
        let mut sessions = sessions.filter_map(|key| shard.sessions.get(key));
        let session = sessions.find(|session| *session.client_id == *name);
        session.map_or(0, |session| session.dropped)
    }

    fn everybody_goes(&mut self) {
        // Also those that were to be taken over by a connection that did not come to that.
        for client in 0..self.node.sockets.len() {
            self.node.close(client);
        }
        self.node.advance(8_000_000);
        self.node.assert_empty();
    }
}

fn actor(index: usize, random: &mut Random) -> Actor {
    let shares = index % 3 == 2;
    // Those that share tell their groups apart by Subscription Identifiers.
    let is_5 = shares || random.one_in(2);
    Actor {
        name: format!("actor-{index}"),
        version: if is_5 { Version::V5 } else { Version::V311 },
        shares,
        connection: None,
        session: None,
        uncertain: false,
        next_id: 0,
        unsettled: Default::default(),
        leaving: None,
    }
}
