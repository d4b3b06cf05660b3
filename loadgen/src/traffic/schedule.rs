//! Open loop: when each message of each publisher is due.

/// Messages are due evenly, publisher after publisher: message `sequence` of publisher `n` at
/// `start + (sequence × publishers + n) / rate`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    publishers: u32,
}

impl Schedule {
    /// `per_second` messages of all `publishers` together.
    pub(super) fn new(start_ns: u64, per_second: f64, publishers: u32) -> Self {
        Self {
            start_ns,
            interval_ns: 1e9 / per_second,
            publishers,
        }
    }

    /// When a message is due.
    #[inline]
    pub(super) fn due_ns(&self, publisher: u32, sequence: u64) -> u64 {
        let place = sequence as f64 * f64::from(self.publishers) + f64::from(publisher);
        self.start_ns + (place * self.interval_ns) as u64
    }

    /// How many messages of a publisher are due at `now`.
    pub(super) fn due_count(&self, publisher: u32, now: u64) -> u64 {
        if now < self.due_ns(publisher, 0) {
            return 0;
        }
        let place = (now - self.start_ns) as f64 / self.interval_ns;
        let mut count = ((place - f64::from(publisher)) / f64::from(self.publishers)) as u64;
        // Rounding may be off by one either way.
        while self.due_ns(publisher, count) <= now {
            count += 1;
        }
        while count > 0 && self.due_ns(publisher, count - 1) > now {
            count -= 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_spread_evenly_over_the_publishers() {
        let schedule = Schedule::new(1000, 1e8, 3);
        let due: Vec<u64> = (0..2)
            .flat_map(|sequence| (0..3).map(move |publisher| (publisher, sequence)))
            .map(|(publisher, sequence)| schedule.due_ns(publisher, sequence))
            .collect();
        assert_eq!(due, [1000, 1010, 1020, 1030, 1040, 1050]);
    }

    #[test]
    fn the_count_of_due_messages_agrees_with_their_due_times() {
        for rate in [3.0, 1e6 / 7.0, 1_050_000.0, 1e9] {
            let schedule = Schedule::new(500, rate, 7);
            for publisher in 0..7 {
                for now in (0..3_000_000).step_by(997) {
                    let count = schedule.due_count(publisher, now);
                    assert!(schedule.due_ns(publisher, count) > now);
                    assert!(count == 0 || schedule.due_ns(publisher, count - 1) <= now);
                }
            }
        }
    }
}
