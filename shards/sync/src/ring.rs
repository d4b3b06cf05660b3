//! A bounded queue from one thread to one other.
//!
//! ```text
//!   slots   [ . . a b c d . . ]      head: the next to pop, written by the consumer
//!                 ^       ^          tail: the next to push, written by the producer
//!                head    tail        both count up without end and wrap around
//! ```
//!
//! Each end keeps its own counter and a copy of the other one's, and reads the other one
//! only when the copy says that the ring is full or empty. So the two threads share a cache
//! line once in many items.

use std::mem::MaybeUninit;

use crate::shim::{Arc, AtomicUsize, CachePadded, Ordering, UnsafeCell};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;

/// A ring that holds at most `capacity` items, and at least one.
///
/// Its memory, `capacity` rounded up to a power of two times the size of an item, is
/// allocated here and never grows.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.max(1);
    let slots = (0..capacity.next_power_of_two())
        .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
        .collect();
    let shared = Arc::new(Shared {
        head: CachePadded(AtomicUsize::new(0)),
        tail: CachePadded(AtomicUsize::new(0)),
        capacity,
        slots,
    });
    let producer = Producer {
        shared: shared.clone(),
        tail: 0,
        known_head: 0,
    };
    let consumer = Consumer {
        shared,
        head: 0,
        known_tail: 0,
    };
    (producer, consumer)
}

/// The end of a ring that pushes. It belongs to one thread at a time.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// The head as last read: never beyond the true one.
    known_head: usize,
}

/// The end of a ring that pops. It belongs to one thread at a time.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// The tail as last read: never beyond the true one.
    known_tail: usize,
}

/// The slots from `head` up to `tail` hold items that belong to the consumer, the others are
/// uninitialised and belong to the producer. Whoever moves a counter gives a slot away.
#[derive(Debug)]
struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    capacity: usize,
    /// As many as the next power of two from `capacity`.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the producer or by the consumer, never by both at once (see
// `push` and `pop`), and an item moves from one thread to the other, which `T: Send` allows.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Producer<T> {
    /// Appends an item, or gives it back when the ring is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.known_head) >= self.shared.capacity {
            self.known_head = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.known_head) >= self.shared.capacity {
                return Err(item);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: fewer than `capacity` items lie between the head and the tail, so this
            // slot holds none: the consumer has moved its item out before it stored the head
            // that the acquiring load above returned, and it does not touch the slot again
            // before the tail passes it, below. There is one producer, and it is borrowed.
            unsafe { (*slot).write(item) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items in the ring. The consumer may have taken some since.
    pub fn len(&self) -> usize {
        self.tail
            .wrapping_sub(self.shared.head.0.load(Ordering::Acquire))
    }

    /// Items that the ring holds when it is full.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.known_tail {
            self.known_tail = self.shared.tail.0.load(Ordering::Acquire);
            if self.head == self.known_tail {
                return None;
            }
        }
        let item = self.shared.slot(self.head).with_mut(|slot| {
            // SAFETY: the head is before the tail, so the producer has written this slot
            // before it stored the tail that the acquiring load above returned, and it does
            // not write it again before the head passes it, below. There is one consumer,
            // and it is borrowed, so the item is moved out once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Whether there is nothing to pop.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items in the ring. The producer may have pushed more since.
    pub fn len(&self) -> usize {
        let tail = self.shared.tail.0.load(Ordering::Acquire);
        tail.wrapping_sub(self.head)
    }

    /// Items that the ring holds when it is full.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T> Shared<T> {
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: both ends are gone, so nobody else touches the slots any more; those
                // from the head up to the tail hold items that were never popped.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}
