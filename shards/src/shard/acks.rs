//! Acknowledgements, in both directions.

use std::collections::VecDeque;

use protocol::message::MessageRef;
use protocol::session::{AckOutcome, Unknown};
use protocol::wire::encode;
use protocol::wire::{Ack, Publish, QoS, ReasonCode, Version};
use shard_store::Change;

use super::connection::{AckKind, Answer, Connection, PendingAck, Phase};
use super::events::{Event, reason_text};
use super::input::Flow;
use super::journal::Journal;
use super::publish::Routed;
use super::stats::packet;
use super::texts;
use super::transaction::{Later, Then, Touched, Waiting};
use super::{NONE, Shard};

impl Shard {
    /// Answers a PUBLISH that was routed: at once, or when the other shards that get it
    /// have accepted it.
    #[inline]
    pub(super) fn acknowledge(
        &mut self,
        key: u32,
        session: u32,
        publish: &Publish<'_>,
        routed: Routed,
    ) -> Flow {
        let Some(packet_id) = publish.packet_id else {
            return Flow::Continue;
        };
        let reason = if routed.retain_refused {
            ReasonCode::QUOTA_EXCEEDED
        } else if routed.matched {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::NO_MATCHING_SUBSCRIBERS
        };
        let mut durable = false;
        if publish.qos == QoS::ExactlyOnce
            && !reason.is_error()
            && let Some(session) = self.sessions.get_mut(session)
        {
            session.inflow.hold(packet_id);
            durable = session.durable;
        }
        let kind = ack_kind(publish.qos);
        let answer = Answer {
            packet_id,
            kind,
            reason,
        };
        if !durable && !routed.touched.is_stored() && routed.waits.is_empty() {
            return self.answer_in_turn(key, answer, 0);
        }
        self.answer_later(key, session, answer, routed)
    }

    /// Answers a PUBLISH when the shards that get it have accepted it and stored it.
    pub(super) fn answer_later(
        &mut self,
        key: u32,
        session: u32,
        answer: Answer,
        routed: Routed,
    ) -> Flow {
        let mut ack = PendingAck {
            waits: routed.waits,
            ..PendingAck::new(answer, 0)
        };
        if self.journal.is_some() || routed.touched.transaction != NONE {
            self.wait_for_store(key, session, &mut ack, routed.touched);
        }
        let flow = if ack.waits.is_empty() && ack.later == 0 {
            self.answer_in_turn(key, answer, ack.commit)
        } else {
            self.queue_ack(key, ack)
        };
        if routed.touched.transaction != NONE {
            self.answered(routed.touched.transaction);
        }
        flow
    }

    /// Writes an acknowledgement that waits for a commit at most, behind those of earlier
    /// packets [MQTT-4.6.0-2], [MQTT-4.6.0-3].
    #[inline]
    pub(super) fn answer_in_turn(&mut self, key: u32, answer: Answer, commit: u64) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        if connection.pending_acks() > 0 || self.fence.is_up {
            return self.queue_ack(key, PendingAck::new(answer, commit));
        }
        self.outbox.mark(connection, key);
        give_ack(connection, key, self.journal.as_deref_mut(), answer, commit);
        self.stats.count_packet_sent(packet_type(answer.kind));
        Flow::Continue
    }

    /// Makes an acknowledgement wait for what is stored of its message.
    fn wait_for_store(&mut self, key: u32, session: u32, ack: &mut PendingAck, touched: Touched) {
        let Touched {
            mut stored,
            transaction,
            atomic,
        } = touched;
        if atomic {
            if ack.answer.reason.is_error() {
                self.refuse_in(transaction);
            }
            ack.later += 1;
            return;
        }
        let packet_id = ack.answer.packet_id;
        if ack.answer.kind == AckKind::PubRec
            && !ack.answer.reason.is_error()
            && let Some((journal, session)) = self.durable(session)
        {
            journal.push(Change::HoldPacketId { session, packet_id });
            stored = true;
        }
        if transaction != NONE {
            ack.later += 1;
            let waiting = self.waiting(key, ack.answer);
            self.set_then(transaction, Then::Acknowledge(waiting));
        }
        if stored {
            ack.commit = self.journal.as_ref().map_or(0, |journal| journal.last());
        }
    }

    fn waiting(&self, key: u32, answer: Answer) -> Waiting {
        Waiting {
            key,
            serial: self.connections.get(key).map_or(0, |found| found.serial),
            packet_id: answer.packet_id,
            kind: answer.kind,
        }
    }

    /// There is no room to store the message. A 5.0 client is told; a 3.x client cannot be,
    /// and its connection is closed so that it sends the message again.
    pub(super) fn refuse_unstored(&mut self, key: u32, publish: &Publish<'_>) -> Flow {
        let v5 = self.connections.get(key).map(|found| found.version) == Some(Version::V5);
        if v5 {
            return self.refuse_publish(key, publish, ReasonCode::QUOTA_EXCEEDED);
        }
        self.stats.dropped.add(1);
        self.close_silently(key);
        Flow::Stop
    }

    /// Another shard has accepted a publish and is going to say when it is stored.
    pub(super) fn stored_later(&mut self, from: u16, publish: u64) {
        let Some(peer) = self.peers.get_mut(usize::from(from)) else {
            return;
        };
        if peer.has_later(publish) {
            return;
        }
        let Some((key, serial)) = peer.who_waits(publish) else {
            return;
        };
        let connection = self.connections.get_mut(key);
        let connection = connection.filter(|connection| connection.serial == serial);
        let pending = connection.and_then(|connection| connection.pending.as_mut());
        let mut acks = pending.into_iter().flat_map(|pending| pending.iter_mut());
        let Some(ack) = acks.find(|ack| ack.waits.contains(&(from, publish))) else {
            return;
        };
        ack.later += 1;
        let waiting = Waiting {
            key,
            serial,
            packet_id: ack.answer.packet_id,
            kind: ack.answer.kind,
        };
        peer.wait_later(publish, Later::Ack(waiting));
    }

    /// What an acknowledgement waited for is stored.
    pub(super) fn stored_elsewhere(&mut self, waiting: Waiting) {
        let Waiting {
            key,
            serial,
            packet_id,
            kind,
        } = waiting;
        let connection = self.connections.get_mut(key);
        let connection = connection.filter(|connection| connection.serial == serial);
        let pending = connection.and_then(|connection| connection.pending.as_mut());
        let mut acks = pending.into_iter().flat_map(|pending| pending.iter_mut());
        let waits = |ack: &&mut PendingAck| ack.later > 0 && ack.answer.is(packet_id, kind);
        if let Some(ack) = acks.find(waits) {
            ack.later -= 1;
            self.release_acks(key, serial);
        }
    }

    /// The message is not taken: a 5.0 client is told, a 3.x client cannot be, and gets the
    /// acknowledgement as if it had been [MQTT-3.3.5-2] (3.1.1).
    pub(super) fn refuse_publish(
        &mut self,
        key: u32,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Flow {
        self.stats.dropped.add(1);
        self.stats.refused.add(1);
        if self.wants(Event::MessageDropped) {
            self.publish_refused(key, publish, reason);
        }
        let Some(packet_id) = publish.packet_id else {
            return Flow::Continue;
        };
        let kind = ack_kind(publish.qos);
        let answer = Answer {
            packet_id,
            kind,
            reason,
        };
        self.answer_in_turn(key, answer, 0)
    }

    /// The event of a message that is not taken.
    fn publish_refused(&mut self, key: u32, publish: &Publish<'_>, reason: ReasonCode) {
        let message = MessageRef {
            topic: publish.topic,
            properties: &[],
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: u64::MAX,
            publisher: u64::MAX,
        };
        self.message_dropped(key, &message, &reason_text(reason));
    }

    /// A QoS 2 PUBLISH that is held already is answered and not routed again
    /// [MQTT-4.3.3-10].
    pub(super) fn repeat_pubrec(&mut self, key: u32, publish: &Publish<'_>) -> Flow {
        let Some(packet_id) = publish.packet_id else {
            return Flow::Continue;
        };
        let waiting = self.connections.get(key).is_some_and(|connection| {
            connection.pending.iter().any(|pending| {
                pending
                    .iter()
                    .any(|ack| ack.answer.is(packet_id, AckKind::PubRec))
            })
        });
        if waiting {
            // Its PUBREC is on the way.
            return Flow::Continue;
        }
        let reason = ReasonCode::SUCCESS;
        let kind = ack_kind(publish.qos);
        let answer = Answer {
            packet_id,
            kind,
            reason,
        };
        if !self.atomics.is_empty() {
            // It may have come on an earlier connection and not be stored yet.
            let session = self
                .connections
                .get(key)
                .map_or(NONE, |found| found.session);
            let number = self.sessions.get(session).map_or(0, |found| found.number);
            if self.attach_to_atomic(self.waiting(key, answer), number) {
                let ack = PendingAck {
                    later: 1,
                    ..PendingAck::new(answer, 0)
                };
                return self.queue_ack(key, ack);
            }
        }
        self.answer_in_turn(key, answer, 0)
    }

    /// Acknowledgements go out in the order of the PUBLISH packets [MQTT-4.6.0-2],
    /// [MQTT-4.6.0-3]: one that waits for nothing still waits for those before it.
    fn queue_ack(&mut self, key: u32, ack: PendingAck) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        let serial = connection.serial;
        for &(peer, sent) in &ack.waits {
            if let Some(peer) = self.peers.get_mut(usize::from(peer)) {
                peer.wait(sent, key, serial);
            }
        }
        connection
            .pending
            .get_or_insert_with(|| Box::new(VecDeque::new()))
            .push_back(ack);
        if self.fence.is_up {
            self.wait_for_lease(key, serial);
        }
        Flow::Continue
    }

    /// Sends the acknowledgements of a connection that wait for nothing any more.
    pub(super) fn release_acks(&mut self, key: u32, serial: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial || connection.phase != Phase::Live {
            return;
        }
        if self.fence.is_up {
            return self.wait_for_lease(key, serial);
        }
        let Some(mut pending) = connection.pending.take() else {
            return;
        };
        while let Some(ack) = pending.front() {
            let waits = ack.waits.iter().any(|&(peer, sent)| {
                self.peers
                    .get(usize::from(peer))
                    .is_some_and(|peer| peer.accepted() < sent)
            });
            if waits || ack.later > 0 {
                break;
            }
            self.outbox.mark(connection, key);
            let journal = self.journal.as_deref_mut();
            give_ack(connection, key, journal, ack.answer, ack.commit);
            self.stats.count_packet_sent(packet_type(ack.answer.kind));
            pending.pop_front();
        }
        if !pending.is_empty() {
            connection.pending = Some(pending);
        }
    }

    /// Another shard has not taken a message: its acknowledgement will say so. If the disk is
    /// full, a 3.x client is not answered at all, as in [`Shard::refuse_unstored`].
    pub(super) fn refuse_pending(&mut self, key: u32, serial: u32, wait: (u16, u64), full: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.serial != serial {
            return;
        }
        let pending = connection
            .pending
            .iter_mut()
            .flat_map(|pending| pending.iter_mut());
        for ack in pending.filter(|ack| ack.waits.contains(&wait)) {
            ack.answer.reason = ReasonCode::QUOTA_EXCEEDED;
            // The client is not going to release it.
            if ack.answer.kind == AckKind::PubRec
                && let Some(session) = self.sessions.get_mut(connection.session)
            {
                session.inflow.release(ack.answer.packet_id);
            }
        }
        if full && connection.version != Version::V5 {
            self.stats.dropped.add(1);
            self.close_silently(key);
        }
    }

    pub(super) fn handle_pubrel(&mut self, key: u32, ack: &Ack<'_>) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        let Some(session) = self.sessions.get_mut(connection.session) else {
            return Flow::Stop;
        };
        let session_key = connection.session;
        let held = session.inflow.release(ack.packet_id);
        let reason = if held {
            ReasonCode::SUCCESS
        } else {
            self.stats.missed[packet::PUBREL].add(1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        let packet_id = ack.packet_id;
        let answer = Answer {
            packet_id,
            kind: AckKind::PubComp,
            reason,
        };
        let mut commit = 0;
        if held && self.journal.is_some() && self.record_release(session_key, packet_id) {
            commit = self.journal.as_ref().map_or(0, |journal| journal.last());
        }
        self.answer_in_turn(key, answer, commit)
    }

    #[inline]
    pub(super) fn handle_puback(&mut self, key: u32, ack: &Ack<'_>) -> Flow {
        if self.wants(Event::MessageAcked) {
            self.message_acked(key, ack.packet_id, QoS::AtLeastOnce);
        }
        self.acknowledged(key, packet::PUBACK, |outflow| outflow.puback(ack.packet_id))
    }

    pub(super) fn handle_pubcomp(&mut self, key: u32, ack: &Ack<'_>) -> Flow {
        self.acknowledged(key, packet::PUBCOMP, |outflow| {
            outflow.pubcomp(ack.packet_id)
        })
    }

    pub(super) fn handle_pubrec(&mut self, key: u32, version: Version, ack: &Ack<'_>) -> Flow {
        if self.wants(Event::MessageAcked) && !ack.reason.is_error() {
            self.message_acked(key, ack.packet_id, QoS::ExactlyOnce);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        let Some(session) = self.sessions.get_mut(connection.session) else {
            return Flow::Stop;
        };
        match session.outflow.pubrec(ack.packet_id, ack.reason.is_error()) {
            Ok(AckOutcome::Release(stored)) => {
                self.outbox.mark(connection, key);
                let pubrel = |connection: &mut Connection| {
                    let output = &mut connection.output.bytes;
                    encode::pubrel(output, version, ack.packet_id, ReasonCode::SUCCESS);
                };
                if session.durable
                    && let Some(journal) = &mut self.journal
                {
                    // After a crash it must not be sent again as PUBLISH [MQTT-4.3.3-6].
                    journal.mark_sent(session.number, stored, ack.packet_id, true);
                    connection.hold_output(journal, key, pubrel);
                } else {
                    pubrel(connection);
                }
                self.stats.count_packet_sent(packet::PUBREL);
                Flow::Continue
            }
            Ok(AckOutcome::Done(stored)) => {
                let session = connection.session;
                self.drop_entry(session, stored);
                self.send_queued(session);
                self.tell_groups(session);
                Flow::Continue
            }
            Err(Unknown::Identifier) => {
                self.stats.missed[packet::PUBREC].add(1);
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                if !ack.reason.is_error() {
                    self.outbox.mark(connection, key);
                    encode::pubrel(&mut connection.output.bytes, version, ack.packet_id, reason);
                    self.stats.count_packet_sent(packet::PUBREL);
                }
                Flow::Continue
            }
            Err(Unknown::Kind) => self.broke_protocol(key, ReasonCode::PROTOCOL_ERROR),
        }
    }

    #[inline]
    fn acknowledged(
        &mut self,
        key: u32,
        kind: usize,
        apply: impl FnOnce(&mut protocol::session::Outflow) -> Result<AckOutcome, Unknown>,
    ) -> Flow {
        let Some(connection) = self.connections.get(key) else {
            return Flow::Stop;
        };
        let session_key = connection.session;
        let Some(session) = self.sessions.get_mut(session_key) else {
            return Flow::Stop;
        };
        match apply(&mut session.outflow) {
            Ok(outcome) => {
                let refused = session.subscriptions.has_refused();
                let waiting = session.outflow.has_waiting();
                if let AckOutcome::Done(stored) = outcome {
                    self.drop_entry(session_key, stored);
                }
                if waiting {
                    self.send_queued(session_key);
                }
                if refused {
                    self.tell_groups(session_key);
                }
                Flow::Continue
            }
            // 5.0 names no reaction; what is not in flight cannot be acknowledged.
            Err(Unknown::Identifier) => {
                self.stats.missed[kind].add(1);
                Flow::Continue
            }
            Err(Unknown::Kind) => self.broke_protocol(key, ReasonCode::PROTOCOL_ERROR),
        }
    }
}

fn ack_kind(qos: QoS) -> AckKind {
    match qos {
        QoS::AtMostOnce | QoS::AtLeastOnce => AckKind::PubAck,
        QoS::ExactlyOnce => AckKind::PubRec,
    }
}

/// Writes an acknowledgement, to be sent when what it promises is on the disk, and behind
/// those that wait for that.
#[inline]
fn give_ack(
    connection: &mut Connection,
    key: u32,
    journal: Option<&mut Journal>,
    answer: Answer,
    commit: u64,
) {
    match journal {
        Some(journal) if !journal.has_committed(commit) || connection.holds_output() => {
            connection.hold_output(journal, key, |connection| write_ack(connection, answer));
        }
        _ => write_ack(connection, answer),
    }
}

fn packet_type(kind: AckKind) -> usize {
    match kind {
        AckKind::PubAck => packet::PUBACK,
        AckKind::PubRec => packet::PUBREC,
        AckKind::PubComp => packet::PUBCOMP,
    }
}

#[inline]
fn write_ack(connection: &mut Connection, ack: Answer) {
    if ack.reason.is_error() && connection.explains && ack.kind != AckKind::PubComp {
        return write_refusal(connection, ack);
    }
    let (version, id) = (connection.version, ack.packet_id);
    let output = &mut connection.output.bytes;
    match ack.kind {
        AckKind::PubAck => encode::puback(output, version, id, ack.reason),
        AckKind::PubRec => encode::pubrec(output, version, id, ack.reason),
        AckKind::PubComp => encode::pubcomp(output, version, id, ack.reason),
    }
}

/// Says in words as well why a message is not taken, if the client takes so large a packet
/// [MQTT-3.4.2-2], [MQTT-3.5.2-2].
#[cold]
fn write_refusal(connection: &mut Connection, ack: Answer) {
    let write = match ack.kind {
        AckKind::PubAck => encode::puback_within,
        AckKind::PubRec | AckKind::PubComp => encode::pubrec_within,
    };
    write(
        &mut connection.output.bytes,
        ack.packet_id,
        ack.reason,
        texts::of(ack.reason),
        connection.maximum_packet_size,
    );
}
