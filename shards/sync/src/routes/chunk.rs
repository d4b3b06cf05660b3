//! Memory for records that are found at random.
//!
//! An index of a million filters is 100 MB of records of one cache line each, and a match
//! touches a few of them anywhere. With pages of 4 KiB nearly every touch also misses the
//! processor's table of pages, which costs as much again as the miss of the cache; with pages
//! of 2 MiB it does not. So chunks come from the kernel, aligned, and ask for such pages.

use std::{alloc::Layout, io, ptr, slice};

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// What a chunk can hold.
///
/// # Safety
///
/// Zeroed memory is a valid value, and the value needs no drop.
pub(super) unsafe trait Record: Sync {}

/// Some records that stay where they are.
pub(super) struct Chunk<T: Record> {
    records: ptr::NonNull<T>,
    count: usize,
}

// SAFETY: a chunk owns its records like a `Box<[T]>`, and gives out shared references only.
unsafe impl<T: Record + Send> Send for Chunk<T> {}
// SAFETY: as above; `Record` requires `Sync`.
unsafe impl<T: Record> Sync for Chunk<T> {}

impl<T: Record> Chunk<T> {
    /// `count` zeroed records. With `huge`, the kernel is asked to take huge pages for them;
    /// without, memory is used as far as it is touched.
    pub(super) fn new(count: usize, huge: bool) -> Self {
        let bytes = count * size_of::<T>();
        assert!(bytes.is_multiple_of(HUGE) && align_of::<T>() <= HUGE && bytes > 0);
        let Ok(start) = map_aligned(bytes) else {
            let layout = Layout::array::<T>(count).unwrap_or(Layout::new::<T>());
            std::alloc::handle_alloc_error(layout)
        };
        if huge {
            // SAFETY: the range was mapped just now and is ours. The advice changes nothing
            // but the size of its pages, so a refusal does not matter.
            unsafe { libc::madvise(start.as_ptr(), bytes, libc::MADV_HUGEPAGE) };
        }
        Self {
            records: start.cast(),
            count,
        }
    }

    pub(super) fn records(&self) -> &[T] {
        // SAFETY: `new` has mapped `count` records, aligned and zeroed, which is a valid value
        // of a `Record`. They are unmapped on drop, and nobody borrows them exclusively.
        unsafe { slice::from_raw_parts(self.records.as_ptr(), self.count) }
    }
}

impl<T: Record> Drop for Chunk<T> {
    fn drop(&mut self) {
        unmap(self.records.as_ptr().cast(), self.count * size_of::<T>());
    }
}

/// Maps zeroed memory that begins at a multiple of [`HUGE`], as its size is one.
fn map_aligned(bytes: usize) -> io::Result<ptr::NonNull<libc::c_void>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
    let start = unsafe { libc::mmap(ptr::null_mut(), bytes + HUGE, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = start.cast::<u8>().align_offset(HUGE);
    let aligned = start.wrapping_byte_add(before);
    unmap(start, before);
    unmap(aligned.wrapping_byte_add(bytes), HUGE - before);
    ptr::NonNull::new(aligned).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

/// Gives back whole pages that the caller has mapped and nobody uses.
fn unmap(start: *mut libc::c_void, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's. It cannot fail for whole pages of a mapping of ours, except
        // for want of kernel memory, and then the pages stay mapped.
        unsafe { libc::munmap(start, bytes) };
    }
}
