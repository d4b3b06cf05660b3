//! Sessions that are given to other nodes because their own goes.

use std::sync::atomic::Ordering;

use super::cluster::Cluster;
use super::node::Client;
use super::packet::{Connect, Publish, Will};
use super::received::Delivery;
use crate::operator::{Answer, Part, Question, Step};

fn kept(name: &str) -> Connect {
    Connect::new(name).resume().expiry(1000)
}

/// Sessions on a node.
fn sessions(cluster: &Cluster, node: usize) -> usize {
    let shards = cluster.nodes[node].shards.iter();
    shards.map(|shard| shard.sessions.len()).sum()
}

/// A node, with those that stay for it.
fn open(cluster: &Cluster, node: usize, others: u64) {
    let common = &cluster.nodes[node].shards[0].common;
    common.nodes_open.store(others, Ordering::Relaxed);
}

/// A node offers what it has. How much that is, and how much is there.
fn hand_over(cluster: &mut Cluster, node: usize) -> (u32, u32) {
    let part = Part {
        most: 128,
        ..Part::default()
    };
    let mut sums = (0, 0);
    // Its shards look at the clock.
    cluster.nodes[node].turn_all();
    for shard in &mut cluster.nodes[node].shards {
        let answer = shard.tell_operator(&Question::HandOver(part));
        let Answer::HandOver(Step {
            done,
            left,
            next: None,
        }) = answer
        else {
            panic!("{answer:?}");
        };
        sums = (sums.0 + done, sums.1 + left);
    }
    cluster.nodes[node].turn_all();
    cluster.settle();
    sums
}

/// Sessions of clients that are away, on the first node.
fn away(cluster: &mut Cluster, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("away-{number}")).collect();
    for name in &names {
        let (client, _) = cluster.connect(0, &kept(name));
        cluster.nodes[0].subscribe(client, "t", 1);
        cluster.settle();
        cluster.nodes[0].cut(client);
        cluster.settle();
    }
    names
}

fn texts(messages: &[Delivery]) -> Vec<&str> {
    messages.iter().map(Delivery::text).collect()
}

fn publish(cluster: &mut Cluster, node: usize, publisher: Client, text: &str, id: u16) {
    cluster.publish(node, publisher, &Publish::new("t", text).qos(1, id));
}

#[test]
fn sessions_wait_on_other_nodes_for_their_clients_and_get_what_is_published() {
    for durable in [false, true] {
        let mut cluster = Cluster::new(3, durable);
        let names = away(&mut cluster, 9);
        let (publisher, _) = cluster.connect(2, &Connect::new("publisher"));
        publish(&mut cluster, 2, publisher, "before", 1);
        open(&cluster, 0, 0b110);
        assert_eq!(hand_over(&mut cluster, 0), (9, 9));
        cluster.advance(1000);
        assert_eq!(hand_over(&mut cluster, 0), (0, 0));
        // The publisher has a session, too.
        let counts = [sessions(&cluster, 1), sessions(&cluster, 2) - 1];
        assert_eq!(counts.iter().sum::<usize>(), 9);
        assert!(counts.iter().all(|count| *count >= 3), "{counts:?}");
        publish(&mut cluster, 2, publisher, "after", 2);
        cluster.lose(0);
        publish(&mut cluster, 2, publisher, "later", 3);
        for (number, name) in names.iter().enumerate() {
            let node = 1 + number % 2;
            let (client, present) = cluster.connect(node, &kept(name));
            assert!(present, "{name}");
            let messages = cluster.nodes[node].take_messages(client);
            assert_eq!(texts(&messages), ["before", "after", "later"], "{name}");
        }
    }
}

#[test]
fn who_is_connected_or_moves_is_not_offered_and_nobody_is_twice_at_once() {
    let mut cluster = Cluster::new(2, false);
    away(&mut cluster, 1);
    let (_, _) = cluster.connect(0, &kept("here"));
    open(&cluster, 0, 0);
    assert_eq!(hand_over(&mut cluster, 0), (0, 1));
    open(&cluster, 0, 0b10);
    cluster.held = Some((0, 1));
    assert_eq!(hand_over(&mut cluster, 0), (1, 1));
    assert_eq!(hand_over(&mut cluster, 0), (0, 1));
    // It was not heard: it is offered again, and taken once.
    cluster.advance(3100);
    assert_eq!(hand_over(&mut cluster, 0), (1, 1));
    cluster.held = None;
    cluster.settle();
    cluster.advance(1000);
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (1, 1));
    assert_eq!(cluster.owner("away-0"), Some(1));
}

#[test]
fn a_node_that_goes_itself_takes_nothing() {
    let mut cluster = Cluster::new(2, true);
    away(&mut cluster, 1);
    let common = &cluster.nodes[1].shards[0].common;
    common.goes.store(true, Ordering::Relaxed);
    open(&cluster, 0, 0b10);
    assert_eq!(hand_over(&mut cluster, 0), (1, 1));
    cluster.advance(1000);
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (1, 0));
    assert_eq!(cluster.owner("away-0"), Some(0));
}

#[test]
fn a_will_that_waits_and_the_end_of_a_session_come_where_it_is_then() {
    let mut cluster = Cluster::new(2, true);
    let (watcher, _) = cluster.connect(1, &Connect::new("watcher"));
    cluster.nodes[1].subscribe(watcher, "will", 1);
    cluster.settle();
    let will = Will::new("will", "gone").qos(1).delay(5);
    let mortal = Connect::new("mortal").resume().expiry(8).will(will);
    let (client, _) = cluster.connect(0, &mortal);
    cluster.nodes[0].cut(client);
    cluster.advance(1000);
    open(&cluster, 0, 0b10);
    assert_eq!(hand_over(&mut cluster, 0), (1, 1));
    cluster.advance(2000);
    assert!(cluster.nodes[1].take(watcher).is_empty());
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (0, 2));
    cluster.lose(0);
    cluster.advance(3000);
    assert_eq!(texts(&cluster.nodes[1].take_messages(watcher)), ["gone"]);
    cluster.advance(4000);
    assert_eq!(sessions(&cluster, 1), 1);
    assert!(cluster.nodes[1].take(watcher).is_empty());
}

#[test]
fn a_session_that_nobody_waits_for_may_take_its_time() {
    let mut cluster = Cluster::new(2, true);
    away(&mut cluster, 1);
    cluster.held = Some((0, 1));
    let home = usize::from(cluster.nodes[1].home("away-0"));
    cluster.nodes[1].shards[home].offered("away-0");
    cluster.nodes[1].turn_all();
    cluster.settle();
    assert_eq!(cluster.owner("away-0"), Some(1));
    cluster.advance(20_000);
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (1, 0));
    cluster.held = None;
    cluster.settle();
    cluster.advance(1000);
    assert_eq!((sessions(&cluster, 0), sessions(&cluster, 1)), (0, 1));
    let (_, present) = cluster.connect(1, &kept("away-0"));
    assert!(present);
}
