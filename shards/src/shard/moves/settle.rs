//! The new owner's side, from when it has a session until nothing of it comes by the former one.
//!
//! What a shard of a node publishes comes by the former owner until that shard has *turned*, and
//! directly from then on. Until it has, what comes directly is ignored: the former owner passes
//! it on. After that it is held until the former owner has passed on all that came before.

use std::collections::VecDeque;

use protocol::session::Delivery;
use protocol::wire::QoS;

use super::arrive::TURNED_MS;
use super::marks::{About, Move, Writer};
use super::{Arrival, Source, What};
use crate::bits::bits;
use crate::nodes::{OwnerRequest, RoutesAt};
use crate::shard::deliver::Receiver;
use crate::shard::frames::Outgoing;
use crate::shard::nodes::NODES_MAX;
use crate::shard::transaction::Then;
use crate::shard::{NONE, Shard};

/// Who waits to be told how far the log of routes is.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Since it was asked.
    news: Vec<Box<str>>,
    /// For whom it was asked.
    asked: Vec<Box<str>>,
}

/// What has turned, of all that publishes for a session.
#[derive(Debug)]
pub(super) struct Settling {
    /// The place in this node's log of routes that has all of the session's.
    at: RoutesAt,
    nodes: Vec<Node>,
    held: VecDeque<(Source, Held)>,
}

/// A node whose shards publish.
#[derive(Debug)]
struct Node {
    node: u16,
    /// Its life when it was asked to turn.
    life: u32,
    /// How many it has, as soon as one has turned.
    shards: Option<u16>,
    turned: Shards,
    passed: Shards,
}

/// Some of a node's shards.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shards([u64; 4]);

/// A message that is not delivered yet.
#[derive(Debug)]
struct Held {
    delivery: Delivery,
    /// What waits for it.
    transaction: u32,
}

/// What is done with a message that comes directly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// It comes by the former owner.
    Ignore,
    /// The former owner is not done with what came before.
    Hold,
    Deliver,
}

impl Shards {
    pub(super) fn set(&mut self, shard: u16) {
        if let Some(word) = self.0.get_mut(usize::from(shard / 64)) {
            *word |= 1 << (shard % 64);
        }
    }

    pub(super) fn has(self, shard: u16) -> bool {
        let word = self.0.get(usize::from(shard / 64));
        word.is_some_and(|word| word >> (shard % 64) & 1 != 0)
    }

    fn are_all(self, count: u16) -> bool {
        (0..count).all(|shard| self.has(shard))
    }

    /// Forgets those whose messages come to one of `count` shards.
    pub(super) fn forget(&mut self, shard: u16, count: u16) {
        let mut left = Self::default();
        let others = (0..256).filter(|other| self.has(*other) && other % count != shard);
        others.for_each(|other| left.set(other));
        *self = left;
    }
}

impl Settling {
    fn node(&mut self, node: u16) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|found| found.node == node)
    }

    fn way(&self, source: Source) -> Way {
        let node = self.nodes.iter().find(|found| found.node == source.node);
        match node {
            Some(node) if !node.turned.has(source.shard) => Way::Ignore,
            Some(node) if !node.passed.has(source.shard) => Way::Hold,
            Some(_) => Way::Deliver,
            None => Way::Ignore,
        }
    }

    /// Whether all that are up, in these lives, have turned, and what came before has been
    /// passed on.
    fn is_over(&self, up: &[(u16, u32)]) -> bool {
        up.iter().all(|(node, life)| {
            let mut nodes = self.nodes.iter();
            let known = nodes.find(|known| (known.node, known.life) == (*node, *life));
            known.is_some_and(Node::is_done)
        })
    }

    /// Takes what was held of a source, or of all.
    fn release(&mut self, of: impl Fn(Source) -> bool) -> Vec<Held> {
        let (free, held) = self.held.drain(..).partition::<Vec<_>, _>(|(s, _)| of(*s));
        self.held = held.into();
        free.into_iter().map(|(_, held)| held).collect()
    }
}

impl Arrival {
    /// Whether the former owner has nothing more to say of it but what it passes on.
    pub(super) fn is_whole(&self) -> bool {
        self.is_taken && self.in_force
    }
}

impl super::Moves {
    /// Whether something is to be asked.
    pub(super) fn has_questions(&self) -> bool {
        let (moves, subacks) = (&self.asking, &self.reaching);
        let has_news = !moves.news.is_empty() || !subacks.news.is_empty();
        has_news && moves.asked.is_empty() && subacks.asked.is_empty()
    }
}

impl Shard {
    /// A session is stored and its routes are in force on this node: the others are to turn to
    /// this one.
    pub(super) fn settle_move(&mut self, client: &str) {
        let session = self.find_session(client);
        let session = session.and_then(|key| self.sessions.get(key));
        let has_routes = session.is_some_and(|session| session.subscriptions.len() > 0);
        let Some(moves) = self.moves() else { return };
        let is_whole = moves.arriving.get(client).is_some_and(Arrival::is_whole);
        if !is_whole {
            return;
        }
        if has_routes {
            moves.asking.news.push(client.into());
        } else {
            self.end_arrival(client, false);
        }
    }

    /// Asks how far the log of routes is, for all who want to know.
    pub(super) fn ask_for_place(&mut self) {
        let shard = self.id;
        if let Some(owners) = &mut self.owners
            && owners.moves.has_questions()
        {
            let asking = &mut owners.moves.asking;
            asking.asked = core::mem::take(&mut asking.news);
            let reaching = &mut owners.moves.reaching;
            reaching.asked = core::mem::take(&mut reaching.news);
            owners.request(OwnerRequest::AskRoutesAt { shard });
        }
    }

    /// So far is the log: whoever has it up to there has the routes of the sessions for which
    /// it was asked.
    pub(in crate::shard) fn place_is_known(&mut self, at: RoutesAt) {
        let Some(moves) = self.moves() else { return };
        let clients = core::mem::take(&mut moves.asking.asked);
        let tickets = core::mem::take(&mut moves.reaching.asked);
        let nodes = self.nodes_that_publish();
        for client in &clients {
            let moves = self.moves();
            if let Some(arrival) = moves.and_then(|moves| moves.arriving.get_mut(client)) {
                arrival.settling = Some(Settling {
                    at,
                    nodes: nodes.iter().map(|node| Node::new(*node)).collect(),
                    held: VecDeque::new(),
                });
            }
        }
        for (node, _) in nodes {
            self.ask_to_turn(node, at, &clients);
        }
        self.ask_who_has_reached(at, tickets);
        self.ask_for_place();
    }

    /// All nodes that are up, this one as [`NODES_MAX`], and their lives.
    fn nodes_that_publish(&self) -> Vec<(u16, u32)> {
        let others = bits(self.nodes_up()).map(|node| (node, self.common.arrivals.of(node)));
        others.chain([(NODES_MAX, 0)]).collect()
    }

    fn ask_to_turn(&mut self, node: u16, at: RoutesAt, clients: &[Box<str>]) {
        let mut writer = Writer::new(About::Turn(at));
        let mut has_any = false;
        for client in clients {
            let arriving = self.owners.as_ref().map(|owners| &owners.moves.arriving);
            if let Some(arrival) = arriving.and_then(|arriving| arriving.get(client)) {
                writer.add(Move {
                    client,
                    epoch: arrival.epoch,
                    former: self.common.tag_of(arrival.former),
                });
                has_any = true;
            }
        }
        if has_any {
            self.say_marks(node, &writer.finish());
        }
    }

    /// A message for a session that settles has come directly. False if it is to be delivered.
    pub(super) fn keep_direct(
        &mut self,
        client: &str,
        source: Source,
        qos: QoS,
        delivery: &mut dyn FnMut() -> Delivery,
    ) -> bool {
        let moves = self.owners.as_ref().map(|owners| &owners.moves);
        let Some(arrival) = moves.and_then(|moves| moves.arriving.get(client)) else {
            return false;
        };
        let settling = arrival.settling.as_ref();
        match settling.map_or(Way::Ignore, |settling| settling.way(source)) {
            Way::Ignore => return true,
            Way::Deliver => return false,
            Way::Hold => {}
        }
        // Nobody waits for QoS 0.
        let transaction = match qos {
            QoS::AtMostOnce => NONE,
            _ => self.expect_answer(),
        };
        let held = Held {
            delivery: delivery(),
            transaction,
        };
        if let Some(settling) = self.settling(client) {
            settling.held.push_back((source, held));
        }
        true
    }

    fn settling(&mut self, client: &str) -> Option<&mut Settling> {
        let arrival = self.moves()?.arriving.get_mut(client)?;
        arrival.settling.as_mut()
    }

    fn settling_as(&mut self, client: &str, epoch: u64) -> Option<&mut Settling> {
        let arrival = self.moves()?.arriving.get_mut(client)?;
        arrival.settling.as_mut().filter(|_| arrival.epoch == epoch)
    }

    /// A shard of a node sends what is for the session to this one, from here on. False if
    /// the session does not settle here.
    pub(super) fn has_turned(
        &mut self,
        (client, epoch): (&str, u64),
        source: Source,
        shards: u16,
    ) -> bool {
        let Some(settling) = self.settling_as(client, epoch) else {
            return false;
        };
        if let Some(node) = settling.node(source.node) {
            node.shards = Some(shards);
            node.turned.set(source.shard);
        }
        self.look_at_settled(client);
        true
    }

    /// All that came to the former owner before has come.
    pub(super) fn was_passed(&mut self, client: &str, epoch: u64, source: Source) {
        let Some(settling) = self.settling_as(client, epoch) else {
            return;
        };
        let Some(node) = settling.node(source.node) else {
            return;
        };
        node.passed.set(source.shard);
        let free = settling.release(|held| held == source);
        self.deliver_held(client, free);
        self.look_at_settled(client);
    }

    fn look_at_settled(&mut self, client: &str) {
        let up = self.nodes_that_publish();
        if self.settling(client).is_some_and(|s| s.is_over(&up)) {
            self.end_arrival(client, false);
        }
    }

    fn deliver_held(&mut self, client: &str, free: Vec<Held>) {
        let session = self.find_session(client);
        for Held {
            delivery,
            transaction,
        } in free
        {
            let stored = session.is_some_and(|session| self.deliver_moved(session, &delivery));
            if transaction != NONE {
                // It may be one that is stored as a whole, and what is here is stored by itself.
                let part = self.open_transaction(false, Then::Part(transaction), Vec::new());
                self.wait_in_transaction(part, stored);
                self.answered(part);
            }
        }
    }

    /// Delivers a message that has waited. True if it is to be stored.
    pub(super) fn deliver_moved(&mut self, session: u32, delivery: &Delivery) -> bool {
        let touched = core::mem::take(&mut self.touched);
        let mut frames = self.frames.take().unwrap_or_default();
        frames.clear();
        let mut outgoing = Outgoing::of(&delivery.message);
        self.deliver(&mut frames, &mut outgoing, Receiver::of(session, delivery));
        outgoing.end(self.journal.as_deref_mut());
        self.frames = Some(frames);
        core::mem::replace(&mut self.touched, touched).stored
    }

    /// Looks who has come up or is gone: who is up has to turn, and nobody waits for the dead.
    pub(super) fn watch_who_settles(&mut self) {
        let nodes = self.nodes_that_publish();
        let up = self.nodes_up();
        let Some(moves) = self.moves() else { return };
        let settling = moves.arriving.iter().filter(|(_, a)| a.settling.is_some());
        let clients: Vec<Box<str>> = settling.map(|(client, _)| client.clone()).collect();
        for client in clients {
            let Some(settling) = self.settling(&client) else {
                continue;
            };
            let at = settling.at;
            let mut asked = Vec::new();
            for (node, life) in &nodes {
                match settling.node(*node) {
                    Some(known) if known.life == *life => continue,
                    Some(known) => known.life = *life,
                    None => settling.nodes.push(Node::new((*node, *life))),
                }
                asked.push(*node);
            }
            let is_gone = |node| node != NODES_MAX && up >> node & 1 == 0;
            let free = settling.release(|source| is_gone(source.node));
            self.deliver_held(&client, free);
            for node in asked {
                self.ask_to_turn(node, at, core::slice::from_ref(&client));
            }
            self.look_at_settled(&client);
        }
    }

    /// The process of a node is gone: what it had turned has not turned any more.
    pub(super) fn forget_turned(&mut self, node: u16, shard: u16) {
        let count = self.count;
        let Some(moves) = self.moves() else { return };
        for arrival in moves.arriving.values_mut() {
            let settling = arrival.settling.as_mut();
            if let Some(known) = settling.and_then(|settling| settling.node(node)) {
                known.turned.forget(shard, count);
                known.passed.forget(shard, count);
            }
        }
    }

    /// What was still special about a session that has come is over: all is delivered, and who
    /// has waited for this is told.
    pub(super) fn free_arrival(&mut self, client: &str, arrival: &mut Arrival) {
        if let Some(mut settling) = arrival.settling.take() {
            let free = settling.release(|_| true);
            self.deliver_held(client, free);
        }
        for ticket in core::mem::take(&mut arrival.tickets) {
            self.ticket_done(ticket);
        }
    }

    /// Makes a SUBACK wait while the session settles: what matches only the new subscription
    /// comes to nobody before. False if it does not settle.
    pub(in crate::shard) fn wait_for_move(&mut self, session: u32, ticket: u32) -> bool {
        let client = self.sessions.get(session).map(|s| s.client_id.clone());
        let until_ms = self.now_ms + TURNED_MS;
        let Some((moves, client)) = self.moves().zip(client) else {
            return false;
        };
        let Some(arrival) = moves.arriving.get_mut(&client) else {
            return false;
        };
        if arrival.tickets.is_empty() && arrival.is_here {
            arrival.until_ms = until_ms;
        }
        arrival.tickets.push(ticket);
        true
    }

    /// Says something to a node, or to the other shards of this one.
    pub(super) fn say_marks(&mut self, node: u16, payload: &[u8]) {
        if node == NODES_MAX {
            self.tell_marks_here(payload);
        } else {
            self.say_on(super::MARKS, node, payload);
        }
    }

    /// Tells the former owner that nothing more is needed.
    pub(super) fn say_done(&mut self, client: &str, arrival: &Arrival) {
        // It may have another life by now, and does not know that this one has given it up.
        if self.life_of(arrival.former).is_some() {
            self.say(arrival.former, client, arrival.epoch, What::Done);
        }
    }
}

impl Node {
    fn new((node, life): (u16, u32)) -> Self {
        Self {
            node,
            life,
            shards: None,
            turned: Shards::default(),
            passed: Shards::default(),
        }
    }

    fn is_done(&self) -> bool {
        let all = |shards| self.turned.are_all(shards) && self.passed.are_all(shards);
        self.shards.is_some_and(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_forgotten_by_where_their_messages_come() {
        let mut shards = Shards::default();
        (0..256).for_each(|shard| shards.set(shard));
        assert!(shards.are_all(256));
        shards.forget(1, 3);
        assert!(!shards.has(1) && shards.has(2) && shards.has(3) && !shards.has(255 - 2));
        assert!(!shards.are_all(2) && shards.are_all(1));
    }
}
