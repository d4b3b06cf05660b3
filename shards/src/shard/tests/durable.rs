//! Sessions that are stored: what waits for the disk, and what a crash leaves.

mod endings;
mod restored;

use protocol::wire::Version;

use super::disk::Disk;
use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish, Will};
use super::received::Received;

/// A 5.0 client whose session lasts an hour, on the given shard.
fn lasting(node: &mut Node, shard: u16, prefix: &str) -> (Connect, Client) {
    let name = node.name_at(shard, prefix);
    let connect = Connect::new(&name).resume().expiry(3600);
    let client = node.connect(&connect);
    (connect, client)
}

fn hold_disk(node: &mut Node, held: bool) {
    node.disk.as_mut().unwrap().held = held;
    node.settle();
}

fn ack(node: &mut Node, client: Client) -> Option<Received> {
    let mut packets = node.take(client);
    assert!(packets.len() <= 1, "{packets:?}");
    packets.pop()
}

#[test]
fn an_acknowledgement_waits_for_the_disk_only_if_something_is_stored() {
    for shards in [1, 2] {
        let mut node = Node::durable(shards);
        let (_, subscriber) = lasting(&mut node, shards - 1, "subscriber");
        node.subscribe(subscriber, "stored", 2);
        let publisher = node.client_on(0, "publisher");
        node.subscribe(publisher, "passing", 1);
        hold_disk(&mut node, true);
        node.publish(publisher, &Publish::new("passing", "x").qos(1, 1));
        node.settle();
        assert_eq!(node.take(publisher).len(), 2, "the message and PUBACK");
        for (qos, id) in [(1, 2), (2, 3)] {
            node.publish(publisher, &Publish::new("stored", "x").qos(qos, id));
            node.settle();
            assert_eq!(ack(&mut node, publisher), None);
        }
        hold_disk(&mut node, false);
        assert_eq!(node.take(publisher).len(), 2, "PUBACK and PUBREC");
        assert_eq!(node.take_texts(subscriber), ["x", "x"]);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_on_any_number_of_shards() {
    for (before, after) in [(1, 1), (1, 3), (3, 2)] {
        let mut node = Node::durable(before);
        let names: Vec<Connect> = (0..before)
            .map(|shard| {
                let (connect, client) = lasting(&mut node, shard, "subscriber");
                node.subscribe(client, "a/+", 2);
                node.subscribe(client, "gone", 1);
                let unsubscribe = packet::unsubscribe(Version::V5, 9, &["gone"]);
                node.send(client, &unsubscribe);
                node.settle();
                node.take(client);
                node.cut(client);
                connect
            })
            .collect();
        let publisher = node.client_on(0, "publisher");
        for number in 0..10_u16 {
            let publish = Publish::new("a/b", number.to_string());
            node.publish(publisher, &publish.qos(1 + (number % 2) as u8, number + 1));
        }
        node.publish(publisher, &Publish::new("gone", "x").qos(1, 99));
        node.settle();
        assert_eq!(node.take(publisher).len(), 11);
        let mut node = node.crash(after);
        for connect in names {
            let home = node.home(&connect.client_id);
            let (client, present) = node.connect_at(home, &connect);
            assert!(present);
            let texts = node.take_texts(client);
            assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        }
    }
}

#[test]
fn a_qos_2_message_is_stored_with_its_packet_identifier_or_not_at_all() {
    // The disk takes so many commits, then the node crashes.
    for commits in 0..12 {
        let mut node = Node::durable(2);
        let (subscriber_connect, subscriber) = lasting(&mut node, 1, "subscriber");
        node.subscribe(subscriber, "t", 2);
        node.cut(subscriber);
        let (publisher_connect, publisher) = lasting(&mut node, 0, "publisher");
        node.settle();
        hold_disk(&mut node, true);
        let publish = Publish::new("t", "once").qos(2, 7);
        node.publish(publisher, &publish);
        for _ in 0..commits {
            node.settle();
            node.disk.as_mut().unwrap().store(0);
        }
        node.settle();
        let acknowledged = ack(&mut node, publisher).is_some();
        let mut node = node.crash(2);
        let publisher = node.connect(&publisher_connect);
        node.take(publisher);
        if !acknowledged {
            node.publish(publisher, &publish.clone().dup());
            node.settle();
            assert!(matches!(
                ack(&mut node, publisher),
                Some(Received::PubRec { id: 7, .. })
            ));
        }
        let subscriber = node.connect(&subscriber_connect);
        let messages = node.take_messages(subscriber);
        assert_eq!(messages.len(), 1, "after {commits} commits: {messages:?}");
    }
}

#[test]
fn a_retained_qos_2_message_is_stored_before_its_packet_identifier() {
    for seed in 0..4 {
        for commits in 0..8 {
            for topic_at in [0, 1] {
                let node = Node::with(Setup {
                    shards: 2,
                    seed,
                    disk: Some(Disk::new(2)),
                    ..Setup::default()
                });
                let topic = node.name_at(topic_at, "t");
                retain_in_a_crash(node, &topic, commits);
            }
        }
    }
}

/// The disk takes so many commits of a retained message, then the node crashes. Whoever is
/// told that the broker has the message does not send it again.
fn retain_in_a_crash(mut node: Node, topic: &str, commits: usize) {
    let (connect, publisher) = lasting(&mut node, 0, "publisher");
    hold_disk(&mut node, true);
    let publish = Publish::new(topic, "kept").qos(2, 7).retain();
    node.publish(publisher, &publish);
    for _ in 0..commits {
        node.settle();
        node.disk.as_mut().unwrap().store(0);
    }
    node.settle();
    let acknowledged = ack(&mut node, publisher).is_some();
    let mut node = node.crash(2);
    let publisher = node.connect(&connect);
    if !acknowledged {
        node.publish(publisher, &publish.clone().dup());
        node.settle();
    }
    let reader = node.client_on(1, "reader");
    let subscribe = packet::subscribe(Version::V5, 1, 0, &[(topic, 1)]);
    node.send(reader, &subscribe);
    node.settle();
    let packets = node.take(reader);
    assert_eq!(packets.len(), 2, "SUBACK and the message: {packets:?}");
}

#[test]
fn a_qos_2_message_keeps_its_packet_identifier_over_a_crash() {
    let mut node = Node::durable(2);
    let (connect, subscriber) = lasting(&mut node, 0, "subscriber");
    node.subscribe(subscriber, "t", 2);
    let publisher = node.client_on(1, "publisher");
    for number in 1..=3_u16 {
        let publish = Publish::new("t", number.to_string());
        node.publish(publisher, &publish.qos(2, number));
    }
    node.settle();
    let sent = node.take_messages(subscriber);
    node.send(subscriber, &packet::pubrec(sent[0].id));
    node.settle();
    let released = Received::PubRel {
        id: sent[0].id,
        reason: 0,
    };
    assert_eq!(node.take(subscriber), std::slice::from_ref(&released));
    let mut node = node.crash(1);
    let subscriber = node.connect(&connect);
    let mut again = node.take(subscriber);
    assert_eq!(again.remove(0), released);
    let again: Vec<(u16, bool)> = again
        .iter()
        .map(|packet| match packet {
            Received::Publish(message) => (message.id, message.dup),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(again, [(sent[1].id, true), (sent[2].id, true)]);
}

#[test]
fn nothing_is_stored_any_more_when_all_is_over() {
    let mut node = Node::durable(2);
    let (connect, subscriber) = lasting(&mut node, 1, "subscriber");
    let (_, other) = lasting(&mut node, 1, "other");
    for client in [subscriber, other] {
        node.subscribe(client, "t", 2);
    }
    let (_, publisher) = lasting(&mut node, 0, "publisher");
    for (qos, id) in [(1, 1), (2, 2)] {
        node.publish(publisher, &Publish::new("t", "x").qos(qos, id));
    }
    node.settle();
    node.send(publisher, &packet::pubrel(2));
    node.settle();
    for client in [subscriber, other] {
        for message in node.take_messages(client) {
            node.acknowledge(client, &message);
        }
    }
    node.settle();
    let counts = node.disk.as_ref().unwrap().counts();
    assert_eq!(counts, [3, 0, 0, 0]);
    node.connect(&Connect::new(&connect.client_id));
    assert_eq!(node.disk.as_ref().unwrap().counts(), [2, 0, 0, 0]);
}

#[test]
fn a_will_goes_out_after_a_crash_exactly_once() {
    for expiry in [0, 3600] {
        let mut node = Node::durable(2);
        let (watcher_connect, watcher) = lasting(&mut node, 1, "watcher");
        node.subscribe(watcher, "will", 1);
        let name = node.name_at(0, "dying");
        let dying = Connect::new(&name).will(Will::new("will", "dead").qos(1));
        node.connect(&dying.expiry(expiry));
        let node = node.crash(2);
        let mut node = node.crash(3);
        let watcher = node.connect(&watcher_connect);
        assert_eq!(node.take_texts(watcher), ["dead"], "expiry {expiry}");
    }
}

#[test]
fn what_cannot_be_stored_is_refused_and_everything_else_goes_on() {
    let mut node = Node::durable(2);
    let (_, subscriber) = lasting(&mut node, 1, "subscriber");
    node.subscribe(subscriber, "stored", 2);
    let publisher = node.client_on(1, "publisher");
    node.subscribe(publisher, "passing", 1);
    let (old, _) = node.connect_at(0, &Connect::new("old").version(Version::V311));
    node.disk.as_mut().unwrap().full = true;
    // The shards hear of it with their next turns.
    for client in [publisher, subscriber] {
        node.send(client, &[0xc0, 0]);
    }
    node.settle();
    node.take(publisher);
    node.publish(publisher, &Publish::new("stored", "x").qos(1, 1));
    node.settle();
    let refused = Received::PubAck {
        id: 1,
        reason: 0x97,
    };
    assert_eq!(ack(&mut node, publisher), Some(refused));
    node.publish(publisher, &Publish::new("passing", "x").qos(1, 2));
    node.settle();
    assert_eq!(node.take(publisher).len(), 2, "the message and PUBACK");
    node.publish(old, &Publish::new("stored", "x").qos(1, 1));
    node.settle();
    assert!(node.is_closed(old), "a 3.1.1 client cannot be told");
    node.disk.as_mut().unwrap().full = false;
    node.send(publisher, &[0xc0, 0]);
    node.settle();
    node.take(publisher);
    node.publish(publisher, &Publish::new("stored", "y").qos(1, 3));
    node.settle();
    let taken = Received::PubAck { id: 3, reason: 0 };
    assert_eq!(ack(&mut node, publisher), Some(taken));
}

#[test]
fn who_waits_for_a_disk_without_room_is_disconnected_and_nobody_else() {
    for shards in [1, 2] {
        let mut node = Node::durable(shards);
        let (connect, subscriber) = lasting(&mut node, shards - 1, "subscriber");
        node.subscribe(subscriber, "stored", 1);
        node.cut(subscriber);
        let (again, publisher) = lasting(&mut node, 0, "publisher");
        let idle = node.client_on(0, "idle");
        hold_disk(&mut node, true);
        node.publish(publisher, &Publish::new("stored", "x").qos(2, 1));
        node.settle();
        for shard in &mut node.shards {
            shard.end_waits();
        }
        node.turn_all();
        let told = Received::Disconnect { reason: 0x97 };
        assert_eq!(ack(&mut node, publisher), Some(told));
        assert!(node.is_closed(publisher) && !node.is_closed(idle));
        // There is room again: the client sends the message again, and it comes once.
        hold_disk(&mut node, false);
        let (publisher, present) = node.connect_at(0, &again);
        assert!(present);
        node.publish(publisher, &Publish::new("stored", "x").qos(2, 1).dup());
        node.settle();
        let taken = Received::PubRec { id: 1, reason: 0 };
        assert_eq!(ack(&mut node, publisher), Some(taken));
        let (subscriber, _) = node.connect_at(shards - 1, &connect);
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["x"]);
    }
}

#[test]
fn a_newer_retained_message_stays_the_newer_one_after_a_crash() {
    let mut node = Node::durable(2);
    let topic = node.name_at(0, "t");
    let (_, subscriber) = lasting(&mut node, 1, "subscriber");
    node.subscribe(subscriber, &topic, 2);
    let (_, first) = lasting(&mut node, 0, "first");
    let (_, second) = lasting(&mut node, 0, "second");
    // The QoS 2 message waits for the other shard while the next one is taken.
    node.hold_ring(0, 1, true);
    for (client, publish) in [
        (first, Publish::new(&topic, "older").qos(2, 1)),
        (second, Publish::new(&topic, "newer").qos(1, 1)),
    ] {
        node.publish(client, &publish.retain());
        node.settle();
    }
    node.hold_ring(0, 1, false);
    node.settle();
    assert!(ack(&mut node, first).is_some() && ack(&mut node, second).is_some());
    let mut node = node.crash(2);
    let reader = node.client_on(1, "reader");
    let subscribe = packet::subscribe(Version::V5, 1, 0, &[(&topic, 1)]);
    node.send(reader, &subscribe);
    node.settle();
    let packets = node.take(reader);
    let Some(Received::Publish(message)) = packets.last() else {
        panic!("a retained message was expected: {packets:?}");
    };
    assert_eq!(message.text(), "newer");
}

#[test]
fn a_delayed_message_that_was_due_while_the_broker_was_away_waits_for_its_subscribers() {
    for shards in [1, 3] {
        let mut node = Node::durable(shards);
        let (connect, subscriber) = lasting(&mut node, shards - 1, "subscriber");
        node.subscribe(subscriber, "t/+", 2);
        let (_, publisher) = lasting(&mut node, 0, "publisher");
        for id in 1..=6 {
            let publish = Publish::new(&format!("$delayed/1/t/{id}"), id.to_string());
            node.publish(publisher, &publish.qos(1, id));
        }
        node.settle();
        assert_eq!(node.take(publisher).len(), 6);
        node.now_ms += 5000;
        let mut node = node.crash(shards);
        let subscriber = node.connect(&connect);
        let mut texts = node.take_texts(subscriber);
        texts.sort();
        assert_eq!(texts, ["1", "2", "3", "4", "5", "6"]);
    }
}

#[test]
fn an_old_client_is_not_told_that_another_shard_stored_what_it_refused() {
    for qos in [1, 2] {
        let mut node = Node::durable(2);
        let (connect, subscriber) = lasting(&mut node, 1, "subscriber");
        node.subscribe(subscriber, "stored", 2);
        node.cut(subscriber);
        let name = node.name_at(0, "old");
        let publisher = node.connect(&Connect::new(&name).version(Version::V311));
        node.disk.as_mut().unwrap().full = true;
        node.turn_all();
        node.publish(publisher, &Publish::new("stored", "x").qos(qos, 1));
        node.settle();
        assert_eq!(ack(&mut node, publisher), None);
        assert!(node.is_closed(publisher));
        let (subscriber, _) = node.connect_at(1, &connect);
        node.settle();
        assert!(node.take_texts(subscriber).is_empty());
    }
}
