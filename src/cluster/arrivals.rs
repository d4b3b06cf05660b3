//! Messages of one stream that are with the shards and not accepted yet.
//!
//! The shards say how many they have accepted; the sender is told up to which number. The
//! numbers have gaps where the sender has given messages up, and begin anew when the sender's
//! process does, while the shards still have messages of the former one.

use std::collections::VecDeque;

/// Messages of one stream, oldest first.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    runs: VecDeque<Run>,
}

/// Messages whose numbers follow each other.
#[derive(Debug)]
struct Run {
    boot: u64,
    next: u64,
    count: u64,
}

impl Arrivals {
    /// A message of the process `boot` was handed to the shards.
    pub(super) fn arrived(&mut self, boot: u64, number: u64) {
        match self.runs.back_mut() {
            Some(run) if run.boot == boot && run.next + run.count == number => run.count += 1,
            _ => self.runs.push_back(Run {
                boot,
                next: number,
                count: 1,
            }),
        }
    }

    /// The shards have accepted so many. Returns the number of the last one that is of the
    /// process `boot`, if there is one.
    pub(super) fn accepted(&mut self, boot: u64, mut count: u64) -> Option<u64> {
        let mut last = None;
        while count > 0
            && let Some(run) = self.runs.front_mut()
        {
            let taken = count.min(run.count);
            count -= taken;
            run.next += taken;
            run.count -= taken;
            if run.boot == boot {
                last = Some(run.next - 1);
            }
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_becomes_numbers_across_gaps_and_lives() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.accepted(1, 5), None);
        for number in [1, 2, 5, 6] {
            arrivals.arrived(1, number);
        }
        arrivals.arrived(2, 1);
        arrivals.arrived(2, 2);
        assert_eq!(arrivals.accepted(1, 1), Some(1));
        assert_eq!(arrivals.accepted(1, 2), Some(5));
        // The process is another one now: what is left of the former is told nobody.
        assert_eq!(arrivals.accepted(2, 1), None);
        assert_eq!(arrivals.accepted(2, 1), Some(1));
        assert_eq!(arrivals.accepted(2, 9), Some(2));
        assert!(arrivals.runs.is_empty());
    }
}
