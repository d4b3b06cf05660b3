//! `million`: holds one million messages a second end to end, or says why not.

use std::time::Duration;

use clap::Args;

use super::{Context, Task, flow};
use crate::cli::{Common, Flow};
use crate::codec::Qos;
use crate::run::Conducted;
use crate::stats::{Report, grouped};
use crate::traffic::{Audience, Pace, Plan, TopicNames};

/// Messages per second that must be sent and received.
const TARGET: f64 = 1_000_000.0;
/// The 99th percentile of the latency must be below this, in microseconds.
const P99_MAX_US: f64 = 10_000.0;
/// The measured time is at least this long.
const DURATION_MIN: Duration = Duration::from_secs(10);
/// Messages per second that are due: above the target, so that it is reached with certainty.
const RATE: f64 = 1_050_000.0;
/// Pairs per thread unless told otherwise.
const PAIRS_PER_THREAD: u32 = 16;

/// Options of `million`.
#[derive(Debug, Clone, Args)]
pub struct Million {
    /// Pairs of a publisher and a subscriber [default: 16 per thread]
    #[arg(long)]
    pub pairs: Option<u32>,
    /// Messages due per second, in total
    #[arg(long, default_value_t = RATE, value_parser = crate::cli::rate)]
    pub rate: f64,
    /// Bytes of payload, at least 32
    #[arg(long, default_value_t = 64, value_parser = crate::cli::payload_range())]
    pub payload: u32,
    /// Time of measuring, at least 10 s
    #[arg(long, default_value = "10s", value_parser = crate::cli::duration)]
    pub duration: Duration,
    /// Messages that are due within this time may be sent together
    #[arg(long, default_value = "1ms", value_parser = crate::cli::duration)]
    pub tick: Duration,
    #[command(flatten)]
    common: Common,
}

impl Million {
    fn pairs(&self) -> u32 {
        self.pairs
            .unwrap_or_else(|| self.common.threads() as u32 * PAIRS_PER_THREAD)
    }

    fn flow(&self) -> Flow {
        Flow {
            qos: Some(Qos::AtMostOnce),
            payload: self.payload,
            inflight: None,
            rate: Some(self.rate),
            tick: self.tick,
            duration: self.duration.max(DURATION_MIN),
            warmup: Duration::from_secs(2),
            settle: None,
            allow_loss: false,
        }
    }

    fn plan(&self, run: u32) -> Plan {
        let before = format!("million-{run:08x}/");
        let topics = TopicNames::PerPublisher {
            before,
            after: String::new(),
        };
        let names = topics.clone();
        Plan {
            publishers: self.pairs(),
            subscribers: self.pairs(),
            audience: Audience::Own,
            topics,
            filters: Box::new(move |number| vec![names.topic(number)]),
            ..flow::plan(&self.common, &self.flow(), 0)
        }
    }

    /// What the target asks for beyond a clean run.
    fn judge(conducted: &Conducted, report: &mut Report) {
        let Some(window) = conducted.stage("measure") else {
            return;
        };
        let (outcome, seconds) = (&conducted.outcome, window.seconds());
        for (count, what) in [
            (outcome.window_sent, "sent"),
            (outcome.window_received, "received"),
        ] {
            let rate = count as f64 / seconds.max(1e-9);
            if rate < TARGET {
                let (rate, target) = (grouped(rate), grouped(TARGET));
                report.add_problem(format!("{rate} messages/s {what}; the target is {target}"));
            }
        }
        if seconds < DURATION_MIN.as_secs_f64() - 0.001 {
            report.add_problem(format!("measured for {seconds:.1} s only"));
        }
        let p99 = outcome.latency.percentiles().p99;
        if p99 >= P99_MAX_US {
            report.add_problem(format!(
                "p99 is {:.2} ms; the target is 10 ms",
                p99 / 1000.0
            ));
        }
    }
}

impl Task for Million {
    fn name(&self) -> &'static str {
        "million"
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn conduct(&self, context: &mut Context<'_>) -> Result<Conducted, String> {
        flow::conduct_plan(self.plan(context.run), &self.common, context)
    }

    fn report(&self, conducted: &Conducted, report: &mut Report) {
        let threads = self.common.threads();
        let text = format!("{} pairs on {threads} threads", self.pairs());
        report.add("pairs", "clients", text, self.pairs());
        flow::report_flow(
            conducted,
            &self.common,
            &self.flow(),
            Pace::Rate(self.rate),
            report,
        );
        Self::judge(conducted, report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::Usage;
    use crate::run::StageRecord;

    /// A run of `seconds` with so many messages sent and received, all with one latency.
    fn run_of(seconds: u64, sent: u64, received: u64, latency_ns: u64) -> Conducted {
        let mut conducted = Conducted::default();
        conducted.stages.push(StageRecord {
            name: "measure".to_owned(),
            start_ns: 0,
            end_ns: seconds * 1_000_000_000,
            is_complete: true,
            brokers: Vec::new(),
            own: (Usage::default(), Usage::default()),
        });
        conducted.outcome.window_sent = sent;
        conducted.outcome.window_received = received;
        conducted.outcome.latency.record_many(latency_ns, received);
        conducted
    }

    fn passes(conducted: &Conducted) -> bool {
        let mut report = Report::new("million");
        Million::judge(conducted, &mut report);
        report.passed()
    }

    #[test]
    fn the_target_is_met_by_rate_time_and_latency_together() {
        assert!(passes(&run_of(10, 10_000_000, 10_000_000, 9_900_000)));
    }

    #[test]
    fn one_message_too_few_in_or_out_fails() {
        assert!(!passes(&run_of(10, 9_999_999, 10_000_000, 1000)));
        assert!(!passes(&run_of(10, 10_000_000, 9_999_999, 1000)));
    }

    #[test]
    fn a_slow_or_short_run_fails() {
        assert!(!passes(&run_of(10, 10_000_000, 10_000_000, 10_100_000)));
        assert!(!passes(&run_of(9, 10_000_000, 10_000_000, 1000)));
    }
}
