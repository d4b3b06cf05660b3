//! One session: what outlives a connection.

use std::sync::Arc;

use protocol::message::Message;
use protocol::session::{Inflow, Outflow};
use protocol::subscriptions::FilterId;

use super::replay::Replays;
use crate::wheel::TimerKey;

/// A session. Lives on the shard that its client identifier hashes to, and is touched by
/// that shard only.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Box<str>,
    /// Its connection, or [`super::NONE`] while the client is away.
    pub(crate) connection: u32,
    /// Tells this session from earlier ones under the same key.
    pub(crate) serial: u32,
    /// Session Expiry Interval in seconds; `u32::MAX` never expires.
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
    pub(crate) subscriptions: Vec<Held>,
    pub(crate) outflow: Outflow,
    pub(crate) inflow: Inflow,
    /// Retained messages on their way to the client. `None` while there are none.
    pub(crate) replays: Option<Box<Replays>>,
    /// Runs while the client is away: the end of the session or of the will delay.
    pub(crate) timer: Option<TimerKey>,
    /// When the session ends, in milliseconds of the shard's clock, while the client is
    /// away.
    pub(crate) ends_ms: u64,
    /// Messages dropped because a queue was full.
    pub(crate) dropped: u64,
}

impl Session {
    /// Where among its subscriptions a shared one is.
    pub(crate) fn shared_place(&self, group: &str, filter: &str) -> Option<usize> {
        let mut held = self.subscriptions.iter();
        held.position(|held| match held {
            Held::Shared(name) => *name.group == *group && *name.filter == *filter,
            Held::Own(_) => false,
        })
    }
}

/// A will and its delay.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) message: Arc<Message>,
    /// Will Delay Interval in seconds.
    pub(crate) delay_s: u32,
    /// Message Expiry Interval in seconds: it runs from when the will is published.
    pub(crate) expiry_s: Option<u32>,
}

/// A subscription that the session holds.
#[derive(Debug)]
pub(crate) enum Held {
    /// In this shard's own table.
    Own(FilterId),
    /// Of a shared subscription, in the table of the shard that owns the group.
    Shared(Box<SharedName>),
}

/// The name of a shared subscription.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SharedName {
    pub(crate) group: Box<str>,
    pub(crate) filter: Box<str>,
}
