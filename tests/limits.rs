//! How many connect and how fast, what they send meanwhile, and what somebody unknown can make
//! the broker hold: by listener and for the node.
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

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use common::broker::{patience, unused_address};
use common::packet::{Connect, variable_byte_integer};
use common::{Broker, Client, Publish, Setup, Version, scenarios};

scenarios! {
    every_version: [
        connections_beyond_the_rate_wait_and_none_is_refused,
        the_node_has_a_rate_for_all_its_listeners_together,
        a_broker_stops_while_connections_wait_to_be_let_in,
        a_listener_takes_no_more_connections_than_it_may,
        a_connect_that_is_too_large_is_refused_when_its_length_is_known,
        a_connect_is_as_large_as_any_packet_may_be_at_most,
    ],
    mqtt311: [
        a_listener_slows_down_its_own_clients_and_no_others,
        bytes_beyond_the_rate_and_the_burst_wait,
        whoever_comes_through_a_limited_listener_is_bound_by_the_node_as_well,
        what_is_held_of_connects_that_never_end_is_bounded,
    ],
}

/// The address of a second listener and the setting that opens it.
fn second_listener() -> (SocketAddr, (&'static str, String)) {
    let address = unused_address();
    (address, ("listeners.tcp.second.bind", address.to_string()))
}

/// Sends CONNECT on connections of their own; nobody waits for an answer.
fn crowd(address: SocketAddr, version: Version, count: usize) -> Vec<Client> {
    let connect = |number| Connect::new(address, version, &format!("client-{number}"));
    (0..count).map(|number| connect(number).send()).collect()
}

fn expect_all_let_in(crowd: Vec<Client>) {
    for mut client in crowd {
        assert_eq!(client.expect_connack().code, 0);
        client.expect_silence_until_pong();
    }
}

/// [`Broker::start`] has connected once.
fn connections_beyond_the_rate_wait_and_none_is_refused(setup: Setup) {
    let (second, bind) = second_listener();
    let broker = setup.broker_with(&[
        ("listeners.tcp.default.max_conn_rate", "10/s"),
        ("listeners.tcp.default.max_conn_burst", "5/1h"),
        (bind.0, &bind.1),
    ]);
    let begun = Instant::now();
    let waiting = crowd(broker.address(), setup.version, 25);
    // Nobody else waits with them.
    let (client, _) = Connect::new(second, setup.version, "other").open();
    client.disconnect();
    expect_all_let_in(waiting);
    assert!(begun.elapsed() >= Duration::from_millis(950));
}

fn the_node_has_a_rate_for_all_its_listeners_together(setup: Setup) {
    let (second, bind) = second_listener();
    let broker = setup.broker_with(&[("mqtt.max_conn_rate", "10/s"), (bind.0, &bind.1)]);
    let begun = Instant::now();
    let waiting = [broker.address(), second].map(|address| crowd(address, setup.version, 10));
    for crowd in waiting {
        for mut client in crowd {
            assert_eq!(client.expect_connack().code, 0);
        }
    }
    assert!(begun.elapsed() >= Duration::from_millis(950));
}

fn a_broker_stops_while_connections_wait_to_be_let_in(setup: Setup) {
    let settings = [("listeners.tcp.default.max_conn_rate", "1/1h")];
    let mut broker = setup.broker_with(&settings);
    let waiting = crowd(broker.address(), setup.version, 10);
    broker.terminate("TERM");
    assert!(broker.wait_for_end(Duration::from_secs(10)).success());
    for mut client in waiting {
        client.expect_closed();
    }
}

/// Tries until there is a place.
fn let_in(broker: &Broker, name: &str) -> Client {
    let deadline = Instant::now() + patience();
    loop {
        let client = broker.connect(name).send();
        if let Some(client) = accepted(client) {
            return client;
        }
        assert!(Instant::now() < deadline, "{name} is not let in");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A client whose CONNECT is accepted, or `None` if its connection was closed instead.
fn accepted(client: Client) -> Option<Client> {
    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    let mut first = [0; 1];
    match client.socket().peek(&mut first) {
        Ok(0) => return None,
        Err(error) if closed.contains(&error.kind()) => return None,
        found => assert_eq!(found.expect("an answer"), 1),
    }
    let mut client = client;
    assert_eq!(client.expect_connack().code, 0);
    Some(client)
}

fn a_listener_takes_no_more_connections_than_it_may(setup: Setup) {
    let (second, bind) = second_listener();
    let broker = setup.broker_with(&[
        ("listeners.tcp.default.max_connections", "3"),
        (bind.0, &bind.1),
    ]);
    let mut clients: Vec<Client> = ["a", "b", "c"].map(|name| let_in(&broker, name)).into();
    for number in 0..20 {
        let name = format!("more-{number}");
        assert!(accepted(broker.connect(&name).send()).is_none());
    }
    let (elsewhere, _) = Connect::new(second, setup.version, "elsewhere").open();
    elsewhere.disconnect();
    clients.remove(1).disconnect();
    clients.push(let_in(&broker, "d"));
    for mut client in clients {
        client.expect_silence_until_pong();
    }
}

/// Publishes messages of so many bytes and says how long it took until all of them came out.
fn flood(publisher: &mut Client, subscriber: &mut Client, count: usize, bytes: usize) -> Duration {
    let begun = Instant::now();
    for number in 0..count {
        let text = format!("{number:0bytes$}");
        publisher.send_publish(&Publish::new("a", text));
    }
    for number in 0..count {
        subscriber.expect_message("a", &format!("{number:0bytes$}"), 0);
    }
    begun.elapsed()
}

fn a_listener_slows_down_its_own_clients_and_no_others(setup: Setup) {
    let (second, bind) = second_listener();
    let broker = setup.broker_with(&[
        (bind.0, &bind.1),
        ("listeners.tcp.second.messages_rate", "20/s"),
        ("listeners.tcp.second.messages_burst", "10/1h"),
    ]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let connect = |name| Connect::new(second, setup.version, name).open().0;
    let (mut slow, mut other) = (connect("slow"), connect("other"));
    // 20 at once, 10 on top, and the rest at the rate.
    let slowed = flood(&mut slow, &mut subscriber, 53, 1);
    assert!(slowed >= Duration::from_millis(950), "{slowed:?}");
    // The rate is that of each client, and of those of the listener only. How long this
    // takes proves nothing; at the rate it would take a minute.
    let own = flood(&mut other, &mut subscriber, 30, 1);
    let free = flood(&mut broker.client("free"), &mut subscriber, 1200, 1);
    assert!(own + free < Duration::from_secs(30), "{own:?} {free:?}");
}

fn bytes_beyond_the_rate_and_the_burst_wait(setup: Setup) {
    let broker = setup.broker_with(&[
        ("listeners.tcp.default.bytes_rate", "20KB/s"),
        ("listeners.tcp.default.bytes_burst", "10KB/1h"),
    ]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let mut publisher = broker.client("publisher");
    let slowed = flood(&mut publisher, &mut subscriber, 53, 1024);
    assert!(slowed >= Duration::from_millis(950), "{slowed:?}");
}

fn whoever_comes_through_a_limited_listener_is_bound_by_the_node_as_well(setup: Setup) {
    let broker = setup.broker_with(&[
        ("listeners.tcp.default.messages_rate", "1000/s"),
        ("mqtt.messages_rate", "20/s"),
    ]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let slowed = flood(&mut broker.client("publisher"), &mut subscriber, 41, 1);
    assert!(slowed >= Duration::from_millis(950), "{slowed:?}");
}

/// The fixed header of a CONNECT of so many bytes, and of the rest as much as `begun` asks for.
fn connect_of(version: Version, size: u32, begun: usize) -> Vec<u8> {
    let name = version.protocol_name().as_bytes();
    let level = match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    };
    let header = [&[0x10][..], &variable_byte_integer(size - 4)].concat();
    let start = [&[0, name.len() as u8], name, &[level, 2, 0, 0]].concat();
    let mut packet = [header, start].concat();
    packet.resize(begun, 0);
    packet
}

fn expect_too_large(setup: Setup, mut client: Client) {
    if setup.version == Version::V5 {
        assert_eq!(client.expect_connack().code, 0x95);
    }
    client.expect_closed();
}

fn a_connect_that_is_too_large_is_refused_when_its_length_is_known(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_connect_size", "20000")]);
    for size in [20_001, 1 << 20, 268_435_455] {
        let mut client = broker.open();
        client.send(&connect_of(setup.version, size, 100));
        expect_too_large(setup, client);
        // Whoever does not say which version it speaks is closed without a word.
        let mut client = broker.open();
        client.send(&connect_of(setup.version, size, 5));
        client.expect_closed();
        // Nor does it help to send on.
        let mut client = broker.open();
        client.send(&connect_of(setup.version, size, 1 << 20));
        client.abandon();
    }
    let mut client = broker.open();
    client.send(&connect_of(setup.version, 20_000, 20_000)[..19_999]);
    client
        .socket()
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let waits = client
        .socket()
        .read(&mut [0])
        .expect_err("nothing is to come");
    assert_eq!(waits.kind(), ErrorKind::WouldBlock);
}

fn a_connect_is_as_large_as_any_packet_may_be_at_most(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_packet_size", "300")]);
    let name = "n".repeat(200);
    broker.client(&name).expect_silence_until_pong();
    let connect = broker.connect(&name).login("user", &[b'p'; 100]);
    expect_too_large(setup, connect.send());
}

/// Half a thousand strangers that never end their CONNECT, sent in pieces.
fn what_is_held_of_connects_that_never_end_is_bounded(setup: Setup) {
    const STRANGERS: usize = 500;
    const LIMIT: u32 = 16 << 10;
    let limit = LIMIT.to_string();
    let broker = setup.broker_with(&[("mqtt.max_connect_size", &limit)]);
    let before = broker.memory_kib("VmRSS");
    let connect = connect_of(setup.version, LIMIT, LIMIT as usize - 1);
    let mut strangers: Vec<_> = (0..STRANGERS).map(|_| broker.open()).collect();
    for piece in connect.chunks(1000) {
        for stranger in &mut strangers {
            stranger.send(piece);
        }
    }
    broker.client("fence").expect_silence_until_pong();
    let held = broker.memory_kib("VmRSS") - before;
    // Beside it the receive buffers of the shards come into use: 4 MiB each.
    let buffers = 4096 * u64::from(setup.shards);
    let most = STRANGERS as u64 * u64::from(2 * LIMIT) / 1024 + buffers + 4096;
    assert!(held < most, "{held} KiB for {STRANGERS} strangers");
}
