//! Values of options: durations and CPU lists.

use std::time::Duration;

/// Reads `10`, `10s`, `250ms` or `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a duration"))?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| format!("{text:?} is out of range"))
}

/// Reads a list of CPUs such as `0-3,8`.
pub(super) fn cpu_list(text: &str) -> Result<CpuList, String> {
    let bad = || format!("{text:?} is not a CPU list such as \"0-3,8\"");
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| bad());
    let mut cpus = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last > 65_535 {
                    return Err(bad());
                }
                cpus.extend(first..=last);
            }
            None => cpus.push(number(part)?),
        }
    }
    Ok(CpuList(cpus))
}

/// CPUs in the order they were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// Reads QoS 0, 1 or 2.
pub fn qos(text: &str) -> Result<crate::codec::Qos, String> {
    let number = text.parse().ok();
    number
        .and_then(crate::codec::Qos::from_number)
        .ok_or_else(|| "QoS is 0, 1 or 2".to_owned())
}

/// Reads a rate above 0.
pub fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err(format!("{text:?} is not a rate per second above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert!(duration("3 parsecs").is_err() && duration("s").is_err());
        assert!(duration("-1s").is_err());
    }

    #[test]
    fn cpu_lists_have_ranges() {
        assert_eq!(cpu_list("0-3,8"), Ok(CpuList(vec![0, 1, 2, 3, 8])));
        assert!(cpu_list("3-1").is_err() && cpu_list("").is_err() && cpu_list("a").is_err());
    }
}
