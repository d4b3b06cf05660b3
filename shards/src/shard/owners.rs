//! Whose a client identifier is: in a cluster, one node's at a time.
//!
//! A CONNECT waits until this node has the client identifier. Nothing else of its client is
//! handled meanwhile; what it sends is kept as far as that of a paused connection. What the
//! cluster decides comes from the thread with the links, which also answers for identifiers
//! that this node has already.
//!
//! | it says | this shard |
//! |---|---|
//! | granted | lets the client in; if another node had it, gets the session from there first |
//! | denied | refuses the client, or drops the session that it has from a former life |
//! | revoke | closes the connection and keeps the session for the next owner |
//! | drop | drops what it keeps: others have had the client since |

use std::collections::HashMap;

use protocol::wire::{self, Connect, ReasonCode};

use super::connection::Phase;
use super::exclusive::Asked;
use super::input::Flow;
use super::moves::Moves;
use super::timers::Timer;
use super::{NONE, Shard};
use crate::nodes::{OwnerEvent, OwnerRequest, exclusive_filter};

/// How long a CONNECT waits for its client identifier and its session.
pub(super) const PATIENCE_MS: u64 = 8_000;

/// How long it waits for a lease of this node: without, nobody can say whose it is.
const LEASE_PATIENCE_MS: u64 = 4_000;

/// What a shard has to do with the owners of client identifiers.
#[derive(Debug, Default)]
pub(super) struct Owners {
    requests: Vec<OwnerRequest>,
    /// Client identifiers whose session has ended in this turn.
    ended: Vec<Box<str>>,
    /// Clients that wait.
    waiting: HashMap<Box<str>, Waiting>,
    /// Filters that one session may have for itself and the cluster was asked for.
    pub(super) filters: HashMap<Box<str>, Asked>,
    pub(super) moves: Moves,
    /// The other shard of this node by which the message comes that is being delivered.
    pub(super) origin: Option<u16>,
}

/// A CONNECT that waits.
#[derive(Debug)]
struct Waiting {
    key: u32,
    serial: u32,
    until_ms: u64,
    clean_start: bool,
    first: u8,
    body: Vec<u8>,
    /// What its authentication says at the end.
    data: Option<Vec<u8>>,
}

impl Owners {
    /// Whether a client that waits begins anew; nothing if none waits.
    pub(super) fn begins_anew(&self, client: &str) -> Option<bool> {
        self.waiting.get(client).map(|waiting| waiting.clean_start)
    }

    pub(super) fn request(&mut self, request: OwnerRequest) {
        self.requests.push(request);
    }

    /// The session of a client has ended: nobody needs the identifier here, unless somebody has
    /// come for it by the end of the turn.
    pub(super) fn end(&mut self, client: Box<str>) {
        self.ended.push(client);
    }
}

impl Shard {
    /// What is delivered from here on was published on this shard, or has come from another one.
    #[inline]
    pub(super) fn comes_from(&mut self, origin: Option<u16>) {
        if let Some(owners) = &mut self.owners {
            owners.origin = origin;
        }
    }

    /// Keeps a CONNECT until its client identifier is this node's. One that waits already under
    /// the same identifier is overtaken [MQTT-3.1.4-3].
    pub(super) fn claim_client(
        &mut self,
        key: u32,
        connect: &Connect<'_>,
        client_id: &str,
        (first, body): (u8, &[u8]),
        data: Option<&[u8]>,
    ) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        connection.phase = Phase::Claims;
        connection.paused = true;
        let serial = connection.serial;
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        let timer = Timer::Connection { key, serial };
        let due_ms = self.now_ms + LEASE_PATIENCE_MS;
        connection.timer = Some(self.wheel.insert(due_ms, timer));
        let waiting = Waiting {
            until_ms: self.now_ms + PATIENCE_MS,
            key,
            serial,
            clean_start: connect.clean_start,
            first,
            body: body.to_vec(),
            data: data.map(<[u8]>::to_vec),
        };
        if let Some(owners) = &mut self.owners {
            let client: Box<str> = client_id.into();
            owners.requests.push(OwnerRequest::Claim {
                client: client.clone(),
            });
            if let Some(overtaken) = owners.waiting.insert(client, waiting) {
                self.refuse_waiting(&overtaken);
            }
        }
        Flow::Continue
    }

    /// What this turn has to say about client identifiers.
    pub(crate) fn take_owner_requests(&mut self) -> Option<Vec<OwnerRequest>> {
        let owners = self.owners.as_mut()?;
        let ended = core::mem::take(&mut owners.ended);
        let mut requests = core::mem::take(&mut owners.requests);
        for client in ended {
            let is_wanted = self.find_session(&client).is_some()
                || self.owners.as_ref().is_some_and(|owners| {
                    owners.waiting.contains_key(&client) || owners.moves.is_arriving(&client)
                });
            if !is_wanted {
                requests.push(OwnerRequest::Release { client });
            }
        }
        (!requests.is_empty()).then_some(requests)
    }

    /// What the cluster has decided.
    pub(crate) fn owner_events(&mut self, events: Vec<OwnerEvent>) {
        for event in events {
            if let Some(filter) = event.client().and_then(exclusive_filter) {
                match event {
                    OwnerEvent::Granted { .. } => self.filter_granted(filter),
                    OwnerEvent::Denied { .. } => self.filter_denied(filter),
                    OwnerEvent::Revoke { epoch, .. } => self.filter_revoked(filter, epoch),
                    OwnerEvent::Drop { .. }
                    | OwnerEvent::RoutesAt { .. }
                    | OwnerEvent::PassedOn { .. }
                    | OwnerEvent::RoutesKnown { .. } => {}
                }
                continue;
            }
            match event {
                OwnerEvent::Granted {
                    client,
                    epoch,
                    former,
                } => self.granted_client(&client, epoch, former),
                OwnerEvent::Denied { client } => self.denied_client(&client),
                OwnerEvent::Revoke { client, epoch } => self.revoke_client(client, epoch),
                OwnerEvent::Drop { client } => self.drop_out_of_date(&client),
                OwnerEvent::RoutesAt { at, .. } => self.place_is_known(at),
                OwnerEvent::PassedOn { .. } => self.routes_are_passed_on(),
                OwnerEvent::RoutesKnown { node, payload, .. } => self.turn_to(node, &payload),
            }
        }
    }

    fn granted_client(&mut self, client: &str, epoch: u64, former: Option<u16>) {
        let Some(owners) = &self.owners else { return };
        let begins_anew = owners.begins_anew(client);
        match former {
            // Its session is on its way.
            None if owners.moves.is_awaited(client) => {}
            None => {
                // Nobody has come for what was kept.
                self.keep_after_all(client);
                self.let_waiting_in(client);
            }
            Some(node) if owners.moves.has_come_from(client, node) => self.let_waiting_in(client),
            Some(node) => {
                // What is here was given up, and moved on since.
                self.drop_given_up(client);
                self.fetch(client, epoch, node, begins_anew == Some(true));
            }
        }
    }

    fn denied_client(&mut self, client: &str) {
        let Some(owners) = &mut self.owners else {
            return;
        };
        let waiting = owners.waiting.remove(client);
        self.stop_fetching(client);
        let Some(owners) = &self.owners else {
            return;
        };
        if let Some(waiting) = waiting {
            self.refuse_waiting(&waiting);
        } else if !owners.moves.is_leaving(client)
            && let Some(session) = self.find_session(client)
        {
            // It is from a former life, and another node has the client by now.
            self.take_over(session, false);
            self.drop_session_silently(client);
        }
    }

    /// A client is another node's from here on: its connection ends, or is not let in.
    pub(super) fn turn_away(&mut self, client: &str) {
        if let Some(session) = self.find_session(client) {
            self.take_over(session, false);
        }
        let owners = self.owners.as_mut();
        if let Some(waiting) = owners.and_then(|owners| owners.waiting.remove(client)) {
            self.refuse_waiting(&waiting);
        }
    }

    fn revoke_client(&mut self, client: Box<str>, epoch: u64) {
        if let Some(session) = self.find_session(&client) {
            self.take_over(session, false);
        }
        let Some(owners) = &mut self.owners else {
            return;
        };
        if owners.moves.revoke_later(self.now_ms, &client, epoch) {
            // It has not got all of the session itself yet.
            if let Some(waiting) = owners.waiting.remove(&client) {
                self.refuse_waiting(&waiting);
            }
            return;
        }
        self.give_up(client, epoch);
    }

    /// Lets in the client that waits, if one does.
    pub(super) fn let_waiting_in(&mut self, client: &str) {
        let owners = self.owners.as_mut();
        if let Some(waiting) = owners.and_then(|owners| owners.waiting.remove(client)) {
            self.let_in_now(client, &waiting);
        }
        if self.find_session(client).is_none()
            && let Some(owners) = &mut self.owners
        {
            owners.end(client.into());
        }
    }

    fn let_in_now(&mut self, client: &str, waiting: &Waiting) {
        let key = waiting.key;
        if !self.still_waits(waiting) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.paused = false;
        }
        // It was decoded before.
        let Ok(connect) = wire::decode_connect(waiting.first, &waiting.body) else {
            return self.close_silently(key);
        };
        self.let_in(key, connect, client, waiting.data.as_deref());
        self.continue_input(key);
    }

    fn still_waits(&self, waiting: &Waiting) -> bool {
        let connection = self.connections.get(waiting.key);
        connection.is_some_and(|connection| {
            connection.serial == waiting.serial && connection.phase == Phase::Claims
        })
    }

    /// The client does not get its identifier, or not now.
    fn refuse_waiting(&mut self, waiting: &Waiting) {
        if !self.still_waits(waiting) {
            return;
        }
        match wire::decode_connect(waiting.first, &waiting.body) {
            Ok(connect) => {
                self.refuse(waiting.key, &connect, ReasonCode::SERVER_UNAVAILABLE);
            }
            Err(_) => self.close_silently(waiting.key),
        }
    }

    /// A client has waited for too long.
    pub(super) fn claim_due(&mut self, key: u32, serial: u32) {
        let (now_ms, is_fenced) = (self.now_ms, self.is_fenced());
        let Some(owners) = &mut self.owners else {
            return;
        };
        let mut waiting = owners.waiting.iter();
        let is_it = |waiting: &Waiting| (waiting.key, waiting.serial) == (key, serial);
        let client = waiting.find(|(_, waiting)| is_it(waiting));
        let until_ms = client.map_or(0, |(_, waiting)| waiting.until_ms);
        if until_ms > now_ms && !is_fenced {
            return self.wait_on(key, serial, until_ms);
        }
        let client = client.map(|(client, _)| client.clone());
        match client.and_then(|client| owners.waiting.remove(&client)) {
            Some(waiting) => self.refuse_waiting(&waiting),
            None => self.close_silently(key),
        }
    }

    fn wait_on(&mut self, key: u32, serial: u32, until_ms: u64) {
        let timer = Timer::Connection { key, serial };
        if let Some(connection) = self.connections.get_mut(key) {
            connection.timer = Some(self.wheel.insert(until_ms, timer));
        }
    }

    /// A session of this shard has ended.
    pub(super) fn ended_session(&mut self, client: &str) {
        self.forget_moves(client);
        if let Some(owners) = &mut self.owners {
            owners.end(client.into());
        }
    }

    /// A session leaves the tables and the disk, without its will and without leaving anything
    /// to others: another node has it.
    pub(super) fn drop_session_silently(&mut self, client: &str) {
        let Some(key) = self.find_session(client) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(key) {
            session.will = None;
        }
        self.drop_subscriptions(key);
        if let Some(session) = self.unlink_session(key)
            && self.journal.is_some()
        {
            self.drop_stored_session(&session, None, NONE);
        }
    }
}
