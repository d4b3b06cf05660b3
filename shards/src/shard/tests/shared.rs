//! Shared subscriptions whose members live on several shards.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, DISCONNECT, Publish};
use super::received::Received;
use crate::settings::{Mqtt, SharedStrategy};

/// Names of groups, so that every shard owns some of them.
const GROUPS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Publishes numbered messages to `topic` and lets them arrive.
fn publish(node: &mut Node, publisher: Client, qos: u8, count: u16) {
    for id in 1..=count {
        node.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
    }
    node.settle();
}

/// A member of the group on each shard, subscribed with QoS 1.
fn members(node: &mut Node, group: &str) -> Vec<Client> {
    (0..3)
        .map(|shard| {
            let member = node.client_on(shard, &format!("member-of-{group}"));
            node.subscribe(member, &format!("$share/{group}/t"), 1);
            member
        })
        .collect()
}

#[test]
fn the_members_of_a_group_take_turns_wherever_they_live() {
    for (seed, group) in (0..).zip(GROUPS) {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let members = members(&mut node, group);
        let publisher = node.client_on(1, "publisher");
        publish(&mut node, publisher, 1, 30);
        let mut all = Vec::new();
        for member in members {
            let texts = node.take_texts(member);
            assert_eq!(texts.len(), 10, "group {group}");
            all.extend(texts);
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 30, "group {group}");
    }
}

#[test]
fn every_group_and_every_plain_subscriber_gets_each_message() {
    let mut node = Node::new(3);
    let mut groups: Vec<Vec<Client>> = Vec::new();
    for group in GROUPS {
        groups.push(members(&mut node, group));
    }
    let plain = node.client_on(2, "plain");
    node.subscribe(plain, "#", 1);
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 1, 30);
    assert_eq!(node.take_messages(plain).len(), 30);
    for members in groups {
        let got = members.iter().map(|m| node.take_messages(*m).len());
        assert_eq!(got.sum::<usize>(), 30);
    }
}

#[test]
fn suback_to_a_shared_subscription_waits_for_the_route_of_its_owner() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let member = node.client_on(1, "member");
        node.hold_routes(true);
        let filter = format!("$share/{group}/t");
        let subscribe = packet::subscribe(Version::V5, 1, 0, &[(&filter, 1)]);
        node.send(member, &subscribe);
        node.settle();
        assert_eq!(node.take(member), [], "group {group}");
        node.hold_routes(false);
        while node.take(member).is_empty() {
            assert!(node.step(), "SUBACK does not come");
        }
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 1);
        assert_eq!(node.take_texts(member), ["1"], "group {group}");
    }
}

#[test]
fn a_member_that_leaves_is_not_missed() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let members = members(&mut node, group);
        let publisher = node.client_on(1, "publisher");
        node.send(members[0], &DISCONNECT);
        node.settle();
        publish(&mut node, publisher, 1, 10);
        assert_eq!(node.take_messages(members[1]).len(), 5);
        assert_eq!(node.take_messages(members[2]).len(), 5);
        let filter = format!("$share/{group}/t");
        let unsubscribe = packet::unsubscribe(Version::V5, 2, &[&filter, "$share/other/t"]);
        node.send(members[1], &unsubscribe);
        node.settle();
        let codes = vec![0, 0x11];
        let unsuback = Received::UnsubAck { id: 2, codes };
        assert_eq!(node.take(members[1]), [unsuback]);
        publish(&mut node, publisher, 1, 10);
        assert_eq!(node.take_messages(members[1]).len(), 0);
        assert_eq!(node.take_messages(members[2]).len(), 10);
        node.cut(members[2]);
        node.settle();
        publish(&mut node, publisher, 1, 1);
        let last = node.take(publisher).pop();
        let unmatched = Received::PubAck {
            id: 1,
            reason: 0x10,
        };
        assert_eq!(last, Some(unmatched), "group {group}");
        assert!(node.routes.index.as_ref().unwrap().is_empty());
    }
}

#[test]
fn members_whose_clients_are_away_get_messages_only_when_all_are_away() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let online = node.client_on(0, "online");
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(1000);
        let away = node.connect(&connect);
        for member in [online, away] {
            node.subscribe(member, &format!("$share/{group}/t"), 1);
        }
        node.cut(away);
        node.settle();
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 4);
        let messages = node.take_messages(online);
        assert_eq!(messages.len(), 4, "group {group}");
        for message in &messages {
            node.acknowledge(online, message);
        }
        node.settle();
        node.cut(online);
        node.settle();
        publish(&mut node, publisher, 1, 4);
        let (away, present) = node.connect_at(2, &connect);
        assert!(present);
        assert_eq!(node.take_texts(away), ["1", "2", "3", "4"], "group {group}");
        publish(&mut node, publisher, 0, 4);
        assert_eq!(node.take_messages(away).len(), 4, "group {group}");
    }
}

#[test]
fn a_member_is_online_again_after_a_takeover() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let steady = node.client_on(0, "steady");
        let name = node.name_at(1, "taken-over");
        let connect = Connect::new(&name).resume().expiry(1000);
        let first = node.connect(&connect);
        for member in [steady, first] {
            node.subscribe(member, &format!("$share/{group}/t"), 1);
        }
        let second = node.connect(&connect);
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 10);
        assert_eq!(node.take_messages(second).len(), 5, "group {group}");
        assert_eq!(node.take_messages(steady).len(), 5, "group {group}");
    }
}

/// A member on a given shard whose window is so large.
fn narrow(node: &mut Node, shard: u16, prefix: &str, window: u16) -> Client {
    let name = node.name_at(shard, prefix);
    node.connect(&Connect::new(&name).receive_maximum(window))
}

#[test]
fn a_member_whose_window_is_full_is_passed_over_wherever_it_lives() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let wide = node.client_on(0, "wide");
        let narrow = narrow(&mut node, 1, "narrow", 2);
        for member in [narrow, wide] {
            node.subscribe(member, &format!("$share/{group}/t"), 1);
        }
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 20);
        let taken = node.take_messages(narrow);
        assert_eq!(taken.len(), 2, "group {group}");
        let of_wide = node.take_texts(wide);
        assert_eq!(of_wide.len(), 18, "group {group}");
        publish(&mut node, publisher, 1, 6);
        assert_eq!(node.take_messages(narrow).len(), 0, "group {group}");
        // With room again it has its turn again.
        for message in &taken {
            node.acknowledge(narrow, message);
        }
        node.settle();
        node.take(wide);
        publish(&mut node, publisher, 1, 4);
        assert_eq!(node.take_messages(narrow).len(), 2, "group {group}");
        assert_eq!(node.take_messages(wide).len(), 2, "group {group}");
    }
}

#[test]
fn a_member_that_does_not_read_is_passed_over_and_asked_again_when_it_reads() {
    for group in GROUPS {
        let mut node = Node::with(Setup {
            mqtt: Mqtt {
                max_output_bytes: 1024,
                ..Mqtt::default()
            },
            ..Setup::default()
        });
        let members = members(&mut node, group);
        node.set_reading(members[1], false);
        let publisher = node.client_on(2, "publisher");
        let large = "x".repeat(600);
        let send = |node: &mut Node| {
            for _ in 0..30 {
                node.publish(publisher, &Publish::new("t", large.clone()));
                node.settle();
            }
        };
        send(&mut node);
        let got = |node: &mut Node, member| node.take_messages(member).len();
        let others = got(&mut node, members[0]) + got(&mut node, members[2]);
        assert!(others >= 24, "group {group}: {others}");
        node.set_reading(members[1], true);
        node.settle();
        let all = others + got(&mut node, members[1]);
        assert_eq!(all, 30, "group {group}");
        send(&mut node);
        assert_eq!(got(&mut node, members[1]), 10, "group {group}");
    }
}

#[test]
fn what_nobody_can_take_is_queued_by_who_is_online_then_by_who_is_away_then_dropped() {
    for group in GROUPS {
        let mut node = Node::with(Setup {
            mqtt: Mqtt {
                max_mqueue_len: 3,
                ..Mqtt::default()
            },
            ..Setup::default()
        });
        let filter = format!("$share/{group}/t");
        let online = narrow(&mut node, 0, "online", 1);
        node.subscribe(online, &filter, 1);
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(1000);
        let away = node.connect(&connect);
        node.subscribe(away, &filter, 1);
        node.cut(away);
        node.settle();
        let publisher = node.client_on(2, "publisher");
        let before = dropped(&node);
        for id in 1..=9 {
            node.publish(publisher, &Publish::new("t", id.to_string()).qos(1, id));
            node.settle();
        }
        assert_eq!(dropped(&node) - before, 2, "group {group}");
        let mut texts = Vec::new();
        while let Some(message) = node.take_messages(online).pop() {
            texts.push(message.text().to_owned());
            node.acknowledge(online, &message);
            node.settle();
        }
        assert_eq!(texts, ["1", "2", "3", "4"], "group {group}");
        let (away, _) = node.connect_at(2, &connect);
        assert_eq!(node.take_texts(away), ["5", "6", "7"], "group {group}");
    }
}

fn dropped(node: &Node) -> u64 {
    node.shards
        .iter()
        .map(|shard| shard.stats.dropped.get())
        .sum()
}

#[test]
fn a_member_that_is_away_gets_no_message_of_qos_0() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(1000);
        let away = node.connect(&connect);
        node.subscribe(away, &format!("$share/{group}/t"), 1);
        node.cut(away);
        node.settle();
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 0, 3);
        let (away, _) = node.connect_at(0, &connect);
        assert_eq!(node.take(away), [], "group {group}");
    }
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_in_order_when_its_session_ends() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let filter = format!("$share/{group}/t");
        let leaving = narrow(&mut node, 1, "leaving", 4);
        node.subscribe(leaving, &filter, 2);
        let publisher = node.client_on(2, "publisher");
        for (id, qos) in (1..=8).zip([1, 1, 2, 1, 1, 2, 1, 1]) {
            node.publish(publisher, &Publish::new("t", id.to_string()).qos(qos, id));
        }
        node.settle();
        node.take(publisher);
        let sent = node.take_messages(leaving);
        assert_eq!(sent.len(), 4, "group {group}");
        // The oldest is acknowledged, so that one more is sent.
        node.acknowledge(leaving, &sent[0]);
        node.settle();
        assert_eq!(node.take_texts(leaving), ["5"], "group {group}");
        let other = node.client_on(0, "other");
        node.subscribe(other, &filter, 2);
        node.cut(leaving);
        node.settle();
        // Not the third: it was sent with QoS 2 [MQTT-4.8.2-5].
        let messages = node.take_messages(other);
        let texts: Vec<&str> = messages.iter().map(|m| m.text()).collect();
        assert_eq!(texts, ["2", "4", "5", "6", "7", "8"], "group {group}");
        assert!(messages.iter().all(|message| !message.dup));
    }
}

#[test]
fn the_queue_of_a_member_that_goes_away_goes_to_those_that_are_there() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let filter = format!("$share/{group}/t");
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(1000).receive_maximum(2);
        let away = node.connect(&connect);
        node.subscribe(away, &filter, 1);
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 5);
        assert_eq!(node.take_texts(away), ["1", "2"], "group {group}");
        let there = node.client_on(0, "there");
        node.subscribe(there, &filter, 1);
        node.cut(away);
        node.settle();
        assert_eq!(node.take_texts(there), ["3", "4", "5"], "group {group}");
        // What it was sent waits for it, as long as its session does.
        let (away, _) = node.connect_at(0, &connect);
        let again = node.take_messages(away);
        let texts: Vec<_> = again.iter().map(|m| (m.text(), m.dup)).collect();
        assert_eq!(texts, [("1", true), ("2", true)], "group {group}");
        node.cut(away);
        node.advance(1_000_000);
        assert_eq!(node.take_texts(there), ["1", "2"], "group {group}");
    }
}

#[test]
fn the_queue_of_the_only_member_stays_with_it() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(1000).receive_maximum(1);
        let away = node.connect(&connect);
        node.subscribe(away, &format!("$share/{group}/t"), 1);
        let publisher = node.client_on(2, "publisher");
        publish(&mut node, publisher, 1, 3);
        node.cut(away);
        node.settle();
        let connect = Connect::new(&name).resume().expiry(1000);
        let (away, _) = node.connect_at(0, &connect);
        assert_eq!(node.take_texts(away), ["1", "2", "3"], "group {group}");
    }
}

#[test]
fn nothing_new_comes_to_a_member_that_has_unsubscribed() {
    for group in GROUPS {
        let mut node = Node::new(2);
        let publisher = node.client_on(0, "publisher");
        let filter = format!("$share/{group}/t");
        let members = [node.client_on(1, "leaving"), node.client_on(1, "staying")];
        for member in members {
            node.subscribe(member, &filter, 1);
        }
        // The messages are on their way while the one unsubscribes.
        node.hold_ring(0, 1, true);
        publish(&mut node, publisher, 1, 4);
        node.send(members[0], &packet::unsubscribe(Version::V5, 2, &[&filter]));
        node.settle();
        let before = node.take(members[0]).len();
        node.hold_ring(0, 1, false);
        node.settle();
        assert_eq!(node.take(members[0]), [], "group {group}");
        let all = node.take_messages(members[1]).len() + before - 1;
        assert_eq!(all, 4, "group {group}");
    }
}

#[test]
fn a_message_for_a_member_on_another_shard_takes_one_hop() {
    for group in GROUPS {
        let mut node = Node::new(3);
        // A member lives on every shard that does not own the group.
        let probe = node.client_on(0, "probe");
        node.subscribe(probe, &format!("$share/{group}/t"), 1);
        let owns = |shard: u16| !node.shards[usize::from(shard)].subscriptions.is_empty();
        let owner = (0..3).find(|shard| owns(*shard)).unwrap();
        node.cut(probe);
        node.settle();
        let home = (owner + 1) % 3;
        let member = node.client_on(home, "member");
        node.subscribe(member, &format!("$share/{group}/t"), 1);
        let publisher = node.client_on(owner, "publisher");
        // No other ring takes anything.
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            node.hold_ring(from, to, (from, to) != (owner, home));
        }
        publish(&mut node, publisher, 1, 3);
        assert_eq!(node.take_texts(member), ["1", "2", "3"], "group {group}");
        assert_eq!(node.take(publisher).len(), 3, "group {group}");
    }
}

/// A node whose groups have the strategy.
fn node_with(strategy: SharedStrategy) -> Node {
    Node::with(Setup {
        mqtt: Mqtt {
            shared_subscription_strategy: strategy,
            ..Mqtt::default()
        },
        ..Setup::default()
    })
}

/// How many messages each member gets.
fn counts(node: &mut Node, members: &[Client]) -> Vec<usize> {
    let counts = members.iter().map(|member| node.take_messages(*member));
    counts.map(|messages| messages.len()).collect()
}

#[test]
fn a_local_member_comes_before_those_on_other_shards() {
    for group in GROUPS {
        let mut node = node_with(SharedStrategy::Local);
        let members = members(&mut node, group);
        for shard in 0..3 {
            let publisher = node.client_on(shard, "publisher");
            publish(&mut node, publisher, 0, 10);
            let mut expected = [0; 3];
            expected[usize::from(shard)] = 10;
            assert_eq!(counts(&mut node, &members), expected, "group {group}");
        }
        node.cut(members[1]);
        let publisher = node.client_on(1, "publisher");
        publish(&mut node, publisher, 0, 10);
        assert_eq!(counts(&mut node, &members), [5, 0, 5], "group {group}");
    }
}

#[test]
fn a_sticky_group_stays_with_one_member() {
    for group in GROUPS {
        let mut node = node_with(SharedStrategy::Sticky);
        let members = members(&mut node, group);
        let publish_from = |node: &mut Node, shard| {
            let publisher = node.client_on(shard, "publisher");
            publish(node, publisher, 0, 10);
            let got = counts(node, &members);
            got.iter()
                .position(|count| *count == 10)
                .expect("all to one")
        };
        let first = publish_from(&mut node, 0);
        assert_eq!(publish_from(&mut node, 1), first, "group {group}");
        node.cut(members[first]);
        node.settle();
        let second = publish_from(&mut node, 2);
        assert_ne!(second, first, "group {group}");
        assert_eq!(publish_from(&mut node, 0), second, "group {group}");
    }
}

#[test]
fn the_same_publisher_or_topic_leads_to_the_same_member() {
    for strategy in [SharedStrategy::HashClientId, SharedStrategy::HashTopic] {
        let by_topic = strategy == SharedStrategy::HashTopic;
        let mut node = node_with(strategy);
        let members: Vec<Client> = (0..3)
            .map(|shard| node.client_on(shard, "member"))
            .collect();
        for member in &members {
            node.subscribe(*member, "$share/g/#", 0);
        }
        let mut used = [0; 3];
        for number in 0..20 {
            let mut found = Vec::new();
            for round in 0..3 {
                // The publisher comes back each time, with a session of its own.
                let name = if by_topic {
                    format!("p-{number}-{round}")
                } else {
                    format!("p-{number}")
                };
                let topic = if by_topic { number } else { number * 3 + round };
                let publisher = node.connect(&Connect::new(&name));
                node.publish(publisher, &Publish::new(&format!("t/{topic}"), "x"));
                node.settle();
                node.cut(publisher);
                node.settle();
                let got = counts(&mut node, &members);
                found.push(got.iter().position(|count| *count == 1).unwrap());
            }
            assert!(found.iter().all(|place| *place == found[0]), "{found:?}");
            used[found[0]] += 1;
        }
        assert!(
            used.iter().all(|count| *count > 0),
            "{strategy:?}: {used:?}"
        );
    }
}

#[test]
fn no_local_holds_where_messages_carry_a_hash_of_their_publisher() {
    let mut node = node_with(SharedStrategy::HashClientId);
    let client = node.client_on(1, "client");
    node.subscribe(client, "t", 1 | 4);
    publish(&mut node, client, 0, 2);
    assert_eq!(node.take(client), []);
}

#[test]
fn all_filters_of_a_group_share_a_turn_across_shards() {
    let mut node = node_with(SharedStrategy::RoundRobinPerGroup);
    let members: Vec<Client> = (0..3)
        .map(|shard| node.client_on(shard, "member"))
        .collect();
    for filter in ["$share/g/t/1", "$share/g/t/2", "$share/g/t/3"] {
        for member in &members {
            node.subscribe(*member, filter, 0);
        }
    }
    let publisher = node.client_on(2, "publisher");
    for round in 0..6 {
        let topic = format!("t/{}", round % 3 + 1);
        node.publish(publisher, &Publish::new(&topic, "x"));
        node.settle();
        let mut expected = [0; 3];
        expected[round % 3] = 1;
        assert_eq!(counts(&mut node, &members), expected, "round {round}");
    }
}

#[test]
fn a_group_may_have_a_strategy_of_its_own() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            shared_subscription_groups: [("a".to_owned(), SharedStrategy::Local)].into(),
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let local = members(&mut node, "a");
    let fair = members(&mut node, "b");
    let publisher = node.client_on(1, "publisher");
    publish(&mut node, publisher, 1, 9);
    assert_eq!(counts(&mut node, &local), [0, 9, 0]);
    assert_eq!(counts(&mut node, &fair), [3, 3, 3]);
}

#[test]
fn a_queue_is_the_group_queue() {
    let mut node = Node::new(2);
    let members = [node.client_on(0, "member"), node.client_on(1, "member")];
    node.subscribe(members[0], "$queue/t", 1);
    node.subscribe(members[1], "$share/$queue/t", 1);
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 1, 10);
    assert_eq!(counts(&mut node, &members), [5, 5]);
}

#[test]
fn a_new_client_under_the_key_of_a_member_does_not_get_its_messages() {
    for group in GROUPS {
        let mut node = Node::new(2);
        let publisher = node.client_on(0, "publisher");
        let member = node.client_on(1, "member");
        node.subscribe(member, &format!("$share/{group}/t"), 1);
        // The messages are on their way while the member goes and another client comes.
        node.hold_ring(0, 1, true);
        publish(&mut node, publisher, 1, 3);
        node.cut(member);
        node.settle();
        let name = node.name_at(1, "next");
        let (next, _) = node.connect_at(1, &Connect::new(&name));
        node.hold_ring(0, 1, false);
        node.settle();
        assert_eq!(node.take(next), [], "group {group}");
    }
}

#[test]
fn a_message_of_qos_2_is_handed_to_one_member_once() {
    for group in GROUPS {
        let mut node = Node::new(3);
        let members: Vec<Client> = (0..3).map(|shard| node.client_on(shard, "m")).collect();
        for member in &members {
            node.subscribe(*member, &format!("$share/{group}/#"), 2);
        }
        let publisher = node.client_on(1, "publisher");
        publish(&mut node, publisher, 2, 9);
        let mut all = Vec::new();
        for member in members {
            for message in node.take_messages(member) {
                assert_eq!(message.qos, 2);
                all.push(message.text().to_owned());
            }
        }
        all.sort_unstable();
        let expected: Vec<String> = (1..=9).map(|n| n.to_string()).collect();
        assert_eq!(all, expected, "group {group}");
    }
}

#[test]
fn a_client_joins_tens_of_thousands_of_groups_and_leaves_them_again() {
    let mut node = Node::new(2);
    let member = node.client_on(0, "member");
    let filters: Vec<String> = (0..20_000).map(|n| format!("$share/{n}/t/{n}")).collect();
    let joins: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    node.send(member, &packet::subscribe(Version::V5, 1, 0, &joins));
    node.settle();
    let joined = node.shards.iter().map(|shard| shard.subscriptions.len());
    assert_eq!(joined.sum::<usize>(), 20_000);
    let leaves: Vec<&str> = filters.iter().map(String::as_str).collect();
    node.send(member, &packet::unsubscribe(Version::V5, 2, &leaves));
    node.settle();
    let joined = node.shards.iter().map(|shard| shard.subscriptions.len());
    assert_eq!(joined.sum::<usize>(), 0);
}
