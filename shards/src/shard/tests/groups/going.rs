//! Members whose node is about to stop: others get what these need not get any more, and what
//! they have begun they complete.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::super::packet::{self, Connect, Publish};
use super::super::random::Random;
use super::world::{At, SHARDS, World};
use super::{Got, count, publishers, with};
use crate::operator::{Answer, Part, Patience, Question, Step};
use crate::settings::SharedStrategy;

/// A node says that it goes, and the others hear so.
fn go(world: &World, going: usize) {
    goes_here(world, going);
    for node in (0..world.nodes.len()).filter(|node| *node != going) {
        let common = &world.nodes[node].shards[0].common;
        common.nodes_going.fetch_or(1 << going, Ordering::Relaxed);
    }
}

/// The others have not heard of it.
fn goes_here(world: &World, going: usize) {
    let common = &world.nodes[going].shards[0].common;
    common.goes.store(true, Ordering::Relaxed);
}

/// Ends the connections of a node. How many have ended, and how many are left.
fn end(world: &mut World, node: usize, patience: Patience) -> (u32, u32) {
    let mut sums = (0, 0);
    for shard in 0..usize::from(SHARDS) {
        let part = Part {
            most: 128,
            ..Part::default()
        };
        let question = Question::EndConnections(part, patience);
        let answer = world.nodes[node].shards[shard].tell_operator(&question);
        let Answer::EndConnections(Step {
            done,
            left,
            next: None,
        }) = answer
        else {
            panic!("{answer:?}");
        };
        sums = (sums.0 + done, sums.1 + left);
    }
    world.nodes[node].turn_all();
    world.settle();
    sums
}

#[test]
fn members_on_a_node_that_goes_get_what_nobody_else_can_take() {
    let mut world = with(SharedStrategy::RoundRobin);
    let going = world.member(0, "going", "$share/g/t", 2);
    let staying = world.member(1, "staying", "$share/g/t", 2);
    let publishers = publishers(&mut world);
    go(&world, 0);
    for id in 1..=12 {
        let from = publishers[usize::from(id) % 3];
        world.publish(from, &Publish::new("t", id.to_string()).qos(2, id));
    }
    assert_eq!(world.complete(staying).len(), 12);
    world.cut(staying);
    for id in 13..=18 {
        let from = publishers[usize::from(id) % 3];
        world.publish(from, &Publish::new("t", id.to_string()).qos(2, id));
    }
    let expected: Vec<String> = (13..=18).map(|id| id.to_string()).collect();
    assert_eq!(world.complete(going), expected);
    world.assert_settled();
}

#[test]
fn what_was_sent_to_a_node_before_it_was_known_that_it_goes_is_for_members_elsewhere() {
    for is_known in [false, true] {
        let mut world = with(SharedStrategy::RoundRobin);
        let going = world.member(0, "going", "$share/g/t", 2);
        let staying = world.member(1, "staying", "$share/g/t", 2);
        let publisher = world.client(2, "publisher");
        world.held[0] = true;
        for id in 1..=6 {
            world.publish(publisher, &Publish::new("t", id.to_string()).qos(2, id));
        }
        assert_eq!(world.complete(staying).len(), 3);
        match is_known {
            true => go(&world, 0),
            false => goes_here(&world, 0),
        }
        world.held[0] = false;
        world.settle();
        assert_eq!(world.complete(staying).len(), 3);
        assert!(world.complete(going).is_empty());
        world.assert_settled();
    }
}

#[test]
fn a_member_completes_what_it_was_sent_before_its_node_ends_its_session() {
    let mut world = with(SharedStrategy::RoundRobin);
    let going = world.connect(0, &Connect::new("going").receive_maximum(2));
    world.subscribe(going, "$share/g/t", 2);
    let publisher = world.client(2, "publisher");
    let ids = 1..=5_u16;
    for id in ids.clone() {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(2, id));
    }
    let staying = world.member(1, "staying", "$share/g/t", 2);
    // One that was sent nothing.
    world.member(0, "idle", "$share/g/t", 2);
    go(&world, 0);
    assert_eq!(end(&mut world, 0, Patience::Some), (1, 1));
    assert_eq!(world.complete(staying), ["3", "4", "5"]);
    assert_eq!(end(&mut world, 0, Patience::Some), (0, 1));
    let messages = world.nodes[0].take_messages(going.1);
    assert_eq!(messages.len(), 2);
    for message in &messages {
        world.send(going, &packet::pubrec(message.id));
    }
    // What PUBREC has come for is not complete either.
    assert_eq!(end(&mut world, 0, Patience::Some), (0, 1));
    for message in &messages {
        world.send(going, &packet::pubcomp(message.id));
    }
    assert_eq!(end(&mut world, 0, Patience::Some), (1, 0));
    assert!(world.nodes[0].is_closed(going.1));
    assert_eq!(world.acknowledged(publisher), ids.collect::<Vec<_>>());
    world.assert_settled();
}

#[test]
fn who_does_not_complete_is_not_waited_for_for_ever() {
    let mut world = with(SharedStrategy::RoundRobin);
    let going = world.member(0, "going", "$share/g/t", 2);
    let kept = world.connect(0, &Connect::new("kept").expiry(100));
    world.subscribe(kept, "$share/h/t", 2);
    let publisher = world.client(2, "publisher");
    world.publish(publisher, &Publish::new("t", "x").qos(2, 1));
    go(&world, 0);
    // The session of the other one goes on elsewhere.
    assert_eq!(end(&mut world, 0, Patience::Some), (1, 1));
    assert!(world.nodes[0].is_closed(kept.1));
    assert_eq!(end(&mut world, 0, Patience::None), (1, 0));
    assert!(world.nodes[0].is_closed(going.1));
}

/// Nodes stop one after the other, whoever publishes: each message of QoS 2 comes to one member.
#[test]
fn nothing_is_lost_when_nodes_stop_in_order() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut world = with(super::STRATEGIES[random.below(7)]);
        let mut members: Vec<At> = Vec::new();
        for number in 0..6 {
            let node = if number < 3 { number } else { random.below(3) };
            members.push(world.member(node, &format!("member-{number}"), "$share/g/t", 2));
        }
        let publisher = world.client(2, "publisher");
        let (mut next, mut got) = (0, Got::new());
        for node in [0, 1] {
            for moment in ["before", "hearsay", "end"] {
                for _ in 0..random.below(30) {
                    match random.below(4) {
                        0 => count(&mut world, members[random.below(members.len())], &mut got),
                        1 => {
                            let node = random.below(2);
                            world.held[node] = !world.held[node];
                            world.settle();
                        }
                        _ => {
                            next += 1;
                            let publish = Publish::new("t", next.to_string()).qos(2, next);
                            world.publish(publisher, &publish);
                        }
                    }
                }
                match moment {
                    "before" if random.one_in(2) => go(&world, node),
                    "before" => goes_here(&world, node),
                    "hearsay" => go(&world, node),
                    _ => stop(&mut world, node, &members, &mut got),
                }
            }
            members.retain(|(at, _)| *at != node);
        }
        for member in members.iter().cycle().take(3 * members.len()) {
            count(&mut world, *member, &mut got);
        }
        let all: BTreeMap<String, usize> = (1..=next).map(|id| (id.to_string(), 1)).collect();
        let got: BTreeMap<String, usize> = got.into_iter().map(|(k, v)| (k, v.len())).collect();
        assert_eq!(got, all, "seed {seed}");
        assert_eq!(world.acknowledged(publisher).len(), usize::from(next));
    }
}

/// Ends the connections of a node whose clients answer, and the node.
fn stop(world: &mut World, node: usize, members: &[At], got: &mut Got) {
    world.held = vec![false; 3];
    world.settle();
    for _ in 0..5 {
        end(world, node, Patience::Some);
        for member in members.iter().filter(|(at, _)| *at == node) {
            if !world.nodes[node].is_closed(member.1) {
                count(world, *member, got);
            }
        }
    }
    assert_eq!(end(world, node, Patience::Some), (0, 0));
    world.advance(1500);
    for shard in &world.nodes[node].shards {
        assert!(shard.is_settled(), "node {node} waits");
    }
    world.kill(node);
    world.settle();
}
