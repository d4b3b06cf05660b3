//! `connect`: a storm of connections that stay, or churn of connections that come and go.

use std::time::Duration;

use clap::Args;

use super::churn::Churn;
use super::crowd::Crowd;
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::{Conducted, Roles, conduct};
use crate::stats::{Report, grouped};

/// Options of `connect`.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Storm: connections to make. Churn: connections at a time
    #[arg(long, default_value_t = 1000)]
    pub clients: u32,
    /// Connect, disconnect and connect again, instead of staying
    #[arg(long)]
    pub churn: bool,
    /// Churn: time of measuring
    #[arg(long, default_value = "10s", value_parser = cli::duration)]
    pub duration: Duration,
    #[command(flatten)]
    common: Common,
}

impl Task for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        let staging = self.common.staging(context, self.clients)?;
        let profile = self.common.shared_profile(context.run, Roles::Alike)?;
        if self.churn {
            let churn = Churn {
                clients: self.clients,
                duration: self.duration,
                patience: self.common.patience,
            };
            return conduct(&churn, &profile, &staging, context.gate);
        }
        let crowd = Crowd {
            clients: self.clients,
            filters: None,
            filters_per_packet: 1,
            qos: Qos::AtMostOnce,
            is_away: false,
            hold: Duration::ZERO,
            patience: self.common.patience,
        };
        conduct(&crowd, &profile, &staging, context.gate)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let outcome = &conducted.outcome;
        let kind = if self.churn { "churn" } else { "storm" };
        let text = format!("{} ({kind})", outcome.connections);
        report.add("connections", "connections", text, outcome.connections);
        report.add_value("kind", kind);
        report.add_latency("connect_us", "CONNACK", &outcome.connect);
        if let Some(record) = conducted.stage(if self.churn { "churn" } else { "connect" }) {
            let rate = outcome.connections as f64 / record.seconds().max(1e-9);
            report.add(
                "connect_per_s",
                "rate",
                format!("{}/s", grouped(rate)),
                rate,
            );
            report.add_cost(record, "connection", outcome.connections);
            if let (false, Some((before, after))) = (self.churn, record.broker()) {
                report.add_growth("memory", &before, &after, "connection", outcome.connections);
            }
        }
        if outcome.unsent > 0 {
            report.add_note(format!(
                "{} connections were due and could not be begun: use more --clients",
                outcome.unsent
            ));
        }
        report.add_problems(outcome);
        if outcome.connections == 0 {
            report.add_problem("no connection was accepted".to_owned());
        }
    }
}
