//! One session: what outlives a connection.

use std::sync::Arc;

use protocol::message::Message;
use protocol::session::{Inflow, Outflow};

use super::held::Held;
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
    pub(crate) subscriptions: Held,
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
    /// The number it is stored under; 0 when nothing of it is.
    pub(crate) number: u64,
    /// Its messages are stored too: it outlives its connection and the process.
    pub(crate) durable: bool,
}

impl Session {
    /// A session without a client.
    pub(crate) fn new(client_id: Box<str>, serial: u32, outflow: Outflow) -> Self {
        Self {
            client_id,
            connection: super::NONE,
            serial,
            expiry_s: 0,
            will: None,
            subscriptions: Held::default(),
            outflow,
            inflow: Inflow::default(),
            replays: None,
            timer: None,
            ends_ms: u64::MAX,
            dropped: 0,
            number: 0,
            durable: false,
        }
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
    /// When it is to be published, in milliseconds of the shard's clock, while the client is
    /// away.
    pub(crate) due_ms: u64,
}
