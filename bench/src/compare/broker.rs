//! A broker that is started for one measurement.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a broker may take to serve.
const START_MAX: Duration = Duration::from_secs(10);

/// Which broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// This project's.
    ShardMq,
    /// The one to compare with.
    Mosquitto,
}

impl Kind {
    /// Its name in results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ShardMq => "shardmq",
            Self::Mosquitto => "mosquitto",
        }
    }
}

/// A broker that runs on one CPU. It is killed when dropped.
pub(super) struct Broker {
    address: SocketAddr,
    process: Child,
    folder: PathBuf,
}

impl Broker {
    /// Starts `program` on an address of its own and waits until it serves.
    pub(super) fn start(kind: Kind, program: &Path, cpu: u32) -> Result<Self, String> {
        let address = unused_address();
        let name = format!("shardmq-bench-{}-{}", std::process::id(), address.port());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        let mut command = match kind {
            Kind::ShardMq => shardmq(program, address, cpu, &folder),
            Kind::Mosquitto => mosquitto(program, address, cpu, &folder)?,
        };
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {command:?}: {error}"))?;
        let mut broker = Self {
            address,
            process,
            folder,
        };
        broker.wait_until_it_serves(&command)?;
        Ok(broker)
    }

    /// Address and port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Process id.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn wait_until_it_serves(&mut self, command: &Command) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        while exchange_connect(self.address).is_err() {
            let ended = self.process.try_wait().map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                return Err(format!("{command:?} ended with {status} at its start"));
            }
            if Instant::now() > deadline {
                return Err(format!("{command:?} does not serve"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a program says its version is, such as `2.0.11`.
pub(super) fn version_of(mosquitto: &Path) -> Result<String, String> {
    let output = Command::new(mosquitto)
        .arg("-h")
        .output()
        .map_err(|error| format!("cannot run {}: {error}", mosquitto.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1);
    Ok(version.unwrap_or("of an unknown version").to_owned())
}

fn shardmq(program: &Path, address: SocketAddr, cpu: u32, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    command.arg("--data-dir").arg(folder.join("data"));
    command
        .arg("--set")
        .arg(format!("listeners.tcp.default.bind={address}"));
    command.arg("--set").arg(format!("shards.cpus={cpu}"));
    command
}

/// Mosquitto as it is configured by default, but without limits that would make it lose
/// messages of these loads, and without a log, which would cost it time.
fn mosquitto(
    program: &Path,
    address: SocketAddr,
    cpu: u32,
    folder: &Path,
) -> Result<Command, String> {
    let configuration = format!(
        "listener {} {}\nallow_anonymous true\nuser root\nlog_dest none\n\
         max_queued_messages 0\nmax_inflight_messages 0\n",
        address.port(),
        address.ip()
    );
    let file = folder.join("mosquitto.conf");
    fs::write(&file, configuration)
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let mut command = Command::new("taskset");
    command
        .args(["-c", &cpu.to_string()])
        .arg(program)
        .arg("-c")
        .arg(file);
    Ok(command)
}

/// A loopback address made of the process id, and a port that is counted: no other
/// process uses it.
fn unused_address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low);
    SocketAddr::new(host.into(), PORT.fetch_add(1, Ordering::Relaxed))
}

/// Connects as an MQTT 3.1.1 client and disconnects.
fn exchange_connect(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(START_MAX))?;
    stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\0\0\x05probe")?;
    stream.read_exact(&mut [0; 4])?;
    stream.write_all(&[0xe0, 0])?;
    stream.read_to_end(&mut Vec::new())?;
    Ok(())
}
