//! Packets by hand: what a client sends. Independent of the broker's codec.

use protocol::wire::Version;

use super::received::property;

/// A packet: the first byte, the remaining length and the parts of the body.
fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [vec![first], variable(body.len()), body].concat()
}

/// A Variable Byte Integer.
fn variable(mut value: usize) -> Vec<u8> {
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

/// A string or Binary Data: two bytes of length and the bytes.
fn binary(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u16).to_be_bytes()[..], value].concat()
}

/// The property block of a packet: nothing before 5.0.
fn block(version: Version, properties: &[u8]) -> Vec<u8> {
    if version != Version::V5 {
        return Vec::new();
    }
    [variable(properties.len()), properties.to_vec()].concat()
}

fn four(identifier: u8, value: u32) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

fn two(identifier: u8, value: u16) -> Vec<u8> {
    [&[identifier][..], &value.to_be_bytes()].concat()
}

fn authentication(method: &str, data: &[u8]) -> Vec<u8> {
    let method = [
        vec![property::AUTHENTICATION_METHOD],
        binary(method.as_bytes()),
    ];
    let data = [vec![property::AUTHENTICATION_DATA], binary(data)];
    [method, data].concat().concat()
}

/// CONNECT. Starts as a 5.0 client with Clean Start, whose session ends with the
/// connection, without keep alive.
#[derive(Clone, Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    pub(super) version: Version,
    clean: bool,
    keep_alive_s: u16,
    properties: Vec<u8>,
    will: Option<Will>,
}

impl Connect {
    pub(super) fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            version: Version::V5,
            clean: true,
            keep_alive_s: 0,
            properties: Vec::new(),
            will: None,
        }
    }

    pub(super) fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Takes up the session if there is one.
    pub(super) fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    /// The session outlives the connection by this many seconds.
    pub(super) fn expiry(mut self, seconds: u32) -> Self {
        self.properties
            .extend(four(property::SESSION_EXPIRY, seconds));
        self
    }

    pub(super) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    pub(super) fn receive_maximum(mut self, messages: u16) -> Self {
        self.properties
            .extend(two(property::RECEIVE_MAXIMUM, messages));
        self
    }

    pub(super) fn maximum_packet_size(mut self, bytes: u32) -> Self {
        self.properties
            .extend(four(property::MAXIMUM_PACKET_SIZE, bytes));
        self
    }

    pub(super) fn topic_alias_maximum(mut self, aliases: u16) -> Self {
        self.properties
            .extend(two(property::TOPIC_ALIAS_MAXIMUM, aliases));
        self
    }

    /// Authentication Method and Data.
    pub(super) fn authentication(mut self, method: &str, data: &[u8]) -> Self {
        self.properties.extend(authentication(method, data));
        self
    }

    pub(super) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut payload = binary(self.client_id.as_bytes());
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
            payload.extend(block(self.version, &will.properties));
            payload.extend(binary(will.topic.as_bytes()));
            payload.extend(binary(&will.payload));
        }
        let (name, level): (&[u8], u8) = match self.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            Version::V5 => (b"MQTT", 5),
        };
        packet(
            0x10,
            &[
                &binary(name),
                &[level, flags],
                &self.keep_alive_s.to_be_bytes(),
                &block(self.version, &self.properties),
                &payload,
            ],
        )
    }
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub(super) struct Will {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Vec<u8>,
}

impl Will {
    pub(super) fn new(topic: &str, payload: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.into(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }

    pub(super) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(super) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Will Delay Interval in seconds.
    pub(super) fn delay(mut self, seconds: u32) -> Self {
        self.properties.extend(four(property::WILL_DELAY, seconds));
        self
    }

    /// Message Expiry Interval in seconds.
    pub(super) fn expiry(mut self, seconds: u32) -> Self {
        self.properties
            .extend(four(property::MESSAGE_EXPIRY, seconds));
        self
    }
}

/// PUBLISH.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    id: u16,
    retain: bool,
    dup: bool,
    properties: Vec<u8>,
}

impl Publish {
    /// A message with QoS 0.
    pub(super) fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
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

    /// QoS 1 or 2 and the Packet Identifier.
    pub(super) fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = id;
        self
    }

    pub(super) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(super) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Message Expiry Interval in seconds.
    pub(super) fn expiry(mut self, seconds: u32) -> Self {
        self.properties
            .extend(four(property::MESSAGE_EXPIRY, seconds));
        self
    }

    pub(super) fn encode(&self, version: Version) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let id = self.id.to_be_bytes();
        packet(
            first,
            &[
                &binary(self.topic.as_bytes()),
                if self.qos == 0 { &[] } else { &id },
                &block(version, &self.properties),
                &self.payload,
            ],
        )
    }
}

/// SUBSCRIBE with filters and their options bytes; an identifier of 0 is none.
pub(super) fn subscribe(
    version: Version,
    id: u16,
    identifier: u32,
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut properties = Vec::new();
    if identifier > 0 {
        properties.push(property::SUBSCRIPTION_IDENTIFIER);
        properties.extend(variable(identifier as usize));
    }
    let mut payload = Vec::new();
    for (filter, options) in filters {
        payload.extend(binary(filter.as_bytes()));
        payload.push(*options);
    }
    packet(
        0x82,
        &[&id.to_be_bytes(), &block(version, &properties), &payload],
    )
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut payload = Vec::new();
    for filter in filters {
        payload.extend(binary(filter.as_bytes()));
    }
    packet(0xa2, &[&id.to_be_bytes(), &block(version, &[]), &payload])
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &[&id.to_be_bytes()])
}

pub(super) fn pubrec(id: u16) -> Vec<u8> {
    packet(0x50, &[&id.to_be_bytes()])
}

pub(super) fn pubrel(id: u16) -> Vec<u8> {
    packet(0x62, &[&id.to_be_bytes()])
}

pub(super) fn pubcomp(id: u16) -> Vec<u8> {
    packet(0x70, &[&id.to_be_bytes()])
}

pub(super) const PINGREQ: [u8; 2] = [0xc0, 0];

/// DISCONNECT that says nothing but good-bye.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// DISCONNECT with a reason (5.0), and a Session Expiry Interval if there is one.
pub(super) fn disconnect(reason: u8, expiry_s: Option<u32>) -> Vec<u8> {
    let properties = expiry_s.map_or(Vec::new(), |seconds| {
        four(property::SESSION_EXPIRY, seconds)
    });
    packet(0xe0, &[&[reason], &block(Version::V5, &properties)])
}

/// AUTH.
pub(super) fn auth(reason: u8, method: &str, data: &[u8]) -> Vec<u8> {
    let properties = authentication(method, data);
    packet(0xf0, &[&[reason], &block(Version::V5, &properties)])
}
