//! The shard's own io_uring.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, squeue, types};

use crate::settings::Engine as Settings;

use super::vectors::Vectors;

/// What a completion is about: the operation in the upper half of the user data, the
/// connection or listener in the lower.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Operation {
    Accept = 1,
    Receive = 2,
    Send = 3,
    Wake = 4,
    /// The socket takes output again.
    Writable = 5,
    /// Needs no reaction.
    Other = 6,
}

impl Operation {
    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Accept,
            2 => Self::Receive,
            3 => Self::Send,
            4 => Self::Wake,
            5 => Self::Writable,
            _ => Self::Other,
        }
    }
}

/// A completed operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    pub(super) operation: Operation,
    pub(super) key: u32,
    /// Bytes, a descriptor, or a negative error number.
    pub(super) result: i32,
    /// The receive buffer that was filled.
    pub(super) buffer: Option<u16>,
    /// More completions of the same operation follow.
    pub(super) more: bool,
}

/// Sends never wait in the kernel: what a socket does not take at once is sent when it is
/// writable.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL;

/// The receive buffers' group in this ring: there is one.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The ring, used by its shard's thread only (`IORING_SETUP_SINGLE_ISSUER`).
pub(super) struct Uring {
    ring: IoUring,
}

fn user_data(operation: Operation, key: u32) -> u64 {
    u64::from(operation as u8) << 32 | u64::from(key)
}

impl Uring {
    /// Makes the ring. `DEFER_TASKRUN` (Linux 6.1) keeps completions from interrupting a
    /// turn: they are made when the shard enters the kernel.
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_cqsize(settings.ring_entries.saturating_mul(4))
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_defer_taskrun()
            .build(settings.ring_entries)?;
        Ok(Self { ring })
    }

    pub(super) fn submitter(&self) -> io_uring::Submitter<'_> {
        self.ring.submitter()
    }

    /// Queues an operation; enters the kernel only if the queue is full.
    fn push(&mut self, entry: &Entry) {
        loop {
            // SAFETY: each caller vouches for the memory that its operation uses.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // A failure to submit shows again, and is reported, when the turn ends.
            let _ = self.ring.submit();
        }
    }

    /// Accepts connections until it fails.
    pub(super) fn accept(&mut self, listener: RawFd, index: u32) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(Operation::Accept, index));
        self.push(&entry);
    }

    /// Accepts one connection.
    pub(super) fn accept_once(&mut self, listener: RawFd, index: u32) {
        let nowhere = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(types::Fd(listener), nowhere.0, nowhere.1)
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(Operation::Accept, index));
        self.push(&entry);
    }

    /// Receives once into a buffer of the group.
    pub(super) fn receive_once(&mut self, fd: RawFd, key: u32, bytes: u32) {
        let entry = opcode::Recv::new(types::Fd(fd), std::ptr::null_mut(), bytes)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(user_data(Operation::Receive, key));
        self.push(&entry);
    }

    /// Receives into buffers of the group until the connection ends or buffers run out.
    pub(super) fn receive(&mut self, fd: RawFd, key: u32) {
        let entry = opcode::RecvMulti::new(types::Fd(fd), BUFFER_GROUP)
            .build()
            .user_data(user_data(Operation::Receive, key));
        self.push(&entry);
    }

    /// Ends the receive operation of a connection; its last completion says so.
    pub(super) fn cancel_receive(&mut self, key: u32) {
        let entry = opcode::AsyncCancel::new(user_data(Operation::Receive, key))
            .build()
            .user_data(user_data(Operation::Other, key));
        self.push(&entry);
    }

    /// Sends `bytes` as far as the socket takes them at once. They must stay where they are,
    /// unchanged, until the kernel has been entered: the caller keeps them in the
    /// connection's [`super::socket::Socket`].
    ///
    /// There is a completion only if not all of them were taken (`MSG_WAITALL` makes that
    /// a failure, `SKIP_SUCCESS` hides the rest): a turn that only sends is not woken by its
    /// own sends.
    pub(super) fn send(&mut self, fd: RawFd, key: u32, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), length)
            .flags(SEND_FLAGS)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Operation::Send, key));
        self.push(&entry);
    }

    /// Sends all pieces, like [`Uring::send`].
    pub(super) fn send_vectors(&mut self, fd: RawFd, key: u32, vectors: &Vectors) {
        let entry = opcode::SendMsg::new(types::Fd(fd), vectors.header())
            .flags(SEND_FLAGS as u32)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Operation::Send, key));
        self.push(&entry);
    }

    /// Tells once when a socket takes output again.
    pub(super) fn await_writable(&mut self, fd: RawFd, key: u32) {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLOUT as u32)
            .build()
            .user_data(user_data(Operation::Writable, key));
        self.push(&entry);
    }

    /// Closes a descriptor that no operation uses any more.
    pub(super) fn close(&mut self, fd: RawFd) {
        let entry = opcode::Close::new(types::Fd(fd))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(user_data(Operation::Other, 0));
        self.push(&entry);
    }

    /// Watches the eventfd that other threads write to.
    pub(super) fn watch(&mut self, eventfd: RawFd) {
        let entry = opcode::PollAdd::new(types::Fd(eventfd), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(user_data(Operation::Wake, 0));
        self.push(&entry);
    }

    /// Submits what is queued and lets completions happen, without waiting.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        // GETEVENTS: with DEFER_TASKRUN nothing completes without it.
        const GETEVENTS: u32 = 1;
        let queued = self.ring.submission().len() as u32;
        let submitter = self.ring.submitter();
        // SAFETY: no argument is passed by pointer.
        let entered = unsafe { submitter.enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        forgive(entered.map(|_| ()))
    }

    /// Submits what is queued and waits for a completion, `timeout` at most.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let submitter = self.ring.submitter();
        let waited = match timeout {
            None => submitter.submit_and_wait(1),
            Some(timeout) => {
                let timespec = types::Timespec::from(timeout);
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&timespec))
            }
        };
        forgive(waited.map(|_| ()))
    }

    /// Takes all completions: sends that stopped short apart from the rest.
    pub(super) fn take_completions(
        &mut self,
        sends: &mut Vec<Completion>,
        others: &mut VecDeque<Completion>,
    ) {
        for entry in self.ring.completion() {
            let completion = Completion {
                operation: Operation::from_byte((entry.user_data() >> 32) as u8),
                key: entry.user_data() as u32,
                result: entry.result(),
                buffer: io_uring::cqueue::buffer_select(entry.flags()),
                more: io_uring::cqueue::more(entry.flags()),
            };
            match completion.operation {
                Operation::Send => sends.push(completion),
                _ => others.push_back(completion),
            }
        }
    }

    /// Whether the completion queue ran over: some completions are held back until the
    /// kernel is entered again.
    pub(super) fn has_overflowed(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    /// Whether completions wait to be taken.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }
}

/// Being woken early, by time or by a signal, is no error, nor is a kernel that is busy
/// with completions that have not been taken.
fn forgive(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
