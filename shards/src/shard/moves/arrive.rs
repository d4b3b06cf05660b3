//! The new owner's side.

use log::{info, warn};
use shard_store::{Body, Change, SessionNumber, StoredSession};

use super::pack::{self, Unpacker};
use super::said::What;
use super::settle::Settling;
use crate::nodes::OwnerRequest;
use crate::shard::durable::put_session;
use crate::shard::journal::Waiter;
use crate::shard::owners::PATIENCE_MS;
use crate::shard::subscribe::{Then, Ticket};
use crate::shard::{NONE, Shard};

/// How long a client waits for the nodes that publish to turn to this one. Who is silent for so
/// long is down by then; whoever does not turn for another reason must not keep the client from
/// moving on or from its SUBACK.
pub(super) const TURNED_MS: u64 = 5000;

/// How long a node is waited for that has a session and is not up here. It is in the cluster, or
/// was when this node got the identifier: one that has just come or come back meets it soon.
const UNMET_MS: u64 = 5000;

/// A session that comes from another node.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) former: u16,
    /// Nothing as long as it is not up here.
    life: Option<u32>,
    pub(super) epoch: u64,
    /// What has come of it.
    packed: Vec<u8>,
    /// The client begins anew, and waits only to hear that its former session has ended.
    begins_anew: bool,
    /// It is in the tables.
    pub(super) is_here: bool,
    /// It is stored, and the former owner knows.
    pub(super) is_taken: bool,
    /// Its routes are in force on this node.
    pub(super) in_force: bool,
    /// The nodes that publish are asked to turn to this one.
    pub(super) settling: Option<Settling>,
    /// Who waits until all of it has come.
    pub(super) tickets: Vec<u32>,
    /// When the session is not waited for any more, nor those who are to turn.
    pub(super) until_ms: u64,
    /// Another node is to get the identifier, when all of the session has come.
    pub(super) revoked: Option<u64>,
}

impl Arrival {
    /// Whether somebody waits for it, and not longer than until its time.
    fn is_timed(&self) -> bool {
        let has_waiting = self.revoked.is_some() || !self.tickets.is_empty();
        !self.is_here || self.is_whole() && has_waiting
    }
}

impl super::Moves {
    /// Whether a client identifier that is to be given up is so later.
    pub(in crate::shard) fn revoke_later(&mut self, now_ms: u64, client: &str, epoch: u64) -> bool {
        let Some(arrival) = self.arriving.get_mut(client) else {
            return false;
        };
        arrival.revoked = Some(epoch);
        if arrival.is_here {
            arrival.until_ms = now_ms + TURNED_MS;
        }
        true
    }

    pub(super) fn next_arrival_ms(&self) -> Option<u64> {
        let arrivals = self.arriving.values();
        let arrivals = arrivals.filter(|arrival| arrival.is_timed());
        arrivals.map(|arrival| arrival.until_ms).min()
    }
}

impl Shard {
    /// When something of what arrives is due.
    pub(in crate::shard) fn next_arrival_ms(&self) -> Option<u64> {
        let moves = &self.owners.as_ref()?.moves;
        let arrival = moves.next_arrival_ms().filter(|_| self.has_moves);
        arrival.into_iter().chain(moves.reaching.next_ms()).min()
    }

    /// Asks the former owner for a session, or to end it: in both cases the client waits for
    /// the answer.
    pub(in crate::shard) fn fetch(
        &mut self,
        client: &str,
        epoch: u64,
        former: u16,
        begins_anew: bool,
    ) {
        let life = self.life_of(former);
        let patience_ms = if life.is_some() {
            PATIENCE_MS
        } else {
            UNMET_MS
        };
        let arrival = Arrival {
            former,
            life,
            epoch,
            packed: Vec::new(),
            begins_anew,
            is_here: false,
            is_taken: false,
            in_force: false,
            settling: None,
            tickets: Vec::new(),
            until_ms: self.now_ms + patience_ms,
            revoked: None,
        };
        if let Some(moves) = self.moves() {
            moves.arriving.insert(client.into(), arrival);
        }
        self.note_moves();
        if life.is_some() {
            self.ask_former_owner(client);
        }
    }

    /// Asks for a session, or says that it is to end.
    fn ask_former_owner(&mut self, client: &str) {
        let moves = self.moves();
        if let Some(arrival) = moves.and_then(|moves| moves.arriving.get(client)) {
            let what = match arrival.begins_anew {
                true => What::Discard,
                false => What::Fetch,
            };
            let (former, epoch) = (arrival.former, arrival.epoch);
            self.say(former, client, epoch, what);
        }
    }

    /// The former owners of some sessions have come up here.
    fn meet_former_owners(&mut self) {
        let Some(owners) = &self.owners else { return };
        let unmet = owners.moves.arriving.iter();
        let unmet = unmet.filter(|(_, arrival)| arrival.life.is_none());
        let met = unmet.filter_map(|(client, arrival)| {
            let life = self.life_of(arrival.former)?;
            Some((client.clone(), life))
        });
        for (client, life) in met.collect::<Vec<_>>() {
            let until_ms = self.now_ms + PATIENCE_MS;
            let moves = self.moves();
            if let Some(arrival) = moves.and_then(|moves| moves.arriving.get_mut(&client)) {
                (arrival.life, arrival.until_ms) = (Some(life), until_ms);
            }
            self.ask_former_owner(&client);
        }
    }

    fn arriving(&mut self, node: u16, client: &str, epoch: u64) -> Option<&mut Arrival> {
        let arrival = self.moves()?.arriving.get_mut(client)?;
        (arrival.former == node && arrival.epoch == epoch).then_some(arrival)
    }

    pub(super) fn part_arrived(&mut self, node: u16, client: &str, epoch: u64, bytes: &[u8]) {
        if let Some(arrival) = self.arriving(node, client, epoch) {
            arrival.packed.extend_from_slice(bytes);
        }
    }

    /// All of the session has come, or there is none.
    pub(super) fn end_arrived(&mut self, node: u16, client: &str, epoch: u64, is_there: bool) {
        let Some(arrival) = self.arriving(node, client, epoch).filter(|a| !a.is_here) else {
            return;
        };
        if !is_there {
            return self.begin_without(client);
        }
        let packed = core::mem::take(&mut arrival.packed);
        arrival.is_here = true;
        let Some(session) = self.enter_arrived(client, &packed) else {
            warn!("the session of {client} cannot be read as it came from another node");
            self.say(node, client, epoch, What::Discard);
            return self.begin_without(client);
        };
        let serial = self.sessions.get(session).map_or(0, |s| s.serial);
        match &mut self.journal {
            Some(journal) => journal.wait(Waiter::Taken { session, serial }),
            None => self.arrived_is_stored(session, serial),
        }
        self.let_in_who_has_waited(client);
        let arrived = self.sessions.get(session);
        let arrived = arrived.filter(|arrived| arrived.serial == serial);
        if arrived.is_some_and(|arrived| arrived.connection == NONE) {
            // Its client is gone already.
            self.watch_absence(session);
        }
    }

    /// Nothing more is to come for a client that waits. Whether the identifier is this node's still
    /// is asked again: it may have been without its lease meanwhile.
    fn let_in_who_has_waited(&mut self, client: &str) {
        let owners = self.owners.as_mut();
        if let Some(owners) = owners.filter(|owners| owners.begins_anew(client).is_some()) {
            let client = client.into();
            return owners.request(OwnerRequest::Claim { client });
        }
        self.let_waiting_in(client);
    }

    /// There is no session, or it does not come.
    fn begin_without(&mut self, client: &str) {
        if let Some(arrival) = self.stop_arriving(client) {
            self.revoked_by_now(client, arrival.revoked);
        }
        self.let_in_who_has_waited(client);
        self.note_moves();
    }

    /// Another node has got the identifier before all of the session has come.
    pub(in crate::shard) fn stop_fetching(&mut self, client: &str) {
        if let Some(mut arrival) = self.stop_arriving(client) {
            self.free_arrival(client, &mut arrival);
        }
        self.note_moves();
    }

    /// Nothing comes from another node any more.
    pub(super) fn stop_arriving(&mut self, client: &str) -> Option<Arrival> {
        let arrival = self.moves()?.arriving.remove(client)?;
        // If it is to be given up and has not come, the next owner asks where this one has asked.
        if arrival.revoked.is_none() || arrival.is_here || arrival.begins_anew {
            self.has_settled(client);
        }
        Some(arrival)
    }

    /// The session that was to come from the former owner is stored, or does not come.
    fn has_settled(&mut self, client: &str) {
        if let Some(owners) = &mut self.owners {
            let client = client.into();
            owners.request(OwnerRequest::Settled { client });
        }
    }

    /// Gives up an identifier that was to be given up when its session had come.
    pub(super) fn revoked_by_now(&mut self, client: &str, revoked: Option<u64>) {
        if let Some(epoch) = revoked {
            // Its client may have come back here since.
            self.turn_away(client);
            self.give_up(client.into(), epoch);
        }
    }

    /// Enters a session into the tables, and into the store with one commit.
    fn enter_arrived(&mut self, client: &str, packed: &[u8]) -> Option<u32> {
        let mut last = 0;
        let journal = &mut self.journal;
        let mut number = || match journal {
            Some(journal) => journal.number(),
            None => {
                last += 1;
                last
            }
        };
        let own_number = number();
        let unpacker = Unpacker::new(self.now_ms, packed);
        let mut stored = unpacker.session(client, &mut number)?;
        let is_stored = self.journal.is_some() && stored.record.expiry_s > 0;
        stored.number = SessionNumber(if is_stored { own_number } else { 0 });
        let changes = is_stored.then(|| changes_of(&stored));
        let then = Then::Arrived {
            client: client.into(),
        };
        let ticket = self.tickets.insert(Ticket { missing: 1, then });
        let mut missing = 1 + self.restore_session(stored, ticket);
        missing += u32::from(self.wait_for_routes(ticket));
        if let Some(held) = self.tickets.get_mut(ticket) {
            held.missing = missing;
        }
        let key = self.find_session(client)?;
        if let Some(session) = self.sessions.get_mut(key) {
            session.durable = is_stored;
            if let Some(journal) = &mut self.journal
                && let Some(changes) = changes
            {
                journal.push(put_session(session));
                journal.append(changes);
            }
        }
        self.ticket_done(ticket);
        Some(key)
    }

    /// The routes of a session that has arrived are in force.
    pub(in crate::shard) fn arrived_is_in_force(&mut self, client: &str) {
        let arrival = self
            .moves()
            .and_then(|moves| moves.arriving.get_mut(client));
        if let Some(arrival) = arrival {
            arrival.in_force = true;
            self.settle_move(client);
        }
    }

    /// A session that has arrived is stored: the former owner needs its copy no more.
    pub(in crate::shard) fn arrived_is_stored(&mut self, session: u32, serial: u32) {
        let session = self.sessions.get(session);
        let Some(session) = session.filter(|session| session.serial == serial) else {
            return;
        };
        let client = session.client_id.clone();
        let arrival = self
            .moves()
            .and_then(|moves| moves.arriving.get_mut(&client));
        if let Some(arrival) = arrival {
            arrival.is_taken = true;
            let (former, epoch) = (arrival.former, arrival.epoch);
            self.has_settled(&client);
            self.say(former, &client, epoch, What::Taken);
            self.settle_move(&client);
        }
    }

    /// A message that came to the former owner after the session had left.
    pub(super) fn late_arrived(&mut self, node: u16, client: &str, epoch: u64, bytes: &[u8]) {
        let moves = self.owners.as_ref().map(|owners| &owners.moves);
        let is_moving =
            |client| moves.is_some_and(|m| m.arriving.contains_key(client) || m.is_leaving(client));
        // Where a process was killed that knew of the move, it is better than nothing.
        let is_unknown = !is_moving(client);
        if !is_unknown && self.arriving(node, client, epoch).is_none() {
            return;
        }
        let mut unpacker = Unpacker::new(self.now_ms, bytes);
        if let Some((entry, dup)) = unpacker.entry(0)
            && let Some(session) = self.find_session(client)
        {
            self.deliver_moved(session, &pack::delivery(entry, dup));
        }
    }

    /// Ends what does not arrive any more.
    pub(super) fn watch_former_owners(&mut self, others_have_changed: bool) {
        if others_have_changed {
            self.meet_former_owners();
        }
        let Some(owners) = &self.owners else { return };
        let due_ms = owners.moves.next_arrival_ms();
        if !others_have_changed && due_ms.is_none_or(|due| due > self.now_ms) {
            return;
        }
        let mut over = Vec::new();
        for (client, arrival) in &owners.moves.arriving {
            let is_due = self.now_ms >= arrival.until_ms;
            let life = self.life_of(arrival.former);
            let is_gone = life != arrival.life || life.is_none() && is_due;
            if is_gone || is_due && arrival.is_timed() {
                over.push((client.clone(), is_gone));
            }
        }
        for (client, is_gone) in over {
            if is_gone || !self.waits_on(&client) {
                self.end_arrival(&client, is_gone);
            }
        }
    }

    /// A session that has not come is waited for as long as the node lives that has it: who
    /// wants to be let in is told to try again meanwhile, and keeps it. One that is here settles
    /// on, unless it is to move on.
    fn waits_on(&mut self, client: &str) -> bool {
        let until_ms = self.now_ms + PATIENCE_MS;
        let moves = self.moves();
        let arrival = moves.and_then(|moves| moves.arriving.get_mut(client));
        let waits = |arrival: &&mut Arrival| {
            !(arrival.begins_anew || arrival.is_here && arrival.revoked.is_some())
        };
        let Some(arrival) = arrival.filter(waits) else {
            return false;
        };
        arrival.until_ms = until_ms;
        if arrival.is_here {
            for ticket in core::mem::take(&mut arrival.tickets) {
                self.ticket_done(ticket);
            }
        }
        true
    }

    /// Nothing is special about a session any more that was to come, and has, or does not.
    pub(super) fn end_arrival(&mut self, client: &str, is_gone: bool) {
        let Some(mut arrival) = self.stop_arriving(client) else {
            return;
        };
        if !arrival.is_here {
            let why = match is_gone {
                true => "the node that had it is gone",
                false => "it did not come in time",
            };
            warn!("{client} begins with a new session: {why}");
            if !is_gone {
                self.say(arrival.former, client, arrival.epoch, What::Discard);
            }
            self.revoked_by_now(client, arrival.revoked);
            return self.let_in_who_has_waited(client);
        }
        if is_gone {
            info!("the session of {client} has arrived; its former node is gone");
        } else if arrival.revoked.is_some() && self.now_ms >= arrival.until_ms {
            warn!(
                "the session of {client} moves on, and not all nodes have said in {TURNED_MS} ms \
                 that they know where it is: messages of this time may be missing"
            );
        }
        self.free_arrival(client, &mut arrival);
        self.say_done(client, &arrival);
        self.revoked_by_now(client, arrival.revoked);
        self.note_moves();
    }
}

/// What stores a session that has arrived, but for its record.
fn changes_of(stored: &StoredSession) -> Vec<Change> {
    let session = stored.number;
    let subscriptions = stored.subscriptions.iter();
    let subscriptions = subscriptions.map(|subscription| Change::PutSubscription {
        session,
        filter: subscription.filter.clone(),
        options: subscription.options,
        identifier: subscription.identifier,
        membership: subscription.membership,
    });
    let held = stored.held.iter();
    let held = held.map(|packet_id| Change::HoldPacketId {
        session,
        packet_id: *packet_id,
    });
    let entries = stored.entries.iter();
    let entries = entries.map(|entry| Change::PutEntry {
        session,
        number: entry.number,
        body: Body::Own(std::sync::Arc::clone(&entry.message)),
        qos: entry.qos,
        retain: entry.retain,
        identifiers: entry.identifiers.clone(),
        sent: entry.sent,
        membership: entry.membership,
    });
    subscriptions.chain(held).chain(entries).collect()
}
