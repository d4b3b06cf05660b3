//! The judge is judged: messages as a broker delivers them, with every fault it could have.

use std::time::Duration;

use super::super::plan::{Pace, TopicNames};
use super::*;
use crate::codec::Qos;
use crate::payload;

const RUN: u32 = 77;

fn plan(audience: Audience, publishers: u32, subscribers: u32) -> Arc<Plan> {
    Arc::new(Plan {
        publishers,
        subscribers,
        is_same_client: false,
        audience,
        topics: TopicNames::PerPublisher {
            before: "t/".to_owned(),
            after: String::new(),
        },
        filters: Box::new(|_| Vec::new()),
        filters_per_packet: 1,
        checks_order: true,
        qos: Qos::AtMostOnce,
        pace: Pace::Window(1),
        start: crate::run::Start::Clean,
        awaits_acks: false,
        tick: Duration::ZERO,
        payload: 64,
        settle: Duration::ZERO,
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
        patience: Duration::ZERO,
    })
}

/// What the subscribers say after `deliveries` of (subscriber, publisher, sequence), when
/// every publisher has sent `sent` messages.
fn verdict(plan: &Arc<Plan>, deliveries: &[(usize, u32, u64)], sent: u64) -> Tally {
    let numbers: Vec<u32> = (0..plan.subscribers).collect();
    let mut listeners = Listeners::new(plan, &numbers, RUN, Share::WHOLE);
    for &(subscriber, publisher, sequence) in deliveries {
        deliver(&mut listeners, plan, subscriber, publisher, sequence);
    }
    let totals = vec![sent; plan.publishers as usize];
    let (mut tally, _, ledger) = listeners.close(&totals);
    if let Some(ledger) = ledger {
        (0..plan.publishers).for_each(|publisher| ledger.close(publisher, sent, &mut tally));
    }
    tally
}

fn deliver(
    listeners: &mut Listeners,
    plan: &Plan,
    subscriber: usize,
    publisher: u32,
    sequence: u64,
) {
    let topic = plan.topics.topic(publisher);
    let mut bytes = Vec::new();
    let stamp = Stamp {
        publisher,
        sequence,
        due_ns: 0,
    };
    let digest = payload::digest(topic.as_bytes());
    Payloads::new(RUN, 64).write(&mut bytes, stamp, digest);
    listeners.receive(subscriber, &publish(topic.as_bytes(), &bytes));
}

fn publish<'a>(topic: &'a [u8], payload: &'a [u8]) -> Publish<'a> {
    let qos = Qos::AtMostOnce;
    Publish {
        qos,
        dup: false,
        retain: false,
        topic,
        packet_id: 0,
        payload,
    }
}

#[test]
fn a_faultless_broker_is_cleared_in_every_audience() {
    let pairs = [(0, 0, 0), (1, 1, 0), (0, 0, 1), (1, 1, 1)];
    assert_eq!(
        verdict(&plan(Audience::Own, 2, 2), &pairs, 2),
        Tally::default()
    );
    let crossed = [(0, 1, 0), (1, 0, 0), (0, 1, 1), (1, 0, 1)];
    assert_eq!(
        verdict(&plan(Audience::Next, 2, 2), &crossed, 2),
        Tally::default()
    );
    let all = [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)];
    assert_eq!(
        verdict(&plan(Audience::All, 2, 2), &all, 1),
        Tally::default()
    );
    let any = [(0, 0, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1)];
    assert_eq!(
        verdict(&plan(Audience::AnyOne, 2, 2), &any, 2),
        Tally::default()
    );
}

#[test]
fn one_lost_message_is_found_in_every_audience() {
    let lost = Tally {
        lost: 1,
        ..Tally::default()
    };
    assert_eq!(
        verdict(&plan(Audience::Own, 1, 1), &[(0, 0, 0), (0, 0, 2)], 3),
        lost
    );
    assert_eq!(
        verdict(&plan(Audience::Own, 1, 1), &[(0, 0, 0), (0, 0, 1)], 3),
        lost
    );
    assert_eq!(verdict(&plan(Audience::All, 1, 2), &[(0, 0, 0)], 1), lost);
    assert_eq!(
        verdict(&plan(Audience::AnyOne, 1, 2), &[(0, 0, 0), (1, 0, 2)], 3),
        lost
    );
}

#[test]
fn one_duplicate_is_found_in_every_audience() {
    let twice = Tally {
        duplicated: 1,
        ..Tally::default()
    };
    let one_of_two = [(0, 0, 0), (0, 0, 0)];
    assert_eq!(verdict(&plan(Audience::Own, 1, 1), &one_of_two, 1), twice);
    let all = [(0, 0, 0), (1, 0, 0), (1, 0, 0)];
    assert_eq!(verdict(&plan(Audience::All, 1, 2), &all, 1), twice);
    let to_both_members = [(0, 0, 0), (1, 0, 0)];
    assert_eq!(
        verdict(&plan(Audience::AnyOne, 1, 2), &to_both_members, 1),
        twice
    );
}

#[test]
fn one_reordering_is_found_in_every_audience() {
    let late = Tally {
        reordered: 1,
        ..Tally::default()
    };
    let swapped = [(0, 0, 1), (0, 0, 0)];
    for audience in [Audience::Own, Audience::All, Audience::AnyOne] {
        assert_eq!(
            verdict(&plan(audience, 1, 1), &swapped, 2),
            late,
            "{audience:?}"
        );
    }
}

#[test]
fn a_message_for_someone_else_is_found() {
    let tally = verdict(
        &plan(Audience::Own, 2, 2),
        &[(0, 0, 0), (0, 1, 0), (1, 1, 0)],
        1,
    );
    assert_eq!(
        tally,
        Tally {
            misdelivered: 1,
            ..Tally::default()
        }
    );
    let tally = verdict(&plan(Audience::All, 1, 1), &[(0, 0, 0), (0, 5, 0)], 1);
    assert_eq!(
        tally,
        Tally {
            misdelivered: 1,
            ..Tally::default()
        }
    );
}

#[test]
fn altered_and_foreign_payloads_are_told_apart() {
    let plan = plan(Audience::Own, 1, 1);
    let mut listeners = Listeners::new(&plan, &[0], RUN, Share::WHOLE);
    let mut bytes = Vec::new();
    let stamp = Stamp {
        publisher: 0,
        sequence: 0,
        due_ns: 0,
    };
    Payloads::new(RUN, 64).write(&mut bytes, stamp, payload::digest(b"t/0"));
    assert!(listeners.receive(0, &publish(b"t/1", &bytes)).is_none());
    bytes[63] ^= 1;
    assert!(listeners.receive(0, &publish(b"t/0", &bytes)).is_none());
    assert!(listeners.receive(0, &publish(b"t/0", b"hello")).is_none());
    let (tally, _, _) = listeners.close(&[0]);
    assert_eq!(
        tally,
        Tally {
            altered: 2,
            foreign: 1,
            ..Tally::default()
        }
    );
}
