//! `durable`: publishers and subscribers whose sessions outlive their connections; how long an
//! acknowledgement takes, beside what the disk takes.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::codec::{Qos, Version};
use crate::run::{Conducted, Start};
use crate::stats::{Report, disk, grouped};
use crate::traffic::{Audience, Plan, TopicNames};

/// Messages that a publisher may have unacknowledged unless told otherwise.
const INFLIGHT: u32 = 64;

/// Options of `durable`. The sessions stay with the broker until they expire.
#[derive(Debug, Clone, Args)]
pub struct Durable {
    /// Publishers, each with a subscriber of its own
    #[arg(long, default_value_t = 64)]
    pub pairs: u32,
    /// The broker's data folder, or another one on its disk, to measure how long the disk takes
    /// to keep 4 KiB
    #[arg(long)]
    pub fsync_dir: Option<PathBuf>,
    #[command(flatten)]
    flow: Flow,
    #[command(flatten)]
    common: Common,
}

impl Durable {
    /// The flow with QoS 1 unless told otherwise.
    fn flow(&self) -> Flow {
        let mut flow = self.flow.clone();
        flow.qos = Some(flow.qos(Qos::AtLeastOnce));
        flow
    }

    fn plan(&self, run: u32) -> Plan {
        let topics = TopicNames::PerPublisher {
            before: format!("durable-{run:08x}/"),
            after: String::new(),
        };
        let names = topics.clone();
        Plan {
            publishers: self.pairs,
            subscribers: self.pairs,
            audience: Audience::Own,
            topics,
            filters: Box::new(move |number| vec![names.topic(number)]),
            start: Start::Persistent,
            awaits_acks: true,
            ..flow::plan(&self.common, &self.flow(), INFLIGHT)
        }
    }

    /// What the disk does without a broker, after the run.
    fn report_disk(&self, conducted: &Conducted, report: &mut Report) {
        let Some(folder) = &self.fsync_dir else {
            return;
        };
        match disk::measure(folder) {
            Ok(latency) => {
                report.add_latency("fsync_us", "disk, 4 KiB", &latency);
                let disk = latency.percentiles().p50;
                let ratio = conducted.outcome.answer.percentiles().p99 / disk.max(1e-9);
                let text = format!("p99 of acknowledgements is {ratio:.1} times the disk's median");
                report.add("ack_p99_per_fsync_p50", "ratio", text, ratio);
            }
            Err(error) => report.add_note(format!("{}: {error}", folder.display())),
        }
    }
}

impl Task for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context.run), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let text = format!("{} publishers, as many subscribers", self.pairs);
        report.add("clients", "clients", text, json!({"pairs": self.pairs}));
        if self.common.mqtt == Version::V311 {
            report.add_note("3.1.1: the broker keeps sessions as long as it likes".to_owned());
        }
        let flow = self.flow();
        let pace = flow.pace(INFLIGHT);
        flow::report_flow(conducted, &self.common, &flow, pace, report);
        let answer = &conducted.outcome.answer;
        if let Some(window) = conducted.stage("measure") {
            let rate = answer.count() as f64 / window.seconds().max(1e-9);
            let text = format!("{}/s", grouped(rate));
            report.add("acknowledged_per_s", "acknowledged", text, rate);
        }
        report.add_latency("ack_us", "acknowledgement", answer);
        self.report_disk(conducted, report);
    }
}
