//! The broker is told to end while clients do what they please.
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

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{Broker, Publish, Setup, Version, Will, scenarios};

scenarios! {
    mqtt311_and_5: [
        clients_that_do_not_read_hold_nothing_up,
        load_holds_nothing_up,
        nobody_gets_in_while_it_ends,
    ],
    mqtt5: [a_will_reaches_those_who_are_still_there],
}

/// The broker ends by itself, with success, within the ten seconds that it is allowed.
fn expect_end(broker: &mut Broker) {
    let status = broker.wait_for_end(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0), "ended with {status}");
}

/// A client with more to read than its socket and the broker's output take, and that does
/// not read.
fn deaf(broker: &Broker, name: &str, qos: u8) -> common::Client {
    let mut deaf = broker.client(name);
    deaf.subscribe("noise", qos);
    let mut publisher = broker.client(&format!("{name}-publisher"));
    for _ in 0..300 {
        publisher.send_publish(&Publish::new("noise", vec![b'x'; 64 << 10]));
    }
    publisher.expect_silence_until_pong();
    deaf
}

fn clients_that_do_not_read_hold_nothing_up(setup: Setup) {
    let mut broker = setup.broker();
    let deaf: Vec<_> = (0..2)
        .map(|number| deaf(&broker, &format!("deaf{number}"), number % 2))
        .collect();
    // Some have said nothing yet, or not all.
    let mut silent: Vec<_> = (0..4).map(|_| broker.open()).collect();
    silent[0].send(&[0x10, 0x20, 0]);
    broker.terminate("TERM");
    let begun = Instant::now();
    expect_end(&mut broker);
    assert!(begun.elapsed() < Duration::from_secs(10));
    drop(deaf);
}

/// Publishes as fast as it can until the connection ends, and reads what comes.
fn load(broker: &Broker, number: u16) -> Vec<JoinHandle<()>> {
    let mut client = broker.client(&format!("load{number}"));
    client.subscribe(&format!("load/{number}"), 0);
    client.subscribe("load/all", 0);
    let version = client.version();
    let mut output = client.socket().try_clone().unwrap();
    let reader = thread::spawn(move || {
        let mut input = client.socket();
        let mut rest = [0; 4096];
        while input.read(&mut rest).is_ok_and(|count| count > 0) {}
        let _ = client.socket().shutdown(Shutdown::Both);
    });
    let writer = thread::spawn(move || {
        let mut id = 0_u16;
        loop {
            id = id % 500 + 1;
            let topics = [format!("load/{}", id % 4), "load/all".to_owned()];
            let qos = u8::try_from(id % 2).unwrap();
            let messages = topics.map(|topic| Publish::new(&topic, "x").qos(qos, id));
            let bytes: Vec<u8> = messages.iter().flat_map(|m| m.encode(version)).collect();
            if output.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    vec![reader, writer]
}

fn load_holds_nothing_up(setup: Setup) {
    let mut broker = setup.broker();
    let threads: Vec<_> = (0..4).flat_map(|number| load(&broker, number)).collect();
    thread::sleep(Duration::from_millis(200));
    broker.terminate("INT");
    expect_end(&mut broker);
    for thread in threads {
        thread.join().unwrap();
    }
}

fn nobody_gets_in_while_it_ends(setup: Setup) {
    let mut broker = setup.broker();
    // It holds the broker for as long as a client may take to read its last bytes.
    let deaf = deaf(&broker, "deaf", 0);
    let mut told = broker.client("told");
    broker.terminate("TERM");
    if setup.version == Version::V5 {
        told.expect_refusal(0x8b);
    } else {
        told.expect_closed();
    }
    let address = broker.address();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let knocking = thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(address) else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            let _ = stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\0\0\x05guest");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let mut answer = [0; 4];
            let read = stream.read(&mut answer);
            assert!(!matches!(read, Ok(1..)), "somebody was let in");
        }
    });
    expect_end(&mut broker);
    is_over.store(true, Ordering::Relaxed);
    knocking.join().unwrap();
    drop(deaf);
}

fn a_will_reaches_those_who_are_still_there(setup: Setup) {
    let mut broker = setup.broker();
    let connect = broker.connect("heir").persistent();
    let mut heir = connect.open().0;
    heir.subscribe("will", 1);
    heir.abandon();
    let will = Will::new("will", "gone").qos(1);
    let mortal = broker.connect("mortal").will(will).open().0;
    broker.terminate("TERM");
    expect_end(&mut broker);
    drop(mortal);
    broker.start_again();
    let (mut heir, answer) = connect.open();
    if answer.session_present == Some(true) {
        assert_eq!(heir.expect_publish().payload, b"gone");
    }
}
