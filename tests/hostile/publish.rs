//! PUBLISH packets that no client should send. Their topics begin with `hostile/`
//! where they can, which the witnesses watch.

use super::common::packet::{self, PUBACK, PUBREC, packet};
use super::common::property::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY, PAYLOAD_FORMAT, RESPONSE_TOPIC,
    SUBSCRIPTION_IDENTIFIER, TOPIC_ALIAS,
};
use super::common::{Publish, Version, property};
use super::{MALFORMED, MALFORMED_OR_PROTOCOL_ERROR, PROTOCOL_ERROR, Reaction, Row, connected};

pub(super) fn rows(version: Version) -> Vec<Row> {
    let mut rows = headers(version);
    rows.extend(topics(version));
    if version == Version::V5 {
        rows.extend(repeated_properties());
        rows.extend(forbidden_values());
        rows.extend(malformed_properties());
        rows.extend(texts_that_are_not_utf8());
    }
    rows
}

fn headers(version: Version) -> Vec<Row> {
    let none = packet::property_block(version, &[]);
    let message = |first| packet(first, &[b"\0\x09hostile/a\0\x05", &none, b"x"]);
    let mut rows = vec![
        connected("QoS 3", message(0x36), MALFORMED),
        connected("QoS 3, retained", message(0x37), MALFORMED),
        connected("QoS 3 again", message(0x3e), MALFORMED),
    ];
    if version != Version::V31 {
        rows.push(connected("QoS 0 with DUP", message(0x38), MALFORMED));
    }
    rows
}

fn topics(version: Version) -> Vec<Row> {
    let message = |topic: &[u8], qos| {
        Publish::with_topic_bytes(topic, "x")
            .qos(qos, 5)
            .encode(version)
    };
    let mut rows = Vec::new();
    for qos in 0..=2 {
        let row = |name: &str, topic: &[u8], reaction: Reaction| {
            connected(
                format!("{name} at QoS {qos}"),
                message(topic, qos),
                reaction,
            )
        };
        rows.push(row("no topic", b"", PROTOCOL_ERROR));
        for topic in [
            "hostile/+",
            "hostile/#",
            "#",
            "+",
            "hostile/a+b",
            "hostile/a#",
        ] {
            rows.push(row(
                &format!("topic {topic}"),
                topic.as_bytes(),
                Reaction::Refused(&[0x81, 0x82, 0x90]),
            ));
        }
        for (name, topic) in NOT_UTF8 {
            rows.push(row(&format!("a topic with {name}"), topic, MALFORMED));
        }
    }
    let slashes = [b'/'; 65_535];
    rows.push(connected(
        "65,535 slashes",
        message(&slashes, 0),
        Reaction::Survived,
    ));
    if version == Version::V5 {
        for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
            rows.push(connected(
                format!("65,535 slashes at QoS {qos}"),
                message(&slashes, qos),
                Reaction::Answered(packet::acknowledge_with(first, 5, 0x90)),
            ));
        }
    } else {
        rows.push(connected(
            "65,535 slashes at QoS 1",
            message(&slashes, 1),
            Reaction::Survived,
        ));
    }
    rows
}

/// [MQTT-1.5.4-1], [MQTT-1.5.4-2]
pub(super) const NOT_UTF8: [(&str, &[u8]); 9] = [
    ("U+0000", b"hostile/\0"),
    ("a surrogate", b"hostile/\xed\xa0\x80"),
    ("a pair of surrogates", b"hostile/\xed\xa0\xbd\xed\xb8\x80"),
    ("an overlong slash", b"hostile/\xc0\xaf"),
    ("an overlong U+0000", b"hostile/\xc0\x80"),
    ("a lone continuation byte", b"hostile/\x80"),
    ("a character that is cut off", b"hostile/\xe2\x82"),
    ("a character above U+10FFFF", b"hostile/\xf4\x90\x80\x80"),
    ("byte ff", b"hostile/\xff"),
];

/// PUBLISH with a property.
fn with_property(name: &str, properties: Vec<u8>, reaction: Reaction) -> Row {
    let message = Publish::new("hostile/a", "x").property(properties);
    connected(name, message.encode(Version::V5), reaction)
}

fn repeated_properties() -> Vec<Row> {
    [
        property::byte(PAYLOAD_FORMAT, 1),
        property::four_bytes(MESSAGE_EXPIRY, 1),
        property::text(CONTENT_TYPE, "a"),
        property::text(RESPONSE_TOPIC, "a"),
        property::text(CORRELATION_DATA, "a"),
        property::two_bytes(TOPIC_ALIAS, 1),
    ]
    .into_iter()
    .map(|single| {
        let name = format!("property {:02x} twice", single[0]);
        with_property(&name, single.repeat(2), MALFORMED_OR_PROTOCOL_ERROR)
    })
    .collect()
}

fn forbidden_values() -> Vec<Row> {
    let invalid_alias = Reaction::Refused(&[0x94]);
    let row =
        |name: &str, property: Vec<u8>| with_property(name, property, MALFORMED_OR_PROTOCOL_ERROR);
    let unset = Publish::new("", "x").property(property::two_bytes(TOPIC_ALIAS, 1));
    vec![
        with_property(
            "topic alias 0",
            property::two_bytes(TOPIC_ALIAS, 0),
            invalid_alias.clone(),
        ),
        with_property(
            "topic alias 65,535",
            property::two_bytes(TOPIC_ALIAS, 65_535),
            invalid_alias,
        ),
        connected(
            "an alias that was not set",
            unset.encode(Version::V5),
            PROTOCOL_ERROR,
        ),
        row(
            "a subscription identifier",
            property::variable(SUBSCRIPTION_IDENTIFIER, 1),
        ),
        row(
            "a wildcard to answer to",
            property::text(RESPONSE_TOPIC, "a/+"),
        ),
        row("payload format 2", property::byte(PAYLOAD_FORMAT, 2)),
    ]
}

fn malformed_properties() -> Vec<Row> {
    let row = |name: &str, property: Vec<u8>| with_property(name, property, MALFORMED);
    let block = |name: &str, block: &[u8]| {
        connected(name, packet(0x30, &[b"\0\x09hostile/a", block]), MALFORMED)
    };
    vec![
        row(
            "a session expiry",
            property::four_bytes(property::SESSION_EXPIRY, 1),
        ),
        row(
            "a reason string",
            property::text(property::REASON_STRING, "a"),
        ),
        row("property 7f", vec![0x7f, 0]),
        row(
            "a content type that runs over",
            vec![CONTENT_TYPE, 0, 9, b'a'],
        ),
        row("a property that is cut off", vec![MESSAGE_EXPIRY, 0, 0]),
        block("properties that run over the packet", &[200, 1]),
        block("no property length", &[]),
        block(
            "a property length of five bytes",
            &[0x80, 0x80, 0x80, 0x80, 1],
        ),
    ]
}

fn texts_that_are_not_utf8() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, bytes) in NOT_UTF8 {
        for identifier in [CONTENT_TYPE, RESPONSE_TOPIC] {
            let name = format!("{name} in property {identifier:02x}");
            rows.push(with_property(
                &name,
                property::binary(identifier, bytes),
                MALFORMED,
            ));
        }
        let pair = [property::binary(property::USER_PROPERTY, bytes), vec![0, 0]].concat();
        rows.push(with_property(
            &format!("{name} in a user property"),
            pair,
            MALFORMED,
        ));
    }
    rows
}
