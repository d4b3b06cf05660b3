//! How far routes are known: of this node in its log, of others on the shards.
//!
//! A shard that asks how far the log is, and what waits for another node's routes, first wait for
//! a *fence*: a question to the route writer that comes back when all before it is applied.

use std::collections::VecDeque;
use std::mem;

use shard_cluster::routes::{Position, Routes};
use shards::{OwnerEvent, RoutesAt};

use super::peer::Peer;
use super::plane::Plane;

/// Questions about routes that are open.
#[derive(Default)]
pub(super) struct Reach {
    /// Since the last fence.
    news: Vec<Asked>,
    /// Behind each fence that has not come back, oldest first.
    fenced: VecDeque<Vec<Asked>>,
    /// Shards that wait until their routes are on the way.
    passing: Vec<u16>,
    /// What waits for routes of other nodes to come.
    awaited: Vec<Awaited>,
}

/// A question.
enum Asked {
    /// How far this node's log is.
    Log { shard: u16 },
    /// When what has come is in force.
    InForce(Awaited),
}

/// Something that waits for routes of a node.
pub(super) struct Awaited {
    pub(super) shard: u16,
    pub(super) node: u16,
    pub(super) at: RoutesAt,
    pub(super) payload: Box<[u8]>,
    pub(super) all: bool,
}

impl Reach {
    /// A shard asks how far the log is.
    pub(super) fn ask(&mut self, shard: u16) {
        self.news.push(Asked::Log { shard });
    }

    /// A shard asks when the routes are on their way that it knows to be in force.
    pub(super) fn ask_passed_on(&mut self, shard: u16) {
        self.passing.push(shard);
    }

    /// All routes that there were are on their way.
    pub(super) fn are_passed_on(&mut self, plane: &mut dyn Plane) {
        if self.passing.is_empty() {
            return;
        }
        for shard in self.passing.drain(..) {
            plane.owner_event(OwnerEvent::PassedOn { shard });
        }
        plane.flush();
    }

    /// Something waits for a node's routes.
    pub(super) fn wait(&mut self, awaited: Awaited) {
        self.awaited.push(awaited);
    }

    /// A node is down: with its life, what that wanted to know is over.
    pub(super) fn down(&mut self, node: u16) {
        self.awaited.retain(|awaited| awaited.node != node);
    }

    /// Looks what has come, and asks the route writer about it: to be called in every turn.
    pub(super) fn turn(&mut self, routes: &Routes, peers: &[Peer], plane: &mut dyn Plane) {
        for awaited in mem::take(&mut self.awaited) {
            let peer = peers.get(usize::from(awaited.node));
            let replica = peer.and_then(|peer| routes.replica(&peer.name));
            if replica.is_some_and(|replica| replica.position() >= position(awaited.at)) {
                self.news.push(Asked::InForce(awaited));
            } else {
                self.awaited.push(awaited);
            }
        }
        if !self.news.is_empty() {
            self.fenced.push_back(mem::take(&mut self.news));
            plane.fence();
            plane.flush();
        }
    }

    /// So many fences have come back.
    pub(super) fn fences_are_back(&mut self, count: usize, routes: &Routes, plane: &mut dyn Plane) {
        let own = routes.own().position();
        let at = RoutesAt {
            incarnation: own.incarnation,
            sequence: own.sequence,
        };
        let back = count.min(self.fenced.len());
        for asked in self.fenced.drain(..back).flatten() {
            match asked {
                Asked::Log { shard } => plane.owner_event(OwnerEvent::RoutesAt { shard, at }),
                Asked::InForce(awaited) => tell(&awaited, plane),
            }
        }
        if back > 0 {
            plane.flush();
        }
    }
}

fn tell(awaited: &Awaited, plane: &mut dyn Plane) {
    let told = match awaited.all {
        true => 0..plane.shards(),
        false => awaited.shard..awaited.shard + 1,
    };
    for shard in told {
        plane.owner_event(OwnerEvent::RoutesKnown {
            shard,
            node: awaited.node,
            payload: awaited.payload.clone(),
        });
    }
}

const fn position(at: RoutesAt) -> Position {
    Position {
        incarnation: at.incarnation,
        sequence: at.sequence,
    }
}
