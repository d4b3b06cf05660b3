//! What the hub does for packets that go over others.

use log::info;
use shard_cluster::members::Route;
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
    /// Hands a packet to the neighbour that is next on its way, or drops it. It has come over a
    /// link, or is this node's own. True if it is for this node.
    pub(super) fn pass(&mut self, came: Option<LinkId>, packet: &Relayed<'_>) -> bool {
        let came = came.and_then(|id| self.linked(id)).map(|(name, _)| name);
        let (over, links) = match self.members.route(self.plane.now_ms(), came, packet) {
            Route::Here => return self.roster.contains(packet.from),
            Route::Next { over, links } => (over, links),
            Route::Nowhere => return false,
        };
        let slot = self.slots.get(over).map(|slot| usize::from(*slot));
        let Some(peer) = slot.and_then(|slot| self.peers.get_mut(slot)) else {
            return false;
        };
        // It was direct when it was heard last, and may not be so any more.
        let Some(link) = peer.link.as_mut().filter(|link| !link.is_relayed) else {
            return false;
        };
        if link.passed.push(&Relayed { links, ..*packet }) {
            peer.passed.packets += 1;
        } else {
            peer.passed.dropped += 1;
        }
        false
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
