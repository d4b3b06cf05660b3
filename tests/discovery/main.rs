//! Brokers that find each other: through a real etcd, a real DNS server, and a server that speaks
//! the API of Kubernetes. Where etcd or dnsmasq is not installed those tests say that they were
//! skipped, or fail where `SHARDMQ_REQUIRE_CLIENTS=1` is set.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each file of tests uses a part of it"
)]
#[path = "../common/mod.rs"]
mod common;
mod dns;
mod etcd;
mod kubernetes;

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Broker, Setup, Version};

const SETUP: Setup = Setup {
    version: Version::V5,
    shards: 1,
};

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is, or nothing: then the test is skipped, unless it must not be.
fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        let required = std::env::var("SHARDMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
        assert!(!required, "{name} must be there");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    static NUMBER: AtomicU16 = AtomicU16::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let pid = std::process::id();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{pid}-{number}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A TCP port of 127.0.0.1 that is free.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// A UDP port that is free on all these hosts.
fn free_udp_port(hosts: &[&str]) -> u16 {
    loop {
        let first = UdpSocket::bind((hosts[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if hosts[1..]
            .iter()
            .all(|host| UdpSocket::bind((*host, port)).is_ok())
        {
            return port;
        }
    }
}

/// A broker whose links are at a host and port.
fn node(host: &str, port: u16, settings: &[(&str, &str)]) -> Broker {
    let name = format!("node@{host}");
    let port = port.to_string();
    let own = [
        ("node.name", name.as_str()),
        ("node.cookie", "the cookie of this test"),
        ("cluster.bind", port.as_str()),
    ];
    SETUP.broker_with(&[&own, settings].concat())
}

/// What is published on each of them reaches subscribers on all others.
fn expect_messages(brokers: &[Broker]) {
    for (to, there) in brokers.iter().enumerate() {
        let mut subscriber = there.client(&format!("subscriber-{to}"));
        subscriber.subscribe(&format!("to/{to}/#"), 1);
        for (from, here) in brokers.iter().enumerate().filter(|(from, _)| *from != to) {
            let mut publisher = here.client(&format!("publisher-{from}-{to}"));
            let topic = format!("to/{to}/from/{from}");
            wait_for(&topic, || {
                publisher.publish(&topic, "text", 1);
                let came = subscriber.messages_until_pong();
                came.iter().for_each(|message| subscriber.complete(message));
                came.iter().any(|message| message.topic == topic)
            });
        }
    }
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < end, "{what}: did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

/// How often the log has a text.
fn said(broker: &Broker, text: &str) -> usize {
    broker.output().matches(text).count()
}

fn wait_for_output(broker: &Broker, text: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    while said(broker, text) == 0 {
        assert!(Instant::now() < end, "no {text:?} in:\n{}", broker.output());
        thread::sleep(Duration::from_millis(20));
    }
}
