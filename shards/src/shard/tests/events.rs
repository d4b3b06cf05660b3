//! `$events` topics.

use protocol::wire::Version;

use super::super::Common;
use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish};
use crate::settings::{Events, Mqtt, SysTopics};

fn node_with(shards: u16, events: Events, mqtt: Mqtt) -> Node {
    let mut node = Node::with(Setup {
        shards,
        mqtt,
        common: Common {
            node: "n@h".into(),
            sys_topics: SysTopics {
                sys_msg_interval_s: 0,
                sys_heartbeat_interval_s: 0,
            },
            events,
            ..Common::default()
        },
        ..Setup::default()
    });
    for shard in &mut node.shards {
        shard.set_time_of_day(1_700_000_000_000);
    }
    node
}

fn node(shards: u16) -> Node {
    node_with(shards, Events::default(), Mqtt::default())
}

/// A client on the last shard that subscribes to events.
fn watcher(node: &mut Node, filter: &str) -> Client {
    let watcher = node.client_on(node.shards.len() as u16 - 1, "watcher");
    node.send(
        watcher,
        &packet::subscribe(Version::V5, 1, 0, &[(filter, 0)]),
    );
    node.settle();
    node.take(watcher);
    watcher
}

/// The events that have come: topic without `$events/`, and message.
fn events(node: &mut Node, watcher: Client) -> Vec<(String, String)> {
    let messages = node.take_messages(watcher).into_iter();
    let pairs = messages.map(|message| {
        let topic = message.topic.strip_prefix("$events/").map(str::to_owned);
        (topic.expect("an event"), message.text().to_owned())
    });
    pairs.collect()
}

fn topics(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(topic, _)| &**topic).collect()
}

fn reason(event: &str) -> &str {
    let (_, rest) = event.split_once("\"reason\":\"").expect("a reason");
    rest.split_once('"').expect("its end").0
}

#[test]
fn the_life_of_a_client_is_told() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let watcher = watcher(&mut node, "$events/+/+");
        let client = node.connect(&Connect::new("c").expiry(5).keep_alive(60));
        node.subscribe(client, "$share/g/a", 1);
        node.send(
            client,
            &packet::unsubscribe(Version::V5, 2, &["$share/g/a", "other"]),
        );
        node.send(client, &[0xc0, 0]);
        node.send(client, &packet::disconnect(0, None));
        node.settle();
        let events = events(&mut node, watcher);
        let expected = [
            "client/connack",
            "client/connected",
            "session/subscribed",
            "session/unsubscribed",
            "client/ping",
            "client/disconnected",
        ];
        assert_eq!(topics(&events), expected);
        let about = "\"timestamp\":1700000000000,\"node\":\"n@h\"";
        let who = "\"clientid\":\"c\",\"username\":null,\"peername\":\"192.0.2.1:10001\"";
        let protocol = "\"proto_name\":\"MQTT\",\"proto_ver\":5";
        let connected = format!(
            "{{\"event\":\"client.connected\",{about},{who},{protocol},\"keepalive\":60,\
             \"clean_start\":true,\"receive_maximum\":65535,\"expiry_interval\":5,\
             \"connected_at\":1700000000000}}"
        );
        assert_eq!(events[1].1, connected);
        let subscribed = format!(
            "{{\"event\":\"session.subscribed\",{about},{who},\"topic\":\"$share/g/a\",\"qos\":1}}"
        );
        assert_eq!(events[2].1, subscribed);
        let disconnected = format!(
            "{{\"event\":\"client.disconnected\",{about},{who},{protocol},\"reason\":\"normal\",\
             \"connected_at\":1700000000000,\"disconnected_at\":1700000000000}}"
        );
        assert_eq!(events[5].1, disconnected);
    }
}

#[test]
fn every_end_of_a_connection_has_its_reason() {
    let mut node = node(2);
    let watcher = watcher(&mut node, "$events/client/disconnected");
    let silent = node.connect(&Connect::new("silent").keep_alive(10));
    node.advance(15_000);
    assert!(node.is_closed(silent));
    let broken = node.connect(&Connect::new("broken"));
    node.cut(broken);
    node.settle();
    let wrong = node.connect(&Connect::new("wrong"));
    node.send(wrong, &[0xf0, 0xff, 0xff, 0xff, 0xff]);
    node.settle();
    node.connect(&Connect::new("taken").resume());
    node.connect(&Connect::new("taken").resume());
    node.connect(&Connect::new("taken"));
    let events = events(&mut node, watcher);
    let reasons: Vec<_> = events.iter().map(|(_, text)| reason(text)).collect();
    let expected = [
        "keepalive_timeout",
        "tcp_closed",
        "malformed_packet",
        "takenover",
        "discarded",
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn a_message_is_told_when_it_is_delivered_and_acknowledged() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let watcher = watcher(&mut node, "$events/message/#");
        let connect = Connect::new("receiver").expiry(100);
        let receiver = node.connect(&connect);
        node.subscribe(receiver, "a", 2);
        let publisher = node.client_on(0, "publisher");
        for qos in 0..=2 {
            node.publish(
                publisher,
                &Publish::new("a", [b'0' + qos, 0xff]).qos(qos, 1),
            );
            node.settle();
            for message in node.take_messages(receiver) {
                node.acknowledge(receiver, &message);
                node.settle();
            }
        }
        let events = events(&mut node, watcher);
        let (delivered, acked) = ("message/delivered", "message/acked");
        let expected = [delivered, delivered, acked, delivered, acked];
        assert_eq!(topics(&events), expected);
        for (event, qos) in events.iter().zip(["0", "1", "1", "2", "2"]) {
            assert!(event.1.contains("\"clientid\":\"receiver\""), "{event:?}");
            assert!(event.1.contains("\"topic\":\"a\""), "{event:?}");
            assert!(event.1.contains(&format!("\"qos\":{qos}")), "{event:?}");
            let payload = ["MP8=", "Mf8=", "Mv8="][usize::from(qos.as_bytes()[0] - b'0')];
            let payload = format!("\"payload\":\"{payload}\",\"payload_encoding\":\"base64\"");
            assert!(event.1.contains(&payload), "{event:?}");
        }
    }
}

#[test]
fn a_message_from_the_queue_is_told_too() {
    let mut node = node(2);
    let watcher = watcher(&mut node, "$events/message/delivered");
    let connect = Connect::new("receiver").resume().expiry(100);
    let receiver = node.connect(&connect);
    node.subscribe(receiver, "a", 1);
    node.cut(receiver);
    node.settle();
    let publisher = node.client_on(0, "publisher");
    node.publish(publisher, &Publish::new("a", "x").qos(1, 1));
    node.settle();
    assert_eq!(events(&mut node, watcher), []);
    node.connect(&connect);
    assert_eq!(events(&mut node, watcher).len(), 1);
}

#[test]
fn what_is_dropped_is_told_with_the_reason() {
    for shards in [1, 3] {
        let mqtt = Mqtt {
            max_mqueue_len: 1,
            max_topic_levels: 4,
            ..Mqtt::default()
        };
        let mut node = node_with(shards, Events::default(), mqtt);
        let watcher = watcher(&mut node, "$events/message/#");
        let connect = Connect::new("receiver").resume().expiry(100);
        let receiver = node.connect(&connect);
        node.subscribe(receiver, "a", 1 | 4);
        let publisher = node.client_on(0, "publisher");
        node.publish(publisher, &Publish::new("nobody", "x"));
        node.publish(publisher, &Publish::new("1/2/3/4/5", "x").qos(1, 1));
        node.publish(publisher, &Publish::new("$SYS/a", "x").qos(1, 2));
        node.publish(receiver, &Publish::new("a", "own"));
        node.settle();
        node.cut(receiver);
        node.settle();
        node.publish(publisher, &Publish::new("a", "queued").qos(1, 3).expiry(1));
        node.publish(publisher, &Publish::new("a", "full").qos(1, 4));
        node.settle();
        node.advance(1000);
        node.connect(&connect);
        let events = events(&mut node, watcher);
        let found = events.iter().map(|(topic, text)| (&**topic, reason(text)));
        let mut found: Vec<_> = found.collect();
        found.sort_unstable();
        let (dropped, undelivered) = ("message/dropped", "message/delivery_dropped");
        let expected = [
            (undelivered, "expired"),
            (undelivered, "no_local"),
            (undelivered, "queue_full"),
            (dropped, "no_subscribers"),
            (dropped, "topic_name_invalid"),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn the_former_names_are_kept() {
    let mut node = node(2);
    let watcher = watcher(&mut node, "$events/client_connected");
    node.connect(&Connect::new("c"));
    assert_eq!(topics(&events(&mut node, watcher)), ["client_connected"]);
}

#[test]
fn an_event_that_is_off_is_not_told() {
    let off = Events {
        client_connected: false,
        ..Events::default()
    };
    let mut node = node_with(2, off, Mqtt::default());
    let watcher = watcher(&mut node, "$events/#");
    node.connect(&Connect::new("c"));
    assert_eq!(topics(&events(&mut node, watcher)), ["client/connack"]);
}

#[test]
fn events_raise_no_events_and_hide_from_leading_wildcards() {
    let mut node = node(2);
    let watcher = watcher(&mut node, "$events/message/#");
    let other = node.client_on(0, "other");
    node.subscribe(other, "#", 0);
    node.subscribe(other, "+/+/+", 0);
    node.publish(other, &Publish::new("a", "x"));
    node.settle();
    assert_eq!(node.take_texts(other), ["x"]);
    assert_eq!(topics(&events(&mut node, watcher)), ["message/delivered"]);
}

#[test]
fn nobody_listens_any_more_when_the_listener_is_gone() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let watcher = watcher(&mut node, "$events/#");
        node.cut(watcher);
        node.settle();
        assert!(!node.shards[0].common.interest.in_events());
    }
}

#[test]
fn a_refused_connect_is_told() {
    let mut node = node(2);
    let watcher = watcher(&mut node, "$events/client/connack");
    let client = node.open(0, Version::V311);
    node.send(
        client,
        &Connect::new("").version(Version::V311).resume().encode(),
    );
    node.settle();
    let events = events(&mut node, watcher);
    assert_eq!(events.len(), 1);
    let reason = "\"reason_code\":\"client_identifier_not_valid\"";
    assert!(events[0].1.contains(reason), "{events:?}");
}
