//! Deliveries of one priority, in order.

use core::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::wire::QoS;

use super::Delivery;

/// Places and notes beyond what is needed that are kept without looking.
const SLACK: usize = 16;

/// A first-in first-out queue that finds its oldest QoS 0 message and its expired messages
/// without a search.
///
/// What leaves from the middle leaves a hole; holes are closed when they are the majority.
/// A place is known by how many were used before it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) priority: u8,
    slots: VecDeque<Option<Delivery>>,
    /// The place of `slots[0]`.
    first: u64,
    /// Slots that hold a delivery.
    len: usize,
    /// Bytes of all deliveries, and of those with QoS 0.
    pub(super) bytes: usize,
    pub(super) qos0_bytes: usize,
    /// Deliveries with QoS 0.
    pub(super) qos0: usize,
    /// Places of the deliveries with QoS 0, and of some that are gone.
    qos0_places: VecDeque<u64>,
    /// When deliveries expire, with their places, and of some that are gone.
    expiries: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Lane {
    pub(super) fn new(priority: u8) -> Self {
        Self {
            priority,
            slots: VecDeque::new(),
            first: 0,
            len: 0,
            bytes: 0,
            qos0_bytes: 0,
            qos0: 0,
            qos0_places: VecDeque::new(),
            expiries: BinaryHeap::new(),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.slots.iter().flatten()
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        let place = self.first + self.slots.len() as u64;
        let size = delivery.message.size();
        self.bytes += size;
        self.len += 1;
        if delivery.qos == QoS::AtMostOnce {
            self.qos0 += 1;
            self.qos0_bytes += size;
            self.qos0_places.push_back(place);
        }
        if delivery.message.expires_ms != u64::MAX {
            self.note_expiry(delivery.message.expires_ms, place);
        }
        self.slots.push_back(Some(delivery));
    }

    /// Notes of what has gone are forgotten when they are the majority.
    fn note_expiry(&mut self, expires_ms: u64, place: u64) {
        if self.expiries.len() > 2 * self.len + SLACK {
            let slots = (self.first..).zip(&self.slots);
            let expiries = slots.filter_map(|(place, slot)| {
                let expires_ms = slot.as_ref()?.message.expires_ms;
                (expires_ms != u64::MAX).then_some(Reverse((expires_ms, place)))
            });
            self.expiries = expiries.collect();
        }
        self.expiries.push(Reverse((expires_ms, place)));
    }

    /// Takes the oldest.
    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<Delivery> {
        // There is no hole at the front.
        let delivery = self.slots.pop_front()??;
        self.first += 1;
        self.left(&delivery);
        self.tidy();
        Some(delivery)
    }

    /// Takes the newest.
    pub(super) fn pop_back(&mut self) -> Option<Delivery> {
        while let Some(last) = self.slots.pop_back() {
            let Some(delivery) = last else { continue };
            self.left(&delivery);
            // Its place is given again.
            let end = self.first + self.slots.len() as u64;
            while self.qos0_places.back().is_some_and(|place| *place >= end) {
                self.qos0_places.pop_back();
            }
            self.tidy();
            return Some(delivery);
        }
        None
    }

    /// Takes the oldest with QoS 0.
    pub(super) fn pop_qos0(&mut self) -> Option<Delivery> {
        while let Some(place) = self.qos0_places.pop_front() {
            let qos0 = |delivery: &Delivery| delivery.qos == QoS::AtMostOnce;
            if let Some(delivery) = self.take_if(place, qos0) {
                return Some(delivery);
            }
        }
        None
    }

    /// Takes one that has expired.
    pub(super) fn pop_expired(&mut self, now_ms: u64) -> Option<Delivery> {
        while let Some(&Reverse((expires_ms, place))) = self.expiries.peek() {
            if expires_ms > now_ms {
                return None;
            }
            self.expiries.pop();
            // The place may have been given to another meanwhile.
            let is_it = |delivery: &Delivery| delivery.message.expires_ms == expires_ms;
            if let Some(delivery) = self.take_if(place, is_it) {
                return Some(delivery);
            }
        }
        None
    }

    /// Takes all that are wanted, in their order.
    pub(super) fn take_where(
        &mut self,
        mut is_wanted: impl FnMut(&Delivery) -> bool,
        taken: &mut Vec<Delivery>,
    ) {
        for slot in &mut self.slots {
            taken.extend(slot.take_if(|delivery| is_wanted(delivery)));
        }
        self.close_holes();
    }

    fn take_if(&mut self, place: u64, is_it: impl Fn(&Delivery) -> bool) -> Option<Delivery> {
        let index = usize::try_from(place.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get_mut(index)?;
        let delivery = slot.take_if(|delivery| is_it(delivery))?;
        self.left(&delivery);
        self.tidy();
        Some(delivery)
    }

    #[inline]
    fn left(&mut self, delivery: &Delivery) {
        let size = delivery.message.size();
        self.len -= 1;
        self.bytes -= size;
        if delivery.qos == QoS::AtMostOnce {
            self.qos0 -= 1;
            self.qos0_bytes -= size;
        }
    }

    /// After something has left: no hole at the front, few holes, no memory far beyond what
    /// is needed.
    #[inline]
    fn tidy(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
        while self
            .qos0_places
            .front()
            .is_some_and(|place| *place < self.first)
        {
            self.qos0_places.pop_front();
        }
        if self.slots.len() > 2 * self.len + SLACK {
            self.close_holes();
        } else if self.slots.capacity() > 4 * self.slots.len() + 4 * SLACK {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    fn close_holes(&mut self) {
        let slots = core::mem::take(&mut self.slots);
        *self = Self::new(self.priority);
        for delivery in slots.into_iter().flatten() {
            self.push(delivery);
        }
    }

    /// Places there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Notes about deliveries, some of which are gone.
    #[cfg(test)]
    pub(super) fn notes(&self) -> usize {
        self.qos0_places.len() + self.expiries.len()
    }
}
