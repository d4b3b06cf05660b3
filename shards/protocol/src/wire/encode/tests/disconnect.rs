use super::{BEFORE_5, appended};
use crate::wire::encode::{auth_within, disconnect, disconnect_size, disconnect_within};
use crate::wire::{ReasonCode, Version};

#[test]
fn a_disconnect_is_as_short_as_it_can_be() {
    let encoded = |reason, text, server| {
        let out = appended(|out| disconnect(out, Version::V5, reason, text, server));
        assert_eq!(disconnect_size(reason, text, server), out.len());
        out
    };
    let normal = ReasonCode::NORMAL_DISCONNECTION;
    assert_eq!(encoded(normal, None, None), b"\xE0\0");
    let taken_over = ReasonCode::SESSION_TAKEN_OVER;
    assert_eq!(encoded(taken_over, None, None), b"\xE0\x01\x8E");
    assert_eq!(
        encoded(taken_over, Some("by"), None),
        b"\xE0\x07\x8E\x05\x1F\0\x02by"
    );
    assert_eq!(encoded(normal, Some(""), None), b"\xE0\x05\0\x03\x1F\0\0");
    let moved = ReasonCode::SERVER_MOVED;
    assert_eq!(
        encoded(moved, None, Some("h")),
        b"\xE0\x06\x9D\x04\x1C\0\x01h"
    );
}

#[test]
fn a_server_does_not_say_disconnect_before_5() {
    for version in BEFORE_5 {
        let reason = ReasonCode::SERVER_BUSY;
        assert_eq!(
            appended(|out| disconnect(out, version, reason, Some("x"), None)),
            b""
        );
    }
}

/// [MQTT-3.14.2-3]
#[test]
fn a_disconnect_drops_its_reason_string_where_it_does_not_fit() {
    let within = |maximum| {
        appended(|out| {
            let reason = ReasonCode::SERVER_BUSY;
            disconnect_within(out, Version::V5, reason, Some("x"), None, maximum);
        })
    };
    assert_eq!(within(8), b"\xE0\x06\x89\x04\x1F\0\x01x");
    assert_eq!(within(7), b"\xE0\x01\x89");
    assert_eq!(within(2), b"");
}

#[test]
fn an_auth_has_its_method() {
    let reason = ReasonCode::CONTINUE_AUTHENTICATION;
    let auth = |reason, data| {
        appended(|out| {
            assert!(auth_within(out, reason, "m", data, u32::MAX));
        })
    };
    let out = auth(reason, Some(b"\xFF"));
    assert_eq!(out, b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01\xFF");
    let out = auth(ReasonCode::SUCCESS, None);
    assert_eq!(out, b"\xF0\x06\0\x04\x15\0\x01m");
}

/// [MQTT-3.15.2-2], [MQTT-3.15.2-3]
#[test]
fn an_auth_that_does_not_fit_is_not_sent() {
    let within = |maximum| {
        let mut fits = false;
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        let out = appended(|out| fits = auth_within(out, reason, "m", Some(b"\xFF"), maximum));
        assert_eq!(fits, !out.is_empty());
        out
    };
    assert_eq!(within(12), b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01\xFF");
    assert_eq!(within(11), b"");
}
