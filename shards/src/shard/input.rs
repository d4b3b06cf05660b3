//! From bytes to packets to what they ask for.

use protocol::wire::{self, Ack, DecodeError, Packet, ProtocolError, ReasonCode, Split, Version};

use super::Shard;
use super::connection::Phase;
use super::events::Event;
use super::stats::packet;

/// Input that a paused connection may hold before the engine stops reading it.
pub(crate) const PAUSED_INPUT_MAX: usize = 64 << 10;

/// SUBSCRIBE packets of one connection whose SUBACK may be outstanding.
const HELD_SUBACKS_MAX: u16 = 256;

/// Packet types.
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;

/// Whether the next packet of a connection is to be handled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flow {
    Continue,
    /// The connection ends, leaves, or waits.
    Stop,
}

impl Shard {
    /// Bytes arrived on a connection.
    pub(crate) fn received(&mut self, key: u32, input: &[u8]) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.phase {
            Phase::AwaitsConnect | Phase::Authenticates | Phase::Claims | Phase::Live => {}
            Phase::Closing | Phase::Gone => return,
        }
        if connection.paused {
            connection.tail.extend_from_slice(input);
            return;
        }
        connection.heard_ms = now_ms;
        if connection.tail.is_empty() {
            let used = self.handle_input(key, input);
            self.keep_tail(key, input.get(used..).unwrap_or_default());
        } else {
            let mut tail = core::mem::take(&mut connection.tail);
            tail.extend_from_slice(input);
            let used = self.handle_input(key, &tail);
            tail.drain(..used.min(tail.len()));
            if let Some(connection) = self.connections.get_mut(key)
                && !tail.is_empty()
            {
                connection.tail = tail;
            }
        }
    }

    /// Goes on with the input of a connection that was paused.
    pub(super) fn continue_input(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let tail = core::mem::take(&mut connection.tail);
        if !tail.is_empty() {
            self.received(key, &tail);
        }
        // The engine looks at dirty connections: this one may be read again.
        self.mark_dirty(key);
    }

    fn keep_tail(&mut self, key: u32, rest: &[u8]) {
        if rest.is_empty() {
            return;
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.tail.extend_from_slice(rest);
        }
    }

    /// Handles all complete packets in `input`; returns how many bytes they took.
    fn handle_input(&mut self, key: u32, input: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let Some(connection) = self.connections.get(key) else {
                return input.len();
            };
            let (phase, version) = (connection.phase, connection.version);
            let rest = input.get(used..).unwrap_or_default();
            let limit = match phase {
                Phase::AwaitsConnect | Phase::Authenticates => self.limits.early_packet_size(),
                Phase::Live => self.limits.max_packet_size,
                Phase::Claims => return used,
                Phase::Closing | Phase::Gone => return input.len(),
            };
            if rest.is_empty() {
                return used;
            }
            match wire::split(rest, limit) {
                Ok(Split::Incomplete { .. }) => {
                    return self.first_bytes_may_be_connect(key, phase, rest, used, input.len());
                }
                Ok(Split::Packet { first, body, size }) => {
                    if self.must_wait(key, first, size) {
                        return used;
                    }
                    let flow = if phase != Phase::Live {
                        self.handle_early(key, phase, size, (first, body), rest)
                    } else if let Err(error) = wire::check_length(version, body, size) {
                        self.broke_rule(key, error)
                    } else {
                        self.handle_packet(key, version, first, body)
                    };
                    match flow {
                        Flow::Continue => used += size,
                        Flow::Stop => return input.len(),
                    }
                }
                Err(error) => {
                    self.broke_framing(key, phase, error, rest);
                    return input.len();
                }
            }
        }
    }

    /// Handles a packet of `size` bytes that comes before CONNACK.
    fn handle_early(
        &mut self,
        key: u32,
        phase: Phase,
        size: usize,
        (first, body): (u8, &[u8]),
        rest: &[u8],
    ) -> Flow {
        match phase {
            Phase::Authenticates => self.handle_authenticating(key, size, first, body),
            _ => self.handle_connect(key, size, (first, body), rest),
        }
    }

    /// Pauses a connection whose packet cannot be handled now: a QoS 1 or 2 PUBLISH while a
    /// ring to another shard is full or the node has no lease, anything while the client does
    /// not read the answers it has already, and anything but some more SUBSCRIBEs while a
    /// SUBACK is outstanding, so that a client's packets take effect in the order it sent them.
    /// A client that sends faster than it may waits with anything.
    #[inline]
    fn must_wait(&mut self, key: u32, first: u8, size: usize) -> bool {
        let publish = first >> 4 == PUBLISH && first & 0b0110 != 0;
        let full = publish && (self.is_congested() || self.is_fenced());
        let Some(connection) = self.connections.get_mut(key) else {
            return false;
        };
        let unread = connection.output.len() >= self.limits.max_output_bytes as usize;
        let held_subacks_max = if first >> 4 == SUBSCRIBE {
            HELD_SUBACKS_MAX
        } else {
            1
        };
        let unsubscribed = connection.held_subacks >= held_subacks_max;
        let elsewhere = connection.awaits_node > 0;
        let waits = (unread || unsubscribed || full || elsewhere) && !connection.ended;
        if waits {
            connection.paused = true;
            self.paused.push(key);
        } else if connection.limited {
            return self.is_too_fast(key, first >> 4 == PUBLISH, size);
        }
        waits
    }

    /// Before CONNECT, anything that cannot become one ends the connection at once
    /// [MQTT-3.1.0-1].
    fn first_bytes_may_be_connect(
        &mut self,
        key: u32,
        phase: Phase,
        rest: &[u8],
        used: usize,
        len: usize,
    ) -> usize {
        if phase == Phase::AwaitsConnect && rest.first() != Some(&0x10) {
            self.close_silently(key);
            return len;
        }
        used
    }

    fn broke_framing(&mut self, key: u32, phase: Phase, error: DecodeError, rest: &[u8]) {
        let too_large = error == ProtocolError::PacketTooLarge.into();
        if phase == Phase::AwaitsConnect && too_large {
            return self.refuse_too_large(key, rest);
        }
        self.stats.protocol_errors.add(1);
        match phase {
            Phase::Live => self.tell_fault(key, error),
            _ => self.close_silently(key),
        }
    }

    #[inline]
    fn handle_packet(&mut self, key: u32, version: Version, first: u8, body: &[u8]) -> Flow {
        if first >> 4 == PUBLISH {
            return match wire::decode_publish(version, first, body) {
                Ok(publish) => self.handle_publish(key, version, &publish),
                Err(error) => self.broke_rule(key, error),
            };
        }
        if matches!(first >> 4, PUBACK..=PUBCOMP) {
            return match wire::decode_ack(version, first, body) {
                Ok(ack) => self.handle_ack(key, version, first, &ack),
                Err(error) => self.broke_rule(key, error),
            };
        }
        match wire::decode(version, first, body) {
            Ok(packet) => {
                self.stats.count_packet_received(first);
                self.handle_decoded(key, version, packet)
            }
            Err(error) => self.broke_rule(key, error),
        }
    }

    #[inline]
    fn handle_ack(&mut self, key: u32, version: Version, first: u8, ack: &Ack<'_>) -> Flow {
        self.stats.count_packet_received(first);
        match first >> 4 {
            PUBACK => self.handle_puback(key, ack),
            PUBREC => self.handle_pubrec(key, version, ack),
            PUBREL => self.handle_pubrel(key, ack),
            _ => self.handle_pubcomp(key, ack),
        }
    }

    fn handle_decoded(&mut self, key: u32, version: Version, packet: Packet<'_>) -> Flow {
        match packet {
            Packet::Auth(auth) => self.handle_auth(key, &auth),
            Packet::Disconnect(disconnect) => self.handle_disconnect(key, &disconnect),
            Packet::PingReq => {
                if let Some(connection) = self.connections.get_mut(key) {
                    self.outbox.mark(connection, key);
                    wire::encode::pingresp(&mut connection.output.bytes);
                    self.stats.count_packet_sent(packet::PINGRESP);
                }
                if self.wants(Event::ClientPing) {
                    self.client_ping(key);
                }
                Flow::Continue
            }
            Packet::PubAck(ack) => self.handle_puback(key, &ack),
            Packet::PubRec(ack) => self.handle_pubrec(key, version, &ack),
            Packet::PubRel(ack) => self.handle_pubrel(key, &ack),
            Packet::PubComp(ack) => self.handle_pubcomp(key, &ack),
            Packet::Publish(publish) => self.handle_publish(key, version, &publish),
            Packet::Subscribe(subscribe) => self.handle_subscribe(key, version, &subscribe),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(key, version, &unsubscribe),
        }
    }

    /// A packet of the client cannot be decoded or breaks a rule.
    #[cold]
    fn broke_rule(&mut self, key: u32, error: DecodeError) -> Flow {
        self.stats.protocol_errors.add(1);
        self.tell_fault(key, error);
        Flow::Stop
    }

    /// Closes with what is wrong in words.
    #[cold]
    fn tell_fault(&mut self, key: u32, error: DecodeError) {
        let text = format!("the packet has {error}");
        self.disconnect_because(key, error.reason_code(), Some(&text), None);
    }

    /// The client broke the protocol: a 5.0 client is told why, and the connection closed
    /// [MQTT-4.13.1-1], [MQTT-4.8.0-1] (3.1.1).
    pub(super) fn broke_protocol(&mut self, key: u32, reason: ReasonCode) -> Flow {
        self.stats.protocol_errors.add(1);
        self.disconnect(key, reason);
        Flow::Stop
    }
}
