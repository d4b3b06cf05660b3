//! That the judge finds each kind of fault, and nothing else.

use super::*;

/// A record with one stream and one receiver that is subscribed to it.
fn subscribed(qos: Qos) -> (Record, usize, usize) {
    let mut record = Record::default();
    let stream = record.add_stream("t".to_owned(), qos, true);
    let receiver = record.add_receiver("r");
    record.add_subscription(receiver, vec![stream]);
    record.subscribing(receiver, 0);
    record.subscribed(receiver, 0);
    (record, stream, receiver)
}

fn arrive(record: &mut Record, receiver: usize, stream: usize, sequence: u32, dup: bool) {
    let qos = record.stream(stream).qos;
    let arrival = Arrival {
        stream,
        sequence,
        topic: "t",
        qos,
        dup,
        retain: false,
        at: Instant::now(),
    };
    record.arrived(receiver, &arrival);
}

#[test]
fn an_acknowledged_message_is_owed_to_whoever_was_subscribed_before_it_was_sent() {
    let (mut record, stream, receiver) = subscribed(Qos::AtLeastOnce);
    let late = record.add_receiver("late");
    record.add_subscription(late, vec![stream]);
    let sequence = record.sent(stream, None);
    record.subscribed(late, 0);
    assert_eq!(record.missing(), 0, "its outcome is unknown");
    record.settled(stream, sequence, Outcome::Acknowledged);
    assert_eq!(record.missing(), 1);
    record.close();
    assert_eq!(record.faults.count("lost"), 1);
    arrive(&mut record, receiver, stream, sequence, false);
    assert_eq!(record.missing(), 0);
}

#[test]
fn a_refused_message_is_not_owed() {
    let (mut record, stream, _) = subscribed(Qos::ExactlyOnce);
    let sequence = record.sent(stream, None);
    record.settled(stream, sequence, Outcome::Refused);
    assert_eq!(record.missing(), 0);
}

#[test]
fn only_what_was_acknowledged_before_the_cut_is_owed_after_it() {
    let (mut record, stream, _) = subscribed(Qos::AtLeastOnce);
    let (first, second) = (record.sent(stream, None), record.sent(stream, None));
    record.settled(stream, first, Outcome::Acknowledged);
    record.cut();
    record.settled(stream, second, Outcome::Acknowledged);
    assert_eq!(record.missing(), 1);
}

#[test]
fn a_repeat_is_a_fault_at_qos_2_and_at_qos_1_without_a_reason() {
    let (mut record, stream, receiver) = subscribed(Qos::ExactlyOnce);
    let sequence = record.sent(stream, None);
    arrive(&mut record, receiver, stream, sequence, false);
    arrive(&mut record, receiver, stream, sequence, true);
    assert_eq!(record.faults.count("QoS 2 duplicate"), 1);

    let (mut record, stream, receiver) = subscribed(Qos::AtLeastOnce);
    let sequence = record.sent(stream, None);
    arrive(&mut record, receiver, stream, sequence, false);
    arrive(&mut record, receiver, stream, sequence, true);
    assert!(record.faults.is_empty(), "DUP allows it");
    arrive(&mut record, receiver, stream, sequence, false);
    assert_eq!(record.faults.count("QoS 1 repeat without DUP"), 1);
    record.sent_again(stream, sequence);
    arrive(&mut record, receiver, stream, sequence, false);
    assert_eq!(record.faults.count("QoS 1 repeat without DUP"), 1);
}

#[test]
fn a_first_arrival_after_a_newer_one_is_out_of_order() {
    let (mut record, stream, receiver) = subscribed(Qos::AtLeastOnce);
    let (first, second) = (record.sent(stream, None), record.sent(stream, None));
    arrive(&mut record, receiver, stream, second, false);
    arrive(&mut record, receiver, stream, first, true);
    assert_eq!(record.faults.count("order"), 1);
}

#[test]
fn what_was_sent_before_the_subscription_may_come_late_when_it_is_sent_again() {
    let (mut record, stream, receiver) = subscribed(Qos::AtLeastOnce);
    record.unsubscribing(receiver, 0);
    record.unsubscribed(receiver, 0);
    let first = record.sent(stream, None);
    record.subscribing(receiver, 0);
    record.subscribed(receiver, 0);
    let second = record.sent(stream, None);
    arrive(&mut record, receiver, stream, second, false);
    record.sent_again(stream, first);
    arrive(&mut record, receiver, stream, first, false);
    assert!(record.faults.is_empty());
}

#[test]
fn what_was_sent_after_an_unsuback_must_not_arrive() {
    let (mut record, stream, receiver) = subscribed(Qos::AtLeastOnce);
    let before = record.sent(stream, None);
    record.unsubscribing(receiver, 0);
    record.unsubscribed(receiver, 0);
    let after = record.sent(stream, None);
    record.settled(stream, before, Outcome::Acknowledged);
    record.settled(stream, after, Outcome::Acknowledged);
    assert_eq!(record.missing(), 0);
    arrive(&mut record, receiver, stream, before, false);
    assert!(record.faults.is_empty());
    arrive(&mut record, receiver, stream, after, false);
    assert_eq!(record.faults.count("unsubscribed, yet delivered"), 1);
}

#[test]
fn an_early_a_withdrawn_an_unsent_and_an_altered_message_are_faults() {
    let (mut record, stream, receiver) = subscribed(Qos::ExactlyOnce);
    let due = Instant::now() + std::time::Duration::from_secs(60);
    let early = record.sent(stream, Some(due));
    arrive(&mut record, receiver, stream, early, false);
    assert_eq!(record.faults.count("too early"), 1);
    let withdrawn = record.sent(stream, None);
    record.settled(stream, withdrawn, Outcome::Withdrawn);
    arrive(&mut record, receiver, stream, withdrawn, false);
    assert_eq!(record.faults.count("will after it was taken back"), 1);
    arrive(&mut record, receiver, stream, 7, false);
    assert_eq!(record.faults.count("never sent"), 1);
    let sequence = record.sent(stream, None);
    let arrival = Arrival {
        stream,
        sequence,
        topic: "other",
        qos: Qos::ExactlyOnce,
        dup: false,
        retain: false,
        at: Instant::now(),
    };
    record.arrived(receiver, &arrival);
    assert_eq!(record.faults.count("altered"), 1);
}
