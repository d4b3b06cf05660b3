//! `fan-out`: every subscriber hears every publisher, each on its own topic.

use clap::Args;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::run::Conducted;
use crate::stats::Report;
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages in flight per publisher unless told otherwise.
const INFLIGHT: u32 = 8;

/// Options of `fan-out`.
#[derive(Debug, Clone, Args)]
pub struct FanOut {
    /// Clients that publish
    #[arg(long, default_value_t = 1)]
    pub publishers: u32,
    /// Clients that subscribe to the topics of all publishers
    #[arg(long, default_value_t = 100)]
    pub subscribers: u32,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl FanOut {
    fn plan(&self, run: u32) -> Plan {
        let before = format!("fan-out-{run:08x}/");
        let topics = TopicNames::PerPublisher {
            before,
            after: String::new(),
        };
        let (names, publishers) = (topics.clone(), self.publishers);
        Plan {
            publishers: self.publishers,
            subscribers: self.subscribers,
            audience: Audience::All,
            topics,
            filters: Box::new(move |_| (0..publishers).map(|number| names.topic(number)).collect()),
            ..flow::plan(&self.common, &self.flow, INFLIGHT)
        }
    }
}

impl Task for FanOut {
    fn name(&self) -> &'static str {
        "fan-out"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context.run), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        flow::report_clients(self.publishers, self.subscribers, report);
        let pace = self.flow.pace(INFLIGHT);
        flow::report_flow(conducted, &self.common, &self.flow, pace, report);
    }
}
