//! A broker in a process of its own.
//!
//! The broker under test is the one this package builds. With
//! `SHARDMQ_TEST_BROKER=mosquitto:/usr/sbin/mosquitto` it is Mosquitto, which
//! tests the tests: what fails there and why is listed in
//! `tests/mosquitto-deviations.txt`.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::nodes::Others;
use super::{Client, Connect, Setup, Version};

/// How long anything that must happen may take before the test gives up on it: far
/// above what is ever needed, for no test measures time with it. Less, in seconds, can
/// be set by `SHARDMQ_TEST_PATIENCE` for a broker that is known to fail many tests.
pub(crate) fn patience() -> Duration {
    let seconds = std::env::var("SHARDMQ_TEST_PATIENCE").ok();
    Duration::from_secs(
        seconds
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(10),
    )
}

/// A running broker. It is killed when dropped; a broker that has ended by itself
/// or has panicked fails the test then.
pub(crate) struct Broker {
    address: SocketAddr,
    process: Child,
    setup: Setup,
    settings: Vec<(String, String)>,
    directory: PathBuf,
    expected_to_end: bool,
    /// Nodes that clients connect to as well as to this one.
    others: Others,
}

impl Broker {
    /// Starts a broker on an address of its own and waits until it serves. With
    /// `SHARDMQ_TEST_NODES` it is one of so many nodes, and each client connects to any of them.
    pub(crate) fn start(setup: Setup, settings: &[(&str, &str)]) -> Self {
        Others::start(setup, settings).unwrap_or_else(|| Self::start_alone(setup, settings))
    }

    /// Starts one broker, whatever the environment says.
    pub(crate) fn start_alone(setup: Setup, settings: &[(&str, &str)]) -> Self {
        let address = unused_address();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "broker-{}-{}",
            std::process::id(),
            address.port()
        ));
        fs::create_dir_all(&directory).expect("create the broker's folder");
        let settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let mut broker = Self {
            address,
            process: spawn(setup, address, &settings, &directory),
            setup,
            settings,
            directory,
            expected_to_end: false,
            others: Others::default(),
        };
        broker.wait_until_it_serves();
        broker
    }

    /// Has clients connect to these too.
    pub(crate) fn together_with(&mut self, others: Others) {
        self.others = others;
    }

    /// Address and port of its MQTT listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is one broker, and not one of several nodes.
    pub(crate) fn is_alone(&self) -> bool {
        self.others.all(self.address).len() == 1
    }

    /// Where the next client connects: to this broker, or to any of its nodes.
    pub(crate) fn any_address(&self) -> SocketAddr {
        self.others.any(self.address)
    }

    /// Where a program connects that has several clients, each of which goes to any node.
    pub(crate) fn door(&self) -> SocketAddr {
        self.others.door(self.address)
    }

    /// Its data folder, unless a setting names another.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Protocol version that its clients speak unless they say otherwise.
    pub(crate) fn version(&self) -> Version {
        self.setup.version
    }

    /// A connected client with a clean session.
    pub(crate) fn client(&self, client_id: &str) -> Client {
        self.connect(client_id).open().0
    }

    /// The CONNECT of a client with a clean session, to be changed and opened.
    pub(crate) fn connect(&self, client_id: &str) -> Connect {
        self.connect_as(self.setup.version, client_id)
    }

    /// The same in another protocol version.
    pub(crate) fn connect_as(&self, version: Version, client_id: &str) -> Connect {
        Connect::new(self.any_address(), version, client_id)
    }

    /// Sees that all that `publisher` has sent has been taken in, on every node: it has no
    /// acknowledgement for QoS 0.
    pub(crate) fn expect_taken_in(&self, publisher: &mut Client) {
        for address in self.others.all(self.address) {
            let witness = Connect::new(address, self.setup.version, "witness");
            witness.open().0.expect_nothing_from(publisher);
        }
    }

    /// A connection on which nothing has been sent.
    pub(crate) fn open(&self) -> Client {
        Client::open(self.any_address(), self.setup.version)
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.expected_to_end = true;
        self.process.kill().expect("kill the broker");
        self.process.wait().expect("wait for the broker");
        self.others.kill();
    }

    /// Starts it again on the same address, with the same data folder.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(self.setup, self.address, &self.settings, &self.directory);
        self.expected_to_end = false;
        self.others.start_again();
        self.wait_until_it_serves();
        self.others.wait_for(self);
    }

    /// Sends a signal that ends it, as `TERM`.
    pub(crate) fn terminate(&mut self, signal: &str) {
        self.expected_to_end = true;
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.pid().to_string()])
            .status();
        assert!(status.expect("run kill").success(), "no process to signal");
        self.others.terminate(signal);
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_end(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.try_wait().expect("ask for the broker's end") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the broker did not end within {patience:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that it has written to standard output and standard error.
    pub(crate) fn output(&self) -> String {
        ["stdout", "stderr"]
            .iter()
            .filter_map(|name| fs::read(self.directory.join(name)).ok())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .collect()
    }

    /// A field of `/proc/<pid>/status` in KiB, as `VmRSS`.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("read the broker's status");
        status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
            .expect("a size in the broker's status")
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        folder.expect("read the broker's descriptors").count()
    }

    /// Whether it lets a client in.
    pub(crate) fn lets_in(&self) -> bool {
        exchange_connect(self.address).is_ok_and(|is_in| is_in)
    }

    /// User and system time so far, in clock ticks.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("read the broker's stat");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in the broker's stat");
        fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number of ticks"))
            .sum()
    }

    /// Waits for a CONNACK: of a broker that was killed the kernel may keep accepting for a
    /// while, and resets what it has accepted. A connection that is left without an answer
    /// fails the test.
    fn wait_until_it_serves(&mut self) {
        let deadline = Instant::now() + patience();
        while let Err(error) = exchange_connect(self.address) {
            assert_ne!(
                error.kind(),
                ErrorKind::WouldBlock,
                "no answer to CONNECT:\n{}",
                self.output()
            );
            if let Some(status) = self.process.try_wait().expect("ask for the broker's end") {
                self.expected_to_end = true;
                panic!(
                    "the broker ended with {status} at its start:\n{}",
                    self.output()
                );
            }
            assert!(
                Instant::now() < deadline,
                "the broker does not serve:\n{}",
                self.output()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Connects, says good-bye, and sees the connection closed.
fn exchange_connect(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\0\0\x05probe")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    // 3 is the answer of a broker that is told to let nobody in.
    let answers = [[0x20, 2, 0, 0], [0x20, 2, 0, 3]];
    assert!(answers.contains(&answer), "the answer to the first CONNECT");
    stream.write_all(&[0xe0, 0])?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(answer[3] == 0)
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended = self.process.try_wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let output = self.output();
        if thread::panicking() {
            eprintln!("the broker's output:\n{output}");
            return;
        }
        let _ = fs::remove_dir_all(&self.directory);
        assert!(
            !output.contains("panicked at"),
            "the broker panicked:\n{output}"
        );
        if !self.expected_to_end {
            assert!(
                matches!(ended, Ok(None)),
                "the broker ended ({ended:?}):\n{output}"
            );
        }
    }
}

/// An address that no other test process uses: the loopback address is made of the
/// process id, the port is counted.
pub(crate) fn unused_address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low);
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::new(IpAddr::V4(host), port)
}

fn spawn(
    setup: Setup,
    address: SocketAddr,
    settings: &[(String, String)],
    directory: &Path,
) -> Child {
    let mut command = match std::env::var("SHARDMQ_TEST_BROKER") {
        Ok(other) => match other.strip_prefix("mosquitto:") {
            Some(program) => mosquitto(program, address, settings, directory),
            None => shardmq(&other, setup, address, settings, directory),
        },
        Err(_) => shardmq(
            env!("CARGO_BIN_EXE_shardmq"),
            setup,
            address,
            settings,
            directory,
        ),
    };
    let output = |name| {
        File::options()
            .create(true)
            .append(true)
            .open(directory.join(name))
            .expect("create a file for the broker's output")
    };
    command
        .stdin(Stdio::null())
        .stdout(output("stdout"))
        .stderr(output("stderr"))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

fn shardmq(
    program: &str,
    setup: Setup,
    address: SocketAddr,
    settings: &[(String, String)],
    directory: &Path,
) -> Command {
    let mut command = Command::new(program);
    // The environment is configuration too, and not the test's.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"SHARDMQ_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory);
    // A test may have a data folder of its own.
    if settings.iter().all(|(key, _)| key != "data_dir") {
        command.arg("--data-dir").arg(directory.join("data"));
    }
    command
        .arg("--set")
        .arg(format!("listeners.tcp.default.bind={address}"));
    command
        .arg("--set")
        .arg(format!("shards.count={}", setup.shards));
    for (key, value) in settings {
        command.arg("--set").arg(format!("{key}={value}"));
    }
    command
}

/// Mosquitto with what it has of our settings.
fn mosquitto(
    program: &str,
    address: SocketAddr,
    settings: &[(String, String)],
    directory: &Path,
) -> Command {
    let mut lines = format!(
        "listener {} {}\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n",
        address.port(),
        address.ip()
    );
    for (key, value) in settings {
        let name = match key.as_str() {
            "mqtt.max_inflight" | "mqtt.receive_maximum" => "max_inflight_messages",
            "mqtt.max_keep_alive_s" => "max_keepalive",
            "mqtt.max_mqueue_len" => "max_queued_messages",
            "mqtt.max_packet_size" => "max_packet_size",
            "mqtt.topic_alias_maximum" => "max_topic_alias",
            _ => continue,
        };
        lines.push_str(&format!("{name} {value}\n"));
    }
    let file = directory.join("mosquitto.conf");
    fs::write(&file, lines).expect("write Mosquitto's configuration");
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    command
}
