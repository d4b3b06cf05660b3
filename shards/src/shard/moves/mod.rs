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
//!     │                                     │
//!     │            each shard               │
//!     │            of each node             │
//!     │                │ <───────── Turn ── │ its routes are in force here
//!     │ <── Turned ─── │ ─── Turned ──────> │ and now there
//!     │ ── Passed ────────────────────────> │
//!     │ <────────────────────────── Done ── │ all of them have turned
//! ```
//!
//! All of it goes with the messages between the nodes: in order, acknowledged, sent again after
//! a lost connection. Parts are sent as long as half of the way is free, so that what is
//! published goes first.
//!
//! The former owner has the whole session, what comes meanwhile included, until the new one has
//! stored it; so if that dies before, nothing is lost: the former owner says to whoever keeps the
//! identifier that it has the session, until then (`Dropped`). A client that begins anew sends
//! `Discard` instead of `Fetch`, and there is no session to come. If the former one dies before
//! all has come, the new one goes on with a new session. Of a session that moves on while it
//! still arrives the next owner waits until all of it has arrived.
//!
//! **Each message once, and in order.** Until a shard turns, the former owner gets for the session
//! what the shard publishes; from then on the new one. It turns when the new owner's routes are
//! in force on its node, and says so behind its messages on both ways. What comes to the new owner
//! before that is ignored: it comes by the former one, too. What comes after it is held until the
//! former owner says that it has passed on all that came before. So nothing depends on how long
//! anything takes, and whoever is down is not waited for.
//!
//! | module | what it holds |
//! |---|---|
//! | `said` | what the two nodes say |
//! | `pack` | a session as bytes |
//! | `leave` | the former owner |
//! | `arrive` | the new owner, until it has the session |
//! | `settle` | the new owner, until all have turned |
//! | `turn` | the nodes that publish |
//! | `offer` | sessions that are given away because their node goes |
//! | `reached` | SUBACKs that wait until their routes are on the way to all nodes, or there |
//! | `marks` | what is said of many sessions at once, while they settle |

mod arrive;
mod leave;
mod marks;
mod offer;
mod pack;
mod reached;
mod said;
mod settle;
mod turn;

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use protocol::message::MessageRef;
use protocol::wire::QoS;

use self::arrive::Arrival;
use self::leave::Leaving;
pub(super) use self::marks::MARKS;
use self::offer::Offers;
use self::reached::{Passing, Reaching};
use self::said::{Said, What};
use self::settle::Asking;
use self::turn::Untold;
use super::Shard;
use super::deliver::{self, Receiver};
use super::frames::Outgoing;
use super::items::Item;
use super::nodes::{FOREIGN_PUBLISHER, NODES_MAX, way_of};

/// What two nodes say about a session that moves.
pub(super) const SESSION: &str = "$cluster/session";

/// A shard that publishes: what comes from there comes in order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Source {
    /// [`NODES_MAX`] for this node.
    node: u16,
    shard: u16,
}

/// Sessions that move, by client identifier.
#[derive(Debug, Default)]
pub(super) struct Moves {
    arriving: HashMap<Box<str>, Arrival>,
    leaving: HashMap<Box<str>, Leaving>,
    offers: Offers,
    asking: Asking,
    reaching: Reaching,
    passing: Passing,
    untold: Vec<Untold>,
    /// The nodes that were up, and how often any has come up, when it was last looked.
    seen: (u64, u64),
}

impl Moves {
    /// Whether something is under way. What waits for an owner that has not come is not.
    fn are_under_way(&self) -> bool {
        let mut leaving = self.leaving.values();
        !self.arriving.is_empty() || !self.untold.is_empty() || leaving.any(Leaving::is_under_way)
    }

    /// Whether the session of a client has still to come.
    pub(super) fn is_awaited(&self, client: &str) -> bool {
        let arrival = self.arriving.get(client);
        arrival.is_some_and(|arrival| !arrival.is_here)
    }

    /// Whether the session of a client has come from a node.
    pub(super) fn has_come_from(&self, client: &str, node: u16) -> bool {
        let arrival = self.arriving.get(client);
        arrival.is_some_and(|arrival| arrival.is_here && arrival.former == node)
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
        self.say_on(SESSION, node, &said.write());
    }

    /// Sends something to another node, behind all messages that this shard has for it.
    fn say_on(&mut self, topic: &str, node: u16, payload: &[u8]) {
        let message = MessageRef {
            topic,
            properties: &[],
            payload,
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
            What::Offer => self.offered(client),
        }
    }

    /// Goes on with what moves, at the end of a turn.
    pub(super) fn go_on_moving(&mut self) {
        let seen = (self.nodes_up(), self.common.arrivals.count());
        let moves = self.moves();
        let before = moves.map_or(seen, |moves| core::mem::replace(&mut moves.seen, seen));
        let others_have_changed = before != seen;
        self.watch_former_owners(others_have_changed);
        self.tell_who_came_up();
        if others_have_changed {
            self.watch_who_settles();
        }
        self.go_on_leaving(others_have_changed);
        self.ask_for_place();
        self.note_moves();
    }

    /// A message that was published for a session of this shard. False if it is to be
    /// delivered as usual.
    #[cold]
    pub(super) fn goes_another_way(
        &mut self,
        to: &Receiver<'_>,
        outgoing: &mut Outgoing<'_>,
    ) -> bool {
        let (Some(session), Some(owners)) = (self.sessions.get(to.session), &self.owners) else {
            return false;
        };
        let (is_arriving, is_leaving) = {
            let (moves, client) = (&owners.moves, &session.client_id);
            (
                moves.arriving.contains_key(client),
                moves.is_leaving(client),
            )
        };
        if !is_arriving && !is_leaving {
            return false;
        }
        let (client, qos) = (session.client_id.clone(), outgoing.message().qos);
        let source = if self.is_foreign {
            let (node, shard) = way_of(outgoing.message().publisher);
            Source { node, shard }
        } else {
            Source {
                node: NODES_MAX,
                shard: owners.origin.unwrap_or(self.id),
            }
        };
        if is_arriving {
            return self.keep_direct(&client, source, qos, &mut || {
                deliver::delivery(outgoing, to)
            });
        }
        self.has_passed(&client, source)
    }

    /// Whether there is something to do without waiting.
    pub(super) fn may_move_on(&self) -> bool {
        self.has_moves && self.may_send_parts()
    }

    /// A session has ended here, or is somebody else's.
    pub(super) fn forget_moves(&mut self, client: &str) {
        self.stop_leaving(client);
        if let Some(mut arrival) = self.stop_arriving(client) {
            self.free_arrival(client, &mut arrival);
            self.say_done(client, &arrival);
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
