//! Shared subscriptions whose members are clients of several nodes.

mod going;
mod world;

use std::collections::BTreeMap;

use protocol::wire::Version;

use self::world::{At, World};
use super::super::groups::AHEAD_MAX;
use super::packet::{self, Connect, DISCONNECT, Publish};
use super::random::Random;
use super::received::Received;
use crate::operator::{Answer, Part, Place, Question};
use crate::settings::{Mqtt, SharedStrategy};

const STRATEGIES: [SharedStrategy; 7] = [
    SharedStrategy::Random,
    SharedStrategy::RoundRobin,
    SharedStrategy::RoundRobinPerGroup,
    SharedStrategy::Sticky,
    SharedStrategy::Local,
    SharedStrategy::HashClientId,
    SharedStrategy::HashTopic,
];

fn with(strategy: SharedStrategy) -> World {
    let mqtt = Mqtt {
        shared_subscription_strategy: strategy,
        ..Mqtt::default()
    };
    World::with(3, &mqtt)
}

/// So many members on each node, of a group of each name: `[node][member]`.
fn members(world: &mut World, filter: &str, counts: [usize; 3]) -> Vec<At> {
    let mut members = Vec::new();
    for (node, count) in counts.into_iter().enumerate() {
        for number in 0..count {
            let name = format!("member-{filter}-{node}-{number}");
            members.push(world.member(node, &name, filter, 1));
        }
    }
    members
}

fn publishers(world: &mut World) -> [At; 3] {
    [0, 1, 2].map(|node| world.client(node, &format!("publisher-{node}")))
}

/// Takes what has come, as sorted texts, and how much each has got.
fn collect(world: &mut World, members: &[At]) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut counts) = (Vec::new(), Vec::new());
    for member in members {
        let texts = world.complete(*member);
        counts.push(texts.len());
        all.extend(texts);
    }
    all.sort();
    (all, counts)
}

#[test]
fn each_message_goes_to_one_member_whatever_the_strategy() {
    for strategy in STRATEGIES {
        let mut world = with(strategy);
        let members = members(&mut world, "$share/g/t/+", [1, 2, 3]);
        let publishers = publishers(&mut world);
        let mut expected = Vec::new();
        for number in 0..60_u16 {
            let from = usize::from(number % 3);
            let text = format!("{number:03}");
            let topic = format!("t/{}", number % 5);
            let publish = Publish::new(&topic, &text).qos((number % 2) as u8, number + 1);
            world.publish(publishers[from], &publish);
            expected.push(text);
        }
        let (all, counts) = collect(&mut world, &members);
        assert_eq!(all, expected, "{strategy:?}");
        match strategy {
            SharedStrategy::RoundRobin => assert!(counts.iter().all(|n| (8..=12).contains(n))),
            SharedStrategy::Sticky => assert_eq!(counts.iter().filter(|n| **n > 0).count(), 1),
            SharedStrategy::Local => {
                let nodes = [counts[0], counts[1] + counts[2], counts[3..].iter().sum()];
                assert_eq!(nodes, [20; 3]);
            }
            _ => {}
        }
        world.assert_settled();
    }
}

#[test]
fn turns_are_fair_by_members_and_not_by_nodes() {
    let mut world = with(SharedStrategy::RoundRobin);
    let members = members(&mut world, "$share/g/t", [1, 2, 3]);
    let publisher = world.client(1, "publisher");
    for id in 1..=60 {
        world.publish(publisher, &Publish::new("t", "x").qos(1, id));
    }
    let (_, counts) = collect(&mut world, &members);
    assert_eq!(counts, [10; 6]);
}

#[test]
fn a_hash_leads_to_the_same_member_from_all_nodes() {
    for strategy in [SharedStrategy::HashTopic, SharedStrategy::HashClientId] {
        let mut world = with(strategy);
        let members = members(&mut world, "$share/g/t/+", [2, 1, 2]);
        let mut by_key: BTreeMap<u16, Vec<At>> = BTreeMap::new();
        for key in 0..20 {
            for node in 0..3 {
                let publisher = world.client(node, &format!("publisher-{key}"));
                world.publish(publisher, &Publish::new(&format!("t/{key}"), "x"));
                world.cut(publisher);
                for member in &members {
                    let got = world.texts(*member).len();
                    by_key.entry(key).or_default().extend(vec![*member; got]);
                }
            }
        }
        let mut used: Vec<At> = by_key.values().map(|got| got[0]).collect();
        for got in by_key.values() {
            assert!(
                got.len() == 3 && got.iter().all(|at| *at == got[0]),
                "{got:?}"
            );
        }
        used.sort_unstable();
        used.dedup();
        assert!(used.len() > 2, "{used:?}");
    }
}

#[test]
fn groups_and_plain_subscribers_beside_each_other_each_get_it_once() {
    let mut world = World::new(3);
    let one = members(&mut world, "$share/one/t/#", [1, 1, 1]);
    let two = members(&mut world, "$share/two/t/#", [0, 1, 1]);
    let queue = members(&mut world, "$queue/t/+", [1, 0, 1]);
    let plain: Vec<At> = (1..3)
        .map(|node| world.member(node, &format!("plain-{node}"), "t/#", 1))
        .collect();
    let publishers = publishers(&mut world);
    for id in 1..=30 {
        let from = publishers[usize::from(id) % 3];
        world.publish(from, &Publish::new("t/a", format!("{id:02}")).qos(1, id));
    }
    let expected: Vec<String> = (1..=30).map(|id| format!("{id:02}")).collect();
    for group in [one, two, queue] {
        assert_eq!(collect(&mut world, &group).0, expected);
    }
    for plain in plain {
        assert_eq!(world.complete(plain), expected);
    }
    world.assert_settled();
}

#[test]
fn a_node_with_members_only_gets_no_copy_of_what_is_not_for_them() {
    let mut world = World::new(3);
    let member = world.member(1, "member", "$share/g/t", 1);
    world.member(2, "other", "$share/g/t", 1);
    let both = world.member(1, "both", "u", 1);
    world.subscribe(both, "$share/g/u", 1);
    let publisher = world.client(0, "publisher");
    let routed = |world: &mut World, topic: &str| {
        let topic = protocol::topic::TopicName::parse(topic, 9).unwrap();
        let shard = &mut world.nodes[0].shards[0];
        let plan = shard.plan(topic);
        plan.peers.iter().filter(|peer| **peer >= 2).count()
    };
    assert_eq!(routed(&mut world, "t"), 0);
    assert_eq!(routed(&mut world, "u"), 1);
    // A plain subscription comes and goes beside the group.
    world.subscribe(member, "t", 1);
    assert_eq!(routed(&mut world, "t"), 1);
    world.publish(publisher, &Publish::new("u", "x").qos(1, 1));
    assert_eq!(world.texts(both), ["x", "x"], "one for each subscription");
    let unsubscribe = packet::unsubscribe(Version::V5, 5, &["t"]);
    world.send(member, &unsubscribe);
    assert_eq!(routed(&mut world, "t"), 0);
    world.cut(both);
    assert_eq!(routed(&mut world, "u"), 0);
    world.cut(member);
    assert!(
        world.nodes[0]
            .shards
            .iter()
            .any(|shard| shard.subscriptions.filters_len() == 1)
    );
}

#[test]
fn operators_are_told_of_the_groups_of_their_node_only() {
    let mut world = World::new(2);
    world.member(1, "member", "$share/g/t", 1);
    let part = Part {
        from: Place::default(),
        skip: 0,
        most: 10,
    };
    for (node, expected) in [(0, [].as_slice()), (1, &["t"])] {
        let (mut found, mut has) = (Vec::new(), Vec::new());
        for shard in &mut world.nodes[node].shards {
            if let Answer::Filters(listed) = shard.tell_operator(&Question::Filters(part)) {
                found.extend(listed.entries);
            }
            let question = Question::HasFilters(vec!["t".into()]);
            if let Answer::HasFilters(answer) = shard.tell_operator(&question) {
                has.extend(answer);
            }
        }
        assert_eq!(found, expected, "node {node}");
        assert_eq!(has.contains(&true), !expected.is_empty());
    }
}

#[test]
fn puback_waits_until_the_node_of_the_member_has_accepted() {
    let mut world = World::new(2);
    let member = world.member(1, "member", "$share/g/t", 2);
    let publisher = world.client(0, "publisher");
    world.held[1] = true;
    for (qos, id) in [(1, 1), (2, 2), (1, 3)] {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
    }
    assert_eq!(world.acknowledged(publisher), [0_u16; 0]);
    world.held[1] = false;
    world.settle();
    assert_eq!(world.acknowledged(publisher), [1, 2, 3]);
    assert_eq!(world.complete(member), ["1", "2", "3"]);
    world.assert_settled();
}

#[test]
fn with_local_puback_does_not_wait_for_the_node_of_the_member() {
    let mut world = World::local(3, false);
    let member = world.member(1, "member", "$share/g/t", 2);
    // Its shard is another one than that of the group, or the same.
    let publishers = [0, 1].map(|number| world.client(0, &format!("publisher-{number}")));
    world.held[1] = true;
    for (qos, id) in [(1, 1), (2, 2), (1, 3)] {
        for publisher in publishers {
            world.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
        }
    }
    for publisher in publishers {
        assert_eq!(world.acknowledged(publisher), [1, 2, 3]);
    }
    // Whoever stops waits for it.
    let waits = |world: &World| {
        world.nodes[0]
            .shards
            .iter()
            .any(|shard| !shard.is_settled())
    };
    assert!(waits(&world));
    world.held[1] = false;
    world.settle();
    assert!(!waits(&world));
    let (texts, _) = collect(&mut world, &[member]);
    assert_eq!(texts, ["1", "1", "2", "2", "3", "3"]);
    world.assert_settled();
}

#[test]
fn with_local_what_a_dead_node_has_not_accepted_goes_to_another_member() {
    let mut world = World::local(3, false);
    world.member(1, "dying", "$share/g/t", 2);
    let publisher = world.client(0, "publisher");
    world.held[1] = true;
    for (qos, id) in [(1, 1), (2, 2)] {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
    }
    assert_eq!(world.acknowledged(publisher), [1, 2]);
    let staying = world.member(2, "staying", "$share/g/t", 2);
    world.kill(1);
    world.settle();
    assert_eq!(world.complete(staying), ["1", "2"]);
    assert!(world.acknowledged(publisher).is_empty());
    world.assert_settled();
}

#[test]
fn with_local_publishers_are_not_far_ahead_of_members() {
    let mut world = World::local(2, false);
    let member = world.member(1, "member", "$share/g/t", 1);
    let publisher = world.client(0, "publisher");
    world.held[1] = true;
    for id in 1..=AHEAD_MAX as u16 + 3 {
        world.publish(publisher, &Publish::new("t", format!("{id:02}")).qos(1, id));
    }
    assert_eq!(world.acknowledged(publisher).len(), AHEAD_MAX);
    world.held[1] = false;
    world.settle();
    assert_eq!(world.acknowledged(publisher).len(), 3);
    assert_eq!(world.complete(member).len(), AHEAD_MAX + 3);
    world.assert_settled();
}

#[test]
fn with_local_a_message_that_a_member_leaves_behind_stays_on_the_disk_until_another_has_it() {
    let mut world = World::local(2, true);
    let kept = Connect::new("leaving").resume().expiry(100);
    let leaving = world.connect(0, &kept);
    world.subscribe(leaving, "$share/g/t", 1);
    let publisher = world.client(0, "publisher");
    world.publish(publisher, &Publish::new("t", "x").qos(1, 1));
    assert_eq!(world.acknowledged(publisher), [1]);
    assert_eq!(world.texts(leaving), ["x"]);
    world.member(1, "member", "$share/g/t", 1);
    world.held[1] = true;
    // It ends without having acknowledged the message.
    let stored = |world: &World| world.nodes[0].disk.as_ref().unwrap().counts()[1];
    world.send(leaving, &packet::disconnect(0, Some(0)));
    assert_eq!(stored(&world), 1);
    world.held[1] = false;
    world.settle();
    assert_eq!(stored(&world), 0);
}

#[test]
fn what_is_under_way_to_a_member_that_leaves_is_passed_on() {
    for node in [0, 2] {
        let mut world = World::new(3);
        let leaving = world.member(1, "leaving", "$share/g/t", 1);
        let publisher = world.client(0, "publisher");
        world.held[1] = true;
        for id in 1..=10 {
            world.publish(publisher, &Publish::new("t", format!("{id:02}")).qos(1, id));
        }
        // Another one comes, and the first one goes before it gets anything.
        let staying = world.member(node, "staying", "$share/g/t", 1);
        world.cut(leaving);
        world.held[1] = false;
        world.settle();
        let expected: Vec<String> = (1..=10).map(|id| format!("{id:02}")).collect();
        assert_eq!(world.complete(staying), expected);
        assert_eq!(
            world.acknowledged(publisher),
            (1..=10).collect::<Vec<u16>>()
        );
        world.assert_settled();
    }
}

#[test]
fn a_message_waits_for_a_member_that_is_not_known_yet_but_not_for_long() {
    for comes in [true, false] {
        let mut world = World::new(2);
        let leaving = world.member(1, "leaving", "$share/g/t", 1);
        let publisher = world.client(0, "publisher");
        let late = world.client(0, "late");
        world.held[1] = true;
        world.publish(publisher, &Publish::new("t", "x").qos(1, 1));
        world.cut(leaving);
        world.held[1] = false;
        world.settle();
        assert_eq!(world.acknowledged(publisher), [0_u16; 0]);
        if comes {
            let subscribe = packet::subscribe(Version::V5, 1, 0, &[("$share/g/t", 1)]);
            world.send(late, &subscribe);
            // One comes before SUBACK, or behind it.
            let texts = world
                .take(late)
                .into_iter()
                .filter_map(|packet| match packet {
                    Received::Publish(message) => Some(message.text().to_owned()),
                    _ => None,
                });
            assert_eq!(texts.collect::<Vec<_>>(), ["x"]);
        } else {
            world.advance(900);
            assert_eq!(world.acknowledged(publisher), [0_u16; 0]);
            world.advance(200);
        }
        assert_eq!(world.acknowledged(publisher), [1]);
    }
}

#[test]
fn what_a_dead_node_has_not_accepted_goes_to_another_member() {
    for qos in [1, 2] {
        let mut world = World::new(3);
        world.member(1, "dying", "$share/g/t", 2);
        let publisher = world.client(0, "publisher");
        world.held[1] = true;
        world.publish(publisher, &Publish::new("t", "x").qos(qos, 1));
        let staying = world.member(2, "staying", "$share/g/t", 2);
        assert_eq!(world.acknowledged(publisher), [0_u16; 0]);
        world.held[2] = true;
        world.kill(1);
        world.settle();
        assert_eq!(world.acknowledged(publisher), [0_u16; 0], "nobody has it");
        world.held[2] = false;
        world.settle();
        assert_eq!(world.acknowledged(publisher), [1]);
        assert_eq!(world.complete(staying), ["x"]);
        world.assert_settled();
    }
}

#[test]
fn what_a_member_of_a_dead_node_has_not_acknowledged_goes_to_another_member() {
    let mut world = World::new(3);
    let dying = world.member(1, "dying", "$share/g/t", 2);
    let publisher = world.client(0, "publisher");
    for (id, qos) in [(1, 1), (2, 1), (3, 2), (4, 0), (5, 1)] {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
    }
    assert_eq!(world.acknowledged(publisher), [1, 2, 3, 5]);
    assert_eq!(world.texts(dying), ["1", "2", "3", "4", "5"]);
    world.send(dying, &packet::puback(1));
    world.advance(200);
    world.kill(1);
    let staying = world.member(2, "staying", "$share/g/t", 2);
    world.advance(50);
    // With QoS 2 it may be with a client, and no other gets it [MQTT-4.8.2-5].
    assert_eq!(world.complete(staying), ["2", "5"]);
    world.assert_settled();
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another_node() {
    let mut world = World::new(2);
    let leaving = world.member(1, "leaving", "$share/g/t", 2);
    let publisher = world.client(0, "publisher");
    for (id, qos) in [(1, 1), (2, 2), (3, 1)] {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
    }
    assert_eq!(world.texts(leaving).len(), 3);
    let staying = world.member(0, "staying", "$share/g/t", 2);
    world.send(leaving, &DISCONNECT);
    assert_eq!(world.complete(staying), ["1", "3"]);
    world.assert_settled();
}

#[test]
fn a_member_whose_client_is_away_is_the_last_resort_and_one_queues() {
    let mut world = World::new(3);
    let away: Vec<At> = (0..3)
        .map(|node| {
            let connect = Connect::new(&format!("away-{node}")).resume().expiry(900);
            let at = world.connect(node, &connect);
            world.subscribe(at, "$share/g/t", 1);
            at
        })
        .collect();
    away.iter().for_each(|at| world.cut(*at));
    let online = world.member(1, "online", "$share/g/t", 1);
    let publishers = publishers(&mut world);
    for id in 1..=9 {
        let from = publishers[usize::from(id) % 3];
        world.publish(from, &Publish::new("t", id.to_string()).qos(1, id));
    }
    assert_eq!(world.complete(online).len(), 9);
    world.cut(online);
    for id in 1..=9 {
        let from = publishers[usize::from(id) % 3];
        world.publish(from, &Publish::new("t", id.to_string()).qos(1, id));
        world.publish(from, &Publish::new("t", "nobody keeps it"));
    }
    let mut all = Vec::new();
    for node in 0..3 {
        let connect = Connect::new(&format!("away-{node}")).resume().expiry(900);
        let at = world.connect(node, &connect);
        all.extend(world.complete(at));
    }
    all.sort();
    assert_eq!(all, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    world.assert_settled();
}

#[test]
fn a_node_whose_members_are_full_passes_messages_on() {
    let mqtt = Mqtt {
        max_mqueue_len: 2,
        ..Mqtt::default()
    };
    let mut world = World::with(3, &mqtt);
    let slow: Vec<At> = [0, 1]
        .map(|node| {
            let connect = Connect::new(&format!("slow-{node}")).receive_maximum(1);
            let at = world.connect(node, &connect);
            world.subscribe(at, "$share/g/t", 1);
            at
        })
        .into();
    let fast = world.member(2, "fast", "$share/g/t", 1);
    let publisher = world.client(0, "publisher");
    for id in 1..=60 {
        world.publish(publisher, &Publish::new("t", format!("{id:02}")).qos(1, id));
    }
    assert_eq!(world.acknowledged(publisher).len(), 60);
    let mut all = world.complete(fast);
    assert_eq!(
        all.len(),
        54,
        "one in flight and two queued at each slow one"
    );
    for _ in 0..3 {
        for at in &slow {
            all.extend(world.complete(*at));
        }
    }
    all.sort();
    let expected: Vec<String> = (1..=60).map(|id| format!("{id:02}")).collect();
    assert_eq!(all, expected);
    world.assert_settled();
    // When all are full, it ends.
    world.cut(fast);
    for id in 1..=20 {
        world.publish(publisher, &Publish::new("t", id.to_string()).qos(1, id));
    }
    assert_eq!(world.acknowledged(publisher).len(), 20);
}

#[test]
fn retained_messages_are_given_to_one_member_as_they_are_published() {
    let mut world = World::new(3);
    let publisher = world.client(0, "publisher");
    world.publish(publisher, &Publish::new("t", "old").qos(1, 1).retain());
    let members = members(&mut world, "$share/g/t", [1, 1, 1]);
    assert_eq!(collect(&mut world, &members).0, [""; 0]);
    world.publish(publisher, &Publish::new("t", "new").qos(1, 2).retain());
    assert_eq!(collect(&mut world, &members).0, ["new"]);
}

/// On which nodes members have got each text.
type Got = BTreeMap<String, Vec<usize>>;

/// Takes what a member has got.
fn count(world: &mut World, member: At, got: &mut Got) {
    for text in world.complete(member) {
        got.entry(text).or_default().push(member.0);
    }
}

/// Lets everything come that is under way.
fn finish(world: &mut World, members: &[At], got: &mut Got) {
    world.held = vec![false; 3];
    world.advance(1500);
    for _ in 0..4 {
        for member in members {
            count(world, *member, got);
        }
    }
}

/// Members come, go and die with their nodes, whoever publishes: what is acknowledged has come,
/// and with QoS 2 once.
#[test]
fn nothing_is_lost_whoever_comes_and_goes() {
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let strategy = STRATEGIES[random.below(7)];
        let mut world = World::of(3, |setup| {
            setup.mqtt.shared_subscription_strategy = strategy;
            setup.common.publish_ack_local = seed % 2 == 1;
        });
        // One that stays.
        let mut members = vec![world.member(0, "stays", "$share/g/t", 2)];
        let publishers = publishers(&mut world);
        let (mut expected, mut got) = (Vec::new(), Got::new());
        let mut next = 0;
        for step in 0..80 {
            match random.below(12) {
                0 | 1 if !world.dead[2] || random.one_in(2) => {
                    let node = random.below(if world.dead[2] { 2 } else { 3 });
                    let name = format!("member-{step}");
                    members.push(world.member(node, &name, "$share/g/t", 2));
                }
                2 if members.len() > 1 => {
                    let leaving = members.remove(1 + random.below(members.len() - 1));
                    if !world.dead[leaving.0] {
                        world.nodes[leaving.0].cut(leaving.1);
                    }
                }
                3 => {
                    let node = random.below(3);
                    world.held[node] = !world.held[node];
                }
                4 if random.one_in(8) && !world.dead[2] => {
                    world.kill(2);
                    members.retain(|(node, _)| *node != 2);
                }
                5 => world.advance(60),
                6 => count(&mut world, members[random.below(members.len())], &mut got),
                _ => {
                    let from = random.below(if world.dead[2] { 2 } else { 3 });
                    next += 1;
                    let qos = 1 + random.below(2) as u8;
                    let text = format!("{next}-{qos}");
                    let publish = Publish::new("t", &text).qos(qos, next);
                    world.publish(publishers[from], &publish);
                    if from != 2 {
                        expected.push(text);
                    }
                }
            }
            world.settle();
        }
        finish(&mut world, &members, &mut got);
        for text in expected {
            let nodes = got.remove(&text).unwrap_or_default();
            let is_qos2 = text.ends_with("-2");
            // A client that went away may have had it.
            let is_lost = nodes.is_empty() && !is_qos2;
            assert!(!is_lost, "seed {seed}: {text} is lost");
            // A node that died may not have said that its member had it.
            let living = nodes.iter().filter(|node| !world.dead[**node]).count();
            let is_doubled = living > 1 && is_qos2;
            assert!(!is_doubled, "seed {seed}: {text} is on {nodes:?}");
        }
        world.assert_settled();
    }
}
