//! What the program says without any broker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::TcpListener;
use std::process::{Command, Output};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The one line of a refusal, after checking that it is one.
fn refusal(arguments: &[&str]) -> String {
    let output = loadgen(arguments);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty());
    message
}

/// A port of this machine that nobody listens on.
fn vacant_port() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string()
}

#[test]
fn a_missing_broker_is_named_with_its_address() {
    for scenario in [
        "pairs",
        "fan-out",
        "idle",
        "connect",
        "subscribe",
        "retained",
        "session",
        "durable",
        "drain",
    ] {
        let port = vacant_port();
        let message = refusal(&[scenario, "--port", &port]);
        assert!(
            message.contains(&format!("127.0.0.1:{port}")),
            "{scenario}: {message}"
        );
        assert!(
            message.contains("connection refused"),
            "{scenario}: {message}"
        );
        assert_eq!(message.lines().count(), 1, "{scenario}: {message}");
    }
}

#[test]
fn a_churn_without_a_broker_ends_at_once() {
    let message = refusal(&["connect", "--churn", "--port", &vacant_port()]);
    assert!(message.contains("connection refused"), "{message}");
}

#[test]
fn bad_options_are_explained() {
    for (arguments, expected) in [
        (&["pairs", "--qos", "3"][..], "QoS is 0, 1 or 2"),
        (&["pairs", "--payload", "16"], "32"),
        (
            &["pairs", "--rate", "5", "--inflight", "5"],
            "cannot be used with",
        ),
        (&["pairs", "--rate", "0"], "rate per second above 0"),
        (
            &["pairs", "--source", "here"],
            "\"here\" is not an IP address",
        ),
        (&["pairs", "--cpus", "3-1"], "CPU list"),
        (&["pairs", "--pairs", "0"], "at least one"),
        (
            &["pairs", "--broker-pid", "4294967295"],
            "there is no process",
        ),
        (&["session", "--qos", "0"], "do not queue"),
        (&["durable", "--qos", "0"], "not acknowledged"),
        (
            &["restore", "--publishers", "1", "--threads", "2"],
            "a publisher for each thread",
        ),
        (
            &["crash", "--broker", "/nowhere", "--data-dir", "/tmp/none/d"],
            "cannot start /nowhere",
        ),
        (&["sparse", "--to", "next", "--inflight", "1"], "--rate"),
        (
            &["subscribe", "--clients", "100000", "--filters", "1000"],
            "the most is",
        ),
        (
            &["idle", "--clients", "4000000000", "--threads", "1"],
            "--threads",
        ),
        (
            &["run", "--workers", "127.0.0.1:1", "--", "worker"],
            "only scenarios",
        ),
    ] {
        let message = refusal(arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn bad_options_of_several_nodes_are_explained() {
    for (arguments, expected) in [
        (
            &["pairs", "--hosts", "127.0.0.1", "--host", "127.0.0.2"][..],
            "cannot be used with",
        ),
        (&["pairs", "--hosts", "127.0.0.1,"], "without a name"),
        (
            &["pairs", "--hosts", "127.0.0.1,127.0.0.2,127.0.0.1:1883"],
            "--hosts names 127.0.0.1:1883 twice",
        ),
        (&["pairs", "--one-way"], "--hosts"),
        (
            &["pairs", "--one-way", "--hosts", "127.0.0.1"],
            "at least two --hosts",
        ),
        (
            &["pairs", "--broker-pid", "1,2", "--hosts", "127.0.0.1"],
            "names 2 processes, and there are 1 hosts",
        ),
        (
            &[
                "idle",
                "--hosts",
                "127.0.0.1,127.0.0.2",
                "--broker-pid",
                "1,1",
            ],
            "--broker-pid names 1 twice",
        ),
    ] {
        let message = refusal(arguments);
        assert!(message.contains(expected), "{arguments:?}: {message}");
    }
}

#[test]
fn a_missing_worker_is_named() {
    let worker = format!("127.0.0.1:{}", vacant_port());
    let message = refusal(&["run", "--workers", &worker, "--", "pairs"]);
    assert!(message.contains(&worker), "{message}");
}
