//! How connections and sessions end.

use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::subscriptions::Ability;
use protocol::topic::TopicName;
use protocol::wire::{Disconnect, ReasonCode, Version, encode};
use shard_store::Change;

use super::connection::{End, Phase};
use super::ending::keeps_session;
use super::input::Flow;
use super::outbox::Output;
use super::session::{Session, Will};
use super::stats::packet;
use super::texts;
use super::timers::Timer;
use super::transaction::Then;
use super::{NONE, Shard};

/// Between two looks at whether there is a lease for a will that is due.
const LEASE_PAUSE_MS: u64 = 100;

/// What becomes of a session whose will goes out.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// It goes on.
    Not,
    /// It ends with it.
    Now,
    /// It ends with a transaction that moves its messages.
    With(u32),
}

impl Shard {
    /// DISCONNECT from the client.
    pub(super) fn handle_disconnect(&mut self, key: u32, disconnect: &Disconnect<'_>) -> Flow {
        let session_key = self
            .connections
            .get(key)
            .map_or(NONE, |connection| connection.session);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.end = End::ByClient(disconnect.reason);
        }
        if let Some(session) = self.sessions.get_mut(session_key) {
            if let Some(expiry_s) = disconnect.session_expiry {
                if session.expiry_s == 0 && expiry_s > 0 {
                    return self.broke_protocol(key, ReasonCode::PROTOCOL_ERROR);
                }
                session.expiry_s = expiry_s.min(self.limits.session_expiry_max_s);
            }
            // The will is discarded [MQTT-3.14.4-3]; 0x04 and errors publish it.
            if disconnect.reason == ReasonCode::NORMAL_DISCONNECTION {
                session.will = None;
            }
        }
        self.close_silently(key);
        Flow::Stop
    }

    /// Ends a connection from this side. A 5.0 client that is connected is told why
    /// [MQTT-4.13.1-1].
    pub(super) fn disconnect(&mut self, key: u32, reason: ReasonCode) {
        self.disconnect_because(key, reason, texts::of(reason), None);
    }

    /// The same with what is wrong in words, and with a Server Reference.
    pub(super) fn disconnect_because(
        &mut self,
        key: u32,
        reason: ReasonCode,
        text: Option<&str>,
        reference: Option<&str>,
    ) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.end == End::Open {
            connection.end = End::ByServer(reason);
        }
        if connection.phase == Phase::Live && connection.version == Version::V5 {
            self.outbox.mark(connection, key);
            let size_max = connection.maximum_packet_size;
            let output = &mut connection.output.bytes;
            let text = text.filter(|_| connection.explains);
            encode::disconnect_within(output, Version::V5, reason, text, reference, size_max);
            self.stats.count_packet_sent(packet::DISCONNECT);
        }
        self.close_silently(key);
    }

    /// Ends a connection without a packet: what is in its output is still sent.
    pub(super) fn close_silently(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.phase {
            Phase::AwaitsConnect | Phase::Authenticates | Phase::Claims | Phase::Live => {}
            Phase::Closing | Phase::Gone => return,
        }
        connection.phase = Phase::Closing;
        self.outbox.mark(connection, key);
        self.detach(key);
    }

    /// The peer has closed the connection, or it broke. The engine releases it next.
    pub(crate) fn closed_by_peer(&mut self, key: u32) {
        self.finish_input(key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.phase == Phase::Gone {
            return;
        }
        connection.phase = Phase::Gone;
        connection.output = Output::default();
        self.detach(key);
    }

    /// Handles what waits in a paused connection: the client has sent it before the end, a
    /// DISCONNECT perhaps, which discards its will.
    fn finish_input(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.phase == Phase::Live && connection.paused {
            connection.paused = false;
            connection.ended = true;
            self.continue_input(key);
        }
    }

    /// Unties a connection from its session and lets the session run out.
    fn detach(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let session_key = core::mem::replace(&mut connection.session, NONE);
        connection.tail = Vec::new();
        let rates = connection.extras.take().and_then(|extras| extras.rates);
        if let Some(timer) = rates.and_then(|rates| rates.timer) {
            self.wheel.cancel(timer);
        }
        connection.pending = None;
        connection.drop_held_output();
        if let Some(timer) = connection.timer.take() {
            self.wheel.cancel(timer);
        }
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        if session.connection != key {
            return;
        }
        session.connection = NONE;
        let expires = session.expiry_s == 0;
        self.client_disconnected(key, session_key);
        let connected = self.stats.connections.get().saturating_sub(1);
        self.stats.connections.set(connected);
        self.stats.disconnected.add(1);
        if expires {
            // The will goes out at the latest when the session ends [MQTT-3.1.2-8].
            self.end_session(session_key);
            return;
        }
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        session.ends_ms = match session.expiry_s {
            u32::MAX => u64::MAX,
            seconds => self.now_ms + u64::from(seconds) * 1000,
        };
        let now_ms = self.now_ms;
        if let Some(will) = &mut session.will {
            will.due_ms = now_ms + u64::from(will.delay_s) * 1000;
        }
        // Most sessions are away most of the time: what a burst took is given back.
        session.outflow.release_memory();
        session.inflow.release_memory();
        // Groups are told everything anew when it comes back.
        session.subscriptions.take_refused(Ability::Ready);
        self.announce_presence(session_key, false);
        self.record_session(session_key);
        self.watch_absence(session_key);
    }

    /// Arms the timer of a session whose client is away: for its will, then for its end.
    pub(super) fn watch_absence(&mut self, session_key: u32) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let will_due = session.will.as_ref().map(|will| will.due_ms);
        // Without a lease this node may not know who is to get a will.
        let waits = self.fence.is_up && will_due.is_some();
        if !waits && will_due.is_some_and(|due| due <= self.now_ms) {
            self.publish_will(session_key, Ends::Not);
            self.watch_absence(session_key);
            return;
        }
        let mut due = will_due.unwrap_or(u64::MAX).min(session.ends_ms);
        if due == u64::MAX {
            return;
        }
        if waits {
            due = due.max(self.now_ms + LEASE_PAUSE_MS);
        }
        let timer = Timer::Session {
            key: session_key,
            serial: session.serial,
        };
        let armed = self.wheel.insert(due, timer);
        if let Some(earlier) = session.timer.replace(armed) {
            self.wheel.cancel(earlier);
        }
    }

    /// Publishes the will of a session, if it has one, exactly once: that it is gone, and with
    /// it perhaps the session, is stored in the same commit as the messages it leads to. Gives
    /// the transaction that sees to that, or [`NONE`]; nothing if there was no will.
    fn publish_will(&mut self, session_key: u32, ends: Ends) -> Option<u32> {
        let session = self.sessions.get_mut(session_key)?;
        let will = session.will.take()?;
        let Will {
            message, expiry_s, ..
        } = *will;
        let expires_ms = self.expiry_deadline(expiry_s);
        let message = MessageRef {
            expires_ms,
            ..Message::by_ref(&message)
        };
        let topic = TopicName::parse(message.topic, u16::MAX).ok()?;
        if self.journal.is_some() {
            match ends {
                Ends::Not => self.begin_last(self.without_will(session_key)),
                Ends::Now => self.begin_last(self.without_session(session_key)),
                Ends::With(moving) => self.begin_part(session_key, moving),
            }
        }
        let transaction = self.touched.transaction;
        self.route(topic, &message);
        Some(transaction)
    }

    /// Begins a transaction for what is stored together with the message that is routed next.
    fn begin_last(&mut self, last: Option<Change>) {
        if let Some(last) = last {
            self.open_wills += usize::from(keeps_session(&last));
            self.begin_atomic(Then::Nothing, vec![last]);
        }
    }

    /// Ends a session: its will is published, its subscriptions and messages go.
    pub(super) fn end_session(&mut self, session_key: u32) {
        self.stats.session_terminated.add(1);
        self.remove_session(session_key);
    }

    /// What [`Self::end_session`] does, and a clean start.
    pub(super) fn remove_session(&mut self, session_key: u32) {
        let number = self
            .sessions
            .get(session_key)
            .map_or(0, |found| found.number);
        let ending = self.begin_ending(session_key);
        let ends = match ending {
            NONE => Ends::Now,
            moving => Ends::With(moving),
        };
        let will = self.publish_will(session_key, ends);
        let left_behind = self.take_left_behind(session_key);
        self.drop_subscriptions(session_key);
        let moving = self.redistribute(left_behind, number, ending);
        let Some(session) = self.unlink_session(session_key) else {
            return;
        };
        if self.journal.is_some() {
            self.drop_stored_session(&session, will, moving);
        }
        if self.owners.is_some() {
            self.ended_session(&session.client_id);
        }
    }

    /// Takes a session out of the tables.
    pub(super) fn unlink_session(&mut self, session_key: u32) -> Option<Session> {
        let session = self.sessions.remove(session_key)?;
        if let Some(timer) = session.timer {
            self.wheel.cancel(timer);
        }
        let hash = self.seed.hash(&session.client_id);
        if let Ok(entry) = self.clients.find_entry(hash, |key| *key == session_key) {
            entry.remove();
        }
        self.stats.sessions.set(self.sessions.len() as u64);
        Some(session)
    }

    /// Whether there is a session under this key.
    pub(super) fn is_alive(&self, session: u32) -> bool {
        self.sessions.get(session).is_some()
    }

    /// Ends all connections because the broker stops: 5.0 clients get 0x8B, or 0x9C and where
    /// to go.
    pub(crate) fn shut_down(&mut self) {
        let keys = self.connections.keys().filter(|key| !self.is_node(*key));
        let keys: Vec<u32> = keys.collect();
        for key in keys {
            self.end_for_shutdown(key);
        }
        self.end_fence();
    }

    /// Ends a connection because the node stops.
    pub(super) fn end_for_shutdown(&mut self, key: u32) {
        let limits = Arc::clone(&self.limits);
        if limits.server_reference.is_empty() {
            self.disconnect(key, ReasonCode::SERVER_SHUTTING_DOWN);
        } else {
            self.send_away(key, &limits.server_reference, false);
        }
    }

    /// Ends a connection and tells a 5.0 client where to go, if that is known: for now, or for
    /// good.
    pub(super) fn send_away(&mut self, key: u32, reference: &str, permanently: bool) {
        let reason = if permanently {
            ReasonCode::SERVER_MOVED
        } else {
            ReasonCode::USE_ANOTHER_SERVER
        };
        let reference = (!reference.is_empty()).then_some(reference);
        self.disconnect_because(key, reason, None, reference);
    }
}
