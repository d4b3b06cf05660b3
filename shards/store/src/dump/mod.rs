//! What is stored as text: one JSON object a line, for people and their tools.
//!
//! Times are milliseconds since 1970. What may not come back from a text is checked here,
//! line by line, so that a file that somebody has edited can be read.

mod base64;
mod check;
mod line;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, Write};

use line::{Entry, Header, Line, Shared};

use crate::batch::Batch;
use crate::change::Change;
use crate::checkpoint;
use crate::disk::DiskError;
use crate::open::Store;
use crate::stored::{Stored, StoredSession};

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Their messages.
    pub entries: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages that are to be published later, wills not counted.
    pub delayed: usize,
    /// Wills.
    pub wills: usize,
}

impl Counts {
    /// Counts.
    #[must_use]
    pub fn of(stored: &Stored) -> Self {
        let sum = |count: fn(&StoredSession) -> usize| stored.sessions.iter().map(count).sum();
        Self {
            sessions: stored.sessions.len(),
            subscriptions: sum(|session| session.subscriptions.len()),
            entries: sum(|session| session.entries.len()),
            retained: stored.retained.len(),
            delayed: stored.delayed.len(),
            wills: sum(|session| usize::from(session.record.will.is_some())),
        }
    }
}

/// Why a text cannot be imported.
#[derive(Debug)]
pub enum ImportError {
    /// A line is wrong: its number, from 1, and how.
    Line(usize, String),
    /// The text cannot be read.
    Read(io::Error),
    /// The data cannot be written.
    Write(String),
}

impl fmt::Display for ImportError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number, what) => write!(out, "line {number}: {what}"),
            Self::Read(error) => write!(out, "cannot be read: {error}"),
            Self::Write(what) => write!(out, "cannot be stored: {what}"),
        }
    }
}

impl std::error::Error for ImportError {}

/// Writes everything that was stored. A message that several entries share comes once,
/// before them.
pub fn export(store: &Store, stored: &Stored, out: &mut dyn Write) -> io::Result<()> {
    let clock = store.clock;
    let mut put = |line: &Line| {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    };
    put(&Line::Shardmq(Header::default()))?;
    let mut shared = std::collections::HashSet::new();
    for session in &stored.sessions {
        let number = session.number;
        put(&Line::session(number, &session.record, clock))?;
        for subscription in &session.subscriptions {
            put(&Line::subscription(number, subscription))?;
        }
        for packet_id in &session.held {
            put(&Line::held(number, *packet_id))?;
        }
        for entry in &session.entries {
            if let Some(number) = entry.shared
                && shared.insert(number)
            {
                let message = line::Text::of(&entry.message, clock);
                put(&Line::Message(Shared { number, message }))?;
            }
            put(&Line::Entry(Box::new(Entry::of(number, entry, clock))))?;
        }
    }
    for retained in &stored.retained {
        put(&Line::Retained(line::Text::retained(retained, clock)))?;
    }
    for delayed in &stored.delayed {
        put(&Line::delayed(delayed, clock))?;
    }
    out.flush()
}

/// Reads a text that [`export`] wrote and stores all of it, or nothing.
pub fn import(store: &mut Store, input: &mut dyn BufRead) -> Result<(), ImportError> {
    let mut checker = check::Checker::default();
    let mut batch = Batch::default();
    for (index, text) in input.lines().enumerate() {
        let text = text.map_err(ImportError::Read)?;
        let wrong = |what: String| ImportError::Line(index + 1, what);
        let line: Line = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let change = checker.take(line, store.clock).map_err(wrong)?;
        if let Some(change) = change {
            batch.add(&change, store.clock);
        }
    }
    checker.finish().map_err(ImportError::Write)?;
    store
        .write(&batch)
        .map_err(|error| ImportError::Write(error.to_string()))
}

impl Store {
    /// Writes changes without a thread.
    fn write(&mut self, batch: &Batch) -> Result<(), DiskError> {
        checkpoint::write(&mut *self.disk, &self.pending, &self.position)?;
        self.pending.clear();
        self.disk.commit(&mut batch.ops())
    }

    /// Stores changes at once, all or none of them, in times of the shards' clock.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), String> {
        let mut batch = Batch::default();
        for change in changes {
            batch.add(change, self.clock);
        }
        self.write(&batch).map_err(|error| error.to_string())
    }
}
