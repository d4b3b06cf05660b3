//! The writer with changes of other nodes' routes, without its thread.

use shard_sync::DestinationSet;

use super::*;

struct World {
    nodes: Nodes,
    orders: Producer<NodeOrder>,
    index: RouteWriter,
    reader: RouteReader,
}

impl World {
    fn new() -> Self {
        let bell = || Arc::new(Doorbell::new().unwrap());
        let (theirs, nodes) = connect_nodes(&bell(), &bell());
        let (index, reader) = route_index(1);
        Self {
            nodes,
            orders: theirs.orders,
            index,
            reader,
        }
    }

    fn add(&mut self, copy: RouteCopy, filters: impl Iterator<Item = String>) {
        let mut batch = RouteBatch::new(copy);
        filters.for_each(|filter| batch.push(&filter, true));
        self.order(NodeOrder::Changes(batch));
    }

    fn order(&mut self, order: NodeOrder) {
        assert!(self.orders.push(order).is_ok());
    }

    fn turn(&mut self) -> bool {
        self.nodes.apply(&mut self.index)
    }

    fn nodes_of(&mut self, topic: &str) -> Vec<u16> {
        let mut found = DestinationSet::new();
        self.reader.matches(topic, &mut found);
        let numbers = found.nodes().iter();
        numbers.map(|number| RouteCopy::node(*number)).collect()
    }
}

fn many(name: &str) -> impl Iterator<Item = String> {
    (0..5000).map(move |n| format!("{name}/{n}/+"))
}

#[test]
fn what_is_forgotten_goes_piece_by_piece_beside_other_changes() {
    let mut world = World::new();
    let [gone, stays] = [3, 4].map(|node| RouteCopy::new(node, 15));
    world.add(gone, many("gone"));
    world.order(NodeOrder::Forget(gone));
    world.turn();
    world.turn();
    world.add(stays, many("stays"));
    world.turn();
    // Not all of the former are gone, and the latter are there.
    assert_eq!(world.nodes_of("gone/4999/x"), [3]);
    assert_eq!(world.nodes_of("stays/4999/x"), [4]);
    while world.turn() {}
    assert!(world.nodes_of("gone/4999/x").is_empty());
    assert_eq!(world.index.len(), 5000);
}

#[test]
fn a_copy_whose_number_comes_again_too_soon_is_forgotten_before() {
    let mut world = World::new();
    let copy = RouteCopy::new(3, 0);
    world.add(copy, many("former"));
    world.order(NodeOrder::Forget(copy));
    world.order(NodeOrder::Forget(RouteCopy::new(3, 1)));
    world.add(copy, many("new"));
    (0..4).for_each(|_| assert!(world.turn()));
    assert!(world.nodes_of("former/4999/x").is_empty());
    assert_eq!(world.nodes_of("new/4999/x"), [3]);
    while world.turn() {}
    assert_eq!(world.index.len(), 5000);
}

#[test]
fn a_writer_that_sleeps_is_woken_for_changes_that_had_found_no_room() {
    let (changes, mut consumer) = ring(1);
    let writer = Arc::new(Doorbell::new().unwrap());
    let mut link = RouteLink {
        changes,
        backlog: VecDeque::new(),
        writer: Arc::clone(&writer),
        applied: Arc::default(),
        seen: 0,
    };
    for filter in ["a", "b"] {
        link.send(RouteChange::Add(filter.into()));
    }
    link.ring();
    assert!(consumer.pop().is_some() && link.has_backlog());
    assert!(writer.park(|| consumer.is_empty()));
    link.ring();
    let mut poll = libc::pollfd {
        fd: writer.fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which lives through the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 1);
    assert!(consumer.pop().is_some());
}
