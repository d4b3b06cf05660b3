use super::*;
use crate::wire::{ReasonCode, client};

const V311: &[u8] = b"\0\x04MQTT\x04";
const V5: &[u8] = b"\0\x04MQTT\x05";

/// A CONNECT: protocol, connect flags, keep alive of 10 s, and `rest`.
fn body(protocol: &[u8], flags: u8, rest: &[u8]) -> Vec<u8> {
    [protocol, &[flags, 0, 10], rest].concat()
}

/// A 5.0 CONNECT with these properties and an empty client identifier.
fn with_properties(section: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    client::properties(&mut rest, section);
    rest.extend_from_slice(&[0, 0]);
    body(V5, 2, &rest)
}

fn error(body: &[u8]) -> DecodeError {
    decode_connect(0x10, body).unwrap_err().error
}

fn answer(body: &[u8]) -> Option<(Version, ReasonCode)> {
    decode_connect(0x10, body).unwrap_err().answer()
}

#[test]
fn a_3_1_1_connect_has_what_stands_for_absent_properties() {
    let body = body(V311, 0, b"\0\x02id");
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!(connect.version, Version::V311);
    assert_eq!((connect.clean_start, connect.keep_alive), (false, 10));
    assert_eq!(connect.client_id, "id");
    assert_eq!(connect.session_expiry, u32::MAX);
    assert_eq!(connect.receive_maximum, NonZeroU16::MAX);
    assert!(connect.request_problem_information);
    assert_eq!(connect.maximum_packet_size, None);
}

#[test]
fn a_clean_3_1_1_session_ends_with_its_connection() {
    let body = body(V311, 2, b"\0\x02id");
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!((connect.clean_start, connect.session_expiry), (true, 0));
}

#[test]
fn a_3_1_connect_is_laid_out_like_a_3_1_1_connect() {
    let id = b"\0\x19a client id of 25 letters";
    let body = body(b"\0\x06MQIsdp\x03", 2, &[&id[..26], b"s"].concat());
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!(connect.version, Version::V31);
    assert_eq!(connect.client_id.len(), 25);
}

/// [MQTT-3.1.0-1]
#[test]
fn another_packet_than_connect_is_not_answered() {
    for first in [0x00, 0x20, 0x30, 0xC0, 0xE0, 0xF0, b'G'] {
        let refused = decode_connect(first, &body(V5, 2, b"\0\0\0")).unwrap_err();
        assert_eq!(refused.error, ProtocolError::NotConnect.into());
        assert_eq!(refused.answer(), None);
    }
}

/// [MQTT-2.1.3-1]
#[test]
fn wrong_flags_in_the_fixed_header_are_malformed() {
    for flags in 1..16 {
        let refused = decode_connect(0x10 | flags, &body(V5, 2, b"\0\0\0")).unwrap_err();
        assert_eq!(refused.error, Malformed::FixedHeaderFlags.into());
        assert_eq!(
            refused.answer(),
            Some((Version::V5, ReasonCode::MALFORMED_PACKET))
        );
    }
}

/// [MQTT-3.1.2-2]
#[test]
fn an_unknown_level_is_answered_in_a_version_that_the_client_may_know() {
    let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
    for level in [6, 7, 0x63, 0x7F, 0xFF] {
        let protocol = [b"\0\x04MQTT", &[level][..]].concat();
        for (payload, version) in [
            (&b"\0\0"[..], Version::V311),
            (b"\0\x02id", Version::V311),
            (b"\0\0\0", Version::V5),
            (b"\0\0\x02id", Version::V5),
            (b"\x03\x21\0\x01\0\x02id", Version::V5),
            (b"", Version::V5),
        ] {
            let body = body(&protocol, 2, payload);
            assert_eq!(answer(&body), Some((version, unsupported)), "{level}");
        }
    }
    for level in [0, 1, 2, 3] {
        let body = body(&[b"\0\x04MQTT", &[level][..]].concat(), 2, b"\0\0");
        assert_eq!(answer(&body), Some((Version::V311, unsupported)), "{level}");
    }
    let body = body(b"\0\x06MQIsdp\x04", 2, b"\0\0");
    assert_eq!(answer(&body), Some((Version::V311, unsupported)));
}

#[test]
fn the_bit_by_which_a_bridge_asks_is_refused_in_the_version_of_the_bridge() {
    for protocol in [&b"\0\x06MQIsdp\x83"[..], b"\0\x04MQTT\x84"] {
        let body = body(protocol, 2, b"\0\x02id");
        let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
        assert_eq!(answer(&body), Some((Version::V311, unsupported)));
    }
}

/// [MQTT-3.1.2-1]
#[test]
fn an_unknown_protocol_is_answered_only_if_it_calls_itself_level_5() {
    let unsupported = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
    let five = body(b"\0\x04mqtt\x05", 2, b"\0\0\0");
    assert_eq!(answer(&five), Some((Version::V5, unsupported)));
    let four = body(b"\0\x04mqtt\x04", 2, b"\0\0");
    assert_eq!(error(&four), ProtocolError::UnsupportedVersion.into());
    assert_eq!(answer(&four), None);
}

#[test]
fn a_connect_cut_short_is_malformed_everywhere() {
    let rest = b"\0\0\x02id\0\0\x04will\0\x01x\0\x04user\0\x04pass";
    let whole = body(V5, 0b1110_1110, rest);
    assert!(decode_connect(0x10, &whole).is_ok());
    for end in 0..whole.len() {
        assert_eq!(error(&whole[..end]), Malformed::Truncated.into(), "{end}");
        let answered = Some((Version::V5, ReasonCode::MALFORMED_PACKET)).filter(|_| end >= 7);
        assert_eq!(answer(&whole[..end]), answered, "{end}");
    }
}

#[test]
fn bytes_behind_the_last_field_are_malformed() {
    assert_eq!(
        error(&body(V5, 2, b"\0\0\0\0")),
        Malformed::TrailingBytes.into()
    );
    assert_eq!(
        error(&body(V311, 2, b"\0\0\0")),
        Malformed::TrailingBytes.into()
    );
}

#[test]
fn a_malformed_3_1_1_connect_is_closed_without_an_answer() {
    let body = body(V311, 3, b"\0\x02id");
    assert_eq!(error(&body), Malformed::ConnectFlagReserved.into());
    assert_eq!(answer(&body), None);
}

/// [MQTT-3.1.2-3]
#[test]
fn the_reserved_connect_flag_is_malformed() {
    let body = body(V5, 3, b"\0\0\0");
    assert_eq!(error(&body), Malformed::ConnectFlagReserved.into());
    assert_eq!(
        answer(&body),
        Some((Version::V5, ReasonCode::MALFORMED_PACKET))
    );
}

/// [MQTT-3.1.2-12]
#[test]
fn will_qos_3_is_malformed() {
    let body = body(V5, 0b0001_1110, b"\0\0\0\0\0\x01w\0\0");
    assert_eq!(error(&body), Malformed::QoS3.into());
}

/// [MQTT-3.1.2-11], [MQTT-3.1.2-13]
#[test]
fn will_qos_and_will_retain_without_a_will_are_malformed() {
    for flags in [0b0000_1000, 0b0001_0000, 0b0001_1000, 0b0010_0000] {
        for (protocol, rest) in [(V5, &b"\0\0\0"[..]), (V311, b"\0\0")] {
            let error = error(&body(protocol, flags, rest));
            assert_eq!(error, Malformed::WillFlagsWithoutWill.into());
        }
    }
}

/// [MQTT-3.1.2-9]
#[test]
fn a_will_flag_without_will_fields_is_malformed() {
    assert_eq!(
        error(&body(V5, 0b110, b"\0\0\0")),
        Malformed::Truncated.into()
    );
    assert_eq!(
        error(&body(V311, 0b110, b"\0\x02id")),
        Malformed::Truncated.into()
    );
}

#[test]
fn a_will_has_its_flags_its_delay_and_its_properties() {
    let section = b"\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01t";
    let mut rest = b"\0\0\0".to_vec();
    client::properties(&mut rest, section);
    rest.extend_from_slice(b"\0\x03w/#\0\x03\0\xFFx");
    let body = body(V5, 0b0011_0110, &rest);
    let will = decode_connect(0x10, &body).unwrap().will.unwrap();
    assert_eq!(
        (will.qos, will.retain, will.delay),
        (QoS::ExactlyOnce, true, 5)
    );
    assert_eq!((will.topic, will.payload), ("w/#", &b"\0\xFFx"[..]));
    assert_eq!(will.properties.message_expiry(), Some(9));
    assert_eq!(will.properties.content_type(), Some("t"));
    assert!(will.properties.payload_is_utf8());
    let mut forwarded = Vec::new();
    will.properties.forwarded_into(&mut forwarded);
    assert_eq!(forwarded, b"\x01\x01\x03\0\x01t");
}

/// [MQTT-4.7.3-1]
#[test]
fn a_will_without_a_topic_is_a_protocol_error() {
    let body = body(V311, 0b110, b"\0\x02id\0\0\0\0");
    assert_eq!(error(&body), ProtocolError::TopicNameEmpty.into());
}

#[test]
fn a_property_of_publish_that_no_will_has_is_malformed() {
    for section in [&b"\x23\0\x01"[..], b"\x0B\x01", b"\x21\0\x01"] {
        let mut rest = b"\0\0\0".to_vec();
        client::properties(&mut rest, section);
        rest.extend_from_slice(b"\0\x01w\0\0");
        let error = error(&body(V5, 0b110, &rest));
        assert_eq!(error, Malformed::PropertyNotAllowed.into());
    }
}

/// [3.1.1 MQTT-3.1.2-22]; 5.0 took the statement back.
#[test]
fn a_password_without_a_user_name_is_malformed_in_3_1_1_only() {
    let error = error(&body(V311, 0b0100_0010, b"\0\x02id\0\x02pw"));
    assert_eq!(error, Malformed::PasswordWithoutUserName.into());
    let body = body(V5, 0b0100_0010, b"\0\0\0\0\x02pw");
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!(
        (connect.username, connect.password),
        (None, Some(&b"pw"[..]))
    );
}

/// [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12]
#[test]
fn client_id_will_topic_and_user_name_are_utf8_and_a_password_is_not() {
    for rest in [
        &b"\0\x01\xFF\0\x01w\0\0\0\x01u\0\x01\xFF"[..],
        b"\0\x01c\0\x01\xFF\0\0\0\x01u\0\x01\xFF",
        b"\0\x01c\0\x01w\0\0\0\x01\xFF\0\x01\xFF",
    ] {
        assert_eq!(
            error(&body(V311, 0b1100_0110, rest)),
            Malformed::NotUtf8.into()
        );
    }
    let rest = b"\0\x01c\0\x01w\0\x01\xFF\0\x01u\0\x02\xFF\0";
    let body = body(V311, 0b1100_0110, rest);
    assert_eq!(
        decode_connect(0x10, &body).unwrap().password,
        Some(&b"\xFF\0"[..])
    );
}

#[test]
fn a_null_character_in_the_client_id_is_malformed() {
    let error = error(&body(V311, 2, b"\0\x03a\0b"));
    assert_eq!(error, Malformed::NullCharacter.into());
}

#[test]
fn the_properties_are_read() {
    let section = b"\x11\0\0\0\x3C\x21\0\x0A\x27\0\0\x10\0\x22\0\x05\x19\x01\x17\0\
        \x15\0\x01m\x16\0\x02\xFF\0\x26\0\x01k\0\x01v\x26\0\x01k\0\x01v";
    let body = with_properties(section);
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!(connect.session_expiry, 60);
    assert_eq!(connect.receive_maximum.get(), 10);
    assert_eq!(connect.maximum_packet_size.unwrap().get(), 4096);
    assert_eq!(connect.topic_alias_maximum, 5);
    assert!(connect.request_response_information);
    assert!(!connect.request_problem_information);
    assert_eq!(connect.authentication_method, Some("m"));
    assert_eq!(connect.authentication_data, Some(&b"\xFF\0"[..]));
    assert_eq!(connect.user_properties.len(), 2);
    assert!(connect.user_properties.iter().eq([("k", "v"), ("k", "v")]));
}

/// Sections 3.1.2.11.3, 3.1.2.11.4, 3.1.2.11.6, 3.1.2.11.7 and 3.1.2.11.10.
#[test]
fn values_out_of_range_are_protocol_errors() {
    let cases: [(&[u8], ProtocolError); 5] = [
        (b"\x21\0\0", ProtocolError::ReceiveMaximumZero),
        (b"\x27\0\0\0\0", ProtocolError::MaximumPacketSizeZero),
        (b"\x17\x02", ProtocolError::FlagPropertyRange),
        (b"\x19\xFF", ProtocolError::FlagPropertyRange),
        (
            b"\x16\0\x01d",
            ProtocolError::AuthenticationDataWithoutMethod,
        ),
    ];
    for (section, expected) in cases {
        let body = with_properties(section);
        assert_eq!(error(&body), expected.into());
        assert_eq!(
            answer(&body),
            Some((Version::V5, ReasonCode::PROTOCOL_ERROR))
        );
    }
}

#[test]
fn a_property_twice_is_a_protocol_error() {
    for once in [
        &b"\x11\0\0\0\x01"[..],
        b"\x21\0\x01",
        b"\x27\0\0\0\x01",
        b"\x22\0\x01",
        b"\x19\x01",
        b"\x17\x01",
        b"\x15\0\x01m",
        b"\x16\0\x01d",
    ] {
        let error = error(&with_properties(&[once, once].concat()));
        assert_eq!(error, ProtocolError::PropertyTwice.into(), "{once:?}");
    }
}

#[test]
fn unknown_and_foreign_properties_are_malformed() {
    for id in [0x00, 0x04, 0x2B, 0x3F, 0x40, 0x7F, 0x80, 0xFF] {
        let error = error(&with_properties(&[id, 0, 0, 0, 0]));
        assert_eq!(error, Malformed::PropertyUnknown.into(), "{id}");
    }
    for section in [
        &b"\x12\0\0"[..],
        b"\x23\0\x01",
        b"\x18\0\0\0\0",
        b"\x1F\0\0",
    ] {
        let error = error(&with_properties(section));
        assert_eq!(error, Malformed::PropertyNotAllowed.into(), "{section:?}");
    }
}

#[test]
fn properties_longer_than_the_packet_or_cut_short_are_malformed() {
    assert_eq!(
        error(&body(V5, 2, b"\x7F\0\0")),
        Malformed::Truncated.into()
    );
    assert_eq!(
        error(&with_properties(b"\x11\0\0\0")),
        Malformed::Truncated.into()
    );
    assert_eq!(
        error(&with_properties(b"\x26\0\x01k\0\x05v")),
        Malformed::Truncated.into()
    );
}

/// [MQTT-1.5.5-1]
#[test]
fn a_property_length_in_too_many_bytes_is_malformed() {
    let not_minimal = error(&body(V5, 2, b"\x80\x00\0\0"));
    assert_eq!(not_minimal, Malformed::LengthNotMinimal.into());
    let too_long = error(&body(V5, 2, b"\xFF\xFF\xFF\xFF\x01\0\0"));
    assert_eq!(too_long, Malformed::LengthTooLong.into());
}

#[test]
fn ten_thousand_user_properties_are_counted_and_not_refused() {
    let section = client::user_properties(vec![("k", "v"); 10_000]);
    let body = with_properties(&section);
    let connect = decode_connect(0x10, &body).unwrap();
    assert_eq!(connect.user_properties.len(), 10_000);
}
