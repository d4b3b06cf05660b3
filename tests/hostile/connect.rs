//! CONNECT packets that no client should send.

use super::common::Version;
use super::common::packet::{binary_data, packet, property_block, variable_byte_integer};
use super::common::property::{
    self, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION, SESSION_EXPIRY, TOPIC_ALIAS_MAXIMUM, WILL_DELAY,
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
    let mut rows = flags_and_payload(version);
    rows.extend(client_identifiers(version));
    if version == Version::V5 {
        rows.extend(properties());
        rows.extend(property_blocks());
        rows.extend(will_properties());
    }
    rows
}

fn flags_and_payload(version: Version) -> Vec<Row> {
    let id = || binary_data(b"hostile");
    let none = || property_block(version, &[]);
    let will = |topic: &[u8]| [id(), none(), binary_data(topic), binary_data(b"x")].concat();
    let row = |name: &str, flags: u8, payload: Vec<u8>| {
        fresh(name, connect(version, flags, &[], &payload), MALFORMED)
    };
    let mut rows = vec![
        row("a will of QoS 3", CLEAN | WILL | 0x18, will(b"hostile/a")),
        row("a will flag without a will", CLEAN | WILL, id()),
        row(
            "a will without a payload",
            CLEAN | WILL,
            [id(), none(), binary_data(b"a")].concat(),
        ),
        row("a user flag without a user name", CLEAN | USER, id()),
        row(
            "a user name that runs over",
            CLEAN | USER,
            [id(), vec![0, 9, b'a']].concat(),
        ),
        row(
            "a password flag without a password",
            CLEAN | USER | PASSWORD,
            [id(), binary_data(b"user")].concat(),
        ),
        row(
            "bytes after the last field",
            CLEAN,
            [id(), vec![0]].concat(),
        ),
        row(
            "a user name that is not announced",
            CLEAN,
            [id(), binary_data(b"user")].concat(),
        ),
        row(
            "a client identifier that runs over",
            CLEAN,
            vec![0, 9, b'a'],
        ),
        row("no payload", CLEAN, Vec::new()),
        row(
            "a will topic that is not UTF-8",
            CLEAN | WILL,
            will(b"hostile/\xff"),
        ),
        row(
            "a will topic with U+0000",
            CLEAN | WILL,
            will(b"hostile/\0"),
        ),
        row(
            "a user name that is not UTF-8",
            CLEAN | USER,
            [id(), binary_data(&[0xc3, 0x28])].concat(),
        ),
    ];
    rows.push(fresh(
        "a will topic of no characters",
        connect(version, CLEAN | WILL, &[], &will(b"")),
        Reaction::Ended,
    ));
    rows.push(fresh(
        "a will topic with a wildcard",
        connect(version, CLEAN | WILL, &[], &will(b"hostile/+")),
        Reaction::Ended,
    ));
    if version != Version::V31 {
        // 3.1 says nothing about these.
        rows.push(row("the reserved flag", CLEAN | 1, id()));
        rows.push(row("a will QoS without a will", CLEAN | 0x08, id()));
        rows.push(row("a retained will without a will", CLEAN | 0x20, id()));
    }
    if version == Version::V311 {
        let password = [id(), binary_data(b"secret")].concat();
        rows.push(row(
            "a password without a user name",
            CLEAN | PASSWORD,
            password,
        ));
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

fn properties() -> Vec<Row> {
    let row = |name: &str, properties: Vec<u8>, reaction: Reaction| {
        fresh(
            name,
            connect(Version::V5, CLEAN, &properties, &binary_data(b"hostile")),
            reaction,
        )
    };
    let mut rows = Vec::new();
    for single in [
        property::four_bytes(SESSION_EXPIRY, 10),
        property::two_bytes(RECEIVE_MAXIMUM, 10),
        property::four_bytes(MAXIMUM_PACKET_SIZE, 1000),
        property::two_bytes(TOPIC_ALIAS_MAXIMUM, 10),
        property::byte(0x19, 1),
        property::byte(REQUEST_PROBLEM_INFORMATION, 1),
    ] {
        rows.push(row(
            &format!("property {:02x} twice", single[0]),
            single.repeat(2),
            PROTOCOL_ERROR,
        ));
    }
    let method = property::text(AUTHENTICATION_METHOD, "does not exist");
    let many = property::user("a", "b").repeat(5_000);
    rows.extend([
        row(
            "two authentication methods",
            method.repeat(2),
            PROTOCOL_ERROR,
        ),
        row(
            "a Receive Maximum of 0",
            property::two_bytes(RECEIVE_MAXIMUM, 0),
            PROTOCOL_ERROR,
        ),
        row(
            "a Maximum Packet Size of 0",
            property::four_bytes(MAXIMUM_PACKET_SIZE, 0),
            PROTOCOL_ERROR,
        ),
        row(
            "Request Problem Information of 2",
            property::byte(REQUEST_PROBLEM_INFORMATION, 2),
            PROTOCOL_ERROR,
        ),
        row(
            "Request Response Information of 2",
            property::byte(0x19, 2),
            PROTOCOL_ERROR,
        ),
        row(
            "authentication data without a method",
            property::binary(AUTHENTICATION_DATA, b"x"),
            PROTOCOL_ERROR,
        ),
        row(
            "an authentication method that does not exist",
            method,
            Reaction::Rejected(&[0x8c]),
        ),
        row(
            "5,000 user properties",
            many,
            Reaction::Rejected(&[0x95, 0x97]),
        ),
    ]);
    for (name, foreign) in [
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
    ] {
        rows.push(row(name, foreign, MALFORMED));
    }
    rows
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
