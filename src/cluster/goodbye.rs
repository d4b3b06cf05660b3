//! How this node stops: in an order in which nothing is lost that was promised.
//!
//! 1. Its shards have ended before: no client is left, and what they had for others is here.
//! 2. Another core that stays leads the consensus, so that nobody waits for an election.
//! 3. At the same time what the shards had for others is passed on, and the others hear what was
//!    accepted.
//! 4. Its life is over: it has no lease, gives none, decides nothing about client identifiers,
//!    and says so.
//! 5. Others end their connections with who is over, or are over themselves; then this node knows
//!    that nobody counts on a lease from it, and the next process need not wait for that.
//!
//! Each step has its time. Whoever did not hear the goodbye gives this node up after the lease.

use std::rc::Rc;
use std::time::Duration;

use log::{info, warn};
use shard_cluster::link::Outgoing;
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::ended::Ended;
use super::hub::Hub;
use super::membership::change;
use super::peer::{LinkId, Peer};

/// How long another core may take to lead.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How long it may take to pass on what the shards had.
const FLUSH: Duration = Duration::from_secs(3);

/// The same, for nodes that say that they go, too: they may take nothing any more.
const FLUSH_ALL: Duration = Duration::from_millis(500);

/// How long the others may take to hear that this node stops.
const PARTING: Duration = Duration::from_secs(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Says goodbye. The links work on meanwhile.
pub(super) async fn say(shared: Rc<Shared>) {
    let hand_over = timeout(HAND_OVER, change::hand_over_own(&shared));
    let flushed = async {
        let hub = || shared.hub.borrow_mut();
        within(FLUSH_ALL, || hub().is_flushed(true)).await
            || within(FLUSH, || hub().is_flushed(false)).await
    };
    let (handed, is_flushed) = tokio::join!(hand_over, flushed);
    if let Ok(Err(why)) = handed {
        info!("this node leads the cores until it is gone: {why}");
    }
    if !is_flushed {
        let left = shared.hub.borrow().unsettled(true);
        warn!("{left} messages for other nodes were not accepted in time, and are lost");
    }
    shared.hub.borrow_mut().end_life();
    within(PARTING, || shared.hub.borrow().has_parted()).await;
    shared.hub.borrow_mut().end_leases();
}

/// Waits until something is so. Whether it was in time.
async fn within(patience: Duration, mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    while !is() {
        if Instant::now() >= end {
            return false;
        }
        sleep(PAUSE).await;
    }
    true
}

impl Hub {
    /// This node is about to stop, or is not any more: others are told at once.
    pub(super) fn go(&mut self, goes: bool) {
        self.members.go(goes);
        (0..self.peers.len()).for_each(|slot| self.heartbeat(slot as u16));
        self.tell_open();
    }

    /// Tells the shards which nodes may be given sessions, and which go.
    pub(super) fn tell_open(&mut self) {
        let (mut open, mut going) = (0, 0);
        for (slot, peer) in self.peers.iter().enumerate() {
            let bit = 1_u64.rotate_left(slot as u32);
            match self.members.peer(&peer.name) {
                Some(known) if known.is_going => going |= bit,
                Some(_) if peer.is_up && peer.link.is_some() => open |= bit,
                _ => {}
            }
        }
        self.plane.set_open(open, going, self.members.is_going());
    }

    /// Whether a node has said that it is about to stop, or has stopped.
    pub(super) fn goes(&self, name: &str) -> bool {
        self.members.peer(name).is_some_and(|known| known.is_going)
    }

    /// Whether everything that the shards had is with the nodes that it was for.
    fn is_flushed(&mut self, of_all: bool) -> bool {
        self.news();
        self.flush();
        let mut up = self.up_nodes(of_all);
        self.unsettled(of_all) == 0 && !up.any(|peer| peer.is_held)
    }

    /// The nodes that are up, all or those that stay.
    fn up_nodes(&self, all: bool) -> impl Iterator<Item = &Peer> {
        let stays = move |peer: &&Peer| {
            let known = self.members.peer(&peer.name);
            all || known.is_some_and(|known| !known.is_going)
        };
        self.peers.iter().filter(|peer| peer.is_up).filter(stays)
    }

    /// Messages that they have not accepted.
    fn unsettled(&self, of_all: bool) -> u64 {
        let streams = self.up_nodes(of_all).flat_map(|peer| &peer.outgoing);
        streams.map(Outgoing::unsettled).sum()
    }

    /// This life is over, and all others are told so, behind what else they are to know.
    fn end_life(&mut self) {
        let now_ms = self.plane.now_ms();
        self.members.end(now_ms);
        self.events();
        self.turn_owners();
        for slot in 0..self.peers.len() {
            let peer = &mut self.peers[slot];
            if let Some(link) = &mut peer.link {
                peer.incoming.acknowledge(&mut link.urgent);
            }
            self.heartbeat(slot as u16);
        }
    }

    /// A connection has ended: perhaps because the other node knows that this life is over.
    pub(super) fn note_parting(&mut self, id: LinkId, why: &Ended) {
        if why.is_stale_here()
            && let Some(peer) = self.peers.get(usize::from(id.slot))
        {
            self.members.parted(&peer.name);
        }
    }

    /// Whether there is nobody left who could take this node to be alive.
    fn has_parted(&self) -> bool {
        self.members.has_parted(self.plane.now_ms())
    }

    /// If no lease from this node runs any more, the next process is told so.
    fn end_leases(&mut self) {
        if self.has_parted() {
            self.given.end();
        }
    }
}
