//! `shardmq ctl`.

use std::path::Path;
use std::process::Command;

use crate::common::Broker;
use crate::exchange::SETUP;

/// Runs it: exit code, output, errors.
pub(crate) fn ctl_at(data_dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardmq"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SHARDMQ_") {
            command.env_remove(name);
        }
    }
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.arg("ctl").args(arguments);
    let output = command.arg("--data-dir").arg(data_dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs it for a broker, and wants it to succeed.
pub(crate) fn ctl(broker: &Broker, arguments: &[&str]) -> String {
    let (code, out, errors) = ctl_at(&broker.data_dir(), arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {out}{errors}");
    out
}

#[test]
fn a_broker_is_looked_at() {
    let broker = SETUP.broker();
    assert!(ctl(&broker, &["status"]).contains("is started"));
    let status = ctl(&broker, &["cluster", "status"]);
    assert!(
        status.contains("shardmq@127.0.0.1 (this one)  core  running"),
        "{status}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&ctl(&broker, &["cluster", "status", "--json"])).unwrap();
    assert_eq!(json[0]["node"], "shardmq@127.0.0.1");
    let mut client = broker.client("name with / and ü");
    client.subscribe("some/topic", 1);
    let metrics = ctl(&broker, &["metrics"]);
    let line = metrics
        .lines()
        .find(|line| line.starts_with("connections.count "));
    assert!(line.unwrap().ends_with(" 1"), "{metrics}");
    assert!(ctl(&broker, &["metrics", "--prometheus"]).contains("\nemqx_connections_count 1\n"));
    assert!(ctl(&broker, &["topics", "list"]).contains("some/topic"));
}

#[test]
fn clients_are_listed_shown_and_kicked() {
    let broker = SETUP.broker();
    let name = "name with / and ü";
    let mut client = broker.client(name);
    client.subscribe("some/topic", 1);
    let mut others: Vec<_> = (0..5)
        .map(|n| broker.client(&format!("other-{n}")))
        .collect();
    assert_eq!(ctl(&broker, &["clients", "list"]).lines().count(), 7);
    assert_eq!(
        ctl(&broker, &["clients", "list", "--like", "ther-"])
            .lines()
            .count(),
        6
    );
    assert_eq!(
        ctl(&broker, &["clients", "list", "--json"]).lines().count(),
        6
    );
    let (_, few, warning) = ctl_at(&broker.data_dir(), &["clients", "list", "--limit", "2"]);
    assert_eq!(few.lines().count(), 3);
    assert!(warning.contains("there are more"), "{warning}");
    assert!(ctl(&broker, &["clients", "show", name]).contains("connected_at"));
    let subscriptions = ctl(&broker, &["subscriptions", "show", name]);
    assert!(subscriptions.contains("some/topic"), "{subscriptions}");
    assert_eq!(ctl(&broker, &["subscriptions", "list"]).lines().count(), 2);
    assert_eq!(ctl(&broker, &["clients", "kick", name]), "ok\n");
    client.expect_refusal(0x98);
    let again = ctl_at(&broker.data_dir(), &["clients", "kick", name]);
    assert_eq!(again.0, Some(1));
    assert!(again.2.contains("Client ID not found"), "{again:?}");
    others[0].expect_silence_until_pong();
}

#[test]
fn where_no_broker_runs_it_says_so() {
    let mut broker = SETUP.broker();
    broker.kill();
    let nowhere = Path::new("/nonexistent/folder");
    for folder in [broker.data_dir().as_path(), nowhere] {
        let (code, out, errors) = ctl_at(folder, &["status"]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(
            errors.contains("no broker runs with the data folder"),
            "{errors}"
        );
        assert!(errors.contains("--data-dir FOLDER"), "{errors}");
    }
}

#[test]
fn a_node_is_emptied_from_the_shell() {
    let broker = SETUP.broker();
    let mut client = broker.client("client");
    assert_eq!(
        ctl(&broker, &["drain", "status"]),
        "no node is being emptied\n"
    );
    let started = ctl(
        &broker,
        &["drain", "start", "--rate", "10", "--redirect-to", "a:1"],
    );
    assert!(
        started.contains("connection_eviction_rate  10"),
        "{started}"
    );
    client.expect_refusal(0x9c);
    let status = ctl(&broker, &["drain", "status"]);
    assert!(status.contains("shardmq@127.0.0.1"), "{status}");
    assert_eq!(ctl(&broker, &["drain", "stop"]), "ok\n");
    broker.client("client").expect_silence_until_pong();
}
