//! From a publisher on one shard to subscribers on others.

use protocol::wire::Version;

use super::node::{Node, Setup};
use super::packet::{self, Connect, Publish};
use super::received::Received;
use crate::settings::Mqtt;

/// SUBSCRIBE option: No Local.
const NO_LOCAL: u8 = 4;
/// SUBSCRIBE option: Retain As Published.
const RETAIN_AS_PUBLISHED: u8 = 8;

#[test]
fn a_message_reaches_subscribers_on_every_shard_once() {
    for filter in ["room/light", "room/+", "#"] {
        let mut node = Node::new(4);
        let subscribers: Vec<usize> = (0..4).map(|shard| node.client_on(shard, "s")).collect();
        for subscriber in &subscribers {
            node.subscribe(*subscriber, filter, 2);
        }
        for (shard, qos) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
            let publisher = node.client_on(shard, "p");
            let text = format!("from {shard}");
            node.publish(publisher, &Publish::new("room/light", &text).qos(qos, 1));
            node.settle();
            for subscriber in &subscribers {
                let messages = node.take_messages(*subscriber);
                assert_eq!(messages.len(), 1, "{filter} from {shard}");
                assert_eq!((messages[0].text(), messages[0].qos), (&text[..], qos));
            }
        }
    }
}

#[test]
fn suback_waits_for_the_route() {
    let mut node = Node::new(2);
    let subscriber = node.client_on(0, "s");
    node.hold_routes(true);
    let subscribe = packet::subscribe(Version::V5, 9, 0, &[("a/+", 1), ("b", 0)]);
    node.send(subscriber, &subscribe);
    node.settle();
    assert_eq!(node.take(subscriber), []);
    node.hold_routes(false);
    node.settle();
    let suback = Received::SubAck {
        id: 9,
        codes: vec![1, 0],
    };
    assert_eq!(node.take(subscriber), [suback]);
}

#[test]
fn what_is_published_on_another_shard_after_suback_arrives() {
    for seed in 0..50 {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let publisher = node.client_on(0, "p");
        let subscriber = node.client_on(1, "s");
        // Others subscribe at the same time: their routes are under way too.
        for n in 0..5 {
            let other = node.client_on(n % 3, &format!("other-{n}"));
            node.send(other, &packet::subscribe(Version::V5, 1, 0, &[("a", 0)]));
        }
        node.send(
            subscriber,
            &packet::subscribe(Version::V5, 1, 0, &[("a", 0)]),
        );
        while node.take(subscriber).is_empty() {
            assert!(node.step(), "SUBACK does not come");
        }
        node.publish(publisher, &Publish::new("a", "x"));
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["x"], "seed {seed}");
    }
}

#[test]
fn a_second_subscriber_waits_for_the_route_of_the_first() {
    let mut node = Node::new(2);
    let (first, second) = (node.client_on(0, "first"), node.client_on(0, "second"));
    node.hold_routes(true);
    for client in [first, second] {
        node.send(client, &packet::subscribe(Version::V5, 1, 0, &[("a", 0)]));
        node.settle();
    }
    assert_eq!(node.take(second), []);
    node.hold_routes(false);
    node.settle();
    assert_eq!(node.take(second).len(), 1);
}

#[test]
fn a_message_behind_a_subscribe_comes_back_to_the_client() {
    for seed in 0..20 {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let client = node.connect(&Connect::new("client"));
        node.send(client, &packet::subscribe(Version::V5, 1, 0, &[("a", 0)]));
        node.send(client, &packet::subscribe(Version::V5, 2, 0, &[("b", 0)]));
        node.publish(client, &Publish::new("a", "x"));
        node.send(client, &packet::unsubscribe(Version::V5, 3, &["a"]));
        node.publish(client, &Publish::new("a", "y"));
        node.publish(client, &Publish::new("b", "z"));
        node.settle();
        let packets = node.take(client);
        let kinds: Vec<String> = packets.iter().map(kind).collect();
        let expected = ["suback 1", "suback 2", "x", "unsuback 3", "z"];
        assert_eq!(kinds, expected, "seed {seed}");
    }
}

fn kind(packet: &Received) -> String {
    match packet {
        Received::SubAck { id, .. } => format!("suback {id}"),
        Received::UnsubAck { id, .. } => format!("unsuback {id}"),
        Received::Publish(delivery) => delivery.text().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_publisher_is_heard_in_order_through_every_shard() {
    for seed in 0..20 {
        let mut node = Node::with(Setup {
            seed,
            ring_batches: 2,
            ..Setup::default()
        });
        let subscribers: Vec<usize> = (0..3).map(|shard| node.client_on(shard, "s")).collect();
        for subscriber in &subscribers {
            node.subscribe(*subscriber, "a", 1);
        }
        let publisher = node.client_on(0, "p");
        let texts: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
        for (id, text) in (1..).zip(&texts) {
            node.publish(publisher, &Publish::new("a", text).qos(1, id));
            node.step();
        }
        node.settle();
        for subscriber in subscribers {
            assert_eq!(node.take_texts(subscriber), texts, "seed {seed}");
        }
    }
}

#[test]
fn nothing_arrives_after_unsubscribe_and_the_route_goes() {
    let mut node = Node::new(2);
    let (first, second) = (node.client_on(1, "first"), node.client_on(1, "second"));
    let publisher = node.client_on(0, "p");
    for client in [first, second] {
        node.subscribe(client, "a/#", 0);
    }
    for client in [first, second] {
        node.send(client, &packet::unsubscribe(Version::V5, 5, &["a/#", "b"]));
        node.settle();
        let unsuback = Received::UnsubAck {
            id: 5,
            codes: vec![0, 0x11],
        };
        assert_eq!(node.take(client), [unsuback]);
        node.publish(publisher, &Publish::new("a/b", "x"));
        node.settle();
        assert_eq!(node.take(first), []);
        let expected: &[&str] = if client == first { &["x"] } else { &[] };
        assert_eq!(node.take_texts(second), expected);
    }
    assert!(node.routes.index.as_ref().unwrap().is_empty());
}

#[test]
fn a_publisher_that_wants_no_local_does_not_hear_itself_wherever_the_other_is() {
    let mut node = Node::new(2);
    let (first, second) = (node.client_on(0, "c"), node.client_on(1, "c"));
    for client in [first, second] {
        node.subscribe(client, "a", NO_LOCAL);
    }
    node.publish(first, &Publish::new("a", "1"));
    node.publish(second, &Publish::new("a", "2"));
    node.settle();
    assert_eq!(node.take_texts(first), ["2"]);
    assert_eq!(node.take_texts(second), ["1"]);
}

#[test]
fn overlapping_subscriptions_bring_one_message_with_all_their_identifiers() {
    let mut node = Node::new(2);
    let subscriber = node.client_on(1, "s");
    let filters = [("a/b", 0, 7), ("a/+", 2, 8), ("#", 1, 9)];
    for (filter, qos, identifier) in filters {
        let packet = packet::subscribe(Version::V5, 1, identifier, &[(filter, qos)]);
        node.send(subscriber, &packet);
        node.settle();
        node.take(subscriber);
    }
    for home in 0..2 {
        let publisher = node.client_on(home, "p");
        node.publish(publisher, &Publish::new("a/b", "x").qos(2, 1));
        node.settle();
        let mut messages = node.take_messages(subscriber);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].qos, 2);
        messages[0].identifiers.sort_unstable();
        assert_eq!(messages[0].identifiers, [7, 8, 9]);
    }
}

#[test]
fn the_retain_flag_stays_only_where_that_was_asked_for() {
    let mut node = Node::new(2);
    let plain = node.client_on(1, "plain");
    let as_published = node.client_on(1, "as-published");
    node.subscribe(plain, "a", 0);
    node.subscribe(as_published, "a", RETAIN_AS_PUBLISHED);
    let publisher = node.client_on(0, "p");
    node.publish(publisher, &Publish::new("a", "x").retain());
    node.settle();
    assert!(!node.take_messages(plain)[0].retain);
    assert!(node.take_messages(as_published)[0].retain);
}

#[test]
fn a_message_expiry_counts_down_across_shards() {
    let mut node = Node::new(2);
    let name = node.name_at(1, "s");
    let connect = Connect::new(&name).resume().expiry(1000);
    let subscriber = node.connect(&connect);
    node.subscribe(subscriber, "a", 1);
    node.cut(subscriber);
    node.settle();
    let publisher = node.client_on(0, "p");
    for (id, expiry) in [(1, 10), (2, 20), (3, 21)] {
        let message = Publish::new("a", expiry.to_string()).qos(1, id);
        node.publish(publisher, &message.expiry(expiry));
    }
    node.advance(19_500);
    let subscriber = node.connect(&connect);
    let messages = node.take_messages(subscriber);
    let left: Vec<_> = messages.iter().map(|m| (m.text(), m.expiry_s)).collect();
    assert_eq!(left, [("20", Some(1)), ("21", Some(2))]);
}

#[test]
fn a_client_may_not_pile_up_subscribes_while_routes_wait() {
    let mut node = Node::new(2);
    let client = node.client_on(0, "client");
    node.hold_routes(true);
    for number in 0..70_000_u32 {
        let id = (number % 60_000) as u16 + 1;
        let packet = packet::subscribe(Version::V5, id, 0, &[("a", 0)]);
        node.send(client, &packet);
    }
    node.settle();
    let tickets = node.shards[0].tickets.len();
    assert!(tickets <= 1024, "{tickets} tickets");
    assert!(node.waiting_input(client) > 0);
    node.hold_routes(false);
    node.settle();
    assert_eq!(node.take(client).len(), 70_000);
}

#[test]
fn a_client_with_all_its_subscriptions_can_replace_them() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            max_subscriptions: 2,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let client = node.client_on(0, "client");
    let filters = ["a", "$share/g/b", "c", "a", "$share/g/b", "$share/g/c"];
    let filters = filters.map(|filter| (filter, 1));
    node.send(client, &packet::subscribe(Version::V5, 1, 0, &filters));
    node.settle();
    let codes = vec![1, 1, 0x97, 1, 1, 0x97];
    assert_eq!(node.take(client), [Received::SubAck { id: 1, codes }]);
}
