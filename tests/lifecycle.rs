//! From the start of the real broker to its end.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

mod command;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Stdio};

use command::{Folder, Without, without};

/// A broker that is ready. Killed if the test fails.
struct Broker {
    child: Child,
    /// What it said when it was ready, line by line.
    said: Vec<String>,
    /// The rest of what it says.
    _out: BufReader<ChildStdout>,
}

impl Broker {
    /// Starts it and waits until it has said all that belongs to being ready.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = Vec::new();
        while said
            .last()
            .is_none_or(|line: &String| !line.starts_with("  data "))
        {
            let mut line = String::new();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "ended after {said:?}");
            said.push(line.trim_end().to_owned());
        }
        Self {
            child,
            said,
            _out: out,
        }
    }

    /// What it said under a heading.
    fn told(&self, heading: &str) -> &str {
        let line = self
            .said
            .iter()
            .find(|line| line.trim_start().starts_with(heading));
        line.unwrap_or_else(|| panic!("no {heading} in {:?}", self.said))
            .trim_start()[heading.len()..]
            .trim()
    }

    /// The address that it listens on.
    fn address(&self) -> &str {
        self.told("listener").split(' ').next().unwrap()
    }

    /// Asks it to end and returns its exit code.
    fn end(mut self, signal: i32) -> Option<i32> {
        self.signal(signal);
        self.child.wait().unwrap().code()
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: sends a signal to a child of ours that was not waited for yet, so that
        // its number cannot belong to another process.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A broker on a port that nobody else has.
fn shardmq(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = folder.shardmq(arguments);
    command
        .env("SHARDMQ_LISTENERS__TCP__DEFAULT__BIND", "127.0.0.1:0")
        .stderr(Stdio::null());
    command
}

#[test]
fn a_broker_that_is_ready_says_where_and_how_and_takes_connections() {
    let folder = Folder::new();
    let broker = Broker::start(&mut shardmq(&folder, &["--shards", "1"]));
    assert!(broker.said[0].ends_with(" is ready"), "{:?}", broker.said);
    assert_eq!(broker.told("node"), "shardmq@127.0.0.1");
    assert!(
        broker.told("shards").starts_with("1, on CPU "),
        "{:?}",
        broker.said
    );
    assert!(broker.told("data").ends_with("/data"), "{:?}", broker.said);
    TcpStream::connect(broker.address()).unwrap();
    assert_eq!(broker.end(libc::SIGTERM), Some(0));
}

#[test]
fn both_signals_end_the_broker_in_order() {
    let folder = Folder::new();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let broker = Broker::start(&mut shardmq(&folder, &[]));
        assert_eq!(broker.end(signal), Some(0));
    }
}

#[test]
fn the_folder_is_marked_and_locked_and_free_again_afterwards() {
    let folder = Folder::new();
    let broker = Broker::start(&mut shardmq(&folder, &[]));
    let file = |name: &str| fs::read_to_string(folder.0.join("data").join(name)).unwrap();
    assert_eq!(file("VERSION"), "2\n");
    assert_eq!(file("LOCK"), format!("{}\n", broker.child.id()));
    let holder = format!("in use by another broker (process {})", broker.child.id());
    folder
        .run(&["--bind", "127.0.0.1:0"])
        .failed_with(&[&holder]);
    assert_eq!(broker.end(libc::SIGTERM), Some(0));
    let again = Broker::start(&mut shardmq(&folder, &[]));
    assert_eq!(again.end(libc::SIGTERM), Some(0));
}

#[test]
fn a_folder_from_before_anything_was_stored_is_lifted() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("data")).unwrap();
    let version = folder.0.join("data/VERSION");
    fs::write(&version, "1\n").unwrap();
    let memory = ["--set", "durability=memory"];
    for (arguments, format) in [(&memory[..], "1\n"), (&[], "2\n"), (&memory, "2\n")] {
        let broker = Broker::start(&mut shardmq(&folder, arguments));
        assert_eq!(fs::read_to_string(&version).unwrap(), format);
        assert_eq!(broker.end(libc::SIGTERM), Some(0));
    }
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("data/store.redb"), 0o600);
}

#[test]
fn the_limit_of_open_files_is_raised_to_what_is_permitted() {
    let folder = Folder::new();
    let mut command = shardmq(&folder, &["--shards", "1"]);
    without(&mut command, Without::Limit(libc::RLIMIT_NOFILE, 256, 4096));
    let broker = Broker::start(&mut command);
    assert!(
        broker.told("open files").starts_with("4096, enough for "),
        "{:?}",
        broker.said
    );
    assert_eq!(broker.end(libc::SIGTERM), Some(0));
}

#[test]
fn a_port_alone_is_loopback_until_strangers_are_welcome() {
    let folder = Folder::new();
    let broker = Broker::start(&mut shardmq(&folder, &["--bind", "0"]));
    assert!(
        broker.address().starts_with("127.0.0.1:"),
        "{:?}",
        broker.said
    );
    assert_eq!(broker.end(libc::SIGTERM), Some(0));
}

#[test]
fn systemd_is_told_when_the_broker_is_ready() {
    let folder = Folder::new();
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let broker = Broker::start(shardmq(&folder, &[]).env("NOTIFY_SOCKET", &path));
    let mut buffer = [0; 32];
    let length = manager.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    assert_eq!(broker.end(libc::SIGTERM), Some(0));
}
