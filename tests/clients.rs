//! Clients that we did not write: Mosquitto's command line clients, Paho Python in both
//! generations, aiomqtt, gmqtt, Paho C and MQTT.js. `tests/clients/install.sh` installs
//! them; without them these tests say that they were skipped, or fail where
//! `SHARDMQ_REQUIRE_CLIENTS=1` is set.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::{Broker, Setup, Version, scenarios};

scenarios! {
    every_version: [
        mosquitto_clients_exchange_messages,
        mosquitto_clients_see_retained_messages,
        mosquitto_clients_take_sessions_up_again,
        mosquitto_clients_leave_a_will,
        paho_python_exchanges_messages,
        paho_python_1_exchanges_messages,
        aiomqtt_exchanges_messages,
        paho_c_exchanges_messages,
        mqtt_js_exchanges_messages,
    ],
    mqtt311_and_5: [gmqtt_exchanges_messages],
    mqtt5: [mosquitto_clients_send_requests_and_answers],
}

fn mosquitto_clients_exchange_messages(setup: Setup) {
    let Some(mosquitto) = Mosquitto::find(setup) else {
        return;
    };
    for qos in ["0", "1", "2"] {
        let mut subscriber = mosquitto.subscribed(&["-q", qos, "-t", "a/+", "-C", "10"]);
        let mut publisher = mosquitto
            .command("mosquitto_pub", &["-q", qos, "-t", "a/b", "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("start mosquitto_pub");
        let lines: String = (0..10)
            .map(|number| format!("message {number}\n"))
            .collect();
        let mut input = publisher.stdin.take().expect("a pipe");
        input
            .write_all(lines.as_bytes())
            .expect("write to mosquitto_pub");
        drop(input);
        assert!(publisher.wait().expect("wait for mosquitto_pub").success());
        for number in 0..10 {
            assert_eq!(
                subscriber.next_message(),
                format!("a/b {qos} 0 message {number}")
            );
        }
        subscriber.expect_success();
    }
}

fn mosquitto_clients_see_retained_messages(setup: Setup) {
    let Some(mosquitto) = Mosquitto::find(setup) else {
        return;
    };
    for qos in ["0", "1", "2"] {
        let topic = format!("kept/{qos}");
        mosquitto.run(
            "mosquitto_pub",
            &["-q", qos, "-t", &topic, "-r", "-m", "kept"],
        );
        let arguments = [
            "-q", "2", "-t", "kept/#", "-C", "1", "-W", "10", "-F", FORMAT,
        ];
        let output = mosquitto.run("mosquitto_sub", &arguments);
        assert_eq!(text(&output), format!("MESSAGE {topic} {qos} 1 kept\n"));
        mosquitto.run("mosquitto_pub", &["-q", qos, "-t", &topic, "-r", "-n"]);
    }
    let arguments = ["-q", "2", "-t", "kept/#", "-E", "-F", FORMAT];
    assert_eq!(text(&mosquitto.run("mosquitto_sub", &arguments)), "");
}

fn mosquitto_clients_take_sessions_up_again(setup: Setup) {
    let Some(mosquitto) = Mosquitto::find(setup) else {
        return;
    };
    let session = ["-c", "-i", "away", "-q", "2", "-t", "away/#"];
    mosquitto.run("mosquitto_sub", &[&session[..], &["-E"]].concat());
    for qos in ["1", "2"] {
        mosquitto.run(
            "mosquitto_pub",
            &["-q", qos, "-t", "away/a", "-m", "while away"],
        );
    }
    let arguments = [&session[..], &["-C", "2", "-W", "10", "-F", FORMAT]].concat();
    let output = mosquitto.run("mosquitto_sub", &arguments);
    let expected = "MESSAGE away/a 1 0 while away\nMESSAGE away/a 2 0 while away\n";
    assert_eq!(text(&output), expected);
}

fn mosquitto_clients_leave_a_will(setup: Setup) {
    let Some(mosquitto) = Mosquitto::find(setup) else {
        return;
    };
    let mut watcher = mosquitto.subscribed(&["-q", "1", "-t", "will/#", "-C", "1"]);
    let will = [
        "--will-topic",
        "will/client",
        "--will-payload",
        "gone",
        "--will-qos",
        "1",
    ];
    let mut client = mosquitto.subscribed(&[&["-t", "a"][..], &will].concat());
    client.process.kill().expect("kill mosquitto_sub");
    assert_eq!(watcher.next_message(), "will/client 1 0 gone");
    watcher.expect_success();
}

/// Response topic and correlation data, as mosquitto_rr uses them.
fn mosquitto_clients_send_requests_and_answers(setup: Setup) {
    let Some(mosquitto) = Mosquitto::find(setup) else {
        return;
    };
    let mut responder = mosquitto.subscribed(&["-t", "request", "-C", "1"]);
    let request = [
        "-t", "request", "-e", "answer", "-m", "question", "-W", "10",
    ];
    let requester = mosquitto
        .command("mosquitto_rr", &request)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start mosquitto_rr");
    assert_eq!(responder.next_message(), "request 0 0 question");
    mosquitto.run("mosquitto_pub", &["-t", "answer", "-m", "forty-two"]);
    let output = requester.wait_with_output().expect("wait for mosquitto_rr");
    assert!(output.status.success());
    assert_eq!(text(&output), "forty-two\n");
}

fn paho_python_exchanges_messages(setup: Setup) {
    let probe = "from paho.mqtt.client import CallbackAPIVersion";
    python_exchanges_messages(setup, "Paho Python", "venv", probe, "exchange.py");
}

fn paho_python_1_exchanges_messages(setup: Setup) {
    let probe = "import paho.mqtt.client as mqtt; assert not hasattr(mqtt, 'CallbackAPIVersion')";
    python_exchanges_messages(setup, "Paho Python 1", "venv-1", probe, "exchange.py");
}

fn aiomqtt_exchanges_messages(setup: Setup) {
    python_exchanges_messages(
        setup,
        "aiomqtt",
        "venv",
        "import aiomqtt",
        "exchange_aiomqtt.py",
    );
}

fn gmqtt_exchanges_messages(setup: Setup) {
    python_exchanges_messages(
        setup,
        "gmqtt",
        "venv-1",
        "import gmqtt",
        "exchange_gmqtt.py",
    );
}

/// Runs a script with the Python of an environment below target/clients, or the system's.
fn python_exchanges_messages(setup: Setup, name: &str, venv: &str, probe: &str, script: &str) {
    let own = root().join(format!("target/clients/{venv}/bin/python"));
    let python = if own.exists() {
        own
    } else {
        PathBuf::from("python3")
    };
    if !is_there(name, Command::new(&python).args(["-c", probe])) {
        return;
    }
    let mut command = patient(python);
    command.arg(root().join("tests/clients").join(script));
    expect_exchange(setup, command);
}

fn paho_c_exchanges_messages(setup: Setup) {
    let program = root().join("target/clients/exchange_c");
    if program.exists() {
        expect_exchange(setup, patient(program));
    } else {
        skip("Paho C");
    }
}

fn mqtt_js_exchanges_messages(setup: Setup) {
    let modules = root().join("target/clients/node_modules");
    let mut probe = Command::new("node");
    probe
        .env("NODE_PATH", &modules)
        .args(["-e", "require('mqtt')"]);
    if !is_there("MQTT.js", &mut probe) {
        return;
    }
    let mut command = patient("node");
    command
        .env("NODE_PATH", &modules)
        .arg(root().join("tests/clients/exchange.cjs"));
    expect_exchange(setup, command);
}

/// Runs a script that exchanges messages with itself.
fn expect_exchange(setup: Setup, mut command: Command) {
    let broker = setup.broker();
    let address = broker.door();
    command.args([address.ip().to_string(), address.port().to_string()]);
    command.arg((setup.version as u8).to_string());
    expect_success(&command.output().expect("run a script"));
}

/// What mosquitto_sub prints: topic, QoS, RETAIN flag and payload.
const FORMAT: &str = "MESSAGE %t %q %r %p";

/// A broker and how to call Mosquitto's clients with it.
struct Mosquitto {
    broker: Broker,
    version: &'static str,
}

impl Mosquitto {
    fn find(setup: Setup) -> Option<Self> {
        let mut probe = Command::new("mosquitto_sub");
        // It has no option that does nothing and succeeds.
        let probe = probe.args(["--help"]).output();
        let there = probe.is_ok_and(|output| text(&output).contains("mosquitto_sub"));
        if !there {
            skip("Mosquitto's clients");
            return None;
        }
        let version = match setup.version {
            Version::V31 => "mqttv31",
            Version::V311 => "mqttv311",
            Version::V5 => "mqttv5",
        };
        Some(Self {
            broker: setup.broker(),
            version,
        })
    }

    /// A client that is ended after half a minute.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        self.with_arguments(patient("stdbuf"), program, arguments)
    }

    /// Adds to stdbuf what it is to run: a client whose output comes line by line.
    fn with_arguments(&self, mut stdbuf: Command, program: &str, arguments: &[&str]) -> Command {
        let address = self.broker.any_address();
        stdbuf.args(["-oL", program, "-V", self.version]);
        stdbuf.args([
            "-h",
            &address.ip().to_string(),
            "-p",
            &address.port().to_string(),
        ]);
        stdbuf.args(arguments);
        stdbuf
    }

    /// Runs a client to its end.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self
            .command(program, arguments)
            .output()
            .expect("run a client");
        expect_success(&output);
        output
    }

    /// Starts mosquitto_sub and waits until it is subscribed.
    fn subscribed(&self, arguments: &[&str]) -> Subscriber {
        let arguments = [arguments, &["-d", "-F", FORMAT, "-W", "30"]].concat();
        let mut process = self
            .with_arguments(Command::new("stdbuf"), "mosquitto_sub", &arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("start mosquitto_sub");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut subscriber = Subscriber { process, output };
        subscriber.next_line("Subscribed ");
        subscriber
    }
}

/// A mosquitto_sub that runs.
struct Subscriber {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Subscriber {
    fn next_message(&mut self) -> String {
        self.next_line("MESSAGE ")
    }

    /// What follows `start` in the next line that begins with it.
    fn next_line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self
                .output
                .read_line(&mut line)
                .expect("read from mosquitto_sub");
            assert!(count > 0, "mosquitto_sub ended before {start:?}");
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim_end().to_owned();
            }
        }
    }

    fn expect_success(mut self) {
        assert!(
            self.process
                .wait()
                .expect("wait for mosquitto_sub")
                .success()
        );
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that is ended after half a minute.
fn patient(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("30").arg(program);
    command
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a client is installed, by a command that succeeds then.
fn is_there(name: &str, probe: &mut Command) -> bool {
    let there = probe.output().is_ok_and(|output| output.status.success());
    if !there {
        skip(name);
    }
    there
}

/// Says that a test is skipped, or fails it.
fn skip(name: &str) {
    let required = std::env::var("SHARDMQ_REQUIRE_CLIENTS").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "{name} must be there: run tests/clients/install.sh"
    );
    eprintln!("skipped: {name} is not installed; see tests/clients/install.sh");
}

fn expect_success(output: &Output) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{}\n{errors}",
        output.status,
        text(output)
    );
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
