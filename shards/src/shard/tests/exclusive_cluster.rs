//! Exclusive subscriptions in a cluster: one session on all nodes has a filter for itself.

use super::cluster::Cluster;
use super::node::Client;
use super::packet::{self, Connect, DISCONNECT, Publish};
use super::received::Received;

/// Topics, so that every shard knows who has some of them.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

fn subscribe(cluster: &mut Cluster, (node, client): (usize, Client), filter: &str) -> u8 {
    let nodes = &mut cluster.nodes;
    let version = nodes[node].sockets[client].version;
    nodes[node].send(client, &packet::subscribe(version, 5, 0, &[(filter, 1)]));
    cluster.settle();
    match cluster.nodes[node].take_first(client) {
        Received::SubAck { id: 5, codes } => codes[0],
        other => panic!("{other:?}"),
    }
}

fn connect(name: &str) -> Connect {
    Connect::new(name).resume().expiry(100)
}

fn publish(cluster: &mut Cluster, node: usize, topic: &str, text: &str) {
    let (client, _) = cluster.connect(node, &Connect::new("publisher"));
    let message = Publish::new(topic, text).qos(1, 1);
    cluster.nodes[node].publish(client, &message);
    cluster.settle();
    cluster.nodes[node].send(client, &DISCONNECT);
    cluster.settle();
}

#[test]
fn one_session_in_the_cluster_has_a_filter_for_itself_until_it_does_not_want_it() {
    for topic in TOPICS {
        let mut cluster = Cluster::new(3, false);
        let filter = format!("$exclusive/{topic}");
        let (first, _) = cluster.connect(0, &Connect::new("first"));
        let (second, _) = cluster.connect(1, &Connect::new("second"));
        let (third, _) = cluster.connect(1, &Connect::new("third"));
        assert_eq!(subscribe(&mut cluster, (0, first), &filter), 1);
        assert_eq!(subscribe(&mut cluster, (0, first), &filter), 1);
        assert_eq!(subscribe(&mut cluster, (1, second), &filter), 0x97);
        publish(&mut cluster, 2, topic, "x");
        assert_eq!(cluster.nodes[0].take_texts(first), ["x"]);
        let version = cluster.nodes[0].sockets[first].version;
        let packet = packet::unsubscribe(version, 6, &[&filter]);
        cluster.nodes[0].send(first, &packet);
        cluster.settle();
        cluster.nodes[0].take(first);
        assert_eq!(subscribe(&mut cluster, (1, second), &filter), 1, "{topic}");
        assert_eq!(subscribe(&mut cluster, (1, third), &filter), 0x97);
        cluster.nodes[1].send(second, &DISCONNECT);
        cluster.settle();
        assert_eq!(subscribe(&mut cluster, (0, first), &filter), 1);
    }
}

#[test]
fn a_session_that_moves_takes_its_filter_along_and_nobody_gets_it_in_between() {
    for durable in [false, true] {
        for topic in TOPICS {
            let mut cluster = Cluster::new(3, durable);
            let filter = format!("$exclusive/{topic}");
            let (holder, _) = cluster.connect(0, &connect("holder"));
            let (other, _) = cluster.connect(2, &Connect::new("other"));
            assert_eq!(subscribe(&mut cluster, (0, holder), &filter), 1);
            for node in [1, 0, 2] {
                let (_, present) = cluster.connect(node, &connect("holder"));
                assert!(present);
                assert_eq!(
                    subscribe(&mut cluster, (2, other), &filter),
                    0x97,
                    "{topic}"
                );
                cluster.advance(1_000);
                assert_eq!(
                    subscribe(&mut cluster, (2, other), &filter),
                    0x97,
                    "{topic}"
                );
            }
            let (holder, _) = cluster.connect(1, &connect("holder"));
            cluster.advance(1_000);
            publish(&mut cluster, 0, topic, "x");
            assert_eq!(cluster.nodes[1].take_texts(holder), ["x"]);
            // A new session has nothing.
            cluster.connect(0, &Connect::new("holder"));
            cluster.advance(1_000);
            assert_eq!(subscribe(&mut cluster, (2, other), &filter), 1);
        }
    }
}

#[test]
fn of_a_holder_whose_filter_another_has_by_now_the_subscription_ends_with_the_connection() {
    for topic in TOPICS {
        let mut cluster = Cluster::new(2, true);
        let filter = format!("$exclusive/{topic}");
        let (holder, _) = cluster.connect(0, &connect("holder"));
        assert_eq!(subscribe(&mut cluster, (0, holder), &filter), 1);
        // What the cluster knows of the node is lost with it, and another gets the filter.
        cluster.lose(0);
        let (other, _) = cluster.connect(1, &connect("other"));
        assert_eq!(subscribe(&mut cluster, (1, other), &filter), 1);
        cluster.restart(0);
        let (holder, present) = cluster.connect(0, &connect("holder"));
        assert!(present);
        publish(&mut cluster, 1, topic, "x");
        assert_eq!(cluster.nodes[0].take_texts(holder), [""; 0]);
        assert_eq!(cluster.nodes[1].take_texts(other), ["x"]);
        assert_eq!(subscribe(&mut cluster, (0, holder), &filter), 0x97);
    }
}

#[test]
fn what_was_stored_is_the_holders_again_after_a_restart() {
    for topic in TOPICS {
        let mut cluster = Cluster::new(2, true);
        let filter = format!("$exclusive/{topic}");
        let (holder, _) = cluster.connect(0, &connect("holder"));
        assert_eq!(subscribe(&mut cluster, (0, holder), &filter), 1);
        cluster.lose(0);
        cluster.restart(0);
        let (other, _) = cluster.connect(1, &connect("other"));
        assert_eq!(subscribe(&mut cluster, (1, other), &filter), 0x97);
        let (holder, _) = cluster.connect(0, &connect("holder"));
        publish(&mut cluster, 1, topic, "x");
        assert_eq!(cluster.nodes[0].take_texts(holder), ["x"]);
    }
}
