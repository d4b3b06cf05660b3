use super::*;
use crate::wire::client;

/// A 5.0 SUBSCRIBE or UNSUBSCRIBE with these properties and this payload.
fn body(section: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 9];
    client::properties(&mut body, section);
    body.extend_from_slice(payload);
    body
}

fn error(section: &[u8], payload: &[u8]) -> DecodeError {
    subscribe(Version::V5, &body(section, payload)).unwrap_err()
}

#[test]
fn filters_come_in_the_order_sent_with_their_options() {
    let body = body(b"\x0B\xFF\xFF\xFF\x7F", b"\0\x03a/#\x2E\0\x01+\x11");
    let subscribe = subscribe(Version::V5, &body).unwrap();
    assert_eq!(subscribe.packet_id.0.get(), 9);
    assert_eq!(subscribe.identifier.unwrap().get(), 268_435_455);
    assert_eq!(subscribe.len(), 2);
    let filters: Vec<_> = subscribe.filters().collect();
    let first = SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DontSend,
    };
    let second = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendIfNew,
    };
    assert_eq!(filters, [("a/#", first), ("+", second)]);
}

#[test]
fn a_3_1_1_subscription_has_a_qos_alone() {
    let subscribe = subscribe(Version::V311, b"\0\x01\0\x01a\x02").unwrap();
    assert_eq!(subscribe.identifier, None);
    let (filter, options) = subscribe.filters().next().unwrap();
    assert_eq!((filter, options.qos), ("a", QoS::ExactlyOnce));
    assert_eq!(options.retain_handling, RetainHandling::Send);
    assert!(!options.no_local && !options.retain_as_published);
}

/// [3.1.1 MQTT-3.8.3-4]
#[test]
fn a_3_1_1_subscription_with_another_bit_is_refused() {
    for options in 3..=u8::MAX {
        assert!(subscribe(Version::V311, &[0, 1, 0, 1, b'a', options]).is_err());
    }
}

/// [MQTT-3.8.3-5]; section 3.8.3.1
#[test]
fn options_out_of_range_are_refused() {
    let subscription = |options| [&b"\0\x01a"[..], &[options]].concat();
    for options in [0b0100_0000, 0b1000_0000, 0b1100_0010] {
        let reserved = Malformed::SubscriptionOptionReserved.into();
        assert_eq!(error(b"", &subscription(options)), reserved);
    }
    assert_eq!(
        error(b"", &subscription(3)),
        ProtocolError::SubscriptionQoS3.into()
    );
    let handling = ProtocolError::RetainHandling3.into();
    assert_eq!(error(b"", &subscription(0b0011_0000)), handling);
}

/// [MQTT-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let error = error(b"", b"\0\x01a\x04\0\x0A$share/g/t\x04");
    assert_eq!(error, ProtocolError::NoLocalOnShared.into());
    let shared = body(b"", b"\0\x0A$share/g/t\x00");
    assert!(subscribe(Version::V5, &shared).is_ok());
    let similar = body(b"", b"\0\x07$sharex\x04");
    assert!(subscribe(Version::V5, &similar).is_ok());
}

/// Section 3.8.2.1.2
#[test]
fn a_subscription_identifier_is_not_0_and_stands_once() {
    let zero = ProtocolError::SubscriptionIdentifierZero.into();
    assert_eq!(error(b"\x0B\0", b"\0\x01a\0"), zero);
    let twice = ProtocolError::PropertyTwice.into();
    assert_eq!(error(b"\x0B\x01\x0B\x02", b"\0\x01a\0"), twice);
    let foreign = body(b"\x0B\x01", b"\0\x01a");
    let unsubscribe = unsubscribe(Version::V5, &foreign);
    assert_eq!(unsubscribe, Err(Malformed::PropertyNotAllowed.into()));
}

/// [MQTT-3.8.3-2], [MQTT-3.10.3-2]
#[test]
fn a_packet_without_a_filter_is_a_protocol_error() {
    let none = DecodeError::from(ProtocolError::NoTopicFilter);
    assert_eq!(error(b"", b""), none);
    assert_eq!(subscribe(Version::V311, b"\0\x01"), Err(none));
    assert_eq!(unsubscribe(Version::V311, b"\0\x01"), Err(none));
    assert_eq!(unsubscribe(Version::V5, b"\0\x01\0"), Err(none));
}

/// [MQTT-4.7.3-1]
#[test]
fn an_empty_filter_is_a_protocol_error() {
    let empty = DecodeError::from(ProtocolError::TopicFilterEmpty);
    assert_eq!(error(b"", b"\0\0\0"), empty);
    assert_eq!(unsubscribe(Version::V311, b"\0\x01\0\0"), Err(empty));
}

/// [MQTT-3.8.3-1], [MQTT-3.10.3-1]
#[test]
fn a_filter_that_is_not_utf8_is_malformed() {
    assert_eq!(error(b"", b"\0\x01\xFF\0"), Malformed::NotUtf8.into());
    assert_eq!(error(b"", b"\0\x02a\0\0"), Malformed::NullCharacter.into());
    let unsubscribe = unsubscribe(Version::V311, b"\0\x01\0\x01\xFF");
    assert_eq!(unsubscribe, Err(Malformed::NotUtf8.into()));
}

#[test]
fn a_packet_cut_short_is_malformed() {
    for payload in [&b"\0"[..], b"\0\x02a", b"\0\x01a", b"\0\x01a\0\0"] {
        assert_eq!(
            error(b"", payload),
            Malformed::Truncated.into(),
            "{payload:?}"
        );
    }
    assert_eq!(
        subscribe(Version::V5, b"\0"),
        Err(Malformed::Truncated.into())
    );
    assert_eq!(
        subscribe(Version::V5, b"\0\x01"),
        Err(Malformed::Truncated.into())
    );
}

/// [MQTT-2.2.1-3]
#[test]
fn packet_identifier_0_is_a_protocol_error() {
    let zero = DecodeError::from(ProtocolError::PacketIdZero);
    assert_eq!(subscribe(Version::V311, b"\0\0\0\x01a\0"), Err(zero));
    assert_eq!(unsubscribe(Version::V311, b"\0\0\0\x01a"), Err(zero));
}

#[test]
fn an_unsubscribe_has_its_filters_and_user_properties() {
    let body = body(b"\x26\0\x01k\0\x01v", b"\0\x03a/#\0\x0A$share/g/t");
    let unsubscribe = unsubscribe(Version::V5, &body).unwrap();
    assert_eq!(unsubscribe.len(), 2);
    assert!(unsubscribe.filters().eq(["a/#", "$share/g/t"]));
    assert_eq!(unsubscribe.user_properties.len(), 1);
}
