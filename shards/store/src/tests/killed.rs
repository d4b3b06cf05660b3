//! A process that is killed, and a machine whose power fails, while they write.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use super::full::{Small, skipped};
use super::*;

/// Where the child is told its folder.
const FOLDER: &str = "SHARD_STORE_TEST_FOLDER";

/// Messages that a session has at a time.
const KEPT: u64 = 50;

/// What the child does: the entries of session 1 are the last [`KEPT`] numbers at all times,
/// and it says which commits are stored.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (store, stored) = open(Path::new(&folder), Expect::Any, options()).unwrap();
    let mut last = numbers(&stored).last().copied().unwrap_or(100);
    let mut running = Running::of(store);
    running.store(vec![session(1)]);
    let base = last - running.number;
    let mut told = 0;
    loop {
        while last - base - running.link.committed() < 200 {
            last += 1;
            running.send(vec![entry(1, last), drop_entry(1, last - KEPT)]);
        }
        let committed = running.link.committed();
        if committed > told {
            told = committed;
            // A pipe with a reader that is alive.
            let mut out = std::io::stdout().lock();
            writeln!(out, "stored {}", base + committed).unwrap();
            out.flush().unwrap();
        }
        running.link.ring();
    }
}

fn numbers(stored: &Stored) -> Vec<u64> {
    let entries = stored.sessions.first().map(|session| &session.entries);
    let entries = entries.into_iter().flatten();
    entries.map(|entry| entry.number).collect()
}

/// A child that writes, and the last number that it said is stored.
struct Writer {
    child: Child,
    said: Arc<Mutex<u64>>,
}

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::killed::child", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(0));
        let (out, last) = (child.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let number = line
                    .rsplit_once("stored ")
                    .map(|(_, number)| number.parse());
                if let Some(Ok(number)) = number {
                    *last.lock().unwrap() = number;
                }
            }
        });
        Self { child, said }
    }

    fn said(&self) -> u64 {
        *self.said.lock().unwrap()
    }

    /// Waits for some more commits, an arbitrary number of them.
    fn wait(&self, pause_ms: u64) {
        let (begun, before) = (Instant::now(), self.said());
        while self.said() == before {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nothing is stored"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: the call touches no memory; the child has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder has what one of the commits from `said` on left, as a whole.
#[track_caller]
fn assert_whole(folder: &Path, said: u64) {
    let numbers = numbers(&stored(folder));
    // The first commit has the session alone.
    let last = numbers.last().copied().unwrap_or(100);
    assert!(last >= said, "{last} was stored, {said} was said to be");
    let first = (last - KEPT + 1).max(101);
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
}

#[test]
fn what_was_confirmed_survives_a_kill() {
    let folder = Folder::new();
    for round in 0..12 {
        let mut writer = Writer::start(&folder.0);
        writer.wait(round * 7 % 40);
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
        assert_whole(&folder.0, writer.said());
    }
}

#[test]
fn what_was_confirmed_survives_a_power_cut() {
    let Some(small) = Small::new() else {
        return skipped();
    };
    let writer = Writer::start(&small.mounted);
    for round in 0..8 {
        writer.wait(round * 11 % 60);
        writer.signal(libc::SIGSTOP);
        let said = writer.said();
        // What the disk has, without what the system had not written to it yet.
        let copy = small.copy();
        writer.signal(libc::SIGCONT);
        assert_whole(&copy.mounted, said);
    }
}
