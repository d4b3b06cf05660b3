//! A client that says exactly what it is told to, and waits for what must come.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::Version;
use super::broker::patience;
use super::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish};
use super::received::{self, ConnAck, Delivery, Packet, Properties};

/// A connection to the broker. Everything blocks, and fails the test when it takes
/// longer than [`patience`].
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    version: Version,
    /// Packets that came while another was awaited.
    early: VecDeque<Packet>,
    last_id: u16,
}

/// Opening, sending and ending.
impl Client {
    /// Connects; nothing is sent.
    pub(crate) fn open(address: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect_timeout(&address, patience())
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        stream
            .set_read_timeout(Some(patience()))
            .expect("set a read timeout");
        stream
            .set_write_timeout(Some(patience()))
            .expect("set a write timeout");
        Self {
            stream: BufReader::new(stream),
            version,
            early: VecDeque::new(),
            last_id: 0,
        }
    }

    /// Protocol version.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are. That the broker has closed the connection is not an
    /// error here: what is expected next tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.get_mut().write_all(bytes) {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Sends a message as it is and waits for nothing.
    pub(crate) fn send_publish(&mut self, message: &Publish) {
        self.send(&message.encode(self.version));
    }

    /// An unused packet identifier.
    pub(crate) fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id % u16::MAX + 1;
        self.last_id
    }

    /// Ends the connection with DISCONNECT and waits until the broker has closed it.
    pub(crate) fn disconnect(mut self) {
        self.send(&packet::DISCONNECT);
        self.expect_closed();
    }

    /// Ends the connection without DISCONNECT and waits until the broker has closed
    /// it too. What it sent meanwhile is thrown away.
    pub(crate) fn abandon(mut self) {
        // A broker that was faster makes this fail.
        let _ = self.socket().shutdown(Shutdown::Write);
        self.rest();
    }
}

/// Waiting for packets.
impl Client {
    /// The next packet.
    pub(crate) fn expect_packet(&mut self) -> Packet {
        match self.early.pop_front() {
            Some(packet) => packet,
            None => self.read_packet(),
        }
    }

    /// The next packet, which must be these bytes.
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let packet = self.expect_packet();
        let got = packet::packet(packet.first, &[&packet.body]);
        assert_eq!(got, bytes, "got {got:02x?} instead of {bytes:02x?}");
    }

    /// CONNACK.
    pub(crate) fn expect_connack(&mut self) -> ConnAck {
        let packet = self.expect_packet();
        ConnAck::parse(self.version, &packet)
    }

    /// PUBLISH.
    pub(crate) fn expect_publish(&mut self) -> Delivery {
        let packet = self.expect_packet();
        Delivery::parse(self.version, &packet)
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP: packet identifier and reason code.
    pub(crate) fn expect_acknowledgement(&mut self, first: u8) -> (u16, u8) {
        let packet = self.expect_packet();
        assert_eq!(packet.first, first, "got {packet:?}");
        received::parse_acknowledgement(self.version, &packet)
    }

    /// Whether an acknowledgement of `id` comes; if not, the connection must end.
    pub(crate) fn acknowledged_or_closed(&mut self, first: u8, id: u16) -> bool {
        let mut head = [0; 1];
        match self.read_past_interruptions(&mut head) {
            Ok(0) => return false,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
            Ok(_) => {}
            Err(error) => panic!("neither acknowledged nor closed: {error}"),
        }
        assert_eq!(head[0], first, "the first byte of an acknowledgement");
        let mut rest = [0; 3];
        self.read_exact(&mut rest);
        assert_eq!(rest, [2, id.to_be_bytes()[0], id.to_be_bytes()[1]]);
        true
    }

    /// SUBACK with these codes.
    pub(crate) fn expect_suback(&mut self, id: u16, codes: &[u8]) {
        let packet = self.expect_packet();
        assert_eq!(packet.first, 0x90, "expected SUBACK, got {packet:?}");
        let got = received::parse_codes(self.version, &packet);
        assert_eq!(got, (id, codes.to_vec()));
    }

    /// The codes of a SUBACK.
    pub(crate) fn expect_suback_to(&mut self, id: u16) -> Vec<u8> {
        let packet = self.expect_packet();
        assert_eq!(packet.first, 0x90, "expected SUBACK, got {packet:?}");
        let (got, codes) = received::parse_codes(self.version, &packet);
        assert_eq!(got, id);
        codes
    }

    /// UNSUBACK with these codes, which 3.x does not have.
    pub(crate) fn expect_unsuback(&mut self, id: u16, codes: &[u8]) {
        let packet = self.expect_packet();
        assert_eq!(packet.first, 0xb0, "expected UNSUBACK, got {packet:?}");
        let got = received::parse_codes(self.version, &packet);
        let codes = if self.version == Version::V5 {
            codes
        } else {
            &[]
        };
        assert_eq!(got, (id, codes.to_vec()));
    }

    /// The end of the connection, before anything else.
    pub(crate) fn expect_closed(&mut self) {
        if let Some(packet) = self.early.front() {
            panic!("expected the end of the connection, got {packet:?}");
        }
        let mut rest = [0; 256];
        match self.read_past_interruptions(&mut rest) {
            Ok(0) => {}
            Ok(count) => panic!(
                "expected the end of the connection, got {:02x?}",
                &rest[..count]
            ),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the broker did not close the connection: {error}"),
        }
    }

    /// All that comes until the broker closes the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => {
                panic!("the broker did not close the connection: {error}")
            }
            _ => rest,
        }
    }

    /// The end of the connection because of `reason`: DISCONNECT with that reason
    /// code first in 5.0, nothing in 3.x.
    pub(crate) fn expect_refusal(&mut self, reason: u8) {
        self.expect_refusal_of(&[reason]);
    }

    /// The same where more than one reason code is right.
    pub(crate) fn expect_refusal_of(&mut self, reasons: &[u8]) -> Properties {
        let mut properties = Properties::default();
        if self.version == Version::V5 {
            let packet = self.expect_packet();
            let (reason, found) = received::parse_disconnect(&packet);
            assert!(
                reasons.contains(&reason),
                "DISCONNECT {reason:#04x}, not {reasons:02x?}"
            );
            properties = found;
        }
        self.expect_closed();
        properties
    }

    /// Proves that nothing is on its way from the broker's part that serves this
    /// connection: a PINGREQ is answered before anything else comes.
    pub(crate) fn expect_silence_until_pong(&mut self) {
        self.send(&packet::PINGREQ);
        self.expect(&packet::PINGRESP);
    }

    /// What comes before the answer to a PINGREQ; nothing of it is acknowledged.
    pub(crate) fn messages_until_pong(&mut self) -> Vec<Delivery> {
        self.send(&packet::PINGREQ);
        self.messages_until(packet::PINGRESP[0])
    }

    /// What comes before a packet with this first byte; nothing of it is acknowledged.
    pub(crate) fn messages_until(&mut self, first: u8) -> Vec<Delivery> {
        let mut messages = Vec::new();
        loop {
            let packet = self.expect_packet();
            if packet.first == first {
                return messages;
            }
            messages.push(Delivery::parse(self.version, &packet));
        }
    }

    /// Proves that nothing that `publisher` has sent so far reaches this client.
    pub(crate) fn expect_nothing_from(&mut self, publisher: &mut Self) {
        let messages = self.messages_from(publisher);
        assert!(messages.is_empty(), "nothing was to come, but {messages:?}");
    }

    /// What reaches this client of all that `publisher` has sent so far: of two
    /// messages from one publisher the later one comes last.
    pub(crate) fn messages_from(&mut self, publisher: &mut Self) -> Vec<Delivery> {
        let fence = format!("fence/{}", self.next_id());
        self.subscribe(&fence, 0);
        publisher.publish(&fence, "fence", 0);
        let mut messages = Vec::new();
        loop {
            let message = self.expect_publish();
            if message.topic == fence {
                self.unsubscribe(&fence);
                return messages;
            }
            messages.push(message);
        }
    }

    /// The next packet that is not a PUBLISH; messages that come before it are kept.
    fn expect_packet_past_messages(&mut self) -> Packet {
        let mut messages = VecDeque::new();
        loop {
            match self.expect_packet() {
                message if message.first & 0xf0 == 0x30 => messages.push_back(message),
                other => {
                    messages.append(&mut self.early);
                    self.early = messages;
                    return other;
                }
            }
        }
    }

    /// Reads some bytes. A process that is stopped and continued meanwhile is interrupted.
    fn read_past_interruptions(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn read_packet(&mut self) -> Packet {
        let mut header = [0; 1];
        self.read_exact(&mut header);
        let first = header[0];
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            self.read_exact(&mut header);
            length |= usize::from(header[0] & 0x7f) << shift;
            if header[0] & 0x80 == 0 {
                let mut body = vec![0; length];
                self.read_exact(&mut body);
                return Packet { first, body };
            }
        }
        panic!("a remaining length of more than four bytes");
    }

    fn read_exact(&mut self, buffer: &mut [u8]) {
        if let Err(error) = self.stream.read_exact(buffer) {
            panic!("expected a packet, but {error}");
        }
    }
}

/// Whole exchanges.
impl Client {
    /// Subscribes to one filter and expects the QoS to be granted.
    pub(crate) fn subscribe(&mut self, filter: &str, qos: u8) {
        self.subscribe_with(&[], filter, qos, qos);
    }

    /// Subscribes with options and properties; expects `code`. Messages that come
    /// before SUBACK are kept [MQTT-3.8.4-2].
    pub(crate) fn subscribe_with(
        &mut self,
        properties: &[u8],
        filter: &str,
        options: u8,
        code: u8,
    ) {
        let id = self.next_id();
        self.send(&packet::subscribe(
            self.version,
            id,
            properties,
            &[(filter, options)],
        ));
        let answer = self.expect_packet_past_messages();
        assert_eq!(answer.first, 0x90, "expected SUBACK, got {answer:?}");
        let got = received::parse_codes(self.version, &answer);
        assert_eq!(got, (id, vec![code]), "SUBACK for {filter}");
    }

    /// Unsubscribes from one filter; expects that the subscription existed.
    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        let id = self.next_id();
        self.send(&packet::unsubscribe(self.version, id, &[filter]));
        self.expect_unsuback(id, &[0]);
    }

    /// Publishes and goes through the whole exchange of the QoS.
    pub(crate) fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>, qos: u8) {
        self.publish_message(Publish::new(topic, payload), qos);
    }

    /// The same with a message that has more to it; its QoS is set here.
    pub(crate) fn publish_message(&mut self, message: Publish, qos: u8) {
        let id = if qos == 0 { 0 } else { self.next_id() };
        self.send_publish(&message.qos(qos, id));
        match qos {
            0 => {}
            1 => self.expect_success(PUBACK, id),
            _ => {
                self.expect_success(PUBREC, id);
                self.send(&packet::acknowledge(PUBREL, id));
                self.expect_success(PUBCOMP, id);
            }
        }
    }

    /// Expects a message and goes through the whole exchange of its QoS.
    pub(crate) fn expect_message(&mut self, topic: &str, payload: &str, qos: u8) -> Delivery {
        let message = self.expect_publish();
        assert_eq!(
            (
                &message.topic[..],
                message.payload.escape_ascii().to_string(),
                message.qos
            ),
            (topic, payload.as_bytes().escape_ascii().to_string(), qos),
            "topic, payload and QoS of what came differ from what was expected"
        );
        self.complete(&message);
        message
    }

    /// Acknowledges a message to the end.
    pub(crate) fn complete(&mut self, message: &Delivery) {
        match message.qos {
            0 => {}
            1 => self.send(&packet::acknowledge(PUBACK, message.id)),
            _ => {
                self.send(&packet::acknowledge(PUBREC, message.id));
                let release = self.expect_packet_past_messages();
                assert_eq!(release.first, PUBREL, "expected PUBREL, got {release:?}");
                let got = received::parse_acknowledgement(self.version, &release);
                assert_eq!(got, (message.id, 0), "PUBREL");
                self.send(&packet::acknowledge(PUBCOMP, message.id));
            }
        }
    }

    /// An acknowledgement of `id` that says success, or that nobody is subscribed.
    pub(crate) fn expect_success(&mut self, first: u8, id: u16) {
        let (got, reason) = self.expect_acknowledgement(first);
        assert_eq!(got, id, "packet identifier of {first:02x}");
        assert!(
            matches!(reason, 0 | 0x10),
            "{first:02x} with reason {reason:#04x}"
        );
    }
}
