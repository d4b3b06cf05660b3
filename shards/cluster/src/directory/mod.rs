//! Which node has the session of a client identifier: one at a time.
//!
//! ```text
//!   new owner          keeper of the identifier          old owner
//!      │ ── Claim ───────────> │                             │
//!      │                       │ ── Revoke ────────────────> │ closes its connection,
//!      │                       │ <──────────────── Revoked ─ │ keeps what is to move
//!      │ <── Granted (epoch) ─ │                             │
//! ```
//!
//! Each client identifier has a *keeper* among the cores that are alive: the one with the
//! highest hash of its name and the identifier (rendezvous hashing), so that a core that comes
//! or goes moves only what it keeps. The keeper knows the owner and gives each ownership an
//! *epoch*, higher than the last.
//!
//! **When a keeper may grant.** Its *view* is the cores that it knows alive, with their lives.
//! A core whose view changes asks every node for its view; a node answers, and says it again
//! whenever it changes, after it has registered what it has where it belongs
//! ([`View`](crate::wire::Directory::View)). A keeper grants only while
//!
//! - it holds its lease,
//! - its view has a majority of the configured cores, and
//! - every node that is alive, as it or any core in its view knows, has told the same view
//!   since the keeper's own last changed.
//!
//! Then nobody takes another for the keeper, and the keeper knows of every owner: each holds a
//! lease from a core in the view, and that core knows it. A process of a core that has just started
//! does not know whom its former life gave a lease, so it tells no view until these have run out,
//! unless it knows that they have
//! ([`Members::is_mature`](crate::members::Members::is_mature)); and an owner whose lease ran out
//! owns nothing until it has claimed it again. A replicant tells its view at once: the lease of
//! every owner has that of a core in each view that is a majority without the replicant.
//!
//! Until then claims wait: about a round trip after a core has gone, as long as leases may run that
//! a process gave which was killed, and for as long as a node is neither reached nor given up. A
//! node says what it claims before its view: so of those that wait, who has the session from a
//! former life gets the identifier first, and the session goes from there to the next.
//!
//! **What a former owner keeps.** It keeps the state of an identifier that it gave up until the
//! next owner has stored that, or has begun without. Until then it says so to each new keeper
//! ([`Revoked`](crate::wire::Directory::Revoked) again), and the next owner says from whom it
//! still awaits the state ([`Register`](crate::wire::Directory::Register)). So a keeper knows
//! both, whichever of them dies: if the owner does, the identifier is free again with what is
//! kept, and the next claim is told where. When the former owner needs to keep it no more it says
//! [`Release`](crate::wire::Directory::Release). One that keeps what the owner does not await is
//! out of date, and told so ([`Drop`](crate::wire::Directory::Drop)): it was given up, and the
//! client went on without it. A node that was without its lease, or has a new life, is not sure
//! of what it keeps: it says so with the epoch zero, and whoever has had the identifier since
//! counts more. A session from a disk counts less than what a living node keeps and is sure of;
//! before it is denied that node is asked, since what it has said may not have arrived.
//!
//! **What one holder has for itself.** An exclusive subscription is claimed like an identifier,
//! under a name that no client has, with the client that is to hold it
//! ([`Directory::claim_exclusive`]). It is granted if nobody has it; or if the same client holds
//! it on another node, which it has left: then that node gives it up for it as it gives up
//! identifiers, and it is free for nobody else in between. Of claims that wait, one from a former
//! life goes first, then the first that came.
//!
//! **What this promises.** Among nodes that hold their lease, a client identifier has at most
//! one owner. [`Directory::owns`] is false without the lease. A node that was given up has
//! lost all it had; with its new life it claims what it still has in memory or on its disk, and
//! is denied what others have taken over.
//!
//! **What it does not promise.** With the policy `serve_local` every node always acts, so the
//! two sides of a partition may each have an owner; when they meet, each has a new life, and of
//! two that claim a former session the first gets it. The same goes for nodes that have started
//! without knowing each other: of two owners of an identifier its keeper revokes the one with
//! the lower epoch. A session that was taken over and *ended*
//! elsewhere while its former node was away is not remembered: the former node gets it back. An
//! epoch is higher than any that the keeper, and whoever has told it a view, knows; one that
//! only nodes know that are dead or without their lease may be given again: it is not to be
//! compared with one of another life. An identifier whose claim waits when its node dies is claimed
//! again by the client.

mod keeper;
mod owner;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::keeper::{Entry, Marker, Waiter};
use crate::wire::{Directory as Said, FRAME_MAX, Frame, Role, decode, split};

/// What has happened to a client identifier on this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// It is this node's.
    Granted {
        /// The client identifier.
        client: Box<str>,
        /// The epoch.
        epoch: u64,
        /// The node that had it and keeps its state for this one.
        former: Option<Box<str>>,
    },
    /// It is not: another node has claimed it later, or has it.
    Denied {
        /// The client identifier.
        client: Box<str>,
    },
    /// It is claimed elsewhere: close the connection, keep the state to hand it over, then
    /// call [`Directory::revoked`].
    Revoke {
        /// The client identifier.
        client: Box<str>,
        /// The epoch.
        epoch: u64,
    },
    /// Others have had it since this node has given it up, or in a former life: what is here of it
    /// goes.
    Drop {
        /// The client identifier.
        client: Box<str>,
    },
}

/// How many client identifiers a node has to do with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// They are its own.
    pub owned: usize,
    /// It has claimed them, and waits.
    pub claimed: usize,
    /// It keeps whose they are.
    pub kept: usize,
    /// Claims of any node that it does not grant yet.
    pub queued: usize,
}

/// A number and a hash.
type View = (u64, u128);

/// A claim that is not answered.
#[derive(Debug)]
struct Claim {
    ticket: u64,
    /// The former epoch, or zero.
    epoch: u64,
    /// This process has had it until its lease ran out.
    again: bool,
    /// Its client has connected here since: it is wanted whoever has it.
    is_wanted: bool,
    /// It is to be given up, with this epoch: of what this node has had.
    revoked: Option<u64>,
}

/// One node's part of the directory: what it owns, and what it keeps.
#[derive(Debug)]
pub struct Directory {
    name: Box<str>,
    incarnation: u64,
    role: Role,
    /// How many cores are a majority of the configured ones.
    majority: usize,
    may_act: bool,
    /// The number of the last lease.
    lease: u64,
    /// Whether it tells its view: not before all leases have run out that a former process gave.
    is_mature: bool,
    /// Cores that are alive, this one included.
    cores: BTreeMap<Box<str>, u64>,
    /// Nodes that are alive, this one included.
    nodes: BTreeMap<Box<str>, u64>,
    /// How often the view has changed, and the hash of `cores`.
    view: View,
    /// With which number each core has asked for views.
    asked: BTreeMap<Box<str>, u64>,
    /// The highest epoch that is known.
    epoch: u64,
    ticket: u64,
    owned: BTreeMap<Box<str>, u64>,
    /// What was given up and is kept for the next owner, with the epoch; zero if others may have
    /// had it since.
    kept: BTreeMap<Box<str>, u64>,
    /// Of what is owned, or was until the lease ran out: from whom the state is still to come.
    awaited: BTreeMap<Box<str>, Box<str>>,
    claims: BTreeMap<Box<str>, Claim>,
    /// How many of them are for what was owned until the lease ran out.
    unconfirmed: usize,
    /// For whom of this node's clients something is claimed or owned that one holder has for
    /// itself.
    holders: BTreeMap<Box<str>, Box<str>>,
    /// As keeper: who has what.
    entries: BTreeMap<Box<str>, Entry>,
    /// As keeper: the holders of entries that have one.
    held: BTreeMap<Box<str>, Box<str>>,
    /// As keeper: what each node has told.
    markers: BTreeMap<Box<str>, Marker>,
    /// As keeper: claims that wait until it may grant.
    queue: BTreeMap<Box<str>, Waiter>,
    /// The same, of nodes that have the session from a former life.
    formers: BTreeMap<Box<str>, Waiter>,
    events: VecDeque<Event>,
    /// Nodes that there is a connection to.
    linked: BTreeSet<Box<str>>,
    outbox: VecDeque<(Box<str>, Vec<u8>)>,
}

impl Directory {
    /// Of a node that has nothing. `cores` is how many are configured.
    #[must_use]
    pub fn new(name: &str, incarnation: u64, role: Role, cores: usize) -> Self {
        let mut directory = Self {
            name: name.into(),
            incarnation,
            role,
            majority: cores / 2 + 1,
            may_act: false,
            lease: 0,
            is_mature: false,
            cores: BTreeMap::new(),
            nodes: BTreeMap::new(),
            view: (0, 0),
            asked: BTreeMap::new(),
            epoch: 0,
            ticket: 0,
            owned: BTreeMap::new(),
            kept: BTreeMap::new(),
            awaited: BTreeMap::new(),
            claims: BTreeMap::new(),
            unconfirmed: 0,
            holders: BTreeMap::new(),
            entries: BTreeMap::new(),
            held: BTreeMap::new(),
            markers: BTreeMap::new(),
            queue: BTreeMap::new(),
            formers: BTreeMap::new(),
            events: VecDeque::new(),
            linked: BTreeSet::from([name.into()]),
            outbox: VecDeque::new(),
        };
        directory.up(name, incarnation, role);
        directory
    }

    /// How many cores are configured now. Where the sides of a partition each go on, that is one
    /// for each: every side has a majority then.
    pub fn set_cores(&mut self, cores: usize) {
        self.majority = cores / 2 + 1;
        self.grant_queued();
    }

    /// The lease that this node holds ([`Members::lease`](crate::members::Members::lease)), and
    /// whether its process has run for a lease's time
    /// ([`Members::is_mature`](crate::members::Members::is_mature)). To be told in every turn,
    /// before anything else. A lease that ran out takes along what was owned under it: it is
    /// claimed again, since keepers that did not know of this node may have granted it.
    pub fn set_lease(&mut self, lease: Option<u64>, is_mature: bool) {
        let had_lease = core::mem::replace(&mut self.may_act, lease.is_some());
        if had_lease && !self.may_act {
            self.doubt_kept();
        }
        if let Some(lease) = lease
            && core::mem::replace(&mut self.lease, lease) != lease
        {
            self.disown();
            self.claim_again();
        }
        if is_mature && !core::mem::replace(&mut self.is_mature, is_mature) {
            self.say_views();
        }
        self.grant_queued();
    }

    /// Something was said by a node, in a life that is alive.
    pub fn handle(&mut self, from: &str, said: &Said<'_>) {
        match *said {
            Said::Claim {
                client,
                ticket,
                epoch,
                holder,
            } => self.claimed(from, client, (ticket, epoch), holder),
            Said::Granted {
                client,
                ticket,
                epoch,
                former,
            } => self.granted(client, ticket, epoch, former),
            Said::Denied { client, ticket } => self.denied(client, ticket),
            Said::Revoke { client, epoch } => self.revoke(from, client, epoch),
            Said::Revoked { client, epoch } => self.keeps(from, client, epoch),
            Said::Release { client, epoch } => self.released(from, client, epoch),
            Said::Register {
                client,
                epoch,
                holder,
                former,
            } => self.registered(from, (client, epoch), holder, former),
            Said::Drop { client, epoch } => self.is_out_of_date(from, client, epoch),
            Said::Absent { client, epoch } => self.is_absent(from, client, epoch),
            Said::Ask { generation } => self.asked(from, generation),
            Said::View {
                generation,
                view,
                epoch,
                nodes,
            } => {
                let view = (generation, view);
                self.marked(from, view, epoch, nodes);
            }
        }
    }

    /// How many client identifiers this node has to do with.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            owned: self.owned.len(),
            claimed: self.claims.len(),
            kept: self.entries.len(),
            queued: self.queue.len() + self.formers.len(),
        }
    }

    /// What has happened since, oldest first.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next frame for another node, over the connection that [`Directory::connected`] told
    /// of. Frames for one node must arrive in order, or the connection must end.
    pub fn transmit(&mut self) -> Option<(Box<str>, Vec<u8>)> {
        while let Some((to, frame)) = self.outbox.pop_front() {
            if to != self.name {
                return Some((to, frame));
            }
            // What a node says to itself.
            if let Ok(Some((kind, body, _))) = split(&frame, FRAME_MAX)
                && let Ok(Frame::Directory(said)) = decode(kind, body)
            {
                self.handle(&to, &said);
            }
        }
        None
    }

    fn say(&mut self, to: &str, said: &Said<'_>) {
        let mut frame = Vec::new();
        said.put(&mut frame);
        self.send(to, frame);
    }

    /// Without a connection nothing is kept: all that matters is said when there is one.
    fn send(&mut self, to: &str, frame: Vec<u8>) {
        if self.linked.contains(to) {
            self.outbox.push_back((to.into(), frame));
        }
    }
}
