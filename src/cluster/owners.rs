//! Whose client identifiers are: the directory between the other nodes and the shards.
//!
//! It decides with what the members say: who is up, and which lease this node holds. Where
//! every side of a partition goes on (`serve_local`), each side is a majority of its own, and
//! no lease has to run out before a node may speak.

use std::collections::BTreeMap;

use shard_cluster::directory::{Directory, Event};
use shard_cluster::members::{Members, Policy};
use shard_cluster::wire::{self, Role};
use shards::{OwnerEvent, OwnerRequest};

use super::peer::Peer;
use super::plane::Plane;
use super::reach::{Awaited, Reach};
use super::status::Identifiers;

/// This node's part of the directory.
pub(super) struct Owners {
    directory: Directory,
    policy: Policy,
    /// Since when nobody has said whether this node still has what it had until its lease ran out.
    unconfirmed_since_ms: Option<u64>,
}

/// How long a node with a new lease waits for that at most before it goes on.
const PATIENCE_MS: u64 = 8_000;

impl Owners {
    pub(super) fn new(members: &Members) -> Self {
        let config = members.config();
        let cores = cores_of(config.policy, config.cores.len());
        Self {
            directory: Directory::new(&config.name, config.incarnation, config.role, cores),
            policy: config.policy,
            unconfirmed_since_ms: None,
        }
    }

    /// Which lease this node holds. To be told before the shards are.
    pub(super) fn set_lease(&mut self, members: &Members, now_ms: u64) {
        // It speaks when what is claimed is known: see `turn`.
        self.directory.set_lease(members.lease(now_ms), false);
    }

    /// Whether this node has a lease and does not act yet: clients that are connected since
    /// before it had none may be another node's by now. Not for ever: their keeper may be one
    /// that grants nothing for long.
    pub(super) fn is_held_back(&mut self, now_ms: u64) -> bool {
        if self.policy == Policy::ServeLocal || !self.directory.is_unconfirmed() {
            self.unconfirmed_since_ms = None;
            return false;
        }
        let since_ms = *self.unconfirmed_since_ms.get_or_insert(now_ms);
        now_ms.saturating_sub(since_ms) < PATIENCE_MS
    }

    /// The number of configured cores has changed.
    pub(super) fn set_cores(&mut self, cores: usize) {
        self.directory.set_cores(cores_of(self.policy, cores));
    }

    /// A node is up, and linked or not.
    pub(super) fn up(&mut self, node: &str, incarnation: u64, role: Role, is_linked: bool) {
        self.directory.up(node, incarnation, role);
        if is_linked {
            self.directory.connected(node);
        }
    }

    /// There is a connection to a node that is up.
    pub(super) fn connected(&mut self, node: &str) {
        self.directory.connected(node);
    }

    /// There is none any more.
    pub(super) fn disconnected(&mut self, node: &str) {
        self.directory.disconnected(node);
    }

    /// A life of a node is over.
    pub(super) fn down(&mut self, node: &str) {
        self.directory.down(node);
    }

    /// This node has a new life.
    pub(super) fn renew(&mut self, incarnation: u64) {
        self.directory.renew(incarnation);
    }

    /// A node that is up has said something.
    pub(super) fn heard(&mut self, node: &str, said: &wire::Directory<'_>) {
        self.directory.handle(node, said);
    }

    /// How many client identifiers this node has to do with.
    pub(super) fn identifiers(&self) -> Identifiers {
        let counts = self.directory.counts();
        Identifiers {
            owned: counts.owned as u64,
            claimed: counts.claimed as u64,
            kept: counts.kept as u64,
            queued: counts.queued as u64,
        }
    }

    /// Takes what the shards have said, and passes on what is decided: to be called in every
    /// turn, after the members' events.
    pub(super) fn turn(
        &mut self,
        members: &Members,
        plane: &mut dyn Plane,
        reach: &mut Reach,
        (peers, slots): (&mut [Peer], &BTreeMap<Box<str>, u16>),
    ) {
        self.set_lease(members, plane.now_ms());
        for request in plane.owner_requests() {
            self.take(request, reach);
        }
        // Behind what is claimed: whoever hears the view is to know of that.
        let now_ms = plane.now_ms();
        let is_mature = self.policy == Policy::ServeLocal || members.is_mature(now_ms);
        self.directory.set_lease(members.lease(now_ms), is_mature);
        while let Some((node, mut frame)) = self.directory.transmit() {
            let slot = slots.get(&node).map(|slot| usize::from(*slot));
            let peer = slot.and_then(|slot| peers.get_mut(slot));
            if let Some(link) = peer.and_then(|peer| peer.link.as_mut()) {
                link.urgent.append(&mut frame);
                link.control.notify_one();
            }
        }
        let mut has_news = false;
        while let Some(event) = self.directory.poll() {
            has_news = true;
            plane.owner_event(match event {
                Event::Granted {
                    client,
                    epoch,
                    former,
                } => OwnerEvent::Granted {
                    client,
                    epoch,
                    former: former.and_then(|former| slots.get(&former).copied()),
                },
                Event::Denied { client } => OwnerEvent::Denied { client },
                Event::Revoke { client, epoch } => OwnerEvent::Revoke { client, epoch },
                Event::Drop { client } => OwnerEvent::Drop { client },
            });
        }
        if has_news {
            plane.flush();
        }
    }

    /// Takes what a shard has said.
    fn take(&mut self, request: OwnerRequest, reach: &mut Reach) {
        match request {
            OwnerRequest::Claim { client } => self.directory.claim(&client),
            // Any epoch says that it is a former one.
            OwnerRequest::ClaimFormer { client } => self.directory.claim_former(&client, 1),
            OwnerRequest::ClaimFilter {
                client,
                holder,
                is_former,
            } => self.directory.claim_exclusive(&client, &holder, is_former),
            OwnerRequest::Revoked {
                client,
                epoch,
                keeps,
            } => self.directory.revoked(&client, epoch, keeps),
            OwnerRequest::Dropped { client } => self.directory.dropped(&client),
            OwnerRequest::Settled { client } => self.directory.settled(&client),
            OwnerRequest::Release { client } => self.directory.release(&client),
            OwnerRequest::AskRoutesAt { shard } => reach.ask(shard),
            OwnerRequest::AskPassedOn { shard } => reach.ask_passed_on(shard),
            OwnerRequest::AwaitRoutes {
                shard,
                node,
                at,
                payload,
                all,
            } => reach.wait(Awaited {
                shard,
                node,
                at,
                payload,
                all,
            }),
        }
    }
}

/// Of how many cores a majority is needed.
fn cores_of(policy: Policy, cores: usize) -> usize {
    match policy {
        Policy::ServeLocal => 1,
        Policy::Fence => cores,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_a_new_lease_a_node_waits_for_who_has_its_clients_and_not_for_ever() {
        let mut owners = Owners {
            directory: Directory::new("a", 1, Role::Core, 1),
            policy: Policy::Fence,
            unconfirmed_since_ms: None,
        };
        let answer = |owners: &mut Owners| while owners.directory.transmit().is_some() {};
        owners.directory.set_lease(Some(1), true);
        owners.directory.claim("client");
        assert!(!owners.is_held_back(1_000));
        answer(&mut owners);
        for lease in [2, 3] {
            owners.directory.set_lease(None, true);
            assert!(!owners.is_held_back(1_000));
            owners.directory.set_lease(Some(lease), true);
            assert!(owners.is_held_back(2_000));
            assert!(owners.is_held_back(9_999));
            assert!(!owners.is_held_back(10_000));
            answer(&mut owners);
            assert!(!owners.is_held_back(2_000));
        }
        owners.directory.set_lease(Some(4), true);
        owners.policy = Policy::ServeLocal;
        assert!(!owners.is_held_back(2_000));
    }
}
