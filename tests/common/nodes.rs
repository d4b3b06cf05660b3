//! Brokers that know each other.

use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{Broker, Client, Setup};

/// Names of nodes with addresses and ports of their own.
pub(crate) fn names(count: u8) -> Vec<String> {
    let sockets: Vec<UdpSocket> = (1..=count)
        .map(|node| UdpSocket::bind((format!("127.0.0.{node}"), 0)).unwrap())
        .collect();
    let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap());
    addresses.map(|address| format!("node@{address}")).collect()
}

/// The broker that has a name, among all that do.
pub(crate) fn node(setup: Setup, name: &str, names: &[String], more: &[(&str, &str)]) -> Broker {
    let seeds = names.join(",");
    let settings = [
        ("node.name", name),
        ("cluster.discovery_strategy", "static"),
        ("cluster.static.seeds", &seeds),
    ];
    setup.broker_with(&[&settings, more].concat())
}

/// Two nodes go on without each other: neither alone is a majority.
pub(crate) fn cluster(setup: Setup, count: u8) -> Vec<Broker> {
    let policy = if count == 2 { "serve_local" } else { "fence" };
    cluster_with(setup, count, &[("cluster.partition_policy", policy)])
}

/// Brokers with these settings.
pub(crate) fn cluster_with(setup: Setup, count: u8, more: &[(&str, &str)]) -> Vec<Broker> {
    let names = names(count);
    let brokers = names.iter().map(|name| node(setup, name, &names, more));
    brokers.collect()
}

/// Publishes until the message reaches the subscriber, which has a subscription to the topic.
pub(crate) fn wait_for_route(publisher: &mut Client, subscriber: &mut Client, topic: &str) {
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

/// Waits until a broker has logged something.
pub(crate) fn wait_for_output(broker: &Broker, text: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while !broker.output().contains(text) {
        assert!(Instant::now() < end, "no {text:?} in:\n{}", broker.output());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to a broker.
pub(crate) fn signal(broker: &Broker, signal: &str) {
    let pid = broker.pid().to_string();
    let status = Command::new("kill").args([signal, &pid]).status();
    assert!(status.unwrap().success());
}
