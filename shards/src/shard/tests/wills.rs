//! Wills: when they are published, and when not.

use super::node::{Client, Node};
use super::packet::{self, Connect, DISCONNECT, Publish, Will};

/// A node with a subscriber to all wills on shard 0.
fn watched() -> (Node, Client) {
    let mut node = Node::new(3);
    let watcher = node.client_on(0, "watcher");
    node.subscribe(watcher, "will/#", 2);
    (node, watcher)
}

/// A client on shard 1 whose session lives for `expiry_s` seconds without it.
fn mortal(node: &Node, expiry_s: u32, will: Will) -> Connect {
    let name = node.name_at(1, "mortal");
    Connect::new(&name).resume().expiry(expiry_s).will(will)
}

#[test]
fn a_will_is_published_when_the_connection_breaks() {
    for expiry_s in [0, 1000] {
        let (mut node, watcher) = watched();
        let connect = mortal(&node, expiry_s, Will::new("will/1", "gone").qos(1));
        let client = node.connect(&connect);
        node.settle();
        assert_eq!(node.take(watcher), []);
        node.cut(client);
        node.settle();
        assert_eq!(node.take_texts(watcher), ["gone"]);
        node.advance(2_000_000);
        assert_eq!(node.take(watcher), [], "it was published already");
    }
}

#[test]
fn a_will_is_discarded_by_disconnect_except_with_0x04() {
    for (disconnect, expected) in [
        (DISCONNECT.to_vec(), None),
        (packet::disconnect(0, None), None),
        (packet::disconnect(4, None), Some("gone".to_owned())),
    ] {
        let (mut node, watcher) = watched();
        let connect = mortal(&node, 10, Will::new("will/1", "gone"));
        let client = node.connect(&connect);
        node.send(client, &disconnect);
        node.close(client);
        node.advance(100_000);
        assert_eq!(node.take_texts(watcher).pop(), expected);
    }
}

#[test]
fn a_will_is_published_when_the_client_breaks_the_protocol_or_falls_silent() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 10, Will::new("will/1", "gone")).keep_alive(10);
    let client = node.connect(&connect);
    node.send(client, &[0xf0, 0xff, 0xff, 0xff, 0xff]);
    node.settle();
    assert_eq!(node.take_texts(watcher), ["gone"]);
    node.connect(&connect);
    node.advance(15_000);
    assert_eq!(node.take_texts(watcher), ["gone"]);
}

#[test]
fn a_delayed_will_waits_for_its_delay() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone").delay(30));
    let client = node.connect(&connect);
    node.cut(client);
    node.advance(29_999);
    assert_eq!(node.take(watcher), []);
    node.advance(1);
    assert_eq!(node.take_texts(watcher), ["gone"]);
    node.advance(2_000_000);
    assert_eq!(node.take(watcher), []);
}

#[test]
fn a_delayed_will_is_published_when_the_session_ends_before() {
    for (expiry_s, wait_ms) in [(0, 0), (5, 5_000)] {
        let (mut node, watcher) = watched();
        let connect = mortal(&node, expiry_s, Will::new("will/1", "gone").delay(30));
        let client = node.connect(&connect);
        node.cut(client);
        node.advance(wait_ms);
        assert_eq!(node.take_texts(watcher), ["gone"], "expiry {expiry_s}");
    }
}

#[test]
fn a_client_that_comes_back_in_time_cancels_its_delayed_will() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone").delay(30));
    let client = node.connect(&connect);
    node.cut(client);
    node.advance(29_999);
    // By a new connection, and by one that takes over.
    let name = node.name_at(1, "mortal");
    let without = Connect::new(&name).resume().expiry(1000);
    node.connect(&connect);
    node.connect(&without);
    node.advance(500_000);
    assert_eq!(node.take(watcher), []);
}

#[test]
fn a_connection_without_a_will_does_not_leave_that_of_an_earlier_one() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone").delay(30));
    let client = node.connect(&connect);
    node.cut(client);
    node.settle();
    let name = node.name_at(1, "mortal");
    let client = node.connect(&Connect::new(&name).resume().expiry(1000));
    node.cut(client);
    node.advance(2_000_000);
    assert_eq!(node.take(watcher), []);
}

#[test]
fn a_takeover_publishes_a_will_without_delay() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone"));
    node.connect(&connect);
    node.connect(&connect);
    assert_eq!(node.take_texts(watcher), ["gone"]);
}

#[test]
fn a_clean_start_ends_the_session_and_publishes_its_delayed_will() {
    let (mut node, watcher) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone").delay(30));
    let client = node.connect(&connect);
    node.cut(client);
    node.settle();
    let name = node.name_at(1, "mortal");
    node.connect(&Connect::new(&name));
    assert_eq!(node.take_texts(watcher), ["gone"]);
}

#[test]
fn a_will_is_retained_if_it_asks_for_that() {
    for number in 0..4 {
        let (mut node, _) = watched();
        let topic = format!("will/{number}");
        let connect = mortal(&node, 0, Will::new(&topic, "gone").retain());
        let client = node.connect(&connect);
        node.cut(client);
        node.settle();
        let late = node.client_on(2, "late");
        node.subscribe(late, "other", 0);
        node.send(
            late,
            &packet::subscribe(protocol::wire::Version::V5, 1, 0, &[(&topic, 0)]),
        );
        node.settle();
        let packets = node.take(late);
        assert_eq!(packets.len(), 2, "SUBACK and the will: {packets:?}");
    }
}

#[test]
fn the_expiry_of_a_will_runs_from_when_it_is_published() {
    let (mut node, watcher) = watched();
    let will = Will::new("will/1", "gone").delay(30).expiry(20);
    let connect = mortal(&node, 1000, will);
    let client = node.connect(&connect);
    node.cut(client);
    node.advance(30_000);
    let messages = node.take_messages(watcher);
    assert_eq!(messages[0].expiry_s, Some(20));
}

#[test]
fn a_client_that_subscribes_to_its_own_will_finds_it_in_its_session() {
    let (mut node, _) = watched();
    let connect = mortal(&node, 1000, Will::new("will/1", "gone").qos(1));
    let client = node.connect(&connect);
    node.subscribe(client, "will/1", 1);
    node.cut(client);
    node.settle();
    let client = node.connect(&connect);
    assert_eq!(node.take_texts(client), ["gone"]);
}

#[test]
fn a_will_waits_behind_what_its_client_has_published() {
    for qos in 0..2 {
        let (mut node, watcher) = watched();
        let connect = mortal(&node, 0, Will::new("will/1", "gone").qos(qos));
        let client = node.connect(&connect);
        for id in 1..=5 {
            let message = Publish::new("will/1", id.to_string());
            node.publish(client, &message.qos(qos, id));
        }
        node.close(client);
        node.settle();
        let expected = ["1", "2", "3", "4", "5", "gone"];
        assert_eq!(node.take_texts(watcher), expected);
    }
}
