//! Rates: so much in so long, written as `1000/s` or `10MB/10s`, and what holds somebody to
//! one: a bucket for whoever is alone, a pace for what several threads share.

mod allowance;
mod pace;

use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

pub use allowance::{Allowance, Burst, Meter};
pub use pace::Pace;

/// The longest period: an hour.
const PERIOD_MS_MAX: u32 = 3_600_000;

/// So much in a period, or as much as there is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rate(Option<Limit>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Limit {
    amount: NonZeroU32,
    /// 1 to an hour.
    period_ms: u32,
}

impl Rate {
    /// As much as there is.
    pub const UNLIMITED: Self = Self(None);

    /// A full bucket of this rate at `now_ms`; `None` without a limit.
    #[must_use]
    pub fn bucket(self, now_ms: u64) -> Option<Bucket> {
        Some(self.0?.bucket(now_ms))
    }
}

impl FromStr for Rate {
    type Err = ();

    /// Reads `infinity`, or an amount (with KB, MB or GB, of 1,024), a slash and a period in
    /// ms, s, m or h, whose number may be left off.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "infinity" {
            return Ok(Self::UNLIMITED);
        }
        let (amount, period_ms) = amount_and_period(text).ok_or(())?;
        let amount = NonZeroU32::new(amount).ok_or(())?;
        Ok(Self(Some(Limit { amount, period_ms })))
    }
}

/// Reads an amount, a slash and a period, in milliseconds.
fn amount_and_period(text: &str) -> Option<(u32, u32)> {
    let (amount, period) = text.split_once('/')?;
    let units = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("", 1)];
    let amount = with_unit(amount, &units)?;
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let period_ms = if period.starts_with(|first: char| first.is_ascii_digit()) {
        with_unit(period, &units)?
    } else {
        units.iter().find(|(unit, _)| *unit == period)?.1
    };
    let allowed = (1..=PERIOD_MS_MAX).contains(&period_ms);
    allowed.then_some((amount, period_ms))
}

/// A whole number before the first of these units that the text ends with.
fn with_unit(text: &str, units: &[(&str, u32)]) -> Option<u32> {
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)))?;
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = number.parse().ok().filter(|_| plain)?;
    number.checked_mul(scale)
}

impl fmt::Display for Rate {
    /// As it is read, in plain numbers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("infinity"),
            Some(limit) => limit.fmt(out),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period_ms {
            1000 => write!(out, "{}/s", self.amount),
            ms if ms % 1000 == 0 => write!(out, "{}/{}s", self.amount, ms / 1000),
            ms => write!(out, "{}/{ms}ms", self.amount),
        }
    }
}

impl Limit {
    /// A full bucket at `now_ms`.
    fn bucket(self, now_ms: u64) -> Bucket {
        Bucket {
            limit: self,
            level: self.capacity(),
            at_ms: now_ms,
        }
    }

    /// A full bucket: what flows in during one period.
    fn capacity(self) -> i64 {
        i64::from(self.amount.get()) * i64::from(self.period_ms)
    }
}

/// A bucket that fills at a rate, up to what comes in one period, and from which one takes.
/// Whoever finds anything in it takes all of what it needs, so that it may owe something
/// afterwards: nothing is too large, and over time the rate holds.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    limit: Limit,
    /// In parts: the amount comes in each millisecond, and one unit is the period.
    level: i64,
    at_ms: u64,
}

impl Bucket {
    /// How many milliseconds to wait until something can be taken; 0 is now.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        let passed = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        let amount = i64::from(self.limit.amount.get());
        let filled = self.level.saturating_add(passed.saturating_mul(amount));
        self.level = filled.min(self.limit.capacity());
        self.at_ms = self.at_ms.max(now_ms);
        if self.has_some() {
            return 0;
        }
        (self.level.unsigned_abs() / u64::from(self.limit.amount.get())).saturating_add(1)
    }

    /// Whether something can be taken, as far as was last looked at.
    const fn has_some(&self) -> bool {
        self.level > 0
    }

    /// Takes so many units.
    pub fn take(&mut self, units: u32) {
        let parts = i64::from(units) * i64::from(self.limit.period_ms);
        self.level = self.level.saturating_sub(parts);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, shown) in [
            ("infinity", "infinity"),
            ("1000/s", "1000/s"),
            ("10MB/10s", "10485760/10s"),
            ("2KB/100ms", "2048/100ms"),
            ("60/1m", "60/60s"),
            ("1GB/h", "1073741824/3600s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rate));
        }
        for bad in [
            "",
            "10",
            "/s",
            "0/s",
            "1/0s",
            "-1/s",
            "+1/s",
            "1/2h",
            "5GB/s",
            "1 /s",
            "1/d",
            "1/",
            "1/s/s",
            "1.5/s",
            "9999999999/s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_bucket_gives_a_period_at_once_and_then_the_rate() {
        let rate: Rate = "10/s".parse().unwrap();
        let mut bucket = rate.bucket(5).unwrap();
        let mut at_once = 0;
        while bucket.wait_ms(5) == 0 {
            bucket.take(1);
            at_once += 1;
        }
        assert_eq!(at_once, 10);
        assert_eq!(bucket.wait_ms(5), 1);
        assert_eq!(bucket.wait_ms(6), 0);
        bucket.take(1);
        assert_eq!(bucket.wait_ms(6), 100);
        assert_eq!(bucket.wait_ms(106), 0);
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_given_and_owed() {
        let mut bucket = "100/s".parse::<Rate>().unwrap().bucket(0).unwrap();
        bucket.take(300);
        assert_eq!(bucket.wait_ms(0), 2001);
        assert_eq!(bucket.wait_ms(2001), 0);
    }

    proptest! {
        /// Whoever waits as long as it is told finds something, and takes no more than the
        /// rate and one bucket, and what the last take was too large.
        #[test]
        fn over_time_the_rate_holds(
            amount in 1_u32..5000,
            period_ms in 1_u32..5000,
            takes in prop::collection::vec((1_u32..3000, 0_u64..500), 1..100),
        ) {
            let rate: Rate = format!("{amount}/{period_ms}ms").parse().unwrap();
            let (mut bucket, mut now_ms, mut taken) = (rate.bucket(0).unwrap(), 0, 0_u64);
            for (units, pause_ms) in takes {
                now_ms += pause_ms;
                now_ms += bucket.wait_ms(now_ms);
                prop_assert_eq!(bucket.wait_ms(now_ms), 0);
                let allowed = u64::from(amount) * (now_ms + u64::from(period_ms));
                prop_assert!(taken * u64::from(period_ms) < allowed);
                bucket.take(units);
                taken += u64::from(units);
            }
        }
    }
}
