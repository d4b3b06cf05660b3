//! Shared subscriptions whose members live on several shards.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, DISCONNECT, Publish};
use super::received::Received;

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

#[test]
fn a_member_that_cannot_take_more_is_passed_over_on_the_shard_that_owns_the_group() {
    let mut node = Node::new(1);
    let narrow = node.connect(&Connect::new("narrow").receive_maximum(2));
    let wide = node.connect(&Connect::new("wide"));
    for member in [narrow, wide] {
        node.subscribe(member, "$share/g/t", 1);
    }
    let publisher = node.connect(&Connect::new("publisher"));
    publish(&mut node, publisher, 1, 20);
    assert_eq!(node.take_messages(narrow).len(), 2);
    assert_eq!(node.take_messages(wide).len(), 18);
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
