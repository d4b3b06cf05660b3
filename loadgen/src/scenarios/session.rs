//! `session`: subscribers go away, messages queue for them, they come back and receive all.

use clap::Args;

use super::queue::{Queue, report_queue};
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::Conducted;
use crate::stats::Report;

/// Options of `session`. The broker's limit of queued messages must be above `--messages`.
#[derive(Debug, Clone, Args)]
pub struct Session {
    /// Subscribers, each with a publisher of its own
    #[arg(long, default_value_t = 100)]
    pub subscribers: u32,
    /// Messages that queue for each subscriber
    #[arg(long, default_value_t = 500)]
    pub messages: u32,
    /// QoS of publishes and subscriptions: 1 or 2
    #[arg(long, default_value = "1", value_parser = cli::qos)]
    pub qos: Qos,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = cli::payload_range())]
    pub payload: u32,
    /// Messages that each publisher may have unacknowledged
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub inflight: u32,
    #[command(flatten)]
    common: Common,
}

impl Task for Session {
    fn name(&self) -> &'static str {
        "session"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        let queue = Queue {
            root: format!("session-{:08x}", context.run),
            subscribers: self.subscribers,
            publishers: self.subscribers,
            stays_away: false,
            messages: self.messages,
            qos: self.qos,
            payload: self.payload,
            inflight: self.inflight,
            settle: self.common.settle(None),
            patience: self.common.patience,
        };
        queue.conduct(&self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let text = format!("{} subscribers", self.subscribers);
        report.add("subscribers", "clients", text, self.subscribers);
        let load = (self.messages, self.qos, self.payload);
        report_queue(conducted, load, report);
        report.add_latency("connect_us", "CONNACK", &conducted.outcome.connect);
    }
}
