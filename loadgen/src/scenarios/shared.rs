//! `shared`: publishers, and a group of which one member receives each message.

use clap::Args;
use serde_json::json;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::run::Conducted;
use crate::stats::Report;
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages in flight per publisher unless told otherwise.
const INFLIGHT: u32 = 64;

/// Options of `shared`. With several workers, each has a group of its own.
#[derive(Debug, Clone, Args)]
pub struct Shared {
    /// Clients that publish, each on its own topic
    #[arg(long, default_value_t = 10)]
    pub publishers: u32,
    /// Members of the group
    #[arg(long, default_value_t = 10)]
    pub subscribers: u32,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl Shared {
    fn plan(&self, context: &Context<'_>) -> Plan {
        let group = format!("shared-{:08x}-{}", context.run, context.share.worker);
        let filter = format!("$share/{group}/{group}/+");
        Plan {
            publishers: self.publishers,
            subscribers: self.subscribers,
            audience: Audience::AnyOne,
            topics: TopicNames::PerPublisher {
                before: format!("{group}/"),
                after: String::new(),
            },
            filters: Box::new(move |_| vec![filter.clone()]),
            // A broker may move a message from one member to another.
            checks_order: false,
            ..flow::plan(&self.common, &self.flow, INFLIGHT)
        }
    }
}

impl Task for Shared {
    fn name(&self) -> &'static str {
        "shared"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let text = format!(
            "{} publishers, {} members",
            self.publishers, self.subscribers
        );
        let value = json!({"publishers": self.publishers, "subscribers": self.subscribers});
        report.add("clients", "clients", text, value);
        let pace = self.flow.pace(INFLIGHT);
        flow::report_flow(conducted, &self.common, &self.flow, pace, report);
        let spread = &conducted.outcome.spread;
        let (least, most) = (spread.iter().min(), spread.iter().max());
        if let (Some(least), Some(most)) = (least, most) {
            let mean = spread.iter().sum::<u64>() as f64 / spread.len() as f64;
            let text = format!("{least} to {most} messages per member, {mean:.0} on average");
            let value = json!({"least": least, "most": most, "mean": mean});
            report.add("spread", "spread", text, value);
        }
    }
}
