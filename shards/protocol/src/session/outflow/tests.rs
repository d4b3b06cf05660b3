use super::super::WhenFull;
use super::*;
use crate::message::MessageRef;

const LIMITS: QueueLimits = QueueLimits {
    messages: 1000,
    bytes: 1 << 20,
    when_full: WhenFull::DropNewest,
};

fn window(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).unwrap()
}

fn id(value: u16) -> PacketId {
    PacketId(NonZeroU16::new(value).unwrap())
}

fn delivery(qos: QoS, payload: &[u8]) -> Delivery {
    let message = MessageRef {
        topic: "t",
        properties: &[],
        payload,
        qos,
        retain: false,
        expires_ms: u64::MAX,
        publisher: u64::MAX,
    };
    Delivery {
        message: message.to_message(),
        identifiers: Identifiers::None,
        qos,
        retain: false,
        stored: StoredAs::default(),
        membership: None,
        dup: false,
    }
}

fn shared(number: u32, qos: QoS, payload: &str) -> Delivery {
    Delivery {
        membership: NonZeroU32::new(number).map(Membership),
        ..delivery(qos, payload.as_bytes())
    }
}

fn send_shared(flow: &mut Outflow, number: u32, qos: QoS, payload: &str) -> PacketId {
    let delivery = shared(number, qos, payload);
    flow.send_by(qos, delivery.membership, || delivery)
}

fn payloads(taken: &[Delivery]) -> Vec<&str> {
    let payloads = taken.iter().map(|delivery| delivery.message.payload());
    payloads.map(|p| core::str::from_utf8(p).unwrap()).collect()
}

fn send(flow: &mut Outflow, qos: QoS) -> u16 {
    assert!(flow.is_open());
    flow.send(qos, || delivery(qos, b"x")).0.get()
}

/// What a new connection with a window of 10 sends again.
fn resent(flow: &mut Outflow) -> Vec<String> {
    flow.resume(window(10));
    resend_now(flow)
}

fn resend_now(flow: &mut Outflow) -> Vec<String> {
    let mut again = Vec::new();
    while let Some(resend) = flow.next_resend() {
        again.push(match resend {
            Resend::Publish(id, delivery) => format!("{} {:?}", id.0, delivery.qos),
            Resend::PubRel(id) => format!("{} release", id.0),
        });
    }
    again
}

#[test]
fn sending_again_keeps_to_the_window_of_the_new_connection() {
    let mut flow = Outflow::new(window(10), true);
    for _ in 0..5 {
        send(&mut flow, QoS::AtLeastOnce);
    }
    enqueue(&mut flow, delivery(QoS::AtLeastOnce, b"queued"), &LIMITS);
    flow.resume(window(2));
    assert_eq!(resend_now(&mut flow), ["1 AtLeastOnce", "2 AtLeastOnce"]);
    assert!(!flow.is_open());
    flow.puback(id(2)).unwrap();
    assert_eq!(resend_now(&mut flow), ["3 AtLeastOnce"]);
    flow.puback(id(1)).unwrap();
    flow.puback(id(3)).unwrap();
    assert!(flow.next_queued().is_none());
    assert_eq!(resend_now(&mut flow), ["4 AtLeastOnce", "5 AtLeastOnce"]);
    assert!(flow.next_queued().is_none());
    flow.puback(id(4)).unwrap();
    assert!(flow.next_queued().is_some());
}

#[test]
fn identifiers_are_given_in_sequence_and_never_zero() {
    let mut flow = Outflow::new(window(10), false);
    for round in 0..70_000_u32 {
        let given = send(&mut flow, QoS::AtLeastOnce);
        assert_eq!(u32::from(given), round % 65_535 + 1);
        assert_eq!(
            flow.puback(id(given)),
            Ok(AckOutcome::Done(StoredAs::default()))
        );
    }
}

#[test]
fn the_window_closes_and_an_acknowledgement_opens_it() {
    let mut flow = Outflow::new(window(2), false);
    send(&mut flow, QoS::AtLeastOnce);
    send(&mut flow, QoS::ExactlyOnce);
    assert!(!flow.is_open());
    assert_eq!(
        flow.pubrec(id(2), false),
        Ok(AckOutcome::Release(StoredAs::default()))
    );
    // QoS 2 counts until PUBCOMP.
    assert!(!flow.is_open());
    assert_eq!(
        flow.pubcomp(id(2)),
        Ok(AckOutcome::Done(StoredAs::default()))
    );
    assert!(flow.is_open());
}

#[test]
fn a_message_acknowledged_twice_or_never_sent_is_unknown() {
    let mut flow = Outflow::new(window(10), false);
    send(&mut flow, QoS::AtLeastOnce);
    send(&mut flow, QoS::AtLeastOnce);
    assert_eq!(
        flow.puback(id(2)),
        Ok(AckOutcome::Done(StoredAs::default()))
    );
    assert_eq!(flow.puback(id(2)), Err(Unknown::Identifier));
    assert_eq!(flow.puback(id(3)), Err(Unknown::Identifier));
    assert_eq!(flow.puback(id(65_535)), Err(Unknown::Identifier));
    assert_eq!(
        flow.puback(id(1)),
        Ok(AckOutcome::Done(StoredAs::default()))
    );
    assert_eq!(flow.puback(id(1)), Err(Unknown::Identifier));
}

#[test]
fn the_wrong_kind_of_acknowledgement_is_told_apart() {
    let mut flow = Outflow::new(window(10), false);
    send(&mut flow, QoS::AtLeastOnce);
    send(&mut flow, QoS::ExactlyOnce);
    assert_eq!(flow.pubrec(id(1), false), Err(Unknown::Kind));
    assert_eq!(flow.puback(id(2)), Err(Unknown::Kind));
    assert_eq!(flow.pubcomp(id(2)), Err(Unknown::Kind));
}

#[test]
fn a_refused_qos_2_message_is_over() {
    let mut flow = Outflow::new(window(1), true);
    send(&mut flow, QoS::ExactlyOnce);
    assert_eq!(
        flow.pubrec(id(1), true),
        Ok(AckOutcome::Done(StoredAs::default()))
    );
    assert!(flow.is_open());
    assert_eq!(resent(&mut flow), Vec::<String>::new());
}

#[test]
fn what_is_unacknowledged_is_sent_again_in_order() {
    let mut flow = Outflow::new(window(10), true);
    for qos in [
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
        QoS::AtLeastOnce,
        QoS::ExactlyOnce,
    ] {
        send(&mut flow, qos);
    }
    flow.puback(id(3)).unwrap();
    flow.pubrec(id(2), false).unwrap();
    let again = resent(&mut flow);
    assert_eq!(again, ["1 AtLeastOnce", "2 release", "4 ExactlyOnce"]);
}

#[test]
fn a_session_that_cannot_be_resumed_keeps_no_messages() {
    let mut flow = Outflow::new(window(10), false);
    flow.send(QoS::AtLeastOnce, || panic!("nothing is to be kept"));
    assert!(!flow.keeps());
}

/// Puts a delivery into the queue; what left, oldest first.
fn enqueue(flow: &mut Outflow, delivery: Delivery, limits: &QueueLimits) -> Vec<u8> {
    let enqueued = flow.enqueue(delivery, 0, limits, 0);
    let left = enqueued.left.iter();
    left.flat_map(|left| left.delivery.message.payload().to_vec())
        .collect()
}

#[test]
fn the_queue_is_first_in_first_out_and_leaves_nothing_behind() {
    let mut flow = Outflow::new(window(1), true);
    let limits = QueueLimits {
        messages: 2,
        ..LIMITS
    };
    for payload in [b"1", b"2"] {
        assert_eq!(
            enqueue(&mut flow, delivery(QoS::AtLeastOnce, payload), &limits),
            b""
        );
    }
    assert!(!flow.has_queue_room(0, &limits));
    let third = delivery(QoS::AtLeastOnce, b"3");
    assert_eq!(enqueue(&mut flow, third, &limits), b"3");
    assert!(!flow.is_open());
    let first = flow.next_queued().unwrap();
    assert_eq!(first.message.payload(), b"1");
    let sent = flow.send(first.qos, || first.clone());
    assert!(flow.next_queued().is_none());
    flow.puback(sent).unwrap();
    assert_eq!(flow.next_queued().unwrap().message.payload(), b"2");
    assert_eq!(flow.queued(), 0);
    assert!(flow.queue.is_none() && flow.is_open());
}

#[test]
fn a_refused_message_leaves_an_empty_queue_empty() {
    let mut flow = Outflow::new(window(1), true);
    let limits = QueueLimits {
        messages: 0,
        ..LIMITS
    };
    let refused = delivery(QoS::AtLeastOnce, b"x");
    assert_eq!(enqueue(&mut flow, refused, &limits), b"x");
    assert!(flow.queue.is_none() && flow.is_open());
}

#[test]
fn qos_0_messages_pass_a_window_that_is_full() {
    let mut flow = Outflow::new(window(1), true);
    send(&mut flow, QoS::AtLeastOnce);
    enqueue(&mut flow, delivery(QoS::AtLeastOnce, b"1"), &LIMITS);
    enqueue(&mut flow, delivery(QoS::AtMostOnce, b"a"), &LIMITS);
    enqueue(&mut flow, delivery(QoS::AtMostOnce, b"b"), &LIMITS);
    assert!(flow.has_queued_qos0());
    for payload in [b"a", b"b"] {
        assert_eq!(flow.next_queued().unwrap().message.payload(), payload);
    }
    assert!(!flow.has_queued_qos0());
    assert!(flow.next_queued().is_none());
    flow.puback(id(1)).unwrap();
    assert_eq!(flow.next_queued().unwrap().message.payload(), b"1");
}

#[test]
fn a_client_that_never_acknowledges_one_message_is_stopped_in_the_end() {
    let mut flow = Outflow::new(window(10), false);
    send(&mut flow, QoS::AtLeastOnce);
    let mut sent = 1;
    while flow.is_open() {
        let given = send(&mut flow, QoS::AtLeastOnce);
        flow.puback(id(given)).unwrap();
        sent += 1;
    }
    assert_eq!(sent, 10 + SPAN_BEYOND_WINDOW);
}

/// A delivery that is stored under a number.
fn stored(qos: QoS, entry: u64) -> Delivery {
    Delivery {
        stored: StoredAs { entry, message: 0 },
        membership: None,
        ..delivery(qos, b"x")
    }
}

#[test]
fn an_acknowledgement_says_where_the_message_was_stored() {
    let mut flow = Outflow::new(window(10), true);
    let as_entry = |entry| StoredAs { entry, message: 0 };
    flow.send(QoS::AtLeastOnce, || stored(QoS::AtLeastOnce, 7));
    flow.send(QoS::ExactlyOnce, || stored(QoS::ExactlyOnce, 8));
    enqueue(&mut flow, stored(QoS::AtLeastOnce, 9), &LIMITS);
    let all: Vec<u64> = flow.stored().map(|stored| stored.entry).collect();
    assert_eq!(all, [7, 8, 9]);
    assert_eq!(flow.puback(id(1)), Ok(AckOutcome::Done(as_entry(7))));
    assert_eq!(
        flow.pubrec(id(2), false),
        Ok(AckOutcome::Release(as_entry(8)))
    );
    assert_eq!(flow.pubcomp(id(2)), Ok(AckOutcome::Done(as_entry(8))));
    assert_eq!(flow.stored().count(), 1);
}

#[test]
fn what_was_in_flight_is_restored_with_its_identifiers_around_the_end_of_the_ring() {
    let mut flow = Outflow::new(window(10), true);
    let (one, two) = (QoS::AtLeastOnce, QoS::ExactlyOnce);
    flow.restore_in_flight(vec![
        (id(2), false, stored(one, 14)),
        (id(65_533), false, stored(two, 10)),
        (id(1), true, stored(two, 13)),
        (id(65_535), false, stored(one, 12)),
    ]);
    flow.restore_queued(stored(one, 15), 0);
    let again = [
        "65533 ExactlyOnce",
        "65535 AtLeastOnce",
        "1 release",
        "2 AtLeastOnce",
    ];
    assert_eq!(resent(&mut flow), again);
    // What was acknowledged in between is not expected any more.
    assert_eq!(flow.puback(id(65_534)), Err(Unknown::Identifier));
    assert!(flow.pubcomp(id(1)).is_ok());
    let next = flow.next_queued().unwrap();
    assert_eq!(next.stored.entry, 15);
    assert_eq!(flow.send(one, || next.clone()), id(3));
}

#[test]
fn what_was_in_flight_far_apart_is_restored_in_the_order_in_which_it_was_stored() {
    let mut flow = Outflow::new(window(65_535), true);
    let one = QoS::AtLeastOnce;
    flow.restore_in_flight(vec![
        (id(60_000), false, stored(one, 12)),
        (id(1), false, stored(one, 10)),
        (id(30_000), false, stored(one, 11)),
    ]);
    let again = ["1 AtLeastOnce", "30000 AtLeastOnce", "60000 AtLeastOnce"];
    assert_eq!(resent(&mut flow), again);
}

#[test]
fn a_single_identifier_and_none_are_restored() {
    let mut flow = Outflow::new(window(10), true);
    flow.restore_in_flight(Vec::new());
    assert!(flow.is_open());
    assert_eq!(send(&mut flow, QoS::AtLeastOnce), 1);
    let mut flow = Outflow::new(window(10), true);
    flow.restore_in_flight(vec![(id(700), false, stored(QoS::AtLeastOnce, 1))]);
    assert_eq!(resent(&mut flow), ["700 AtLeastOnce"]);
    assert!(flow.puback(id(700)).is_ok());
    assert_eq!(send(&mut flow, QoS::AtLeastOnce), 701);
}

#[test]
fn what_came_by_a_shared_subscription_can_be_taken_in_the_order_it_was_sent() {
    for keep in [false, true] {
        let mut flow = Outflow::new(window(10), keep);
        send(&mut flow, QoS::AtLeastOnce);
        flow.keep_shared();
        let first = send_shared(&mut flow, 1, QoS::AtLeastOnce, "acknowledged");
        send_shared(&mut flow, 1, QoS::AtLeastOnce, "a");
        send_shared(&mut flow, 1, QoS::ExactlyOnce, "sent with QoS 2");
        let received = send_shared(&mut flow, 2, QoS::ExactlyOnce, "received");
        send(&mut flow, QoS::ExactlyOnce);
        send_shared(&mut flow, 2, QoS::AtLeastOnce, "b");
        for (number, qos, payload) in [(1, QoS::ExactlyOnce, "c"), (2, QoS::AtLeastOnce, "d")] {
            assert_eq!(
                enqueue(&mut flow, shared(number, qos, payload), &LIMITS),
                b""
            );
            assert_eq!(enqueue(&mut flow, delivery(qos, b"plain"), &LIMITS), b"");
        }
        flow.puback(first).unwrap();
        flow.pubrec(received, false).unwrap();
        let taken = flow.take_shared();
        assert_eq!(payloads(&taken), ["a", "b", "c", "d"], "keep: {keep}");
        assert_eq!(flow.queued(), 2);
        assert_eq!(payloads(&flow.take_shared()), [""; 0]);
    }
}

#[test]
fn the_queue_of_one_shared_subscription_is_taken_and_the_rest_stays_in_order() {
    let mut flow = Outflow::new(window(1), true);
    send_shared(&mut flow, 1, QoS::AtLeastOnce, "in flight");
    for (number, payload) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
        let delivery = shared(number, QoS::AtLeastOnce, payload);
        assert_eq!(enqueue(&mut flow, delivery, &LIMITS), b"");
    }
    let mut memberships: Vec<u32> = flow.memberships().map(|m| m.0.get()).collect();
    memberships.sort_unstable();
    assert_eq!(memberships, [1, 1, 1, 2, 3]);
    let taken = flow.take_shared_queued(|membership| membership.0.get() == 1);
    assert_eq!(payloads(&taken), ["a", "c"]);
    let left: usize = ["b", "d"]
        .map(|p| shared(1, QoS::AtLeastOnce, p).message.size())
        .iter()
        .sum();
    let bytes = flow.queue.as_ref().map_or(0, |queue| queue.bytes());
    assert_eq!((bytes, flow.queued()), (left, 2));
    assert_eq!(flow.in_flight(), 1, "what is in flight stays");
}

#[test]
fn a_delivery_takes_56_bytes() {
    assert_eq!(size_of::<Delivery>(), 56);
}

#[test]
fn what_was_perhaps_sent_is_known_as_long_as_it_is_queued() {
    let mut flow = Outflow::new(window(2), true);
    flow.restore_in_flight(vec![(id(9), false, stored(QoS::ExactlyOnce, 1))]);
    for entry in [2, 3, 4] {
        let delivery = Delivery {
            dup: entry < 4,
            ..stored(QoS::AtLeastOnce, entry)
        };
        flow.restore_queued(delivery, 0);
    }
    assert_eq!(flow.perhaps_sent(), 3);
    assert_eq!(resent(&mut flow), ["9 ExactlyOnce"]);
    let next = flow.next_queued().unwrap();
    assert!(next.dup && next.stored.entry == 2);
    assert_eq!(flow.send(next.qos, || next.clone()), id(10));
    assert_eq!(flow.perhaps_sent(), 3);
    flow.pubrec(id(9), true).unwrap();
    flow.puback(id(10)).unwrap();
    while flow.next_queued().is_some() {}
    assert_eq!(flow.perhaps_sent(), 0);
}

#[test]
fn memory_of_a_burst_is_given_back_when_the_client_is_away_or_it_was_far_beyond_the_window() {
    let mut flow = Outflow::new(window(100), true);
    for number in 1..=100 {
        assert_eq!(send(&mut flow, QoS::AtLeastOnce), number);
    }
    for number in 1..=100 {
        flow.puback(id(number)).unwrap();
    }
    assert!(
        flow.capacity() >= 100,
        "a client that is there uses it again"
    );
    flow.release_memory();
    assert_eq!(flow.capacity(), 0);

    // The oldest is acknowledged last: all that were sent after it are held.
    let mut flow = Outflow::new(window(2), true);
    for _ in 0..1000 {
        let newest = send(&mut flow, QoS::AtLeastOnce);
        if newest > 1 {
            flow.puback(id(newest)).unwrap();
        }
    }
    assert!(flow.capacity() >= 1000);
    flow.puback(id(1)).unwrap();
    assert_eq!(flow.capacity(), 0);
}
