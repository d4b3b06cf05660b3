//! `$SYS` topics.

use std::collections::BTreeMap;

use super::super::Common;
use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish, Will};
use super::received::{Delivery, Received};
use crate::settings::{Mqtt, SysEventMessages, SysTopics};

/// A node that says about itself what it can.
fn node(shards: u16) -> Node {
    let mut node = Node::with(Setup {
        shards,
        mqtt: Mqtt {
            max_retained_messages: 1,
            ..Mqtt::default()
        },
        common: Common {
            node: "n@h".into(),
            sys_topics: SysTopics::default(),
            sys_event_messages: SysEventMessages {
                client_subscribed: true,
                client_unsubscribed: true,
                ..SysEventMessages::default()
            },
            ..Common::default()
        },
        ..Setup::default()
    });
    for shard in &mut node.shards {
        shard.set_time_of_day(1_700_000_000_000);
    }
    node.settle();
    node
}

/// A client that subscribes to everything under `$SYS`, on the last shard. Also gives the
/// retained messages that it gets.
fn watcher(node: &mut Node) -> (Client, Vec<Delivery>) {
    let watcher = node.client_on(node.shards.len() as u16 - 1, "watcher");
    let packet = packet::subscribe(protocol::wire::Version::V5, 1, 0, &[("$SYS/#", 0)]);
    node.send(watcher, &packet);
    node.settle();
    let messages = node
        .take(watcher)
        .into_iter()
        .filter_map(|packet| match packet {
            Received::Publish(message) => Some(message),
            Received::SubAck { .. } => None,
            other => panic!("expected messages and SUBACK, got {other:?}"),
        });
    let messages = messages.filter(|message| !message.topic.contains("/clients/"));
    (watcher, messages.collect())
}

fn by_topic(messages: Vec<Delivery>) -> BTreeMap<String, String> {
    let text = |message: &Delivery| message.text().to_owned();
    let pairs = messages
        .iter()
        .map(|message| (message.topic.clone(), text(message)));
    pairs.collect()
}

#[test]
fn what_does_not_change_is_retained_and_beside_the_limit() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let (_, messages) = watcher(&mut node);
        assert!(messages.iter().all(|message| message.retain));
        let expected = [
            ("$SYS/brokers", "n@h"),
            ("$SYS/brokers/n@h/sysdescr", "ShardMQ"),
            ("$SYS/brokers/n@h/version", env!("CARGO_PKG_VERSION")),
        ];
        let expected = expected.map(|(topic, text)| (topic.to_owned(), text.to_owned()));
        assert_eq!(by_topic(messages), expected.into());
        let client = node.client_on(0, "client");
        node.publish(client, &Publish::new("a", "kept").retain().qos(1, 1));
        node.settle();
        let Received::PubAck { reason, .. } = node.take_first(client) else {
            panic!("no PUBACK");
        };
        assert_eq!(reason, 0x10, "no subscriber, but retained");
    }
}

#[test]
fn uptime_and_time_come_at_each_heartbeat_and_numbers_at_each_interval() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let (watcher, _) = watcher(&mut node);
        node.advance(29_999);
        assert_eq!(node.take_messages(watcher), []);
        node.advance(1);
        let heartbeat = by_topic(node.take_messages(watcher));
        let expected = [
            ("$SYS/brokers/n@h/datetime", "2023-11-14T22:13:50.000+00:00"),
            ("$SYS/brokers/n@h/uptime", "30000"),
        ];
        let expected = expected.map(|(topic, text)| (topic.to_owned(), text.to_owned()));
        assert_eq!(heartbeat, expected.into());
        let other = node.client_on(0, "other");
        node.publish(other, &Publish::new("nobody", "x"));
        node.close(other);
        node.advance(30_000);
        let numbers = by_topic(node.take_messages(watcher));
        for (name, expected) in [
            ("stats/connections/count", "1"),
            ("stats/connections/max", "1"),
            ("stats/sessions/count", "1"),
            ("stats/subscriptions/count", "1"),
            ("metrics/messages/qos0/received", "1"),
            ("metrics/messages/dropped/no_subscribers", "1"),
            ("metrics/client/connected", "2"),
            ("metrics/client/disconnected", "1"),
        ] {
            let topic = format!("$SYS/brokers/n@h/{name}");
            let found = numbers.get(&topic).map(String::as_str);
            assert_eq!(found, Some(expected), "{name} in {numbers:?}");
        }
    }
}

#[test]
fn the_highest_number_of_connections_is_remembered() {
    let mut node = node(2);
    let others: Vec<_> = (0..5).map(|_| node.client_on(0, "other")).collect();
    node.advance(1000);
    // They had the same name: each took over from the one before.
    assert_eq!(others.len(), 5);
    let names: Vec<_> = (0..4)
        .map(|number| Connect::new(&format!("c{number}")))
        .collect();
    let clients: Vec<_> = names.iter().map(|connect| node.connect(connect)).collect();
    node.advance(1000);
    for client in clients {
        node.close(client);
    }
    node.settle();
    let (watcher, _) = watcher(&mut node);
    node.advance(60_000);
    let numbers = by_topic(node.take_messages(watcher));
    assert_eq!(numbers["$SYS/brokers/n@h/stats/connections/count"], "2");
    assert_eq!(numbers["$SYS/brokers/n@h/stats/connections/max"], "5");
}

#[test]
fn what_clients_do_is_said_with_emqx_fields() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let (watcher, _) = watcher(&mut node);
        node.take(watcher);
        let client = node.connect(&Connect::new("c").expiry(5).keep_alive(60));
        node.subscribe(client, "a/+", 1);
        let version = protocol::wire::Version::V5;
        node.send(client, &packet::unsubscribe(version, 2, &["a/+"]));
        node.send(client, &packet::disconnect(0, None));
        node.settle();
        let messages = node.take_messages(watcher);
        let texts: Vec<_> = messages.iter().map(|m| (&*m.topic, m.text())).collect();
        let about = "\"clientid\":\"c\",\"username\":\"undefined\"";
        let place = "\"ipaddress\":\"192.0.2.1\",\"sockport\":1883,\"protocol\":\"mqtt\"";
        let protocol = "\"proto_name\":\"MQTT\",\"proto_ver\":5";
        let times = "\"connected_at\":1700000000000,\"ts\":1700000000000";
        let connected = format!(
            "{{{about},{place},{protocol},{times},\"keepalive\":60,\"clean_start\":true,\
             \"expiry_interval\":5000}}"
        );
        let subscribed = format!(
            "{{{about},\"protocol\":\"mqtt\",\"topic\":\"a/+\",\"ts\":1700000000000,\
             \"subopts\":{{\"qos\":1,\"rh\":0,\"rap\":0,\"nl\":0}}}}"
        );
        let unsubscribed =
            format!("{{{about},\"protocol\":\"mqtt\",\"topic\":\"a/+\",\"ts\":1700000000000}}");
        let disconnected = format!(
            "{{{about},{place},{protocol},{times},\"reason\":\"normal\",\
             \"disconnected_at\":1700000000000}}"
        );
        let expected = [
            ("$SYS/brokers/n@h/clients/c/connected", &*connected),
            ("$SYS/brokers/n@h/clients/c/subscribed", &subscribed),
            ("$SYS/brokers/n@h/clients/c/unsubscribed", &unsubscribed),
            ("$SYS/brokers/n@h/clients/c/disconnected", &disconnected),
        ];
        assert_eq!(texts, expected);
    }
}

#[test]
fn a_client_whose_name_is_no_part_of_a_topic_is_not_spoken_of() {
    let mut node = node(2);
    let (watcher, _) = watcher(&mut node);
    node.take(watcher);
    let client = node.connect(&Connect::new("a+b"));
    node.cut(client);
    node.settle();
    assert_eq!(node.take_messages(watcher), []);
}

#[test]
fn no_client_publishes_there() {
    for topic in ["$SYS/brokers", "$events/client/connected"] {
        let mut node = node(2);
        let client = node.client_on(0, "client");
        node.publish(client, &Publish::new(topic, "x").qos(1, 1));
        node.settle();
        let packets = node.take(client);
        let refused = |packet: &Received| matches!(packet, Received::PubAck { reason: 0x87, .. });
        assert!(packets.iter().any(refused), "{packets:?}");
        let connect = Connect::new("w").will(Will::new(topic, "x"));
        let other = node.open(0, protocol::wire::Version::V5);
        node.send(other, &connect.encode());
        node.settle();
        let answer = node.take_first(other);
        assert!(
            matches!(answer, Received::ConnAck { reason: 0x87, .. }),
            "{answer:?}"
        );
    }
}
