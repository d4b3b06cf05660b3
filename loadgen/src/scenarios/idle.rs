//! `idle`: holds connections that do nothing but keep alive.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::crowd::{Crowd, FiltersOf};
use super::{Context, Task};
use crate::cli::{self, Common};
use crate::codec::Qos;
use crate::run::{Conducted, Roles, StageRecord, conduct};
use crate::stats::{Report, grouped};

/// Options of `idle`.
#[derive(Debug, Clone, Args)]
pub struct Idle {
    /// Connections to hold
    #[arg(long, default_value_t = 10_000)]
    pub clients: u32,
    /// Subscribe each client to one topic of its own
    #[arg(long)]
    pub subscribe: bool,
    /// Keep the sessions and end the connections: memory of sessions that are away (use it with
    /// --subscribe)
    #[arg(long)]
    pub offline: bool,
    /// How long to hold them
    #[arg(long, default_value = "5s", value_parser = cli::duration)]
    pub duration: Duration,
    #[command(flatten)]
    common: Common,
}

impl Task for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        let run = context.run;
        let own_topic: FiltersOf = Arc::new(move |number| vec![format!("idle-{run:08x}/{number}")]);
        let crowd = Crowd {
            clients: self.clients,
            filters: self.subscribe.then_some(own_topic),
            filters_per_packet: 1,
            qos: if self.offline {
                Qos::AtLeastOnce
            } else {
                Qos::AtMostOnce
            },
            is_away: self.offline,
            hold: self.duration,
            patience: self.common.patience,
        };
        let staging = self.common.staging(context, self.clients)?;
        conduct(
            &crowd,
            &self.common.shared_profile(context.run, Roles::Alike)?,
            &staging,
            context.gate,
        )
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let outcome = &conducted.outcome;
        let held = if self.offline {
            u64::from(self.clients)
        } else {
            outcome.connections
        };
        let text = format!("{held} held, {} filters", outcome.filters);
        report.add("connections", "connections", text, held);
        report.add_value("filters", outcome.filters);
        report.add_latency("connect_us", "connect", &outcome.connect);
        if let Some(record) = conducted.stage("connect") {
            let rate = held as f64 / record.seconds().max(1e-9);
            report.add(
                "connect_per_s",
                "rate",
                format!("{}/s", grouped(rate)),
                rate,
            );
        }
        if let Some(hold) = conducted.stage("hold") {
            report.add_cost(hold, "connection held", outcome.connections);
        }
        let before = conducted.stage("connect").and_then(StageRecord::broker);
        let after = conducted.stage("hold").and_then(StageRecord::broker);
        if let (Some((before, _)), Some((_, after))) = (before, after) {
            let unit = if self.offline {
                "session that is away"
            } else {
                "connection"
            };
            report.add_growth("memory", &before, &after, unit, held);
        }
        report.add_problems(outcome);
        if outcome.connections < u64::from(self.clients) && !conducted.was_interrupted {
            report.add_problem(format!(
                "{} of {} connected",
                outcome.connections, self.clients
            ));
        }
    }
}
