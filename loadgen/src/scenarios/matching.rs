//! `match`: publish among many subscribed filters, each message to a random one.

use clap::Args;
use serde_json::json;

use super::patterns::{FILTERS_MAX, Pattern, TOPIC_END};
use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::run::{Conducted, StageRecord};
use crate::stats::Report;
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages in flight per publisher unless told otherwise.
const INFLIGHT: u32 = 64;

/// Options of `match`. With several workers, each has filters and publishers of its own.
#[derive(Debug, Clone, Args)]
pub struct Match {
    /// Filters of all subscribers together
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=FILTERS_MAX)
    )]
    pub filters: u32,
    /// Kind of filters
    #[arg(long, value_enum, default_value_t = Pattern::Mix)]
    pub pattern: Pattern,
    /// Filters in one SUBSCRIBE
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub per_packet: u16,
    /// Clients that subscribe
    #[arg(long, default_value_t = 10)]
    pub subscribers: u32,
    /// Clients that publish
    #[arg(long, default_value_t = 10)]
    pub publishers: u32,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl Match {
    fn plan(&self, context: &Context<'_>) -> Plan {
        let root = format!("match-{:08x}-{}", context.run, context.share.worker);
        let filters = context.share.range(self.filters).len() as u32;
        let topics = TopicNames::Random {
            before: format!("{root}/"),
            after: TOPIC_END.to_owned(),
            count: filters,
        };
        let pattern = self.pattern;
        let own = context.share.range(self.subscribers);
        let of_subscriber = move |subscriber: u32| {
            let numbers = (subscriber - own.start..filters).step_by(own.len().max(1));
            numbers
                .map(|number| pattern.filter(&root, number))
                .collect()
        };
        Plan {
            publishers: self.publishers,
            subscribers: self.subscribers,
            audience: Audience::AnyOne,
            topics,
            filters: Box::new(of_subscriber),
            filters_per_packet: usize::from(self.per_packet),
            ..flow::plan(&self.common, &self.flow, INFLIGHT)
        }
    }
}

impl Task for Match {
    fn name(&self) -> &'static str {
        "match"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let text = format!(
            "{} publishers, {} subscribers, {} filters ({})",
            self.publishers,
            self.subscribers,
            self.filters,
            self.pattern.name()
        );
        let value = json!({
            "publishers": self.publishers,
            "subscribers": self.subscribers,
            "filters": self.filters,
            "pattern": self.pattern.name(),
        });
        report.add("clients", "clients", text, value);
        let pace = self.flow.pace(INFLIGHT);
        flow::report_flow(conducted, &self.common, &self.flow, pace, report);
        if let Some((before, after)) = conducted.stage("connect").and_then(StageRecord::broker) {
            let filters = conducted.outcome.filters;
            report.add_growth("memory", &before, &after, "filter", filters);
        }
    }
}
