use proptest::prelude::*;

use super::super::{Identifiers, StoredAs};
use super::*;
use crate::message::MessageRef;

/// A message whose number is where it is stored.
fn delivery(number: u64, qos: QoS, expires_ms: u64, payload: &[u8]) -> Delivery {
    let message = MessageRef {
        topic: "t",
        properties: &[],
        payload,
        qos,
        retain: false,
        expires_ms,
        publisher: u64::MAX,
    };
    Delivery {
        message: message.to_message(),
        identifiers: Identifiers::None,
        qos,
        retain: false,
        membership: None,
        dup: false,
        stored: StoredAs {
            entry: number,
            message: 0,
        },
    }
}

/// A queue of at most so many messages.
fn limits(messages: usize, when_full: WhenFull) -> QueueLimits {
    QueueLimits {
        messages,
        bytes: usize::MAX,
        when_full,
    }
}

/// Puts messages in, each of a number, a QoS, a priority and an expiry, at a moment; the
/// numbers of those that left, in order, and whether the client was disconnected.
fn fill(
    queue: &mut Queue,
    limits: QueueLimits,
    now_ms: u64,
    messages: &[(u64, QoS, u8, u64)],
) -> (Vec<u64>, bool) {
    let (mut left, mut disconnect) = (Vec::new(), false);
    for &(number, qos, priority, expires_ms) in messages {
        let delivery = delivery(number, qos, expires_ms, b"");
        let enqueued = queue.enqueue(delivery, priority, &limits, now_ms);
        left.extend(enqueued.left.iter().map(|left| left.delivery.stored.entry));
        disconnect |= enqueued.disconnect;
    }
    (left, disconnect)
}

/// The numbers of all messages as they would be sent.
fn drain(mut queue: Queue) -> Vec<u64> {
    core::iter::from_fn(|| queue.pop())
        .map(|delivery| delivery.stored.entry)
        .collect()
}

const NEVER: u64 = u64::MAX;
const ZERO: QoS = QoS::AtMostOnce;
const ONE: QoS = QoS::AtLeastOnce;
const TWO: QoS = QoS::ExactlyOnce;

#[test]
fn each_policy_says_which_message_goes() {
    let messages: Vec<_> = (1..=4).map(|number| (number, ONE, 0, NEVER)).collect();
    for (when_full, left, kept, disconnect) in [
        (WhenFull::DropOldest, [1, 2], [3, 4], false),
        (WhenFull::DropNewest, [3, 4], [1, 2], false),
        (WhenFull::Disconnect, [3, 4], [1, 2], true),
    ] {
        let mut queue = Queue::new(0);
        let outcome = fill(&mut queue, limits(2, when_full), 0, &messages);
        assert_eq!(outcome, (left.to_vec(), disconnect), "{when_full:?}");
        assert_eq!(drain(queue), kept, "{when_full:?}");
    }
}

#[test]
fn qos_0_goes_before_anything_else_and_never_costs_the_connection() {
    let messages = [
        (1, ONE, 0, NEVER),
        (2, ZERO, 0, NEVER),
        (3, ZERO, 0, NEVER),
        (4, ZERO, 0, NEVER),
        (5, TWO, 0, NEVER),
        (6, ONE, 0, NEVER),
        (7, ZERO, 0, NEVER),
    ];
    for when_full in [
        WhenFull::DropOldest,
        WhenFull::DropNewest,
        WhenFull::Disconnect,
    ] {
        let mut queue = Queue::new(0);
        let outcome = fill(&mut queue, limits(3, when_full), 0, &messages);
        assert_eq!(outcome, (vec![2, 3, 4, 7], false), "{when_full:?}");
        assert_eq!(drain(queue), [1, 5, 6], "{when_full:?}");
    }
}

#[test]
fn expired_messages_make_room_wherever_they_are() {
    for when_full in [WhenFull::DropOldest, WhenFull::Disconnect] {
        let mut queue = Queue::new(0);
        let messages: Vec<_> = (1..=100)
            .map(|number| (number, ONE, 0, if number % 50 == 0 { 1000 } else { NEVER }))
            .collect();
        fill(&mut queue, limits(100, when_full), 0, &messages);
        let more = [(101, ONE, 0, NEVER), (102, ZERO, 0, NEVER)];
        let (left, disconnect) = fill(&mut queue, limits(100, when_full), 1000, &more);
        assert_eq!((left, disconnect), (vec![50, 100], false));
        let kept: Vec<u64> = (1..=102)
            .filter(|number| ![50, 100].contains(number))
            .collect();
        assert_eq!(drain(queue), kept);
    }
}

#[test]
fn an_expired_message_is_not_queued() {
    let mut queue = Queue::new(0);
    let delivery = delivery(1, ONE, 1000, b"");
    let enqueued = queue.enqueue(delivery, 0, &limits(0, WhenFull::Disconnect), 1000);
    assert!(!enqueued.queued && !enqueued.disconnect);
    assert_eq!(enqueued.left[0].why, WhyLeft::Expired);
}

#[test]
fn higher_priorities_are_sent_first_and_dropped_last() {
    let messages = [
        (1, ONE, 5, NEVER),
        (2, ONE, 0, NEVER),
        (3, ONE, 9, NEVER),
        (4, ONE, 5, NEVER),
    ];
    let mut queue = Queue::new(5);
    fill(&mut queue, limits(4, WhenFull::DropOldest), 0, &messages);
    let more = [(5, ONE, 0, NEVER), (6, ONE, 5, NEVER), (7, ONE, 0, NEVER)];
    let (left, _) = fill(&mut queue, limits(4, WhenFull::DropOldest), 0, &more);
    // 7 is of a lower priority than everything that is left.
    assert_eq!(left, [2, 5, 7]);
    assert_eq!(drain(queue), [3, 1, 4, 6]);
}

#[test]
fn the_newest_of_a_lower_priority_goes_before_a_message_is_refused() {
    let messages = [(1, ONE, 0, NEVER), (2, ONE, 0, NEVER), (3, ONE, 5, NEVER)];
    let mut queue = Queue::new(0);
    let more = [(4, ONE, 5, NEVER), (5, ONE, 5, NEVER), (6, ONE, 5, NEVER)];
    let limits = limits(3, WhenFull::DropNewest);
    fill(&mut queue, limits, 0, &messages);
    assert_eq!(fill(&mut queue, limits, 0, &more), (vec![2, 1, 6], false));
    assert_eq!(drain(queue), [3, 4, 5]);
}

#[test]
fn nothing_is_dropped_in_vain_for_a_message_that_cannot_fit() {
    let mut queue = Queue::new(0);
    let big = |number, qos| delivery(number, qos, NEVER, &[0; 1000]);
    let limits = QueueLimits {
        messages: 100,
        bytes: 2500,
        when_full: WhenFull::Disconnect,
    };
    for (number, qos) in [(1, ONE), (2, ZERO)] {
        assert!(queue.enqueue(big(number, qos), 0, &limits, 0).queued);
    }
    let two_more = delivery(3, ONE, NEVER, &[0; 1500]);
    let enqueued = queue.enqueue(two_more, 0, &limits, 0);
    assert!(!enqueued.queued && enqueued.disconnect);
    assert_eq!((enqueued.left.len(), queue.len()), (1, 2));
    assert!(queue.enqueue(big(4, ONE), 0, &limits, 0).queued);
    assert_eq!(drain(queue), [1, 4]);
}

#[test]
fn memory_is_given_back_while_the_queue_shrinks() {
    let mut queue = Queue::new(0);
    for number in 0..10_000 {
        queue.push(delivery(number, ONE, NEVER, b""), 0);
    }
    while queue.len() > 100 {
        queue.pop();
    }
    assert!(queue.first.capacity() < 1000, "{}", queue.first.capacity());
}

#[test]
fn a_queue_that_keeps_one_message_does_not_grow_by_those_that_expire() {
    let mut queue = Queue::new(0);
    queue.push(delivery(0, ONE, NEVER, b""), 0);
    let limits = limits(10, WhenFull::DropNewest);
    for now_ms in 1..100_000 {
        let message = delivery(now_ms, ONE, now_ms + 1, b"");
        assert!(queue.enqueue(message, 0, &limits, now_ms).queued);
    }
    assert!(queue.first.capacity() < 200 && queue.first.notes() < 200);
}

/// One message of the naive queue.
#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    qos: QoS,
    priority: u8,
    expires_ms: u64,
    size: usize,
}

/// A queue as it is described, without a thought for speed.
#[derive(Debug, Default)]
struct Naive(Vec<Waiting>);

impl Naive {
    fn bytes(&self) -> usize {
        self.0.iter().map(|waiting| waiting.size).sum()
    }

    fn fits(&self, size: usize, limits: &QueueLimits) -> bool {
        self.0.len() < limits.messages && self.bytes() + size <= limits.bytes
    }

    /// What may go for a message, in the order in which it goes.
    fn victims(&self, message: &Waiting, when_full: WhenFull) -> Vec<Waiting> {
        let by_priority = |mut of: Vec<Waiting>| {
            of.sort_by_key(|waiting| waiting.priority);
            of
        };
        let all = || self.0.iter().cloned();
        let is_zero = |waiting: &Waiting| waiting.qos == ZERO;
        if message.qos == ZERO {
            let up_to = |waiting: &Waiting| waiting.priority <= message.priority;
            return by_priority(all().filter(|w| is_zero(w) && up_to(w)).collect());
        }
        let mut victims = by_priority(all().filter(is_zero).collect());
        let others = all().filter(|waiting| !is_zero(waiting));
        let others = by_priority(match when_full {
            WhenFull::DropOldest => others
                .filter(|waiting| waiting.priority <= message.priority)
                .collect(),
            WhenFull::DropNewest => {
                let lower = others.filter(|waiting| waiting.priority < message.priority);
                let mut lower: Vec<Waiting> = lower.collect();
                lower.reverse();
                lower
            }
            WhenFull::Disconnect => Vec::new(),
        });
        victims.extend(others);
        victims
    }

    /// What left, sorted, and whether the message is queued.
    fn enqueue(&mut self, message: Waiting, limits: &QueueLimits, now_ms: u64) -> (Vec<u64>, bool) {
        let mut left = Vec::new();
        if message.expires_ms <= now_ms {
            return (vec![message.number], false);
        }
        let mut by_expiry = self.0.clone();
        by_expiry.retain(|waiting| waiting.expires_ms <= now_ms);
        // The earliest of the lowest priority.
        by_expiry.sort_by_key(|waiting| (waiting.priority, waiting.expires_ms, waiting.number));
        for expired in by_expiry {
            if !self.fits(message.size, limits) {
                self.remove(expired.number, &mut left);
            }
        }
        let victims = self.victims(&message, limits.when_full);
        let rest = Self(
            self.0
                .iter()
                .filter(|kept| victims.iter().all(|victim| victim.number != kept.number))
                .cloned()
                .collect(),
        );
        let queued = rest.fits(message.size, limits);
        for victim in victims {
            if queued && !self.fits(message.size, limits) {
                self.remove(victim.number, &mut left);
            }
        }
        if queued {
            self.0.push(message);
        } else {
            left.push(message.number);
        }
        (left, queued)
    }

    fn remove(&mut self, number: u64, left: &mut Vec<u64>) {
        self.0.retain(|waiting| waiting.number != number);
        left.push(number);
    }

    fn pop(&mut self, zero_only: bool) -> Option<u64> {
        let mut waiting: Vec<&Waiting> = self.0.iter().collect();
        waiting.retain(|waiting| !zero_only || waiting.qos == ZERO);
        let next = waiting.into_iter().rev().max_by_key(|w| w.priority)?;
        let number = next.number;
        self.remove(number, &mut Vec::new());
        Some(number)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        qos: QoS,
        priority: u8,
        lives_ms: u64,
        payload: usize,
    },
    Pop,
    PopQos0,
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop::sample::select(vec![ZERO, ONE, TWO]);
    let priority = prop::sample::select(vec![0, 0, 0, 1, 7, 255]);
    let lives_ms = prop_oneof![Just(NEVER), 0..30_u64];
    let payload = prop_oneof![0..20_usize, 0..2000_usize];
    let enqueue = (qos, priority, lives_ms, payload);
    prop_oneof![
        6 => enqueue.prop_map(|(qos, priority, lives_ms, payload)| Step::Enqueue {
            qos, priority, lives_ms, payload,
        }),
        2 => Just(Step::Pop),
        1 => Just(Step::PopQos0),
    ]
}

proptest! {
    #[test]
    fn the_queue_does_what_a_naive_one_does(
        steps in prop::collection::vec(step(), 1..300),
        messages in 0..40_usize,
        bytes in prop::sample::select(vec![500_usize, 3000, 20_000]),
        when_full in prop::sample::select(vec![
            WhenFull::DropOldest,
            WhenFull::DropNewest,
            WhenFull::Disconnect,
        ]),
    ) {
        let limits = QueueLimits { messages, bytes, when_full };
        let (mut queue, mut naive) = (Queue::new(0), Naive::default());
        for (number, step) in (1_u64..).zip(steps) {
            let now_ms = number;
            match step {
                Step::Enqueue { qos, priority, lives_ms, payload } => {
                    let expires_ms = lives_ms.saturating_add(now_ms);
                    let delivery = delivery(number, qos, expires_ms, &vec![0; payload]);
                    let size = delivery.message.size();
                    let waiting = Waiting { number, qos, priority, expires_ms, size };
                    let enqueued = queue.enqueue(delivery, priority, &limits, now_ms);
                    let left = enqueued.left.iter().map(|left| left.delivery.stored.entry);
                    let outcome = (left.collect::<Vec<_>>(), enqueued.queued);
                    prop_assert_eq!(outcome, naive.enqueue(waiting, &limits, now_ms));
                    let over = when_full == WhenFull::Disconnect
                        && !enqueued.queued && qos != ZERO && expires_ms > now_ms;
                    prop_assert_eq!(enqueued.disconnect, over);
                }
                Step::Pop => {
                    let popped = queue.pop().map(|delivery| delivery.stored.entry);
                    prop_assert_eq!(popped, naive.pop(false));
                }
                Step::PopQos0 => {
                    let popped = queue.pop_qos0().map(|delivery| delivery.stored.entry);
                    prop_assert_eq!(popped, naive.pop(true));
                }
            }
            prop_assert_eq!((queue.len(), queue.bytes), (naive.0.len(), naive.bytes()));
            let zeroes = naive.0.iter().any(|waiting| waiting.qos == ZERO);
            prop_assert_eq!(queue.has_qos0(), zeroes);
            prop_assert_eq!(queue.iter().count(), queue.len());
        }
    }
}
