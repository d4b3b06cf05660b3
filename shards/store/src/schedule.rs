//! How the kernel is to treat the two threads.
//!
//! Unless it is told otherwise, Linux lets whoever has a CPU keep it for some milliseconds (4
//! here, a tick) although a thread that waited for the disk could go on. A thread that asks for
//! short slices goes on at once (Linux 6.12 and later); it gets no larger share for that.

use std::mem::size_of;

/// How long the thread of the log wants a CPU at a time, in nanoseconds: the least there is.
const SHORT_NS: u64 = 100_000;

/// How much less than others the thread of the database is to get of a CPU.
const NICE: i32 = 10;

/// `struct sched_attr` in its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// This thread is waited for, and has little to do at a time.
pub(crate) fn at_once() {
    set(libc::SCHED_OTHER, nice(), SHORT_NS);
}

/// Nobody waits for this thread.
pub(crate) fn at_leisure() {
    set(libc::SCHED_BATCH, nice().saturating_add(NICE).min(19), 0);
}

/// How nice this thread is.
fn nice() -> i32 {
    // SAFETY: the call touches no memory. -1 may be an error, and then is as good as any.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// What the kernel does not know or permit is not done: the thread is then as any other.
fn set(policy: i32, nice: i32, runtime: u64) {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: policy as u32,
        flags: 0,
        nice,
        priority: 0,
        runtime,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as many bytes as `size` says. 0 is this thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
