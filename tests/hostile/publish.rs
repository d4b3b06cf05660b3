//! PUBLISH packets that no client should send. Their topics begin with `hostile/`
//! where they can, which the witnesses watch.

use super::common::packet::{self, PUBACK, PUBREC, packet};
use super::common::{Publish, Version, property};
use super::{MALFORMED, MALFORMED_OR_PROTOCOL_ERROR, PROTOCOL_ERROR, Reaction, Row, connected};

pub(super) fn rows(version: Version) -> Vec<Row> {
    let mut rows = headers(version);
    rows.extend(topics(version));
    if version == Version::V5 {
        rows.extend(properties());
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

fn properties() -> Vec<Row> {
    let row = |name: &str, properties: Vec<u8>, reaction: Reaction| {
        let message = Publish::new("hostile/a", "x").property(properties);
        connected(name, message.encode(Version::V5), reaction)
    };
    let alias = |alias| property::two_bytes(property::TOPIC_ALIAS, alias);
    let identifier = property::variable(property::SUBSCRIPTION_IDENTIFIER, 1);
    let text = |identifier, bytes: &[u8]| property::binary(identifier, bytes);
    let mut rows = vec![
        row("topic alias 0", alias(0), Reaction::Refused(&[0x94])),
        row(
            "topic alias 65,535",
            alias(65_535),
            Reaction::Refused(&[0x94]),
        ),
        row(
            "two topic aliases",
            alias(1).repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "a subscription identifier",
            identifier,
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "a wildcard to answer to",
            text(property::RESPONSE_TOPIC, b"a/+"),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "payload format 2",
            property::byte(property::PAYLOAD_FORMAT, 2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "two payload formats",
            property::byte(property::PAYLOAD_FORMAT, 1).repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "two message expiries",
            property::four_bytes(property::MESSAGE_EXPIRY, 1).repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "two content types",
            text(property::CONTENT_TYPE, b"a").repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "two response topics",
            text(property::RESPONSE_TOPIC, b"a").repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "two correlations",
            text(property::CORRELATION_DATA, b"a").repeat(2),
            MALFORMED_OR_PROTOCOL_ERROR,
        ),
        row(
            "a session expiry",
            property::four_bytes(property::SESSION_EXPIRY, 1),
            MALFORMED,
        ),
        row(
            "a reason string",
            text(property::REASON_STRING, b"a"),
            MALFORMED,
        ),
        row("property 7f", vec![0x7f, 0], MALFORMED),
        row(
            "a content type that runs over",
            vec![property::CONTENT_TYPE, 0, 9, b'a'],
            MALFORMED,
        ),
        row(
            "a property that is cut off",
            vec![property::MESSAGE_EXPIRY, 0, 0],
            MALFORMED,
        ),
        connected(
            "an alias that was not set",
            Publish::new("", "x").property(alias(1)).encode(Version::V5),
            PROTOCOL_ERROR,
        ),
        connected(
            "properties that run over the packet",
            packet(0x30, &[b"\0\x09hostile/a", &[200, 1]]),
            MALFORMED,
        ),
        connected(
            "no property length",
            packet(0x30, &[b"\0\x09hostile/a"]),
            MALFORMED,
        ),
        connected(
            "a property length of five bytes",
            packet(0x30, &[b"\0\x09hostile/a", &[0x80, 0x80, 0x80, 0x80, 1]]),
            MALFORMED,
        ),
    ];
    for (name, bytes) in NOT_UTF8 {
        for identifier in [property::CONTENT_TYPE, property::RESPONSE_TOPIC] {
            rows.push(row(
                &format!("{name} in property {identifier:02x}"),
                text(identifier, bytes),
                MALFORMED,
            ));
        }
        let pair = [text(property::USER_PROPERTY, bytes), vec![0, 0]].concat();
        rows.push(row(&format!("{name} in a user property"), pair, MALFORMED));
    }
    rows
}
