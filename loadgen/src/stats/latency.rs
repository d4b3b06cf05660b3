//! Latencies in a high dynamic range histogram.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Recorded values: 0.1 µs to an hour, three significant digits.
const LOWEST_NS: u64 = 100;
const HIGHEST_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// How long things took. Values beyond the range count as its end.
#[derive(Debug, Clone)]
pub struct Latency {
    histogram: Histogram<u64>,
}

/// The figures of a report, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all values are no larger.
    pub p50: f64,
    /// 90 % are no larger.
    pub p90: f64,
    /// 99 % are no larger.
    pub p99: f64,
    /// 99.9 % are no larger.
    #[serde(rename = "p99.9")]
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Default for Latency {
    #[expect(
        clippy::expect_used,
        reason = "constant arguments, covered by every test"
    )]
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .expect("the bounds are valid");
        Self { histogram }
    }
}

impl Latency {
    /// Records one value in nanoseconds.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
    }

    /// Records one value many times.
    #[inline]
    pub fn record_many(&mut self, ns: u64, times: u64) {
        self.histogram.saturating_record_n(ns, times);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Adds the values of another part of the run.
    pub fn merge(&mut self, other: &Self) {
        // Same bounds, so it cannot fail.
        let _ = self.histogram.add(&other.histogram);
    }

    /// Takes away values that are contained in these.
    pub fn subtract(&mut self, earlier: &Self) {
        let _ = self.histogram.subtract(&earlier.histogram);
    }

    /// The figures; all zero without values.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| {
            let ns = self
                .histogram
                .value_at_quantile(quantile)
                .min(self.histogram.max());
            ns as f64 / 1000.0
        };
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max() as f64 / 1000.0,
        }
    }
}

/// As pairs of value and count.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = self.histogram.iter_recorded();
        serializer
            .collect_seq(values.map(|value| (value.value_iterated_to(), value.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(deserializer)?;
        let mut latency = Self::default();
        for (value, count) in pairs {
            latency.record_many(value, count);
        }
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_values() {
        let mut latency = Latency::default();
        for microseconds in 1..=1000 {
            latency.record(microseconds * 1000);
        }
        let found = latency.percentiles();
        let near = |found: f64, expected: f64| (found - expected).abs() / expected < 0.002;
        assert!(near(found.p50, 500.0) && near(found.p99, 990.0) && near(found.p999, 999.0));
        assert!(near(found.max, 1000.0));
    }

    #[test]
    fn a_merged_histogram_survives_the_wire() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        one.record(5_000);
        other.record_many(7_000_000, 3);
        one.merge(&other);
        let text = serde_json::to_string(&one).unwrap();
        let back: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(back.count(), 4);
        assert_eq!(back.percentiles(), one.percentiles());
    }

    #[test]
    fn no_values_give_zero() {
        assert_eq!(Latency::default().percentiles(), Percentiles::default());
    }
}
