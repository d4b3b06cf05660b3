//! `sparse`: many clients that seldom send, each subscribed to one topic.

use clap::{Args, ValueEnum};

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::codec::Qos;
use crate::run::Conducted;
use crate::stats::Report;
use crate::traffic::{Audience, Pace, Plan, TopicNames};

/// Messages per second of all clients together unless told otherwise.
const RATE: f64 = 5000.0;

/// Whom the messages of a client go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// To itself.
    Itself,
    /// To the client with the next number.
    Next,
}

/// Options of `sparse`.
#[derive(Debug, Clone, Args)]
pub struct Sparse {
    /// Clients; each publishes and subscribes
    #[arg(long, default_value_t = 10_000)]
    pub clients: u32,
    /// Whom the messages of a client go to
    #[arg(long, value_enum, default_value_t = To::Itself)]
    pub to: To,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl Sparse {
    fn pace(&self) -> Pace {
        match self.flow.inflight {
            Some(window) => Pace::Window(window),
            None => Pace::Rate(self.flow.rate.unwrap_or(RATE)),
        }
    }

    /// The common options with QoS 1 where none was given.
    fn flow(&self) -> Flow {
        Flow {
            qos: Some(self.flow.qos(Qos::AtLeastOnce)),
            ..self.flow.clone()
        }
    }

    fn plan(&self, run: u32) -> Plan {
        let before = format!("sparse-{run:08x}/");
        let topics = TopicNames::PerPublisher {
            before,
            after: String::new(),
        };
        let (names, to, clients) = (topics.clone(), self.to, self.clients);
        let heard = move |number: u32| match to {
            To::Itself => number,
            To::Next => (number + clients - 1) % clients,
        };
        Plan {
            publishers: self.clients,
            subscribers: self.clients,
            is_same_client: true,
            audience: if self.to == To::Next {
                Audience::Next
            } else {
                Audience::Own
            },
            topics,
            filters: Box::new(move |number| vec![names.topic(heard(number))]),
            pace: self.pace(),
            ..flow::plan(&self.common, &self.flow(), 1)
        }
    }
}

impl Task for Sparse {
    fn name(&self) -> &'static str {
        "sparse"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context.run), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        report.add(
            "clients",
            "clients",
            format!("{}", self.clients),
            self.clients,
        );
        flow::report_flow(conducted, &self.common, &self.flow(), self.pace(), report);
    }
}
