//! Hash tables from a key to the number of a record that holds the key.
//!
//! A slot is one atomic word: 32 bits of the key's hash, which spare most comparisons, and
//! the number of the record. Open addressing with linear probing. A removed slot becomes a
//! tombstone, so that it does not cut the way to the slots behind it.
//!
//! A table is cut into [`SEGMENTS`] by other bits of the hash, and each grows on its own: the
//! writer fills a bigger copy, without the tombstones, publishes it by one store of a
//! pointer, and keeps the old one until no reader can be in it. So growing stalls the writer
//! for the time of one segment, and readers never. Segments by hash and not by first word,
//! because in many installations all topics begin with the same word.

use std::ptr;

use super::grace::{Grace, Limbo, Pin};
use crate::shim::{Arc, AtomicPtr, AtomicU64, Ordering, prefetch};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

/// Parts of a table that grow on their own.
#[cfg(not(loom))]
const SEGMENTS: usize = 256;
#[cfg(loom)]
const SEGMENTS: usize = 1;

/// Slots of the smallest segment: one cache line.
#[cfg(not(loom))]
const SLOTS_MIN: usize = 8;
#[cfg(loom)]
const SLOTS_MIN: usize = 2;

/// A slot that was never used: whoever looks for a key stops here.
const EMPTY: u64 = 0;

/// A slot whose record is gone: whoever looks for a key goes on.
const TOMBSTONE: u64 = 1 << 32;

/// The table as readers see it.
pub(super) struct Table {
    segments: Box<[AtomicPtr<Slots>]>,
}

/// The slots of one segment, a power of two, at least one of them empty.
struct Slots {
    slots: Box<[AtomicU64]>,
}

impl Default for Table {
    fn default() -> Self {
        let segments = std::iter::repeat_with(|| AtomicPtr::new(ptr::null_mut()));
        Self {
            segments: segments.take(SEGMENTS).collect(),
        }
    }
}

impl Table {
    /// The record with this hash of which `is_key` says that it is the one.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u64,
        pin: &Pin<'_>,
        is_key: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (_, number) = self.slots(hash, pin)?.find(hash, is_key)?;
        Some(number)
    }

    /// Has the processor fetch the slot where [`Self::find`] would begin.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64, pin: &Pin<'_>) {
        if let Some(slots) = self.slots(hash, pin) {
            prefetch(&raw const slots.slots[slots.home_of(hash)]);
        }
    }

    #[inline]
    fn slots<'p>(&self, hash: u64, _pin: &'p Pin<'_>) -> Option<&'p Slots> {
        let slots = self.segments[segment_of(hash)].load(Ordering::Acquire);
        // SAFETY: the pointer is null or comes from an `Arc` that `TableWriter` owns. After it
        // has replaced the pointer it keeps that `Arc` until every reader that was pinned
        // before has unpinned, and this reader is pinned for as long as the reference lives.
        // When the writer ends, it leaves its tables with the index, which outlives readers.
        unsafe { slots.as_ref() }
    }
}

impl Slots {
    fn new(count: usize) -> Self {
        let slots = std::iter::repeat_with(|| AtomicU64::new(EMPTY)).take(count);
        Self {
            slots: slots.collect(),
        }
    }

    /// The position at which the way of a hash begins.
    #[inline]
    fn home_of(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The position and the number of a record.
    #[inline]
    fn find(&self, hash: u64, mut is_key: impl FnMut(u32) -> bool) -> Option<(usize, u32)> {
        let mut position = hash as usize;
        loop {
            position &= self.slots.len() - 1;
            let slot = self.slots[position].load(Ordering::Acquire);
            let number = slot as u32;
            if tag_of(slot) == hash as u32 && number != 0 && is_key(number) {
                return Some((position, number));
            }
            if slot == EMPTY {
                return None;
            }
            position += 1;
        }
    }

    /// Fills the first slot on the way of `tag` that holds nothing. Returns what it was.
    fn fill(&self, tag: u32, number: u32) -> u64 {
        let mut position = tag as usize;
        loop {
            position &= self.slots.len() - 1;
            let slot = self.slots[position].load(Ordering::Relaxed);
            if slot == EMPTY || slot == TOMBSTONE {
                self.put(position, tag, number);
                return slot;
            }
            position += 1;
        }
    }

    fn put(&self, position: usize, tag: u32, number: u32) {
        let full = u64::from(tag) << 32 | u64::from(number);
        // Release: whoever finds the number finds the record complete.
        self.slots[position].store(full, Ordering::Release);
    }

    fn copy_to(&self, other: &Self) {
        for slot in &self.slots {
            let slot = slot.load(Ordering::Relaxed);
            if slot as u32 != 0 {
                other.fill(tag_of(slot), slot as u32);
            }
        }
    }
}

/// The writer's side of a [`Table`].
pub(super) struct TableWriter {
    segments: Box<[Segment]>,
    limbo: Limbo<Arc<Slots>>,
}

#[derive(Default)]
struct Segment {
    slots: Option<Arc<Slots>>,
    /// Slots that hold a record.
    full: usize,
    /// Slots that hold a tombstone.
    tombstones: usize,
}

impl Default for TableWriter {
    fn default() -> Self {
        let segments = std::iter::repeat_with(Segment::default);
        Self {
            segments: segments.take(SEGMENTS).collect(),
            limbo: Limbo::default(),
        }
    }
}

impl TableWriter {
    /// The record with this hash of which `is_key` says that it is the one.
    pub(super) fn find(&self, hash: u64, is_key: impl FnMut(u32) -> bool) -> Option<u32> {
        let slots = self.segments[segment_of(hash)].slots.as_ref()?;
        slots.find(hash, is_key).map(|(_, number)| number)
    }

    /// Publishes a record whose key is not in the table.
    pub(super) fn insert(&mut self, table: &Table, hash: u64, number: u32, grace: &Grace) {
        let segment = &mut self.segments[segment_of(hash)];
        if segment.is_crowded() {
            let replaced = segment.rebuild(&table.segments[segment_of(hash)]);
            self.keep(replaced, grace);
        }
        self.segments[segment_of(hash)].fill(hash as u32, number);
    }

    /// Has the slot of a record hold another one with the same key. Readers find one of them.
    pub(super) fn replace(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(slots) = &self.segments[segment_of(hash)].slots
            && let Some((position, _)) = slots.find(hash, |found| found == from)
        {
            slots.put(position, hash as u32, to);
        }
    }

    /// Unlinks a record. Readers may still be at it.
    pub(super) fn remove(&mut self, table: &Table, hash: u64, number: u32, grace: &Grace) {
        let segment = &mut self.segments[segment_of(hash)];
        segment.clear(hash, number);
        if segment.is_deserted() {
            let replaced = segment.rebuild(&table.segments[segment_of(hash)]);
            self.keep(replaced, grace);
        }
    }

    /// Records in the table.
    #[cfg(all(test, not(loom)))]
    pub(super) fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.full).sum()
    }

    /// Segments that were replaced and wait for readers.
    pub(super) fn waiting(&self) -> usize {
        self.limbo.len()
    }

    /// Frees the segments that were replaced before `epoch`.
    pub(super) fn reclaim(&mut self, epoch: u64) {
        while self.limbo.take_before(epoch).is_some() {}
    }

    fn keep(&mut self, replaced: Option<Arc<Slots>>, grace: &Grace) {
        if let Some(slots) = replaced {
            self.limbo.keep(grace.epoch(), slots);
        }
    }
}

impl Segment {
    /// Whether another record would leave less than a third of the slots empty.
    fn is_crowded(&self) -> bool {
        (self.full + self.tombstones + 1) * 3 > self.capacity() * 2
    }

    /// Whether less than an eighth of the slots hold a record.
    fn is_deserted(&self) -> bool {
        self.capacity() > SLOTS_MIN && self.full * 8 < self.capacity()
    }

    fn capacity(&self) -> usize {
        self.slots.as_ref().map_or(0, |slots| slots.slots.len())
    }

    /// Moves to slots of which between a quarter and a half hold a record, with the next one.
    /// So a sixth of them change before it is crowded again. Returns those that it leaves.
    fn rebuild(&mut self, published: &AtomicPtr<Slots>) -> Option<Arc<Slots>> {
        let count = ((self.full + 1) * 2).next_power_of_two();
        let slots = Arc::new(Slots::new(count.max(SLOTS_MIN)));
        if let Some(crowded) = &self.slots {
            crowded.copy_to(&slots);
        }
        self.tombstones = 0;
        // Release: whoever finds the slots finds them filled.
        published.store(Arc::as_ptr(&slots).cast_mut(), Ordering::Release);
        self.slots.replace(slots)
    }

    fn fill(&mut self, tag: u32, number: u32) {
        let Some(slots) = &self.slots else { return };
        if slots.fill(tag, number) == TOMBSTONE {
            self.tombstones -= 1;
        }
        self.full += 1;
    }

    /// Makes the slot of a record a tombstone, or empty if the way of no key leads past it.
    fn clear(&mut self, hash: u64, number: u32) {
        let Some(slots) = &self.slots else { return };
        let Some((mut position, _)) = slots.find(hash, |found| found == number) else {
            return;
        };
        self.full -= 1;
        self.tombstones += 1;
        slots.slots[position].store(TOMBSTONE, Ordering::Relaxed);
        let mask = slots.slots.len() - 1;
        if slots.slots[(position + 1) & mask].load(Ordering::Relaxed) != EMPTY {
            return;
        }
        while slots.slots[position].load(Ordering::Relaxed) == TOMBSTONE {
            slots.slots[position].store(EMPTY, Ordering::Relaxed);
            self.tombstones -= 1;
            position = position.wrapping_sub(1) & mask;
        }
    }
}

fn segment_of(hash: u64) -> usize {
    (hash >> 56) as usize & (SEGMENTS - 1)
}

fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}
