//! Who is reached over whom.

use super::*;

/// So many nodes, all linked with all; the first three are cores.
fn mesh(count: u8, policy: Policy) -> World {
    let names = (0..count).map(|n| char::from(b'a' + n).to_string());
    let configs = names.map(|name| Config {
        policy,
        ..config(&name, 1)
    });
    let mut world = World::new(configs.collect());
    let all = 0..world.nodes.len();
    for (node, other) in all.clone().flat_map(|n| all.clone().map(move |o| (n, o))) {
        let other = world.nodes[other].config().name.clone();
        world.nodes[node].linked(&other, true);
    }
    world.run(2000);
    world.events.clear();
    world
}

fn next_hop(world: &World, from: usize, to: &str) -> Option<(String, u8)> {
    let hop = world.nodes[from].next_hop(world.now_ms, to);
    hop.map(|(over, links)| (over.to_owned(), links))
}

/// Only neighbours in a ring hear each other.
fn ring(world: &mut World) {
    let count = world.nodes.len();
    for (from, to) in (0..count).flat_map(|n| (0..count).map(move |o| (n, o))) {
        let apart = from.abs_diff(to);
        if apart != 1 && apart != count - 1 {
            world.cut.push((from, to));
        }
    }
}

#[test]
fn who_is_linked_directly_is_the_next_hop() {
    let world = mesh(3, Policy::Fence);
    assert_eq!(next_hop(&world, 0, "b"), Some(("b".to_owned(), 1)));
    assert_eq!(next_hop(&world, 0, "a"), None);
    assert_eq!(next_hop(&world, 0, "nobody"), None);
    let now_ms = world.now_ms;
    let over = world.nodes[0].next_hop_over_others(now_ms, "b");
    assert_eq!(over, Some(("c", 2)));
}

#[test]
fn a_cut_in_one_direction_is_known_on_both_sides_before_anybody_is_suspected() {
    for cut in [(0, 1), (1, 0)] {
        let mut world = mesh(3, Policy::Fence);
        world.cut.push(cut);
        world.run(2100);
        for (node, other) in [(0, "b"), (1, "a")] {
            assert!(!world.nodes[node].is_near(world.now_ms, other));
            assert_eq!(next_hop(&world, node, other), Some(("c".to_owned(), 2)));
            let state = world.nodes[node].peer(other).unwrap().state;
            assert_eq!(state, State::Alive);
        }
        world.cut.clear();
        world.run(1000);
        assert_eq!(next_hop(&world, 0, "b"), Some(("b".to_owned(), 1)));
    }
}

#[test]
fn in_a_ring_packets_go_over_the_shorter_side_and_not_over_more_than_four_links() {
    let mut world = mesh(5, Policy::Fence);
    ring(&mut world);
    world.run(3000);
    assert_eq!(next_hop(&world, 0, "c"), Some(("b".to_owned(), 2)));
    assert_eq!(next_hop(&world, 0, "d"), Some(("e".to_owned(), 2)));
    let mut world = mesh(11, Policy::Fence);
    ring(&mut world);
    // Before anybody is suspected.
    world.run(2500);
    assert_eq!(next_hop(&world, 0, "e"), Some(("b".to_owned(), 4)));
    assert_eq!(next_hop(&world, 0, "h"), Some(("k".to_owned(), 4)));
    assert_eq!(next_hop(&world, 0, "f"), None);
}

#[test]
fn a_node_that_is_gone_is_reached_over_nobody() {
    let mut world = mesh(5, Policy::Fence);
    world.isolate(1);
    world.run(4500);
    for node in [0, 2, 3, 4] {
        assert_eq!(next_hop(&world, node, "b"), None);
    }
}

#[test]
fn a_relayed_link_is_no_way_for_others() {
    let mut world = mesh(3, Policy::Fence);
    world.nodes[0].linked("c", false);
    world.run(1000);
    assert!(world.nodes[0].is_near(world.now_ms, "c"));
    assert_eq!(next_hop(&world, 0, "c"), Some(("b".to_owned(), 2)));
    world.cut.extend([(0, 1), (1, 0)]);
    world.run(3000);
    assert_eq!(next_hop(&world, 0, "b"), None);
}

#[test]
fn whom_a_neighbour_hears_is_not_given_up_where_each_side_goes_on() {
    let mut world = mesh(3, Policy::ServeLocal);
    world.cut.extend([(0, 1), (1, 0)]);
    world.run(20_000);
    assert_eq!(world.downs(), []);
    world.isolate(1);
    world.run(5000);
    let mut downs = world.downs();
    downs.sort_unstable();
    assert_eq!(downs, [(0, "b"), (1, "a"), (1, "c"), (2, "b")]);
}
