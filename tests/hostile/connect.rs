//! CONNECT packets that no client should send.

use super::common::Version;
use super::common::packet::{binary_data, packet, property_block, variable_byte_integer};
use super::common::property::{
    self, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, SESSION_EXPIRY, TOPIC_ALIAS_MAXIMUM,
    WILL_DELAY,
};
use super::{Reaction, Row, fresh};

const MALFORMED: Reaction = Reaction::Rejected(&[0x81]);
const PROTOCOL_ERROR: Reaction = Reaction::Rejected(&[0x82]);

/// Connect flags.
const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER: u8 = 0x80;

pub(super) fn rows(version: Version) -> Vec<Row> {
    let mut rows = payloads(version);
    rows.extend(wills(version));
    rows.extend(client_identifiers(version));
    if version == Version::V5 {
        rows.extend(repeated_properties());
        rows.extend(forbidden_values());
        rows.extend(foreign_properties());
        rows.extend(property_blocks());
        rows.extend(will_properties());
    }
    rows
}

/// Flags that announce something else than what follows.
fn payloads(version: Version) -> Vec<Row> {
    let id = binary_data(b"hostile");
    let name = binary_data(b"user");
    let row = |text: &str, flags: u8, fields: &[&[u8]]| {
        let payload = [&[&id[..]], fields].concat().concat();
        fresh(
            text,
            connect(version, CLEAN | flags, &[], &payload),
            MALFORMED,
        )
    };
    let mut rows = vec![
        row("a user flag without a user name", USER, &[]),
        row("a user name that runs over", USER, &[&[0, 9, b'a']]),
        row(
            "a password flag without a password",
            USER | PASSWORD,
            &[&name],
        ),
        row("bytes after the last field", 0, &[&[0]]),
        row("a user name that is not announced", 0, &[&name]),
        row(
            "a user name that is not UTF-8",
            USER,
            &[&binary_data(&[0xc3, 0x28])],
        ),
    ];
    for (text, payload) in [
        ("no payload", &[][..]),
        ("a client identifier that runs over", &[0, 9, b'a']),
    ] {
        rows.push(fresh(
            text,
            connect(version, CLEAN, &[], payload),
            MALFORMED,
        ));
    }
    if version == Version::V311 {
        rows.push(row("a password without a user name", PASSWORD, &[&name]));
    }
    rows
}

fn wills(version: Version) -> Vec<Row> {
    let none = property_block(version, &[]);
    let id = binary_data(b"hostile");
    let row = |text: &str, flags: u8, will: &[u8], reaction: Reaction| {
        let payload = [&id[..], will].concat();
        fresh(
            text,
            connect(version, CLEAN | flags, &[], &payload),
            reaction,
        )
    };
    let will = |topic: &[u8]| [&none[..], &binary_data(topic), &binary_data(b"x")].concat();
    let mut rows = vec![
        row(
            "a will of QoS 3",
            WILL | 0x18,
            &will(b"hostile/a"),
            MALFORMED,
        ),
        row("a will flag without a will", WILL, &[], MALFORMED),
        row(
            "a will without a payload",
            WILL,
            &[&none[..], b"\0\x01a"].concat(),
            MALFORMED,
        ),
        row(
            "a will topic that is not UTF-8",
            WILL,
            &will(b"hostile/\xff"),
            MALFORMED,
        ),
        row(
            "a will topic with U+0000",
            WILL,
            &will(b"hostile/\0"),
            MALFORMED,
        ),
        row(
            "a will topic of no characters",
            WILL,
            &will(b""),
            Reaction::Ended,
        ),
        row(
            "a will topic with a wildcard",
            WILL,
            &will(b"hostile/+"),
            Reaction::Ended,
        ),
    ];
    if version != Version::V31 {
        // 3.1 says nothing about these.
        rows.push(row("the reserved flag", 0x01, &[], MALFORMED));
        rows.push(row("a will QoS without a will", 0x08, &[], MALFORMED));
        rows.push(row("a retained will without a will", 0x20, &[], MALFORMED));
    }
    rows
}

fn client_identifiers(version: Version) -> Vec<Row> {
    let row = |name: &str, id: &[u8]| {
        fresh(
            name,
            connect(version, CLEAN, &[], &binary_data(id)),
            Reaction::Ended,
        )
    };
    vec![
        row("a client identifier of 65,535 bytes", &[b'x'; 65_535]),
        row("a client identifier longer than configured", &[b'x'; 2000]),
        row("a client identifier with U+0000", b"a\0b"),
        row("a client identifier that is not UTF-8", &[0xff, 0xfe]),
        row("a client identifier with a surrogate", &[0xed, 0xa0, 0x80]),
        row("a client identifier in overlong UTF-8", &[0xc0, 0xaf]),
    ]
}

/// CONNECT with a property that is wrong in itself.
fn with_property(name: &str, properties: Vec<u8>, reaction: Reaction) -> Row {
    let bytes = connect(Version::V5, CLEAN, &properties, &binary_data(b"hostile"));
    fresh(name, bytes, reaction)
}

fn repeated_properties() -> Vec<Row> {
    [
        property::four_bytes(SESSION_EXPIRY, 10),
        property::two_bytes(RECEIVE_MAXIMUM, 10),
        property::four_bytes(MAXIMUM_PACKET_SIZE, 1000),
        property::two_bytes(TOPIC_ALIAS_MAXIMUM, 10),
        property::byte(REQUEST_RESPONSE_INFORMATION, 1),
        property::byte(REQUEST_PROBLEM_INFORMATION, 1),
        property::text(AUTHENTICATION_METHOD, "method"),
    ]
    .into_iter()
    .map(|single| {
        let name = format!("property {:02x} twice", single[0]);
        with_property(&name, single.repeat(2), PROTOCOL_ERROR)
    })
    .collect()
}

fn forbidden_values() -> Vec<Row> {
    let row = |name: &str, property: Vec<u8>| with_property(name, property, PROTOCOL_ERROR);
    let method = property::text(AUTHENTICATION_METHOD, "does not exist");
    let many = property::user("a", "b").repeat(5_000);
    let size = property::four_bytes(MAXIMUM_PACKET_SIZE, 0);
    let data = property::binary(AUTHENTICATION_DATA, b"x");
    vec![
        row(
            "a Receive Maximum of 0",
            property::two_bytes(RECEIVE_MAXIMUM, 0),
        ),
        row("a Maximum Packet Size of 0", size),
        row(
            "problem information 2",
            property::byte(REQUEST_PROBLEM_INFORMATION, 2),
        ),
        row(
            "response information 2",
            property::byte(REQUEST_RESPONSE_INFORMATION, 2),
        ),
        row("authentication data without a method", data),
        with_property(
            "an unknown authentication method",
            method,
            Reaction::Rejected(&[0x8c]),
        ),
        with_property(
            "5,000 user properties",
            many,
            Reaction::Rejected(&[0x95, 0x97]),
        ),
    ]
}

/// 2.2.2.2: an identifier that is not valid for its packet type is malformed.
fn foreign_properties() -> Vec<Row> {
    [
        (
            "a topic alias",
            property::two_bytes(property::TOPIC_ALIAS, 1),
        ),
        (
            "a subscription identifier",
            vec![property::SUBSCRIPTION_IDENTIFIER, 1],
        ),
        (
            "a server keep alive",
            property::two_bytes(property::SERVER_KEEP_ALIVE, 1),
        ),
        (
            "a will delay outside the will",
            property::four_bytes(WILL_DELAY, 1),
        ),
        ("property 00", vec![0, 0]),
        ("property 7f", vec![0x7f, 0]),
        ("property ff", vec![0xff, 0x01, 0]),
    ]
    .into_iter()
    .map(|(name, property)| with_property(name, property, MALFORMED))
    .collect()
}

/// Property blocks that do not add up.
fn property_blocks() -> Vec<Row> {
    let row = |name: &str, block: &[u8]| {
        let body = [
            &[&binary_data(b"MQTT")[..], &[5, CLEAN, 0, 0], block].concat()[..],
            &binary_data(b"hostile"),
        ]
        .concat();
        fresh(name, packet(0x10, &[&body]), MALFORMED)
    };
    vec![
        row("a property length beyond the packet", &[100]),
        row(
            "a property length of five bytes",
            &[0x80, 0x80, 0x80, 0x80, 1],
        ),
        row("a property length in more bytes than needed", &[0x80, 0]),
        row(
            "a property that runs over its block",
            &[2, RECEIVE_MAXIMUM, 0],
        ),
        row(
            "a text that runs over its block",
            &[5, 0x26, 0, 9, b'a', b'b'],
        ),
        row("a user property without a value", &[4, 0x26, 0, 1, b'a']),
        row(
            "a user property that is not UTF-8",
            &[7, 0x26, 0, 1, 0xff, 0, 1, b'a'],
        ),
        row(
            "a user property with U+0000",
            &[7, 0x26, 0, 1, 0, 0, 1, b'a'],
        ),
    ]
}

fn will_properties() -> Vec<Row> {
    let row = |name: &str, properties: Vec<u8>, reaction: Reaction| {
        let payload = [
            binary_data(b"hostile"),
            property_block(Version::V5, &properties),
            binary_data(b"hostile/a"),
            binary_data(b"x"),
        ]
        .concat();
        fresh(
            name,
            connect(Version::V5, CLEAN | WILL, &[], &payload),
            reaction,
        )
    };
    let delay = property::four_bytes(WILL_DELAY, 1);
    let wildcard = property::text(property::RESPONSE_TOPIC, "a/#");
    vec![
        row("two will delays", delay.repeat(2), PROTOCOL_ERROR),
        row(
            "a will with a session expiry",
            property::four_bytes(SESSION_EXPIRY, 1),
            MALFORMED,
        ),
        row(
            "a will with a topic alias",
            property::two_bytes(property::TOPIC_ALIAS, 1),
            MALFORMED,
        ),
        row(
            "a will with payload format 2",
            property::byte(property::PAYLOAD_FORMAT, 2),
            Reaction::Rejected(&[0x81, 0x82]),
        ),
        row(
            "a will with a wildcard to answer to",
            wildcard,
            Reaction::Rejected(&[0x81, 0x82]),
        ),
    ]
}

/// CONNECT with the given flags, properties and payload.
fn connect(version: Version, flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(properties.len()).expect("few properties");
    let block = if version == Version::V5 {
        [variable_byte_integer(length), properties.to_vec()].concat()
    } else {
        Vec::new()
    };
    packet(
        0x10,
        &[
            &binary_data(version.protocol_name().as_bytes()),
            &[version as u8, flags, 0, 0],
            &block,
            payload,
        ],
    )
}
