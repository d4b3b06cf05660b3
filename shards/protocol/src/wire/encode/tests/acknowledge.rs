use super::{BEFORE_5, appended, body, packet_id};
use crate::wire::encode::{pingresp, puback, pubcomp, pubrec, pubrel, suback, unsuback};
use crate::wire::{ReasonCode, Version};

#[test]
fn an_acknowledgement_of_success_has_4_bytes_in_every_version() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let id = packet_id(0x0102);
        let success = ReasonCode::SUCCESS;
        let mut out = Vec::new();
        puback(&mut out, version, id, success);
        pubrec(&mut out, version, id, success);
        pubrel(&mut out, version, id, success);
        pubcomp(&mut out, version, id, success);
        assert_eq!(
            out,
            b"\x40\x02\x01\x02\x50\x02\x01\x02\x62\x02\x01\x02\x70\x02\x01\x02"
        );
    }
}

#[test]
fn another_reason_is_told_in_5_only() {
    let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
    let mut out = Vec::new();
    pubrel(&mut out, Version::V5, packet_id(1), reason);
    pubrel(&mut out, Version::V311, packet_id(1), reason);
    assert_eq!(out, b"\x62\x03\0\x01\x92\x62\x02\0\x01");
}

/// [MQTT-3.9.3-1]; [3.1.1 MQTT-3.9.3-2]
#[test]
fn a_suback_has_a_code_for_each_filter() {
    let reasons = [
        ReasonCode::GRANTED_QOS_0,
        ReasonCode::GRANTED_QOS_2,
        ReasonCode::NOT_AUTHORIZED,
    ];
    let mut out = Vec::new();
    suback(&mut out, Version::V5, packet_id(1), &reasons);
    assert_eq!(out, b"\x90\x06\0\x01\0\0\x02\x87");
    for version in BEFORE_5 {
        let mut out = Vec::new();
        suback(&mut out, version, packet_id(1), &reasons);
        assert_eq!(out, b"\x90\x05\0\x01\0\x02\x80");
    }
}

/// [MQTT-3.11.3-1]
#[test]
fn an_unsuback_has_codes_in_5_only() {
    let reasons = [ReasonCode::SUCCESS, ReasonCode::NO_SUBSCRIPTION_EXISTED];
    let mut out = Vec::new();
    unsuback(&mut out, Version::V5, packet_id(1), &reasons);
    assert_eq!(out, b"\xB0\x05\0\x01\0\0\x11");
    for version in BEFORE_5 {
        let mut out = Vec::new();
        unsuback(&mut out, version, packet_id(1), &reasons);
        assert_eq!(out, b"\xB0\x02\0\x01");
    }
}

#[test]
fn a_suback_of_many_filters_has_a_longer_length() {
    let reasons = vec![ReasonCode::QUOTA_EXCEEDED; 100_000];
    let out = appended(|out| suback(out, Version::V5, packet_id(1), &reasons));
    assert_eq!(body(&out).len(), 100_003);
}

#[test]
fn a_pingresp_has_2_bytes() {
    assert_eq!(appended(pingresp), b"\xD0\0");
}
