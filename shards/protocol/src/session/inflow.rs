//! QoS 2 messages that the client has sent and not released yet.

use core::num::NonZeroU16;
use std::collections::VecDeque;

use crate::wire::PacketId;

/// The packet identifiers of QoS 2 messages between PUBLISH and PUBREL.
///
/// Clients release in the order they sent and number in sequence, so the identifier to
/// release is nearly always the first and a new one goes last. Two bytes an identifier;
/// 65,535 of them at most, and for a 5.0 client no more than the Receive Maximum it was given.
#[derive(Debug, Default)]
pub struct Inflow {
    /// In ascending order.
    held: VecDeque<u16>,
}

impl Inflow {
    /// Records the identifier of a QoS 2 PUBLISH. False when it is held already: then
    /// the packet is a re-delivery and must not be routed again [MQTT-4.3.3-10].
    pub fn hold(&mut self, id: PacketId) -> bool {
        let id = id.0.get();
        if self.held.back().is_none_or(|last| *last < id) {
            self.held.push_back(id);
            return true;
        }
        match self.held.binary_search(&id) {
            Ok(_) => false,
            Err(index) => {
                self.held.insert(index, id);
                true
            }
        }
    }

    /// Releases an identifier at PUBREL [MQTT-4.3.3-11]. False when it was not held.
    pub fn release(&mut self, id: PacketId) -> bool {
        let id = id.0.get();
        if self.held.front() == Some(&id) {
            self.held.pop_front();
            return true;
        }
        match self.held.binary_search(&id) {
            Ok(index) => self.held.remove(index).is_some(),
            Err(_) => false,
        }
    }

    /// Gives back memory that is not in use.
    pub fn release_memory(&mut self) {
        self.held.shrink_to_fit();
    }

    /// Whether the identifier is held.
    #[must_use]
    #[inline]
    pub fn holds(&self, id: PacketId) -> bool {
        let id = id.0.get();
        let may_be = self.held.back().is_some_and(|last| *last >= id);
        may_be && self.held.binary_search(&id).is_ok()
    }

    /// The identifiers that are held.
    pub fn iter(&self) -> impl Iterator<Item = PacketId> {
        let held = self.held.iter();
        held.filter_map(|id| NonZeroU16::new(*id).map(PacketId))
    }

    /// How many identifiers are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId(NonZeroU16::new(value).unwrap())
    }

    #[test]
    fn an_identifier_is_held_once_until_it_is_released() {
        let mut inflow = Inflow::default();
        assert!(inflow.hold(id(7)));
        assert!(!inflow.hold(id(7)));
        assert!(inflow.holds(id(7)));
        assert!(inflow.release(id(7)));
        assert!(!inflow.release(id(7)));
        assert!(inflow.hold(id(7)));
    }

    #[test]
    fn identifiers_are_held_and_released_in_any_order() {
        let mut inflow = Inflow::default();
        for value in [65_535, 4, 1, 5, 3, 2] {
            assert!(!inflow.holds(id(value)));
            assert!(inflow.hold(id(value)));
            assert!(!inflow.hold(id(value)));
        }
        assert!(inflow.release(id(65_535)));
        for value in [3, 1, 5, 4, 2] {
            assert!(inflow.release(id(value)));
        }
        assert!(inflow.is_empty());
    }
}
