//! Exclusive subscriptions: one session on the node has a filter for itself.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, DISCONNECT, Publish};
use super::received::Received;
use crate::settings::Mqtt;

/// Topics, so that every shard knows who has some of them.
const TOPICS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn ask(node: &mut Node, client: Client, filter: &str) {
    let version = node.sockets[client].version;
    node.send(client, &packet::subscribe(version, 5, 0, &[(filter, 1)]));
}

/// The reason code of a SUBSCRIBE.
fn subscribe(node: &mut Node, client: Client, filter: &str) -> u8 {
    ask(node, client, filter);
    node.settle();
    code(node, client)
}

fn code(node: &mut Node, client: Client) -> u8 {
    match node.take_first(client) {
        Received::SubAck { id: 5, codes } => codes[0],
        other => panic!("{other:?}"),
    }
}

fn unsubscribe(node: &mut Node, client: Client, filter: &str) -> u8 {
    let version = node.sockets[client].version;
    node.send(client, &packet::unsubscribe(version, 6, &[filter]));
    node.settle();
    match node.take_first(client) {
        Received::UnsubAck { id: 6, codes } => codes[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_session_has_a_filter_for_itself_until_it_does_not_want_it() {
    for topic in TOPICS {
        let mut node = Node::new(3);
        let filter = format!("$exclusive/{topic}");
        let (first, second) = (node.client_on(0, "first"), node.client_on(1, "second"));
        let name = node.name_at(2, "old");
        let old = node.connect(&Connect::new(&name).version(Version::V311));
        assert_eq!(subscribe(&mut node, first, &filter), 1);
        assert_eq!(subscribe(&mut node, first, &filter), 1, "the holder again");
        assert_eq!(subscribe(&mut node, second, &filter), 0x97);
        assert_eq!(subscribe(&mut node, old, &filter), 0x80);
        // Others may have the filter as well, but not for themselves.
        assert_eq!(subscribe(&mut node, second, topic), 1);
        let publisher = node.client_on(2, "publisher");
        node.publish(publisher, &Publish::new(topic, "x").qos(1, 1));
        node.settle();
        for client in [first, second] {
            let messages = node.take_messages(client);
            assert_eq!(messages.len(), 1, "{topic}");
            assert_eq!(messages[0].topic, topic);
        }
        assert_eq!(unsubscribe(&mut node, first, topic), 0x11, "another name");
        assert_eq!(unsubscribe(&mut node, second, &filter), 0x11);
        assert_eq!(unsubscribe(&mut node, first, &filter), 0);
        assert_eq!(subscribe(&mut node, old, &filter), 1);
        assert_eq!(subscribe(&mut node, first, &filter), 0x97);
        node.send(old, &DISCONNECT);
        node.settle();
        assert_eq!(subscribe(&mut node, first, &filter), 1, "{topic}");
        for client in [first, second, publisher] {
            node.cut(client);
        }
        node.settle();
        node.assert_empty();
    }
}

#[test]
fn of_many_that_ask_at_once_one_gets_the_filter() {
    for seed in 0..30 {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let clients: Vec<Client> = (0..9)
            .map(|number| node.client_on(number % 3, &format!("client-{number}")))
            .collect();
        for client in &clients {
            ask(&mut node, *client, "$exclusive/a");
        }
        node.settle();
        let codes = clients.iter().map(|client| code(&mut node, *client));
        let mut codes: Vec<u8> = codes.collect();
        codes.sort_unstable();
        assert_eq!(codes, [1, 0x97, 0x97, 0x97, 0x97, 0x97, 0x97, 0x97, 0x97]);
    }
}

#[test]
fn a_filter_stays_with_a_session_whose_client_is_away() {
    for topic in TOPICS {
        let mut node = Node::new(3);
        let filter = format!("$exclusive/{topic}");
        let name = node.name_at(1, "away");
        let connect = Connect::new(&name).resume().expiry(100);
        let away = node.connect(&connect);
        assert_eq!(subscribe(&mut node, away, &filter), 1);
        node.cut(away);
        node.settle();
        let other = node.client_on(0, "other");
        assert_eq!(subscribe(&mut node, other, &filter), 0x97);
        node.publish(other, &Publish::new(topic, "x").qos(1, 1));
        node.settle();
        node.take(other);
        let (away, present) = node.connect_at(2, &connect);
        assert!(present);
        assert_eq!(node.take_texts(away), ["x"]);
        node.cut(away);
        node.advance(101_000);
        assert_eq!(subscribe(&mut node, other, &filter), 1, "{topic}");
    }
}

#[test]
fn a_filter_that_is_granted_to_a_session_that_is_gone_is_free() {
    for topic in TOPICS {
        let mut node = Node::new(2);
        let filter = format!("$exclusive/{topic}");
        let client = node.client_on(0, "client");
        node.hold_ring(1, 0, true);
        ask(&mut node, client, &filter);
        node.settle();
        node.cut(client);
        node.settle();
        node.hold_ring(1, 0, false);
        node.settle();
        let other = node.client_on(1, "other");
        assert_eq!(subscribe(&mut node, other, &filter), 1, "{topic}");
    }
}

#[test]
fn suback_waits_for_the_route_and_retained_messages_come_behind_it() {
    for topic in TOPICS {
        let mut node = Node::new(3);
        let publisher = node.client_on(2, "publisher");
        node.publish(publisher, &Publish::new(topic, "kept").qos(1, 1).retain());
        node.settle();
        let client = node.client_on(0, "client");
        node.hold_routes(true);
        ask(&mut node, client, &format!("$exclusive/{topic}"));
        node.settle();
        assert_eq!(node.take(client), [], "{topic}");
        node.hold_routes(false);
        node.settle();
        let packets = node.take(client);
        assert!(matches!(packets[0], Received::SubAck { .. }), "{packets:?}");
        assert!(matches!(&packets[1], Received::Publish(m) if m.text() == "kept"));
        assert_eq!(packets.len(), 2);
    }
}

#[test]
fn a_plain_subscription_takes_the_place_of_an_exclusive_one_and_the_other_way() {
    for topic in TOPICS {
        let mut node = Node::new(2);
        let filter = format!("$exclusive/{topic}");
        let (client, other) = (node.client_on(0, "client"), node.client_on(1, "other"));
        assert_eq!(subscribe(&mut node, client, &filter), 1);
        assert_eq!(subscribe(&mut node, client, topic), 1);
        assert_eq!(subscribe(&mut node, other, &filter), 1, "{topic} is free");
        assert_eq!(subscribe(&mut node, client, &filter), 0x97);
        assert_eq!(unsubscribe(&mut node, client, topic), 0, "{topic} is kept");
        assert_eq!(subscribe(&mut node, other, topic), 1);
        assert_eq!(subscribe(&mut node, client, &filter), 1);
        node.publish(client, &Publish::new(topic, "x"));
        node.settle();
        assert_eq!(node.take_texts(client), ["x"]);
    }
}

#[test]
fn exclusive_subscriptions_can_be_switched_off() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            exclusive_subscription: false,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let client = node.client_on(0, "client");
    assert_eq!(subscribe(&mut node, client, "$exclusive/a"), 0x8f);
}

#[test]
fn the_limit_of_subscriptions_holds_for_filters_asked_for_at_once() {
    let mut node = Node::with(Setup {
        mqtt: Mqtt {
            max_subscriptions: 4,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let client = node.client_on(0, "client");
    let filters = TOPICS.map(|topic| format!("$exclusive/{topic}"));
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    node.send(client, &packet::subscribe(Version::V5, 5, 0, &filters));
    node.settle();
    let Received::SubAck { codes, .. } = node.take_first(client) else {
        panic!("no SUBACK");
    };
    let refused = codes.iter().filter(|code| **code == 0x97).count();
    assert_eq!(refused, 2, "{codes:?}");
    node.cut(client);
    node.settle();
    node.assert_empty();
}
