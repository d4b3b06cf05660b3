use super::decode::Connack;
use super::*;

fn packet(bytes: &[u8], version: Version) -> Packet<'_> {
    let (packet, length) = decode(bytes, version).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    packet
}

#[test]
fn a_connect_of_mqtt_3_has_the_bytes_of_the_standard() {
    let mut out = Vec::new();
    let request = Connect {
        version: Version::V311,
        client_id: "ab",
        clean: true,
        keep_alive_s: 60,
        session_expiry_s: 0,
        credentials: None,
        will: None,
    };
    connect(&mut out, &request);
    assert_eq!(out, b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02ab");
}

#[test]
fn a_connect_of_mqtt_5_carries_session_expiry_and_credentials() {
    let mut out = Vec::new();
    let request = Connect {
        version: Version::V5,
        client_id: "c",
        clean: false,
        keep_alive_s: 0,
        session_expiry_s: 0x0102_0304,
        credentials: Some(("u", "p")),
        will: None,
    };
    connect(&mut out, &request);
    assert_eq!(
        out,
        b"\x10\x19\0\x04MQTT\x05\xc0\0\0\x05\x11\x01\x02\x03\x04\0\x01c\0\x01u\0\x01p"
    );
}

#[test]
fn a_connect_carries_a_will_with_its_delay() {
    let mut out = Vec::new();
    let mut request = Connect {
        version: Version::V5,
        client_id: "c",
        clean: false,
        keep_alive_s: 0,
        session_expiry_s: 0,
        credentials: None,
        will: Some(Will {
            topic: "w",
            payload: b"gone",
            qos: Qos::ExactlyOnce,
            delay_s: 3,
        }),
    };
    connect(&mut out, &request);
    assert_eq!(
        out,
        b"\x10\x1d\0\x04MQTT\x05\x14\0\0\0\0\x01c\x05\x18\0\0\0\x03\0\x01w\0\x04gone"
    );
    out.clear();
    request.version = Version::V311;
    connect(&mut out, &request);
    assert_eq!(
        out,
        b"\x10\x16\0\x04MQTT\x04\x14\0\0\0\x01c\0\x01w\0\x04gone"
    );
}

#[test]
fn an_unsubscribe_and_its_answer_have_the_bytes_of_the_standard() {
    let mut out = Vec::new();
    unsubscribe(&mut out, Version::V5, 7, &["a/+".to_owned()]);
    assert_eq!(out, b"\xa2\x08\0\x07\0\0\x03a/+");
    let expected = |codes| Packet::Unsuback {
        packet_id: 7,
        codes,
    };
    assert_eq!(packet(b"\xb0\x02\0\x07", Version::V311), expected(b""));
    assert_eq!(
        packet(b"\xb0\x04\0\x07\0\x11", Version::V5),
        expected(b"\x11")
    );
}

#[test]
fn a_subscribe_holds_one_entry_per_filter() {
    let mut out = Vec::new();
    let filters = ["a/+".to_owned(), "#".to_owned()];
    subscribe(&mut out, Version::V5, 7, &filters, Qos::AtLeastOnce);
    assert_eq!(out, b"\x82\x0d\0\x07\0\0\x03a/+\x01\0\x01#\x01");
}

#[test]
fn the_head_of_a_publish_counts_what_will_follow_it() {
    let mut out = Vec::new();
    publish_head(&mut out, Version::V5, Qos::ExactlyOnce, true, "t", 200);
    assert_eq!(out, [0x35, 0xce, 0x01, 0, 1, b't']);
}

#[test]
fn a_publish_at_qos_1_is_read_back() {
    let Packet::Publish(publish) = packet(b"\x3b\x09\0\x03a/b\0\x09hi", Version::V311) else {
        panic!("not a PUBLISH");
    };
    assert_eq!(publish.topic, b"a/b");
    assert_eq!(publish.payload, b"hi");
    assert_eq!((publish.packet_id, publish.qos), (9, Qos::AtLeastOnce));
    assert!(publish.dup && publish.retain);
}

#[test]
fn the_properties_of_a_publish_are_not_part_of_its_payload() {
    let Packet::Publish(publish) = packet(b"\x30\x07\0\x01a\x02\x01\x01x", Version::V5) else {
        panic!("not a PUBLISH");
    };
    assert_eq!(publish.payload, b"x");
}

#[test]
fn every_prefix_of_a_packet_is_incomplete() {
    let bytes = b"\x32\x0a\0\x03a/b\0\x09\0hi";
    for length in 0..bytes.len() {
        assert_eq!(
            decode(&bytes[..length], Version::V5),
            Ok(None),
            "{length} bytes"
        );
    }
}

#[test]
fn what_no_server_may_send_is_malformed() {
    use Malformed::*;
    let v4 = |bytes| decode(bytes, Version::V311).unwrap_err();
    let v5 = |bytes| decode(bytes, Version::V5).unwrap_err();
    assert_eq!(v4(b"\x30\x80\x80\x80\x80\x01"), RemainingLength);
    assert_eq!(v4(b"\xd0\x80\x00"), RemainingLength);
    assert_eq!(v4(b"\x10\x00"), PacketType(1));
    assert_eq!(v4(b"\xe0\x00"), PacketType(14));
    assert_eq!(v4(b"\x60\x02\0\x01"), Flags(0x60));
    assert_eq!(v4(b"\x38\x03\0\x01a"), Flags(0x38));
    assert_eq!(v4(b"\x36\x05\0\x01a\0\x01"), Qos);
    assert_eq!(v4(b"\x30\x02\0\x00"), Topic);
    assert_eq!(v4(b"\x30\x03\0\x01+"), Topic);
    assert_eq!(v4(b"\x32\x05\0\x01a\0\0"), PacketId);
    assert_eq!(v4(b"\x40\x03\0\x01\0"), Size(0x40));
    assert_eq!(v4(b"\x20\x03\0\0\0"), Size(0x20));
    assert_eq!(v5(b"\x90\x03\0\x01\0"), Size(0x90));
    assert_eq!(v5(b"\x30\x06\0\x01a\x01\x7fx"), Properties);
}

#[test]
fn a_connack_of_mqtt_5_states_the_receive_maximum() {
    let Packet::Connack(connack) = packet(b"\x20\x06\x01\0\x03\x21\0\x14", Version::V5) else {
        panic!("not a CONNACK");
    };
    assert_eq!(
        connack,
        Connack {
            session_present: true,
            code: 0,
            receive_maximum: 20
        }
    );
}

#[test]
fn acknowledgements_are_read_with_and_without_a_reason() {
    for (bytes, reason) in [
        (b"\x40\x02\0\x05".as_slice(), 0),
        (b"\x40\x03\0\x05\x10", 0x10),
        (b"\x40\x04\0\x05\x97\0", 0x97),
    ] {
        let expected = Acknowledgement {
            kind: AckKind::Puback,
            packet_id: 5,
            reason,
        };
        assert_eq!(
            packet(bytes, Version::V5),
            Packet::Acknowledgement(expected)
        );
    }
}

#[test]
fn a_length_is_read_as_it_was_written() {
    for value in [
        0,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        length::MAX,
    ] {
        let mut out = Vec::new();
        length::write(&mut out, value);
        assert_eq!(length::read(&out), length::Length::Value(value, out.len()));
    }
}
