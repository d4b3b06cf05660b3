//! All scenarios against Mosquitto, where it is installed; elsewhere these tests do nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker with a port of its own.
struct Mosquitto {
    process: Process,
    port: u16,
    configuration: PathBuf,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.configuration);
    }
}

impl Mosquitto {
    /// Starts a broker, or says that there is none.
    fn start() -> Option<Self> {
        let program = [
            "/usr/sbin/mosquitto",
            "/usr/local/sbin/mosquitto",
            "/usr/bin/mosquitto",
        ]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false));
        let Some(program) = program else {
            eprintln!("skipped: Mosquitto is not installed");
            return None;
        };
        loop {
            let mut broker = Self::begin(program);
            if broker.listens() {
                return Some(broker);
            }
        }
    }

    fn begin(program: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let configuration = std::env::temp_dir().join(format!("loadgen-test-{port}.conf"));
        let text = format!(
            "listener {port} 127.0.0.1\nlistener {port} 127.0.0.2\nallow_anonymous true\n\
             max_inflight_messages 0\n\
             max_queued_messages 0\nset_tcp_nodelay true\n"
        );
        fs::write(&configuration, text).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&configuration)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process: Process(child),
            port,
            configuration,
        }
    }

    /// Waits until it does. False if it has ended, since somebody else has its port by now.
    fn listens(&mut self) -> bool {
        loop {
            if self.process.0.try_wait().unwrap().is_some() {
                return false;
            }
            // TCP may choose this very port for the client's side, and connects it with itself.
            let answers = TcpStream::connect(("127.0.0.1", self.port))
                .is_ok_and(|it| it.local_addr().ok() != it.peer_addr().ok());
            if answers {
                return true;
            }
            std::thread::yield_now();
        }
    }

    /// Runs a scenario; gives its JSON report if it passed.
    fn run(&self, arguments: &str) -> Value {
        let pid = self.process.0.id();
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(arguments.split(' '))
            .args([
                "--json",
                "--port",
                &self.port.to_string(),
                "--broker-pid",
                &pid.to_string(),
            ])
            .output()
            .unwrap();
        let (text, error) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert!(output.status.success(), "{arguments}: {text}{error}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["verdict"], "PASS", "{arguments}");
        report
    }
}

const SHORT: &str = "--duration 200ms --warmup 50ms --threads 2";

#[test]
fn flows_of_messages_are_whole_at_every_level_and_version() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    for scenario in [
        "pairs",
        "fan-out --subscribers 9",
        "fan-in --publishers 50",
        "shared",
    ] {
        for options in [
            "--qos 0",
            "--qos 1",
            "--qos 2",
            "--qos 2 --mqtt 5",
            "--rate 500",
        ] {
            let report = broker.run(&format!("{scenario} {options} {SHORT}"));
            let messages = &report["messages"];
            assert!(
                messages["window_received"].as_u64().unwrap() > 0,
                "{scenario} {options}"
            );
            assert!(report["latency_us"]["p99"].as_f64().unwrap() > 0.0);
            assert!(report["broker"]["cpu_us_per_unit"].as_f64().unwrap() > 0.0);
        }
    }
}

#[test]
fn large_payloads_pass_whole() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    broker.run(&format!(
        "pairs --pairs 2 --inflight 2 --payload 300000 {SHORT}"
    ));
}

#[test]
fn sparse_clients_write_to_themselves_and_to_others() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    for to in ["itself", "next"] {
        broker.run(&format!(
            "sparse --clients 101 --rate 2000 --to {to} {SHORT}"
        ));
    }
}

#[test]
fn messages_find_their_filter_among_many() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let report = broker.run(&format!("match --filters 3000 {SHORT}"));
    assert_eq!(report["clients"]["filters"], 3000);
}

#[test]
fn connections_are_made_held_and_churned() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let report = broker.run("connect --clients 300 --source 127.0.0.5-127.0.0.9");
    assert_eq!(report["connections"], 300);
    let report = broker.run("connect --clients 100 --connect-rate 1000");
    assert_eq!(report["connections"], 100);
    broker.run("connect --churn --clients 10 --duration 300ms");
    let report = broker.run("idle --clients 200 --subscribe --duration 1500ms --keep-alive 1");
    assert_eq!(
        (&report["connections"], &report["filters"]),
        (&200.into(), &200.into())
    );
}

#[test]
fn subscriptions_stored_messages_and_sessions_are_complete() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let report = broker.run("subscribe --clients 3 --filters 500 --per-packet 20");
    assert_eq!(report["filters"], 1500);
    for qos in 0..=2 {
        broker.run(&format!(
            "retained --messages 500 --subscribers 3 --qos {qos} --mqtt 5"
        ));
    }
    for qos in 1..=2 {
        broker.run(&format!(
            "session --subscribers 20 --messages 100 --qos {qos}"
        ));
    }
}

#[test]
fn kept_sessions_are_measured() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let folder = std::env::temp_dir();
    for qos in 1..=2 {
        let report = broker.run(&format!(
            "durable --pairs 3 --qos {qos} --mqtt 5 --fsync-dir {} {SHORT}",
            folder.display()
        ));
        assert!(report["ack_us"]["p99"].as_f64().unwrap() > 0.0);
        assert!(report["acknowledged_per_s"].as_f64().unwrap() > 0.0);
        assert!(report["fsync_us"]["p50"].as_f64().unwrap() > 0.0);
    }
    let report = broker.run("drain --messages 2000 --inflight 20");
    assert!(report["drained_per_s"].as_f64().unwrap() > 0.0);
    let report = broker.run("idle --offline --subscribe --clients 50 --duration 100ms");
    assert_eq!(report["connections"], 50);
    let report = broker.run("restore --sessions 40 --messages 7 --publishers 3 --threads 2");
    assert!(report["queued_per_s"].as_f64().unwrap() > 0.0);
}

/// One broker with two addresses is to clients what two nodes of a cluster are.
#[test]
fn clients_are_on_several_nodes_and_what_crosses_is_told() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let hosts = format!("--hosts 127.0.0.1,127.0.0.2 --settle 10ms {SHORT}");
    for (scenario, links) in [
        ("pairs --qos 1", 2),
        ("pairs --one-way", 1),
        ("fan-out --subscribers 9", 1),
        ("fan-in --publishers 20 --subscribers 3", 1),
        ("sparse --clients 10 --to next --rate 500", 2),
        ("durable --pairs 4", 2),
    ] {
        let report = broker.run(&format!("{scenario} {hosts}"));
        let crossed = &report["crossed"];
        assert_eq!(crossed["share"], 1.0, "{scenario}: {crossed}");
        let found = crossed["links"].as_array().unwrap();
        assert_eq!(found.len(), links, "{scenario}: {crossed}");
        assert_ne!(found[0]["from"], found[0]["to"]);
        let (delivered, forwarded) = (&crossed["delivered"], &crossed["forwarded"]);
        let copies = delivered.as_f64().unwrap() / forwarded.as_f64().unwrap();
        let expected = match scenario.split(' ').next() {
            Some("fan-out") => 9.0,
            Some("fan-in") => 3.0,
            _ => 1.0,
        };
        // What is under way at either end of so short a time is counted on one side only.
        let near = (0.6..1.5).contains(&(copies / expected));
        assert!(near, "{scenario}: {crossed}");
    }
    // Publishers and members that have no common divisor: 10 and 10 take turns in step, and then
    // it can be that each publisher always meets a member on its own node.
    let report = broker.run(&format!("shared --qos 1 --subscribers 7 {hosts}"));
    let share = report["crossed"]["share"].as_f64().unwrap();
    assert!(share > 0.0, "{}", report["crossed"]);
    broker.run("session --subscribers 6 --messages 10 --hosts 127.0.0.1,127.0.0.2");
    broker.run("retained --messages 50 --hosts 127.0.0.1,127.0.0.2");
    let report = broker.run("idle --clients 9 --duration 10ms --hosts 127.0.0.1,127.0.0.2");
    assert_eq!(report["connections"], 9);
}

#[test]
fn each_broker_of_several_has_its_cost() {
    let (Some(one), Some(other)) = (Mosquitto::start(), Mosquitto::start()) else {
        return;
    };
    let pid = other.process.0.id();
    let hosts = format!("127.0.0.1,127.0.0.2:{}", other.port);
    // They do not know each other: clients only connect.
    let report = one.run(&format!(
        "connect --clients 40 --broker-pid {pid} --hosts {hosts}"
    ));
    let nodes = report["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    let cost = |value: &Value| value["cpu_us_per_unit"].as_f64().unwrap();
    let sum: f64 = nodes.iter().map(cost).sum();
    assert!((sum - cost(&report["broker"])).abs() < 0.01, "{report}");
    assert!(nodes.iter().all(|node| cost(node) > 0.0), "{report}");
}

#[test]
fn workers_share_a_run() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let workers: Vec<(Process, String)> = (0..2).map(|_| start_worker()).collect();
    let addresses: Vec<&str> = workers.iter().map(|(_, address)| &**address).collect();
    let addresses = addresses.join(",");
    for scenario in [
        format!("pairs --pairs 5 {SHORT}"),
        format!("fan-out --subscribers 7 --rate 300 {SHORT}"),
        format!("shared --qos 1 {SHORT}"),
        "session --subscribers 6 --messages 50".to_owned(),
    ] {
        broker.run(&format!("run --workers {addresses} -- {scenario}"));
    }
    let report = broker.run(&format!(
        "run --workers {addresses} -- idle --clients 31 --duration 10ms"
    ));
    assert_eq!(report["connections"], 31);
}

/// Starts a worker and reads from its greeting where it listens.
fn start_worker() -> (Process, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["worker", "--listen", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut greeting = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    errors.read_line(&mut greeting).unwrap();
    let address = greeting.trim().rsplit(' ').next().unwrap().to_owned();
    // What the worker says later goes nowhere, but must not block it.
    std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
    (Process(child), address)
}
