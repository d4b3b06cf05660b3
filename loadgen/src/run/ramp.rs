//! The ramp: which connections are to be opened when.

/// Without a rate: connections of the whole run that may wait for their CONNACK at a time. Some
/// brokers let the kernel hold no more than 100 that they have not accepted.
const OPENING_MAX: f64 = 64.0;

/// Opens the clients of one thread, at a rate or as fast as the broker answers.
#[derive(Debug)]
pub(super) struct Ramp {
    start_ns: u64,
    /// Between two connections of this thread; 0 without a rate.
    interval_ns: f64,
    /// Without a rate: how many may wait.
    waiting_max: usize,
    opened: usize,
    count: usize,
}

impl Ramp {
    /// A ramp from `start_ns` on for `own` of the run's `total` clients, which together are
    /// opened at `per_second`; 0 for no rate.
    pub(super) fn new(start_ns: u64, per_second: f64, own: usize, total: usize) -> Self {
        let share = own as f64 / total.max(1) as f64;
        let interval_ns = if per_second > 0.0 {
            1e9 / (per_second * share)
        } else {
            0.0
        };
        Self {
            start_ns,
            interval_ns,
            waiting_max: (OPENING_MAX * share).ceil() as usize,
            opened: 0,
            count: own,
        }
    }

    /// How many were given out.
    pub(super) fn opened(&self) -> usize {
        self.opened
    }

    /// Whether all were given out.
    pub(super) fn is_over(&self) -> bool {
        self.opened == self.count
    }

    /// The slot to open now, with its due time; `waiting` have no CONNACK yet.
    pub(super) fn next(&mut self, waiting: usize, now: u64) -> Option<(u32, u64)> {
        let has_rate = self.interval_ns > 0.0;
        let due = if has_rate { self.due_ns() } else { now };
        let is_due = if has_rate {
            due <= now
        } else {
            waiting < self.waiting_max
        };
        if self.opened == self.count || !is_due {
            return None;
        }
        self.opened += 1;
        Some((self.opened as u32 - 1, due))
    }

    /// When to ask again, as far as that depends on the clock.
    pub(super) fn wake_at(&self) -> u64 {
        let is_waiting = self.opened < self.count && self.interval_ns > 0.0;
        if is_waiting { self.due_ns() } else { u64::MAX }
    }

    fn due_ns(&self) -> u64 {
        self.start_ns + (self.opened as f64 * self.interval_ns) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_rate_each_connection_has_its_own_due_time() {
        let mut ramp = Ramp::new(1000, 1e9 / 10.0, 3, 9);
        assert_eq!(ramp.next(0, 1000), Some((0, 1000)));
        assert_eq!(ramp.next(1, 1029), None);
        assert_eq!(ramp.wake_at(), 1030);
        assert_eq!(ramp.next(1, 2000), Some((1, 1030)));
        assert_eq!(ramp.next(1, 2000), Some((2, 1060)));
        assert_eq!(ramp.next(1, 2000), None);
        assert_eq!(ramp.wake_at(), u64::MAX);
    }

    #[test]
    fn without_a_rate_the_answers_set_the_pace() {
        let mut ramp = Ramp::new(0, 0.0, 25, 100);
        assert_eq!(ramp.next(16, 5), None);
        assert_eq!(ramp.next(15, 5), Some((0, 5)));
    }
}
