//! Sessions that move from one node to another.
//!
//! ```text
//!   former owner                          new owner
//!     │ its connection is closed, the       │ CONNECT waits
//!     │ session is kept                     │
//!     │ <───────────────────────── Fetch ── │
//!     │ ── Part … End ────────────────────> │ enters and stores the session,
//!     │                                     │ answers CONNACK
//!     │ <───────────────────────── Taken ── │
//!     │ drops its copy                      │
//!     │ ── Late … ────────────────────────> │ what still comes to the former owner
//!     │ <────────────────────────── Done ── │
//! ```
//!
//! All of it goes with the messages between the nodes: in order, acknowledged, sent again after
//! a lost connection. Parts are sent as long as half of the way is free, so that what is
//! published goes first.
//!
//! The former owner has the whole session, what comes meanwhile included, until the new one has
//! stored it; so if that dies before, nothing is lost. A client that begins anew sends `Discard`
//! instead of `Fetch`, and there is no session to come. If the former one dies before all has
//! come, the new one goes on with a new session. Of a session that moves on while it still
//! arrives the next owner waits until it has arrived.
//!
//! | module | what it holds |
//! |---|---|
//! | `said` | what the two nodes say |
//! | `pack` | a session as bytes |
//! | `leave` | the former owner |
//! | `arrive` | the new owner |

mod arrive;
mod leave;
mod pack;
mod said;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use protocol::wire::QoS;

use self::arrive::Arrival;
use self::leave::Leaving;
use self::said::{Said, What};
use super::Shard;
use super::items::Item;
use super::nodes::FOREIGN_PUBLISHER;

/// What two nodes say about a session that moves.
pub(super) const SESSION: &str = "$cluster/session";

/// Sessions that move, by client identifier.
#[derive(Debug, Default)]
pub(super) struct Moves {
    arriving: HashMap<Box<str>, Arrival>,
    leaving: HashMap<Box<str>, Leaving>,
}

impl Moves {
    /// Whether something is under way. What waits for an owner that has not come is not.
    fn are_under_way(&self) -> bool {
        let mut leaving = self.leaving.values();
        !self.arriving.is_empty() || leaving.any(Leaving::is_under_way)
    }

    /// Whether the session of a client has still to come.
    pub(super) fn is_awaited(&self, client: &str) -> bool {
        let arrival = self.arriving.get(client);
        arrival.is_some_and(|arrival| !arrival.is_here())
    }

    /// Whether a session is on its way to this node, or has come and its former node is to hear so.
    pub(super) fn is_arriving(&self, client: &str) -> bool {
        self.arriving.contains_key(client)
    }

    /// Whether this node keeps a session for another one.
    pub(super) fn is_leaving(&self, client: &str) -> bool {
        self.leaving.contains_key(client)
    }
}

impl Shard {
    fn moves(&mut self) -> Option<&mut Moves> {
        self.owners.as_mut().map(|owners| &mut owners.moves)
    }

    /// Whether deliveries are to be looked at: a session moves.
    fn note_moves(&mut self) {
        let Some(owners) = &self.owners else { return };
        let moves = &owners.moves;
        self.has_moves = moves.are_under_way();
        self.stats
            .sessions_arriving
            .set(moves.arriving.len() as u64);
        self.stats.sessions_leaving.set(moves.leaving.len() as u64);
    }

    /// How often a node has come up, if it is up.
    fn life_of(&self, node: u16) -> Option<u32> {
        let is_up = self.nodes_up() & 1_u64.checked_shl(node.into()).unwrap_or(0) != 0;
        is_up.then(|| self.common.arrivals.of(node))
    }

    fn say(&mut self, node: u16, client: &str, epoch: u64, what: What<'_>) {
        let said = Said {
            client,
            epoch,
            what,
        };
        let payload = said.write();
        let message = MessageRef {
            topic: SESSION,
            properties: &[],
            payload: &payload,
            // Nowhere on the way is there a right to drop it.
            qos: QoS::AtLeastOnce,
            retain: false,
            expires_ms: u64::MAX,
            publisher: FOREIGN_PUBLISHER,
        };
        let peer = usize::from(self.node_peer(node));
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.publish(&message, false, 0);
        }
    }

    /// Another node has said something about a session. It goes to the shard of its client.
    pub(super) fn hear_of_session(&mut self, node: u16, payload: &[u8]) {
        let Some(said) = Said::read(payload) else {
            return;
        };
        let home = self.shard_of(said.client);
        if home == self.id {
            return self.heard(node, &said);
        }
        if let Some(peer) = self.peers.get_mut(usize::from(home)) {
            let payload = payload.into();
            peer.push(Item::Session { node, payload });
        }
    }

    fn heard(&mut self, node: u16, said: &Said<'_>) {
        let (client, epoch) = (said.client, said.epoch);
        match said.what {
            What::Fetch => self.fetched(node, client, epoch),
            What::Discard => self.discarded(node, client, epoch),
            What::Part(bytes) => self.part_arrived(node, client, epoch, bytes),
            What::End { is_there } => self.end_arrived(node, client, epoch, is_there),
            What::Taken => self.taken(node, client, epoch),
            What::Late(bytes) => self.late_arrived(node, client, epoch, bytes),
            What::Done => self.done_with(node, client, epoch),
        }
    }

    /// Goes on with what moves, at the end of a turn.
    pub(super) fn go_on_moving(&mut self) {
        self.watch_former_owners();
        self.go_on_leaving();
        self.note_moves();
    }

    /// Whether there is something to do without waiting.
    pub(super) fn may_move_on(&self) -> bool {
        self.has_moves && self.may_send_parts()
    }

    /// A session has ended here, or is somebody else's.
    pub(super) fn forget_moves(&mut self, client: &str) {
        let Some(moves) = self.moves() else { return };
        moves.leaving.remove(client);
        if let Some(arrival) = moves.arriving.remove(client) {
            self.say(arrival.former, client, arrival.epoch, What::Done);
            self.revoked_by_now(client, arrival.revoked);
        }
        self.note_moves();
    }
}

impl super::replicate::Arrivals {
    /// How often a node has come up.
    fn of(&self, node: u16) -> u32 {
        let node = self.nodes.get(usize::from(node));
        node.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
