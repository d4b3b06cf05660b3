//! Acknowledgements, in both directions.

use std::collections::VecDeque;

use protocol::message::MessageRef;
use protocol::session::{AckOutcome, Unknown};
use protocol::wire::encode;
use protocol::wire::{Ack, Publish, QoS, ReasonCode, Version};

use super::Shard;
use super::connection::{AckKind, Connection, PendingAck, Phase};
use super::events::{Event, reason_text};
use super::input::Flow;
use super::publish::Routed;
use super::stats::packet;
use super::texts;

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
        if publish.qos == QoS::ExactlyOnce
            && !reason.is_error()
            && let Some(session) = self.sessions.get_mut(session)
        {
            session.inflow.hold(packet_id);
        }
        let kind = ack_kind(publish.qos);
        self.queue_ack(
            key,
            PendingAck {
                packet_id,
                kind,
                reason,
                waits: routed.waits,
            },
        )
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
        self.queue_ack(key, PendingAck::at_once(packet_id, kind, reason))
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
                    .any(|ack| ack.packet_id == packet_id && ack.kind == AckKind::PubRec)
            })
        });
        if waiting {
            // Its PUBREC is on the way.
            return Flow::Continue;
        }
        let reason = ReasonCode::SUCCESS;
        let kind = ack_kind(publish.qos);
        self.queue_ack(key, PendingAck::at_once(packet_id, kind, reason))
    }

    /// Acknowledgements go out in the order of the PUBLISH packets [MQTT-4.6.0-2],
    /// [MQTT-4.6.0-3]: one that waits for nothing still waits for those before it.
    #[inline]
    fn queue_ack(&mut self, key: u32, ack: PendingAck) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        if ack.waits.is_empty() && connection.pending_acks() == 0 {
            self.outbox.mark(connection, key);
            write_ack(connection, &ack);
            self.stats.count_packet_sent(packet_type(ack.kind));
            return Flow::Continue;
        }
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
        let Some(mut pending) = connection.pending.take() else {
            return;
        };
        while let Some(ack) = pending.front() {
            let waits = ack.waits.iter().any(|&(peer, sent)| {
                self.peers
                    .get(usize::from(peer))
                    .is_some_and(|peer| peer.accepted() < sent)
            });
            if waits {
                break;
            }
            self.outbox.mark(connection, key);
            write_ack(connection, ack);
            self.stats.count_packet_sent(packet_type(ack.kind));
            pending.pop_front();
        }
        if !pending.is_empty() {
            connection.pending = Some(pending);
        }
    }

    /// Another shard has not retained a message: its acknowledgement will say so.
    pub(super) fn refuse_pending(&mut self, key: u32, serial: u32, wait: (u16, u64)) {
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
            ack.reason = ReasonCode::QUOTA_EXCEEDED;
            // The client is not going to release it.
            if ack.kind == AckKind::PubRec
                && let Some(session) = self.sessions.get_mut(connection.session)
            {
                session.inflow.release(ack.packet_id);
            }
        }
    }

    pub(super) fn handle_pubrel(&mut self, key: u32, ack: &Ack<'_>) -> Flow {
        let Some(connection) = self.connections.get_mut(key) else {
            return Flow::Stop;
        };
        let Some(session) = self.sessions.get_mut(connection.session) else {
            return Flow::Stop;
        };
        let held = session.inflow.release(ack.packet_id);
        let reason = if held {
            ReasonCode::SUCCESS
        } else {
            self.stats.missed[packet::PUBREL].add(1);
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        let (packet_id, kind) = (ack.packet_id, AckKind::PubComp);
        self.queue_ack(key, PendingAck::at_once(packet_id, kind, reason))
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
            Ok(AckOutcome::Release(_)) => {
                self.outbox.mark(connection, key);
                let output = &mut connection.output.bytes;
                encode::pubrel(output, version, ack.packet_id, ReasonCode::SUCCESS);
                self.stats.count_packet_sent(packet::PUBREL);
                Flow::Continue
            }
            Ok(AckOutcome::Done(_)) => {
                let session = connection.session;
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
            Ok(_) => {
                let refused = session.subscriptions.has_refused();
                if session.outflow.has_waiting() {
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

fn packet_type(kind: AckKind) -> usize {
    match kind {
        AckKind::PubAck => packet::PUBACK,
        AckKind::PubRec => packet::PUBREC,
        AckKind::PubComp => packet::PUBCOMP,
    }
}

#[inline]
fn write_ack(connection: &mut Connection, ack: &PendingAck) {
    if ack.reason.is_error() && connection.explains && ack.kind != AckKind::PubComp {
        return write_refusal(connection, ack);
    }
    let write = match ack.kind {
        AckKind::PubAck => encode::puback,
        AckKind::PubRec => encode::pubrec,
        AckKind::PubComp => encode::pubcomp,
    };
    write(
        &mut connection.output.bytes,
        connection.version,
        ack.packet_id,
        ack.reason,
    );
}

/// Says in words as well why a message is not taken, if the client takes so large a packet
/// [MQTT-3.4.2-2], [MQTT-3.5.2-2].
#[cold]
fn write_refusal(connection: &mut Connection, ack: &PendingAck) {
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
