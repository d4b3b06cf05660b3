//! `subscribe`: what subscriptions cost, in time, CPU and memory of the broker.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::crowd::{Crowd, FiltersOf};
use super::patterns::{FILTERS_MAX, Pattern};
use super::{Context, Task};
use crate::cli::Common;
use crate::codec::Qos;
use crate::run::{Conducted, Roles, StageRecord, conduct};
use crate::stats::{Report, grouped};

/// How long the subscriptions are held before memory is read.
const HOLD: Duration = Duration::from_millis(200);

/// Options of `subscribe`.
#[derive(Debug, Clone, Args)]
pub struct Subscribe {
    /// Clients that subscribe
    #[arg(long, default_value_t = 10)]
    pub clients: u32,
    /// Filters per client
    #[arg(long, default_value_t = 10_000)]
    pub filters: u32,
    /// Filters in one SUBSCRIBE
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub per_packet: u16,
    /// Kind of filters
    #[arg(long, value_enum, default_value_t = Pattern::Mix)]
    pub pattern: Pattern,
    #[command(flatten)]
    common: Common,
}

impl Subscribe {
    fn check(&self) -> Result<(), String> {
        let all = i64::from(self.clients) * i64::from(self.filters);
        if all > FILTERS_MAX {
            return Err(format!("{all} filters together; the most is {FILTERS_MAX}"));
        }
        Ok(())
    }
}

impl Task for Subscribe {
    fn name(&self) -> &'static str {
        "subscribe"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        self.check()?;
        let root = format!("subscribe-{:08x}", context.run);
        let (count, pattern) = (self.filters, self.pattern);
        let filters: FiltersOf = Arc::new(move |client| {
            let numbers = client * count..(client + 1) * count;
            numbers
                .map(|number| pattern.filter(&root, number))
                .collect()
        });
        let crowd = Crowd {
            clients: self.clients,
            filters: Some(filters),
            filters_per_packet: usize::from(self.per_packet),
            qos: Qos::AtMostOnce,
            is_away: false,
            hold: HOLD,
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
        let text = format!(
            "{} by {} clients ({}), {} in a packet",
            outcome.filters,
            self.clients,
            self.pattern.name(),
            self.per_packet
        );
        report.add("filters", "filters", text, outcome.filters);
        let options = json!({"clients": self.clients, "filters_per_client": self.filters,
            "per_packet": self.per_packet, "pattern": self.pattern.name()});
        report.add_value("options", options);
        report.add_latency("subscribe_us", "SUBACK", &outcome.answer);
        if let Some(record) = conducted.stage("subscribe") {
            let per_filter = record.seconds() * 1e6 / outcome.filters.max(1) as f64;
            let rate = outcome.filters as f64 / record.seconds().max(1e-9);
            let text = format!("{per_filter:.2} µs per filter, {} filters/s", grouped(rate));
            report.add("us_per_filter", "time", text, per_filter);
            report.add_cost(record, "filter", outcome.filters);
        }
        let before = conducted.stage("subscribe").and_then(StageRecord::broker);
        let after = conducted.stage("hold").and_then(StageRecord::broker);
        if let (Some((before, _)), Some((_, after))) = (before, after) {
            report.add_growth("memory", &before, &after, "filter", outcome.filters);
        }
        report.add_problems(outcome);
    }
}
