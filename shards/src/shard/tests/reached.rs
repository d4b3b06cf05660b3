//! What SUBACK waits for: with `cluster.suback = "acked"` for the routes of all nodes.

use protocol::wire::Version;

use super::cluster::Cluster;
use super::node::Client;
use super::packet::{self, Connect, Publish};
use super::random::Random;
use super::received::Received;

fn subscribes(cluster: &mut Cluster, node: usize, client: Client, filter: &str) {
    let subscribe = packet::subscribe(Version::V5, 9, 0, &[(filter, 1)]);
    cluster.nodes[node].send(client, &subscribe);
}

fn is_acknowledged(cluster: &mut Cluster, node: usize, client: Client) -> bool {
    let packets = cluster.nodes[node].take(client);
    assert!(
        matches!(packets[..], [] | [Received::SubAck { id: 9, .. }]),
        "{packets:?}"
    );
    !packets.is_empty()
}

fn nobody_waits(cluster: &Cluster) {
    for shard in cluster.nodes.iter().flat_map(|node| &node.shards) {
        assert!(!shard.waits_for_nodes() && shard.tickets.len() == 0);
    }
}

#[test]
fn a_local_suback_waits_until_its_routes_are_sent_and_for_no_other_node() {
    let mut cluster = Cluster::new(2, false);
    let [client, other] = ["client", "other"].map(|id| cluster.connect(0, &Connect::new(id)).0);
    cluster.held_routes = Some((0, 1));
    cluster.nodes[0].holds_routes = true;
    subscribes(&mut cluster, 0, client, "a/+");
    cluster.settle();
    subscribes(&mut cluster, 0, other, "$share/g/b");
    cluster.settle();
    assert!(!is_acknowledged(&mut cluster, 0, client));
    assert!(!is_acknowledged(&mut cluster, 0, other));
    cluster.nodes[0].send_routes();
    cluster.settle();
    assert!(is_acknowledged(&mut cluster, 0, client));
    assert!(is_acknowledged(&mut cluster, 0, other));
    nobody_waits(&cluster);
}

#[test]
fn a_suback_waits_for_each_node_that_is_up() {
    for lost in [false, true] {
        let mut cluster = Cluster::acked(3);
        let client = cluster.connect(0, &Connect::new("client")).0;
        cluster.held_routes = Some((0, 2));
        subscribes(&mut cluster, 0, client, "a/+");
        cluster.settle();
        assert!(!is_acknowledged(&mut cluster, 0, client));
        // The next one waits for its own routes, which come with the others.
        let other = cluster.connect(0, &Connect::new("other")).0;
        subscribes(&mut cluster, 0, other, "b");
        cluster.settle();
        assert!(!is_acknowledged(&mut cluster, 0, other));
        match lost {
            true => cluster.lose(2),
            false => cluster.held_routes = None,
        }
        cluster.settle();
        assert!(is_acknowledged(&mut cluster, 0, client));
        assert!(is_acknowledged(&mut cluster, 0, other));
        nobody_waits(&cluster);
    }
}

#[test]
fn a_suback_does_not_wait_for_ever() {
    let mut cluster = Cluster::acked(2);
    let client = cluster.connect(0, &Connect::new("client")).0;
    cluster.held_routes = Some((0, 1));
    subscribes(&mut cluster, 0, client, "a");
    cluster.advance(7000);
    assert!(!is_acknowledged(&mut cluster, 0, client));
    cluster.advance(2000);
    assert!(is_acknowledged(&mut cluster, 0, client));
    nobody_waits(&cluster);
}

#[test]
fn a_node_alone_waits_for_nobody() {
    let mut cluster = Cluster::acked(1);
    let client = cluster.connect(0, &Connect::new("client")).0;
    subscribes(&mut cluster, 0, client, "a");
    cluster.settle();
    assert!(is_acknowledged(&mut cluster, 0, client));
}

#[test]
fn what_is_published_anywhere_after_a_suback_arrives_whatever_overtakes_what() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::acked(3);
        let publishers: Vec<Client> = (0..3)
            .map(|node| {
                let name = format!("publisher-{node}");
                cluster.connect(node, &Connect::new(&name)).0
            })
            .collect();
        let clients: Vec<(usize, Client)> = (0..4)
            .map(|number| {
                let node = random.below(3);
                let name = format!("client-{number}");
                (node, cluster.connect(node, &Connect::new(&name)).0)
            })
            .collect();
        for (number, (node, client)) in clients.iter().enumerate() {
            subscribes(&mut cluster, *node, *client, &format!("t/{number}/+"));
        }
        let mut waiting: Vec<usize> = (0..clients.len()).collect();
        let mut published = vec![0; clients.len()];
        for _ in 0..100_000 {
            if waiting.is_empty() {
                break;
            }
            cluster.drift(&mut random, 1);
            let done = waiting.iter().position(|number| {
                let (node, client) = clients[*number];
                is_acknowledged(&mut cluster, node, client)
            });
            let Some(done) = done else { continue };
            let number = waiting.remove(done);
            // At once, while much of the others is under way.
            for (node, publisher) in publishers.iter().enumerate() {
                let topic = format!("t/{number}/{node}");
                let message = Publish::new(&topic, "x").qos(1, 1 + number as u16);
                cluster.nodes[node].publish(*publisher, &message);
            }
            published[number] += 1;
        }
        assert_eq!(published, vec![1; clients.len()], "seed {seed}");
        cluster.settle();
        for (node, client) in clients {
            assert_eq!(
                cluster.nodes[node].take_texts(client).len(),
                3,
                "seed {seed}"
            );
        }
        nobody_waits(&cluster);
    }
}
