//! The broker as a process that is started and killed.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a broker may take to stop in order.
const STOP: Duration = Duration::from_secs(10);

/// How to start it.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The program.
    pub(super) program: PathBuf,
    /// Its data folder.
    pub(super) data: PathBuf,
    /// Where what it writes goes.
    pub(super) log: PathBuf,
    /// Further arguments.
    pub(super) arguments: Vec<String>,
}

/// A broker that runs. It is killed when dropped.
pub(super) struct Broker {
    process: Child,
    pub(super) started_at: Instant,
}

impl Broker {
    /// Starts it.
    pub(super) fn start(recipe: &Recipe, address: SocketAddr, shards: u32) -> Result<Self, String> {
        let said = |error: io::Error| format!("cannot start {}: {error}", recipe.program.display());
        let log = File::options()
            .create(true)
            .append(true)
            .open(&recipe.log)
            .map_err(said)?;
        let mut command = Command::new(&recipe.program);
        command
            .args(["--bind", &address.to_string(), "--data-dir"])
            .arg(&recipe.data)
            .args(["--set", &format!("shards.count={shards}")])
            .args(&recipe.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(said)?)
            .stderr(log);
        let process = command.spawn().map_err(said)?;
        Ok(Self {
            process,
            started_at: Instant::now(),
        })
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself, which its owner asks about.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks it to stop, and waits for its end.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        let pid = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        told.map_err(|error| format!("cannot run kill: {error}"))?;
        let deadline = Instant::now() + STOP;
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("stopped with {status}")),
                None if Instant::now() > deadline => return Err(format!("not within {STOP:?}")),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that nobody uses now.
pub(super) fn unused_address() -> Result<SocketAddr, String> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no port: {error}"))
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
