//! `retained`: stores retained messages, then reads them all by a wildcard.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::store::Store;
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::{Conducted, Roles, StageRecord, conduct};
use crate::stats::Report;

/// Options of `retained`.
#[derive(Debug, Clone, Args)]
pub struct Retained {
    /// Messages to store, each on its own topic
    #[arg(long, default_value_t = 10_000)]
    pub messages: u32,
    /// Clients that store them
    #[arg(long, default_value_t = 10)]
    pub publishers: u32,
    /// Clients that read all of them
    #[arg(long, default_value_t = 1)]
    pub subscribers: u32,
    /// QoS of publishes and subscriptions: 0, 1 or 2
    #[arg(long, default_value = "1", value_parser = cli::qos)]
    pub qos: Qos,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = cli::payload_range())]
    pub payload: u32,
    /// Messages that each publisher may have unacknowledged
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub inflight: u32,
    /// Leave the messages in the broker instead of deleting them
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    common: Common,
}

impl Retained {
    fn store(&self, run: u32) -> Store {
        Store {
            root: format!("retained-{run:08x}"),
            messages: self.messages,
            publishers: self.publishers,
            subscribers: self.subscribers,
            qos: self.qos,
            payload: self.payload,
            inflight: self.inflight,
            keeps: self.keep,
            patience: self.common.patience,
        }
    }
}

impl Task for Retained {
    fn name(&self) -> &'static str {
        "retained"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        if self.messages == 0 || self.publishers == 0 || self.subscribers == 0 {
            return Err("messages, publishers and subscribers are needed".to_owned());
        }
        let store = self.store(context.run);
        let clients = self.publishers + self.subscribers;
        let roles = Roles::Fan {
            publishers: self.publishers,
            subscribers: self.subscribers,
        };
        let staging = self.common.staging(context, clients)?;
        conduct(
            &store,
            &self.common.shared_profile(context.run, roles)?,
            &staging,
            context.gate,
        )
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let outcome = &conducted.outcome;
        let text = format!(
            "{} messages by {} publishers, read by {} subscribers, QoS {}, {} bytes",
            self.messages,
            self.publishers,
            self.subscribers,
            self.qos.number(),
            self.payload
        );
        let options = json!({"messages": self.messages, "publishers": self.publishers,
            "subscribers": self.subscribers, "qos": self.qos.number(), "payload": self.payload});
        report.add("load", "load", text, options);
        for (stage, key, count) in [
            ("store", "stored_per_s", outcome.sent),
            ("read", "read_per_s", outcome.received),
        ] {
            report.add_stage_rate(conducted, stage, key, count);
        }
        if let Some((before, after)) = conducted.stage("store").and_then(StageRecord::broker) {
            report.add_growth("memory", &before, &after, "message", outcome.sent);
        }
        report.add_faults(outcome, false);
    }
}

/// How long nothing may arrive after the last message before more are ruled out.
pub(super) const QUIET: Duration = Duration::from_millis(200);
