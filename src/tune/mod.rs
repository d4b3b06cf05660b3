//! `shardmq tune`: looks at this machine and says what to change, with the command.
//!
//! [`facts`] reads the machine once; everything else is a function from facts to items.
//!
//! | module | what it looks at |
//! |---|---|
//! | [`kernel`] | kernel version, io_uring |
//! | [`limits`] | open files, locked memory |
//! | [`network`] | ports, backlogs, interrupts of network cards |
//! | [`cpus`] | placement of shards, governor, SMT, NUMA |
//! | [`memory`] | huge pages |

mod cpus;
mod facts;
mod kernel;
mod limits;
mod memory;
mod network;
#[cfg(test)]
mod tests;

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::Config;
use crate::failure::Failure;
use facts::Facts;

/// How things stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Nothing to do.
    Ok,
    /// The broker runs, and would run better.
    Advice,
    /// The broker would not start.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Item {
    /// What was looked at.
    name: &'static str,
    /// How it stands.
    status: Status,
    /// What was found.
    value: String,
    /// Why that is not what it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The command that changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
}

impl Item {
    /// Nothing to do.
    fn ok(name: &'static str, value: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            value: value.into(),
            reason: None,
            command: None,
        }
    }

    /// The broker would run better.
    fn advice(self, reason: impl Into<String>, command: impl Into<String>) -> Self {
        let (reason, command) = (Some(reason.into()), Some(command.into()));
        Self {
            status: Status::Advice,
            reason,
            command,
            ..self
        }
    }

    /// The broker would not start.
    fn problem(self, failure: Failure) -> Self {
        let mut reason = vec![failure.what];
        reason.extend(failure.advice);
        let (reason, command) = (Some(reason.join("; ")), failure.command);
        Self {
            status: Status::Problem,
            reason,
            command,
            ..self
        }
    }
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    items: Vec<Item>,
}

impl Report {
    /// Looks at this machine, for a configuration.
    pub(crate) fn of_this_host(config: &Config) -> Self {
        Self::of(&Facts::of_this_host(config))
    }

    /// Judges what was found.
    fn of(facts: &Facts) -> Self {
        let groups = [
            kernel::items(facts),
            limits::items(facts),
            cpus::items(facts),
            network::items(facts),
            memory::items(facts),
        ];
        Self {
            version: env!("CARGO_PKG_VERSION"),
            items: groups.concat(),
        }
    }

    /// Failure if the broker would not start.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.items.iter().any(|item| item.status == Status::Problem) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).map_or_else(
            |error| format!("{{\"error\": \"{error}\"}}\n"),
            |json| json + "\n",
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.iter().try_for_each(|item| writeln!(f, "{item}"))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Advice => "advice",
            Status::Problem => "problem",
        };
        write!(f, "{status:<8} {:<18} {}", self.name, self.value)?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        if let Some(command) = &self.command {
            write!(f, "\n         $ {command}")?;
        }
        Ok(())
    }
}
