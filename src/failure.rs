//! Why something cannot be done, and what the operator can do about it.

use std::fmt;
use std::io::{self, Write};

/// One thing that stands in the way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Failure {
    /// What is wrong. A sentence without a full stop, or several lines.
    pub(crate) what: String,
    /// What to do, a line each.
    pub(crate) advice: Vec<String>,
    /// The command that does it, where one does.
    pub(crate) command: Option<String>,
}

impl Failure {
    /// A failure that speaks for itself.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: Vec::new(),
            command: None,
        }
    }

    /// Adds a line of advice.
    pub(crate) fn advise(mut self, line: impl Into<String>) -> Self {
        self.advice.push(line.into());
        self
    }

    /// Adds the command that helps.
    pub(crate) fn command(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Tells the operator that this ends the program.
    pub(crate) fn show(&self) {
        tell(&format!("shardmq: {self}"));
    }

    /// Tells the operator that this would end the broker, although not this command.
    pub(crate) fn warn(&self) {
        tell(&format!("shardmq: warning: {self}"));
    }
}

/// Writes to standard error. There is nobody left to tell if that fails.
fn tell(text: &str) {
    _ = writeln!(io::stderr().lock(), "{text}");
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(command) = &self.command {
            write!(f, "\n  Try: {command}")?;
        }
        self.advice
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}
