//! Lists of CPUs in the kernel's notation: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The largest CPU number that can be named, which is what `cpu_set_t` holds.
pub(crate) const CPU_MAX: usize = 1023;

/// A set of CPUs by number. May be empty.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct CpuList(BTreeSet<usize>);

impl CpuList {
    /// The CPUs from the lowest number up.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The `count` lowest.
    pub(crate) fn first(&self, count: usize) -> Self {
        self.iter().take(count).collect()
    }

    /// The highest one alone, or none if there is none.
    pub(crate) fn last(&self) -> Self {
        self.iter().next_back().into_iter().collect()
    }

    /// Those that are not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    /// Those that are in `other` too.
    pub(crate) fn common(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }
}

impl FromIterator<usize> for CpuList {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = BTreeSet::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|_| !text.trim().is_empty())
        {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the range {part} runs backwards"));
            }
            for cpu in first..=last {
                if !cpus.insert(cpu) {
                    return Err(format!("CPU {cpu} is named twice"));
                }
            }
        }
        Ok(Self(cpus))
    }
}

/// One CPU number.
fn number(text: &str) -> Result<usize, String> {
    let digits = text.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a CPU number"));
    }
    match digits.parse() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        _ => Err(format!("CPU numbers end at {CPU_MAX}")),
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus_mix() {
        let list: CpuList = "0-3, 8".parse().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8]);
        assert_eq!(list.to_string(), "0-3,8");
    }

    #[test]
    fn an_empty_text_is_an_empty_list() {
        assert!("".parse::<CpuList>().unwrap().is_empty());
        assert_eq!(CpuList::default().to_string(), "");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, complaint) in [
            ("0,x", "\"x\" is not a CPU number"),
            ("3-1", "the range 3-1 runs backwards"),
            ("0-3,2", "CPU 2 is named twice"),
            ("1024", "CPU numbers end at 1023"),
            ("0-99999999999999999999", "CPU numbers end at 1023"),
            ("0,", "\"\" is not a CPU number"),
            ("-1", "\"\" is not a CPU number"),
        ] {
            assert_eq!(text.parse::<CpuList>(), Err(complaint.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["0", "0-1", "0,2,4", "1-3,7-8", "1023"] {
            assert_eq!(text.parse::<CpuList>().unwrap().to_string(), text);
        }
    }
}
