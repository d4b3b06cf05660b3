//! A rate with what may come on top of it, and the meter that holds somebody to both.

use core::fmt;
use core::num::NonZeroU32;
use core::str::FromStr;

use super::{Bucket, Limit, Pace, Rate, amount_and_period};

/// What may come on top of a rate: so much in a period, or nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Burst(Option<Limit>);

impl Burst {
    /// Nothing.
    pub const NONE: Self = Self(None);

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0.is_none()
    }
}

impl FromStr for Burst {
    type Err = ();

    /// Reads an amount and a period, as of a [`Rate`]. An amount of 0 is no burst.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (amount, period_ms) = amount_and_period(text).ok_or(())?;
        let amount = NonZeroU32::new(amount);
        Ok(Self(amount.map(|amount| Limit { amount, period_ms })))
    }
}

impl fmt::Display for Burst {
    /// As it is read, in plain numbers.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => out.write_str("0/s"),
            Some(limit) => limit.fmt(out),
        }
    }
}

/// A rate and what may come on top of it. Without a rate there is nothing to come on top of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowance {
    /// What may come all the time.
    pub rate: Rate,
    /// What may come on top.
    pub burst: Burst,
}

impl Allowance {
    /// A meter with all of it at `now_ms`; `None` without a limit.
    #[must_use]
    pub fn meter(self, now_ms: u64) -> Option<Meter> {
        Some(Meter {
            regular: self.rate.bucket(now_ms)?,
            extra: self.burst.0.map(|limit| limit.bucket(now_ms)),
        })
    }

    /// How fast somebody may go by it, one after the other; `None` without a limit. What may
    /// come on top has a pace of its own.
    #[must_use]
    pub fn paces(self) -> Option<(Pace, Option<Pace>)> {
        let regular = Pace::of(self.rate.0?);
        Some((regular, self.burst.0.map(Pace::of)))
    }
}

/// Holds somebody to an [`Allowance`]: what the rate has no room for comes out of the burst.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    regular: Bucket,
    extra: Option<Bucket>,
}

impl Meter {
    /// How many milliseconds to wait until something can be taken; 0 is now.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        let regular = self.regular.wait_ms(now_ms);
        match &mut self.extra {
            Some(extra) if regular > 0 => extra.wait_ms(now_ms).min(regular),
            _ => regular,
        }
    }

    /// Takes so many units, after no wait was found to be due.
    pub fn take(&mut self, units: u32) {
        let extra = self.extra.as_mut();
        match extra.filter(|extra| !self.regular.has_some() && extra.has_some()) {
            Some(extra) => extra.take(units),
            None => self.regular.take(units),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowance(rate: &str, burst: &str) -> Allowance {
        Allowance {
            rate: rate.parse().unwrap(),
            burst: burst.parse().unwrap(),
        }
    }

    /// Takes one after the other until it would have to wait.
    fn take_all(meter: &mut Meter, now_ms: u64) -> u32 {
        let mut taken = 0;
        while meter.wait_ms(now_ms) == 0 {
            meter.take(1);
            taken += 1;
        }
        taken
    }

    #[test]
    fn bursts_are_read_and_written() {
        for (text, shown) in [
            ("0/1s", "0/s"),
            ("0/s", "0/s"),
            ("10000/60m", "10000/3600s"),
            ("100MB/60m", "104857600/3600s"),
        ] {
            let burst: Burst = text.parse().unwrap();
            assert_eq!(burst.to_string(), shown);
            assert_eq!(shown.parse(), Ok(burst));
        }
        for bad in ["infinity", "", "0", "0/", "1/0s", "-1/s"] {
            assert_eq!(bad.parse::<Burst>(), Err(()), "{bad}");
        }
        assert!("0/1s".parse::<Burst>().unwrap().is_none());
    }

    #[test]
    fn a_burst_comes_once_in_its_period_on_top_of_the_rate() {
        let mut meter = allowance("10/s", "50/60s").meter(0).unwrap();
        assert_eq!(take_all(&mut meter, 0), 60);
        // Ten and one, since whoever finds a part takes a whole one and owes the rest.
        assert_eq!(take_all(&mut meter, 999), 11);
        // The burst fills again as slowly as it says.
        assert_eq!(take_all(&mut meter, 61_000), 60);
    }

    #[test]
    fn without_a_rate_there_is_no_meter_and_without_a_burst_only_the_rate() {
        assert!(allowance("infinity", "5/s").meter(0).is_none());
        assert!(allowance("infinity", "5/s").paces().is_none());
        let mut meter = allowance("10/s", "0/1s").meter(0).unwrap();
        assert_eq!(take_all(&mut meter, 0), 10);
        assert_eq!(meter.wait_ms(0), 1);
    }

    #[test]
    fn what_is_too_large_for_the_rate_is_owed_while_the_burst_lasts() {
        let mut meter = allowance("100/s", "1000/1h").meter(0).unwrap();
        meter.wait_ms(0);
        meter.take(500);
        assert_eq!(meter.wait_ms(0), 0);
        meter.take(1200);
        // The rate is there again long before the burst.
        assert_eq!(meter.wait_ms(0), 4001);
        assert_eq!(meter.wait_ms(4001), 0);
    }

    proptest! {
        /// Over time nobody gets more than both rates and one bucket of each, and what the
        /// last take of each was too large.
        #[test]
        fn over_time_both_rates_hold(
            amounts in (1_u32..1000, 1_u32..1000),
            periods in (1_u32..5000, 1_u32..20_000),
            takes in prop::collection::vec((1_u32..2000, 0_u64..500), 1..100),
        ) {
            let rate = format!("{}/{}ms", amounts.0, periods.0);
            let burst = format!("{}/{}ms", amounts.1, periods.1);
            let mut meter = allowance(&rate, &burst).meter(0).unwrap();
            let (mut now_ms, mut taken) = (0, 0_u64);
            for (units, pause_ms) in takes {
                now_ms += pause_ms;
                now_ms += meter.wait_ms(now_ms);
                prop_assert_eq!(meter.wait_ms(now_ms), 0);
                let until = |amount: u32, period_ms: u32| {
                    f64::from(amount) * (now_ms as f64 + f64::from(period_ms))
                        / f64::from(period_ms)
                };
                let allowed = until(amounts.0, periods.0) + until(amounts.1, periods.1);
                prop_assert!((taken as f64) < allowed + 2000.0, "{taken} of {allowed}");
                meter.take(units);
                taken += u64::from(units);
            }
        }
    }
}
