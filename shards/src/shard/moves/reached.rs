//! What a SUBACK waits for when the subscription is in force on its node.
//!
//! `cluster.suback = "local"`: until the thread with the links has sent the routes. No other node
//! is waited for, but they have a head start: a client that publishes on another node as soon as
//! it sees the SUBACK would come before them otherwise.
//!
//! `cluster.suback = "acked"`: until all nodes that are up have the routes.
//!
//! ```text
//!   the client's shard                       each node that is up
//!     │ the subscription is in force here      │
//!     │ how far is the log of routes?          │
//!     │ ── Reach (so far) ───────────────────> │ when its routes are in force up to there:
//!     │ <────────────────────────── Reached ── │
//!     │ SUBACK                                 │
//! ```
//!
//! One question serves all who have come since the last one. The answer goes to all shards: it
//! holds for whoever waits for no more. Who is down, or has another life by now, is not waited for:
//! a node copies the routes of the others before it acknowledges anything.

use std::collections::VecDeque;

use log::warn;

use super::marks::{About, Writer};
use crate::bits::bits;
use crate::nodes::{OwnerRequest, RoutesAt};
use crate::shard::Shard;
use crate::shard::owners::PATIENCE_MS;

/// Tickets that wait for other nodes.
#[derive(Debug, Default)]
pub(super) struct Reaching {
    /// Since it was asked how far the log is.
    pub(super) news: Vec<u32>,
    /// For which that was asked.
    pub(super) asked: Vec<u32>,
    rounds: VecDeque<Round>,
}

/// Tickets that wait until their routes are on the way.
#[derive(Debug, Default)]
pub(super) struct Passing {
    /// Since it was asked.
    news: Vec<u32>,
    asked: Vec<u32>,
}

/// Tickets that wait until a place of the log is reached.
#[derive(Debug)]
struct Round {
    at: RoutesAt,
    tickets: Vec<u32>,
    /// Who has not answered, and its life when it was asked.
    nodes: Vec<(u16, u32)>,
    until_ms: u64,
}

impl Reaching {
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.rounds.front().map(|round| round.until_ms)
    }
}

impl Shard {
    /// Whether a SUBACK waits for other nodes.
    #[inline]
    pub(in crate::shard) fn waits_for_nodes(&self) -> bool {
        let moves = self.owners.as_ref().map(|owners| &owners.moves);
        moves.is_some_and(|moves| !moves.reaching.rounds.is_empty())
    }

    /// Makes a SUBACK, with all that it says in force on this node, wait for what goes to the
    /// others. False if there are none.
    pub(in crate::shard) fn wait_for_nodes(&mut self, ticket: u32) -> bool {
        if self.nodes_up() == 0 {
            return false;
        }
        let is_acked = self.common.suback_acked;
        let Some(moves) = self.moves() else {
            return false;
        };
        if is_acked {
            moves.reaching.news.push(ticket);
            self.ask_for_place();
        } else {
            moves.passing.news.push(ticket);
            self.ask_when_passed_on();
        }
        true
    }

    /// One question serves all who have come since the last one.
    fn ask_when_passed_on(&mut self) {
        let shard = self.id;
        let Some(owners) = &mut self.owners else {
            return;
        };
        let passing = &mut owners.moves.passing;
        if passing.asked.is_empty() && !passing.news.is_empty() {
            passing.asked = core::mem::take(&mut passing.news);
            owners.request(OwnerRequest::AskPassedOn { shard });
        }
    }

    /// What was asked for last is on its way to the other nodes.
    pub(in crate::shard) fn routes_are_passed_on(&mut self) {
        let Some(moves) = self.moves() else { return };
        let tickets = core::mem::take(&mut moves.passing.asked);
        tickets
            .into_iter()
            .for_each(|ticket| self.ticket_done(ticket));
        self.ask_when_passed_on();
    }

    /// So far is the log that has what `tickets` wait for.
    pub(super) fn ask_who_has_reached(&mut self, at: RoutesAt, tickets: Vec<u32>) {
        if tickets.is_empty() {
            return;
        }
        let up = bits(self.nodes_up());
        let nodes: Vec<_> = up.filter_map(|n| Some((n, self.life_of(n)?))).collect();
        for (node, _) in &nodes {
            self.say_marks(*node, &Writer::new(About::Reach(at)).finish());
        }
        let until_ms = self.now_ms + PATIENCE_MS;
        if let Some(moves) = self.moves() {
            moves.reaching.rounds.push_back(Round {
                at,
                tickets,
                nodes,
                until_ms,
            });
        }
        self.look_who_has_reached();
    }

    /// Another node has this one's routes up to a place.
    pub(super) fn has_reached(&mut self, node: u16, at: RoutesAt) {
        let Some(moves) = self.moves() else { return };
        let place = |at: RoutesAt| (at.incarnation, at.sequence);
        for round in &mut moves.reaching.rounds {
            if place(round.at) <= place(at) {
                round.nodes.retain(|(waited_for, _)| *waited_for != node);
            }
        }
        self.look_who_has_reached();
    }

    /// Ends the waiting that is over.
    pub(in crate::shard) fn look_who_has_reached(&mut self) {
        let now_ms = self.now_ms;
        let Some(moves) = self.moves() else { return };
        let mut over = Vec::new();
        let rounds = core::mem::take(&mut moves.reaching.rounds);
        let mut left = VecDeque::new();
        for mut round in rounds {
            let lives = |(node, life): &(u16, u32)| self.life_of(*node) == Some(*life);
            round.nodes.retain(lives);
            if round.nodes.is_empty() {
                over.extend(round.tickets);
            } else if round.until_ms <= now_ms {
                warn!(
                    "{} nodes do not say that they have the routes of new subscriptions: their \
                     clients are answered without",
                    round.nodes.len()
                );
                over.extend(round.tickets);
            } else {
                left.push_back(round);
            }
        }
        if let Some(moves) = self.moves() {
            moves.reaching.rounds = left;
        }
        over.into_iter().for_each(|ticket| self.ticket_done(ticket));
    }
}
