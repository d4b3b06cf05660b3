//! `$SYS` topics of the real broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use std::collections::BTreeMap;

use common::{Broker, Client, Publish, Setup, scenarios};

scenarios! {
    every_version: [what_does_not_change_is_retained],
    mqtt311_and_5: [numbers_are_those_of_the_whole_node, clients_come_and_go],
    mqtt5: [nobody_else_publishes_there],
}

const INTERVALS: [(&str, &str); 2] = [
    ("sys_topics.sys_msg_interval_s", "1"),
    ("sys_topics.sys_heartbeat_interval_s", "1"),
];

/// One broker, whatever the environment says: this is about the name and the numbers of one node.
fn one(setup: Setup, settings: &[(&str, &str)]) -> Broker {
    Broker::start_alone(setup, settings)
}

fn what_does_not_change_is_retained(setup: Setup) {
    let broker = one(setup, &[]);
    let mut client = broker.client("client");
    client.subscribe("$SYS/brokers/+/version", 0);
    let message = client.expect_publish();
    assert_eq!(message.topic, "$SYS/brokers/shardmq@127.0.0.1/version");
    assert_eq!(message.payload, env!("CARGO_PKG_VERSION").as_bytes());
    assert!(message.retain);
    client.subscribe("$SYS/brokers", 0);
    assert_eq!(client.expect_publish().payload, b"shardmq@127.0.0.1");
    client.expect_silence_until_pong();
}

/// The next message of each topic under `$SYS/brokers/<node>/` until there is one of each of
/// these.
fn wait_for(client: &mut Client, names: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while !names.iter().all(|name| found.contains_key(*name)) {
        let message = client.expect_publish();
        let topic = message
            .topic
            .strip_prefix("$SYS/brokers/shardmq@127.0.0.1/");
        if let Some(topic) = topic {
            let payload = String::from_utf8(message.payload.clone()).unwrap();
            found.insert(topic.to_owned(), payload);
        }
    }
    found
}

fn numbers_are_those_of_the_whole_node(setup: Setup) {
    let broker = one(setup, &INTERVALS);
    let mut clients: Vec<_> = (0..8).map(|n| broker.client(&format!("c{n}"))).collect();
    for client in &mut clients {
        client.subscribe("a", 0);
    }
    clients[0].send_publish(&Publish::new("a", b"x"));
    for client in &mut clients {
        client.expect_publish();
    }
    let mut watcher = broker.client("watcher");
    watcher.subscribe("$SYS/brokers/+/metrics/messages/qos0/received", 0);
    watcher.subscribe("$SYS/brokers/+/metrics/bytes/received", 0);
    watcher.subscribe("$SYS/brokers/+/stats/+/+", 0);
    watcher.subscribe("$SYS/brokers/+/uptime", 0);
    watcher.subscribe("$SYS/brokers/+/datetime", 0);
    let names = [
        "uptime",
        "datetime",
        "metrics/messages/qos0/received",
        "metrics/bytes/received",
        "stats/connections/max",
        "stats/subscriptions/count",
    ];
    let found = wait_for(&mut watcher, &names);
    let number = |name: &str| found[name].parse::<u64>().unwrap();
    assert_eq!(number("metrics/messages/qos0/received"), 1);
    assert_eq!(number("stats/connections/max"), 9);
    assert!(number("stats/subscriptions/count") > 8);
    assert!(number("metrics/bytes/received") > 8 * 20);
    assert!(number("uptime") > 0);
    let datetime = &found["datetime"];
    assert!(
        datetime.ends_with("+00:00") && datetime.len() == 29,
        "{datetime}"
    );
}

fn clients_come_and_go(setup: Setup) {
    let broker = one(setup, &[]);
    let mut watcher = broker.client("watcher");
    watcher.subscribe("$SYS/brokers/+/clients/#", 0);
    for number in 0..4 {
        let name = format!("c{number}");
        broker.client(&name).disconnect();
        let connected = watcher.expect_publish();
        let topic = "$SYS/brokers/shardmq@127.0.0.1/clients";
        assert_eq!(connected.topic, format!("{topic}/{name}/connected"));
        let json: serde_json::Value = serde_json::from_slice(&connected.payload).unwrap();
        assert_eq!(json["clientid"], *name);
        assert_eq!(json["proto_ver"], setup.version as u8);
        assert_eq!(json["sockport"], broker.address().port());
        let host = json["ipaddress"].as_str().unwrap();
        assert!(host.starts_with("127."), "{host}");
        let disconnected = watcher.expect_publish();
        assert_eq!(disconnected.topic, format!("{topic}/{name}/disconnected"));
        let json: serde_json::Value = serde_json::from_slice(&disconnected.payload).unwrap();
        assert_eq!(json["reason"], "normal");
        let (from, to) = (&json["connected_at"], &json["disconnected_at"]);
        assert!(from.as_u64() > Some(1_700_000_000_000) && to.as_u64() >= from.as_u64());
    }
}

fn nobody_else_publishes_there(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    for topic in ["$SYS/brokers", "$events/client/connected"] {
        let id = client.next_id();
        client.send_publish(&Publish::new(topic, b"x").qos(1, id));
        assert_eq!(client.expect_acknowledgement(0x40), (id, 0x87));
    }
}
