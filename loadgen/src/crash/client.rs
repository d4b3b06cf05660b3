//! One client with a session that outlives its connections, as the standard asks of clients.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::link::Link;
use super::outbox::{Awaits, Outbox, Token};
use crate::codec::{self, AckKind, Acknowledgement, Connack, Connect, Packet, Qos, Version, Will};

/// How long a broker may take to answer a CONNECT. A socket that outlives its killed process
/// is left after this.
const CONNACK: Duration = Duration::from_secs(5);

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(20);

/// Seconds for which sessions are kept.
const EXPIRY_S: u32 = 3600;

/// A message that has come.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: Qos,
    pub(super) dup: bool,
    pub(super) retain: bool,
}

/// What has happened at a client.
#[derive(Debug)]
pub(super) enum Event {
    /// CONNACK has come; these messages were sent again.
    Connected { again: Vec<Token> },
    /// A message, after the client's own exclusion of repeats at QoS 2.
    Message(Message),
    /// PUBACK or PUBREC of a message, with its reason code.
    Taken { token: Token, reason: u8 },
    /// SUBACK, with its first code.
    Subscribed { token: Token, code: u8 },
    /// UNSUBACK.
    Unsubscribed { token: Token },
    /// The connection is gone.
    Closed,
    /// The broker did what it must not.
    Fault(&'static str, String),
}

/// A will that a client has.
#[derive(Debug, Clone)]
pub(super) struct OwnWill {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: Qos,
    pub(super) delay_s: u32,
}

/// A client.
pub(super) struct Client {
    pub(super) name: String,
    pub(super) version: Version,
    /// Its session outlives the connection.
    is_kept: bool,
    /// It begins a new session with each connection, and leaves what the old one had to others.
    pub(super) is_forgetful: bool,
    /// Sent with the next CONNECT.
    pub(super) will: Option<OwnWill>,
    /// Answers are gathered for so long before they are sent.
    pub(super) laziness: Duration,
    /// What comes is read no sooner than this after the last reading.
    pub(super) slowness: Duration,
    link: Option<Link>,
    is_connected: bool,
    /// DISCONNECT was sent.
    is_leaving: bool,
    opened_at: Instant,
    retry_at: Instant,
    flush_at: Instant,
    read_at: Instant,
    /// A CONNACK has come once, so the broker has the session.
    has_session: bool,
    receive_maximum: usize,
    outbox: Outbox,
    /// QoS 2 messages whose PUBREL has not come.
    inbox: HashSet<u16>,
}

impl Client {
    pub(super) fn new(name: String, version: Version, is_kept: bool) -> Self {
        let now = Instant::now();
        Self {
            name,
            version,
            is_kept,
            is_forgetful: false,
            will: None,
            laziness: Duration::ZERO,
            slowness: Duration::ZERO,
            link: None,
            is_connected: false,
            is_leaving: false,
            opened_at: now,
            retry_at: now,
            flush_at: now,
            read_at: now,
            has_session: false,
            receive_maximum: usize::from(u16::MAX),
            outbox: Outbox::default(),
            inbox: HashSet::new(),
        }
    }

    /// Whether CONNACK has come and the connection is not known to be gone.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected && !self.is_leaving
    }

    /// Whether there is a connection in any state.
    pub(super) fn has_link(&self) -> bool {
        self.link.is_some()
    }

    /// Exchanges that are not over.
    pub(super) fn unsettled(&self) -> usize {
        self.outbox.len()
    }

    /// Whether another exchange fits into the window.
    pub(super) fn has_room(&self, window: usize) -> bool {
        self.is_connected() && self.outbox.len() < window.min(self.receive_maximum)
    }

    /// Connects and sends CONNECT, if there is no connection and it is time to. True when
    /// CONNECT is on its way.
    pub(super) fn connect(&mut self, address: SocketAddr, now: Instant) -> bool {
        if self.link.is_some() || now < self.retry_at {
            return false;
        }
        self.retry_at = now + RETRY;
        let Ok(mut link) = Link::open(address) else {
            return false;
        };
        let request = Connect {
            version: self.version,
            client_id: &self.name,
            clean: !self.is_kept || self.is_forgetful,
            keep_alive_s: 0,
            session_expiry_s: if self.is_kept { EXPIRY_S } else { 0 },
            credentials: None,
            will: self.will.as_ref().map(|will| Will {
                topic: &will.topic,
                payload: &will.payload,
                qos: will.qos,
                delay_s: will.delay_s,
            }),
        };
        codec::connect(&mut link.output, &request);
        link.flush();
        self.link = Some(link);
        self.is_connected = false;
        self.is_leaving = false;
        self.opened_at = now;
        true
    }

    /// Sends a message. The caller has asked [`has_room`](Self::has_room).
    pub(super) fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: Qos,
        retain: bool,
        token: Token,
    ) {
        let mut packet = Vec::with_capacity(payload.len() + topic.len() + 16);
        codec::publish_head(&mut packet, self.version, qos, retain, topic, payload.len());
        let packet_id = self.outbox.unused_id();
        codec::publish_middle(&mut packet, self.version, Some(packet_id));
        packet.extend_from_slice(payload);
        if let Some(link) = &mut self.link {
            link.output.extend_from_slice(&packet);
        }
        self.outbox.begin_publish(packet_id, token, qos, packet);
    }

    /// Sends SUBSCRIBE at QoS 2.
    pub(super) fn subscribe(&mut self, filter: &str, token: Token) {
        let packet_id = self.outbox.unused_id();
        if let Some(link) = &mut self.link {
            let filters = [filter.to_owned()];
            codec::subscribe(
                &mut link.output,
                self.version,
                packet_id,
                &filters,
                Qos::ExactlyOnce,
            );
        }
        self.outbox
            .begin(packet_id, token, Awaits::Suback, Vec::new());
    }

    /// Sends UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, filter: &str, token: Token) {
        let packet_id = self.outbox.unused_id();
        if let Some(link) = &mut self.link {
            codec::unsubscribe(
                &mut link.output,
                self.version,
                packet_id,
                &[filter.to_owned()],
            );
        }
        self.outbox
            .begin(packet_id, token, Awaits::Unsuback, Vec::new());
    }

    /// Ends the connection without a word.
    pub(super) fn cut(&mut self) {
        self.link = None;
        self.is_connected = false;
        self.outbox.disconnected();
        if !self.is_kept {
            self.outbox.forget();
            self.inbox.clear();
        }
    }

    /// Sends DISCONNECT; the broker's end of the connection is awaited.
    pub(super) fn leave(&mut self) {
        if let Some(link) = &mut self.link {
            codec::disconnect(&mut link.output);
            link.flush();
        }
        self.is_leaving = true;
    }

    /// Forgets what it has received and begun: from now on the broker is one that knows an
    /// earlier state.
    pub(super) fn go_back(&mut self) {
        self.cut();
        self.outbox.forget();
        self.inbox.clear();
    }

    /// Does what there is to do on the connection. True when anything came.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        scratch: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> bool {
        if self.is_connected && now < self.read_at {
            return false;
        }
        self.read_at = now + self.slowness;
        let Some(mut link) = self.link.take() else {
            return false;
        };
        let mut alive = link.fill(scratch);
        let mut input = std::mem::take(&mut link.input);
        let mut at = 0;
        loop {
            match codec::decode(&input[at..], self.version) {
                Ok(Some((packet, length))) => {
                    at += length;
                    self.receive(packet, &mut link.output, events);
                }
                Ok(None) => break,
                Err(fault) => {
                    self.fault(events, "malformed packet", fault.to_string());
                    alive = false;
                    break;
                }
            }
        }
        input.drain(..at);
        link.input = input;
        if alive && now >= self.flush_at {
            alive = link.flush();
            self.flush_at = now + self.laziness;
        }
        let is_late = !self.is_connected && now.duration_since(self.opened_at) > CONNACK;
        if alive && !is_late {
            self.link = Some(link);
        } else {
            self.cut();
            events.push(Event::Closed);
        }
        at > 0
    }

    fn receive(&mut self, packet: Packet<'_>, out: &mut Vec<u8>, events: &mut Vec<Event>) {
        match packet {
            Packet::Connack(connack) => self.connected(connack, out, events),
            Packet::Publish(publish) => {
                let packet_id = publish.packet_id;
                match publish.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => {
                        codec::acknowledgement(out, AckKind::Puback, packet_id);
                    }
                    Qos::ExactlyOnce => {
                        codec::acknowledgement(out, AckKind::Pubrec, packet_id);
                        if !self.inbox.insert(packet_id) {
                            if !publish.dup {
                                let what = format!("identifier {packet_id}");
                                self.fault(events, "packet identifier in use, no DUP", what);
                            }
                            return; // [MQTT-4.3.3-10]
                        }
                    }
                }
                events.push(Event::Message(Message {
                    topic: String::from_utf8_lossy(publish.topic).into_owned(),
                    payload: publish.payload.to_vec(),
                    qos: publish.qos,
                    dup: publish.dup,
                    retain: publish.retain,
                }));
            }
            Packet::Acknowledgement(ack) => self.acknowledged(ack, out, events),
            Packet::Suback { packet_id, codes } => {
                match self.outbox.answer(Awaits::Suback, packet_id, false) {
                    Some(token) => events.push(Event::Subscribed {
                        token,
                        code: codes[0],
                    }),
                    None => self.unknown(events, "SUBACK", packet_id),
                }
            }
            Packet::Unsuback { packet_id, .. } => {
                match self.outbox.answer(Awaits::Unsuback, packet_id, false) {
                    Some(token) => events.push(Event::Unsubscribed { token }),
                    None => self.unknown(events, "UNSUBACK", packet_id),
                }
            }
            Packet::Pingresp | Packet::Disconnect { .. } => {}
        }
    }

    fn connected(&mut self, connack: Connack, out: &mut Vec<u8>, events: &mut Vec<Event>) {
        if connack.code != 0 {
            let what = format!("code {:#04x}", connack.code);
            self.fault(events, "connection refused", what);
            return;
        }
        self.is_connected = true;
        self.receive_maximum = usize::from(connack.receive_maximum);
        let is_expected = self.is_kept && self.has_session && !self.is_forgetful;
        if is_expected && !connack.session_present {
            self.fault(events, "session lost", "session present is 0".to_owned());
        } else if self.is_forgetful && connack.session_present {
            self.fault(events, "clean start", "session present is 1".to_owned());
        }
        self.has_session = true;
        let mut again = Vec::new();
        if connack.session_present {
            again = self.outbox.resume(out);
        } else {
            self.outbox.forget();
            self.inbox.clear();
        }
        events.push(Event::Connected { again });
    }

    fn acknowledged(&mut self, ack: Acknowledgement, out: &mut Vec<u8>, events: &mut Vec<Event>) {
        let Acknowledgement {
            kind,
            packet_id,
            reason,
        } = ack;
        let refused = reason >= 0x80;
        let (awaited, name) = match kind {
            AckKind::Pubrel => {
                self.inbox.remove(&packet_id);
                codec::acknowledgement(out, AckKind::Pubcomp, packet_id);
                return;
            }
            AckKind::Puback => (Awaits::Puback, "PUBACK"),
            AckKind::Pubrec => (Awaits::Pubrec, "PUBREC"),
            AckKind::Pubcomp => (Awaits::Pubcomp, "PUBCOMP"),
        };
        let Some(token) = self.outbox.answer(awaited, packet_id, refused) else {
            return self.unknown(events, name, packet_id);
        };
        match kind {
            AckKind::Pubcomp => {}
            AckKind::Pubrec if !refused => {
                codec::acknowledgement(out, AckKind::Pubrel, packet_id);
                events.push(Event::Taken { token, reason });
            }
            _ => events.push(Event::Taken { token, reason }),
        }
    }

    fn unknown(&self, events: &mut Vec<Event>, packet: &str, packet_id: u16) {
        let what = format!("{packet} {packet_id} without an open exchange");
        self.fault(events, "unexpected answer", what);
    }

    fn fault(&self, events: &mut Vec<Event>, kind: &'static str, what: String) {
        events.push(Event::Fault(kind, format!("{}: {what}", self.name)));
    }
}
