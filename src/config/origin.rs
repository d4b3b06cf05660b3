//! Where a setting came from, and what is wrong with it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The place a value was given in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Nobody gave it.
    Default,
    /// An environment variable, by its name as it was written.
    Environment(String),
    /// A line of the configuration file, counted from 1.
    File(Arc<PathBuf>, usize),
    /// A flag of its own, such as `--bind`.
    Flag(&'static str),
    /// `--set key=value`.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// One thing that is wrong with the configuration. Shown as one line that begins with
/// the place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Where it was found.
    pub(crate) at: Origin,
    /// What is wrong and what is allowed instead; names the key.
    pub(crate) text: String,
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn new(at: Origin, text: impl Into<String>) -> Self {
        Self {
            at,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Origin::Default => f.write_str(&self.text),
            _ => write!(f, "{}: {}", self.at, self.text),
        }
    }
}
