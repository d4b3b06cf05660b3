//! The exchanges that a client has begun, in order of their packet identifiers.

use std::collections::VecDeque;

/// What an open exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The end of a QoS 1 exchange.
    Puback,
    /// The first answer of a QoS 2 exchange.
    Pubrec,
    /// The end of a QoS 2 exchange.
    Pubcomp,
    /// The answer to SUBSCRIBE.
    Suback,
    /// Nothing: over, but an older one is still open.
    Nothing,
}

/// A window over the packet identifiers: the oldest open exchange and all younger ones.
/// Identifiers are given out in a circle over 1..=65,535.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Zero-based identifier of the first entry; the wire's identifier is one more.
    oldest: u16,
    window: VecDeque<Awaits>,
}

/// How many identifiers there are.
const IDENTIFIERS: u32 = 65_535;

impl Outgoing {
    /// The length of the window.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// Opens an exchange and gives its identifier. The window must hold fewer than 65,535.
    #[inline]
    pub(super) fn begin(&mut self, awaits: Awaits) -> u16 {
        debug_assert!(self.window.len() < IDENTIFIERS as usize);
        let index = (u32::from(self.oldest) + self.window.len() as u32) % IDENTIFIERS;
        self.window.push_back(awaits);
        index as u16 + 1
    }

    /// PUBREC has come: the exchange waits for PUBCOMP. False when it was not awaited.
    #[inline]
    pub(super) fn advance(&mut self, packet_id: u16) -> bool {
        match self.entry(packet_id) {
            Some(entry) if *entry == Awaits::Pubrec => {
                *entry = Awaits::Pubcomp;
                true
            }
            _ => false,
        }
    }

    /// Ends an exchange. False when it did not wait for this.
    #[inline]
    pub(super) fn end(&mut self, awaited: Awaits, packet_id: u16) -> bool {
        match self.entry(packet_id) {
            Some(entry) if *entry == awaited => *entry = Awaits::Nothing,
            _ => return false,
        }
        while self.window.front() == Some(&Awaits::Nothing) {
            self.window.pop_front();
            self.oldest = ((u32::from(self.oldest) + 1) % IDENTIFIERS) as u16;
        }
        true
    }

    /// Whether the exchange before this one still waits for the same answer. As answers come
    /// one by one, the first one out of order is always noticed.
    #[inline]
    pub(super) fn is_overtaking(&self, awaited: Awaits, packet_id: u16) -> bool {
        let position = self.position(packet_id);
        position > 0 && self.window.get(position - 1) == Some(&awaited)
    }

    #[inline]
    fn entry(&mut self, packet_id: u16) -> Option<&mut Awaits> {
        let position = self.position(packet_id);
        self.window.get_mut(position)
    }

    #[inline]
    fn position(&self, packet_id: u16) -> usize {
        let index = u32::from(packet_id) + IDENTIFIERS - 1 - u32::from(self.oldest);
        (index % IDENTIFIERS) as usize
    }
}
