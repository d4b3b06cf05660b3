//! Runs the real program in a folder of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

/// What a command that ended left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    /// An empty folder that no other test uses.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("shardmq-test-{}-{number}", process::id()));
        _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The program with arguments, in this folder, without settings from outside. It ends
    /// after a minute, so that one that runs against expectation does not hang the test.
    pub(crate) fn shardmq(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardmq"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name
                .to_string_lossy()
                .to_ascii_uppercase()
                .starts_with("SHARDMQ_")
            {
                command.env_remove(name);
            }
        }
        without(&mut command, Without::TimeAfter(60));
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        outcome(&mut self.shardmq(arguments))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Outcome {
    /// Asserts that it ended with an error that has all of these texts.
    #[track_caller]
    pub(crate) fn failed_with(&self, texts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:#?}");
        for text in texts {
            assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        }
    }
}

/// Something that a child process gives up before the program starts in it.
#[derive(Clone, Copy)]
pub(crate) enum Without {
    /// A Linux capability by number. Nothing happens if we do not have it either.
    Capability(i32),
    /// A limit, lowered to the soft and the hard value.
    Limit(u32, u64, u64),
    /// `io_uring_setup`, which then fails with this error.
    Rings(i32),
    /// The time after so many seconds: SIGALRM ends it then.
    TimeAfter(u32),
}

/// Takes something away from a command.
pub(crate) fn without(command: &mut Command, what: Without) -> &mut Command {
    let take = move || match what {
        Without::Capability(number) => take_capability(number),
        Without::Limit(resource, soft, hard) => take_limit(resource, soft, hard),
        Without::Rings(errno) => take_rings(errno),
        Without::TimeAfter(seconds) => take_time(seconds),
    };
    // SAFETY: the closure runs in the child between fork and exec; it makes system calls
    // only, allocates nothing and takes no lock.
    unsafe { command.pre_exec(take) }
}

fn take_capability(number: i32) -> io::Result<()> {
    // SAFETY: this operation takes its argument by value.
    unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    Ok(())
}

fn take_time(seconds: u32) -> io::Result<()> {
    // SAFETY: takes its argument by value. The alarm outlives exec.
    unsafe { libc::alarm(seconds) };
    Ok(())
}

fn take_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the pointer is to a value of ours, which is only read.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Installs a filter: load the number of the system call, answer `io_uring_setup` with
/// the error, let everything else through.
fn take_rings(errno: i32) -> io::Result<()> {
    let step = |code: u32, skip_if_not: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skip_if_not,
        k,
    };
    let filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the first call takes its arguments by value; the second reads the program
    // and the filter, which both live through it.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
