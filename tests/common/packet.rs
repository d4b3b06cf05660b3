//! Packets by hand: what a client sends.

use std::net::SocketAddr;

use super::client::Client;
use super::property;
use super::received::ConnAck;

/// The protocol level, by the byte that names it in CONNECT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Version {
    /// MQTT 3.1.
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Version {
    /// Every version.
    pub(crate) const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// The protocol name in CONNECT.
    pub(crate) fn protocol_name(self) -> &'static str {
        if self == Self::V31 { "MQIsdp" } else { "MQTT" }
    }
}

/// A packet: the first byte, the remaining length, and the parts of the body.
pub(crate) fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let length = u32::try_from(body.len()).expect("a packet that MQTT can hold");
    [vec![first], variable_byte_integer(length), body].concat()
}

/// A Variable Byte Integer in as few bytes as can be.
pub(crate) fn variable_byte_integer(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

/// Binary Data, or a UTF-8 Encoded String: two bytes of length and the bytes.
pub(crate) fn binary_data(value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("at most 65,535 bytes");
    [&length.to_be_bytes()[..], value].concat()
}

/// The property block of a packet: length and properties in 5.0, nothing before.
pub(crate) fn property_block(version: Version, properties: &[u8]) -> Vec<u8> {
    if version != Version::V5 {
        return Vec::new();
    }
    let length = u32::try_from(properties.len()).expect("few properties");
    [variable_byte_integer(length), properties.to_vec()].concat()
}

/// CONNECT, to a broker. Starts as a clean session without keep alive.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    address: SocketAddr,
    version: Version,
    client_id: String,
    clean: bool,
    keep_alive: u16,
    properties: Vec<u8>,
    will: Option<Will>,
    username: Option<String>,
    password: Option<Vec<u8>>,
}

impl Connect {
    /// A client with a clean session.
    pub(crate) fn new(address: SocketAddr, version: Version, client_id: &str) -> Self {
        Self {
            address,
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            username: None,
            password: None,
        }
    }

    /// Without Clean Start or Clean Session.
    pub(crate) fn unclean(mut self) -> Self {
        self.clean = false;
        self
    }

    /// Takes up the session if there is one, and keeps it for an hour when the
    /// connection ends.
    pub(crate) fn persistent(self) -> Self {
        self.unclean()
            .property(property::four_bytes(property::SESSION_EXPIRY, 3600))
    }

    /// Keep Alive in seconds.
    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Adds a property, where the version has them.
    pub(crate) fn property(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    /// Sets the will.
    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// User name and password.
    pub(crate) fn login(mut self, username: &str, password: &[u8]) -> Self {
        self.username = Some(username.to_owned());
        self.password = Some(password.to_owned());
        self
    }

    /// The packet.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut payload = binary_data(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
            payload.extend(property_block(self.version, &will.properties));
            payload.extend(binary_data(will.topic.as_bytes()));
            payload.extend(binary_data(&will.payload));
        }
        if let Some(username) = &self.username {
            flags |= 0x80;
            payload.extend(binary_data(username.as_bytes()));
        }
        if let Some(password) = &self.password {
            flags |= 0x40;
            payload.extend(binary_data(password));
        }
        packet(
            0x10,
            &[
                &binary_data(self.version.protocol_name().as_bytes()),
                &[self.version as u8, flags],
                &self.keep_alive.to_be_bytes(),
                &property_block(self.version, &self.properties),
                &payload,
            ],
        )
    }

    /// Opens a connection, sends the packet, and expects to be accepted.
    pub(crate) fn open(&self) -> (Client, ConnAck) {
        let mut client = self.send();
        let answer = client.expect_connack();
        assert_eq!(answer.code, 0, "{self:?} was refused");
        (client, answer)
    }

    /// Opens a connection and sends the packet.
    pub(crate) fn send(&self) -> Client {
        let mut client = Client::open(self.address, self.version);
        client.send(&self.encode());
        client
    }
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<u8>,
}

impl Will {
    /// A will with QoS 0.
    pub(crate) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }

    /// QoS to publish it with.
    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Makes it a retained message.
    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Adds a property.
    pub(crate) fn property(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    /// Will Delay Interval.
    pub(crate) fn delay(self, seconds: u32) -> Self {
        self.property(property::four_bytes(property::WILL_DELAY, seconds))
    }
}

/// PUBLISH.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    topic: Vec<u8>,
    payload: Vec<u8>,
    qos: u8,
    id: u16,
    retain: bool,
    dup: bool,
    properties: Vec<u8>,
}

impl Publish {
    /// A message with QoS 0.
    pub(crate) fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self::with_topic_bytes(topic.as_bytes(), payload)
    }

    /// The same with a topic that need not be UTF-8.
    pub(crate) fn with_topic_bytes(topic: &[u8], payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_owned(),
            qos: 0,
            id: 0,
            retain: false,
            dup: false,
            properties: Vec::new(),
        }
    }

    /// QoS and packet identifier (which QoS 0 does not have).
    pub(crate) fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = id;
        self
    }

    /// Sets the RETAIN flag.
    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Sets the DUP flag.
    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Adds a property.
    pub(crate) fn property(mut self, property: Vec<u8>) -> Self {
        self.properties.extend(property);
        self
    }

    /// The packet.
    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let id = self.id.to_be_bytes();
        packet(
            first,
            &[
                &binary_data(&self.topic),
                if self.qos == 0 { &[] } else { &id },
                &property_block(version, &self.properties),
                &self.payload,
            ],
        )
    }
}

/// SUBSCRIBE with filters and their options bytes.
pub(crate) fn subscribe(
    version: Version,
    id: u16,
    properties: &[u8],
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let filters: Vec<u8> = filters
        .iter()
        .flat_map(|(filter, options)| [binary_data(filter.as_bytes()), vec![*options]].concat())
        .collect();
    packet(
        0x82,
        &[
            &id.to_be_bytes(),
            &property_block(version, properties),
            &filters,
        ],
    )
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<u8> = filters
        .iter()
        .flat_map(|filter| binary_data(filter.as_bytes()))
        .collect();
    packet(
        0xa2,
        &[&id.to_be_bytes(), &property_block(version, &[]), &filters],
    )
}

/// First byte of PUBACK.
pub(crate) const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub(crate) const PUBREC: u8 = 0x50;
/// First byte of PUBREL.
pub(crate) const PUBREL: u8 = 0x62;
/// First byte of PUBCOMP.
pub(crate) const PUBCOMP: u8 = 0x70;

/// PUBACK, PUBREC, PUBREL or PUBCOMP that says success.
pub(crate) fn acknowledge(first: u8, id: u16) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes()])
}

/// The same with a reason code (5.0).
pub(crate) fn acknowledge_with(first: u8, id: u16, reason: u8) -> Vec<u8> {
    packet(first, &[&id.to_be_bytes(), &[reason]])
}

/// PINGREQ.
pub(crate) const PINGREQ: [u8; 2] = [0xc0, 0];
/// PINGRESP.
pub(crate) const PINGRESP: [u8; 2] = [0xd0, 0];
/// DISCONNECT that says nothing but good-bye.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// DISCONNECT with a reason code and properties (5.0).
pub(crate) fn disconnect(reason: u8, properties: &[u8]) -> Vec<u8> {
    packet(0xe0, &[&[reason], &property_block(Version::V5, properties)])
}
