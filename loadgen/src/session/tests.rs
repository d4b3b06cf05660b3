use super::*;
use crate::codec::decode;

const CONNACK: &[u8] = b"\x20\x02\0\0";

fn connected() -> Session {
    let mut session = Session::new(Version::V311);
    assert_eq!(
        feed(&mut session, CONNACK),
        Ok(Some(Event::Connected {
            session_present: false
        }))
    );
    session
}

fn feed<'a>(session: &mut Session, bytes: &'a [u8]) -> Result<Option<Event<'a>>, Violation> {
    answer(session, bytes).0
}

/// What a packet does, and what the client answers.
fn answer<'a>(
    session: &mut Session,
    bytes: &'a [u8],
) -> (Result<Option<Event<'a>>, Violation>, Vec<u8>) {
    let mut out = Vec::new();
    let (packet, _) = decode(bytes, Version::V311).unwrap().unwrap();
    (session.receive(packet, &mut out), out)
}

#[test]
fn a_refused_connection_says_why() {
    let mut session = Session::new(Version::V311);
    let violation = feed(&mut session, b"\x20\x02\0\x05").unwrap_err();
    assert_eq!(
        violation.to_string(),
        "the broker refused the connection: not authorized (code 0x05)"
    );
    assert!(!session.is_connected());
}

#[test]
fn nothing_may_come_before_connack() {
    let mut session = Session::new(Version::V311);
    assert_eq!(
        feed(&mut session, b"\xd0\0"),
        Err(Violation::ConnackExpected)
    );
}

#[test]
fn a_qos_1_exchange_ends_with_puback() {
    let mut session = connected();
    assert_eq!(session.begin_publish(Qos::AtLeastOnce), Some(1));
    assert_eq!(session.begin_publish(Qos::AtLeastOnce), Some(2));
    assert_eq!(
        feed(&mut session, b"\x40\x02\0\x01"),
        Ok(Some(Event::Acknowledged))
    );
    assert_eq!(session.unacknowledged(), 1);
}

#[test]
fn a_qos_2_exchange_goes_through_pubrel_to_pubcomp() {
    let mut session = connected();
    assert_eq!(session.begin_publish(Qos::ExactlyOnce), Some(1));
    let (event, out) = answer(&mut session, b"\x50\x02\0\x01");
    assert_eq!(
        (event, out.as_slice()),
        (Ok(None), b"\x62\x02\0\x01".as_slice())
    );
    assert_eq!(
        feed(&mut session, b"\x70\x02\0\x01"),
        Ok(Some(Event::Acknowledged))
    );
    assert_eq!(session.unacknowledged(), 0);
}

#[test]
fn acknowledgements_out_of_order_are_violations() {
    for (qos, kind, bytes) in [
        (Qos::AtLeastOnce, AckKind::Puback, b"\x40\x02\0\x02"),
        (Qos::ExactlyOnce, AckKind::Pubrec, b"\x50\x02\0\x02"),
    ] {
        let mut session = connected();
        session.begin_publish(qos);
        session.begin_publish(qos);
        let expected = Err(Violation::AcknowledgedOutOfOrder(kind, 2));
        assert_eq!(feed(&mut session, bytes), expected);
    }
}

#[test]
fn pubcomp_may_come_in_any_order() {
    let mut session = connected();
    session.begin_publish(Qos::ExactlyOnce);
    session.begin_publish(Qos::ExactlyOnce);
    feed(&mut session, b"\x50\x02\0\x01").unwrap();
    feed(&mut session, b"\x50\x02\0\x02").unwrap();
    assert_eq!(
        feed(&mut session, b"\x70\x02\0\x02"),
        Ok(Some(Event::Acknowledged))
    );
    assert_eq!(session.unacknowledged(), 2);
    assert_eq!(
        feed(&mut session, b"\x70\x02\0\x01"),
        Ok(Some(Event::Acknowledged))
    );
    assert_eq!(session.unacknowledged(), 0);
}

#[test]
fn an_acknowledgement_of_nothing_is_a_violation() {
    let mut session = connected();
    let expected = Err(Violation::UnknownPacketId(AckKind::Puback, 9));
    assert_eq!(feed(&mut session, b"\x40\x02\0\x09"), expected);
}

#[test]
fn received_messages_are_answered_by_their_level() {
    let mut session = connected();
    let (event, out) = answer(&mut session, b"\x30\x03\0\x01a");
    assert!(matches!(event, Ok(Some(Event::Message(_)))) && out.is_empty());
    let (_, out) = answer(&mut session, b"\x32\x05\0\x01a\0\x07");
    assert_eq!(out, b"\x40\x02\0\x07");
    let (_, out) = answer(&mut session, b"\x34\x05\0\x01a\0\x08");
    assert_eq!(out, b"\x50\x02\0\x08");
    let (_, out) = answer(&mut session, b"\x62\x02\0\x08");
    assert_eq!(out, b"\x70\x02\0\x08");
}

#[test]
fn a_qos_2_message_that_is_sent_again_is_delivered_once() {
    let mut session = connected();
    let first = feed(&mut session, b"\x34\x05\0\x01a\0\x08");
    assert!(matches!(first, Ok(Some(Event::Message(_)))));
    assert_eq!(feed(&mut session, b"\x3c\x05\0\x01a\0\x08"), Ok(None));
    let expected = Err(Violation::PacketIdInUse(8));
    assert_eq!(feed(&mut session, b"\x34\x05\0\x01a\0\x08"), expected);
}

#[test]
fn packet_identifiers_go_round_and_skip_zero() {
    let mut session = connected();
    for expected in (1..=65_535).chain(1..=3) {
        let id = session.begin_publish(Qos::AtLeastOnce).unwrap();
        assert_eq!(id, expected);
        let mut out = Vec::new();
        let packet = Acknowledgement {
            kind: AckKind::Puback,
            packet_id: id,
            reason: 0,
        };
        session
            .receive(Packet::Acknowledgement(packet), &mut out)
            .unwrap();
    }
}

#[test]
fn no_more_than_the_receive_maximum_is_sent() {
    let mut session = Session::new(Version::V5);
    let (packet, _) = decode(b"\x20\x06\0\0\x03\x21\0\x02", Version::V5)
        .unwrap()
        .unwrap();
    session.receive(packet, &mut Vec::new()).unwrap();
    for expected in [true, true, false] {
        assert_eq!(session.may_send(), expected);
        if expected {
            session.begin_publish(Qos::AtLeastOnce);
        }
    }
}

#[test]
fn a_third_ping_without_an_answer_is_noticed() {
    let mut session = connected();
    let mut out = Vec::new();
    assert!(session.ping(&mut out) && session.ping(&mut out));
    assert!(!session.ping(&mut out));
}
