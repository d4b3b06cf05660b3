//! `pairs`: publisher `n` and subscriber `n` on the topic `pairs-<run>/<n>`.

use clap::Args;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::run::Conducted;
use crate::stats::Report;
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages in flight per publisher unless told otherwise.
const INFLIGHT: u32 = 64;

/// Options of `pairs`.
#[derive(Debug, Clone, Args)]
pub struct Pairs {
    /// Pairs of a publisher and a subscriber
    #[arg(long, default_value_t = 10)]
    pub pairs: u32,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl Pairs {
    fn plan(&self, run: u32) -> Plan {
        let before = format!("pairs-{run:08x}/");
        let topics = TopicNames::PerPublisher {
            before,
            after: String::new(),
        };
        let names = topics.clone();
        Plan {
            publishers: self.pairs,
            subscribers: self.pairs,
            audience: Audience::Own,
            topics,
            filters: Box::new(move |number| vec![names.topic(number)]),
            ..flow::plan(&self.common, &self.flow, INFLIGHT)
        }
    }
}

impl Task for Pairs {
    fn name(&self) -> &'static str {
        "pairs"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context.run), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        report.add(
            "pairs",
            "clients",
            format!("{} pairs", self.pairs),
            self.pairs,
        );
        let pace = self.flow.pace(INFLIGHT);
        flow::report_flow(conducted, &self.common, &self.flow, pace, report);
    }
}
