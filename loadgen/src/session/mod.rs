//! One MQTT client as a pure function of packets: no socket, no clock.
//!
//! Packets from the server go into [`Session::receive`]; it appends what the client must answer
//! to an output buffer and says what happened as an [`Event`]. Requests of the load generator
//! (`connect`, `subscribe`, `publish`, …) append to an output buffer too.

mod outgoing;
mod packet_ids;

use std::fmt;

use crate::codec::{
    self, AckKind, Acknowledgement, Connect, Malformed, Packet, Publish, Qos, Version,
};
use outgoing::{Awaits, Outgoing};
use packet_ids::PacketIds;

/// What a packet from the server means to the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The server has accepted the connection.
    Connected {
        /// It had kept a session.
        session_present: bool,
    },
    /// A SUBSCRIBE was answered: one granted QoS or failure code per filter.
    Subscribed {
        /// The codes in the order of the filters.
        codes: &'a [u8],
    },
    /// A message.
    Message(Publish<'a>),
    /// A QoS 1 or 2 message of this client has been taken over by the server.
    Acknowledged,
}

/// What the server did that the standard forbids, or that ends the client's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// Bytes that are no packet.
    Malformed(Malformed),
    /// The connection was refused: the code of the CONNACK, and the version it belongs to.
    Refused(u8, Version),
    /// Something else than CONNACK came first, or a second CONNACK.
    ConnackExpected,
    /// An acknowledgement for an exchange that this client has not begun.
    UnknownPacketId(AckKind, u16),
    /// Acknowledgements out of the order of the messages (`[MQTT-4.6.0-2]`, `[MQTT-4.6.0-3]`).
    AcknowledgedOutOfOrder(AckKind, u16),
    /// A message was refused with this reason code.
    PublishRefused(u8),
    /// The same packet identifier again while its QoS 2 exchange is not over, without DUP.
    PacketIdInUse(u16),
    /// The server ended the connection with this reason code.
    Disconnected(u8),
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(formatter, "the broker sent {what}"),
            Self::Refused(code, version) => {
                write!(formatter, "the broker refused the connection: ")?;
                formatter.write_str(refusal(*code, *version))?;
                write!(formatter, " (code {code:#04x})")
            }
            Self::ConnackExpected => formatter.write_str("the broker did not begin with CONNACK"),
            Self::UnknownPacketId(kind, id) => {
                write!(formatter, "{kind:?} {id} for an exchange that is not open")
            }
            Self::AcknowledgedOutOfOrder(kind, id) => {
                write!(formatter, "{kind:?} {id} is out of order")
            }
            Self::PublishRefused(reason) => {
                write!(
                    formatter,
                    "the broker refused a message with reason {reason:#04x}"
                )
            }
            Self::PacketIdInUse(id) => {
                write!(
                    formatter,
                    "the broker used packet identifier {id} twice at a time"
                )
            }
            Self::Disconnected(reason) => {
                write!(
                    formatter,
                    "the broker sent DISCONNECT with reason {reason:#04x}"
                )
            }
        }
    }
}

/// The meaning of the common CONNACK codes.
const fn refusal(code: u8, version: Version) -> &'static str {
    match (version, code) {
        (Version::V311, 1) | (Version::V5, 0x84) => "unsupported protocol version",
        (Version::V311, 2) | (Version::V5, 0x85) => "client identifier not valid",
        (Version::V311, 3) | (Version::V5, 0x88) => "server unavailable",
        (Version::V311, 4) | (Version::V5, 0x86) => "bad user name or password",
        (Version::V311, 5) | (Version::V5, 0x87) => "not authorized",
        (Version::V5, 0x89) => "server busy",
        (Version::V5, 0x8a) => "banned",
        (Version::V5, 0x97) => "quota exceeded",
        (Version::V5, 0x9f) => "connection rate exceeded",
        _ => "no further explanation",
    }
}

/// The state of one client. A session can be connected again after its connection is gone.
#[derive(Debug)]
pub struct Session {
    version: Version,
    connected: bool,
    /// PINGREQs that have no answer yet.
    pings: u8,
    /// What the server takes unacknowledged.
    receive_maximum: u16,
    outgoing: Outgoing,
    /// QoS 2 messages received whose PUBREL has not come. Only such subscribers own one.
    incoming: Option<Box<PacketIds>>,
}

impl Session {
    /// A client that has not connected.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            connected: false,
            pings: 0,
            receive_maximum: u16::MAX,
            outgoing: Outgoing::default(),
            incoming: None,
        }
    }

    /// Whether CONNACK has come, and the connection is not known to be gone.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Appends CONNECT. A clean start forgets all open exchanges.
    pub fn connect(&mut self, out: &mut Vec<u8>, request: &Connect<'_>) {
        if request.clean {
            self.outgoing = Outgoing::default();
            self.incoming = None;
        }
        self.connected = false;
        self.pings = 0;
        codec::connect(out, request);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
    }

    /// Whether one more QoS 1 or 2 message, or SUBSCRIBE, may be sent.
    #[inline]
    pub fn may_send(&self) -> bool {
        self.outgoing.len() < usize::from(self.receive_maximum)
    }

    /// Exchanges begun by this client that are not over.
    pub fn unacknowledged(&self) -> usize {
        self.outgoing.len()
    }

    /// Opens the exchange of a message and gives its packet identifier; none at QoS 0.
    /// The caller has asked [`may_send`](Self::may_send).
    #[inline]
    pub fn begin_publish(&mut self, qos: Qos) -> Option<u16> {
        match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce => Some(self.outgoing.begin(Awaits::Puback)),
            Qos::ExactlyOnce => Some(self.outgoing.begin(Awaits::Pubrec)),
        }
    }

    /// Appends SUBSCRIBE.
    pub fn subscribe(&mut self, out: &mut Vec<u8>, filters: &[String], qos: Qos) {
        let packet_id = self.outgoing.begin(Awaits::Suback);
        codec::subscribe(out, self.version, packet_id, filters, qos);
    }

    /// Appends PINGREQ; false when two earlier ones are still unanswered.
    pub fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        self.pings = self.pings.saturating_add(1);
        codec::ping_request(out);
        self.pings <= 2
    }

    /// Whether every PINGREQ has its answer.
    pub fn is_answered(&self) -> bool {
        self.pings == 0
    }

    /// Takes one packet from the server.
    #[inline]
    pub fn receive<'a>(
        &mut self,
        packet: Packet<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Violation> {
        if !self.connected {
            return self.receive_first(packet);
        }
        match packet {
            Packet::Publish(publish) => self.receive_publish(publish, out),
            Packet::Acknowledgement(packet) => self.receive_acknowledgement(packet, out),
            Packet::Suback { packet_id, codes } => {
                if !self.outgoing.end(Awaits::Suback, packet_id) {
                    return Err(Violation::UnknownPacketId(AckKind::Puback, packet_id));
                }
                Ok(Some(Event::Subscribed { codes }))
            }
            Packet::Unsuback { packet_id, .. } => {
                Err(Violation::UnknownPacketId(AckKind::Puback, packet_id))
            }
            Packet::Pingresp => {
                self.pings = self.pings.saturating_sub(1);
                Ok(None)
            }
            Packet::Connack(_) => Err(Violation::ConnackExpected),
            Packet::Disconnect { reason } => Err(Violation::Disconnected(reason)),
        }
    }

    fn receive_first<'a>(&mut self, packet: Packet<'a>) -> Result<Option<Event<'a>>, Violation> {
        let Packet::Connack(connack) = packet else {
            return Err(Violation::ConnackExpected);
        };
        if connack.code != 0 {
            return Err(Violation::Refused(connack.code, self.version));
        }
        self.connected = true;
        self.receive_maximum = connack.receive_maximum;
        if !connack.session_present {
            self.incoming = None;
        }
        Ok(Some(Event::Connected {
            session_present: connack.session_present,
        }))
    }

    #[inline]
    fn receive_publish<'a>(
        &mut self,
        publish: Publish<'a>,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Violation> {
        match publish.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                codec::acknowledgement(out, AckKind::Puback, publish.packet_id);
            }
            Qos::ExactlyOnce => {
                let first = self
                    .incoming
                    .get_or_insert_default()
                    .insert(publish.packet_id);
                if !first && !publish.dup {
                    return Err(Violation::PacketIdInUse(publish.packet_id));
                }
                codec::acknowledgement(out, AckKind::Pubrec, publish.packet_id);
                if !first {
                    return Ok(None); // [MQTT-4.3.3-10]
                }
            }
        }
        Ok(Some(Event::Message(publish)))
    }

    #[inline]
    fn receive_acknowledgement<'a>(
        &mut self,
        packet: Acknowledgement,
        out: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Violation> {
        let Acknowledgement {
            kind,
            packet_id,
            reason,
        } = packet;
        let awaited = match kind {
            AckKind::Pubrel => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.remove(packet_id);
                }
                codec::acknowledgement(out, AckKind::Pubcomp, packet_id);
                return Ok(None);
            }
            AckKind::Puback => Awaits::Puback,
            AckKind::Pubrec => Awaits::Pubrec,
            AckKind::Pubcomp => Awaits::Pubcomp,
        };
        if reason >= 0x80 {
            return Err(Violation::PublishRefused(reason));
        }
        if kind != AckKind::Pubcomp && self.outgoing.is_overtaking(awaited, packet_id) {
            return Err(Violation::AcknowledgedOutOfOrder(kind, packet_id));
        }
        let known = if kind == AckKind::Pubrec {
            codec::acknowledgement(out, AckKind::Pubrel, packet_id);
            self.outgoing.advance(packet_id)
        } else {
            self.outgoing.end(awaited, packet_id)
        };
        match known {
            false => Err(Violation::UnknownPacketId(kind, packet_id)),
            true if kind == AckKind::Pubrec => Ok(None),
            true => Ok(Some(Event::Acknowledged)),
        }
    }
}

#[cfg(test)]
mod tests;
