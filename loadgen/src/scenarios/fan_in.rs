//! `fan-in`: many publishers on `fleet-<run>/<n>/telemetry`, few subscribers to
//! `fleet-<run>/+/telemetry`.

use clap::Args;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::run::Conducted;
use crate::stats::Report;
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages in flight per publisher unless told otherwise.
const INFLIGHT: u32 = 1;

/// Options of `fan-in`.
#[derive(Debug, Clone, Args)]
pub struct FanIn {
    /// Clients that publish
    #[arg(long, default_value_t = 1000)]
    pub publishers: u32,
    /// Clients that subscribe to all publishers by one wildcard filter
    #[arg(long, default_value_t = 1)]
    pub subscribers: u32,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl FanIn {
    fn plan(&self, run: u32) -> Plan {
        let before = format!("fleet-{run:08x}/");
        let filter = format!("{before}+/telemetry");
        Plan {
            publishers: self.publishers,
            subscribers: self.subscribers,
            audience: Audience::All,
            topics: TopicNames::PerPublisher {
                before,
                after: "/telemetry".to_owned(),
            },
            filters: Box::new(move |_| vec![filter.clone()]),
            ..flow::plan(&self.common, &self.flow, INFLIGHT)
        }
    }
}

impl Task for FanIn {
    fn name(&self) -> &'static str {
        "fan-in"
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
