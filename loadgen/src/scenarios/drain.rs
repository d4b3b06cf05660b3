//! `drain`: a session is away while many messages queue for it; how fast it gets them when it
//! is back.

use clap::Args;

use super::queue::{Queue, report_queue};
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::Conducted;
use crate::stats::Report;

/// Options of `drain`. The broker must queue that many messages for a session: ShardMQ with
/// --set mqtt.max_mqueue_len=200000 --set mqtt.max_mqueue_bytes=1000000000
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// Sessions, each with a publisher of its own
    #[arg(long, default_value_t = 1)]
    pub sessions: u32,
    /// Messages that queue for each
    #[arg(long, default_value_t = 100_000)]
    pub messages: u32,
    /// QoS of publishes and subscriptions: 1 or 2
    #[arg(long, default_value = "1", value_parser = cli::qos)]
    pub qos: Qos,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = cli::payload_range())]
    pub payload: u32,
    /// Messages that each publisher may have unacknowledged
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub inflight: u32,
    #[command(flatten)]
    common: Common,
}

impl Task for Drain {
    fn name(&self) -> &'static str {
        "drain"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        let queue = Queue {
            root: format!("drain-{:08x}", context.run),
            subscribers: self.sessions,
            publishers: self.sessions,
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
        let text = format!("{} sessions", self.sessions);
        report.add("sessions", "clients", text, self.sessions);
        let load = (self.messages, self.qos, self.payload);
        report_queue(conducted, load, report);
    }
}
