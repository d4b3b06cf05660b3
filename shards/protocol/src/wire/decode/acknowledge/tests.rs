use super::*;
use crate::wire::{Malformed, Packet, client, decode};

/// The first bytes of PUBACK, PUBREC, PUBREL and PUBCOMP.
const TYPES: [u8; 4] = [0x40, 0x50, 0x62, 0x70];

fn ack(version: Version, first: u8, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    decode(version, first, body).map(|packet| match packet {
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack
        }
        other => panic!("{other:?}"),
    })
}

#[test]
fn an_acknowledgement_of_two_bytes_is_a_success() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for first in TYPES {
            let ack = ack(version, first, &[0x12, 0x34]).unwrap();
            assert_eq!(
                (ack.packet_id.0.get(), ack.reason),
                (0x1234, ReasonCode::SUCCESS)
            );
            assert!(ack.reason_string.is_none() && ack.user_properties.is_empty());
        }
    }
}

/// Section 3.4.2.2.1
#[test]
fn an_acknowledgement_of_three_bytes_has_no_properties() {
    for first in [0x62, 0x70] {
        let ack = ack(Version::V5, first, &[0, 1, 0x92]).unwrap();
        assert_eq!(ack.reason, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
    }
}

#[test]
fn the_properties_are_read() {
    let mut body = vec![0, 1, 0x10];
    client::properties(&mut body, b"\x26\0\x01k\0\x01v\x1F\0\x02no");
    let ack = ack(Version::V5, 0x40, &body).unwrap();
    assert_eq!(ack.reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    assert_eq!(ack.reason_string, Some("no"));
    assert!(ack.user_properties.iter().eq([("k", "v")]));
}

#[test]
fn before_5_there_is_nothing_behind_the_packet_identifier() {
    for first in TYPES {
        let error = ack(Version::V311, first, &[0, 1, 0]).unwrap_err();
        assert_eq!(error, Malformed::TrailingBytes.into());
    }
}

#[test]
fn cut_short_or_too_long_is_malformed() {
    for body in [&b""[..], b"\0", b"\0\x01\0\x01", b"\0\x01\0\x03\x1F\0\x01"] {
        let error = ack(Version::V5, 0x40, body).unwrap_err();
        assert_eq!(error, Malformed::Truncated.into(), "{body:?}");
    }
    let error = ack(Version::V5, 0x40, b"\0\x01\0\0\0").unwrap_err();
    assert_eq!(error, Malformed::TrailingBytes.into());
}

/// [MQTT-2.2.1-3]
#[test]
fn packet_identifier_0_is_a_protocol_error() {
    for first in TYPES {
        let error = ack(Version::V311, first, &[0, 0]).unwrap_err();
        assert_eq!(error, ProtocolError::PacketIdZero.into());
    }
}

/// [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1]
#[test]
fn each_type_has_its_reasons() {
    let of_publish = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let of_release = [0x00, 0x92];
    for reason in 0..=u8::MAX {
        for (first, allowed) in [
            (0x40, &of_publish[..]),
            (0x50, &of_publish),
            (0x62, &of_release),
            (0x70, &of_release),
        ] {
            let body = [0, 1, reason];
            let decoded = ack(Version::V5, first, &body);
            if allowed.contains(&reason) {
                assert_eq!(decoded.unwrap().reason, ReasonCode(reason));
            } else {
                let error = ProtocolError::ReasonCodeNotAllowed.into();
                assert_eq!(decoded, Err(error), "{first:#x} {reason:#x}");
            }
        }
    }
}

#[test]
fn foreign_properties_are_malformed() {
    let error = ack(Version::V5, 0x40, b"\0\x01\0\x03\x21\0\x01").unwrap_err();
    assert_eq!(error, Malformed::PropertyNotAllowed.into());
}
