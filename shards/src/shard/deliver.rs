//! From a message to the output of the connections it goes to.

use std::sync::Arc;

use protocol::message::{Message, MessageRef};
use protocol::session::{Delivery, Identifiers, Membership, Outflow, Resend, StoredAs, WhyLeft};
use protocol::wire::{PacketId, QoS, ReasonCode, encode};

use super::Shard;
use super::connection::Connection;
use super::frames::{self, Frames, Outgoing, Variant};
use super::plan::Plan;
use super::stats::packet;

/// One message for one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver<'a> {
    pub(super) session: u32,
    /// The lower of the message's and the subscription's.
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: &'a [u32],
    /// The shared subscription that the message comes by.
    pub(super) membership: Option<Membership>,
}

impl Shard {
    /// Brings a message to all receivers of a plan on this shard, and to one member of each
    /// group.
    pub(super) fn deliver_plan(&mut self, plan: &Plan, message: &MessageRef<'_>) {
        if plan.targets.is_empty() && plan.groups.is_empty() {
            return;
        }
        let mut frames = core::mem::take(&mut self.frames);
        frames.clear();
        let mut outgoing = Outgoing::new(*message);
        for target in &plan.targets {
            if target.no_local && self.publisher(target.session) == message.publisher {
                self.stats.no_local.add(1);
                continue;
            }
            let receiver = Receiver {
                session: target.session,
                qos: target.qos.min(message.qos),
                retain: message.retain && target.retain_as_published,
                identifiers: plan.identifiers(target),
                membership: None,
            };
            self.deliver(&mut frames, &mut outgoing, receiver);
        }
        for group in &plan.groups {
            self.deliver_to_group(*group, &mut frames, &mut outgoing);
        }
        self.frames = frames;
    }

    /// Brings a kept message to one session of this shard.
    pub(super) fn deliver_kept(&mut self, message: &Arc<Message>, receiver: Receiver<'_>) {
        let mut frames = core::mem::take(&mut self.frames);
        frames.clear();
        self.deliver(&mut frames, &mut Outgoing::of(message), receiver);
        self.frames = frames;
    }

    #[inline]
    pub(super) fn deliver(
        &mut self,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        to: Receiver<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(to.session) else {
            return;
        };
        let connection = self.connections.get_mut(session.connection);
        let key = session.connection;
        if to.qos == QoS::AtMostOnce {
            let Some(connection) = connection else { return };
            if connection.output.len() >= self.limits.max_output_bytes as usize {
                session.dropped += 1;
                self.stats.dropped.add(1);
                self.stats.qos0_dropped.add(1);
                return;
            }
            self.outbox.mark(connection, key);
            if write(frames, connection, outgoing, &to, None, self.now_ms) {
                self.stats.count_sent(to.qos);
            } else {
                self.stats.too_large.add(1);
            }
            return;
        }
        match connection.filter(|_| session.outflow.is_open()) {
            Some(connection) => {
                self.outbox.mark(connection, key);
                let outflow = &mut session.outflow;
                if send(frames, connection, outflow, outgoing, &to, self.now_ms) {
                    self.stats.count_sent(to.qos);
                } else {
                    self.stats.too_large.add(1);
                }
            }
            None => self.enqueue(to.session, delivery(outgoing, &to)),
        }
    }

    /// Puts a delivery into the queue of its session. If it is too much for the queue, others
    /// leave it, or the client is disconnected at the end of the turn.
    pub(super) fn enqueue(&mut self, session_key: u32, delivery: Delivery) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let limits = self.limits.queue();
        let enqueued = session.outflow.enqueue(delivery, 0, &limits, self.now_ms);
        for left in enqueued.left {
            match left.why {
                WhyLeft::Expired => self.stats.expired.add(1),
                WhyLeft::Full => {
                    session.dropped += 1;
                    self.stats.dropped.add(1);
                    self.stats.queue_full.add(1);
                }
            }
        }
        if enqueued.disconnect
            && let Some(connection) = self.connections.get_mut(session.connection)
            && !connection.overflowed
        {
            connection.overflowed = true;
            self.overflowed.push(session.connection);
        }
    }

    /// Disconnects the clients whose queue has overflowed. That is not done at once, since
    /// the end of one publishes its will, which may be too much for another.
    pub(super) fn disconnect_overflowed(&mut self) {
        while let Some(key) = self.overflowed.pop() {
            let connection = self.connections.get(key);
            if connection.is_some_and(|connection| connection.overflowed) {
                self.stats.overflowed.add(1);
                self.disconnect(key, ReasonCode::QUOTA_EXCEEDED);
            }
        }
    }

    /// Sends what waits for a session, as far as its window has room: first again what it
    /// had in flight when it was resumed [MQTT-4.4.0-1], then the queue.
    pub(super) fn send_queued(&mut self, session_key: u32) {
        let Some(session) = self.sessions.get_mut(session_key) else {
            return;
        };
        let key = session.connection;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut frames = core::mem::take(&mut self.frames);
        self.outbox.mark(connection, key);
        while let Some(resend) = session.outflow.next_resend() {
            frames.clear();
            match &resend {
                Resend::PubRel(_) => self.stats.count_packet_sent(packet::PUBREL),
                Resend::Publish(_, delivery) => self.stats.count_sent(delivery.qos),
            }
            write_again(&mut frames, connection, &resend, self.now_ms);
        }
        while connection.output.len() < self.limits.max_output_bytes as usize {
            let Some(delivery) = session.outflow.next_queued() else {
                break;
            };
            // An expired message is not sent any more [MQTT-3.3.2-5].
            if delivery.message.expires_ms <= self.now_ms {
                self.stats.expired.add(1);
                continue;
            }
            frames.clear();
            let mut outgoing = Outgoing::of(&delivery.message);
            let to = Receiver {
                session: session_key,
                qos: delivery.qos,
                retain: delivery.retain,
                identifiers: delivery.identifiers.as_slice(),
                membership: delivery.membership,
            };
            if too_large(outgoing.message(), &to, connection, self.now_ms) {
                self.stats.dropped.add(1);
                self.stats.too_large.add(1);
                continue;
            }
            let id = (delivery.qos != QoS::AtMostOnce).then(|| {
                let qos = delivery.qos;
                session
                    .outflow
                    .send_by(qos, delivery.membership, || delivery.clone())
            });
            write(&mut frames, connection, &mut outgoing, &to, id, self.now_ms);
            self.stats.count_sent(delivery.qos);
        }
        self.frames = frames;
    }
}

/// Sends a QoS 1 or 2 message for which the window has room. False when the client does not
/// take packets so large.
#[inline]
fn send(
    frames: &mut Frames,
    connection: &mut Connection,
    outflow: &mut Outflow,
    outgoing: &mut Outgoing<'_>,
    to: &Receiver<'_>,
    now_ms: u64,
) -> bool {
    if too_large(outgoing.message(), to, connection, now_ms) {
        return false;
    }
    let id = outflow.send_by(to.qos, to.membership, || delivery(outgoing, to));
    write(frames, connection, outgoing, to, Some(id), now_ms)
}

/// Appends the packet to the connection's output. False when the client does not take
/// packets so large.
#[inline]
fn write(
    frames: &mut Frames,
    connection: &mut Connection,
    outgoing: &mut Outgoing<'_>,
    to: &Receiver<'_>,
    packet_id: Option<PacketId>,
    now_ms: u64,
) -> bool {
    let variant = Variant {
        version: connection.version,
        qos: to.qos,
        retain: to.retain,
        dup: false,
        identifiers: to.identifiers,
        packet_id,
    };
    let size_max = connection.maximum_packet_size;
    frames.append(&mut connection.output, outgoing, variant, size_max, now_ms)
}

/// Whether the packet is larger than the client's Maximum Packet Size: it is discarded as
/// if it had been sent [MQTT-3.1.2-25].
#[inline]
fn too_large(
    message: &MessageRef<'_>,
    to: &Receiver<'_>,
    connection: &Connection,
    now_ms: u64,
) -> bool {
    connection.maximum_packet_size != u32::MAX
        && frames::size(message, to.qos, to.identifiers, connection.version, now_ms)
            > connection.maximum_packet_size as usize
}

/// Appends a packet that was in flight on an earlier connection.
fn write_again(frames: &mut Frames, connection: &mut Connection, resend: &Resend<'_>, now_ms: u64) {
    match resend {
        Resend::PubRel(id) => {
            let output = &mut connection.output.bytes;
            encode::pubrel(output, connection.version, *id, ReasonCode::SUCCESS);
        }
        Resend::Publish(id, delivery) => {
            let variant = Variant {
                version: connection.version,
                qos: delivery.qos,
                retain: delivery.retain,
                dup: true,
                identifiers: delivery.identifiers.as_slice(),
                packet_id: Some(*id),
            };
            let mut outgoing = Outgoing::of(&delivery.message);
            let size_max = connection.maximum_packet_size;
            frames.append(
                &mut connection.output,
                &mut outgoing,
                variant,
                size_max,
                now_ms,
            );
        }
    }
}

fn delivery(outgoing: &mut Outgoing<'_>, to: &Receiver<'_>) -> Delivery {
    Delivery {
        message: outgoing.keep(),
        identifiers: Identifiers::from(to.identifiers),
        qos: to.qos,
        retain: to.retain,
        stored: StoredAs::default(),
        membership: to.membership,
    }
}
