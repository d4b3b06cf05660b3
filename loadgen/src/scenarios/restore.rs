//! `restore`: fills a broker with sessions that are away and messages for them, and leaves all
//! of it there: for measuring how long the broker takes to start.

use clap::Args;

use super::queue::{Queue, report_queue};
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::Conducted;
use crate::stats::Report;

/// Options of `restore`.
#[derive(Debug, Clone, Args)]
pub struct Restore {
    /// Sessions that stay with the broker; all are connected at once for a while, so this needs
    /// descriptors and ports (--threads, --source)
    #[arg(long, default_value_t = 100_000)]
    pub sessions: u32,
    /// Messages that stay for each
    #[arg(long, default_value_t = 10)]
    pub messages: u32,
    /// Clients that publish them
    #[arg(long, default_value_t = 64)]
    pub publishers: u32,
    /// QoS of publishes and subscriptions: 1 or 2
    #[arg(long, default_value = "1", value_parser = cli::qos)]
    pub qos: Qos,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = cli::payload_range())]
    pub payload: u32,
    /// Messages that each publisher may have unacknowledged
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub inflight: u32,
    #[command(flatten)]
    common: Common,
}

impl Task for Restore {
    fn name(&self) -> &'static str {
        "restore"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        let queue = Queue {
            root: format!("restore-{:08x}", context.run),
            subscribers: self.sessions,
            publishers: self.publishers,
            stays_away: true,
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
        let text = format!("{} sessions, away", self.sessions);
        report.add("sessions", "clients", text, self.sessions);
        let load = (self.messages, self.qos, self.payload);
        report_queue(conducted, load, report);
        report.add_note(
            "now start the broker again, and see when it says that it is ready".to_owned(),
        );
    }
}
