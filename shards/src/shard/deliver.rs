//! From a message to the output of the connections it goes to.

use std::num::NonZeroU16;
use std::sync::Arc;

use protocol::aliases::{Alias, TopicAliases};
use protocol::hash::Seed;
use protocol::message::{Message, MessageRef};
use protocol::session::{Delivery, Identifiers, Membership, Outflow, Resend, StoredAs};
use protocol::wire::{PacketId, QoS, ReasonCode, encode};

use super::Shard;
use super::connection::Connection;
use super::events::Event;
use super::frames::{self, Frames, Outgoing, Variant};
use super::journal::Journal;
use super::plan::Plan;
use super::stats::{Stats, packet};

/// One message for one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver<'a> {
    pub(super) session: u32,
    /// The lower one of the message's and the subscription's, or the higher one: see
    /// [`crate::settings::Mqtt::upgrade_qos`].
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) identifiers: &'a [u32],
    /// The shared subscription that the message comes by.
    pub(super) membership: Option<Membership>,
    /// It may have been sent before a crash.
    pub(super) dup: bool,
}

impl<'a> Receiver<'a> {
    /// That of a delivery that was queued.
    pub(super) fn of(session: u32, delivery: &'a Delivery) -> Self {
        Self {
            session,
            qos: delivery.qos,
            retain: delivery.retain,
            identifiers: delivery.identifiers.as_slice(),
            membership: delivery.membership,
            dup: delivery.dup,
        }
    }
}

impl Shard {
    /// Brings a message to all receivers of a plan on this shard, and to one member of each
    /// group.
    pub(super) fn deliver_plan(&mut self, plan: &Plan, message: &MessageRef<'_>) {
        if plan.targets.is_empty() && plan.groups.is_empty() {
            return;
        }
        let mut frames = self.frames.take().unwrap_or_default();
        frames.clear();
        let many = plan.targets.len() + plan.groups.len() > 1;
        let mut outgoing = Outgoing::for_many(*message, many);
        for target in &plan.targets {
            if target.no_local && self.is_publisher(target.session, message.publisher) {
                self.stats.no_local.add(1);
                self.delivery_dropped(target.session, message, "no_local");
                continue;
            }
            let receiver = Receiver {
                session: target.session,
                qos: self.limits.delivered_qos(target.qos, message.qos),
                retain: message.retain && target.retain_as_published,
                identifiers: plan.identifiers(target),
                membership: None,
                dup: false,
            };
            if self.has_moves && self.goes_another_way(&receiver, &mut outgoing) {
                continue;
            }
            self.deliver(&mut frames, &mut outgoing, receiver);
        }
        for group in &plan.groups {
            // The node where it was published has chosen a member.
            if !self.is_foreign {
                self.deliver_to_group(*group, &mut frames, &mut outgoing);
            }
        }
        if message.retain && self.replays.len() > 0 {
            self.note_newer(plan, &mut outgoing);
        }
        outgoing.end(self.journal.as_deref_mut());
        self.frames = Some(frames);
    }

    /// Brings a kept message to one session of this shard.
    pub(super) fn deliver_kept(&mut self, message: &Arc<Message>, receiver: Receiver<'_>) {
        let mut frames = self.frames.take().unwrap_or_default();
        frames.clear();
        self.deliver(&mut frames, &mut Outgoing::of(message), receiver);
        self.frames = Some(frames);
    }

    #[inline]
    pub(super) fn deliver(
        &mut self,
        frames: &mut Frames,
        outgoing: &mut Outgoing<'_>,
        to: Receiver<'_>,
    ) {
        if self.has_moves && self.pass_on_in_order(&to, &mut || delivery(outgoing, &to)) {
            return;
        }
        let Some(session) = self.sessions.get_mut(to.session) else {
            return;
        };
        let connection = self.connections.get_mut(session.connection);
        let key = session.connection;
        if to.qos == QoS::AtMostOnce {
            let overtakes = session.outflow.has_queued_qos0();
            let Some(connection) = connection.filter(|_| !overtakes) else {
                // The client is away, or what came before has not been sent.
                if self.limits.mqueue_store_qos0 {
                    self.enqueue(to.session, delivery(outgoing, &to));
                }
                return;
            };
            if connection.output.len() >= self.limits.max_output_bytes as usize {
                session.dropped += 1;
                self.stats.dropped.add(1);
                self.stats.qos0_dropped.add(1);
                self.delivery_dropped(to.session, outgoing.message(), "qos0_msg");
                return;
            }
            self.outbox.mark(connection, key);
            let (seed, now_ms) = (self.seed, self.now_ms);
            let sent = write(frames, connection, outgoing, &to, None, seed, now_ms);
            self.count_delivery(&to, outgoing, sent);
            return;
        }
        if session.durable {
            self.deliver_durable(frames, outgoing, to);
            return;
        }
        match connection.filter(|_| session.outflow.is_open()) {
            Some(connection) => {
                self.outbox.mark(connection, key);
                let outflow = &mut session.outflow;
                let (seed, now_ms) = (self.seed, self.now_ms);
                let sent = send(frames, connection, outflow, outgoing, &to, seed, now_ms);
                self.count_delivery(&to, outgoing, sent);
            }
            None => self.enqueue(to.session, delivery(outgoing, &to)),
        }
    }

    /// The event of a message that has left the queue.
    #[cold]
    pub(super) fn raise_queued(
        &mut self,
        session: u32,
        delivery: &Delivery,
        dropped: Option<&'static str>,
    ) {
        let message = MessageRef {
            qos: delivery.qos,
            retain: delivery.retain,
            ..Message::by_ref(&delivery.message)
        };
        let event = match dropped {
            Some(_) => Event::DeliveryDropped,
            None => Event::MessageDelivered,
        };
        self.message_event(event, session, &message, dropped);
    }

    /// Counts a message that was sent, or that the client does not take.
    #[inline]
    pub(super) fn count_delivery(
        &mut self,
        to: &Receiver<'_>,
        outgoing: &Outgoing<'_>,
        sent: bool,
    ) {
        if !sent {
            self.stats.too_large.add(1);
            self.delivery_dropped(to.session, outgoing.message(), "too_large");
            return;
        }
        self.stats.count_sent(to.qos);
        if self.wants(Event::MessageDelivered) {
            self.delivered(to, outgoing.message());
        }
    }

    #[cold]
    fn delivered(&mut self, to: &Receiver<'_>, message: &MessageRef<'_>) {
        let message = MessageRef {
            qos: to.qos,
            retain: to.retain,
            ..*message
        };
        self.message_event(Event::MessageDelivered, to.session, &message, None);
    }

    /// The event of a message that a session does not get.
    #[inline]
    pub(super) fn delivery_dropped(
        &mut self,
        session: u32,
        message: &MessageRef<'_>,
        reason: &'static str,
    ) {
        if self.wants(Event::DeliveryDropped) {
            self.message_event(Event::DeliveryDropped, session, message, Some(reason));
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
        let mut frames = self.frames.take().unwrap_or_default();
        let (watched, mut events) = (self.common.interest.in_events(), Vec::new());
        let mut raise = |event, delivery: Delivery| {
            if watched {
                events.push((event, delivery));
            }
        };
        self.outbox.mark(connection, key);
        while let Some(resend) = session.outflow.next_resend() {
            count_again(&self.stats, &resend);
            frames.clear();
            write_again(&mut frames, connection, &resend, self.now_ms);
        }
        let mut journal = self.journal.as_deref_mut().filter(|_| session.durable);
        while connection.output.len() < self.limits.max_output_bytes as usize {
            let Some(delivery) = session.outflow.next_queued() else {
                break;
            };
            let now_ms = self.now_ms;
            let mut outgoing = Outgoing::of(&delivery.message);
            let to = Receiver::of(session_key, &delivery);
            if let Some(reason) = unsendable(&outgoing, &to, connection, now_ms) {
                count_unsent(&self.stats, reason);
                if let Some(journal) = &mut journal {
                    journal.drop_entry(session.number, delivery.stored);
                }
                raise(Some(reason), delivery);
                continue;
            }
            frames.clear();
            let id = (delivery.qos != QoS::AtMostOnce).then(|| {
                let qos = delivery.qos;
                session
                    .outflow
                    .send_by(qos, delivery.membership, || delivery.clone())
            });
            self.stats.count_sent(delivery.qos);
            let seed = self.seed;
            let write = |connection: &mut Connection| {
                let (frames, out) = (&mut frames, &mut outgoing);
                write(frames, connection, out, &to, id, seed, now_ms);
            };
            let number = session.number;
            give_queued(
                journal.as_deref_mut(),
                connection,
                (key, number),
                (&delivery, id),
                write,
            );
            raise(None, delivery);
        }
        self.frames = Some(frames);
        self.wait_to_send(session_key);
        for (dropped, delivery) in events {
            self.raise_queued(session_key, &delivery, dropped);
        }
    }
}

/// Writes a message that was queued. If it is stored, so is that it was sent: with QoS 2 before
/// the client gets it, so that it keeps its packet identifier.
fn give_queued(
    journal: Option<&mut Journal>,
    connection: &mut Connection,
    (key, session): (u32, u64),
    (delivery, id): (&Delivery, Option<PacketId>),
    mut write: impl FnMut(&mut Connection),
) {
    let journal = journal.filter(|_| delivery.stored.is_stored());
    let (Some(id), Some(journal)) = (id, journal) else {
        return write(connection);
    };
    journal.mark_sent(session, delivery.stored, id, false);
    if delivery.qos == QoS::ExactlyOnce || connection.holds_output() {
        connection.hold_output(journal, key, write);
    } else {
        write(connection);
    }
}

/// Why a message that waited is not sent any more: it has expired [MQTT-3.3.2-5], or the
/// client takes no packets so large [MQTT-3.1.2-25].
fn unsendable(
    outgoing: &Outgoing<'_>,
    to: &Receiver<'_>,
    connection: &Connection,
    now_ms: u64,
) -> Option<&'static str> {
    if outgoing.message().expires_ms <= now_ms {
        return Some("expired");
    }
    too_large(outgoing.message(), to, connection, now_ms).then_some("too_large")
}

fn count_unsent(stats: &Stats, reason: &str) {
    if reason == "expired" {
        stats.expired.add(1);
    } else {
        stats.dropped.add(1);
        stats.too_large.add(1);
    }
}

fn count_again(stats: &Stats, resend: &Resend<'_>) {
    match resend {
        Resend::PubRel(_) => stats.count_packet_sent(packet::PUBREL),
        Resend::Publish(_, delivery) => stats.count_sent(delivery.qos),
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
    seed: Seed,
    now_ms: u64,
) -> bool {
    if too_large(outgoing.message(), to, connection, now_ms) {
        return false;
    }
    let id = outflow.send_by(to.qos, to.membership, || delivery(outgoing, to));
    write(frames, connection, outgoing, to, Some(id), seed, now_ms)
}

/// Appends the packet to the connection's output. False when the client does not take
/// packets so large.
#[inline]
pub(super) fn write(
    frames: &mut Frames,
    connection: &mut Connection,
    outgoing: &mut Outgoing<'_>,
    to: &Receiver<'_>,
    packet_id: Option<PacketId>,
    seed: Seed,
    now_ms: u64,
) -> bool {
    let variant = Variant {
        version: connection.version,
        qos: to.qos,
        retain: to.retain,
        dup: to.dup,
        identifiers: to.identifiers,
        packet_id,
        alias: Alias::None,
    };
    if connection.topic_alias_maximum > 0 {
        return write_aliased(frames, connection, outgoing, variant, seed, now_ms);
    }
    let size_max = connection.maximum_packet_size;
    frames.append(&mut connection.output, outgoing, variant, size_max, now_ms)
}

/// Appends the packet to the output of a client that takes topic aliases. One that would set
/// an alias and is too large with it goes without [MQTT-3.1.2-24].
fn write_aliased(
    frames: &mut Frames,
    connection: &mut Connection,
    outgoing: &mut Outgoing<'_>,
    mut variant: Variant<'_>,
    seed: Seed,
    now_ms: u64,
) -> bool {
    let topic = outgoing.message().topic;
    let topic_hash = outgoing.topic_hash(seed);
    if let Some(aliases) = aliases(connection) {
        variant.alias = aliases.offer(topic_hash, topic);
    }
    let size_max = connection.maximum_packet_size;
    let output = &mut connection.output;
    let sent = frames.append(output, outgoing, variant, size_max, now_ms);
    let Alias::Set(alias) = variant.alias else {
        return sent;
    };
    if !sent {
        variant.alias = Alias::None;
        return frames.append(output, outgoing, variant, size_max, now_ms);
    }
    if let Some(aliases) = aliases(connection) {
        aliases.sent(alias, topic_hash, topic);
    }
    true
}

/// The aliases of a client that takes them.
fn aliases(connection: &mut Connection) -> Option<&mut TopicAliases> {
    let maximum = NonZeroU16::new(connection.topic_alias_maximum)?;
    let extras = connection.extras.get_or_insert_default();
    let aliases = &mut extras.aliases_out;
    Some(aliases.get_or_insert_with(|| Box::new(TopicAliases::new(maximum))))
}

/// Whether the packet is larger than the client's Maximum Packet Size: it is discarded as
/// if it had been sent [MQTT-3.1.2-25].
#[inline]
pub(super) fn too_large(
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
                alias: Alias::None,
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

pub(super) fn delivery(outgoing: &mut Outgoing<'_>, to: &Receiver<'_>) -> Delivery {
    Delivery {
        message: outgoing.keep(),
        identifiers: Identifiers::from(to.identifiers),
        qos: to.qos,
        retain: to.retain,
        stored: StoredAs::default(),
        membership: to.membership,
        dup: to.dup,
    }
}
