//! Whole conversations cut, joined and damaged: however the bytes of a client are
//! split, the broker hears the same; whatever becomes of them, it goes on serving.
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

use std::collections::BTreeMap;

use common::packet::{self, PUBREL, property_block};
use common::{Broker, Client, Publish, Setup, Version, Will, property, scenarios};

scenarios! {
    every_version: [
        every_prefix_of_a_conversation_may_be_the_end,
        one_byte_at_a_time_is_heard_like_packets,
        all_packets_in_one_segment_are_heard_like_packets,
        damaged_conversations_leave_the_broker_serving,
    ],
}

fn every_prefix_of_a_conversation_may_be_the_end(setup: Setup) {
    let broker = setup.broker();
    let bytes = conversation(&broker).concat();
    for length in 0..bytes.len() {
        let mut client = broker.open();
        client.send(&bytes[..length]);
        client.abandon();
    }
    expect_service(&broker);
}

fn one_byte_at_a_time_is_heard_like_packets(setup: Setup) {
    let broker = setup.broker();
    let expected = answers_to(&broker, &open_conversation(&broker));
    let bytes: Vec<_> = open_conversation(&broker)
        .concat()
        .iter()
        .map(|byte| vec![*byte])
        .collect();
    assert_eq!(answers_to(&broker, &bytes), expected);
}

fn all_packets_in_one_segment_are_heard_like_packets(setup: Setup) {
    let broker = setup.broker();
    let expected = answers_to(&broker, &open_conversation(&broker));
    let bytes = open_conversation(&broker).concat();
    assert_eq!(answers_to(&broker, std::slice::from_ref(&bytes)), expected);
    for middle in (1..bytes.len()).step_by(7) {
        let halves = [bytes[..middle].to_vec(), bytes[middle..].to_vec()];
        assert_eq!(answers_to(&broker, &halves), expected, "cut at {middle}");
    }
}

/// Random damage, the same in every run.
fn damaged_conversations_leave_the_broker_serving(setup: Setup) {
    let broker = setup.broker();
    let original = conversation(&broker).concat();
    let mut random = Random(0x5eed_0000 + setup.version as u64);
    for case in 0..1500 {
        let mut bytes = original.clone();
        for _ in 0..=random.below(4) {
            damage(&mut bytes, &mut random);
        }
        let mut client = broker.open();
        client.send(&bytes);
        client.abandon();
        if case % 100 == 99 {
            expect_service(&broker);
        }
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let place = random.below(bytes.len());
    let end = bytes.len().min(place + 1 + random.below(8));
    match random.below(7) {
        0 => bytes[place] ^= 1 << random.below(8),
        1 => bytes[place] = random.below(256) as u8,
        2 => bytes[place] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        3 => bytes.insert(place, random.below(256) as u8),
        4 => drop(bytes.drain(place..end)),
        5 => {
            let copy = bytes[place..end].to_vec();
            bytes.splice(place..place, copy);
        }
        _ => bytes.truncate(place.max(1)),
    }
}

/// The packets of a client that uses most of what there is, and says good-bye.
fn conversation(broker: &Broker) -> Vec<Vec<u8>> {
    let mut packets = open_conversation(broker);
    packets.push(match broker.version() {
        Version::V5 => packet::packet(0xe0, &[&[0], &property_block(Version::V5, &[])]),
        _ => packet::DISCONNECT.to_vec(),
    });
    packets
}

/// The same without its end.
fn open_conversation(broker: &Broker) -> Vec<Vec<u8>> {
    let version = broker.version();
    let will = Will::new("conversation/will", "gone").qos(1);
    let mut connect = broker
        .connect("conversation")
        .keep_alive(60)
        .will(will)
        .login("user", b"password");
    let mut message = Publish::new("conversation/a", "second");
    let mut identifier = Vec::new();
    if version == Version::V5 {
        connect = connect
            .property(property::two_bytes(property::RECEIVE_MAXIMUM, 20))
            .property(property::user("name", "value"));
        message = message
            .property(property::text(property::CONTENT_TYPE, "text/plain"))
            .property(property::user("name", "value"));
        identifier = property::variable(property::SUBSCRIPTION_IDENTIFIER, 300);
    }
    let filters = [
        ("conversation/+", 0),
        ("conversation/#", 0),
        ("$share/group/other", 0),
    ];
    let filters = if version == Version::V31 {
        &filters[..2]
    } else {
        &filters[..]
    };
    vec![
        connect.encode(),
        packet::subscribe(version, 1, &identifier, filters),
        Publish::new("conversation/a", "first").encode(version),
        message.qos(1, 2).encode(version),
        Publish::new("conversation/a/b", "third")
            .qos(2, 3)
            .encode(version),
        packet::acknowledge(PUBREL, 3),
        Publish::new("conversation/kept", "fourth")
            .retain()
            .qos(1, 4)
            .encode(version),
        Publish::new("conversation/kept", "")
            .retain()
            .qos(1, 5)
            .encode(version),
        packet::unsubscribe(version, 6, &["conversation/+", "nothing"]),
        packet::PINGREQ.to_vec(),
    ]
}

/// What [`conversation`] is answered with: CONNACK, SUBACK, three PUBACK, PUBREC, PUBCOMP,
/// UNSUBACK, PINGRESP, and the client's own five messages.
const ANSWERS: usize = 14;

/// Sends a conversation in parts, but for its end, and gives what came back: the packets
/// of each type, in their order. How types interleave is the broker's affair.
fn answers_to(broker: &Broker, parts: &[Vec<u8>]) -> BTreeMap<u8, Vec<Vec<u8>>> {
    let mut client: Client = broker.open();
    for part in parts {
        client.send(part);
    }
    let mut answers = BTreeMap::<_, Vec<_>>::new();
    for _ in 0..ANSWERS {
        let packet = client.expect_packet();
        answers.entry(packet.first).or_default().push(packet.body);
    }
    client.disconnect();
    answers
}

/// Two well-behaved clients exchange a message.
fn expect_service(broker: &Broker) {
    let mut subscriber = broker.client("witness that subscribes");
    subscriber.subscribe("witness/+", 1);
    let mut publisher = broker.client("witness that publishes");
    publisher.publish("witness/here", "hello", 1);
    subscriber.expect_message("witness/here", "hello", 1);
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        value as usize % bound
    }
}
