//! Receive buffers that all connections of a thread share: the kernel picks one when bytes
//! arrive, so that an idle connection owns none.
//!
//! Where the kernel can (6.12), a buffer is filled by one receive after the other until it is
//! full: small receives of many connections lie side by side in the cache. Elsewhere each
//! receive takes a whole buffer.

#![expect(unsafe_code, reason = "memory shared with the kernel")]

use std::alloc::{self, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::{BufRingEntry, IOU_PBUF_RING_INC};

/// The group of the buffers in their ring.
pub(super) const GROUP: u16 = 0;

/// Number and size of the buffers: (count, bytes each). 1 MiB together stays in a core's cache.
const FILLED_UP: (u16, u32) = (32, 32 << 10);
const ONE_EACH: (u16, u32) = (256, 4 << 10);

/// Where the alignment of the ring of buffers comes from: it is mapped by page.
const PAGE: usize = 4096;

/// The buffers and the ring through which they are given to the kernel.
///
/// It must live as long as the `IoUring` it is registered with; `Ring` sees to that.
pub(super) struct Buffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    size: u32,
    /// Bytes of each buffer that the kernel has filled (incremental buffers only).
    filled: Vec<u32>,
    is_incremental: bool,
    tail: u16,
}

impl Buffers {
    /// Allocates buffers and registers them with `ring`.
    pub(super) fn register(ring: &IoUring) -> io::Result<Self> {
        let mut buffers = Self::allocate(FILLED_UP, true);
        match buffers.offer(ring, IOU_PBUF_RING_INC as u16) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                buffers = Self::allocate(ONE_EACH, false);
                buffers.offer(ring, 0)?;
            }
            other => other?,
        }
        for id in 0..buffers.count {
            buffers.give(id);
        }
        Ok(buffers)
    }

    /// The bytes that a receive of `length` bytes put into buffer `id`. After use they are given
    /// back with [`release`](Self::release).
    #[inline]
    pub(super) fn bytes(&self, id: u16, length: usize) -> &[u8] {
        let start = self
            .filled
            .get(usize::from(id))
            .map_or(0, |filled| *filled as usize);
        assert!(id < self.count && start + length <= self.size as usize);
        // SAFETY: within the allocation by the assertion. The kernel has finished writing
        // these bytes, and does not write to them again before `release`.
        unsafe {
            let buffer = self.memory.add(usize::from(id) * self.size as usize);
            std::slice::from_raw_parts(buffer.as_ptr().add(start), length)
        }
    }

    /// Says that `length` bytes of buffer `id` were used; `more` as the kernel said it: it will
    /// go on filling the same buffer.
    #[inline]
    pub(super) fn release(&mut self, id: u16, length: usize, more: bool) {
        if self.is_incremental && more {
            self.filled[usize::from(id)] += length as u32;
        } else {
            self.give(id);
        }
    }

    fn allocate((count, size): (u16, u32), is_incremental: bool) -> Self {
        let memory = zeroed(usize::from(count) * size as usize);
        let entries = zeroed(usize::from(count) * size_of::<BufRingEntry>()).cast();
        let filled = vec![
            0;
            if is_incremental {
                usize::from(count)
            } else {
                0
            }
        ];
        Self {
            entries,
            memory,
            count,
            size,
            filled,
            is_incremental,
            tail: 0,
        }
    }

    fn offer(&self, ring: &IoUring, flags: u16) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: `entries` is page-aligned, holds `count` entries, and `Ring` keeps it until
        // the ring is gone.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, self.count, GROUP, flags)
        }
    }

    /// Puts a whole buffer at the kernel's disposal.
    #[inline]
    fn give(&mut self, id: u16) {
        if let Some(filled) = self.filled.get_mut(usize::from(id)) {
            *filled = 0;
        }
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count`, a power of two; the kernel does not read an entry
        // beyond the tail, which is published below. The tail lies in the first entry's
        // reserved field, which `BufRingEntry::tail` finds; it is aligned for a u16.
        unsafe {
            let entry = self.entries.add(index).as_mut();
            let address = self.memory.add(usize::from(id) * self.size as usize);
            entry.set_addr(address.as_ptr() as u64);
            entry.set_len(self.size);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        release(self.memory, usize::from(self.count) * self.size as usize);
        release(
            self.entries.cast(),
            usize::from(self.count) * size_of::<BufRingEntry>(),
        );
    }
}

fn layout(size: usize) -> Layout {
    // A constant alignment and sizes far below the limit.
    Layout::from_size_align(size.max(PAGE), PAGE).unwrap_or(Layout::new::<[u8; PAGE]>())
}

fn zeroed(size: usize) -> NonNull<u8> {
    let layout = layout(size);
    // SAFETY: the layout is not empty.
    let memory = unsafe { alloc::alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

fn release(memory: NonNull<u8>, size: usize) {
    // SAFETY: allocated by `zeroed` with the same size, and not used afterwards.
    unsafe { alloc::dealloc(memory.as_ptr(), layout(size)) };
}
