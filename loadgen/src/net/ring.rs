//! The io_uring of one thread: requests in, completions out.

#![expect(unsafe_code, reason = "requests hold pointers that the kernel follows")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::buffers::{Buffers, GROUP};
use super::links::{Link, Links};
use super::system::RawAddress;

/// Submission entries; when they are used up within a turn, they are submitted early.
const SUBMISSIONS: u32 = 2048;

/// Completion entries; more completions than this in one turn are kept by the kernel.
const COMPLETIONS: u32 = 16_384;

/// `IORING_ENTER_GETEVENTS`: run the deferred work of the kernel, here without waiting.
const GET_EVENTS: u32 = 1;

/// Flags of every send: no SIGPIPE, and complete only when all is sent.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Which request a completion belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Connect,
    Receive,
    Send,
    Wake,
}

/// One completion.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub(super) request: Request,
    pub(super) slot: u32,
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// The receive buffer that was filled.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// The kernel goes on filling the same buffer.
    pub(super) fn buffer_continues(&self) -> bool {
        cqueue::buffer_more(self.flags)
    }

    /// The request goes on and will complete again.
    pub(super) fn request_continues(&self) -> bool {
        cqueue::more(self.flags)
    }
}

/// The ring, its receive buffers, and what it waits for.
pub(super) struct Ring {
    io: mem::ManuallyDrop<IoUring>,
    pub(super) buffers: mem::ManuallyDrop<Buffers>,
    /// Requests whose last completion has not been seen.
    in_flight: usize,
}

impl Ring {
    /// A ring for the calling thread, the only one that may use it.
    pub(super) fn new() -> io::Result<Self> {
        let io = IoUring::builder()
            .setup_cqsize(COMPLETIONS)
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(SUBMISSIONS)?;
        let buffers = mem::ManuallyDrop::new(Buffers::register(&io)?);
        Ok(Self {
            io: mem::ManuallyDrop::new(io),
            buffers,
            in_flight: 0,
        })
    }

    /// Requests a connection. `Engine` never moves or frees an address.
    pub(super) fn connect(&mut self, slot: u32, link: &mut Link, address: &RawAddress) {
        let Some(fd) = descriptor(link) else { return };
        link.is_connecting = true;
        let (pointer, length) = address.parts();
        let entry = opcode::Connect::new(fd, pointer, length).build();
        self.push(entry, Request::Connect, slot);
    }

    /// Requests all that will ever arrive.
    pub(super) fn receive(&mut self, slot: u32, link: &mut Link) {
        let Some(fd) = descriptor(link) else { return };
        link.is_receiving = true;
        self.push(
            opcode::RecvMulti::new(fd, GROUP).build(),
            Request::Receive,
            slot,
        );
    }

    /// Sends `link.sending` from `link.sent` on. `Links` and `Engine` leave that buffer alone
    /// while `is_sending`.
    pub(super) fn send(&mut self, slot: u32, link: &mut Link) {
        let Some(fd) = descriptor(link) else { return };
        link.is_sending = true;
        let rest = &link.sending[link.sent..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fd, rest.as_ptr(), length)
            .flags(SEND_FLAGS)
            .build();
        self.push(entry, Request::Send, slot);
    }

    /// Requests a completion whenever `eventfd` becomes readable.
    pub(super) fn watch(&mut self, eventfd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(eventfd), libc::POLLIN as u32)
            .multi(true)
            .build();
        self.push(entry, Request::Wake, 0);
    }

    /// Submits what was requested and waits up to `timeout` for a completion; does not wait
    /// when it is zero.
    pub(super) fn enter(&mut self, timeout: Duration) -> io::Result<()> {
        let result = if timeout.is_zero() {
            let queued = self.io.submission().len() as u32;
            // SAFETY: no argument is passed, so its size does not matter.
            unsafe {
                self.io
                    .submitter()
                    .enter::<libc::sigset_t>(queued, 0, GET_EVENTS, None)
            }
        } else {
            let timeout = Timespec::from(timeout);
            let arguments = SubmitArgs::new().timespec(&timeout);
            self.io.submitter().submit_with_args(1, &arguments)
        };
        match result {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves the completions that are there into `completions`.
    pub(super) fn collect(&mut self, completions: &mut Vec<Completion>) {
        for entry in self.io.completion() {
            if !cqueue::more(entry.flags()) {
                self.in_flight = self.in_flight.saturating_sub(1);
            }
            let request = match entry.user_data() >> 32 {
                0 => Request::Connect,
                1 => Request::Receive,
                2 => Request::Send,
                _ => Request::Wake,
            };
            let (result, flags) = (entry.result(), entry.flags());
            let slot = entry.user_data() as u32;
            completions.push(Completion {
                request,
                slot,
                result,
                flags,
            });
        }
    }

    /// Ends all requests; afterwards the kernel follows no pointer any more. Should that fail,
    /// what the pointers lead to is leaked rather than freed.
    pub(super) fn close(mut self, links: Links) {
        let timeout = Timespec::from(Duration::from_secs(1));
        let cancelled = self
            .io
            .submitter()
            .register_sync_cancel(Some(timeout), CancelBuilder::any());
        let mut seen = Vec::new();
        for _ in 0..100 {
            self.collect(&mut seen);
            if self.in_flight == 0 || self.enter(Duration::from_millis(10)).is_err() {
                break;
            }
        }
        let is_quiet = self.in_flight == 0 && cancelled.is_ok_or_not_found();
        // SAFETY: both are dropped or forgotten here and never used again: `self` is consumed.
        unsafe { mem::ManuallyDrop::drop(&mut self.io) };
        if is_quiet {
            // SAFETY: as above; no receive is in flight that could write to them.
            unsafe { mem::ManuallyDrop::drop(&mut self.buffers) };
        } else {
            mem::forget(links);
        }
    }

    fn push(&mut self, entry: squeue::Entry, request: Request, slot: u32) {
        let number = match request {
            Request::Connect => 0,
            Request::Receive => 1,
            Request::Send => 2,
            Request::Wake => 3u64,
        };
        let entry = entry.user_data(number << 32 | u64::from(slot));
        self.in_flight += 1;
        // SAFETY: what the entry points to stays in place until its completion: addresses live
        // as long as the engine; `sending` buffers are not touched while `is_sending`; receive
        // buffers belong to the ring.
        while unsafe { self.io.submission().push(&entry) }.is_err() {
            self.submit();
        }
    }

    /// Hands the queue to the kernel. What it does not take now stays queued for `enter`.
    fn submit(&mut self) {
        let _ = self.io.submit();
    }
}

/// Nothing to wait for, interrupted, or completions to be collected first: not failures.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
    error
        .raw_os_error()
        .is_some_and(|code| passing.contains(&code))
}

fn descriptor(link: &Link) -> Option<Fd> {
    link.socket.as_ref().map(|socket| Fd(socket.as_raw_fd()))
}

trait CancelResult {
    fn is_ok_or_not_found(&self) -> bool;
}

impl CancelResult for io::Result<()> {
    fn is_ok_or_not_found(&self) -> bool {
        match self {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        }
    }
}
