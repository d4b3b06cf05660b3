//! Hostile input: each row is what a malicious or broken client sends and how the
//! broker must react. After every row two well-behaved clients still exchange a
//! message, and nothing of what was refused has been delivered to them.
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
#[path = "../common/mod.rs"]
mod common;
mod connect;
mod framing;
mod limits;
mod publish;
mod subscribe;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{Broker, Client, Setup, Version, property, scenarios};

scenarios! {
    every_version: [framing_rows, connect_rows, publish_rows, subscribe_rows],
}

fn framing_rows(setup: Setup) {
    run(setup, framing::rows(setup.version));
}

fn connect_rows(setup: Setup) {
    run(setup, connect::rows(setup.version));
}

fn publish_rows(setup: Setup) {
    run(setup, publish::rows(setup.version));
}

fn subscribe_rows(setup: Setup) {
    run(setup, subscribe::rows(setup.version));
}

/// What a hostile client sends.
struct Row {
    /// What is wrong with it.
    name: String,
    /// Whether a CONNECT has been accepted before.
    connected: bool,
    bytes: Vec<u8>,
    reaction: Reaction,
}

/// What the broker must do.
#[derive(Clone, Debug)]
enum Reaction {
    /// Answer with these bytes and go on.
    Answered(Vec<u8>),
    /// Close the connection, with whatever last words.
    Ended,
    /// Close the connection after a DISCONNECT with one of these reason codes (5.0), or
    /// without a word (3.x).
    Refused(&'static [u8]),
    /// Refuse a CONNECT: CONNACK with one of these reason codes (5.0) or nothing (3.x),
    /// then close.
    Rejected(&'static [u8]),
    /// Go on or close, but stay sane.
    Survived,
}

/// Malformed Packet.
const MALFORMED: Reaction = Reaction::Refused(&[0x81]);
/// Protocol Error.
const PROTOCOL_ERROR: Reaction = Reaction::Refused(&[0x82]);
/// Where the specification allows to see it either way.
const MALFORMED_OR_PROTOCOL_ERROR: Reaction = Reaction::Refused(&[0x81, 0x82]);

/// A row on a connection that has been accepted.
fn connected(name: impl Into<String>, bytes: impl Into<Vec<u8>>, reaction: Reaction) -> Row {
    Row {
        name: name.into(),
        connected: true,
        bytes: bytes.into(),
        reaction,
    }
}

/// A row that starts with the first byte of a connection.
fn fresh(name: impl Into<String>, bytes: impl Into<Vec<u8>>, reaction: Reaction) -> Row {
    Row {
        name: name.into(),
        connected: false,
        bytes: bytes.into(),
        reaction,
    }
}

/// Runs all rows and fails with the names of those that went wrong.
fn run(setup: Setup, rows: Vec<Row>) {
    let broker = setup.broker();
    let mut witnesses = Witnesses::new(&broker);
    let mut failed = Vec::new();
    for row in rows {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            row.run(&broker);
            witnesses.exchange();
        }));
        if outcome.is_err() {
            failed.push(row.name);
            witnesses = Witnesses::new(&broker);
        }
    }
    assert!(failed.is_empty(), "wrong reaction to: {failed:#?}");
}

impl Row {
    fn run(&self, broker: &Broker) {
        let mut client = if self.connected {
            // Answers are compared as bytes, so without reasons in words.
            let brief = property::byte(property::REQUEST_PROBLEM_INFORMATION, 0);
            broker.connect("hostile").property(brief).open().0
        } else {
            broker.open()
        };
        client.send(&self.bytes);
        match &self.reaction {
            Reaction::Answered(answer) => {
                if !answer.is_empty() {
                    client.expect(answer);
                }
                if self.connected {
                    client.expect_silence_until_pong();
                }
            }
            Reaction::Ended => {
                client.rest();
            }
            Reaction::Refused(reasons) => {
                client.expect_refusal_of(reasons);
            }
            Reaction::Rejected(codes) => {
                if broker.version() == Version::V5 {
                    let code = client.expect_connack().code;
                    assert!(
                        codes.contains(&code),
                        "CONNACK {code:#04x}, not {codes:02x?}"
                    );
                }
                client.expect_closed();
            }
            Reaction::Survived => client.abandon(),
        }
    }
}

/// Two well-behaved clients that see what they should and nothing else.
struct Witnesses {
    publisher: Client,
    subscriber: Client,
    count: u32,
}

impl Witnesses {
    /// Connects them. Rows publish to topics below `hostile/`, which are watched.
    fn new(broker: &Broker) -> Self {
        let mut subscriber = broker.client("witness that subscribes");
        subscriber.subscribe("witness/+", 1);
        subscriber.subscribe("hostile/#", 1);
        Self {
            publisher: broker.client("witness that publishes"),
            subscriber,
            count: 0,
        }
    }

    /// Exchanges a message.
    fn exchange(&mut self) {
        self.count += 1;
        let text = self.count.to_string();
        self.publisher.publish("witness/here", &text, 1);
        self.subscriber.expect_message("witness/here", &text, 1);
    }
}
