//! Retained messages of two nodes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::message::MessageRef;
use protocol::wire::{QoS, Version};

use super::super::removals::KNOWN_MS;
use super::super::{Batch, Common, Item, RetainedQuota};
use super::disk::Disk;
use super::node::{Client, Node, Setup};
use super::packet::{self, Publish};
use super::received::Received;
use crate::settings::{Mqtt, SysTopics};

/// What each node calls the other one.
const OTHER: u16 = 0;
const SHARDS: u16 = 2;

/// Two nodes with a link.
struct Pair {
    nodes: [Node; 2],
    /// By node and shard: messages that the other one has accepted, and how many it said.
    accepted: [[u64; SHARDS as usize]; 2],
    said: [[u64; SHARDS as usize]; 2],
}

fn setup(name: &str, mqtt: Mqtt, disk: Option<Disk>) -> Setup {
    Setup {
        shards: SHARDS,
        mqtt,
        disk,
        common: Common {
            node: name.into(),
            sys_topics: SysTopics {
                sys_msg_interval_s: 0,
                sys_heartbeat_interval_s: 0,
            },
            ..Common::default()
        },
        ..Setup::default()
    }
}

fn join(node: &mut Node) {
    for shard in &mut node.shards {
        shard.join_cluster(4096);
    }
    let common = &node.shards[0].common;
    common.nodes_known.store(1, Ordering::Relaxed);
    common.lease_until_ms.store(u64::MAX, Ordering::Relaxed);
}

impl Pair {
    fn new() -> Self {
        Self::with(Mqtt::default(), None)
    }

    /// The second one has these settings and this disk.
    fn with(mqtt: Mqtt, disk: Option<Disk>) -> Self {
        let first = Node::with(setup("a", Mqtt::default(), None));
        let mut nodes = [first, Node::with(setup("b", mqtt, disk))];
        nodes.iter_mut().for_each(join);
        Self {
            nodes,
            accepted: Default::default(),
            said: Default::default(),
        }
    }

    /// Each sees that the other is there.
    fn link(&mut self) {
        for node in &mut self.nodes {
            let common = &node.shards[0].common;
            common.nodes_up.store(1, Ordering::Relaxed);
            common.arrivals.add(OTHER);
            node.turn_all();
        }
    }

    /// Each sees that the other is gone. What is under way is lost.
    fn cut(&mut self) {
        for node in &mut self.nodes {
            let common = &node.shards[0].common;
            common.nodes_up.store(0, Ordering::Relaxed);
        }
        for from in 0..2 {
            for shard in 0..usize::from(SHARDS) {
                self.carry(from, shard, false);
            }
        }
    }

    /// The second one crashes and comes back from its disk.
    fn restart(mut self) -> Self {
        self.cut();
        let [first, second] = self.nodes;
        let mut second = second.crash(SHARDS);
        join(&mut second);
        self.said[1] = Default::default();
        self.accepted[1] = Default::default();
        self.nodes = [first, second];
        self
    }

    /// Carries what a shard has for the other node. False if that is nothing.
    fn carry(&mut self, from: usize, number: usize, arrives: bool) -> bool {
        let shard = &mut self.nodes[from].shards[number];
        let peer = shard.node_peer(OTHER);
        let Some(batch) = shard.take_batch(peer) else {
            return self.tell_accepted(from, number);
        };
        shard.ring_holds(peer, 0);
        let clocks = (self.nodes[from].now_ms, self.nodes[1 - from].now_ms);
        let mut arriving = Box::<Batch>::default();
        let mut lost = 0;
        for item in &batch.items {
            let Item::Publish(packed) = item else {
                panic!("{item:?} for another node");
            };
            let message = packed.message(&batch.bytes).unwrap();
            lost += u64::from(!arrives);
            let expires_ms = match message.expires_ms {
                u64::MAX => u64::MAX,
                expires_ms => expires_ms.saturating_sub(clocks.0) + clocks.1,
            };
            let message = MessageRef {
                expires_ms,
                ..message
            };
            arriving.publish(&message, false, 0);
        }
        if arrives {
            let to = &mut self.nodes[1 - from];
            to.shards[number].handle_node_batch(OTHER, arriving);
            to.turn(number);
        }
        self.accepted[from][number] += lost;
        let accepted = self.accepted[from][number];
        self.nodes[from].shards[number].node_accepted(OTHER, accepted);
        self.nodes[from].turn(number);
        self.tell_accepted(from, number);
        true
    }

    fn tell_accepted(&mut self, from: usize, shard: usize) -> bool {
        let Some(said) = self.nodes[1 - from].shards[shard].take_accepted(OTHER) else {
            return false;
        };
        let said = said.count;
        self.accepted[from][shard] += said - self.said[1 - from][shard];
        self.said[1 - from][shard] = said;
        let accepted = self.accepted[from][shard];
        self.nodes[from].shards[shard].node_accepted(OTHER, accepted);
        self.nodes[from].turn(shard);
        true
    }

    fn settle(&mut self) {
        loop {
            self.nodes.iter_mut().for_each(Node::settle);
            let mut news = false;
            for from in 0..2 {
                for shard in 0..usize::from(SHARDS) {
                    news |= self.carry(from, shard, true);
                }
            }
            if !news {
                return;
            }
        }
    }

    fn publish(&mut self, node: usize, client: Client, topic: &str, text: &str) {
        let node = &mut self.nodes[node];
        node.publish(client, &Publish::new(topic, text).retain());
        node.settle();
    }

    /// Topic, payload and version of what a node retains.
    fn retained(&self, node: usize) -> BTreeMap<String, (String, u64)> {
        let mut found = BTreeMap::new();
        for shard in &self.nodes[node].shards {
            let rest = shard.retained.all(None, 10_000, &mut |retained| {
                let text = String::from_utf8(retained.message.payload().to_vec()).unwrap();
                let topic = retained.message.topic().to_owned();
                found.insert(topic, (text, retained.version));
            });
            assert!(rest.is_none());
        }
        found
    }

    fn texts(&self, node: usize) -> Vec<(String, String)> {
        let retained = self.retained(node).into_iter();
        retained.map(|(topic, (text, _))| (topic, text)).collect()
    }

    #[track_caller]
    fn assert_same(&self) {
        assert_eq!(self.retained(0), self.retained(1));
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let expected = expected.iter();
    expected
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .collect()
}

#[test]
fn of_two_values_that_cross_both_nodes_keep_the_newer_one() {
    let mut pair = Pair::new();
    let clients = [
        pair.nodes[0].client_on(0, "a"),
        pair.nodes[1].client_on(1, "b"),
    ];
    pair.link();
    for (first, second) in [(0, 1), (1, 0)] {
        pair.publish(first, clients[first], "t", "older");
        pair.nodes[second].now_ms += 5;
        pair.publish(second, clients[second], "t", "newer");
        pair.settle();
        assert_eq!(pair.texts(0), pairs(&[("t", "newer")]));
        pair.assert_same();
        pair.nodes[first].now_ms += 5;
    }
    // A removal counts as a value.
    pair.publish(0, clients[0], "t", "older");
    pair.nodes[1].now_ms += 5;
    pair.publish(1, clients[1], "t", "");
    pair.settle();
    assert!(pair.texts(0).is_empty() && pair.texts(1).is_empty());
}

#[test]
fn a_node_that_comes_up_gets_what_is_retained_and_what_was_removed() {
    let mut pair = Pair::new();
    let clients = [
        pair.nodes[0].client_on(0, "a"),
        pair.nodes[1].client_on(1, "b"),
    ];
    pair.publish(1, clients[1], "removed", "old");
    pair.publish(1, clients[1], "theirs", "kept");
    pair.nodes[0].now_ms = 5;
    for number in 0..500 {
        pair.publish(0, clients[0], &format!("many/{number:03}"), "value");
    }
    pair.publish(0, clients[0], "$own/topic", "dollar");
    pair.publish(0, clients[0], "removed", "");
    pair.link();
    for shard in &pair.nodes[0].shards {
        // What is published now has room before the rest.
        assert!(!shard.is_node_full(OTHER + 1));
    }
    assert!(pair.retained(1).len() < 300);
    pair.settle();
    let retained = pair.retained(1);
    assert_eq!(retained.len(), 502);
    assert_eq!(retained["$own/topic"].0, "dollar");
    assert!(!retained.contains_key("removed"));
    pair.assert_same();
    // Both have all: nothing is newer.
    pair.cut();
    pair.link();
    pair.settle();
    pair.assert_same();
}

#[test]
fn what_was_published_before_a_node_came_up_and_is_retained_after_that_goes_to_it() {
    let mut pair = Pair::new();
    let publisher = pair.nodes[0].client_on(0, "a");
    let topic = pair.nodes[0].name_at(1, "t");
    pair.nodes[0].hold_ring(0, 1, true);
    pair.publish(0, publisher, &topic, "x");
    pair.link();
    pair.settle();
    assert!(pair.retained(0).is_empty());
    pair.nodes[0].hold_ring(0, 1, false);
    pair.settle();
    assert_eq!(pair.texts(1), pairs(&[(&topic, "x")]));
    pair.assert_same();
}

#[test]
fn who_subscribed_while_nodes_were_apart_gets_what_is_newer_and_nothing_twice() {
    let mut pair = Pair::new();
    let publisher = pair.nodes[0].client_on(0, "a");
    let subscribers = [
        pair.nodes[1].client_on(0, "s"),
        pair.nodes[1].client_on(1, "s"),
    ];
    pair.link();
    pair.publish(0, publisher, "old", "known");
    pair.settle();
    pair.cut();
    for subscriber in subscribers {
        pair.nodes[1].subscribe(subscriber, "new/+", 1);
        // Retain As Published.
        let packet = packet::subscribe(Version::V5, 78, 0, &[("old", 0x2 << 4 | 0x8)]);
        pair.nodes[1].send(subscriber, &packet);
        pair.nodes[1].settle();
        pair.nodes[1].take(subscriber);
    }
    pair.nodes[0].now_ms += 5;
    pair.publish(0, publisher, "new/1", "one");
    pair.publish(0, publisher, "new/2", "gone");
    pair.publish(0, publisher, "new/2", "");
    pair.link();
    pair.settle();
    for subscriber in subscribers {
        assert_eq!(pair.nodes[1].take_texts(subscriber), ["one"]);
    }
    pair.cut();
    pair.publish(0, publisher, "old", "");
    pair.link();
    pair.settle();
    for subscriber in subscribers {
        let messages = pair.nodes[1].take_messages(subscriber);
        let seen = messages.iter().map(|m| (m.text().to_owned(), m.retain));
        assert_eq!(seen.collect::<Vec<_>>(), [(String::new(), true)]);
    }
}

#[test]
fn a_node_that_restarts_does_not_win_with_an_old_value() {
    let mut pair = Pair::with(Mqtt::default(), Some(Disk::new(SHARDS.into())));
    let clients = [
        pair.nodes[0].client_on(0, "a"),
        pair.nodes[1].client_on(1, "b"),
    ];
    pair.link();
    pair.publish(1, clients[1], "t", "old");
    pair.publish(1, clients[1], "mine", "kept");
    pair.settle();
    let before = pair.retained(1);
    let mut pair = pair.restart();
    assert_eq!(pair.retained(1), before);
    pair.nodes[0].now_ms += 5;
    pair.publish(0, clients[0], "t", "new");
    pair.link();
    pair.settle();
    assert_eq!(pair.texts(1), pairs(&[("mine", "kept"), ("t", "new")]));
    pair.assert_same();
    // Its clock may have gone back: what it retains now is newer than what it knows.
    pair.nodes[0].now_ms += 1_000_000;
    pair.publish(0, clients[0], "t", "later");
    pair.settle();
    let client = pair.nodes[1].client_on(0, "c");
    pair.publish(1, client, "t", "last");
    pair.settle();
    assert_eq!(pair.texts(0), pairs(&[("mine", "kept"), ("t", "last")]));
    pair.assert_same();
}

#[test]
fn what_a_node_has_no_room_for_is_counted_and_the_link_goes_on() {
    let limits = Mqtt {
        max_retained_messages: 3,
        ..Mqtt::default()
    };
    let mut pair = Pair::with(limits, None);
    let publisher = pair.nodes[0].client_on(0, "a");
    for number in 0..5 {
        pair.publish(0, publisher, &format!("t/{number}"), "x");
    }
    pair.link();
    pair.settle();
    let refused = |pair: &Pair| -> u64 {
        let shards = pair.nodes[1].shards.iter();
        shards.map(|shard| shard.stats.retained_refused.get()).sum()
    };
    assert_eq!((pair.retained(1).len(), refused(&pair)), (3, 2));
    for number in 5..9 {
        pair.publish(0, publisher, &format!("t/{number}"), "x");
    }
    pair.settle();
    assert_eq!((pair.retained(1).len(), refused(&pair)), (3, 6));
    assert_eq!(pair.accepted[0].iter().sum::<u64>(), 9);
}

#[test]
fn a_removal_is_forgotten_after_its_time() {
    let mut pair = Pair::new();
    let publisher = pair.nodes[0].client_on(0, "a");
    pair.publish(0, publisher, "t", "x");
    pair.publish(0, publisher, "t", "");
    let next = |pair: &Pair| -> Option<u64> {
        let shards = pair.nodes[0].shards.iter();
        shards.filter_map(|shard| shard.next_removal_ms()).min()
    };
    assert_eq!(next(&pair), Some(KNOWN_MS));
    pair.nodes[0].advance(KNOWN_MS);
    assert_eq!(next(&pair), None);
}

#[test]
fn a_qos_1_message_waits_until_the_other_node_retains_it() {
    let mut pair = Pair::new();
    let publisher = pair.nodes[0].client_on(0, "a");
    pair.link();
    let publish = Publish::new("t", "x").retain().qos(1, 1);
    pair.nodes[0].publish(publisher, &publish);
    pair.nodes[0].settle();
    assert_eq!(pair.nodes[0].take(publisher), []);
    pair.settle();
    let packets = pair.nodes[0].take(publisher);
    assert!(
        matches!(packets[..], [Received::PubAck { id: 1, .. }]),
        "{packets:?}"
    );
    pair.assert_same();
}

#[test]
fn an_envelope_that_cannot_be_read_is_accepted_and_dropped() {
    let mut pair = Pair::new();
    for payload in [
        &b""[..],
        &[1; 8],
        &[1; 11],
        &[0xFF; 40],
        b"\x013456789a\x05\x00$SYS/",
    ] {
        let mut batch = Box::<Batch>::default();
        let message = MessageRef {
            topic: super::super::replicate::RETAINED,
            properties: &[],
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            publisher: 0,
        };
        batch.publish(&message, false, 0);
        pair.nodes[1].shards[0].handle_node_batch(OTHER, batch);
    }
    pair.nodes[1].turn_all();
    let accepted = pair.nodes[1].shards[0].take_accepted(OTHER);
    assert_eq!(accepted.map(|accepted| accepted.count), Some(5));
    assert!(pair.retained(1).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        node: usize,
        topic: u8,
        empty: bool,
        expires: bool,
    },
    Carry {
        node: usize,
        shard: usize,
    },
    Turn {
        node: usize,
    },
    Cut,
    Link,
    Wait {
        node: usize,
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..2_usize;
    prop_oneof![
        8 => (node.clone(), 0..4_u8, prop::bool::weighted(0.3), prop::bool::weighted(0.1))
            .prop_map(|(node, topic, empty, expires)| Step::Publish {
                node, topic, empty, expires,
            }),
        6 => (node.clone(), 0..usize::from(SHARDS))
            .prop_map(|(node, shard)| Step::Carry { node, shard }),
        3 => node.clone().prop_map(|node| Step::Turn { node }),
        1 => Just(Step::Cut),
        2 => Just(Step::Link),
        2 => (node, 0..900_u64).prop_map(|(node, ms)| Step::Wait { node, ms }),
    ]
}

fn run(steps: &[Step]) -> Pair {
    let mut pair = Pair::new();
    let clients = [0, 1].map(|node| {
        let node: &mut Node = &mut pair.nodes[node];
        [node.client_on(0, "zero"), node.client_on(1, "one")]
    });
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Publish {
                node,
                topic,
                empty,
                expires,
            } => {
                let text = if empty {
                    String::new()
                } else {
                    number.to_string()
                };
                let mut publish = Publish::new(&format!("t/{topic}"), &text).retain();
                if expires {
                    publish = publish.expiry(1);
                }
                pair.nodes[node].publish(clients[node][number % 2], &publish);
                pair.nodes[node].step();
            }
            Step::Carry { node, shard } => _ = pair.carry(node, shard, true),
            Step::Turn { node } => _ = pair.nodes[node].step(),
            Step::Cut => pair.cut(),
            Step::Link => pair.link(),
            Step::Wait { node, ms } => pair.nodes[node].now_ms += ms,
        }
    }
    pair.cut();
    pair.nodes.iter_mut().for_each(Node::settle);
    pair.link();
    pair.settle();
    // What expires is gone on both.
    for node in &mut pair.nodes {
        node.advance(30_000);
    }
    pair.settle();
    pair
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn two_nodes_end_with_the_same_whatever_happens_in_between(
        steps in vec(step(), 0..60),
    ) {
        let pair = run(&steps);
        prop_assert_eq!(pair.retained(0), pair.retained(1));
        let newest = |node: usize| {
            let quota: &RetainedQuota = &pair.nodes[node].shards[0].retained_quota;
            quota.newest()
        };
        let largest = pair.retained(0).values().map(|(_, version)| *version).max();
        prop_assert!(largest.unwrap_or(0) <= newest(0).min(newest(1)));
    }
}
