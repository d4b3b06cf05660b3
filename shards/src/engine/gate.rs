//! How fast connections are accepted, over all shards.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::rate::{Allowance, Pace};

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

/// Lets connections through at a rate. Shared by all shards, without a lock: what there is to
/// know of a pace is one number.
#[derive(Debug)]
pub(crate) struct Gate {
    regular: Lane,
    /// What may come on top of the rate.
    extra: Option<Lane>,
}

/// A pace and how far it is used up.
#[derive(Debug)]
struct Lane {
    pace: Pace,
    used_up_ns: AtomicU64,
}

impl Lane {
    fn new(pace: Pace) -> Self {
        let used_up_ns = AtomicU64::new(0);
        Self { pace, used_up_ns }
    }

    /// Lets one through now, if the pace allows it.
    fn take(&self, now_ns: u64) -> bool {
        let step = |used_up_ns| self.pace.take(used_up_ns, now_ns);
        let (to, from) = (Ordering::Relaxed, Ordering::Relaxed);
        self.used_up_ns.fetch_update(to, from, step).is_ok()
    }

    /// Lets one through at the moment that is returned.
    fn reserve(&self, now_ns: u64) -> u64 {
        let step = |used_up_ns| Some(self.pace.reserve(used_up_ns, now_ns).0);
        let (to, from) = (Ordering::Relaxed, Ordering::Relaxed);
        let (Ok(used_up_ns) | Err(used_up_ns)) = self.used_up_ns.fetch_update(to, from, step);
        self.pace.reserve(used_up_ns, now_ns).1
    }
}

impl Gate {
    /// A gate for so many connections; `None` without a limit.
    pub(crate) fn new(allowance: Allowance) -> Option<Self> {
        let (regular, extra) = allowance.paces()?;
        Some(Self {
            regular: Lane::new(regular),
            extra: extra.map(Lane::new),
        })
    }

    /// When a connection that has been accepted at `now_ms` may come in: then, or later. Its
    /// place is taken: whoever comes after it goes behind it.
    pub(super) fn pass(&self, now_ms: u64) -> u64 {
        let now_ns = now_ms.saturating_mul(MS);
        let extra = || self.extra.as_ref().is_some_and(|lane| lane.take(now_ns));
        if self.regular.take(now_ns) || extra() {
            return now_ms;
        }
        self.regular.reserve(now_ns).div_ceil(MS)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn gate(rate: &str, burst: &str) -> Gate {
        Gate::new(Allowance {
            rate: rate.parse().unwrap(),
            burst: burst.parse().unwrap(),
        })
        .unwrap()
    }

    #[test]
    fn what_the_rate_has_no_room_for_comes_out_of_the_burst_and_then_waits() {
        let gate = gate("2/s", "3/60s");
        let moments: Vec<u64> = (0..8).map(|_| gate.pass(1000)).collect();
        assert_eq!(moments, [1000, 1000, 1000, 1000, 1000, 1500, 2000, 2500]);
        // Those who came later wait behind those who have their place.
        assert_eq!(gate.pass(2100), 3000);
        assert!(Gate::new(Allowance::default()).is_none());
    }

    #[test]
    fn threads_together_get_no_more_than_the_rate() {
        let (gate, barrier) = (gate("100/s", "50/60s"), Barrier::new(4));
        let at_once: usize = thread::scope(|scope| {
            let threads = [(); 4].map(|()| {
                scope.spawn(|| {
                    barrier.wait();
                    (0..500).filter(|_| gate.pass(7) == 7).count()
                })
            });
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        assert_eq!(at_once, 150);
        // All of the others have a place of their own.
        assert_eq!(gate.pass(7), 7 + (2000 - 150 + 1) * 10);
    }
}
