//! Which node wants which messages.
//!
//! Each node is the only writer of the routes that point to it: a log of filters added and
//! removed, numbered from 1 in each life of the node (its *incarnation*). Everybody else
//! follows it, and tells the route index what changes there. Nobody votes, nothing is locked,
//! and no node can damage another's routes.
//!
//! ```text
//!   shards ──add, remove──> OwnRoutes ──Feed──> Changes ──> Replica ──> route index
//!                           log + tail <─────── Resume ──── (owner, incarnation, sequence)
//!                                       ──────> Snapshot ─>  if the tail does not reach back
//! ```
//!
//! - [`OwnRoutes`] counts on how many shards a filter is, and writes the log.
//! - [`Replica`] follows the log of another node. It knows how far it is, so that after a
//!   disconnect it gets what it has not seen and nothing again.
//! - [`Routes`] is all of them on one node.
//! - [`Feed`] is what one peer still has to be sent of the node's own log.
//!
//! **The index has the only copy of the filters.** A replica keeps a count and a digest, some
//! hundred bytes, and no texts: with a million routes for each of many nodes a second copy of
//! each would be most of the memory. What a replica cannot list, the index finds when it has
//! to: routes have the number of a *copy*, a new one with each snapshot and each life, and
//! [`Order::Forget`] says that all routes of a copy are to go, for which the index may take
//! its time. So the end of a node costs nothing here. While a snapshot comes in, its copy is
//! in force beside the one before: a message may go to a node in vain, none stays away.
//!
//! **What is promised.** The copy in force is at any time what its owner's routes were after
//! some change, if the owner's digest agrees. Whatever is lost or repeated on the way, it
//! becomes equal to the owner's routes once the owner answers: what is missing is asked for,
//! and what is wrong shows in the [`Digest`](crate::wire::Digest), upon which all is asked for.
//!
//! **Digest.** The sum, modulo 2^128, of SipHash-2-4 (128 bits) of each filter, with the
//! incarnation as the key: the same in whatever order the filters came.
//!
//! Measured by `bench/examples/routes.rs`; see `docs/scale.md`.

mod feed;
mod log;
mod own;
mod replica;
mod set;
#[cfg(test)]
mod tests;

pub use feed::Feed;
pub use log::Position;
pub use own::OwnRoutes;
pub use replica::{Replica, Step};

use std::collections::BTreeMap;

use self::replica::Tell;
use crate::wire::{Change, Frame, WireError};

/// How a text begins that is not for the index: it says how many members a group has on the
/// owner. Those who have groups hear of it as it comes and goes, each once.
const SHARE_PREFIX: &str = "$share/";

/// Numbers of the copies of one owner's routes. Each comes again after all others but one, which
/// may be in force: an index that is slow to forget a copy has to do so then.
pub const COPIES: u8 = 16;

/// What is to be done about the routes of another node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order<'a> {
    /// The index adds a route or removes it.
    Change {
        /// The number of the copy, below [`COPIES`].
        copy: u8,
        /// The route.
        change: Change<'a>,
    },
    /// All routes of a copy go.
    Forget {
        /// Its number.
        copy: u8,
    },
    /// Something was said of a group.
    Share(Change<'a>),
}

/// What bounds the routes of a node.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of changes that are kept for each owner, to be sent to those who come back. A
    /// change takes the length of its filter and 32 bytes. Whoever was away for longer gets a
    /// snapshot.
    pub tail_bytes: usize,
    /// Routes of one owner.
    pub routes: u64,
    /// Owners.
    pub owners: usize,
}

impl Default for Limits {
    /// 4 MiB of changes (about 70,000), 2^30 routes, 1,024 owners.
    fn default() -> Self {
        Self {
            tail_bytes: 4 << 20,
            routes: 1 << 30,
            owners: 1024,
        }
    }
}

/// The routes of all nodes, as one node knows them.
#[derive(Debug)]
pub struct Routes {
    own: OwnRoutes,
    replicas: BTreeMap<Box<str>, Replica>,
    limits: Limits,
}

impl Routes {
    /// The routes of the node `name`, none so far. `seed` should be random.
    #[must_use]
    pub fn new(name: &str, incarnation: u64, seed: u64, limits: Limits) -> Self {
        Self {
            own: OwnRoutes::new(name, incarnation, seed, limits),
            replicas: BTreeMap::new(),
            limits,
        }
    }

    /// The routes that point to this node.
    #[must_use]
    pub const fn own(&self) -> &OwnRoutes {
        &self.own
    }

    /// The routes that point to this node, to change them.
    pub const fn own_mut(&mut self) -> &mut OwnRoutes {
        &mut self.own
    }

    /// The replica of another node's routes.
    #[must_use]
    pub fn replica(&self, owner: &str) -> Option<&Replica> {
        self.replicas.get(owner)
    }

    /// All other owners that are known, by name.
    pub fn replicas(&self) -> impl Iterator<Item = (&str, &Replica)> {
        self.replicas
            .iter()
            .map(|(name, replica)| (&**name, replica))
    }

    /// Takes a frame about the routes of another node. What becomes of them is given to `tell`;
    /// if there is something to ask the sender for, it is returned. Other frames, and what
    /// others say about this node's own routes, are ignored.
    ///
    /// # Errors
    /// The frame cannot be read, or is over a limit: the connection is to be dropped.
    pub fn handle(&mut self, frame: &Frame<'_>, tell: Tell<'_>) -> Result<Step, WireError> {
        let owner = match frame {
            Frame::Changes(changes) => changes.owner,
            Frame::SnapshotBegin(begin) => begin.owner,
            Frame::SnapshotPart(part) => part.owner,
            Frame::SnapshotEnd(end) => end.owner,
            Frame::Digest(digest) => digest.owner,
            _ => return Ok(Step::Done),
        };
        if owner == self.own.log().owner() {
            return Ok(Step::Done);
        }
        self.replica_mut(owner)?.handle(frame, tell)
    }

    fn replica_mut(&mut self, owner: &str) -> Result<&mut Replica, WireError> {
        if !self.replicas.contains_key(owner) {
            if self.replicas.len() >= self.limits.owners {
                return Err(WireError::Invalid);
            }
            let replica = Replica::new(self.limits);
            self.replicas.insert(owner.into(), replica);
        }
        self.replicas.get_mut(owner).ok_or(WireError::Invalid)
    }

    /// A life of a node is over: its routes are gone, and whatever is said about that life
    /// is ignored from now on.
    pub fn gone(&mut self, owner: &str, incarnation: u64, tell: Tell<'_>) {
        if owner != self.own.log().owner()
            && let Ok(replica) = self.replica_mut(owner)
        {
            replica.gone(incarnation, tell);
        }
    }

    /// Forgets a node that is gone for good.
    pub fn forget(&mut self, owner: &str, tell: Tell<'_>) {
        if let Some(mut replica) = self.replicas.remove(owner) {
            replica.gone(u64::MAX, tell);
        }
    }

    /// Writes what to ask a node for that was just connected to: its routes.
    pub fn ask(&mut self, peer: &str, out: &mut Vec<u8>, tell: Tell<'_>) {
        let asked = self.replica_mut(peer).map(|replica| replica.resume(tell));
        if let Ok(position) = asked {
            position.resume(peer).put(out);
        }
    }
}
