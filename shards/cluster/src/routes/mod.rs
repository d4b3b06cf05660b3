//! Which node wants which messages.
//!
//! Each node is the only writer of the routes that point to it: a log of filters added and
//! removed, numbered from 1 in each life of the node (its *incarnation*). Everybody else has
//! a replica of it, and tells the route index what changes there. Nobody votes, nothing is
//! locked, and no node can damage another's routes.
//!
//! ```text
//!   shards ──add, remove──> OwnRoutes ──Feed──> Changes ──> Replica ──> route index
//!                           log + tail <─────── Resume ──── (owner, incarnation, sequence)
//!                                       ──────> Snapshot ─>  if the tail does not reach back
//! ```
//!
//! - [`OwnRoutes`] counts on how many shards a filter is, and writes the log.
//! - [`Replica`] follows the log of another node. It knows how far it is, so that after a
//!   disconnect, or from another source, it gets what it has not seen and nothing again. A
//!   snapshot takes its place at once when it is complete and its digest is right; what the
//!   index hears is the difference.
//! - [`Routes`] is all of them on one node.
//! - [`Feed`] is what one peer still has to be sent: the node's own log, or those of all nodes
//!   if the peer hangs on this one. The peer decides, by what it asks for.
//!
//! **What is promised.** A replica is at any time what its owner's routes were after some
//! change, if the owner's digest agrees. Whatever is lost, repeated or damaged in memory, it
//! becomes equal to the owner's routes once a source answers it: what is missing is asked for,
//! and what is wrong shows in the [`Digest`](crate::wire::Digest), upon which all is asked for.
//!
//! **Digest.** The sum, modulo 2^128, of SipHash-2-4 (128 bits) of each filter, with the
//! incarnation as the key: the same in whatever order the filters came.
//!
//! **Measured** (`bench/examples/routes.rs`: a million filters of about 25 bytes, without the
//! route index; 2 CPUs that were also building other things, so the spread): a snapshot is made
//! in 0.09 to 0.16 s, during which the log waits, and takes 24 MB; it is applied in 0.36 to
//! 0.70 s; a change is applied in 0.6 to 1.8 µs; a route takes 68 bytes on a replica.

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

use self::log::Log;
use crate::wire::{Change, Frame, Resume, WireError};

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
    seed: u64,
}

impl Routes {
    /// The routes of the node `name`, none so far. `seed` should be random.
    #[must_use]
    pub fn new(name: &str, incarnation: u64, seed: u64, limits: Limits) -> Self {
        Self {
            own: OwnRoutes::new(name, incarnation, seed, limits),
            replicas: BTreeMap::new(),
            limits,
            seed,
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

    /// Takes a frame about the routes of another node. What changes is given to `changed`;
    /// if there is something to ask the sender for, it is returned. Other frames, and what
    /// others say about this node's own routes, are ignored.
    ///
    /// # Errors
    /// The frame cannot be read, or is over a limit: the connection is to be dropped.
    pub fn handle(
        &mut self,
        frame: &Frame<'_>,
        changed: &mut dyn FnMut(Change<'_>),
    ) -> Result<Step, WireError> {
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
        self.replica_mut(owner)?.handle(frame, changed)
    }

    fn replica_mut(&mut self, owner: &str) -> Result<&mut Replica, WireError> {
        if !self.replicas.contains_key(owner) {
            if self.replicas.len() >= self.limits.owners {
                return Err(WireError::Invalid);
            }
            let replica = Replica::new(owner, self.seed, self.limits);
            self.replicas.insert(owner.into(), replica);
        }
        self.replicas.get_mut(owner).ok_or(WireError::Invalid)
    }

    /// A life of a node is over: its routes are gone, and whatever is said about that life
    /// is ignored from now on.
    pub fn gone(&mut self, owner: &str, incarnation: u64, changed: &mut dyn FnMut(Change<'_>)) {
        if owner != self.own.log().owner()
            && let Ok(replica) = self.replica_mut(owner)
        {
            replica.gone(incarnation, changed);
        }
    }

    /// Forgets a node that is gone for good.
    pub fn forget(&mut self, owner: &str, changed: &mut dyn FnMut(Change<'_>)) {
        if let Some(mut replica) = self.replicas.remove(owner) {
            replica.gone(u64::MAX, changed);
        }
    }

    /// Writes what to ask a node for that was just connected to: its own routes, or, with
    /// `all`, everybody's. `all` is what a replicant asks its core for.
    pub fn ask(&mut self, peer: &str, all: bool, out: &mut Vec<u8>) {
        if !all {
            let asked = self.replica_mut(peer).map(Replica::resume);
            if let Ok(position) = asked {
                position.resume(peer).put(out);
            }
            return;
        }
        for (owner, replica) in &mut self.replicas {
            replica.resume().resume(owner).put(out);
        }
        Resume {
            owner: "",
            incarnation: 0,
            sequence: 0,
        }
        .put(out);
    }

    /// The log of an owner, if it is to be passed on.
    fn log(&self, owner: &str) -> Option<&Log> {
        if owner == self.own.log().owner() {
            return Some(self.own.log());
        }
        self.replicas.get(owner).and_then(Replica::log_alive)
    }

    /// All logs that are to be passed on.
    fn logs(&self) -> impl Iterator<Item = &Log> {
        let others = self.replicas.values().filter_map(Replica::log_alive);
        core::iter::once(self.own.log()).chain(others)
    }
}
