//! Messages that wait for a client that is away or has its window full.

use crate::wire::QoS;

use super::Delivery;
use super::lane::Lane;

/// Bounds of a queue, and what is done when they are reached.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Messages.
    pub messages: usize,
    /// Bytes.
    pub bytes: usize,
    /// What is done with a message for which there is no room.
    pub when_full: WhenFull,
}

/// What is done with a QoS 1 or 2 message when the queue is full.
///
/// Whatever it says, expired messages make room first, then QoS 0 messages, oldest first;
/// and a message of a higher priority is not dropped for one of a lower.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenFull {
    /// The oldest of the lowest priority makes room.
    DropOldest,
    /// The newest of the lowest priority is dropped: the message itself, unless there are
    /// others of lower priority.
    DropNewest,
    /// The message is refused and its client disconnected, if it is there: what was queued
    /// before is kept as long as the session.
    #[default]
    Disconnect,
}

/// What became of a message for the queue.
#[derive(Debug)]
#[must_use = "what has left the queue may be stored somewhere"]
pub struct Enqueued {
    /// It is in the queue.
    pub queued: bool,
    /// Its client is to be disconnected, if it is there.
    pub disconnect: bool,
    /// What has left the queue; if it is not queued, the message itself comes last.
    pub left: Vec<Left>,
}

/// A delivery that left the queue, or was not taken into it, without being sent.
#[derive(Debug)]
pub struct Left {
    /// Which.
    pub delivery: Delivery,
    /// Why.
    pub why: WhyLeft,
}

/// Why a message leaves a queue without being sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WhyLeft {
    /// It has expired [MQTT-3.3.2-5].
    Expired,
    /// The queue was full.
    Full,
}

/// Queued deliveries: higher priorities first, those of one priority in their order. Exists
/// only while there are some.
#[derive(Debug)]
pub(super) struct Queue {
    /// One for each priority that was in use since the queue was empty, the highest first.
    /// Without priorities there is `first` only.
    first: Lane,
    others: Vec<Lane>,
    len: usize,
    bytes: usize,
    qos0: usize,
    /// The last entry of those that were put in with DUP.
    perhaps_sent: u64,
}

/// What may go to make room for a message.
#[derive(Clone, Copy, Debug)]
struct Goes {
    /// QoS 0 messages up to this priority.
    qos0_to: u8,
    /// All messages below this priority.
    below: u16,
    /// The newest of these first.
    newest: bool,
}

impl Goes {
    fn for_message(qos: QoS, priority: u8, when_full: WhenFull) -> Self {
        let newest = when_full == WhenFull::DropNewest;
        if qos == QoS::AtMostOnce {
            let qos0_to = priority;
            return Self {
                qos0_to,
                below: 0,
                newest,
            };
        }
        let priority = u16::from(priority);
        Self {
            qos0_to: u8::MAX,
            below: match when_full {
                WhenFull::DropOldest => priority + 1,
                WhenFull::DropNewest => priority,
                WhenFull::Disconnect => 0,
            },
            newest,
        }
    }

    fn qos0_of(self, lane: &Lane) -> bool {
        lane.priority <= self.qos0_to
    }

    fn any_of(self, lane: &Lane) -> bool {
        u16::from(lane.priority) < self.below
    }
}

impl Queue {
    pub(super) fn new(priority: u8) -> Self {
        Self {
            first: Lane::new(priority),
            others: Vec::new(),
            len: 0,
            bytes: 0,
            qos0: 0,
            perhaps_sent: 0,
        }
    }

    pub(super) fn perhaps_sent(&self) -> u64 {
        self.perhaps_sent
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there are QoS 0 messages.
    pub(super) fn has_qos0(&self) -> bool {
        self.qos0 > 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        let others = self.others.iter().flat_map(Lane::iter);
        self.first.iter().chain(others)
    }

    /// Puts a delivery behind the others of its priority, whatever the bounds are.
    pub(super) fn push(&mut self, delivery: Delivery, priority: u8) {
        self.len += 1;
        self.bytes += delivery.message.size();
        self.qos0 += usize::from(delivery.qos == QoS::AtMostOnce);
        if delivery.dup {
            self.perhaps_sent = self.perhaps_sent.max(delivery.stored.entry);
        }
        self.lane(priority).push(delivery);
    }

    /// Puts a delivery behind the others of its priority, if there is room for it or room
    /// can be made.
    pub(super) fn enqueue(
        &mut self,
        delivery: Delivery,
        priority: u8,
        limits: &QueueLimits,
        now_ms: u64,
    ) -> Enqueued {
        let mut left = Vec::new();
        let expired = delivery.message.expires_ms <= now_ms;
        let has_room = !expired && self.make_room(&delivery, priority, limits, now_ms, &mut left);
        if has_room {
            self.push(delivery, priority);
        } else {
            let why = if expired {
                WhyLeft::Expired
            } else {
                WhyLeft::Full
            };
            left.push(Left { delivery, why });
        }
        let disconnect = limits.when_full == WhenFull::Disconnect
            && left.last().is_some_and(|last| {
                !has_room && last.why == WhyLeft::Full && last.delivery.qos != QoS::AtMostOnce
            });
        Enqueued {
            queued: has_room,
            disconnect,
            left,
        }
    }

    /// Whether there is room for a message of this size.
    pub(super) fn fits(&self, size: usize, limits: &QueueLimits) -> bool {
        self.len < limits.messages && self.bytes.saturating_add(size) <= limits.bytes
    }

    fn make_room(
        &mut self,
        delivery: &Delivery,
        priority: u8,
        limits: &QueueLimits,
        now_ms: u64,
        left: &mut Vec<Left>,
    ) -> bool {
        let size = delivery.message.size();
        while !self.fits(size, limits) {
            let expired = self.remove_from(|lane| lane.pop_expired(now_ms));
            let Some(delivery) = expired else { break };
            let why = WhyLeft::Expired;
            left.push(Left { delivery, why });
        }
        // Before anything is dropped it must be sure that this is of use.
        if self.fits(size, limits) {
            return true;
        }
        let goes = Goes::for_message(delivery.qos, priority, limits.when_full);
        if !self.would_fit_without(goes, size, limits) {
            return false;
        }
        while !self.fits(size, limits) {
            let Some(delivery) = self.displace(goes) else {
                return false;
            };
            let why = WhyLeft::Full;
            left.push(Left { delivery, why });
        }
        true
    }

    fn would_fit_without(&self, goes: Goes, size: usize, limits: &QueueLimits) -> bool {
        let (mut len, mut bytes) = (self.len, self.bytes);
        for lane in self.lanes() {
            if goes.any_of(lane) {
                len -= lane.len();
                bytes -= lane.bytes;
            } else if goes.qos0_of(lane) {
                len -= lane.qos0;
                bytes -= lane.qos0_bytes;
            }
        }
        len < limits.messages && bytes.saturating_add(size) <= limits.bytes
    }

    /// Takes what has to go first: QoS 0, then the lowest priority.
    fn displace(&mut self, goes: Goes) -> Option<Delivery> {
        let qos0 = self.remove_from(|lane| {
            let goes = goes.qos0_of(lane);
            goes.then(|| lane.pop_qos0()).flatten()
        });
        qos0.or_else(|| {
            self.remove_from(|lane| match goes.any_of(lane) {
                true if goes.newest => lane.pop_back(),
                true => lane.pop_front(),
                false => None,
            })
        })
    }

    /// The next to be sent.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        if self.others.is_empty() {
            let delivery = self.first.pop_front();
            return self.count_out(delivery);
        }
        self.pop_highest(Lane::pop_front)
    }

    /// The next QoS 0 message.
    pub(super) fn pop_qos0(&mut self) -> Option<Delivery> {
        if self.qos0 == 0 {
            return None;
        }
        self.pop_highest(Lane::pop_qos0)
    }

    /// Takes all that are wanted, as they would be sent.
    pub(super) fn take_where(
        &mut self,
        mut is_wanted: impl FnMut(&Delivery) -> bool,
    ) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for lane in core::iter::once(&mut self.first).chain(&mut self.others) {
            let from_here = taken.len();
            lane.take_where(&mut is_wanted, &mut taken);
            for delivery in taken.iter().skip(from_here) {
                self.len -= 1;
                self.bytes -= delivery.message.size();
                self.qos0 -= usize::from(delivery.qos == QoS::AtMostOnce);
            }
        }
        taken
    }

    fn pop_highest(&mut self, pop: impl Fn(&mut Lane) -> Option<Delivery>) -> Option<Delivery> {
        let mut lanes = core::iter::once(&mut self.first).chain(&mut self.others);
        let delivery = lanes.find_map(pop);
        self.count_out(delivery)
    }

    /// Takes a delivery from the lowest priority that gives one.
    fn remove_from(&mut self, pop: impl Fn(&mut Lane) -> Option<Delivery>) -> Option<Delivery> {
        let mut lanes = core::iter::once(&mut self.first)
            .chain(&mut self.others)
            .rev();
        let delivery = lanes.find_map(pop);
        self.count_out(delivery)
    }

    #[inline]
    fn count_out(&mut self, delivery: Option<Delivery>) -> Option<Delivery> {
        let delivery = delivery?;
        self.len -= 1;
        self.bytes -= delivery.message.size();
        self.qos0 -= usize::from(delivery.qos == QoS::AtMostOnce);
        Some(delivery)
    }

    fn lanes(&self) -> impl DoubleEndedIterator<Item = &Lane> {
        core::iter::once(&self.first).chain(&self.others)
    }

    /// The lane of a priority, made if there is none.
    fn lane(&mut self, priority: u8) -> &mut Lane {
        if self.first.priority == priority {
            return &mut self.first;
        }
        if self.first.is_empty() && self.others.is_empty() {
            self.first.priority = priority;
            return &mut self.first;
        }
        if priority > self.first.priority {
            let second = core::mem::replace(&mut self.first, Lane::new(priority));
            self.others.insert(0, second);
            return &mut self.first;
        }
        let at = self.others.partition_point(|lane| lane.priority > priority);
        if self
            .others
            .get(at)
            .is_none_or(|lane| lane.priority != priority)
        {
            self.others.insert(at, Lane::new(priority));
        }
        &mut self.others[at]
    }
}

#[cfg(test)]
mod tests;
