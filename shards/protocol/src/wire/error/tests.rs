use super::*;

#[test]
fn what_cannot_be_decoded_is_0x81() {
    for fault in [
        Malformed::ConnectFlagReserved,
        Malformed::TrailingBytes,
        Malformed::QoS3,
    ] {
        assert_eq!(DecodeError::from(fault).reason_code(), ReasonCode(0x81));
    }
}

/// Sections 3.3.4, 3.2.2.3.6 and 3.1.2.2.
#[test]
fn what_breaks_a_rule_is_0x82_but_for_three() {
    let code = |fault| DecodeError::ProtocolError(fault).reason_code().0;
    assert_eq!(code(ProtocolError::PropertyTwice), 0x82);
    assert_eq!(code(ProtocolError::TopicAliasZero), 0x94);
    assert_eq!(code(ProtocolError::PacketTooLarge), 0x95);
    assert_eq!(code(ProtocolError::UnsupportedVersion), 0x84);
}

#[test]
fn an_error_says_what_the_packet_has() {
    let error = DecodeError::from(Malformed::DupAtQoS0);
    assert_eq!(error.to_string(), "DUP set at QoS 0 [MQTT-3.3.1-2]");
}

#[test]
fn a_3_x_client_is_answered_about_its_version_only() {
    let answer = |version, error| ConnectError { version, error }.answer();
    let unsupported = ProtocolError::UnsupportedVersion.into();
    let malformed = Malformed::TrailingBytes.into();
    for version in [Version::V31, Version::V311] {
        let refusal = (version, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
        assert_eq!(answer(Some(version), unsupported), Some(refusal));
        assert_eq!(answer(Some(version), malformed), None);
    }
    let refusal = (Version::V5, ReasonCode::MALFORMED_PACKET);
    assert_eq!(answer(Some(Version::V5), malformed), Some(refusal));
    assert_eq!(answer(None, unsupported), None);
}
