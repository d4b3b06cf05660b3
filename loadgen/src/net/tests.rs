use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::*;

/// More than all receive buffers together hold.
const LONG: usize = 3 << 20;

fn engine(slots: usize) -> Engine {
    Engine::new(slots, Arc::new(Waker::new().unwrap())).unwrap()
}

/// A peer that sends back what it receives, for `connections` connections.
fn echo(connections: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..count]).unwrap();
                }
            });
        }
    });
    address
}

/// Turns the engine until `is_over` says so after some event.
fn turn_until(engine: &mut Engine, mut is_over: impl FnMut(&mut Links, Happening<'_>) -> bool) {
    let mut over = false;
    while !over {
        let happened = |links: &mut Links, happening: Happening<'_>| {
            over |= is_over(links, happening);
        };
        engine.turn(Duration::from_secs(1), happened).unwrap();
    }
}

fn pattern(slot: u32) -> Vec<u8> {
    (0..LONG)
        .map(|index| (index / 7) as u8 ^ slot as u8)
        .collect()
}

#[test]
fn bytes_of_many_connections_arrive_whole_and_in_order() {
    let (count, address) = (8, echo(8));
    let mut engine = engine(count);
    for slot in 0..count as u32 {
        engine
            .links()
            .open(slot, address, Some("127.0.0.9".parse().unwrap()));
        engine
            .links()
            .output(slot)
            .extend_from_slice(&pattern(slot));
    }
    let mut received = vec![Vec::new(); count];
    turn_until(&mut engine, |_, happening| {
        match happening {
            Happening::Received(slot, bytes) => received[slot as usize].extend_from_slice(bytes),
            Happening::Closed(slot, reason) => panic!("{slot}: {reason}"),
        }
        received.iter().all(|bytes| bytes.len() == LONG)
    });
    for (slot, bytes) in received.iter().enumerate() {
        assert!(*bytes == pattern(slot as u32), "connection {slot}");
    }
}

#[test]
fn a_refused_connection_says_so_and_frees_its_slot() {
    let vacant = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut engine = engine(1);
    for _ in 0..2 {
        engine.links().open(0, vacant, None);
        turn_until(&mut engine, |_, happening| match happening {
            Happening::Closed(0, reason @ Closing::ConnectFailed(_)) => {
                assert!(
                    reason.to_string().contains("is the broker running"),
                    "{reason}"
                );
                true
            }
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_source_address_of_another_machine_is_an_error_not_a_hang() {
    let mut engine = engine(1);
    engine
        .links()
        .open(0, echo(0), Some("192.0.2.1".parse().unwrap()));
    turn_until(&mut engine, |_, happening| {
        matches!(happening, Happening::Closed(0, Closing::ConnectFailed(_)))
    });
}

#[test]
fn what_was_written_before_finish_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    });
    let mut engine = engine(1);
    engine.links().open(0, address, None);
    engine.links().output(0).extend_from_slice(&pattern(0));
    engine.links().finish(0);
    turn_until(&mut engine, |_, happening| {
        matches!(happening, Happening::Closed(0, Closing::Requested))
    });
    assert!(reader.join().unwrap() == pattern(0));
}

#[test]
fn a_connection_that_the_peer_ends_is_closed_by_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || drop(listener.accept()));
    let mut engine = engine(1);
    engine.links().open(0, address, None);
    turn_until(&mut engine, |_, happening| {
        matches!(happening, Happening::Closed(0, Closing::ByBroker))
    });
}

#[test]
fn a_wake_ends_the_sleep_of_another_thread() {
    let waker = Arc::new(Waker::new().unwrap());
    let mut engine = Engine::new(1, Arc::clone(&waker)).unwrap();
    let other = thread::spawn(move || waker.wake());
    // Without the wake this would take an hour.
    engine.turn(Duration::from_secs(3600), |_, _| ()).unwrap();
    other.join().unwrap();
}

#[test]
fn an_engine_can_be_dropped_with_everything_in_flight() {
    let address = echo(4);
    for _ in 0..4 {
        let mut engine = engine(2);
        engine.links().open(0, address, None);
        engine.links().output(0).extend_from_slice(&pattern(0));
        turn_until(&mut engine, |_, happening| {
            matches!(happening, Happening::Received(..))
        });
        drop(engine);
    }
}
