use super::*;

/// The verdict on one flow that received `sequences` of `sent` messages.
fn judged(sequences: &[u64], sent: u64) -> Tally {
    let mut flows = Flows::new(1);
    for &sequence in sequences {
        flows.receive(0, sequence, Repeat::Forbidden);
    }
    flows.close(0, sent);
    flows.into_tally()
}

#[test]
fn a_complete_sequence_is_clean() {
    assert_eq!(judged(&[0, 1, 2, 3], 4), Tally::default());
}

#[test]
fn a_missing_message_in_the_middle_is_lost() {
    assert_eq!(
        judged(&[0, 1, 3], 4),
        Tally {
            lost: 1,
            ..Tally::default()
        }
    );
}

#[test]
fn missing_messages_at_the_end_are_lost() {
    assert_eq!(
        judged(&[0, 1], 4),
        Tally {
            lost: 2,
            ..Tally::default()
        }
    );
    assert_eq!(
        judged(&[], 4),
        Tally {
            lost: 4,
            ..Tally::default()
        }
    );
}

#[test]
fn a_second_arrival_is_a_duplicate_not_a_reordering() {
    assert_eq!(
        judged(&[0, 1, 1, 0, 2], 3),
        Tally {
            duplicated: 2,
            ..Tally::default()
        }
    );
}

#[test]
fn a_late_arrival_is_a_reordering_not_a_loss() {
    assert_eq!(
        judged(&[0, 3, 1, 2, 4], 5),
        Tally {
            reordered: 2,
            ..Tally::default()
        }
    );
}

#[test]
fn a_late_arrival_that_comes_twice_is_also_a_duplicate() {
    let expected = Tally {
        reordered: 1,
        duplicated: 1,
        ..Tally::default()
    };
    assert_eq!(judged(&[0, 2, 1, 1], 3), expected);
}

#[test]
fn loss_duplicate_and_reordering_are_told_apart_in_one_flow() {
    let expected = Tally {
        lost: 2,
        duplicated: 1,
        reordered: 1,
        ..Tally::default()
    };
    assert_eq!(
        judged(&[0, 5, 2, 2, 3, 4][..4], 6),
        Tally {
            lost: 3,
            ..expected.clone()
        }
    );
    assert_eq!(judged(&[0, 4, 2, 2], 5), expected);
}

#[test]
fn a_message_that_nobody_sent_is_misdelivered() {
    assert_eq!(
        judged(&[0, 1, 2], 2),
        Tally {
            misdelivered: 1,
            ..Tally::default()
        }
    );
    let mut flows = Flows::new(1);
    flows.receive(1, 0, Repeat::Forbidden);
    assert_eq!(flows.into_tally().misdelivered, 1);
}

#[test]
fn an_allowed_repeat_is_counted_apart() {
    let mut flows = Flows::new(1);
    flows.receive(0, 0, Repeat::Forbidden);
    flows.receive(0, 0, Repeat::Allowed);
    flows.close(0, 1);
    assert_eq!(
        flows.into_tally(),
        Tally {
            redelivered: 1,
            ..Tally::default()
        }
    );
}

#[test]
fn any_random_fate_of_messages_is_counted_exactly() {
    let mut random = 0x1234_5678_9abc_def1u64;
    for _ in 0..2000 {
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let sent = 1 + next(40);
        let mut arrived = Vec::new();
        let (mut lost, mut duplicated) = (0, 0);
        for sequence in 0..sent {
            match next(5) {
                0 => lost += 1,
                1 => {
                    duplicated += 1;
                    arrived.extend([sequence, sequence]);
                }
                _ => arrived.push(sequence),
            }
        }
        let length = arrived.len() as u64;
        for _ in 0..next(4) * u64::from(length > 1) {
            arrived.swap(next(length) as usize, next(length) as usize);
        }
        let tally = judged(&arrived, sent);
        assert_eq!(
            (tally.lost, tally.duplicated),
            (lost, duplicated),
            "{arrived:?} of {sent}"
        );
        let sorted = arrived.is_sorted();
        assert_eq!(
            tally.reordered == 0,
            sorted || !overtaken(&arrived),
            "{arrived:?}"
        );
    }
}

/// Whether the first arrival of some message comes after that of a later message.
fn overtaken(arrived: &[u64]) -> bool {
    let mut seen = Vec::new();
    for sequence in arrived {
        if !seen.contains(sequence) {
            if seen.iter().any(|other| other > sequence) {
                return true;
            }
            seen.push(*sequence);
        }
    }
    false
}

#[test]
fn a_ledger_finds_loss_and_duplicates_over_all_its_parts() {
    let (mut one, mut other, mut tally) = (Ledger::new(2), Ledger::new(2), Tally::default());
    for sequence in (0..100).filter(|sequence| sequence % 2 == 0) {
        one.receive(0, sequence, &mut tally);
    }
    for sequence in (0..100).filter(|sequence| sequence % 2 == 1 && *sequence != 51) {
        other.receive(0, sequence, &mut tally);
    }
    one.merge(&other, &mut tally);
    one.close(0, 100, &mut tally);
    assert_eq!(
        tally,
        Tally {
            lost: 1,
            ..Tally::default()
        }
    );
    other.receive(0, 1, &mut tally);
    assert_eq!(tally.duplicated, 1);
    other.receive(0, 2, &mut tally);
    one.merge(&other, &mut tally);
    assert_eq!(tally.duplicated, 1 + 49 + 1);
}

#[test]
fn a_ledger_does_not_believe_impossible_sequences() {
    let (mut ledger, mut tally) = (Ledger::new(1), Tally::default());
    ledger.receive(0, u64::MAX, &mut tally);
    ledger.receive(9, 0, &mut tally);
    ledger.receive(0, 5, &mut tally);
    ledger.close(0, 5, &mut tally);
    assert_eq!(
        tally,
        Tally {
            lost: 5,
            misdelivered: 3,
            ..Tally::default()
        }
    );
}
