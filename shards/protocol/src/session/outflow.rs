//! QoS 1 and 2 messages on their way to the client: the inflight window and the queue
//! behind it.

use core::num::{NonZeroU16, NonZeroU32};
use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::Message;
use crate::wire::{PacketId, QoS};

use super::queue::{Enqueued, Queue, QueueLimits};

/// How many packet identifiers may lie between the oldest unacknowledged message and
/// the newest, beyond the window: room for a client that acknowledges out of order.
const SPAN_BEYOND_WINDOW: usize = 4096;

/// Subscription identifiers of one delivery.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Identifiers {
    /// No matching subscription has one.
    #[default]
    None,
    /// One.
    One(u32),
    /// Several subscriptions of the session match.
    Many(Arc<[u32]>),
}

impl Identifiers {
    /// The identifiers as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => core::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

impl From<&[u32]> for Identifiers {
    fn from(ids: &[u32]) -> Self {
        match ids {
            [] => Self::None,
            [id] => Self::One(*id),
            ids => Self::Many(ids.into()),
        }
    }
}

/// Under which numbers a delivery is stored; 0 for not at all.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoredAs {
    /// The session's entry.
    pub entry: u64,
    /// The message, if entries of several sessions share it.
    pub message: u64,
}

impl StoredAs {
    /// Whether it is stored.
    #[must_use]
    #[inline]
    pub fn is_stored(self) -> bool {
        self.entry != 0
    }
}

/// A shared subscription of one session, by a number that is the session's own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Membership(pub NonZeroU32);

/// One message for one session, as it is queued or may have to be sent again.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// Subscription identifiers to send with it.
    pub identifiers: Identifiers,
    /// The QoS of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// Where it is stored.
    pub stored: StoredAs,
    /// The shared subscription it came by: another member may have to get it.
    pub membership: Option<Membership>,
    /// It may have been sent before, although nobody has kept that: it is sent with DUP
    /// [MQTT-3.3.1-1].
    pub dup: bool,
}

/// What an acknowledgement led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AckOutcome {
    /// The exchange is over; the window has room again. What is stored of it can go.
    Done(StoredAs),
    /// Send PUBREL. What is stored is to say that PUBREC has come.
    Release(StoredAs),
}

/// The identifier acknowledged is not in use, or waits for something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// No message in flight has this identifier.
    Identifier,
    /// The message in flight expects another kind of acknowledgement.
    Kind,
}

/// What to send again after a session was resumed, in the original order
/// [MQTT-4.4.0-1], [MQTT-4.6.0-1].
#[derive(Debug)]
pub enum Resend<'a> {
    /// PUBLISH with DUP set.
    Publish(PacketId, &'a Delivery),
    /// PUBREL.
    PubRel(PacketId),
}

/// What is kept of a message in flight.
#[derive(Debug)]
enum Kept {
    /// It is acknowledged.
    Nothing,
    /// The message, to be sent again.
    Message(Delivery),
    /// PUBREC has come: where it is stored.
    Received(StoredAs),
}

impl Kept {
    fn stored(&self) -> StoredAs {
        match self {
            Self::Nothing => StoredAs::default(),
            Self::Message(delivery) => delivery.stored,
            Self::Received(stored) => *stored,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Acknowledged, but an older one is not.
    Acknowledged,
    /// QoS 1 sent: expects PUBACK.
    AwaitsPubAck,
    /// QoS 2 sent: expects PUBREC.
    AwaitsPubRec,
    /// PUBREL sent: expects PUBCOMP.
    AwaitsPubComp,
}

/// Which messages in flight are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Keep {
    /// None: the session ends with its connection.
    None,
    /// Those of shared subscriptions, to be given to another member.
    Shared,
    /// All: the session can be resumed.
    All,
}

/// Messages in flight to one client, and those that wait for room.
///
/// Packet identifiers are given in sequence, so `states[i]` belongs to the identifier
/// `first + i` and an acknowledgement finds its entry without a search. A session that
/// cannot be resumed keeps one byte a message in flight; a session that can keeps the
/// message as well, and one with shared subscriptions those that came by them.
#[derive(Debug)]
pub struct Outflow {
    states: VecDeque<State>,
    /// Parallel to `states` where something is kept, else empty.
    kept: VecDeque<Kept>,
    /// `None` while nothing is queued.
    queue: Option<Box<Queue>>,
    /// The identifier of `states[0]`, or the next to give when there is none.
    first: NonZeroU16,
    /// How many entries sent on this connection are not acknowledged.
    in_flight: u16,
    /// Where in `states` sending again goes on, after a session was resumed. What lies
    /// before has been sent on this connection.
    unsent: Option<usize>,
    window: u16,
    keep: Keep,
}

impl Outflow {
    /// An empty flow. `window`: messages in flight at most. `keep`: whether the session
    /// can outlive its connection, so that messages must be kept to be sent again.
    #[must_use]
    pub fn new(window: NonZeroU16, keep: bool) -> Self {
        Self {
            states: VecDeque::new(),
            kept: VecDeque::new(),
            queue: None,
            first: NonZeroU16::MIN,
            in_flight: 0,
            unsent: None,
            window: window.get(),
            keep: if keep { Keep::All } else { Keep::None },
        }
    }

    /// The session has a shared subscription: from here on what it is sent by it is kept
    /// until it is acknowledged, even if the session cannot be resumed.
    pub fn keep_shared(&mut self) {
        if self.keep == Keep::None {
            self.keep = Keep::Shared;
            self.kept.resize_with(self.states.len(), || Kept::Nothing);
        }
    }

    /// Begins a connection with its window: what was in flight is to be sent again, no more
    /// at a time than the window allows [MQTT-3.3.4-9].
    pub fn resume(&mut self, window: NonZeroU16) {
        self.window = window.get();
        self.in_flight = 0;
        self.unsent = (!self.states.is_empty()).then_some(0);
    }

    /// Whether messages are kept to be sent again.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep == Keep::All
    }

    /// Messages in flight.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Messages queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Whether a message can be sent at once: there is room in the window and nothing is
    /// queued before it.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        self.queue.is_none() && self.unsent.is_none() && self.has_room()
    }

    /// Whether something waits for room in the window.
    #[must_use]
    #[inline]
    pub fn has_waiting(&self) -> bool {
        self.queue.is_some() || self.unsent.is_some()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.in_flight < self.window
            && self.states.len()
                < (usize::from(self.window) + SPAN_BEYOND_WINDOW).min(usize::from(u16::MAX))
    }

    /// Takes the identifier for a message that is sent now. Only when [`Self::is_open`], or
    /// for what [`Self::next_queued`] gave. `delivery` makes what to keep, and is called
    /// only if the session keeps messages.
    #[inline]
    pub fn send(&mut self, qos: QoS, delivery: impl FnOnce() -> Delivery) -> PacketId {
        self.send_by(qos, None, delivery)
    }

    /// As [`Self::send`], for a message that may have come by a shared subscription.
    #[inline]
    pub fn send_by(
        &mut self,
        qos: QoS,
        membership: Option<Membership>,
        delivery: impl FnOnce() -> Delivery,
    ) -> PacketId {
        let id = nth_id(self.first, self.states.len());
        self.states.push_back(match qos {
            QoS::ExactlyOnce => State::AwaitsPubRec,
            QoS::AtLeastOnce | QoS::AtMostOnce => State::AwaitsPubAck,
        });
        match self.keep {
            Keep::None => {}
            Keep::All => self.kept.push_back(Kept::Message(delivery())),
            // What another member must not get needs not be kept [MQTT-4.8.2-5].
            Keep::Shared if membership.is_none() || qos != QoS::AtLeastOnce => {
                self.kept.push_back(Kept::Nothing);
            }
            Keep::Shared => self.kept.push_back(Kept::Message(delivery())),
        }
        self.in_flight = self.in_flight.saturating_add(1);
        PacketId(id)
    }

    /// Puts a message behind the queued ones of its priority. The caller drops what it has
    /// stored of those that left for it.
    pub fn enqueue(
        &mut self,
        delivery: Delivery,
        priority: u8,
        limits: &QueueLimits,
        now_ms: u64,
    ) -> Enqueued {
        let queue = self
            .queue
            .get_or_insert_with(|| Box::new(Queue::new(priority)));
        let enqueued = queue.enqueue(delivery, priority, limits, now_ms);
        if queue.is_empty() {
            self.queue = None;
        }
        enqueued
    }

    /// Whether the queue has room for a message of so many bytes, without others leaving it.
    #[must_use]
    pub fn has_queue_room(&self, bytes: usize, limits: &QueueLimits) -> bool {
        let queue = self.queue.as_ref();
        queue.map_or(limits.messages > 0 && bytes <= limits.bytes, |queue| {
            queue.fits(bytes, limits)
        })
    }

    /// Whether a message can be sent at once and half of the window is free.
    #[must_use]
    pub fn is_half_open(&self) -> bool {
        self.is_open() && self.in_flight <= self.window / 2
    }

    /// Whether half of the queue is free.
    #[must_use]
    pub fn is_queue_half_free(&self, limits: &QueueLimits) -> bool {
        let queue = self.queue.as_ref();
        queue.is_none_or(|queue| {
            queue.len() <= limits.messages / 2 && queue.bytes() <= limits.bytes / 2
        })
    }

    /// Whether nothing is in flight and nothing queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty() && self.queue.is_none()
    }

    /// Whether QoS 0 messages are queued: another must not overtake them [MQTT-4.6.0-6].
    #[must_use]
    #[inline]
    pub fn has_queued_qos0(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.has_qos0())
    }

    /// The next message of the queue for which the window has room; it leaves the queue. It
    /// may have expired: then the caller drops it. QoS 0 messages need no room.
    pub fn next_queued(&mut self) -> Option<Delivery> {
        if self.unsent.is_some() {
            return None;
        }
        let has_room = self.has_room();
        let queue = self.queue.as_mut()?;
        let next = if has_room {
            queue.pop()
        } else {
            queue.pop_qos0()
        };
        if queue.is_empty() {
            self.queue = None;
        }
        next
    }

    /// PUBACK.
    #[inline]
    pub fn puback(&mut self, id: PacketId) -> Result<AckOutcome, Unknown> {
        self.finish(id, State::AwaitsPubAck)
    }

    /// PUBREC. With `refused`, the client does not want the message: the exchange is over
    /// [MQTT-4.3.3-5].
    pub fn pubrec(&mut self, id: PacketId, refused: bool) -> Result<AckOutcome, Unknown> {
        if refused {
            return self.finish(id, State::AwaitsPubRec);
        }
        let index = self.index(id).ok_or(Unknown::Identifier)?;
        let state = self.states.get_mut(index).ok_or(Unknown::Identifier)?;
        match *state {
            State::AwaitsPubRec => *state = State::AwaitsPubComp,
            // A PUBREC that was sent again: PUBREL is the answer to it as well.
            State::AwaitsPubComp => {}
            State::AwaitsPubAck => return Err(Unknown::Kind),
            State::Acknowledged => return Err(Unknown::Identifier),
        }
        let mut stored = StoredAs::default();
        if self.keep == Keep::All
            && let Some(kept) = self.kept.get_mut(index)
        {
            // From here on only PUBREL is sent again [MQTT-4.3.3-6].
            stored = kept.stored();
            *kept = Kept::Received(stored);
        }
        Ok(AckOutcome::Release(stored))
    }

    /// PUBCOMP.
    pub fn pubcomp(&mut self, id: PacketId) -> Result<AckOutcome, Unknown> {
        self.finish(id, State::AwaitsPubComp)
    }

    #[inline]
    fn finish(&mut self, id: PacketId, expected: State) -> Result<AckOutcome, Unknown> {
        let index = self.index(id).ok_or(Unknown::Identifier)?;
        let state = self.states.get_mut(index).ok_or(Unknown::Identifier)?;
        if *state != expected {
            let gone = *state == State::Acknowledged;
            return Err(if gone {
                Unknown::Identifier
            } else {
                Unknown::Kind
            });
        }
        *state = State::Acknowledged;
        let mut stored = StoredAs::default();
        if let Some(kept) = self.kept.get_mut(index) {
            stored = core::mem::replace(kept, Kept::Nothing).stored();
        }
        if self.unsent.is_none_or(|unsent| index < unsent) {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        while self.states.front() == Some(&State::Acknowledged) {
            self.states.pop_front();
            self.kept.pop_front();
            self.first = nth_id(self.first, 1);
            self.unsent = self.unsent.map(|unsent| unsent.saturating_sub(1));
        }
        self.unsent = self.unsent.filter(|unsent| *unsent < self.states.len());
        if self.states.is_empty() && self.states.capacity() > 4 * usize::from(self.window) + 64 {
            self.release_memory();
        }
        Ok(AckOutcome::Done(stored))
    }

    /// Gives back memory that is not in use, after an exchange out of order that took far
    /// more than the window, or when the client is away.
    #[cold]
    pub fn release_memory(&mut self) {
        self.states.shrink_to_fit();
        self.kept.shrink_to_fit();
    }

    /// Messages in flight there is memory for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.states.capacity().max(self.kept.capacity())
    }

    /// The next packet to send again after [`Outflow::resume`], in the original order and
    /// with the original identifier [MQTT-4.4.0-1], [MQTT-4.6.0-1], if the window has room
    /// for it.
    pub fn next_resend(&mut self) -> Option<Resend<'_>> {
        let from = self.unsent?;
        if self.in_flight >= self.window {
            return None;
        }
        let waiting = self
            .states
            .range(from..)
            .position(|state| *state != State::Acknowledged);
        let Some(index) = waiting.map(|skipped| from + skipped) else {
            self.unsent = None;
            return None;
        };
        self.unsent = Some(index + 1).filter(|next| *next < self.states.len());
        self.in_flight = self.in_flight.saturating_add(1);
        let id = PacketId(nth_id(self.first, index));
        match self.states.get(index)? {
            State::AwaitsPubComp => Some(Resend::PubRel(id)),
            _ => match self.kept.get(index)? {
                Kept::Message(delivery) => Some(Resend::Publish(id, delivery)),
                Kept::Nothing | Kept::Received(_) => None,
            },
        }
    }

    /// Takes from the queue, in its order, what came by a shared subscription that `wanted`
    /// says yes to: it has not been sent, so it can go to another member.
    pub fn take_shared_queued(
        &mut self,
        mut wanted: impl FnMut(Membership) -> bool,
    ) -> Vec<Delivery> {
        let Some(queue) = &mut self.queue else {
            return Vec::new();
        };
        let taken = queue.take_where(|delivery| delivery.membership.is_some_and(&mut wanted));
        if queue.is_empty() {
            self.queue = None;
        }
        taken
    }

    /// Takes what another member may get when the session ends, oldest first: what was sent
    /// with QoS 1 and not acknowledged, and what was not sent. A message that was sent with
    /// QoS 2 is not among it [MQTT-4.8.2-5].
    pub fn take_shared(&mut self) -> Vec<Delivery> {
        let mut taken = Vec::new();
        for (state, kept) in self.states.iter().zip(&mut self.kept) {
            if let (State::AwaitsPubAck, Kept::Message(delivery)) = (state, &kept)
                && delivery.membership.is_some()
                && let Kept::Message(delivery) = core::mem::replace(kept, Kept::Nothing)
            {
                taken.push(delivery);
            }
        }
        taken.extend(self.take_shared_queued(|_| true));
        taken
    }

    /// The shared subscriptions by which something came that is in flight or queued, in no
    /// particular order and as often as there are messages.
    pub fn memberships(&self) -> impl Iterator<Item = Membership> {
        let in_flight = self.kept.iter().filter_map(|kept| match kept {
            Kept::Message(delivery) => delivery.membership,
            Kept::Nothing | Kept::Received(_) => None,
        });
        let queued = self.queue.iter().flat_map(|queue| queue.iter());
        let queued = queued.filter_map(|delivery| delivery.membership);
        in_flight.chain(queued)
    }

    /// Where everything in flight and in the queue is stored.
    pub fn stored(&self) -> impl Iterator<Item = StoredAs> {
        let kept = self.kept.iter().map(Kept::stored);
        let queued = self.queue.iter().flat_map(|queue| queue.iter());
        let queued = queued.map(|delivery| delivery.stored);
        kept.chain(queued).filter(|stored| stored.is_stored())
    }

    /// What is in flight, oldest first: the identifier, and the message unless PUBREC has come
    /// for it. What is acknowledged or not kept is left out.
    pub fn kept_in_flight(&self) -> impl Iterator<Item = (PacketId, Option<&Delivery>)> {
        let kept = self.kept.iter().enumerate();
        kept.filter_map(|(index, kept)| {
            let id = PacketId(nth_id(self.first, index));
            match kept {
                Kept::Nothing => None,
                Kept::Message(delivery) => Some((id, Some(delivery))),
                Kept::Received(_) => Some((id, None)),
            }
        })
    }

    /// What is queued, in the order of the queue.
    pub fn in_queue(&self) -> impl Iterator<Item = &Delivery> {
        self.queue.iter().flat_map(|queue| queue.iter())
    }

    /// Puts back what was in flight when the broker ended, in any order: the state of each
    /// message and, unless PUBREC has come for it, the message.
    pub fn restore_in_flight(&mut self, mut sent: Vec<(PacketId, bool, Delivery)>) {
        sent.sort_by_key(|(id, ..)| id.0);
        // Identifiers were given in a ring: the oldest message was stored before the one whose
        // identifier comes before its own in the ring. That may be true of others as well, if
        // messages have overtaken others: the oldest comes after the largest gap.
        let known = |(id, _, delivery): &(PacketId, bool, Delivery)| {
            let entry = delivery.stored.entry;
            (id.0.get(), entry)
        };
        let known: Vec<(u16, u64)> = sent.iter().map(known).collect();
        let before = known.iter().cycle().skip(known.len().saturating_sub(1));
        let gaps = known.iter().zip(before).enumerate();
        let oldest = gaps
            .filter(|(_, ((_, entry), (_, before)))| entry <= before)
            .max_by_key(|(_, ((id, _), (before, _)))| distance(*before, *id))
            .map_or(0, |(index, _)| index);
        sent.rotate_left(oldest);
        if let Some((id, ..)) = sent.first() {
            self.first = id.0;
        }
        for (id, received, delivery) in sent {
            while nth_id(self.first, self.states.len()) != id.0 {
                self.states.push_back(State::Acknowledged);
                self.kept.push_back(Kept::Nothing);
            }
            let (state, kept) = match (received, delivery.qos) {
                (true, _) => (State::AwaitsPubComp, Kept::Received(delivery.stored)),
                (false, QoS::ExactlyOnce) => (State::AwaitsPubRec, Kept::Message(delivery)),
                (false, _) => (State::AwaitsPubAck, Kept::Message(delivery)),
            };
            self.states.push_back(state);
            self.kept.push_back(kept);
        }
        self.unsent = (!self.states.is_empty()).then_some(0);
    }

    /// Puts a message back behind the queued ones of its priority, whatever the bounds are
    /// now.
    pub fn restore_queued(&mut self, delivery: Delivery, priority: u8) {
        let queue = self
            .queue
            .get_or_insert_with(|| Box::new(Queue::new(priority)));
        queue.push(delivery, priority);
    }

    /// Up to which entry messages in the queue may have been sent, or 0 if none may.
    #[must_use]
    pub fn perhaps_sent(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.perhaps_sent())
    }

    /// Whether the first acknowledgement is expected of a message of this QoS.
    #[must_use]
    pub fn awaits(&self, id: PacketId, qos: QoS) -> bool {
        let state = self.index(id).and_then(|index| self.states.get(index));
        match qos {
            QoS::ExactlyOnce => state == Some(&State::AwaitsPubRec),
            _ => state == Some(&State::AwaitsPubAck),
        }
    }

    /// The message in flight under an identifier, if it is kept.
    #[must_use]
    pub fn kept(&self, id: PacketId) -> Option<&Delivery> {
        match self.kept.get(self.index(id)?)? {
            Kept::Message(delivery) => Some(delivery),
            Kept::Nothing | Kept::Received(_) => None,
        }
    }

    fn index(&self, id: PacketId) -> Option<usize> {
        let distance = if id.0 >= self.first {
            id.0.get() - self.first.get()
        } else {
            // Identifiers run from 1 to 65,535: 0 is left out.
            u16::MAX - self.first.get() + id.0.get()
        };
        let index = usize::from(distance);
        (index < self.states.len()).then_some(index)
    }
}

/// How many places in the ring of identifiers `to` lies behind `from`, at least 1.
fn distance(from: u16, to: u16) -> u16 {
    if to > from {
        to - from
    } else {
        // 0 is left out; the same identifier is once around.
        u16::MAX - from + to
    }
}

/// The identifier `n` places after `first`, in the ring 1, 2, … 65,535, 1, ….
#[inline]
fn nth_id(first: NonZeroU16, n: usize) -> NonZeroU16 {
    let ring = usize::from(u16::MAX);
    let position = (usize::from(first.get()) - 1 + n % ring) % ring;
    u16::try_from(position)
        .ok()
        .and_then(|position| NonZeroU16::MIN.checked_add(position))
        .unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests;
