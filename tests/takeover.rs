//! Sessions that follow their client from node to node.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use common::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL, acknowledge};
use common::{Broker, Client, Publish, Setup, Will, scenarios};

scenarios! {
    mqtt311_and_5: [
        what_is_queued_follows_the_client,
        what_was_in_flight_follows_with_its_identifiers_and_dup,
        a_clean_start_on_another_node_discards_the_session,
        a_client_goes_on_when_the_node_that_had_its_session_is_killed,
    ],
    mqtt5: [
        the_will_of_a_client_that_moves_goes_out_once,
        a_thousand_queued_messages_follow_at_once,
    ],
}

/// Nodes that know each other.
fn cluster(setup: Setup, count: u8) -> Vec<Broker> {
    let sockets: Vec<UdpSocket> = (1..=count)
        .map(|node| UdpSocket::bind((format!("127.0.0.{node}"), 0)).unwrap())
        .collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
    let names: Vec<String> = addresses.map(|address| format!("node@{address}")).collect();
    drop(sockets);
    let seeds = names.join(",");
    // Of two, one is no majority.
    let policy = if count == 2 { "serve_local" } else { "fence" };
    let brokers: Vec<Broker> = names
        .iter()
        .map(|name| {
            setup.broker_with(&[
                ("node.name", name),
                ("cluster.discovery_strategy", "static"),
                ("cluster.static.seeds", &seeds),
                ("cluster.partition_policy", policy),
            ])
        })
        .collect();
    for (number, broker) in brokers.iter().enumerate() {
        let mut watcher = broker.client("watcher");
        watcher.subscribe("probe", 1);
        for other in brokers.iter().filter(|other| other.pid() != broker.pid()) {
            let mut publisher = other.client(&format!("prober-{number}"));
            wait_for_route(&mut publisher, &mut watcher, "probe");
        }
    }
    brokers
}

/// Publishes until the message reaches the subscriber, which has a subscription to the topic.
fn wait_for_route(publisher: &mut Client, subscriber: &mut Client, topic: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        publisher.publish(topic, "probe", 1);
        let came = subscriber.messages_until_pong();
        if !came.is_empty() {
            came.iter().for_each(|message| subscriber.complete(message));
            return;
        }
        assert!(Instant::now() < end, "{topic} has no route");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A client whose session is kept on a node, and is away.
fn away(broker: &Broker, publisher: &mut Client, topic: &str) {
    let (mut client, _) = broker.connect("mover").persistent().open();
    client.subscribe(topic, 2);
    wait_for_route(publisher, &mut client, topic);
    client.disconnect();
}

/// Connects to the session on another node.
fn follow(broker: &Broker) -> Client {
    let (client, connack) = broker.connect("mover").persistent().open();
    connack.expect_session();
    client
}

fn what_is_queued_follows_the_client(setup: Setup) {
    let brokers = cluster(setup, 3);
    let mut publisher = brokers[2].client("publisher");
    away(&brokers[0], &mut publisher, "t");
    for number in 0..30 {
        publisher.publish("t", number.to_string(), 1 + number % 2);
    }
    let mut client = follow(&brokers[1]);
    for number in 0..30 {
        client.expect_message("t", &number.to_string(), 1 + number % 2);
    }
    // What is published while a session moves may come twice.
    thread::sleep(Duration::from_secs(1));
    publisher.publish("t", "later", 2);
    client.expect_message("t", "later", 2);
    // And back.
    client.disconnect();
    publisher.publish("t", "again", 1);
    let mut client = follow(&brokers[0]);
    client.expect_message("t", "again", 1);
}

fn what_was_in_flight_follows_with_its_identifiers_and_dup(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut publisher = brokers[1].client("publisher");
    away(&brokers[0], &mut publisher, "t");
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("from/mover", 2);
    let mut client = follow(&brokers[0]);
    for (text, qos) in [("one", 1), ("two", 2), ("three", 2)] {
        publisher.publish("t", text, qos);
    }
    let ids: Vec<u16> = ["one", "two", "three"]
        .map(|text| {
            let message = client.expect_publish();
            assert_eq!(message.payload, text.as_bytes());
            message.id
        })
        .to_vec();
    // Half-way in both directions.
    client.send(&acknowledge(PUBREC, ids[1]));
    assert_eq!(client.expect_acknowledgement(PUBREL).0, ids[1]);
    let mut prober = brokers[0].client("another publisher");
    wait_for_route(&mut prober, &mut subscriber, "from/mover");
    let sent = Publish::new("from/mover", "once").qos(2, 77);
    client.send_publish(&sent);
    assert_eq!(client.expect_acknowledgement(PUBREC).0, 77);

    let mut moved = follow(&brokers[1]);
    let one = moved.expect_publish();
    assert_eq!((one.id, one.dup), (ids[0], true));
    assert_eq!(moved.expect_acknowledgement(PUBREL).0, ids[1]);
    let three = moved.expect_publish();
    assert_eq!((three.id, three.dup), (ids[2], true));
    moved.send_publish(&sent.dup());
    assert_eq!(moved.expect_acknowledgement(PUBREC).0, 77);
    moved.send(&acknowledge(PUBREL, 77));
    assert_eq!(moved.expect_acknowledgement(PUBCOMP).0, 77);
    moved.send(&acknowledge(PUBACK, one.id));
    subscriber.expect_message("from/mover", "once", 2);
    subscriber.expect_silence_until_pong();
}

fn a_clean_start_on_another_node_discards_the_session(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut publisher = brokers[1].client("publisher");
    away(&brokers[0], &mut publisher, "t");
    publisher.publish("t", "nobody gets this", 1);
    let (client, connack) = brokers[1].connect("mover").open();
    connack.expect_no_session();
    client.disconnect();
    let (mut client, connack) = brokers[0].connect("mover").persistent().open();
    connack.expect_no_session();
    client.expect_silence_until_pong();
}

fn a_client_goes_on_when_the_node_that_had_its_session_is_killed(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let mut publisher = brokers[2].client("publisher");
    away(&brokers[0], &mut publisher, "t");
    publisher.publish("t", "lost with its node", 1);
    brokers[0].kill();
    let end = Instant::now() + Duration::from_secs(20);
    while !brokers[1].output().contains("is down") {
        assert!(Instant::now() < end, "{}", brokers[1].output());
        thread::sleep(Duration::from_millis(20));
    }
    let (mut client, connack) = brokers[1].connect("mover").persistent().open();
    connack.expect_no_session();
    client.subscribe("t", 1);
    wait_for_route(&mut publisher, &mut client, "t");
    publisher.publish("t", "goes on", 1);
    client.expect_message("t", "goes on", 1);
}

fn the_will_of_a_client_that_moves_goes_out_once(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut watcher = brokers[0].client("watcher");
    watcher.subscribe("will", 1);
    let mut publisher = brokers[1].client("publisher");
    wait_for_route(&mut publisher, &mut watcher, "will");
    let connect = |broker: &Broker, delay| {
        let will = Will::new("will", &format!("after {delay} s")).qos(1);
        let connect = broker.connect("mover").persistent();
        connect.will(will.delay(delay)).open().0
    };
    let mut first = connect(&brokers[0], 0);
    let mut second = connect(&brokers[1], 1);
    // It is told why, and its will goes out as it has no delay.
    assert_eq!(first.expect_packet().first, 0xE0);
    watcher.expect_message("will", "after 0 s", 1);
    // This one waits, and is forgotten when the client is back.
    let third = connect(&brokers[0], 1);
    assert_eq!(second.expect_packet().first, 0xE0);
    thread::sleep(Duration::from_millis(1500));
    watcher.expect_silence_until_pong();
    third.abandon();
    watcher.expect_message("will", "after 1 s", 1);
    thread::sleep(Duration::from_millis(500));
    watcher.expect_silence_until_pong();
}

fn a_thousand_queued_messages_follow_at_once(setup: Setup) {
    const MESSAGES: u32 = 1000;
    let brokers = cluster(setup, 3);
    let mut publisher = brokers[2].client("publisher");
    away(&brokers[0], &mut publisher, "t");
    for number in 0..MESSAGES {
        publisher.publish("t", number.to_string(), 1);
    }
    let begin = Instant::now();
    let mut client = follow(&brokers[1]);
    let connected = begin.elapsed();
    for number in 0..MESSAGES {
        client.expect_message("t", &number.to_string(), 1);
    }
    println!(
        "{MESSAGES} queued messages: CONNACK after {connected:?}, all of them after {:?}",
        begin.elapsed()
    );
}
