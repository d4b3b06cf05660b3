//! What is measured, and what is to be reached.

/// A load and the target.
#[derive(Debug)]
pub(super) struct Scenario {
    /// What it is called in the table.
    pub(super) name: &'static str,
    /// Arguments of `loadgen`, separated by single spaces.
    pub(super) arguments: &'static str,
    /// Whether it lasts as long as it is told; else it is over when the work is done.
    pub(super) lasts: bool,
    /// How many times as much CPU time Mosquitto is to need at least.
    pub(super) target: f64,
}

const fn flow(name: &'static str, arguments: &'static str, target: f64) -> Scenario {
    Scenario {
        name,
        arguments,
        lasts: true,
        target,
    }
}

const fn work(name: &'static str, arguments: &'static str, target: f64) -> Scenario {
    Scenario {
        name,
        arguments,
        lasts: false,
        target,
    }
}

/// All scenarios, in the order of the table. Payloads have 64 bytes.
pub(super) const SCENARIOS: [Scenario; 12] = [
    flow(
        "pairs QoS 0, 64 in flight",
        "pairs --qos 0 --inflight 64 --payload 64",
        25.0,
    ),
    flow(
        "pairs QoS 1, 64 in flight",
        "pairs --qos 1 --inflight 64 --payload 64",
        25.0,
    ),
    flow(
        "pairs QoS 2, 64 in flight",
        "pairs --qos 2 --inflight 64 --payload 64",
        30.0,
    ),
    flow(
        "fan-out 1 to 100, 8 in flight",
        "fan-out --subscribers 100 --inflight 8 --payload 64",
        8.0,
    ),
    flow(
        "fan-out 1 to 1000, 2 in flight",
        "fan-out --subscribers 1000 --inflight 2 --payload 64",
        2.8,
    ),
    flow(
        "fan-in 1000 to 1 by fleet/+/telemetry, 16 in flight",
        "fan-in --publishers 1000 --inflight 16 --payload 64",
        12.0,
    ),
    flow(
        "shared group, 10 to 10, 64 in flight",
        "shared --publishers 10 --subscribers 10 --inflight 64 --payload 64",
        12.0,
    ),
    flow(
        "100 pairs, 1 in flight",
        "pairs --pairs 100 --inflight 1 --payload 64",
        1.3,
    ),
    flow(
        "sparse: 10,000 clients, 5,000 messages/s, QoS 1",
        "sparse --clients 10000 --rate 5000 --qos 1 --payload 64",
        1.15,
    ),
    flow(
        "publish among 100,000 filters, 64 in flight",
        "match --filters 100000 --inflight 64 --payload 64",
        7.0,
    ),
    work(
        "subscribe, a filter",
        "subscribe --clients 10 --filters 10000",
        2.0,
    ),
    work("connect, a connection", "connect --clients 8000", 1.0),
];
