//! What scenarios with a flow of messages have in common.

use std::sync::{Arc, OnceLock};

use serde_json::json;

use super::Context;
use crate::cli::{Common, Flow};
use crate::codec::Qos;
use crate::run::{Conducted, Control, Profile, Scenario, Seat, Stage, Start, conduct};
use crate::stats::{Outcome, Report};
use crate::traffic::{Audience, Pace, Plan, Table, TopicNames, Traffic};

/// A plan as a scenario for the conductor.
struct FlowScenario {
    plan: Arc<Plan>,
    profile: Arc<Profile>,
    table: OnceLock<Option<Arc<Table>>>,
}

impl Scenario for FlowScenario {
    type Part = Traffic;

    fn script(&self) -> Vec<Stage> {
        self.plan.script()
    }

    fn clients(&self, seat: &Seat) -> Vec<u32> {
        self.plan.clients_of(seat)
    }

    fn part(&self, seat: &Seat) -> Traffic {
        let table = self
            .table
            .get_or_init(|| Traffic::table(&self.plan, seat))
            .clone();
        Traffic::new(&self.plan, &self.profile, *seat, table)
    }

    fn outcome(&self, part: Traffic, control: &Control) -> Outcome {
        part.into_outcome(control)
    }
}

/// Carries out a plan.
pub(super) fn conduct_plan(
    plan: Plan,
    common: &Common,
    context: &mut Context<'_>,
) -> Result<Conducted, String> {
    plan.check(context.share)?;
    let staging = common.staging(context, plan.clients())?;
    let profile = common.shared_profile(context.run, plan.roles())?;
    let scenario = FlowScenario {
        plan: Arc::new(plan),
        profile: Arc::clone(&profile),
        table: OnceLock::new(),
    };
    conduct(&scenario, &profile, &staging, context.gate)
}

/// A plan with the options of the command line and usual values for all else.
pub(super) fn plan(common: &Common, flow: &Flow, inflight: u32) -> Plan {
    Plan {
        publishers: 1,
        subscribers: 1,
        is_same_client: false,
        audience: Audience::Own,
        topics: TopicNames::PerPublisher {
            before: String::new(),
            after: String::new(),
        },
        filters: Box::new(|_| Vec::new()),
        filters_per_packet: 100,
        checks_order: true,
        qos: flow.qos(Qos::AtMostOnce),
        pace: flow.pace(inflight),
        start: Start::Clean,
        awaits_acks: false,
        tick: flow.tick,
        payload: flow.payload,
        settle: common.settle(flow.settle),
        warm_up: flow.warmup,
        duration: flow.duration,
        patience: common.patience,
    }
}

/// Adds how many clients there were.
pub(super) fn report_clients(publishers: u32, subscribers: u32, report: &mut Report) {
    let text = format!("{publishers} publishers, {subscribers} subscribers");
    let value = json!({"publishers": publishers, "subscribers": subscribers});
    report.add("clients", "clients", text, value);
}

/// Adds what every flow reports.
pub(super) fn report_flow(
    conducted: &Conducted,
    common: &Common,
    flow: &Flow,
    pace: Pace,
    report: &mut Report,
) {
    let (text, value) = match pace {
        Pace::Window(window) => (format!("{window} in flight"), json!({"inflight": window})),
        Pace::Rate(rate) => (format!("{rate} messages/s due"), json!({"rate": rate})),
    };
    let qos = flow.qos(Qos::AtMostOnce).number();
    let text = format!(
        "MQTT {}, QoS {qos}, {} bytes, {text}",
        common.mqtt.name(),
        flow.payload
    );
    report.add("pace", "load", text, value);
    report.add_value("mqtt", common.mqtt.name());
    report.add_value("qos", qos);
    report.add_value("payload_bytes", flow.payload);
    report.add_messages(conducted, flow.allow_loss);
    report.add_crossed(conducted);
    report.add_latency("latency_us", "latency", &conducted.outcome.latency);
    if let Some(window) = conducted.stage("measure") {
        report.add_cost(
            window,
            "delivered message",
            conducted.outcome.window_received,
        );
    }
}
