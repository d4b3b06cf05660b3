//! When a message counts as stored.

use std::fmt;
use std::str::FromStr;

/// The longest pause between two writes to the disk, in milliseconds.
pub(crate) const PAUSE_MAX: u64 = 60_000;

/// `durability`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Durability {
    /// When it is on the disk.
    #[default]
    Synced,
    /// Never: everything ends with the process.
    Memory,
    /// At once, and it is on the disk this many milliseconds later.
    FlushedEvery(u64),
}

impl FromStr for Durability {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "synced" => return Ok(Self::Synced),
            "memory" => return Ok(Self::Memory),
            _ => {}
        }
        let pause = text.strip_prefix("flushed_every").ok_or(())?;
        let pause = pause.trim_start().strip_prefix('=').ok_or(())?;
        match pause.trim().parse() {
            Ok(pause) if (1..=PAUSE_MAX).contains(&pause) => Ok(Self::FlushedEvery(pause)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Synced => f.write_str("synced"),
            Self::Memory => f.write_str("memory"),
            Self::FlushedEvery(pause) => write!(f, "flushed_every = {pause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for durability in [
            Durability::Synced,
            Durability::Memory,
            Durability::FlushedEvery(250),
        ] {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        assert_eq!("flushed_every=9".parse(), Ok(Durability::FlushedEvery(9)));
    }

    #[test]
    fn a_pause_has_bounds_and_other_words_mean_nothing() {
        for bad in [
            "",
            "sync",
            "flushed_every",
            "flushed_every = 0",
            "flushed_every = 60001",
        ] {
            assert_eq!(bad.parse::<Durability>(), Err(()), "{bad}");
        }
    }
}
