//! Times on the disk.
//!
//! A shard counts milliseconds from the start of the process; on the disk stand milliseconds
//! since 1970. Between the two lies the wall clock, which somebody may set while the broker
//! runs or while it does not. So the disk also remembers what both clocks said at one moment
//! ([`Reading`]). At the next start the time that has passed is what the wall clock says has
//! passed, and none if it went back: whatever was stored ends late rather than early, and a
//! clock that was wrong once does its damage once.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the clocks said at one moment, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reading {
    /// The wall clock.
    pub(crate) wall_ms: u64,
    /// The clock of what is stored: a wall clock that nobody sets back.
    pub(crate) stored_ms: u64,
}

/// Translates between the clock of the shards and that of the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When the shards' clock was 0.
    started: Instant,
    /// What the clock of the disk said then.
    base_ms: u64,
}

/// Never, on both clocks.
const NEVER: u64 = u64::MAX;

impl Clock {
    /// The clock of a process that began at `started`, after another one that left `last`.
    pub(crate) fn new(started: Instant, last: Option<Reading>) -> Self {
        let passed = u64::try_from(started.elapsed().as_millis()).unwrap_or(0);
        Self::at(started, passed, wall_ms(), last)
    }

    fn at(started: Instant, passed_ms: u64, wall_ms: u64, last: Option<Reading>) -> Self {
        let now_ms = last.map_or(wall_ms, |last| {
            let asleep = wall_ms.saturating_sub(last.wall_ms);
            last.stored_ms.saturating_add(asleep)
        });
        Self {
            started,
            base_ms: now_ms.saturating_sub(passed_ms),
        }
    }

    /// What is to be remembered of this moment.
    pub(crate) fn read(&self) -> Reading {
        let passed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(NEVER);
        Reading {
            wall_ms: wall_ms(),
            stored_ms: self.stored(passed),
        }
    }

    /// A time of the shards as it is stored.
    pub(crate) fn stored(self, shard_ms: u64) -> u64 {
        match shard_ms {
            NEVER => NEVER,
            time => self.base_ms.saturating_add(time).min(NEVER - 1),
        }
    }

    /// A stored time as the shards count it; what is over is 0.
    pub(crate) fn counted(self, stored_ms: u64) -> u64 {
        match stored_ms {
            NEVER => NEVER,
            time => time.saturating_sub(self.base_ms),
        }
    }
}

/// Milliseconds since 1970, or 0 before that.
fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(passed: u64, wall: u64, last: Option<(u64, u64)>) -> Clock {
        let last = last.map(|(wall_ms, stored_ms)| Reading { wall_ms, stored_ms });
        Clock::at(Instant::now(), passed, wall, last)
    }

    #[test]
    fn a_time_comes_back_as_it_went() {
        let clock = clock(50, 1_000_000, None);
        for time in [0, 1, 49, 50, 86_400_000, NEVER] {
            assert_eq!(clock.counted(clock.stored(time)), time);
        }
        assert_eq!(clock.stored(50), 1_000_000);
    }

    #[test]
    fn nothing_overflows_and_never_stays_never() {
        let clock = clock(0, 1_700_000_000_000, None);
        assert_eq!(clock.stored(NEVER - 1), NEVER - 1);
        assert_eq!(clock.stored(NEVER), NEVER);
        assert_eq!(clock.counted(0), 0);
        let late = Clock::at(
            Instant::now(),
            9,
            5,
            Some(Reading {
                wall_ms: 0,
                stored_ms: NEVER,
            }),
        );
        assert_eq!(late.counted(NEVER), NEVER);
    }

    #[test]
    fn the_time_between_two_processes_counts() {
        let before = clock(0, 10_000, None);
        let due = before.stored(60_000);
        let after = clock(0, 30_000, Some((10_000, 10_000)));
        assert_eq!(after.counted(due), 40_000);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_early_and_nothing_forever() {
        let before = clock(0, 1_000_000, None);
        let due = before.stored(60_000);
        // Set back by 900 s while the broker was off: how long that was is not known.
        let after = clock(0, 100_000, Some((1_000_000, 1_000_000)));
        assert_eq!(after.counted(due), 60_000);
        // And from then on everything is as with a right clock.
        let reading = (110_000, after.stored(10_000));
        let last = clock(0, 130_000, Some(reading));
        assert_eq!(last.counted(due), 30_000);
    }

    #[test]
    fn a_clock_that_was_wrong_for_one_process_does_no_lasting_damage() {
        // The clock says 2040 while the broker runs, and is right again before the next start.
        let wrong = clock(0, 2_208_988_800_000, None);
        let due = wrong.stored(60_000);
        let right = clock(
            0,
            1_700_000_000_000,
            Some((2_208_988_800_000, wrong.stored(0))),
        );
        assert_eq!(right.counted(due), 60_000);
    }
}
