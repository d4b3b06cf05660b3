//! Who is reached over whom.

use super::*;
use crate::wire::Relayed;

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

/// Over how many links a packet goes until it is there, or that it is dropped.
fn walk(world: &World, from: usize, to: usize) -> Result<u8, u8> {
    let names = |node: usize| world.nodes[node].config().name.clone();
    let (sender, receiver) = (names(from), names(to));
    let mut packet = Relayed {
        links: LINKS_MAX,
        from: &sender,
        to: &receiver,
        packet: &[],
    };
    let (mut at, mut came, mut count) = (from, None, 0);
    loop {
        match world.nodes[at].route(world.now_ms, came.as_deref(), &packet) {
            Route::Here => return Ok(count),
            Route::Nowhere => return Err(count),
            Route::Next { over, links } => {
                count += 1;
                packet.links = links;
                came = Some(names(at));
                at = (0..world.nodes.len())
                    .find(|node| *names(*node) == *over)
                    .unwrap();
            }
        }
    }
}

#[test]
fn a_packet_gets_where_there_is_a_way_and_never_goes_round_and_round() {
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % below
    };
    let (mut relayed, mut dropped) = (0, 0);
    for _ in 0..40 {
        let mut world = mesh(7, Policy::Fence);
        for node in &mut world.nodes {
            node.config.lease_ms = 1_000_000;
        }
        let all: Vec<(usize, usize)> = (0..7).flat_map(|a| (0..7).map(move |b| (a, b))).collect();
        world.cut = all.iter().copied().filter(|_| random(100) < 45).collect();
        for _ in 0..80 {
            world.run(50);
            for (from, to) in &all {
                let way = walk(&world, *from, *to);
                assert!(way.is_err() || way.is_ok_and(|links| links <= LINKS_MAX));
                assert!(way.is_ok() || way.is_err_and(|links| links <= LINKS_MAX));
            }
        }
        // How many links there are between two, over those that work in both directions.
        let works = |a, b| a != b && world.hears(a, b) && world.hears(b, a);
        let mut links = vec![vec![u8::MAX; 7]; 7];
        for _ in 0..7 {
            for (a, b) in &all {
                let over = (0..7).filter(|c| works(*a, *c));
                let least = over.map(|c| links[c][*b].saturating_add(1)).min();
                links[*a][*b] = if a == b { 0 } else { least.unwrap_or(u8::MAX) };
            }
        }
        for (from, to) in all.into_iter().filter(|(from, to)| from != to) {
            let least = links[from][to];
            let expected = (least <= LINKS_MAX).then_some(least);
            assert_eq!(walk(&world, from, to).ok(), expected);
            relayed += usize::from(expected.is_some_and(|links| links > 1));
            dropped += usize::from(expected.is_none());
        }
    }
    assert!(relayed > 300 && dropped > 30, "{relayed} {dropped}");
}

#[test]
fn a_packet_that_comes_as_it_may_not_is_dropped() {
    let mut world = mesh(3, Policy::Fence);
    let packet = Relayed {
        links: 2,
        from: "a",
        to: "b",
        packet: &[],
    };
    fn route<'w>(world: &'w World, came: &str, packet: Relayed<'_>) -> Route<'w> {
        world.nodes[2].route(world.now_ms, Some(came), &packet)
    }
    let (over, links) = ("b", 1);
    assert_eq!(route(&world, "a", packet), Route::Next { over, links });
    for wrong in [
        Relayed { links: 1, ..packet },
        Relayed {
            from: "c",
            ..packet
        },
        Relayed { to: "a", ..packet },
        Relayed { to: "x", ..packet },
    ] {
        assert_eq!(route(&world, "a", wrong), Route::Nowhere, "{wrong:?}");
    }
    assert_eq!(route(&world, "x", packet), Route::Nowhere);
    let here = Relayed { to: "c", ..packet };
    assert_eq!(route(&world, "a", here), Route::Here);
    world.nodes[2].linked("a", false);
    assert_eq!(route(&world, "a", here), Route::Nowhere);
    assert_eq!(route(&world, "a", packet), Route::Nowhere);
}
