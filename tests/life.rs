//! Life and death of the process, and what it may cost: starts and ends, floods,
//! connections that come and go, idleness.
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

use std::io::{ErrorKind, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::packet::{self, PUBREC};
use common::{Broker, Client, Publish, Setup, Version, scenarios};

scenarios! {
    mqtt311: [
        sigterm_ends_the_broker,
        sigint_ends_the_broker,
        a_killed_broker_starts_again_on_its_port_at_once,
        a_broker_that_was_ended_starts_again_on_its_port_at_once,
        two_thousand_connections_come_and_go,
        a_subscriber_that_never_reads_costs_little,
        a_subscriber_that_never_acknowledges_costs_little,
        a_flood_of_pings_costs_little,
        a_message_repeated_without_end_costs_little,
        packets_that_never_complete_cost_little,
        an_idle_broker_uses_no_processor_time,
        a_broker_with_idle_clients_uses_no_processor_time,
    ],
    mqtt5: [clients_are_told_that_the_broker_shuts_down],
}

fn sigterm_ends_the_broker(setup: Setup) {
    signal_ends_the_broker(setup, "TERM");
}

fn sigint_ends_the_broker(setup: Setup) {
    signal_ends_the_broker(setup, "INT");
}

fn signal_ends_the_broker(setup: Setup, signal: &str) {
    let mut broker = setup.broker();
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            broker
                .connect(&format!("client {number}"))
                .persistent()
                .open()
                .0
        })
        .collect();
    for client in &mut clients {
        client.subscribe("a", 1);
    }
    clients[0].send_publish(&Publish::new("a", "hello").qos(1, 100));
    broker.terminate(signal);
    let status = broker.wait_for_end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "ended with {status}");
    for client in &mut clients {
        client.rest();
    }
}

fn clients_are_told_that_the_broker_shuts_down(setup: Setup) {
    let mut broker = setup.broker();
    let mut clients: Vec<_> = (0..10)
        .map(|number| broker.client(&format!("client {number}")))
        .collect();
    broker.terminate("TERM");
    for client in &mut clients {
        client.expect_refusal(0x8b);
    }
    broker.wait_for_end(Duration::from_secs(10));
}

fn a_killed_broker_starts_again_on_its_port_at_once(setup: Setup) {
    starts_again_on_its_port_at_once(setup, Broker::kill);
}

fn a_broker_that_was_ended_starts_again_on_its_port_at_once(setup: Setup) {
    starts_again_on_its_port_at_once(setup, |broker| {
        broker.terminate("TERM");
        broker.wait_for_end(Duration::from_secs(10));
    });
}

fn starts_again_on_its_port_at_once(setup: Setup, end: fn(&mut Broker)) {
    let mut broker = setup.broker();
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..20)
            .map(|number| broker.client(&format!("client {number}")))
            .collect();
        end(&mut broker);
        broker.start_again();
        for client in &mut clients {
            client.rest();
        }
        expect_service(&broker);
    }
}

fn two_thousand_connections_come_and_go(setup: Setup) {
    let broker = setup.broker();
    // Its CONNACK says that the store has opened its files.
    let mut witness = broker.connect("witness").persistent().open().0;
    witness.expect_silence_until_pong();
    let descriptors = broker.descriptors();
    let mut settled = 0;
    for round in 0..4 {
        let clients: Vec<_> = (0..500)
            .map(|number| match number % 4 {
                0 => broker.open(),
                _ => broker.client(&format!("client {number}")),
            })
            .collect();
        witness.expect_silence_until_pong();
        for (number, client) in clients.into_iter().enumerate() {
            match number % 4 {
                0 | 1 => drop(client),
                2 => client.abandon(),
                _ => client.disconnect(),
            }
        }
        wait_until("the descriptors are closed", || {
            broker.descriptors() <= descriptors
        });
        match round {
            0 => settled = broker.memory_kib("VmRSS"),
            _ => expect_little_growth(&broker, settled, 4),
        }
    }
    expect_service(&broker);
}

const KIB: usize = 1 << 10;

fn a_subscriber_that_never_reads_costs_little(setup: Setup) {
    let broker = setup.broker();
    let mut deaf = broker.client("deaf");
    deaf.subscribe("flood", 0);
    flood(&broker, 0);
    expect_service(&broker);
}

fn a_subscriber_that_never_acknowledges_costs_little(setup: Setup) {
    let broker = setup.broker();
    let mut deaf = broker.client("deaf");
    deaf.subscribe("flood", 1);
    let (mut away, _) = broker.connect("away").persistent().open();
    away.subscribe("flood", 1);
    away.disconnect();
    flood(&broker, 1);
    expect_service(&broker);
}

/// Publishes 128 MiB to `flood` while two other clients exchange messages, and sees
/// that the broker does not keep them.
fn flood(broker: &Broker, qos: u8) {
    const MESSAGES: usize = 64 * KIB;
    let mut publisher = broker.client("publisher");
    let mut others = [broker.client("one"), broker.client("other")];
    others[1].subscribe("exchange", 1);
    let payload = vec![b'x'; 2 * KIB];
    let before = broker.memory_kib("VmRSS");
    for _ in 0..MESSAGES / 512 {
        for id in 1..=512 {
            publisher.send_publish(&Publish::new("flood", &payload).qos(qos, id));
        }
        for _ in 0..if qos == 0 { 0 } else { 512 } {
            publisher.expect_acknowledgement(packet::PUBACK);
        }
        others[0].publish("exchange", "hello", 1);
        others[1].expect_message("exchange", "hello", 1);
    }
    publisher.expect_silence_until_pong();
    expect_little_growth(broker, before, 48);
}

fn a_flood_of_pings_costs_little(setup: Setup) {
    let broker = setup.broker();
    let client = broker.client("hostile");
    let before = broker.memory_kib("VmRSS");
    client
        .socket()
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("set a timeout");
    let pings = packet::PINGREQ.repeat(32 * KIB);
    // Until the broker does not take any more, or long enough.
    for _ in 0..768 {
        match client.socket().write_all(&pings) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("cannot send: {error}"),
        }
    }
    expect_little_growth(&broker, before, 16);
    expect_service(&broker);
}

/// CVE-2023-28366 was a broker that kept every repetition.
fn a_message_repeated_without_end_costs_little(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 2);
    let mut client = broker.client("hostile");
    let payload = vec![b'x'; 2 * KIB];
    let message = Publish::new("a", &payload).qos(2, 1);
    client.send_publish(&message);
    client.expect_success(PUBREC, 1);
    let before = broker.memory_kib("VmRSS");
    for _ in 0..16 * KIB {
        client.send_publish(&message.clone().dup());
        client.expect_success(PUBREC, 1);
    }
    expect_little_growth(&broker, before, 8);
    expect_service(&broker);
}

fn packets_that_never_complete_cost_little(setup: Setup) {
    let broker = setup.broker();
    let before = broker.memory_kib("VmRSS");
    let strangers: Vec<_> = (0..400)
        .map(|_| {
            let mut client = broker.open();
            // A CONNECT of 60,000 bytes.
            client.send(b"\x10\xe0\xd4\x03\0\x04MQTT");
            client
        })
        .collect();
    let clients: Vec<_> = (0..400)
        .map(|number| {
            let mut client = broker.client(&format!("client {number}"));
            // A PUBLISH of 1,000,000 bytes.
            client.send(b"\x30\xc0\x84\x3d\0\x01a");
            client
        })
        .collect();
    expect_service(&broker);
    expect_little_growth(&broker, before, 16);
    drop((strangers, clients));
}

fn an_idle_broker_uses_no_processor_time(setup: Setup) {
    expect_idleness(&setup.broker());
}

fn a_broker_with_idle_clients_uses_no_processor_time(setup: Setup) {
    let broker = setup.broker();
    let mut clients: Vec<_> = (0..200)
        .map(|number| {
            broker
                .connect(&format!("client {number}"))
                .keep_alive(60)
                .open()
                .0
        })
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("a/{number}"), 0);
    }
    expect_idleness(&broker);
}

/// At most two clock ticks (20 ms) in two seconds, after what a start still has to do.
fn expect_idleness(broker: &Broker) {
    sleep(Duration::from_millis(500));
    let before = broker.cpu_ticks();
    sleep(Duration::from_secs(2));
    let ticks = broker.cpu_ticks() - before;
    assert!(ticks <= 2, "{ticks} clock ticks in two idle seconds");
}

fn expect_little_growth(broker: &Broker, before_kib: u64, mib_max: u64) {
    let now = broker.memory_kib("VmRSS");
    let grown = now.saturating_sub(before_kib);
    assert!(
        grown <= mib_max * 1024,
        "from {before_kib} KiB to {now} KiB"
    );
}

/// Two well-behaved clients exchange a message.
fn expect_service(broker: &Broker) {
    let mut subscriber: Client = broker
        .connect_as(Version::V5, "witness that subscribes")
        .open()
        .0;
    subscriber.subscribe("witness/+", 1);
    let mut publisher = broker.client("witness that publishes");
    publisher.publish("witness/here", "hello", 1);
    subscriber.expect_message("witness/here", "hello", 1);
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + common::broker::patience();
    while !is_so() {
        assert!(Instant::now() < deadline, "not within the time: {what}");
        sleep(Duration::from_millis(5));
    }
}
