//! Stored sessions that end: what they leave behind is not lost in any crash.

use protocol::wire::Version;

use super::super::node::{Client, Node};
use super::super::packet::{self, Connect, Publish, Will};
use super::super::received::Received;

const GROUPS: [&str; 4] = ["a", "b", "c", "d"];

/// A client whose session lasts an hour, on the given shard.
fn lasting(node: &Node, shard: u16, prefix: &str) -> Connect {
    let name = node.name_at(shard, prefix);
    Connect::new(&name).resume().expiry(3600)
}

/// Publishes the numbers 1 to 6 to `topic`.
fn publish(node: &mut Node, topic: &str) {
    let publisher = node.client_on(0, "publisher");
    for number in 1..=6_u16 {
        let publish = Publish::new(topic, number.to_string());
        node.publish(publisher, &publish.qos(1, number));
    }
    node.settle();
    assert_eq!(node.take(publisher).len(), 6);
}

/// Sends CONNECT and says whether the answer was there at once, and Session Present.
fn try_connect(node: &mut Node, connect: &Connect) -> (Client, Option<bool>) {
    let client = node.open(node.home(&connect.client_id), connect.version);
    node.send(client, &connect.encode());
    node.settle();
    match node.take(client).first() {
        Some(&Received::ConnAck { present, .. }) => (client, Some(present)),
        _ => (client, None),
    }
}

/// Holds the disk, and lets it take one commit after another.
fn hold_disk(node: &mut Node) {
    node.disk.as_mut().unwrap().held = true;
}

fn store(node: &mut Node, commits: usize) {
    for commit in 0..commits {
        node.settle();
        let shard = commit % node.shards.len();
        node.disk.as_mut().unwrap().store(shard);
    }
    node.settle();
}

/// Takes all messages that come, each as its text, and acknowledges them.
fn drain(node: &mut Node, client: Client) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let messages = node.take_messages(client);
        if messages.is_empty() {
            return texts;
        }
        for message in messages {
            node.acknowledge(client, &message);
            texts.push(message.text().to_owned());
        }
        node.settle();
    }
}

#[test]
fn what_a_member_held_at_a_crash_goes_to_others_when_its_session_ends() {
    for (before, after) in [(1, 1), (2, 3), (3, 2)] {
        for group in GROUPS {
            let filter = format!("$share/{group}/t");
            let mut node = Node::durable(before);
            let connect = lasting(&node, before - 1, "member").receive_maximum(2);
            let member = node.connect(&connect);
            // Numbers of earlier subscriptions are not given again.
            node.subscribe(member, "$share/earlier/t/x", 1);
            node.subscribe(member, &filter, 1);
            let unsubscribe = packet::unsubscribe(Version::V5, 9, &["$share/earlier/t/x"]);
            node.send(member, &unsubscribe);
            node.settle();
            node.take(member);
            publish(&mut node, "t");
            assert_eq!(node.take_texts(member), ["1", "2"]);
            let mut node = node.crash(after).crash(after);
            let other = lasting(&node, after - 1, "other");
            let other = node.connect(&other);
            node.subscribe(other, &filter, 1);
            // A clean start ends the session.
            node.connect(&Connect::new(&connect.client_id));
            node.settle();
            let expected = ["1", "2", "3", "4", "5", "6"];
            assert_eq!(drain(&mut node, other), expected, "group {group}");
            let counts = node.disk.as_ref().unwrap().counts();
            assert_eq!(counts, [1, 0, 0, 0]);
        }
    }
}

#[test]
fn messages_of_groups_and_a_will_survive_the_end_of_their_session_in_any_crash() {
    for commits in 0..14 {
        for group in GROUPS {
            let filter = format!("$share/{group}/t");
            let mut node = Node::durable(3);
            let watcher_connect = lasting(&node, 2, "watcher");
            let watcher = node.connect(&watcher_connect);
            node.subscribe(watcher, "will", 1);
            let connect = lasting(&node, 0, "member").receive_maximum(2);
            let member = node.connect(&connect.clone().will(Will::new("will", "gone").qos(1)));
            node.subscribe(member, &filter, 1);
            publish(&mut node, "t");
            let other_connect = lasting(&node, 1, "other");
            let other = node.connect(&other_connect);
            node.subscribe(other, &filter, 1);
            hold_disk(&mut node);
            // The session ends with its connection, and its will goes out.
            node.send(member, &packet::disconnect(4, Some(0)));
            store(&mut node, commits);
            let mut node = node.crash(3);
            node.advance(10);
            // Where it had not ended on the disk it ends now.
            node.connect(&Connect::new(&connect.client_id));
            let watcher = node.connect(&watcher_connect);
            assert_eq!(drain(&mut node, watcher), ["gone"], "{commits} {group}");
            let other = node.connect(&other_connect);
            let mut texts = drain(&mut node, other);
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len(), 6, "{commits} {group}: {texts:?}");
            let counts = node.disk.as_ref().unwrap().counts();
            assert_eq!(counts, [2, 0, 0, 0], "{commits} {group}");
        }
    }
}

#[test]
fn a_clean_start_is_not_answered_before_the_old_session_is_off_the_disk() {
    for member in [false, true] {
        for commits in 0..14 {
            let mut node = Node::durable(2);
            let watcher_connect = lasting(&node, 1, "watcher");
            let watcher = node.connect(&watcher_connect);
            node.subscribe(watcher, "will", 1);
            let connect = lasting(&node, 0, "client");
            let old = node.connect(&connect.clone().will(Will::new("will", "gone").qos(1)));
            if member {
                for group in GROUPS {
                    node.subscribe(old, &format!("$share/{group}/t"), 1);
                }
            } else {
                node.subscribe(old, "t", 1);
            }
            publish(&mut node, "t");
            hold_disk(&mut node);
            let clean = Connect::new(&connect.client_id);
            let (client, mut present) = try_connect(&mut node, &clean);
            assert_eq!(present, None, "nothing is on the disk yet");
            store(&mut node, commits);
            if let Some(Received::ConnAck { present: value, .. }) = node.take(client).first() {
                present = Some(*value);
            }
            let mut node = node.crash(2);
            let watcher = node.connect(&watcher_connect);
            assert_eq!(
                drain(&mut node, watcher),
                ["gone"],
                "after {commits} commits"
            );
            let (_, again) = try_connect(&mut node, &connect);
            if present.is_some() {
                assert_eq!(
                    (present, again),
                    (Some(false), Some(false)),
                    "after {commits}"
                );
            } else {
                assert!(commits < 13, "CONNACK comes in the end");
            }
        }
    }
}

#[test]
fn the_will_of_a_session_that_is_stored_beside_its_successor_comes_all_the_same() {
    for commits in 0..14 {
        let mut node = Node::durable(2);
        let watcher_connect = lasting(&node, 1, "watcher");
        let watcher = node.connect(&watcher_connect);
        node.subscribe(watcher, "will", 1);
        let connect = lasting(&node, 0, "client");
        node.connect(&connect.clone().will(Will::new("will", "gone").qos(1)));
        hold_disk(&mut node);
        // The next session is stored, too.
        let clean = Connect::new(&connect.client_id).expiry(3600);
        try_connect(&mut node, &clean);
        store(&mut node, commits);
        let mut node = node.crash(2);
        node.advance(10);
        let watcher = node.connect(&watcher_connect);
        assert_eq!(
            drain(&mut node, watcher),
            ["gone"],
            "after {commits} commits"
        );
        try_connect(&mut node, &connect);
        let counts = node.disk.as_ref().unwrap().counts();
        assert_eq!(counts, [2, 0, 0, 0], "after {commits} commits");
    }
}

#[test]
fn a_will_that_waits_for_another_shard_is_not_lost_with_what_its_client_does_next() {
    for next in ["resume", "clean", "member"] {
        for commits in 0..14 {
            let mut node = Node::durable(2);
            let watcher_connect = lasting(&node, 1, "watcher");
            let watcher = node.connect(&watcher_connect);
            node.subscribe(watcher, "will", 1);
            let connect = lasting(&node, 0, "client");
            let client = node.connect(&connect.clone().will(Will::new("will", "gone").qos(1)));
            if next == "member" {
                for group in GROUPS {
                    node.subscribe(client, &format!("$share/{group}/t"), 1);
                }
                publish(&mut node, "t");
            }
            hold_disk(&mut node);
            // The will goes out, and the other shard does not look at it yet.
            node.hold_ring(0, 1, true);
            node.cut(client);
            node.settle();
            let again = match next {
                "resume" => connect.clone(),
                _ => Connect::new(&connect.client_id),
            };
            let (again, present) = try_connect(&mut node, &again);
            assert_eq!(present, None);
            node.disk.as_mut().unwrap().store(0);
            node.settle();
            assert_eq!(node.take(again), []);
            node.hold_ring(0, 1, false);
            store(&mut node, commits);
            let answered = !node.take(again).is_empty();
            assert!(answered || commits < 13, "CONNACK comes in the end");
            let mut node = node.crash(2);
            node.advance(10);
            let watcher = node.connect(&watcher_connect);
            assert_eq!(drain(&mut node, watcher), ["gone"], "{next} {commits}");
        }
    }
}
