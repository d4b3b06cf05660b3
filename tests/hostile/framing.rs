//! Fixed headers, lengths and flags.

use super::common::Version;
use super::common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, packet};
use super::{MALFORMED, MALFORMED_OR_PROTOCOL_ERROR, Reaction, Row, connected, fresh};

pub(super) fn rows(version: Version) -> Vec<Row> {
    let mut rows = lengths();
    rows.extend(short_packets(version));
    rows.extend(long_packets(version));
    rows.extend(identifiers_of_zero(version));
    if version != Version::V31 {
        // 3.1 leaves the flags of these packets open.
        rows.extend(flags(version));
    }
    if version == Version::V5 {
        rows.extend(acknowledgements_of_mqtt5());
    }
    rows
}

fn lengths() -> Vec<Row> {
    vec![
        connected("packet type 0", [0x00, 0], MALFORMED),
        connected("packet type 0 with flags", [0x0f, 0], MALFORMED),
        connected(
            "a remaining length of five bytes",
            [0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
            MALFORMED,
        ),
        // To be seen at the fourth byte; nothing follows.
        connected(
            "a fourth length byte that continues",
            [0xc0, 0x80, 0x80, 0x80, 0x80],
            MALFORMED,
        ),
        fresh(
            "CONNECT with a fourth length byte that continues",
            [0x10, 0xff, 0xff, 0xff, 0xff],
            Reaction::Ended,
        ),
        fresh("CONNECT with a length of 0", [0x10, 0], Reaction::Ended),
        fresh(
            "an HTTP request",
            *b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
            Reaction::Ended,
        ),
        fresh(
            "a TLS ClientHello",
            [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
            Reaction::Ended,
        ),
        fresh("zeros", [0; 64], Reaction::Ended),
        fresh("ones", [0xff; 64], Reaction::Ended),
    ]
}

fn short_packets(version: Version) -> Vec<Row> {
    let none = packet::property_block(version, &[]);
    let row =
        |name: &str, first: u8, body: &[u8]| connected(name, packet(first, &[body]), MALFORMED);
    // A packet identifier, no properties, and the filters.
    let filters = |filters: &[u8]| [&[0, 1], &none[..], filters].concat();
    let mut rows = vec![
        row("PUBLISH of no bytes", 0x30, &[]),
        row("PUBLISH of one byte", 0x30, &[0]),
        row("a topic that runs over the packet", 0x30, b"\0\x05ab"),
        row("QoS 1 without a packet identifier", 0x32, b"\0\x01a"),
        row("QoS 1 with half a packet identifier", 0x32, b"\0\x01a\0"),
        row("SUBSCRIBE of no bytes", 0x82, &[]),
        row("SUBSCRIBE of one byte", 0x82, &[0]),
        row(
            "a filter that runs over SUBSCRIBE",
            0x82,
            &filters(b"\0\x09a\0"),
        ),
        row("a filter without options", 0x82, &filters(b"\0\x01a")),
        row(
            "a second filter that is cut off",
            0x82,
            &filters(b"\0\x01a\0\0"),
        ),
        row("UNSUBSCRIBE of no bytes", 0xa2, &[]),
        row(
            "a filter that runs over UNSUBSCRIBE",
            0xa2,
            &filters(b"\0\x09a"),
        ),
    ];
    for first in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        rows.push(row(&format!("{first:02x} of no bytes"), first, &[]));
        rows.push(row(&format!("{first:02x} of one byte"), first, &[1]));
    }
    rows
}

fn long_packets(version: Version) -> Vec<Row> {
    let ping_in_three_bytes = [0xc0, 0x80, 0];
    let mut rows = vec![connected("PINGREQ with a body", [0xc0, 1, 0], MALFORMED)];
    let wasteful = "a length in more bytes than needed";
    let wasteful_connect = format!("CONNECT with {wasteful}");
    let connect_in_three_bytes = connect_in_three_bytes(version);
    if version == Version::V5 {
        rows.push(connected(wasteful, ping_in_three_bytes, MALFORMED));
        rows.push(fresh(
            wasteful_connect,
            connect_in_three_bytes,
            Reaction::Rejected(&[0x81]),
        ));
        rows.push(connected(
            "DISCONNECT with bytes left",
            [0xe0, 3, 0, 0, 0],
            MALFORMED,
        ));
        return rows;
    }
    // No statement of 3.x forbids it.
    let pong = Reaction::Answered(packet::PINGRESP.to_vec());
    rows.push(connected(wasteful, ping_in_three_bytes, pong));
    let accepted = Reaction::Answered(vec![0x20, 2, 0, 0]);
    rows.push(fresh(wasteful_connect, connect_in_three_bytes, accepted));
    rows.push(connected("DISCONNECT with a body", [0xe0, 1, 0], MALFORMED));
    for first in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        let name = format!("{first:02x} with bytes left");
        rows.push(connected(name, [first, 3, 0, 1, 0], MALFORMED));
    }
    rows
}

/// CONNECT whose fixed header is a byte longer than it needs to be.
fn connect_in_three_bytes(version: Version) -> Vec<u8> {
    let nowhere = ([127, 0, 0, 1], 0).into();
    let mut connect = packet::Connect::new(nowhere, version, "hostile").encode();
    connect[1] |= 0x80;
    connect.insert(2, 0);
    connect
}

/// [MQTT-2.2.1-3], [MQTT-2.3.1-1]
fn identifiers_of_zero(version: Version) -> Vec<Row> {
    let none = packet::property_block(version, &[]);
    let zero = MALFORMED_OR_PROTOCOL_ERROR;
    vec![
        connected(
            "QoS 1 with packet identifier 0",
            packet(0x32, &[b"\0\x09hostile/a\0\0", &none, b"x"]),
            zero.clone(),
        ),
        connected(
            "QoS 2 with packet identifier 0",
            packet(0x34, &[b"\0\x09hostile/a\0\0", &none, b"x"]),
            zero.clone(),
        ),
        connected(
            "SUBSCRIBE with packet identifier 0",
            packet::subscribe(version, 0, &[], &[("a", 0)]),
            zero.clone(),
        ),
        connected(
            "UNSUBSCRIBE with packet identifier 0",
            packet::unsubscribe(version, 0, &["a"]),
            zero.clone(),
        ),
        connected(
            "PUBREL with packet identifier 0",
            packet::acknowledge(PUBREL, 0),
            zero,
        ),
    ]
}

/// [MQTT-2.1.3-1], [MQTT-2.2.2-2]
fn flags(version: Version) -> Vec<Row> {
    let subscribe = packet::subscribe(version, 1, &[], &[("hostile/a", 0)]);
    let unsubscribe = packet::unsubscribe(version, 1, &["hostile/a"]);
    let mut packets = Vec::new();
    for first in [PUBACK, PUBREC, PUBCOMP] {
        for flags in [1, 2, 4, 8] {
            packets.push(packet::acknowledge(first | flags, 1));
        }
    }
    for flags in [0, 1, 3, 4, 6, 10, 15] {
        packets.push(packet::acknowledge(0x60 | flags, 1));
        packets.push([&[0x80 | flags][..], &subscribe[1..]].concat());
        packets.push([&[0xa0 | flags][..], &unsubscribe[1..]].concat());
    }
    for flags in [1, 2, 4, 8, 15] {
        packets.push(vec![0xc0 | flags, 0]);
        packets.push(vec![0xe0 | flags, 0]);
    }
    let mut rows: Vec<_> = packets
        .into_iter()
        .map(|bytes| {
            connected(
                format!("reserved flags in {:02x}", bytes[0]),
                bytes,
                MALFORMED,
            )
        })
        .collect();
    rows.push(fresh(
        "reserved flags in CONNECT",
        [0x11, 2, 0, 0],
        Reaction::Ended,
    ));
    if version == Version::V5 {
        rows.push(connected(
            "reserved flags in AUTH",
            [0xf1, 0],
            MALFORMED_OR_PROTOCOL_ERROR,
        ));
    }
    rows
}

fn acknowledgements_of_mqtt5() -> Vec<Row> {
    let mut rows = Vec::new();
    for first in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
        let row = |what: &str, body: &[u8]| {
            let body = packet(first, &[&[0, 1], body]);
            connected(
                format!("{first:02x} with {what}"),
                body,
                MALFORMED_OR_PROTOCOL_ERROR,
            )
        };
        rows.push(row("a reason code that it does not have", &[0x01]));
        rows.push(row("another packet's reason code", &[0x8e]));
        rows.push(row("properties that run over", &[0, 5, 0x1f, 0, 1]));
        rows.push(row("bytes after the properties", &[0, 0, 0]));
        rows.push(row("a property of PUBLISH", &[0, 3, 0x23, 0, 1]));
        rows.push(row("two reason strings", &[0, 6, 0x1f, 0, 0, 0x1f, 0, 0]));
        rows.push(row(
            "a reason string that is not UTF-8",
            &[0, 4, 0x1f, 0, 1, 0xff],
        ));
    }
    let row = |what: &str, body: &[u8]| {
        connected(
            format!("DISCONNECT with {what}"),
            packet(0xe0, &[body]),
            MALFORMED_OR_PROTOCOL_ERROR,
        )
    };
    rows.push(row("a reason code of a server", &[0x8b]));
    rows.push(row("a reason code that does not exist", &[0x05]));
    rows.push(row("properties that run over", &[0, 9, 0x1f, 0, 1]));
    rows.push(row(
        "two session expiries",
        &[0, 10, 0x11, 0, 0, 0, 0, 0x11, 0, 0, 0, 0],
    ));
    rows
}
