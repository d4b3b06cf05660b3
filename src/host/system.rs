//! System calls that the standard library does not have. All of this package's unsafe
//! code is here, and one line in `cluster::news`.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};

use crate::config::cpu_list::CpuList;

/// A limit of the process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resource {
    /// Bytes that may be locked in memory.
    LockedMemory,
    /// File descriptors.
    OpenFiles,
}

/// The two values of a limit. [`Limit::UNLIMITED`] is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    /// What is enforced.
    pub(crate) soft: u64,
    /// What the process may raise it to.
    pub(crate) hard: u64,
}

impl Limit {
    /// No limit.
    pub(crate) const UNLIMITED: u64 = libc::RLIM_INFINITY;
}

/// Reads a limit.
pub(crate) fn limit(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a `rlimit` of ours that lives through the call.
    let result = unsafe { libc::getrlimit(resource.number(), &raw mut limit) };
    check(result).map(|()| Limit {
        soft: limit.rlim_cur,
        hard: limit.rlim_max,
    })
}

/// Changes a limit.
pub(crate) fn set_limit(resource: Resource, limit: Limit) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: the pointer is to a `rlimit` of ours that lives through the call and is
    // only read.
    check(unsafe { libc::setrlimit(resource.number(), &raw const limit) })
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
        }
    }
}

/// The CPUs that the calling thread may run on.
pub(crate) fn affinity() -> io::Result<CpuList> {
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeros is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a set of ours of the size given; 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    let count = 8 * size_of_val(&set);
    // SAFETY: `CPU_ISSET` indexes the set's array by `cpu`, which is within its bits.
    Ok((0..count)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Restricts the calling thread, and those that it starts, to some CPUs.
pub(crate) fn pin(cpus: &CpuList) -> io::Result<()> {
    // SAFETY: `cpu_set_t` is an array of integers, for which all zeros is a value.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let count = 8 * size_of_val(&set);
    for cpu in cpus.iter().filter(|&cpu| cpu < count) {
        // SAFETY: `CPU_SET` indexes the set's array by `cpu`, which is within its bits.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the pointer is to a set of ours of the size given, which is only read.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
}

/// Keeps SIGTERM and SIGINT from ending the process: they wait for [`next_signal`]. Must
/// be called before other threads are started, which inherit it.
pub(crate) fn hold_signals() -> io::Result<()> {
    let set = termination_signals();
    // SAFETY: the set is ours and initialised, and the old mask is not asked for.
    let error =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if error == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Waits for SIGTERM or SIGINT and returns its number.
pub(crate) fn next_signal() -> i32 {
    let set = termination_signals();
    loop {
        let mut signal = 0;
        // SAFETY: both pointers are to values of ours that live through the call.
        if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
            return signal;
        }
    }
}

/// The set of SIGTERM and SIGINT.
fn termination_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that it is given, the others change it;
    // both signal numbers are valid, so none of them can fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        set.assume_init()
    }
}

/// The error of a call that returns -1 and sets `errno`.
fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Sends a signal to a process that this one has started and has not waited for yet.
pub(crate) fn send_signal(child: &std::process::Child, signal: i32) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else {
        return;
    };
    // SAFETY: takes its arguments by value. Nobody else has the number as long as nobody has
    // waited for the process, and one that has ended takes no harm.
    unsafe { libc::kill(pid, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_not_above_the_hard_one() {
        for resource in [Resource::LockedMemory, Resource::OpenFiles] {
            let limit = limit(resource).unwrap();
            assert!(limit.soft <= limit.hard, "{limit:?}");
        }
    }

    #[test]
    fn a_thread_runs_where_it_was_pinned() {
        let cpu: CpuList = affinity().unwrap().iter().take(1).collect();
        std::thread::spawn(move || {
            pin(&cpu).unwrap();
            assert_eq!(affinity().unwrap(), cpu);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn no_thread_can_be_pinned_to_nothing() {
        assert!(pin(&CpuList::default()).is_err());
    }
}
