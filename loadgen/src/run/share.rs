//! Which part of a run belongs to a thread of a worker.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The part of one worker process among all workers of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// This worker's number.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
}

impl Share {
    /// The only worker.
    pub const WHOLE: Self = Self {
        worker: 0,
        workers: 1,
    };

    /// The numbers out of `0..count` that belong to this worker.
    pub fn range(self, count: u32) -> Range<u32> {
        let bound =
            |worker: u32| (u64::from(count) * u64::from(worker) / u64::from(self.workers)) as u32;
        bound(self.worker)..bound(self.worker + 1)
    }

    /// The numbers out of `0..count` that belong to one of its threads.
    pub fn of_thread(self, count: u32, thread: usize, threads: usize) -> Vec<u32> {
        self.range(count)
            .skip(thread)
            .step_by(threads.max(1))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_belongs_to_exactly_one_thread() {
        for count in [0, 1, 7, 100] {
            let mut all: Vec<u32> = (0..3)
                .map(|worker| Share { worker, workers: 3 })
                .flat_map(|share| (0..4).flat_map(move |thread| share.of_thread(count, thread, 4)))
                .collect();
            all.sort_unstable();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
