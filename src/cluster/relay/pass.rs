//! What the hub does for packets that go over others.

use log::info;
use shard_cluster::wire::{Reason, Relayed};

use super::needs::Standing;
use crate::cluster::ended::Ended;
use crate::cluster::hub::Hub;
use crate::cluster::peer::{Link, LinkId};

/// What was passed on to a node for others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Passed {
    /// Packets that went to it.
    pub(crate) packets: u64,
    /// Packets that found no room.
    pub(crate) dropped: u64,
}

impl Hub {
    /// Hands a packet to the neighbour that is next on its way.
    pub(super) fn pass(&mut self, packet: &Relayed<'_>) {
        let next = self.members.next_hop(self.plane.now_ms(), packet.to);
        let slot = next.and_then(|(next, _)| self.slots.get(next));
        let Some(slot) = slot.map(|slot| usize::from(*slot)) else {
            return;
        };
        let peer = &mut self.peers[slot];
        let Some(link) = peer.link.as_mut().filter(|link| !link.is_relayed) else {
            return;
        };
        if link.passed.push(packet) {
            peer.passed.packets += 1;
        } else {
            peer.passed.dropped += 1;
        }
    }

    /// Passes on a packet that has come over a link, unless it would go back.
    pub(super) fn pass_on(&mut self, id: LinkId, packet: &Relayed<'_>) -> Result<(), Ended> {
        let is_own = *packet.from == *self.name();
        let is_for_member = self.roster.contains(packet.to);
        if !self.carries(id)? || packet.links < 2 || is_own || !is_for_member {
            return Ok(());
        }
        let next = self.members.next_hop(self.plane.now_ms(), packet.to);
        let back = &*self.peers[usize::from(id.slot)].name;
        if next.is_some_and(|(next, _)| *next != *back) {
            self.pass(&Relayed {
                links: packet.links - 1,
                ..*packet
            });
        }
        Ok(())
    }

    /// Whether packets of others may come over a link: a direct one.
    pub(super) fn carries(&self, id: LinkId) -> Result<bool, Ended> {
        let link = self.linked(id);
        link.map(|(_, link)| !link.is_relayed)
            .ok_or_else(Ended::replaced)
    }

    /// Takes everything that waits for a link.
    pub(super) fn take_passed(&mut self, id: LinkId, empty: &mut Vec<u8>) -> Result<(), Ended> {
        let peer = self.peers.get_mut(usize::from(id.slot));
        let link = peer.and_then(|peer| peer.link(id));
        link.ok_or_else(Ended::replaced)?.passed.take(empty);
        Ok(())
    }

    /// The members that this node is to dial, that have no link that works, and that others
    /// reach; and what time it is.
    pub(super) fn without_a_way(&self) -> (u64, Vec<(String, Standing)>) {
        let now_ms = self.plane.now_ms();
        let own = self.name();
        let nodes = self.roster.iter().filter(|name| *own < ***name);
        let nodes = nodes.filter_map(|name| {
            let slot = self.slots.get(name).map(|slot| usize::from(*slot));
            let link = slot.and_then(|slot| self.peers[slot].link.as_ref());
            let standing = match link {
                None => Standing::Missing,
                Some(link) if link.is_guest || link.is_relayed => return None,
                Some(_) if self.members.is_near(now_ms, name) => return None,
                Some(_) => Standing::Broken,
            };
            self.members.next_hop_over_others(now_ms, name)?;
            Some((name.to_string(), standing))
        });
        (now_ms, nodes.collect())
    }

    /// Whether the link with a node goes over others.
    pub(in crate::cluster) fn is_relayed(&self, name: &str) -> bool {
        let slot = self.slots.get(name).map(|slot| usize::from(*slot));
        let link = slot.and_then(|slot| self.peers[slot].link.as_ref());
        link.is_some_and(|link| link.is_relayed)
    }

    /// The node over which packets for a node go, if its link is a relayed one and there is one.
    pub(in crate::cluster) fn via(&self, name: &str) -> Option<&str> {
        let now_ms = self.plane.now_ms();
        let next = self.members.next_hop_over_others(now_ms, name);
        next.filter(|_| self.is_relayed(name)).map(|(next, _)| next)
    }

    /// A link with a node has taken the place of a former one, if there was one.
    pub(in crate::cluster) fn replaced(&self, node: &str, former: Option<&Link>) {
        if let Some(former) = former {
            Ended::replaced().close(&former.connection);
        }
        let was_relayed = former.is_some_and(|former| former.is_relayed);
        match (was_relayed, self.is_relayed(node)) {
            (false, true) => info!(
                "the link with node {node} goes over {}: the direct one does not work",
                self.via(node)
                    .map_or_else(|| "other nodes".to_owned(), |next| format!("node {next}"))
            ),
            (true, false) => info!("the link with node {node} is direct again"),
            _ => {}
        }
    }

    /// Tells all nodes that are linked over others that this one stops. Whether there are some.
    pub(super) fn stop_relayed(&mut self) -> bool {
        let links = self.peers.iter_mut().filter_map(|peer| {
            let is_relayed = peer.link.as_ref().is_some_and(|link| link.is_relayed);
            is_relayed.then(|| peer.link.take()).flatten()
        });
        let why = Ended::refused(Reason::Stopping, "the node stops");
        links.map(|link| why.close(&link.connection)).count() > 0
    }
}
