//! The system calls that the standard library does not offer.

#![expect(unsafe_code, reason = "system calls")]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};

/// A socket address in the form the kernel takes.
#[derive(Clone, Copy)]
pub struct RawAddress {
    storage: libc::sockaddr_storage,
    length: socklen_t,
}

impl RawAddress {
    /// Converts an address.
    pub fn new(address: SocketAddr) -> Self {
        // SAFETY: all zero bytes are a valid `sockaddr_storage`.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let place = (&raw mut storage).cast::<c_void>();
        let length = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: `sockaddr_storage` is larger than every address and aligned for it.
                unsafe { place.cast::<libc::sockaddr_in>().write(raw) };
                size_of_val(&raw)
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(raw) };
                size_of_val(&raw)
            }
        };
        Self {
            storage,
            length: length as socklen_t,
        }
    }

    /// Pointer and length, valid as long as `self` stays where it is.
    pub(super) fn parts(&self) -> (*const libc::sockaddr, socklen_t) {
        ((&raw const self.storage).cast(), self.length)
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A TCP socket for `target`, bound to `source` (port chosen at connect), without Nagle's delay.
pub fn tcp_socket(target: SocketAddr, source: Option<IpAddr>) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: `socket` takes no pointers.
    let raw = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the descriptor was just created and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    if let Some(source) = source {
        set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
        let address = RawAddress::new(SocketAddr::new(source, 0));
        let (pointer, length) = address.parts();
        // SAFETY: `address` outlives the call and its length is right.
        check(unsafe { libc::bind(socket.as_raw_fd(), pointer, length) })?;
    }
    Ok(socket)
}

fn set_option(socket: &OwnedFd, level: c_int, name: c_int) -> io::Result<()> {
    let on: c_int = 1;
    let length = size_of_val(&on) as socklen_t;
    let pointer = (&raw const on).cast::<c_void>();
    // SAFETY: `on` outlives the call and its size is given.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) })?;
    Ok(())
}

/// Ends both directions; a receive or send in flight completes. Errors mean it had ended.
pub fn shutdown(socket: &OwnedFd) {
    // SAFETY: takes no pointers; the descriptor is open.
    unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) };
}

/// A non-blocking eventfd.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let raw = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: just created, no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Makes an eventfd readable. It can only fail when it already is.
pub fn signal_eventfd(eventfd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer has the length that is given.
    unsafe { libc::write(eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

/// Makes an eventfd unreadable. It can only fail when it already is.
pub fn drain_eventfd(eventfd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer has the length that is given.
    unsafe { libc::read(eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
}

/// Gives the calling thread a descriptor table of its own.
pub fn unshare_descriptors() -> io::Result<()> {
    // SAFETY: takes no pointers. Descriptors opened before keep their numbers in both tables.
    check(unsafe { libc::unshare(libc::CLONE_FILES) }).map(drop)
}

/// Pins the calling thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zero bytes are an empty set, and `cpu` is within it.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        set
    };
    // SAFETY: the set outlives the call and its size is given.
    check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) }).map(drop)
}

/// Lets timers of the calling thread fire when they are due, not up to 50 µs later.
pub fn use_exact_timers() {
    // SAFETY: takes no pointers; failure only means less exact timers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1u64) };
}

/// Raises the limit of open descriptors to the hard one and gives it.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_cur)
}

/// The monotonic clock in nanoseconds: the same in every process of the machine.
#[inline]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Keeps Ctrl-C and termination from ending the process; all later threads inherit this.
/// [`wait_for_interrupt`] sees them.
pub fn hold_interrupts() -> io::Result<()> {
    let set = interrupts();
    // SAFETY: the set outlives the call; no old set is asked for.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(result))
    }
}

/// Sleeps up to `timeout`; true when a held interrupt came meanwhile.
pub fn wait_for_interrupt(timeout: Duration) -> bool {
    let set = interrupts();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    };
    // SAFETY: set and timeout outlive the call; no information is asked for.
    let signal =
        unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const timeout) };
    signal > 0
}

fn interrupts() -> libc::sigset_t {
    // SAFETY: `sigemptyset` initialises the set before it is used.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        set
    }
}

/// Ticks per second of the CPU times in `/proc`.
pub fn clock_ticks_per_second() -> u64 {
    // SAFETY: takes no pointers.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}
