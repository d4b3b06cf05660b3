//! What a publisher is told, and when.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish};
use super::received::Received;
use crate::settings::Mqtt;

/// PUBACK, PUBREC and PUBCOMP with their reasons, in the order in which they came.
fn acks(node: &mut Node, client: Client) -> Vec<(&'static str, u16, u8)> {
    let packets = node.take(client).into_iter();
    packets
        .map(|packet| match packet {
            Received::PubAck { id, reason } => ("puback", id, reason),
            Received::PubRec { id, reason } => ("pubrec", id, reason),
            Received::PubComp { id, reason } => ("pubcomp", id, reason),
            other => panic!("an acknowledgement was expected, not {other:?}"),
        })
        .collect()
}

/// A publisher on shard 0 and a subscriber on each other shard, to the topic `far/N`.
fn publisher_and_subscribers(shards: u16) -> (Node, Client, Vec<Client>) {
    let mut node = Node::new(shards);
    let publisher = node.client_on(0, "publisher");
    let subscribers: Vec<Client> = (1..shards)
        .map(|shard| {
            let subscriber = node.client_on(shard, "subscriber");
            node.subscribe(subscriber, &format!("far/{shard}"), 2);
            node.subscribe(subscriber, "everywhere", 2);
            subscriber
        })
        .collect();
    (node, publisher, subscribers)
}

#[test]
fn puback_waits_until_the_other_shard_has_accepted() {
    for (qos, kind) in [(1, "puback"), (2, "pubrec")] {
        let (mut node, publisher, subscribers) = publisher_and_subscribers(2);
        node.hold_ring(0, 1, true);
        node.publish(publisher, &Publish::new("far/1", "x").qos(qos, 5));
        node.settle();
        assert_eq!(acks(&mut node, publisher), []);
        node.hold_ring(0, 1, false);
        node.settle();
        assert_eq!(acks(&mut node, publisher), [(kind, 5, 0)]);
        assert_eq!(node.take_texts(subscribers[0]), ["x"]);
    }
}

#[test]
fn puback_waits_for_every_shard_that_gets_the_message() {
    let (mut node, publisher, _) = publisher_and_subscribers(4);
    for shard in [1, 2, 3] {
        node.hold_ring(0, shard, true);
    }
    node.publish(publisher, &Publish::new("everywhere", "x").qos(1, 5));
    for shard in [3, 1, 2] {
        node.settle();
        assert_eq!(acks(&mut node, publisher), []);
        node.hold_ring(0, shard, false);
    }
    node.settle();
    assert_eq!(acks(&mut node, publisher), [("puback", 5, 0)]);
}

#[test]
fn acknowledgements_keep_the_order_of_the_messages() {
    let (mut node, publisher, _) = publisher_and_subscribers(3);
    node.hold_ring(0, 1, true);
    let sent = [
        ("far/1", 1, 1),
        ("nobody", 1, 2),
        ("far/2", 2, 3),
        ("nobody", 2, 4),
    ];
    for (topic, qos, id) in sent {
        node.publish(publisher, &Publish::new(topic, "x").qos(qos, id));
    }
    node.settle();
    assert_eq!(acks(&mut node, publisher), []);
    node.hold_ring(0, 1, false);
    node.settle();
    let expected = [
        ("puback", 1, 0),
        ("puback", 2, 0x10),
        ("pubrec", 3, 0),
        ("pubrec", 4, 0x10),
    ];
    assert_eq!(acks(&mut node, publisher), expected);
}

#[test]
fn pings_are_answered_while_acknowledgements_wait() {
    let (mut node, publisher, _) = publisher_and_subscribers(2);
    node.hold_ring(0, 1, true);
    node.publish(publisher, &Publish::new("far/1", "x").qos(1, 1));
    node.send(publisher, &packet::PINGREQ);
    node.settle();
    assert_eq!(node.take(publisher), [Received::PingResp]);
}

#[test]
fn an_acknowledgement_does_not_go_to_the_next_client_on_the_same_key() {
    let (mut node, publisher, _) = publisher_and_subscribers(2);
    node.hold_ring(0, 1, true);
    node.publish(publisher, &Publish::new("far/1", "x").qos(1, 1));
    node.settle();
    node.cut(publisher);
    node.settle();
    let name = node.name_at(0, "next");
    let (next, _) = node.connect_at(0, &Connect::new(&name));
    node.hold_ring(0, 1, false);
    node.settle();
    assert_eq!(acks(&mut node, next), []);
}

#[test]
fn a_qos_2_message_sent_twice_is_delivered_and_answered_once() {
    let (mut node, publisher, subscribers) = publisher_and_subscribers(2);
    node.hold_ring(0, 1, true);
    node.publish(publisher, &Publish::new("far/1", "x").qos(2, 5));
    node.publish(publisher, &Publish::new("far/1", "x").qos(2, 5).dup());
    node.settle();
    node.hold_ring(0, 1, false);
    node.settle();
    assert_eq!(acks(&mut node, publisher), [("pubrec", 5, 0)]);
    assert_eq!(node.take_texts(subscribers[0]), ["x"]);
}

#[test]
fn a_qos_2_message_sent_again_after_a_reconnect_is_not_delivered_again() {
    let mut node = Node::new(2);
    let subscriber = node.client_on(1, "subscriber");
    node.subscribe(subscriber, "a", 2);
    let name = node.name_at(0, "publisher");
    let connect = Connect::new(&name).resume().expiry(100);
    let publisher = node.connect(&connect);
    node.publish(publisher, &Publish::new("a", "x").qos(2, 5));
    node.settle();
    node.cut(publisher);
    node.settle();
    let publisher = node.connect(&connect);
    node.publish(publisher, &Publish::new("a", "x").qos(2, 5).dup());
    node.settle();
    assert_eq!(acks(&mut node, publisher), [("pubrec", 5, 0)]);
    for reason in [0, 0x92] {
        node.send(publisher, &packet::pubrel(5));
        node.settle();
        assert_eq!(acks(&mut node, publisher), [("pubcomp", 5, reason)]);
    }
    node.publish(publisher, &Publish::new("a", "y").qos(2, 5));
    node.settle();
    assert_eq!(node.take_texts(subscriber), ["x", "y"]);
}

/// A node that lets a client send three messages before they are acknowledged, and a
/// publisher whose acknowledgements wait.
fn narrow() -> (Node, Client) {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            receive_maximum: 3,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let subscriber = node.client_on(1, "subscriber");
    node.subscribe(subscriber, "a", 2);
    let publisher = node.client_on(0, "publisher");
    node.hold_ring(0, 1, true);
    (node, publisher)
}

#[test]
fn one_message_more_than_the_receive_maximum_ends_the_connection() {
    for qos in [1, 2] {
        let (mut node, publisher) = narrow();
        for id in 1..=4 {
            node.publish(publisher, &Publish::new("a", "x").qos(qos, id));
        }
        node.settle();
        assert_eq!(
            node.take(publisher),
            [Received::Disconnect { reason: 0x93 }]
        );
    }
}

#[test]
fn a_qos_2_message_counts_until_it_is_complete() {
    let (mut node, publisher) = narrow();
    node.hold_ring(0, 1, false);
    for id in 1..=3 {
        node.publish(publisher, &Publish::new("a", "x").qos(2, id));
        node.settle();
    }
    assert_eq!(acks(&mut node, publisher).len(), 3);
    node.send(publisher, &packet::pubrel(2));
    node.settle();
    assert_eq!(acks(&mut node, publisher), [("pubcomp", 2, 0)]);
    node.publish(publisher, &Publish::new("a", "x").qos(2, 4));
    node.settle();
    assert_eq!(acks(&mut node, publisher), [("pubrec", 4, 0)]);
    node.publish(publisher, &Publish::new("a", "x").qos(2, 5));
    node.settle();
    assert_eq!(
        node.take(publisher),
        [Received::Disconnect { reason: 0x93 }]
    );
}

#[test]
fn a_client_of_3_1_1_gets_bare_acknowledgements() {
    let mut node = Node::new(2);
    let publisher = node.connect(&Connect::new("p").version(Version::V311));
    node.publish(publisher, &Publish::new("nobody", "x").qos(1, 1));
    node.publish(publisher, &Publish::new("$SYS/x", "x").qos(1, 2));
    node.settle();
    let expected = [("puback", 1, 0), ("puback", 2, 0)];
    assert_eq!(acks(&mut node, publisher), expected);
}

#[test]
fn as_many_messages_as_the_receive_maximum_may_wait() {
    for qos in [1, 2] {
        let (mut node, publisher) = narrow();
        for id in 1..=3 {
            node.publish(publisher, &Publish::new("a", "x").qos(qos, id));
        }
        node.settle();
        node.hold_ring(0, 1, false);
        node.settle();
        assert_eq!(acks(&mut node, publisher).len(), 3, "QoS {qos}");
    }
}
