//! The receive buffers of a shard, lent to the kernel.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::uring::{BUFFER_GROUP, Uring};

/// A ring of equal buffers that the kernel fills and the shard gives back after use.
/// Owned by one shard; lives as long as its [`Uring`].
pub(super) struct Buffers {
    /// Entries of the ring shared with the kernel: page-aligned.
    entries: Mapping,
    memory: Mapping,
    buffer_bytes: usize,
    count: u16,
    /// Next entry to fill, counted without end.
    tail: u16,
}

/// Anonymous memory, page-aligned, given back when dropped.
struct Mapping {
    start: *mut u8,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh private mapping; no existing memory is touched.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            bytes,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` and is unmapped once.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

impl Buffers {
    /// Makes `count` buffers (a power of two up to 32,768) and lends all of them.
    pub(super) fn new(ring: &Uring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        // SAFETY: the entries are page-aligned and outlive the ring's use of them: the engine
        // drops the ring before its buffers.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.start as u64,
                count,
                BUFFER_GROUP,
                0,
            )?;
        }
        let buffer_bytes = buffer_bytes as usize;
        let mut buffers = Self {
            entries,
            memory,
            buffer_bytes,
            count,
            tail: 0,
        };
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes as u32
    }

    /// The first `length` bytes of a buffer that the kernel has filled and that has not been
    /// given back.
    pub(super) fn filled(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < self.count && length <= self.buffer_bytes);
        // SAFETY: in bounds by the assertion; the kernel writes to a buffer only while it is
        // lent, and this one has been returned by its completion.
        unsafe {
            let start = self
                .memory
                .start
                .add(usize::from(buffer) * self.buffer_bytes);
            std::slice::from_raw_parts(start, length)
        }
    }

    /// Gives a buffer back; the kernel sees it after [`Buffers::publish`].
    pub(super) fn give_back(&mut self, buffer: u16) {
        let slot = usize::from(self.tail & (self.count - 1));
        let address = self.memory.start as u64 + u64::from(buffer) * self.buffer_bytes as u64;
        // SAFETY: `slot` is below `count`, so the entry lies in the mapping. The kernel does
        // not read it before the tail passes it.
        let entry = unsafe { &mut *self.entries.start.cast::<BufRingEntry>().add(slot) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel the buffers given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail is part of the first entry of the ring, which is mapped; the kernel
        // only reads it.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.entries.start.cast());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}
