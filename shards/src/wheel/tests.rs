use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// No token.
const NOTHING: [u64; 0] = [];

fn fired_at(wheel: &mut TimerWheel<u64>, now_ms: u64) -> Vec<u64> {
    let mut fired = Vec::new();
    wheel.advance(now_ms, &mut |token| fired.push(token));
    fired
}

#[test]
fn an_entry_with_a_token_of_eight_bytes_takes_32() {
    assert_eq!(size_of::<Entry<u64>>(), 32);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
}

#[test]
fn a_timer_fires_at_its_deadline_and_not_before() {
    for start in [0, 1, 63, 64, 4095, (1 << 30) - 1, 1_700_000_000_000] {
        for delay in [1, 2, 63, 64, 65, 4096, 262_144, 90 * DAY_MS, 2000 * DAY_MS] {
            let mut wheel = TimerWheel::new(start);
            wheel.insert(start + delay, 7);
            assert_eq!(
                fired_at(&mut wheel, start + delay - 1),
                NOTHING,
                "{start} + {delay}"
            );
            assert_eq!(
                fired_at(&mut wheel, start + delay),
                [7],
                "{start} + {delay}"
            );
            assert!(wheel.is_empty());
        }
    }
}

#[test]
fn a_deadline_in_the_past_fires_with_the_next_advance() {
    let mut wheel = TimerWheel::new(1000);
    wheel.insert(3, 1);
    wheel.insert(1000, 2);
    assert_eq!(wheel.next_deadline(), Some(1000));
    let mut fired = fired_at(&mut wheel, 1000);
    fired.sort_unstable();
    assert_eq!(fired, [1, 2]);
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    let mut wheel = TimerWheel::new(5);
    for deadline in [70_000, 6, 4_000_000, 500, 64, 499] {
        wheel.insert(deadline, deadline);
    }
    assert_eq!(
        fired_at(&mut wheel, 5_000_000),
        [6, 64, 499, 500, 70_000, 4_000_000]
    );
}

#[test]
fn time_that_goes_backwards_is_ignored() {
    let mut wheel = TimerWheel::new(1000);
    wheel.insert(1500, 1);
    assert_eq!(fired_at(&mut wheel, 200), NOTHING);
    assert_eq!(fired_at(&mut wheel, 1499), NOTHING);
    assert_eq!(fired_at(&mut wheel, 100), NOTHING);
    assert_eq!(fired_at(&mut wheel, 1500), [1]);
}

#[test]
fn a_cancelled_timer_never_fires() {
    let mut wheel = TimerWheel::new(0);
    let first = wheel.insert(10, 1);
    let second = wheel.insert(10, 2);
    assert_eq!(wheel.cancel(first), Some(1));
    assert_eq!(wheel.cancel(first), None);
    assert_eq!(fired_at(&mut wheel, 10), [2]);
    assert_eq!(wheel.cancel(second), None);
}

#[test]
fn a_key_does_not_cancel_the_timer_that_took_its_place() {
    let mut wheel = TimerWheel::new(0);
    let stale = wheel.insert(10, 1);
    wheel.cancel(stale);
    let key = wheel.insert(20, 2);
    assert_eq!(wheel.cancel(stale), None);
    assert_eq!(wheel.cancel(key), Some(2));
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn a_limit_leaves_the_rest_for_the_next_call() {
    let mut wheel = TimerWheel::new(0);
    for token in 0..100 {
        wheel.insert(5000, token);
    }
    let mut fired = Vec::new();
    let mut calls = 1;
    while wheel.advance_at_most(5000, 7, &mut |token| fired.push(token)) {
        assert_eq!(wheel.next_deadline().map(|at| at <= 5000), Some(true));
        calls += 1;
    }
    fired.sort_unstable();
    assert_eq!(fired, (0..100).collect::<Vec<_>>());
    assert!(calls >= 100 / 7);
}

#[test]
fn a_limit_of_zero_fires_nothing_and_says_that_work_is_left() {
    let mut wheel = TimerWheel::new(0);
    wheel.insert(5000, 1);
    assert!(!wheel.advance_at_most(4000, 0, &mut |_| unreachable!()));
    assert!(wheel.advance_at_most(5000, 0, &mut |_| unreachable!()));
    assert_eq!(fired_at(&mut wheel, 0), NOTHING);
    assert_eq!(fired_at(&mut wheel, 5000), [1]);
}

#[test]
fn waking_at_the_announced_times_reaches_a_far_deadline_in_a_few_steps() {
    let deadline = 12_345_678_901_234;
    let mut wheel = TimerWheel::new(17);
    wheel.insert(deadline, 1);
    let mut steps = 0;
    while let Some(at) = wheel.next_deadline() {
        assert!(at <= deadline);
        fired_at(&mut wheel, at);
        steps += 1;
    }
    // One step for each turn of the last level, then one for each level.
    assert!(
        steps <= deadline / (63 << 30) + 1 + LEVELS as u64,
        "{steps}"
    );
}

#[test]
fn the_end_of_time_is_reached_without_overflow() {
    let mut wheel = TimerWheel::new(u64::MAX - 100);
    wheel.insert(u64::MAX, 1);
    wheel.insert(u64::MAX - 50, 2);
    assert_eq!(fired_at(&mut wheel, u64::MAX - 1), [2]);
    assert_eq!(fired_at(&mut wheel, u64::MAX), [1]);
}

/// The obvious timer queue.
#[derive(Default)]
struct Model {
    now_ms: u64,
    /// By the time from which on a timer is due.
    pending: BTreeMap<(u64, u64), ()>,
}

impl Model {
    fn advance(&mut self, now_ms: u64) -> Vec<u64> {
        self.now_ms = self.now_ms.max(now_ms);
        let later = self.pending.split_off(&(self.now_ms + 1, 0));
        std::mem::replace(&mut self.pending, later)
            .into_keys()
            .map(|(_, token)| token)
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Insert { delay_ms: i64 },
    Cancel { choice: prop::sample::Index },
    Advance { by_ms: i64 },
    AdvanceAtMost { by_ms: i64, limit: usize },
    AdvanceToNextDeadline,
}

/// From one millisecond to 50 days, each magnitude as likely as the others.
fn span() -> impl Strategy<Value = i64> {
    (0_u32..33, any::<u64>()).prop_map(|(bits, noise)| {
        let span = (1 << bits) + (noise % (1 << bits));
        span.min(50 * DAY_MS) as i64
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => span().prop_map(|delay_ms| Operation::Insert { delay_ms }),
        1 => (-1000_i64..=0).prop_map(|delay_ms| Operation::Insert { delay_ms }),
        2 => any::<prop::sample::Index>().prop_map(|choice| Operation::Cancel { choice }),
        2 => span().prop_map(|by_ms| Operation::Advance { by_ms }),
        1 => (-1000_i64..1).prop_map(|by_ms| Operation::Advance { by_ms }),
        2 => (span(), 0_usize..4)
            .prop_map(|(by_ms, limit)| Operation::AdvanceAtMost { by_ms, limit }),
        3 => Just(Operation::AdvanceToNextDeadline),
    ]
}

proptest! {
    #[test]
    fn the_wheel_behaves_like_a_sorted_map(
        start in prop_oneof![Just(0_u64), 0_u64..1 << 42],
        operations in prop::collection::vec(operation(), 1..200),
    ) {
        let mut wheel = TimerWheel::new(start);
        let mut model = Model { now_ms: start, ..Model::default() };
        let mut keys = Vec::new();
        for operation in operations {
            match operation {
                Operation::Insert { delay_ms } => {
                    let deadline = model.now_ms.saturating_add_signed(delay_ms);
                    let token = keys.len() as u64;
                    let due = deadline.max(model.now_ms);
                    keys.push((wheel.insert(deadline, token), due));
                    model.pending.insert((due, token), ());
                }
                Operation::Cancel { choice } if !keys.is_empty() => {
                    let token = choice.index(keys.len());
                    let (key, due) = keys[token];
                    let expected = model.pending.remove(&(due, token as u64));
                    prop_assert_eq!(wheel.cancel(key), expected.map(|()| token as u64));
                }
                Operation::Cancel { .. } => {}
                Operation::Advance { by_ms } => {
                    let now = model.now_ms.saturating_add_signed(by_ms);
                    prop_assert_eq!(
                        in_model_order(fired_at(&mut wheel, now), &keys),
                        model.advance(now)
                    );
                }
                Operation::AdvanceAtMost { by_ms, limit } => {
                    let now = model.now_ms.saturating_add_signed(by_ms);
                    let expected = model.advance(now);
                    let mut fired = Vec::new();
                    let more = wheel.advance_at_most(now, limit, &mut |token| fired.push(token));
                    prop_assert!(fired.len() <= limit);
                    prop_assert!(more || fired.len() == expected.len());
                    if more {
                        prop_assert!(wheel.next_deadline().is_some_and(|at| at <= now));
                    }
                    fired.extend(fired_at(&mut wheel, now));
                    prop_assert_eq!(in_model_order(fired, &keys), expected);
                }
                Operation::AdvanceToNextDeadline => {
                    let earliest = model.pending.first_key_value().map(|((due, _), ())| *due);
                    let announced = wheel.next_deadline();
                    prop_assert_eq!(announced.is_some(), earliest.is_some());
                    let now = announced.unwrap_or(model.now_ms);
                    prop_assert!(earliest.is_none_or(|due| model.now_ms <= now && now <= due));
                    prop_assert_eq!(
                        in_model_order(fired_at(&mut wheel, now), &keys),
                        model.advance(now)
                    );
                }
            }
            prop_assert_eq!(wheel.len(), model.pending.len());
        }
    }
}

/// Checks that tokens fired in the order of their deadlines, and puts those with the same
/// deadline into the order of their insertion.
fn in_model_order(mut fired: Vec<u64>, keys: &[(TimerKey, u64)]) -> Vec<u64> {
    let due = |token: &u64| keys[*token as usize].1;
    assert!(fired.is_sorted_by_key(due), "out of order: {fired:?}");
    fired.sort_by_key(|token| (due(token), *token));
    fired
}
