//! How long something takes: `1m`, `24h`, `1m30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The units, from long to short, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A time in whole milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span(u64);

impl Span {
    /// So many seconds.
    pub(crate) const fn of_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The same, as the standard library has it.
    pub(crate) const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = ();

    /// Amounts with a unit each, one after the other.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (mut rest, mut sum) = (text, 0_u64);
        while !rest.is_empty() {
            let is_digit = |letter: char| letter.is_ascii_digit();
            let digits = rest.find(|letter| !is_digit(letter)).ok_or(())?;
            let end = rest[digits..].find(is_digit).map(|end| digits + end);
            let unit = &rest[digits..end.unwrap_or(rest.len())];
            let (_, unit) = UNITS
                .into_iter()
                .find(|(name, _)| *name == unit)
                .ok_or(())?;
            let amount: u64 = rest[..digits].parse().map_err(|_| ())?;
            let amount = amount.checked_mul(unit).ok_or(())?;
            sum = sum.checked_add(amount).ok_or(())?;
            rest = end.map_or("", |end| &rest[end..]);
        }
        if text.is_empty() {
            Err(())
        } else {
            Ok(Self(sum))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, unit) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(u64, String)> {
        let span: Span = text.parse().ok()?;
        Some((span.0, span.to_string()))
    }

    #[test]
    fn amounts_have_units_and_add_up() {
        for (text, ms, shown) in [
            ("1m", 60_000, "1m"),
            ("24h", 86_400_000, "1d"),
            ("90s", 90_000, "1m30s"),
            ("1m30s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(read(text), Some((ms, shown.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "1",
            "m",
            "1x",
            "1 m",
            "-1s",
            "1.5h",
            "99999999999999999999s",
            "s1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("999999999999999999d"), None);
    }
}
