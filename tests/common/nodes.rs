//! Brokers that know each other.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Broker, Client, Setup};

/// The nodes beside a broker that clients connect to as well as to it, at random.
#[derive(Default)]
pub(crate) struct Others {
    brokers: Vec<Broker>,
    random: AtomicU64,
}

impl Others {
    /// So many nodes as `SHARDMQ_TEST_NODES` says, with these settings: the first one, with the
    /// others. None if the variable is not set, or the settings say what nodes there are.
    /// `SHARDMQ_TEST_SEED` is what the choice of a node for each connection begins with.
    /// `SHARDMQ_TEST_SUBACK` is their `cluster.suback`: where it is `local`, a test that publishes
    /// through another node right after SUBACK may miss the message.
    pub(crate) fn start(setup: Setup, settings: &[(&str, &str)]) -> Option<Broker> {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let count = number("SHARDMQ_TEST_NODES").filter(|count| *count > 1)?;
        let of_one = ["cluster.", "node.", "listeners.", "data_dir"];
        let is_of_one = |key: &str| of_one.iter().any(|begin| key.starts_with(begin));
        if settings.iter().any(|(key, _)| is_of_one(key)) {
            return None;
        }
        let names = names(count as u8);
        // Each client connects to any of them: what it has subscribed to is to be known everywhere.
        let suback = std::env::var("SHARDMQ_TEST_SUBACK");
        let suback = suback.as_deref().unwrap_or("acked");
        let mut brokers: Vec<Broker> = thread::scope(|scope| {
            let names = &names;
            let started: Vec<_> = names
                .iter()
                .map(|name| {
                    let settings = [settings, &[("cluster.suback", suback)]].concat();
                    scope.spawn(move || node(setup, name, names, &settings))
                })
                .collect();
            let started = started.into_iter();
            started.map(|broker| broker.join().unwrap()).collect()
        });
        let mut first = brokers.remove(0);
        let others = Self {
            brokers,
            random: AtomicU64::new(number("SHARDMQ_TEST_SEED").unwrap_or(1)),
        };
        others.wait_for(&first);
        first.together_with(others);
        Some(first)
    }

    /// Where the next client connects: to one of them, or to `first`.
    pub(crate) fn any(&self, first: SocketAddr) -> SocketAddr {
        if self.brokers.is_empty() {
            return first;
        }
        let random = self.random.load(Ordering::Relaxed);
        // Knuth's MMIX; the upper bits are the good ones.
        let next = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.random.store(next, Ordering::Relaxed);
        let at = (next >> 33) as usize % (self.brokers.len() + 1);
        let other = at.checked_sub(1).map(|at| self.brokers[at].address());
        other.unwrap_or(first)
    }

    /// An address behind which each connection goes to any of them, or to `first`: for clients
    /// that others wrote.
    pub(crate) fn door(&self, first: SocketAddr) -> SocketAddr {
        if self.brokers.is_empty() {
            return first;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let nodes: Vec<SocketAddr> = (0..100).map(|_| self.any(first)).collect();
        thread::spawn(move || {
            for (client, node) in listener.incoming().zip(nodes) {
                let (client, node) = (client.unwrap(), TcpStream::connect(node).unwrap());
                pass(client.try_clone().unwrap(), node.try_clone().unwrap());
                pass(node, client);
            }
        });
        address
    }

    /// The addresses of all of them, and `first`.
    pub(crate) fn all(&self, first: SocketAddr) -> Vec<SocketAddr> {
        let others = self.brokers.iter().map(Broker::address);
        [first].into_iter().chain(others).collect()
    }

    /// Waits until all know each other and let clients in.
    pub(crate) fn wait_for(&self, first: &Broker) {
        let all = || self.brokers.iter().chain([first]);
        let end = Instant::now() + Duration::from_secs(60);
        let are_up = |broker: &Broker| {
            let output = broker.output();
            // Since its last start.
            let output = output.rsplit("is ready").next().unwrap_or_default();
            let nodes = output.lines().filter(|line| line.contains(" is up (in"));
            nodes.count() >= self.brokers.len()
        };
        if self.brokers.is_empty() {
            return;
        }
        while !all().all(|broker| are_up(broker) && broker.lets_in()) {
            assert!(Instant::now() < end, "the nodes do not find each other");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills them.
    pub(crate) fn kill(&mut self) {
        self.brokers.iter_mut().for_each(Broker::kill);
    }

    /// Sends a signal that ends them.
    pub(crate) fn terminate(&mut self, signal: &str) {
        let brokers = self.brokers.iter_mut();
        brokers.for_each(|broker| broker.terminate(signal));
    }

    /// Starts them again.
    pub(crate) fn start_again(&mut self) {
        self.brokers.iter_mut().for_each(Broker::start_again);
    }
}

/// Passes on what comes, to the end of either connection.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    from.set_nodelay(true).unwrap();
    thread::spawn(move || {
        _ = std::io::copy(&mut from, &mut to);
        _ = to.shutdown(Shutdown::Both);
        _ = from.shutdown(Shutdown::Both);
    });
}

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
    Broker::start_alone(setup, &[&settings, more].concat())
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
