//! The timers of one shard: keep-alive, session expiry, delayed wills, retries.
//!
//! A hierarchical timing wheel with a tick of one millisecond. Level 0 has a slot
//! for each of the 64 milliseconds that share their upper bits with the present;
//! a slot of level `n` stands for 64ⁿ milliseconds. When time reaches a slot of an
//! upper level, its entries move down ("cascade"), so an entry is touched at most
//! [`LEVELS`] times before it fires, and insert and cancel cost the same however
//! many timers there are.
//!
//! The wheel reads no clock: time comes in as milliseconds since any fixed start.

use std::num::NonZeroU32;

#[cfg(test)]
mod tests;

/// Levels of the wheel. Six levels of 64 slots reach 64⁶ ms, which is 795 days; what is
/// due later waits in the last slot within reach and is placed again from there.
const LEVELS: usize = 6;

/// Slots of a level: the bits of one occupancy word.
const SLOTS: usize = 64;

/// Bits of time that one level resolves.
const SLOT_BITS: u32 = 6;

/// The level whose slots form a circle, because no level above tells its turns apart.
const LAST_LEVEL: usize = LEVELS - 1;

/// The end of a list of entries.
const NONE: u32 = u32::MAX;

/// The slot of an entry that is on the free list.
const FREE: u16 = u16::MAX;

/// Timers of one shard, each with a token that tells its owner what is due.
///
/// It belongs to the thread of its shard. An entry costs 32 bytes with a token of eight;
/// memory follows the largest number of timers that were pending at once.
#[derive(Debug)]
pub(crate) struct TimerWheel<T> {
    /// The last time that [`Self::advance`] reached, in milliseconds. Nothing due at or
    /// before it is pending, except what was inserted too late or is left over by a limit.
    now_ms: u64,
    /// Pending timers.
    len: usize,
    /// One bit for each slot that has entries, one word for each level.
    occupied: [u64; LEVELS],
    /// The first entry of each slot, level by level.
    heads: [u32; LEVELS * SLOTS],
    /// The slot of an upper level that time has reached and that is being emptied.
    cascading: Option<u16>,
    /// Pending and free entries.
    entries: Vec<Entry<T>>,
    /// The first free entry.
    free: u32,
}

/// Names one timer, and no other one that later takes its place.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct TimerKey {
    index: u32,
    generation: NonZeroU32,
}

#[derive(Debug)]
struct Entry<T> {
    deadline_ms: u64,
    token: T,
    /// The next entry of the slot, or of the free list.
    next: u32,
    /// The entry before this one in its slot. Meaningless on the free list.
    previous: u32,
    /// Counts the timers that this entry has been.
    generation: NonZeroU32,
    /// `level * SLOTS + slot`, or [`FREE`].
    slot: u16,
}

impl<T: Copy> TimerWheel<T> {
    /// A wheel without timers whose time starts at `now_ms`.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            len: 0,
            occupied: [0; LEVELS],
            heads: [NONE; LEVELS * SLOTS],
            cascading: None,
            entries: Vec::new(),
            free: NONE,
        }
    }

    /// Sets a timer. One whose deadline has passed fires with the next [`Self::advance`].
    pub(crate) fn insert(&mut self, deadline_ms: u64, token: T) -> TimerKey {
        let index = self.allocate(deadline_ms, token);
        self.place(index);
        self.len += 1;
        TimerKey {
            index,
            generation: self.entry(index).generation,
        }
    }

    /// Takes a timer back and returns its token; `None` if it has fired or was cancelled.
    pub(crate) fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.slot == FREE || entry.generation != key.generation {
            return None;
        }
        self.unlink(key.index);
        Some(self.release(key.index))
    }

    /// When to call [`Self::advance`] next, in milliseconds; `None` without timers.
    ///
    /// Never later than the earliest deadline. It is earlier while that deadline is still
    /// on an upper level; each such call brings it at least one level closer.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        if self.cascading.is_some() {
            return Some(self.now_ms);
        }
        self.earliest_slot().map(|(_, start_ms)| start_ms)
    }

    #[cfg(test)]
    /// Moves time to `now_ms` and hands the token of each timer due by then to `fire`, in
    /// the order of their deadlines. A time before an earlier one is ignored.
    pub(crate) fn advance(&mut self, now_ms: u64, fire: &mut impl FnMut(T)) {
        self.advance_at_most(now_ms, usize::MAX, fire);
    }

    /// [`Self::advance`], but touches at most `limit` timers, those that fire and those that
    /// only cascade. Returns whether work is left: then call again, with this time or a
    /// later one.
    pub(crate) fn advance_at_most(
        &mut self,
        now_ms: u64,
        limit: usize,
        fire: &mut impl FnMut(T),
    ) -> bool {
        let target_ms = now_ms.max(self.now_ms);
        let mut left = limit;
        while let Some(slot) = self.reach_slot(target_ms) {
            left = self.empty_slot(slot, left, fire);
            if self.heads[slot as usize] != NONE {
                return true;
            }
            self.cascading = None;
        }
        self.now_ms = target_ms;
        false
    }

    #[cfg(test)]
    /// Pending timers.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    /// Whether no timer is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Moves time to the earliest occupied slot that starts by `target_ms`.
    fn reach_slot(&mut self, target_ms: u64) -> Option<u16> {
        if self.cascading.is_some() {
            return self.cascading;
        }
        let (slot, start_ms) = self.earliest_slot()?;
        if start_ms > target_ms {
            return None;
        }
        self.now_ms = start_ms;
        if level_of(slot) > 0 {
            self.cascading = Some(slot);
        }
        Some(slot)
    }

    /// Fires the entries of a slot of level 0, moves those of an upper level down; `limit`
    /// entries at most. Returns what is left of the limit.
    fn empty_slot(&mut self, slot: u16, mut limit: usize, fire: &mut impl FnMut(T)) -> usize {
        while limit > 0 {
            let index = self.heads[slot as usize];
            if index == NONE {
                break;
            }
            self.unlink(index);
            if level_of(slot) == 0 {
                fire(self.release(index));
            } else {
                self.place(index);
            }
            limit -= 1;
        }
        limit
    }

    /// The earliest occupied slot and its start. Slots of a lower level come before all of
    /// the levels above, because their entries share more upper bits with the present.
    fn earliest_slot(&self) -> Option<(u16, u64)> {
        let level = self.occupied.iter().position(|word| *word != 0)?;
        let shift = SLOT_BITS * level as u32;
        let present = self.now_ms >> shift;
        let ahead = self.occupied[level].rotate_right((present % SLOTS as u64) as u32);
        let distance = u64::from(ahead.trailing_zeros());
        let start = present + distance;
        Some((slot_number(level, start), (start << shift).max(self.now_ms)))
    }

    /// Links an entry into the slot of its deadline, as seen from the present.
    fn place(&mut self, index: u32) {
        let deadline_ms = self.entry(index).deadline_ms.max(self.now_ms);
        let slot = self.slot_for(deadline_ms);
        let head = self.heads[slot as usize];
        let entry = self.entry_mut(index);
        entry.slot = slot;
        entry.next = head;
        entry.previous = NONE;
        if head != NONE {
            self.entry_mut(head).previous = index;
        }
        self.heads[slot as usize] = index;
        self.occupied[level_of(slot)] |= bit_of(slot);
    }

    /// The level is that of the highest bits in which a deadline differs from the present.
    fn slot_for(&self, deadline_ms: u64) -> u16 {
        let highest_bit = (self.now_ms ^ deadline_ms).checked_ilog2().unwrap_or(0);
        let level = ((highest_bit / SLOT_BITS) as usize).min(LAST_LEVEL);
        let shift = SLOT_BITS * level as u32;
        let farthest = (self.now_ms >> shift) + (SLOTS as u64 - 1);
        slot_number(level, (deadline_ms >> shift).min(farthest))
    }

    /// Takes an entry out of its slot.
    fn unlink(&mut self, index: u32) {
        let &Entry {
            next,
            previous,
            slot,
            ..
        } = self.entry(index);
        if next != NONE {
            self.entry_mut(next).previous = previous;
        }
        if previous != NONE {
            self.entry_mut(previous).next = next;
            return;
        }
        self.heads[slot as usize] = next;
        if next == NONE {
            self.occupied[level_of(slot)] &= !bit_of(slot);
        }
    }

    /// An entry off the free list, or one at the end. It is in no slot yet.
    fn allocate(&mut self, deadline_ms: u64, token: T) -> u32 {
        if self.free != NONE {
            let index = self.free;
            let entry = self.entry_mut(index);
            entry.deadline_ms = deadline_ms;
            entry.token = token;
            self.free = self.entry(index).next;
            return index;
        }
        let index = self.entries.len() as u32;
        // 2³² entries are at least 96 GiB; more than that cannot be addressed by a key.
        assert!(index != NONE, "more than 4,294,967,294 timers on one shard");
        let generation = NonZeroU32::MIN;
        self.entries.push(Entry {
            deadline_ms,
            token,
            next: NONE,
            previous: NONE,
            generation,
            slot: FREE,
        });
        index
    }

    /// Puts an unlinked entry on the free list and makes its key stale.
    fn release(&mut self, index: u32) -> T {
        let free = self.free;
        let entry = self.entry_mut(index);
        entry.generation = entry.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        entry.slot = FREE;
        entry.next = free;
        let token = entry.token;
        self.free = index;
        self.len -= 1;
        token
    }

    fn entry(&self, index: u32) -> &Entry<T> {
        &self.entries[index as usize]
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry<T> {
        &mut self.entries[index as usize]
    }
}

/// The number of the slot of `level` in which the `count`th span since time 0 falls.
fn slot_number(level: usize, count: u64) -> u16 {
    (level * SLOTS) as u16 + (count % SLOTS as u64) as u16
}

fn level_of(slot: u16) -> usize {
    slot as usize / SLOTS
}

fn bit_of(slot: u16) -> u64 {
    1 << (slot as usize % SLOTS)
}
