//! Links over other nodes.

use super::*;
use network::{cut, heal};

/// Members of one cluster, and where each is.
struct Cluster {
    nodes: Vec<Node>,
    places: Vec<SocketAddr>,
}

impl Cluster {
    fn start(count: u8, policy: Policy) -> Self {
        let mut settings = all_settings(count);
        for (number, start) in settings.iter_mut().enumerate() {
            if number >= 3 {
                start.settings.role = Role::Replicant;
            }
            start.settings.policy = policy;
            start.settings.data_dir = Some(membership::folder());
        }
        let places = settings.iter().map(|start| start.bind).collect();
        let nodes: Vec<Node> = settings.into_iter().map(Node::start).collect();
        wait_for("the cluster", || {
            let all = |node: &Node| node.running.cluster().members.len() == nodes.len();
            nodes.iter().all(|node| all(node) && node.is_connected())
        });
        Self { nodes, places }
    }

    /// Cuts or heals the link between two nodes in both directions.
    fn between(&self, what: fn(SocketAddr, SocketAddr), a: usize, b: usize) {
        what(self.places[a], self.places[b]);
        what(self.places[b], self.places[a]);
    }

    /// What a node says of another one.
    fn status(&self, from: usize, to: usize) -> NodeStatus {
        let name = char::from(b'a' + to as u8);
        let status = self.nodes[from].running.status();
        let mut status = status.into_iter();
        status.find(|it| it.name.starts_with(name)).unwrap()
    }

    fn is_relayed(&self, a: usize, b: usize) -> bool {
        let is = |from, to| {
            let status = self.status(from, to);
            status.is_connected && status.is_relayed && status.via.is_some()
        };
        is(a, b) && is(b, a)
    }

    fn is_direct(&self, a: usize, b: usize) -> bool {
        let is = |from, to| {
            let status = self.status(from, to);
            status.is_connected && !status.is_relayed
        };
        is(a, b) && is(b, a)
    }

    /// The slot that a node has for another one.
    fn slot(&self, from: usize, to: usize) -> u16 {
        let name = char::from(b'a' + to as u8);
        self.nodes[from].plane.slot(name).unwrap()
    }

    /// Sends numbers from one node to another one, and waits until all have come, once and in
    /// order.
    fn send(&self, from: usize, to: usize, numbers: std::ops::Range<u32>) {
        let slot = self.slot(from, to);
        for number in numbers.clone() {
            self.nodes[from].plane.forward(slot, 0, number);
        }
        let slot = self.slot(to, from);
        let come = || -> Vec<u32> {
            let arrived = self.nodes[to].plane.arrived().into_iter();
            let arrived = arrived.filter(|seen| seen.node == slot);
            let arrived = arrived.map(|seen| seen.number);
            arrived.filter(|number| *number >= numbers.start).collect()
        };
        wait_for("the messages", || come().len() >= numbers.len());
        assert_eq!(come(), numbers.collect::<Vec<_>>());
    }

    /// Whether no node was ever down for another one.
    fn all_stayed_up(&self) -> bool {
        let ups = |node: &Node| node.plane.ups().iter().all(|(_, is_up)| *is_up);
        self.nodes.iter().all(ups)
    }
}

#[test]
fn two_nodes_whose_link_is_cut_talk_over_a_third_and_directly_when_they_can() {
    for policy in [Policy::Fence, Policy::ServeLocal] {
        let cluster = Cluster::start(3, policy);
        cluster.send(0, 1, 0..100);
        cluster.between(cut, 0, 1);
        // What is under way when nobody has noticed yet comes, too.
        cluster.send(0, 1, 100..200);
        cluster.send(1, 0, 0..100);
        wait_for("a relayed link", || cluster.is_relayed(0, 1));
        assert_eq!(cluster.status(0, 1).via.as_deref(), Some("c@127.0.0.3"));
        assert!(cluster.is_direct(0, 2) && cluster.is_direct(1, 2));
        wait_for("what is passed on", || {
            [0, 1]
                .iter()
                .all(|to| cluster.status(2, *to).passed.packets > 0)
        });
        cluster.send(0, 1, 200..10_000);
        cluster.nodes[1].plane.accept_all();
        wait_for("the acknowledgements", || {
            cluster.status(0, 1).unacknowledged == 0
        });
        cluster.between(heal, 0, 1);
        wait_for("a direct link", || cluster.is_direct(0, 1));
        cluster.send(0, 1, 10_000..10_100);
        cluster.send(1, 0, 100..200);
        assert!(cluster.all_stayed_up());
    }
}

#[test]
fn a_cut_in_one_direction_is_as_good_as_one_in_both() {
    let cluster = Cluster::start(3, Policy::Fence);
    for (round, (from, to)) in (0..).zip([(0, 1), (1, 0)]) {
        let [from, to] = [from, to].map(|node: usize| cluster.places[node]);
        cut(from, to);
        let first = round * 200;
        cluster.send(0, 1, first..first + 100);
        cluster.send(1, 0, first..first + 100);
        wait_for("a relayed link", || cluster.is_relayed(0, 1));
        heal(from, to);
        wait_for("a direct link", || cluster.is_direct(0, 1));
        cluster.send(0, 1, first + 100..first + 200);
        cluster.send(1, 0, first + 100..first + 200);
    }
    assert!(cluster.all_stayed_up());
}

#[test]
fn in_a_ring_of_six_all_talk_with_all() {
    const COUNT: usize = 6;
    let cluster = Cluster::start(COUNT as u8, Policy::Fence);
    let pairs = (0..COUNT).flat_map(|a| (a + 1..COUNT).map(move |b| (a, b)));
    let apart = |(a, b): &(usize, usize)| b - a != 1 && b - a != COUNT - 1;
    let pairs: Vec<_> = pairs.filter(apart).collect();
    pairs.iter().for_each(|(a, b)| cluster.between(cut, *a, *b));
    for (a, b) in &pairs {
        cluster.send(*a, *b, 0..100);
        cluster.send(*b, *a, 0..100);
    }
    wait_for("relayed links", || {
        pairs.iter().all(|(a, b)| cluster.is_relayed(*a, *b))
    });
    pairs
        .iter()
        .for_each(|(a, b)| cluster.between(heal, *a, *b));
    wait_for("direct links", || {
        pairs.iter().all(|(a, b)| cluster.is_direct(*a, *b))
    });
    assert!(cluster.all_stayed_up());
}

#[test]
fn a_node_without_any_link_is_down_all_the_same() {
    let cluster = Cluster::start(3, Policy::Fence);
    cluster.between(cut, 0, 1);
    wait_for("a relayed link", || cluster.is_relayed(0, 1));
    cluster.between(cut, 2, 1);
    wait_for("the end", || {
        [0, 2].map(|node| cluster.status(node, 1).state) == [State::Gone; 2]
    });
    cluster.between(heal, 2, 1);
    wait_for("its return", || {
        cluster.is_direct(2, 1) && cluster.is_relayed(0, 1)
    });
    cluster.between(heal, 0, 1);
    wait_for("a direct link", || cluster.is_direct(0, 1));
}
