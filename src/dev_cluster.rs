//! `shardmq dev-cluster`: several nodes on this machine, as processes of their own, for trying
//! out what a cluster does. A node may be killed and started again by hand meanwhile.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use crate::cli::Options;
use crate::failure::Failure;
use crate::host::system;

/// Between two looks at which nodes have ended.
const LOOK: Duration = Duration::from_millis(200);

/// Signals that wait to be passed on.
const SIGNALS: usize = 4;

/// Where the nodes listen.
pub(crate) struct Ports {
    /// For clients.
    pub(crate) port: u16,
    /// For each other.
    pub(crate) cluster_port: u16,
}

/// One node.
struct Node {
    number: u8,
    process: Child,
    has_ended: bool,
}

/// Runs nodes until all have ended.
pub(crate) fn run(count: u8, ports: &Ports, options: &Options) -> Result<ExitCode, Failure> {
    let failure = |what: &str, error: io::Error| Failure::new(format!("{what}: {error}"));
    system::hold_signals().map_err(|error| failure("signals cannot be held", error))?;
    let program = env::current_exe()
        .map_err(|error| failure("the program does not know where it is", error))?;
    let folder = PathBuf::from(options.data_dir().unwrap_or("data/dev-cluster"));
    let mut nodes: Vec<Node> = Vec::new();
    for number in 1..=count {
        let arguments = arguments(number, count, ports, &folder, options);
        let process = Command::new(&program)
            .args(arguments)
            // Ctrl-C comes to this process alone, which passes it on.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match process {
            Ok(process) => nodes.push(Node::new(number, process)),
            Err(error) => {
                nodes.iter().for_each(|node| node.signal(libc::SIGTERM));
                return Err(failure("a node cannot be started", error));
            }
        }
    }
    say(&introduction(count, ports, &folder));
    Ok(wait(&mut nodes))
}

/// What a node is started with.
fn arguments(
    number: u8,
    count: u8,
    ports: &Ports,
    folder: &Path,
    options: &Options,
) -> Vec<OsString> {
    let name = |number: u8| format!("shardmq@127.0.0.{number}:{}", ports.cluster_port);
    let seeds: Vec<String> = (1..=count).map(name).collect();
    let mut arguments = options.in_common();
    let pairs = [
        ("--data-dir", folder_of(folder, number).into_os_string()),
        ("--node-name", name(number).into()),
        ("--bind", format!("127.0.0.{number}:{}", ports.port).into()),
        ("--set", "cluster.discovery_strategy=static".into()),
        (
            "--set",
            format!("cluster.static.seeds={}", seeds.join(",")).into(),
        ),
    ];
    for (flag, value) in pairs {
        arguments.extend([flag.into(), value]);
    }
    arguments
}

fn folder_of(folder: &Path, number: u8) -> PathBuf {
    folder.join(format!("node{number}"))
}

/// What there is, and what to do with it.
fn introduction(count: u8, ports: &Ports, folder: &Path) -> String {
    let port = ports.port;
    let first = folder_of(folder, 1);
    let mut text = format!("{count} nodes are starting; Ctrl-C stops them all\n");
    for number in 1..=count {
        text.push_str(&format!("  node{number}  127.0.0.{number}:{port}\n"));
    }
    text.push_str(&format!(
        "To look at them:\n  shardmq ctl cluster status --data-dir {}\n",
        first.display()
    ));
    if count > 1 {
        text.push_str(&format!(
            "To see a message cross:\n  \
             mosquitto_sub -h 127.0.0.1 -p {port} -t test &\n  \
             mosquitto_pub -h 127.0.0.2 -p {port} -t test -m hello\n"
        ));
    }
    text
}

impl Node {
    /// Passes on what a node that was started says.
    fn new(number: u8, mut process: Child) -> Self {
        if let Some(out) = process.stdout.take() {
            pass_on(number, out);
        }
        if let Some(errors) = process.stderr.take() {
            pass_on(number, errors);
        }
        Self {
            number,
            process,
            has_ended: false,
        }
    }

    fn signal(&self, signal: i32) {
        if !self.has_ended {
            system::send_signal(&self.process, signal);
        }
    }
}

/// Says each line with the node before it, on a thread that ends with the node.
fn pass_on(number: u8, from: impl Read + Send + 'static) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            say(&format!("node{number} | {}\n", text.trim_end()));
            line.clear();
        }
    });
}

/// Writes to standard output. Somebody who does not read it any more does not stop the nodes.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Waits until all nodes have ended, and passes signals on.
fn wait(nodes: &mut [Node]) -> ExitCode {
    let (send, signals) = mpsc::sync_channel(SIGNALS);
    thread::spawn(move || watch(&send));
    let (mut was_asked, mut all_well) = (false, true);
    while nodes.iter().any(|node| !node.has_ended) {
        match signals.recv_timeout(LOOK) {
            Ok(signal) => {
                was_asked = true;
                nodes.iter().for_each(|node| node.signal(signal));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
        for node in nodes.iter_mut().filter(|node| !node.has_ended) {
            let Ok(Some(status)) = node.process.try_wait() else {
                continue;
            };
            node.has_ended = true;
            all_well &= status.success();
            if !was_asked {
                say(&format!(
                    "node{} has ended by itself: {status}\n",
                    node.number
                ));
            }
        }
    }
    match all_well && was_asked {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Waits for signals, as long as the process lives.
fn watch(send: &SyncSender<i32>) {
    while send.send(system::next_signal()).is_ok() {}
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn nodes_differ_in_name_address_and_folder_and_share_the_rest() {
        let line = "shardmq --set a=b dev-cluster 2 --data-dir d";
        let options = Arguments::parse_from(line.split(' ')).options;
        let ports = Ports {
            port: 1,
            cluster_port: 2,
        };
        let of = |number| {
            let arguments = arguments(number, 2, &ports, Path::new("d"), &options);
            let texts = arguments.into_iter().map(|it| it.into_string().unwrap());
            texts.collect::<Vec<_>>().join(" ")
        };
        let seeds = "--set cluster.discovery_strategy=static --set \
                     cluster.static.seeds=shardmq@127.0.0.1:2,shardmq@127.0.0.2:2";
        assert_eq!(
            of(2),
            format!(
                "--set a=b --shards 1 --data-dir d/node2 --node-name shardmq@127.0.0.2:2 \
                 --bind 127.0.0.2:1 {seeds}"
            )
        );
        assert!(of(1).contains("--data-dir d/node1 --node-name shardmq@127.0.0.1:2"));
    }
}
