//! Clients that send faster than they may.

use super::super::common::{Common, ListenerLimits};
use super::node::{Client, Node, Setup};
use super::packet::{Connect, DISCONNECT, PINGREQ, Publish, Will};
use super::received::Received;
use crate::settings::{Allowance, Listener, Mqtt};

/// A node with limits, a subscriber to everything and a publisher, on two shards.
fn limited(messages: &str, bytes: &str) -> (Node, Client, Client) {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            messages_rate: messages.parse().expect("a rate"),
            bytes_rate: bytes.parse().expect("a rate"),
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let subscriber = node.client_on(0, "subscriber");
    node.subscribe(subscriber, "#", 0);
    let publisher = node.client_on(1, "publisher");
    (node, subscriber, publisher)
}

fn publish(node: &mut Node, publisher: Client, count: usize) {
    for number in 0..count {
        node.publish(publisher, &Publish::new("a", number.to_string()));
    }
}

#[test]
fn messages_above_the_rate_wait_and_none_is_lost() {
    let (mut node, subscriber, publisher) = limited("10/s", "infinity");
    publish(&mut node, publisher, 35);
    node.settle();
    assert_eq!(node.take_messages(subscriber).len(), 10);
    node.advance(1000);
    assert_eq!(node.take_messages(subscriber).len(), 10);
    node.advance(500);
    assert_eq!(node.take_messages(subscriber).len(), 5);
    node.advance(10_000);
    let texts = node.take_texts(subscriber);
    let rest: Vec<String> = (25..35).map(|number: usize| number.to_string()).collect();
    assert_eq!(texts, rest);
}

#[test]
fn bytes_above_the_rate_wait_whatever_the_packets() {
    let (mut node, subscriber, publisher) = limited("infinity", "1000/s");
    let large = "x".repeat(3000);
    node.publish(publisher, &Publish::new("a", &large));
    node.send(publisher, &PINGREQ);
    node.publish(publisher, &Publish::new("a", "behind"));
    node.settle();
    assert_eq!(node.take_texts(subscriber), [large]);
    node.advance(1900);
    assert_eq!(node.take(publisher), []);
    node.advance(200);
    assert_eq!(node.take(publisher), [Received::PingResp]);
    assert_eq!(node.take_texts(subscriber), ["behind"]);
}

/// Of both what holds longer counts, and each burst is on top of its own rate.
#[test]
fn the_limits_of_the_listener_come_beside_those_of_the_node() {
    let allowance = |rate: &str, burst: &str| Allowance {
        rate: rate.parse().expect("a rate"),
        burst: burst.parse().expect("a burst"),
    };
    let listener = Listener {
        name: "default".to_owned(),
        bind: ([127, 0, 0, 1], 1883).into(),
        backlog: 1,
        max_connections: 0,
        connections: Allowance::default(),
        messages: allowance("10/s", "5/1h"),
        bytes: allowance("1MB/s", "0/s"),
    };
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            messages_rate: "12/10s".parse().expect("a rate"),
            messages_burst: "8/1h".parse().expect("a burst"),
            ..Mqtt::default()
        },
        common: Common {
            listeners: ListenerLimits::new(&[listener]),
            ..Setup::default().common
        },
        ..Setup::default()
    });
    let subscriber = node.client_on(0, "subscriber");
    node.subscribe(subscriber, "#", 0);
    let publisher = node.client_on(1, "publisher");
    publish(&mut node, publisher, 40);
    node.settle();
    // The listener's rate and burst.
    assert_eq!(node.take_messages(subscriber).len(), 15);
    node.advance(999);
    // The node's rate and burst, less what is gone; a part of one counts as one.
    let second = node.take_messages(subscriber).len();
    assert!((6..=8).contains(&second), "{second}");
    node.advance(10_000);
    let third = node.take_messages(subscriber).len();
    assert!((11..=13).contains(&third), "{third}");
}

#[test]
fn one_client_that_is_too_fast_does_not_slow_down_another() {
    let (mut node, subscriber, publisher) = limited("10/s", "infinity");
    let other = node.client_on(1, "other");
    publish(&mut node, publisher, 100);
    node.settle();
    publish(&mut node, other, 10);
    node.settle();
    assert_eq!(node.take_messages(subscriber).len(), 20);
}

#[test]
fn a_client_that_waits_is_not_closed_for_its_silence() {
    let (mut node, subscriber, _) = limited("1/10s", "infinity");
    let name = node.name_at(1, "alive");
    let client = node.connect(&Connect::new(&name).keep_alive(2));
    publish(&mut node, client, 5);
    node.advance(15_000);
    assert!(!node.is_closed(client));
    assert_eq!(node.take_messages(subscriber).len(), 3);
}

#[test]
fn what_a_client_has_sent_before_it_went_does_not_wait() {
    let (mut node, subscriber, _) = limited("1/h", "infinity");
    let name = node.name_at(1, "leaving");
    let will = Will::new("will", "gone");
    let client = node.connect(&Connect::new(&name).will(will));
    publish(&mut node, client, 5);
    node.send(client, &DISCONNECT);
    node.settle();
    assert_eq!(node.take_messages(subscriber).len(), 1);
    node.close(client);
    node.settle();
    assert_eq!(node.take_texts(subscriber), ["1", "2", "3", "4"]);
    node.cut(subscriber);
    node.settle();
}
