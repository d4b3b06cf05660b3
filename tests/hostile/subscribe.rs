//! SUBSCRIBE and UNSUBSCRIBE packets that no client should send.

use super::common::packet::{self, binary_data, packet};
use super::common::{Version, property};
use super::publish::NOT_UTF8;
use super::{MALFORMED, MALFORMED_OR_PROTOCOL_ERROR, PROTOCOL_ERROR, Reaction, Row, connected};

pub(super) fn rows(version: Version) -> Vec<Row> {
    let none = packet::property_block(version, &[]);
    let mut rows = vec![
        connected(
            "SUBSCRIBE without a filter",
            packet(0x82, &[&[0, 1], &none]),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        connected(
            "UNSUBSCRIBE without a filter",
            packet(0xa2, &[&[0, 1], &none]),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
    ];
    rows.extend(filters(version));
    rows.extend(options(version));
    if version != Version::V31 {
        rows.extend(shared(version));
    }
    if version == Version::V5 {
        rows.extend(properties());
    }
    rows
}

/// Malformed filters are never stored [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1].
fn filters(version: Version) -> Vec<Row> {
    let invalid = Reaction::Refused(&[0x81, 0x82, 0x8f]);
    let mut rows = Vec::new();
    for filter in [
        "", "a/#/b", "a#", "#a", "+a", "a+", "a/+b", "a/b+/c", "##", "#/", "#/#", "a/#/", "++",
    ] {
        rows.push(connected(
            format!("SUBSCRIBE to {filter:?}"),
            packet::subscribe(version, 1, &[], &[(filter, 0)]),
            invalid.clone(),
        ));
        rows.push(connected(
            format!("SUBSCRIBE to a good filter and {filter:?}"),
            packet::subscribe(version, 1, &[], &[("good", 0), (filter, 0)]),
            invalid.clone(),
        ));
    }
    let none = packet::property_block(version, &[]);
    for (name, bytes) in NOT_UTF8 {
        rows.push(connected(
            format!("SUBSCRIBE to a filter with {name}"),
            packet(0x82, &[&[0, 1], &none, &binary_data(bytes), &[0]]),
            MALFORMED,
        ));
        rows.push(connected(
            format!("UNSUBSCRIBE from a filter with {name}"),
            packet(0xa2, &[&[0, 1], &none, &binary_data(bytes)]),
            MALFORMED,
        ));
    }
    let slashes = "/".repeat(65_535);
    let plus = ["+"; 32_768].join("/");
    for filter in [&slashes, &plus] {
        rows.push(connected(
            "SUBSCRIBE to a filter of 65,535 bytes",
            packet::subscribe(version, 1, &[], &[(filter, 0)]),
            Reaction::Survived,
        ));
    }
    rows
}

fn options(version: Version) -> Vec<Row> {
    let row = |options: u8, reaction: Reaction| {
        connected(
            format!("options {options:02x}"),
            packet::subscribe(version, 1, &[], &[("a", options)]),
            reaction,
        )
    };
    let mut rows = vec![row(3, MALFORMED_OR_PROTOCOL_ERROR)];
    match version {
        // 3.1 does not look at the other bits.
        Version::V31 => {}
        Version::V311 => {
            rows.extend([0x04, 0x08, 0x10, 0x20, 0x40, 0x80].map(|bit| row(bit, MALFORMED)));
        }
        Version::V5 => {
            rows.extend([0x40, 0x80, 0xc1].map(|options| row(options, MALFORMED)));
            rows.push(row(0x30, MALFORMED_OR_PROTOCOL_ERROR));
        }
    }
    rows
}

/// [MQTT-4.8.2-1], [MQTT-4.8.2-2]: what is no name of a group is refused by itself, a
/// malformed filter behind it as everywhere.
fn shared(version: Version) -> Vec<Row> {
    let subscribe = |filter: &str| packet::subscribe(version, 1, &[], &[("good", 1), (filter, 0)]);
    let none = packet::property_block(version, &[]);
    let code = if version == Version::V5 { 0x8f } else { 0x80 };
    let suback = packet(0x90, &[&[0, 1], &none, &[1, code]]);
    let mut rows: Vec<Row> = [
        "$share/",
        "$share/g",
        "$share//a",
        "$share/g+/a",
        "$share/g#/a",
        "$share/+/a",
        "$share/#/a",
        "$share/#",
        "$share/+",
    ]
    .into_iter()
    .map(|filter| {
        connected(
            format!("SUBSCRIBE to {filter}"),
            subscribe(filter),
            Reaction::Answered(suback.clone()),
        )
    })
    .collect();
    for filter in ["$share/g/", "$share/g/a#", "$share/g/#/a"] {
        rows.push(connected(
            format!("SUBSCRIBE to {filter}"),
            subscribe(filter),
            Reaction::Refused(&[0x81, 0x82, 0x8f]),
        ));
    }
    rows
}

fn properties() -> Vec<Row> {
    let row = |name: &str, properties: Vec<u8>, reaction: Reaction| {
        connected(
            name,
            packet::subscribe(Version::V5, 1, &properties, &[("a", 0)]),
            reaction,
        )
    };
    let identifier = |value| property::variable(property::SUBSCRIPTION_IDENTIFIER, value);
    vec![
        row("subscription identifier 0", identifier(0), PROTOCOL_ERROR),
        row(
            "two subscription identifiers",
            [identifier(1), identifier(2)].concat(),
            PROTOCOL_ERROR,
        ),
        row(
            "a subscription identifier of five bytes",
            vec![property::SUBSCRIPTION_IDENTIFIER, 0x80, 0x80, 0x80, 0x80, 1],
            MALFORMED,
        ),
        row(
            "a topic alias",
            property::two_bytes(property::TOPIC_ALIAS, 1),
            MALFORMED,
        ),
        row("property 7f", vec![0x7f, 0], MALFORMED),
        connected(
            "properties that run over",
            packet(0x82, &[&[0, 1, 50, 0, 1, b'a', 0]]),
            MALFORMED,
        ),
        connected(
            "UNSUBSCRIBE with a subscription identifier",
            packet(
                0xa2,
                &[&[0, 1, 2, property::SUBSCRIPTION_IDENTIFIER, 1, 0, 1, b'a']],
            ),
            MALFORMED,
        ),
    ]
}
