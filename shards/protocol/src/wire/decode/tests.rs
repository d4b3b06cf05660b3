use super::*;
use crate::wire::{ReasonCode, client};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn error(version: Version, first: u8, body: &[u8]) -> DecodeError {
    decode(version, first, body).unwrap_err()
}

/// [MQTT-3.1.0-2]
#[test]
fn a_second_connect_is_a_protocol_error() {
    for version in VERSIONS {
        let error = error(version, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\0");
        assert_eq!(error, ProtocolError::SecondConnect.into());
    }
}

#[test]
fn what_only_a_server_sends_is_a_protocol_error() {
    for version in VERSIONS {
        for first in [0x20, 0x90, 0xB0, 0xD0] {
            assert_eq!(
                error(version, first, &[0, 0]),
                ProtocolError::ServerPacket.into()
            );
        }
    }
}

#[test]
fn type_0_is_malformed_and_so_is_auth_before_5() {
    for version in VERSIONS {
        assert_eq!(error(version, 0x00, &[]), Malformed::PacketType.into());
    }
    for version in [Version::V31, Version::V311] {
        assert_eq!(error(version, 0xF0, &[]), Malformed::PacketType.into());
    }
}

/// [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1],
/// [MQTT-3.15.1-1]
#[test]
fn wrong_flags_in_the_fixed_header_are_malformed() {
    for version in [Version::V311, Version::V5] {
        for kind in [4, 5, 6, 7, 8, 10, 12, 14, 15] {
            let right = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0..16).filter(|flags| *flags != right) {
                let error = error(version, kind << 4 | flags, &[0, 1]);
                assert_eq!(error, Malformed::FixedHeaderFlags.into(), "{kind} {flags}");
            }
        }
    }
}

#[test]
fn a_3_1_client_may_say_that_it_sends_again() {
    let body = b"\0\x01\0\x01a\0";
    assert!(decode(Version::V31, 0x6A, &[0, 1]).is_ok());
    assert!(decode(Version::V31, 0x8A, body).is_ok());
    assert!(decode(Version::V31, 0xAA, &body[..5]).is_ok());
    assert_eq!(
        error(Version::V31, 0x68, &[0, 1]),
        Malformed::FixedHeaderFlags.into()
    );
    assert_eq!(
        error(Version::V311, 0x6A, &[0, 1]),
        Malformed::FixedHeaderFlags.into()
    );
}

#[test]
fn pingreq_has_no_body() {
    for version in VERSIONS {
        assert_eq!(decode(version, 0xC0, &[]), Ok(Packet::PingReq));
        assert_eq!(error(version, 0xC0, &[0]), Malformed::TrailingBytes.into());
    }
}

#[test]
fn a_3_1_1_disconnect_has_no_body() {
    let Ok(Packet::Disconnect(disconnect)) = decode(Version::V311, 0xE0, &[]) else {
        panic!("no DISCONNECT")
    };
    assert_eq!(disconnect.reason, ReasonCode::NORMAL_DISCONNECTION);
    assert_eq!(
        error(Version::V311, 0xE0, &[0]),
        Malformed::TrailingBytes.into()
    );
}

/// Section 3.14.2.1
#[test]
fn a_5_disconnect_may_leave_off_its_properties_and_its_reason() {
    for (body, reason) in [
        (&b""[..], ReasonCode::NORMAL_DISCONNECTION),
        (b"\x04", ReasonCode::DISCONNECT_WITH_WILL_MESSAGE),
        (b"\x04\0", ReasonCode::DISCONNECT_WITH_WILL_MESSAGE),
    ] {
        let Ok(Packet::Disconnect(disconnect)) = decode(Version::V5, 0xE0, body) else {
            panic!("no DISCONNECT in {body:?}")
        };
        assert_eq!(
            (disconnect.reason, disconnect.session_expiry),
            (reason, None)
        );
    }
}

#[test]
fn the_properties_of_disconnect_are_read() {
    let mut body = vec![0];
    client::properties(
        &mut body,
        b"\x11\0\0\0\x05\x1F\0\x02ok\x1C\0\x01s\x26\0\x01k\0\x01v",
    );
    let Ok(Packet::Disconnect(disconnect)) = decode(Version::V5, 0xE0, &body) else {
        panic!("no DISCONNECT")
    };
    assert_eq!(disconnect.session_expiry, Some(5));
    assert_eq!(disconnect.reason_string, Some("ok"));
    assert!(disconnect.user_properties.iter().eq([("k", "v")]));
}

/// [MQTT-3.14.2-1], table 3-10
#[test]
fn a_client_disconnects_with_the_reasons_of_a_client() {
    let allowed = [
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];
    for reason in 0..=u8::MAX {
        let body = [reason];
        let decoded = decode(Version::V5, 0xE0, &body);
        if allowed.contains(&reason) {
            assert!(decoded.is_ok(), "{reason:#x}");
        } else {
            let error = ProtocolError::ReasonCodeNotAllowed.into();
            assert_eq!(decoded, Err(error), "{reason:#x}");
        }
    }
}

#[test]
fn bytes_behind_the_properties_of_disconnect_are_malformed() {
    assert_eq!(
        error(Version::V5, 0xE0, &[0, 0, 0]),
        Malformed::TrailingBytes.into()
    );
    assert_eq!(
        error(Version::V5, 0xE0, &[0, 1]),
        Malformed::Truncated.into()
    );
}

#[test]
fn an_auth_is_read() {
    let mut body = vec![0x18];
    client::properties(
        &mut body,
        b"\x15\0\x01m\x16\0\x02\xFF\0\x1F\0\x01r\x26\0\x01k\0\x01v",
    );
    let Ok(Packet::Auth(auth)) = decode(Version::V5, 0xF0, &body) else {
        panic!("no AUTH")
    };
    assert_eq!(auth.reason, ReasonCode::CONTINUE_AUTHENTICATION);
    assert_eq!((auth.method, auth.data), (Some("m"), Some(&b"\xFF\0"[..])));
    assert_eq!(auth.reason_string, Some("r"));
    assert_eq!(auth.user_properties.len(), 1);
}

/// [MQTT-3.15.2-1]; section 3.15.2.2.2
#[test]
fn an_auth_has_a_method_and_a_reason_of_a_client() {
    let with_method = |reason| [&[reason, 4], &b"\x15\0\x01m"[..]].concat();
    assert!(decode(Version::V5, 0xF0, &with_method(0x19)).is_ok());
    let reason = ProtocolError::ReasonCodeNotAllowed.into();
    assert_eq!(error(Version::V5, 0xF0, &[]), reason);
    assert_eq!(error(Version::V5, 0xF0, &with_method(0x00)), reason);
    assert_eq!(error(Version::V5, 0xF0, &with_method(0x80)), reason);
    let method = ProtocolError::AuthenticationMethodMissing.into();
    assert_eq!(error(Version::V5, 0xF0, &[0x18, 0]), method);
    assert_eq!(
        error(Version::V5, 0xF0, &[0x18]),
        Malformed::Truncated.into()
    );
    let trailing = [&with_method(0x18)[..], &[0]].concat();
    assert_eq!(
        error(Version::V5, 0xF0, &trailing),
        Malformed::TrailingBytes.into()
    );
}
