//! Delayed publish.

use protocol::wire::Version;

use super::node::{Node, Setup};
use super::packet::{self, Connect, Publish};
use super::received::Received;
use crate::settings::{Delayed, Mqtt};

fn puback(id: u16, reason: u8) -> Received {
    Received::PubAck { id, reason }
}

#[test]
fn a_delayed_message_is_acknowledged_at_once_and_published_when_it_is_due() {
    for shards in [1, 2] {
        let mut node = Node::new(shards);
        let subscriber = node.client_on(shards - 1, "subscriber");
        node.subscribe(subscriber, "a", 1);
        let publisher = node.client_on(0, "publisher");
        let publish = Publish::new("$delayed/10/a", "late").qos(1, 1).expiry(5);
        node.publish(publisher, &publish);
        node.settle();
        assert_eq!(node.take_first(publisher), puback(1, 0));
        node.advance(9_999);
        assert!(node.take(subscriber).is_empty());
        node.advance(1);
        let messages = node.take_messages(subscriber);
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        assert_eq!((&*message.topic, message.text()), ("a", "late"));
        // Its expiry begins when it is published.
        assert_eq!((message.qos, message.expiry_s), (1, Some(5)));
    }
}

#[test]
fn messages_due_at_the_same_time_keep_their_order() {
    let mut node = Node::new(2);
    let subscriber = node.client_on(1, "subscriber");
    node.subscribe(subscriber, "a", 0);
    let publisher = node.client_on(0, "publisher");
    for number in 0..3000 {
        let publish = Publish::new("$delayed/7/a", number.to_string());
        node.publish(publisher, &publish);
    }
    node.advance(7_000);
    let expected: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
    assert_eq!(node.take_texts(subscriber), expected);
}

#[test]
fn a_delayed_message_can_be_retained_and_waits_longer_than_its_publisher() {
    let mut node = Node::new(2);
    let publisher = node.client_on(0, "publisher");
    node.publish(publisher, &Publish::new("$delayed/5/a", "kept").retain());
    node.settle();
    node.close(publisher);
    node.advance(5_000);
    let subscriber = node.client_on(1, "subscriber");
    let packet = packet::subscribe(Version::V5, 1, 0, &[("a", 0)]);
    node.send(subscriber, &packet);
    node.settle();
    let packets = node.take(subscriber);
    let Some(Received::Publish(message)) = packets.last() else {
        panic!("{packets:?}");
    };
    assert_eq!((message.text(), message.retain), ("kept", true));
}

#[test]
fn malformed_delays_and_full_stores_are_refused() {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            delayed: Delayed {
                max_delayed_messages: 1,
                ..Delayed::default()
            },
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let publisher = node.client_on(0, "publisher");
    let old = node.connect(&Connect::new("old").version(Version::V311));
    node.publish(publisher, &Publish::new("$delayed/x/a", "").qos(1, 1));
    node.publish(publisher, &Publish::new("$delayed/5", "").qos(1, 2));
    node.publish(publisher, &Publish::new("$delayed/1/$SYS/a", "").qos(1, 3));
    node.publish(publisher, &Publish::new("$delayed/9/a", "").qos(1, 4));
    node.publish(publisher, &Publish::new("$delayed/9/a", "").qos(1, 5));
    node.settle();
    let expected = [
        puback(1, 0x90),
        puback(2, 0x90),
        puback(3, 0x87),
        puback(4, 0),
        puback(5, 0x97),
    ];
    assert_eq!(node.take(publisher), expected);
    node.publish(old, &Publish::new("$delayed/x/a", "").qos(1, 1));
    node.settle();
    assert!(node.take(old).is_empty() && node.is_closed(old));
    // What was published makes room for another.
    node.advance(9_000);
    node.publish(publisher, &Publish::new("$delayed/9/a", "").qos(1, 6));
    node.settle();
    assert_eq!(node.take_first(publisher), puback(6, 0));
}

#[test]
fn without_delayed_publish_these_are_topics_like_others() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            delayed: Delayed {
                enable: false,
                ..Delayed::default()
            },
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let client = node.connect(&Connect::new("client"));
    node.subscribe(client, "$delayed/#", 0);
    node.publish(client, &Publish::new("$delayed/x/a", "now"));
    node.settle();
    assert_eq!(node.take_texts(client), ["now"]);
}
