//! `$events` topics of the real broker.
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

use std::time::{Duration, Instant};

use common::{Client, Publish, Setup, nodes, scenarios};
use serde_json::Value;

scenarios! {
    every_version: [clients_and_their_messages_are_told],
    mqtt5: [
        an_event_that_is_off_is_not_told,
        an_event_is_told_on_other_nodes,
    ],
}

fn event(watcher: &mut Client) -> (String, Value) {
    let message = watcher.expect_publish();
    let json = serde_json::from_slice(&message.payload).unwrap();
    (message.topic, json)
}

fn clients_and_their_messages_are_told(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = broker.client("watcher");
    for filter in ["$events/client/#", "$events/session/+", "$events/message/+"] {
        watcher.subscribe(filter, 0);
    }
    // The watcher's own subscriptions are told to it.
    while event(&mut watcher).1["topic"] != "$events/message/+" {}
    for number in 0..4 {
        let name = format!("c{number}");
        let mut client = broker.client(&name);
        client.subscribe("a/+", 1);
        let id = client.next_id();
        client.send_publish(&Publish::new("a/b", b"x").qos(1, id));
        for _ in 0..2 {
            let packet = client.expect_packet();
            if packet.first & 0xf0 == 0x30 {
                let at = 2 + "a/b".len();
                let id = [packet.body[at], packet.body[at + 1]];
                client.send(&[0x40, 2, id[0], id[1]]);
            }
        }
        client.expect_silence_until_pong();
        client.disconnect();
        let mut topics = Vec::new();
        loop {
            let (topic, json) = event(&mut watcher);
            assert_eq!(json["clientid"], *name, "{json}");
            if broker.is_alone() {
                assert_eq!(json["node"], "shardmq@127.0.0.1");
            }
            let peer = json["peername"].as_str().unwrap();
            assert!(peer.starts_with("127."), "{peer}");
            topics.push(topic.clone());
            if topic == "$events/client/disconnected" {
                break;
            }
        }
        let expected = [
            "$events/client/connack",
            "$events/client/connected",
            "$events/session/subscribed",
            "$events/message/delivered",
            "$events/message/acked",
            "$events/client/ping",
            "$events/client/disconnected",
        ];
        assert_eq!(topics, expected);
    }
}

fn an_event_that_is_off_is_not_told(setup: Setup) {
    let broker = setup.broker_with(&[("events.client_connected", "false")]);
    let mut watcher = broker.client("watcher");
    watcher.subscribe("$events/client/#", 0);
    broker.client("c").disconnect();
    assert_eq!(event(&mut watcher).0, "$events/client/connack");
    assert_eq!(event(&mut watcher).0, "$events/client/disconnected");
}

fn an_event_is_told_on_other_nodes(setup: Setup) {
    let brokers = nodes::cluster(setup, 2);
    let mut watcher = brokers[0].client("watcher");
    watcher.subscribe("$events/client/connected", 0);
    // The other node hears of the subscription later.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        brokers[1].client("elsewhere").disconnect();
        let told = watcher.messages_until_pong();
        let payloads = told.iter().map(|event| &event.payload);
        let mut json = payloads.map(|json| serde_json::from_slice::<Value>(json).unwrap());
        if json.any(|json| json["clientid"] == "elsewhere") {
            break;
        }
        assert!(Instant::now() < end, "nothing is told of another node");
    }
}
