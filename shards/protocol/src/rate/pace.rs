//! A rate as a pace: one after the other, and as many at once as the rate gives in a period.

use super::Limit;

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// A rate of single things. All there is to remember between two of them is one number, the
/// moment up to which the pace is used up, so that threads can share it without a lock. It
/// begins at 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Nanoseconds from one to the next.
    interval_ns: u64,
    /// How far ahead of the clock the pace may be used up.
    ahead_ns: u64,
}

impl Pace {
    pub(super) fn of(limit: Limit) -> Self {
        let amount = u64::from(limit.amount.get());
        let interval_ns = (u64::from(limit.period_ms) * MS).div_ceil(amount);
        Self {
            interval_ns,
            ahead_ns: interval_ns.saturating_mul(amount - 1),
        }
    }

    /// What is used up once one more is let through, and when it may go: `now_ns`, or later.
    #[must_use]
    pub fn reserve(self, used_up_ns: u64, now_ns: u64) -> (u64, u64) {
        let next = used_up_ns.max(now_ns).saturating_add(self.interval_ns);
        (next, used_up_ns.saturating_sub(self.ahead_ns).max(now_ns))
    }

    /// What is used up once one more is let through at `now_ns`; `None` if it has to wait.
    #[must_use]
    pub fn take(self, used_up_ns: u64, now_ns: u64) -> Option<u64> {
        let (next, at_ns) = self.reserve(used_up_ns, now_ns);
        (at_ns == now_ns).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::{Allowance, Rate};

    fn pace(rate: &str) -> Pace {
        let rate: Rate = rate.parse().unwrap();
        let allowance = Allowance {
            rate,
            ..Allowance::default()
        };
        allowance.paces().unwrap().0
    }

    #[test]
    fn a_period_goes_at_once_and_then_one_after_the_other() {
        let (pace, mut used_up, now) = (pace("5/s"), 0, 10_000 * MS);
        for _ in 0..5 {
            used_up = pace.take(used_up, now).unwrap();
        }
        assert_eq!(pace.take(used_up, now), None);
        assert_eq!(pace.take(used_up, now + 199 * MS), None);
        used_up = pace.take(used_up, now + 200 * MS).unwrap();
        assert_eq!(pace.take(used_up, now + 399 * MS), None);
        // All of it is there again after a period.
        for _ in 0..5 {
            used_up = pace.take(used_up, now + 1200 * MS).unwrap();
        }
        assert_eq!(pace.take(used_up, now + 1200 * MS), None);
    }

    #[test]
    fn who_reserves_goes_at_the_pace() {
        let (pace, mut used_up) = (pace("2/s"), 0);
        let moments: Vec<u64> = (0..5)
            .map(|_| {
                let (next, at) = pace.reserve(used_up, MS);
                used_up = next;
                at / MS
            })
            .collect();
        assert_eq!(moments, [1, 1, 501, 1001, 1501]);
    }

    #[test]
    fn the_slowest_and_the_fastest_rate_have_a_pace() {
        let slow = pace("1/1h");
        let used_up = slow.take(0, 0).unwrap();
        assert_eq!(slow.take(used_up, 3_599_999 * MS), None);
        assert!(slow.take(used_up, 3_600_000 * MS).is_some());
        let fast = pace("4294967295/1ms");
        let used_up = (0..1000).fold(0, |used_up, _| fast.take(used_up, 5).unwrap());
        assert!(used_up <= 5 + 1000);
    }
}
