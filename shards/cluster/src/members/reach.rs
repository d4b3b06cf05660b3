//! Whom this node reaches over which neighbour.
//!
//! A *neighbour* is a peer with a direct link that works in both directions: it was heard a
//! moment ago, and has said that it heard this node a moment ago. Each heartbeat tells over how
//! many links its sender reaches every other node. What goes over the receiver itself is left out,
//! and nothing goes over more than [`LINKS_MAX`] links, so a node that is gone is soon reached by
//! nobody. What changes is told at once.

use std::collections::BTreeMap;

use super::Members;
use super::peer::Peer;
use crate::wire::{Reach, Reaches, Relayed};

/// Over how many links a packet goes at most.
pub const LINKS_MAX: u8 = 4;

/// After so many heartbeats that should have come a link does not work from there to here.
const HEARD: u64 = 3;

/// And from here to there: what is echoed is one heartbeat older.
const ECHOED: u64 = 4;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route<'m> {
    /// It is for this node.
    Here,
    /// It goes to a neighbour, with what is left of its links.
    Next {
        /// The neighbour.
        over: &'m str,
        /// Over how many links it may still go, that to the neighbour included.
        links: u8,
    },
    /// It is dropped: there is no way, it has come from here, or would go back.
    Nowhere,
}

/// Over how many links a peer reaches others.
pub(super) type Reached = BTreeMap<Box<str>, u8>;

pub(super) fn reached(said: Reaches<'_>) -> Reached {
    said.map(|reach| (reach.node.into(), reach.links)).collect()
}

impl Members {
    /// A peer that has said hello is linked directly from now on, or over others.
    pub fn linked(&mut self, node: &str, is_direct: bool) {
        if let Some(peer) = self.peers.get_mut(node) {
            peer.linked(is_direct);
        }
    }

    /// Whether the link with a peer works, be it direct or not: each side was heard by the
    /// other one a moment ago.
    #[must_use]
    pub fn is_near(&self, now_ms: u64, node: &str) -> bool {
        let peer = self.peers.get(node);
        peer.is_some_and(|peer| self.is_peer_near(now_ms, peer))
    }

    fn is_peer_near(&self, now_ms: u64, peer: &Peer) -> bool {
        let heartbeat_ms = self.config.heartbeat_ms;
        let (heard_ms, echoed_ms) = peer.near_ms();
        peer.is_heard()
            && now_ms.saturating_sub(heard_ms) <= heartbeat_ms.saturating_mul(HEARD)
            && now_ms.saturating_sub(echoed_ms) <= heartbeat_ms.saturating_mul(ECHOED)
    }

    /// The neighbour that a packet for a node goes to next, and how many links it goes over.
    #[must_use]
    pub fn next_hop(&self, now_ms: u64, to: &str) -> Option<(&str, u8)> {
        if let Some((name, peer)) = self.peers.get_key_value(to)
            && self.is_neighbour(now_ms, peer)
        {
            return Some((name, 1));
        }
        self.next_hop_over_others(now_ms, to)
    }

    /// The same, for somebody who is no neighbour or is not to be taken for one.
    #[must_use]
    pub fn next_hop_over_others(&self, now_ms: u64, to: &str) -> Option<(&str, u8)> {
        let ways = self.peers.iter().filter_map(|(name, peer)| {
            let links = peer.reaches(to)?.saturating_add(1);
            let is_way = **name != *to && links <= LINKS_MAX && self.is_neighbour(now_ms, peer);
            is_way.then(|| (links, peer.status().round_trip_ms, &**name))
        });
        let (links, _, name) = ways.min()?;
        Some((name, links))
    }

    /// Looks whether neighbours have come or gone.
    pub(super) fn watch_neighbours(&mut self, now_ms: u64) {
        let is = |peer: &Peer| self.is_neighbour(now_ms, peer);
        let now: Vec<bool> = self.peers.values().map(is).collect();
        for (peer, is) in self.peers.values_mut().zip(now) {
            self.has_moved |= core::mem::replace(&mut peer.was_neighbour, is) != is;
        }
    }

    fn is_neighbour(&self, now_ms: u64, peer: &Peer) -> bool {
        peer.is_direct() && self.is_peer_near(now_ms, peer)
    }

    /// What becomes of a packet that has come over the link with a peer, or of one of this node.
    #[must_use]
    pub fn route(&self, now_ms: u64, came: Option<&str>, packet: &Relayed<'_>) -> Route<'_> {
        let is_own = *packet.from == *self.config.name;
        let links = match came {
            None => packet.links,
            Some(came) if is_own || !self.is_direct(came) => return Route::Nowhere,
            Some(_) if *packet.to == *self.config.name => return Route::Here,
            Some(_) => packet.links.saturating_sub(1),
        };
        match self.next_hop(now_ms, packet.to) {
            Some((over, _)) if links > 0 && Some(over) != came => Route::Next { over, links },
            _ => Route::Nowhere,
        }
    }

    fn is_direct(&self, node: &str) -> bool {
        self.peers.get(node).is_some_and(Peer::is_direct)
    }

    /// Whether a neighbour hears a node and is heard by it.
    pub(super) fn is_heard_by_another(&self, now_ms: u64, node: &str) -> bool {
        let way = self.next_hop_over_others(now_ms, node);
        way.is_some_and(|(_, links)| links == 2)
    }

    /// Whom a peer can reach over this node.
    pub(super) fn reaches_for(&self, now_ms: u64, to: &str) -> Vec<Reach<'_>> {
        let others = self.peers.keys().filter(|node| ***node != *to);
        let reaches = others.filter_map(|node| {
            let (over, links) = self.next_hop(now_ms, node)?;
            (*over != *to && links < LINKS_MAX).then_some(Reach { node, links })
        });
        reaches.collect()
    }
}
