use std::collections::VecDeque;

use proptest::prelude::*;
use protocol::wire::QoS;

use super::*;
use crate::wire::{Accepted, Begin, FRAME_MAX, Forward, Frame, decode, split};

const SMALL: Limits = Limits {
    batch_bytes: 100,
    full_bytes: 400,
    refuse_bytes: 600,
};

fn message(payload: &[u8], qos: QoS) -> Forward<'_> {
    Forward {
        topic: "t",
        properties: &[],
        payload,
        qos,
        retain: false,
        remaining_ms: u64::MAX,
        publisher: 1,
    }
}

fn connected() -> (Outgoing, Incoming) {
    let mut out = Outgoing::new(0, SMALL);
    let mut incoming = Incoming::new();
    incoming.hello(1, 4).unwrap();
    out.connected();
    (out, incoming)
}

fn bytes(transmit: &Transmit) -> Vec<u8> {
    match transmit {
        Transmit::Begin(begin) => {
            let mut out = Vec::new();
            begin.put(&mut out);
            out
        }
        Transmit::Messages { head, entries } => [&head[..], entries].concat(),
    }
}

/// Sends everything; returns the payloads that were delivered, with their numbers.
fn send(out: &mut Outgoing, incoming: &mut Incoming) -> Vec<(u64, Vec<u8>)> {
    let mut got = Vec::new();
    while let Some(transmit) = out.transmit(0) {
        receive(incoming, &bytes(&transmit), &mut got).unwrap();
    }
    got
}

fn receive(
    incoming: &mut Incoming,
    frame: &[u8],
    got: &mut Vec<(u64, Vec<u8>)>,
) -> Result<(), LinkError> {
    let (kind, body, _) = split(frame, FRAME_MAX).unwrap().unwrap();
    match decode(kind, body).unwrap() {
        Frame::Begin(begin) => incoming.begin(begin).map(|_| ()),
        Frame::Messages(messages) => incoming
            .receive(&messages, &mut |number, message| {
                got.push((number, message.payload.to_vec()));
                true
            })
            .map(|_| ()),
        other => panic!("{other:?}"),
    }
}

fn acknowledge(out: &mut Outgoing, incoming: &mut Incoming) -> Result<u64, LinkError> {
    let mut frames = Vec::new();
    incoming.acknowledge(&mut frames);
    let Some((kind, body, _)) = split(&frames, FRAME_MAX).unwrap() else {
        return Ok(0);
    };
    let Frame::Accepted(accepted) = decode(kind, body).unwrap() else {
        panic!("nothing accepted");
    };
    out.accepted(accepted).map(|newly| newly.count)
}

#[test]
fn a_message_is_settled_when_the_receiver_has_accepted_it_and_not_before() {
    let (mut out, mut incoming) = connected();
    assert_eq!(
        out.push(0, &message(b"1", QoS::AtLeastOnce)),
        Pushed::Queued(1)
    );
    assert_eq!(
        out.push(0, &message(b"2", QoS::AtLeastOnce)),
        Pushed::Queued(2)
    );
    let got = send(&mut out, &mut incoming);
    assert_eq!(got, [(1, b"1".to_vec()), (2, b"2".to_vec())]);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(0));
    incoming.accept(1, 0, 1);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(1));
    assert_eq!((out.settled(), out.unsettled()), (1, 1));
    incoming.accept(1, 0, 2);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(1));
    assert_eq!((out.settled(), out.bytes()), (2, 0));
}

#[test]
fn what_was_not_accepted_is_sent_again_and_delivered_once() {
    let (mut out, mut incoming) = connected();
    for n in 0..10_u8 {
        out.push(0, &message(&[n; 30], QoS::AtLeastOnce));
    }
    assert_eq!(send(&mut out, &mut incoming).len(), 10);
    incoming.accept(1, 0, 4);
    // The acknowledgement is lost with the connection.
    incoming.acknowledge(&mut Vec::new());
    out.disconnected();
    assert!(out.transmit(0).is_none());
    out.push(0, &message(b"new", QoS::AtLeastOnce));
    incoming.hello(1, 4).unwrap();
    out.connected();
    let got = send(&mut out, &mut incoming);
    assert_eq!(got, [(11, b"new".to_vec())]);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(4));
    incoming.accept(1, 0, 11);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(7));
    assert_eq!(out.unsettled(), 0);
}

#[test]
fn a_receiver_that_lives_again_gets_what_its_former_life_did_not_acknowledge() {
    let (mut out, mut incoming) = connected();
    for n in 0..6_u8 {
        out.push(0, &message(&[n; 30], QoS::AtLeastOnce));
    }
    send(&mut out, &mut incoming);
    incoming.accept(1, 0, 2);
    acknowledge(&mut out, &mut incoming).unwrap();
    incoming.accept(1, 0, 4);
    let stored: Vec<_> = incoming.positions().collect();
    let accepted = |stored: &[StreamPosition]| stored[0].accepted;
    assert_eq!(accepted(&stored), 4);
    // One that has stored how far it was, and one that has nothing left.
    let lives = [
        (Incoming::restore(1, stored), 5),
        (Incoming::new(), out.settled() + 1),
    ];
    for (mut incoming, first) in lives {
        incoming.hello(1, 4).unwrap();
        out.connected();
        let got = send(&mut out, &mut incoming);
        assert_eq!(got.first().map(|(number, _)| *number), Some(first));
        assert_eq!(got.last().map(|(number, _)| *number), Some(6));
    }
}

#[test]
fn a_sender_that_lives_again_begins_at_one_and_its_former_life_is_refused() {
    let (mut out, mut incoming) = connected();
    out.push(0, &message(b"old", QoS::AtLeastOnce));
    send(&mut out, &mut incoming);
    let mut out = Outgoing::new(0, SMALL);
    out.push(0, &message(b"new", QoS::AtLeastOnce));
    incoming.hello(2, 4).unwrap();
    out.connected();
    assert_eq!(send(&mut out, &mut incoming), [(1, b"new".to_vec())]);
    assert_eq!(incoming.hello(1, 4), Err(LinkError::Stale));
    // What is said late of the former one is not said of this one.
    incoming.accept(1, 0, 1);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(0));
    incoming.accept(2, 0, 1);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(1));
}

#[test]
fn what_is_lost_with_a_node_is_settled_and_skipped_when_it_comes_back() {
    let (mut out, mut incoming) = connected();
    out.push(0, &message(b"1", QoS::AtLeastOnce));
    send(&mut out, &mut incoming);
    out.push(0, &message(b"2", QoS::AtLeastOnce));
    out.disconnected();
    assert_eq!(out.give_up(), 2);
    assert_eq!((out.settled(), out.bytes(), out.lost()), (2, 0, 2));
    out.push(0, &message(b"3", QoS::AtLeastOnce));
    incoming.hello(1, 4).unwrap();
    out.connected();
    let Some(Transmit::Begin(begin)) = out.transmit(0) else {
        panic!("does not begin");
    };
    assert_eq!(incoming.begin(begin), Ok(1));
    assert_eq!(send(&mut out, &mut incoming), [(3, b"3".to_vec())]);
    incoming.accept(1, 0, 3);
    assert_eq!(acknowledge(&mut out, &mut incoming), Ok(1));
}

#[test]
fn a_full_stream_refuses_qos_0_and_in_the_end_everything() {
    let (mut out, _) = connected();
    let payload = [0; 79];
    let mut count = 0;
    while !out.is_full() {
        assert!(matches!(
            out.push(0, &message(&payload, QoS::AtMostOnce)),
            Pushed::Queued(_)
        ));
        count += 1;
    }
    // 20 bytes beside the payload.
    assert_eq!(count, 5);
    assert_eq!(out.push(0, &message(b"", QoS::AtMostOnce)), Pushed::Refused);
    assert_eq!(
        out.push(0, &message(&payload, QoS::AtLeastOnce)),
        Pushed::Queued(6)
    );
    let last = message(&payload, QoS::AtLeastOnce);
    assert_eq!(out.push(0, &last), Pushed::Queued(7));
    assert_eq!(
        out.push(0, &message(b"", QoS::ExactlyOnce)),
        Pushed::Refused
    );
    assert_eq!(out.refused(), 2);
}

#[test]
fn a_receiver_without_room_gets_the_rest_of_a_batch_when_it_has_some() {
    let (mut out, mut incoming) = connected();
    for n in 0..3_u8 {
        out.push(0, &message(&[n], QoS::AtLeastOnce));
    }
    let frames: Vec<_> = core::iter::from_fn(|| out.transmit(0)).collect();
    receive(&mut incoming, &bytes(&frames[0]), &mut Vec::new()).unwrap();
    let frame = bytes(&frames[1]);
    let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
    let Ok(Frame::Messages(messages)) = decode(kind, body) else {
        panic!("no messages");
    };
    let mut got = Vec::new();
    let mut try_again = |room: usize| {
        incoming.receive(&messages, &mut |number, _| {
            let has_room = got.len() < room;
            got.extend(has_room.then_some(number));
            has_room
        })
    };
    assert_eq!(try_again(1), Ok(false));
    assert_eq!(try_again(1), Ok(false));
    assert_eq!(try_again(3), Ok(true));
    assert_eq!(got, [1, 2, 3]);
}

#[test]
fn a_gap_and_a_stream_that_did_not_begin_are_errors() {
    let (mut out, mut incoming) = connected();
    let big = [0; 100];
    for _ in 0..3 {
        out.push(0, &message(&big, QoS::AtLeastOnce));
    }
    let frames: Vec<_> = core::iter::from_fn(|| out.transmit(0)).collect();
    assert_eq!(frames.len(), 4);
    let mut got = Vec::new();
    let mut receive =
        |incoming: &mut Incoming, frame: &Transmit| receive(incoming, &bytes(frame), &mut got);
    assert_eq!(receive(&mut incoming, &frames[1]), Err(LinkError::NotBegun));
    receive(&mut incoming, &frames[0]).unwrap();
    receive(&mut incoming, &frames[1]).unwrap();
    let gap = LinkError::Gap {
        expected: 2,
        found: 3,
    };
    assert_eq!(receive(&mut incoming, &frames[3]), Err(gap));
    incoming.hello(1, 4).unwrap();
    assert_eq!(receive(&mut incoming, &frames[2]), Err(LinkError::NotBegun));
    let begin = Begin { stream: 4, next: 1 };
    assert_eq!(incoming.begin(begin), Err(LinkError::UnknownStream(4)));
}

#[test]
fn what_was_not_sent_cannot_be_accepted() {
    let (mut out, _) = connected();
    out.push(0, &message(b"1", QoS::AtLeastOnce));
    let (stream, up_to) = (0, 1);
    let accepted = Accepted { stream, up_to };
    assert_eq!(out.accepted(accepted), Err(LinkError::NotSent));
    while out.transmit(0).is_some() {}
    let newly = |count, is_awaited| Settled { count, is_awaited };
    assert_eq!(out.accepted(accepted), Ok(newly(1, true)));
    assert_eq!(out.accepted(accepted), Ok(newly(0, false)));
}

#[test]
fn whoever_waits_for_a_message_of_a_batch_is_told_of_each_part_of_it() {
    let (mut out, _) = connected();
    for batch in [[QoS::AtMostOnce; 2], [QoS::AtLeastOnce, QoS::AtMostOnce]] {
        for qos in batch {
            out.push(0, &message(b"m", qos));
        }
        while out.transmit(0).is_some() {}
    }
    let told = [1, 2, 3, 4].map(|up_to| {
        let stream = 0;
        out.accepted(Accepted { stream, up_to }).unwrap().is_awaited
    });
    assert_eq!(told, [false, false, true, true]);
}

#[test]
fn what_remains_of_a_life_counts_from_when_the_message_came() {
    let (mut out, _) = connected();
    let dying = Forward {
        remaining_ms: 1000,
        ..message(b"", QoS::AtLeastOnce)
    };
    out.push(100, &dying);
    out.push(300, &dying);
    out.transmit(300);
    let Some(frame) = out.transmit(500) else {
        panic!("nothing sent");
    };
    let frame = bytes(&frame);
    let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
    let Ok(Frame::Messages(messages)) = decode(kind, body) else {
        panic!("no messages");
    };
    let remaining = messages.entries().map(|entry| entry.unwrap().remaining_ms);
    assert_eq!(remaining.collect::<Vec<_>>(), [600, 800]);
}

proptest! {
    #[test]
    fn whatever_happens_every_message_arrives_once_and_in_order(
        events in prop::collection::vec(0_u8..10, 0..300),
    ) {
        let (mut out, mut incoming) = connected();
        let (mut pushed, mut got) = (0_u64, Vec::new());
        let mut wire = VecDeque::new();
        let mut acks = VecDeque::new();
        for event in events {
            match event {
                0..3 => {
                    let payload = [0; 30];
                    let message = message(&payload, QoS::AtLeastOnce);
                    if out.push(0, &message) != Pushed::Refused {
                        pushed += 1;
                    }
                }
                3..5 => wire.extend(out.transmit(0).map(|transmit| bytes(&transmit))),
                5..7 => if let Some(frame) = wire.pop_front() {
                    receive(&mut incoming, &frame, &mut got).unwrap();
                },
                7 => incoming.accept(1, 0, (got.len() as u64).saturating_sub(1)),
                8 => {
                    let mut frames = Vec::new();
                    incoming.acknowledge(&mut frames);
                    acks.extend((!frames.is_empty()).then_some(frames));
                    if let Some(frame) = acks.pop_front() {
                        let (kind, body, _) = split(&frame, FRAME_MAX).unwrap().unwrap();
                        let Ok(Frame::Accepted(accepted)) = decode(kind, body) else {
                            panic!("nothing accepted");
                        };
                        out.accepted(accepted).unwrap();
                    }
                }
                _ => {
                    wire.clear();
                    acks.clear();
                    incoming.hello(1, 4).unwrap();
                    out.connected();
                }
            }
            prop_assert!(out.settled() <= got.len() as u64);
        }
        incoming.hello(1, 4).unwrap();
        out.connected();
        got.extend(send(&mut out, &mut incoming));
        let numbers: Vec<u64> = got.iter().map(|(number, _)| *number).collect();
        prop_assert_eq!(numbers, (1..=pushed).collect::<Vec<_>>());
        incoming.accept(1, 0, pushed);
        acknowledge(&mut out, &mut incoming).unwrap();
        prop_assert_eq!((out.unsettled(), out.bytes()), (0, 0));
    }
}
