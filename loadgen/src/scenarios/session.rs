//! `session`: subscribers go away, messages queue for them, they come back and receive all.

use clap::Args;
use serde_json::json;

use super::queue::Queue;
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::{Conducted, conduct};
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
        if self.qos == Qos::AtMostOnce {
            return Err("messages of QoS 0 do not queue: use --qos 1 or 2".to_owned());
        }
        let queue = Queue {
            root: format!("session-{:08x}", context.run),
            pairs: self.subscribers,
            messages: self.messages,
            qos: self.qos,
            payload: self.payload,
            inflight: self.inflight,
            patience: self.common.patience,
        };
        let clients = self.subscribers * 2;
        let staging = self.common.staging(context, clients)?;
        conduct(
            &queue,
            &self.common.shared_profile(context.run)?,
            &staging,
            context.gate,
        )
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let outcome = &conducted.outcome;
        let text = format!(
            "{} subscribers, {} messages for each, QoS {}, {} bytes",
            self.subscribers,
            self.messages,
            self.qos.number(),
            self.payload
        );
        let options = json!({"subscribers": self.subscribers, "messages": self.messages,
            "qos": self.qos.number(), "payload": self.payload});
        report.add("load", "load", text, options);
        for (stage, key, count) in [
            ("queue", "queued_per_s", outcome.sent),
            ("return", "drained_per_s", outcome.received),
        ] {
            report.add_stage_rate(conducted, stage, key, count);
        }
        report.add_latency("connect_us", "CONNACK", &outcome.connect);
        if let Some((before, after)) = conducted
            .stage("queue")
            .and_then(|record| record.broker.as_ref())
        {
            report.add_growth("memory", before, after, "queued message", outcome.sent);
        }
        report.add_faults(outcome, false);
    }
}
