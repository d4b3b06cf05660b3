//! What the broker has sent, taken apart. Independent of the broker's codec.

use protocol::wire::Version;

/// Property identifiers.
pub(super) mod property {
    pub(in super::super) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(in super::super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(in super::super) const TOPIC_ALIAS: u8 = 0x23;
    pub(in super::super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub(in super::super) const SESSION_EXPIRY: u8 = 0x11;
    pub(in super::super) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(in super::super) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(in super::super) const WILL_DELAY: u8 = 0x18;
    pub(in super::super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(in super::super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

/// A packet from the broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Received {
    ConnAck {
        present: bool,
        reason: u8,
    },
    /// CONNACK with Success, an Authentication Method and Data.
    Authenticated {
        method: String,
        data: Vec<u8>,
    },
    Publish(Delivery),
    PubAck {
        id: u16,
        reason: u8,
    },
    PubRec {
        id: u16,
        reason: u8,
    },
    PubRel {
        id: u16,
        reason: u8,
    },
    PubComp {
        id: u16,
        reason: u8,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
    },
    UnsubAck {
        id: u16,
        codes: Vec<u8>,
    },
    PingResp,
    Disconnect {
        reason: u8,
    },
    Auth {
        reason: u8,
        method: String,
        data: Vec<u8>,
    },
}

/// PUBLISH from the broker.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Delivery {
    pub(super) dup: bool,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) topic: String,
    /// Topic Alias.
    pub(super) alias: Option<u16>,
    /// It came without a topic, which the alias stands for.
    pub(super) is_bare: bool,
    /// 0 with QoS 0.
    pub(super) id: u16,
    /// Message Expiry Interval in seconds.
    pub(super) expiry_s: Option<u32>,
    /// Subscription Identifiers.
    pub(super) identifiers: Vec<u32>,
    pub(super) payload: Vec<u8>,
}

impl Delivery {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }
}

/// Takes all complete packets from the front of `bytes`.
pub(super) fn take_packets(version: Version, bytes: &mut Vec<u8>) -> Vec<Received> {
    let mut packets = Vec::new();
    let mut rest = &bytes[..];
    while let Some((first, body, after)) = split(rest) {
        packets.push(parse(version, first, Reader(body)));
        rest = after;
    }
    let used = bytes.len() - rest.len();
    bytes.drain(..used);
    packets
}

/// First byte and body of the first packet, and what follows it.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let first = *bytes.first()?;
    let (mut length, mut size) = (0, 1);
    loop {
        let byte = *bytes.get(size)?;
        length |= usize::from(byte & 0x7f) << (7 * (size - 1));
        size += 1;
        if byte < 0x80 {
            break;
        }
    }
    let body = bytes.get(size..size + length)?;
    Some((first, body, &bytes[size + length..]))
}

fn parse(version: Version, first: u8, mut reader: Reader<'_>) -> Received {
    match first >> 4 {
        2 => parse_connack(version, reader),
        3 => Received::Publish(parse_publish(version, first, reader)),
        4..=7 => {
            let (id, reason) = (reader.two(), reader.byte_or_0());
            match first {
                0x40 => Received::PubAck { id, reason },
                0x50 => Received::PubRec { id, reason },
                0x62 => Received::PubRel { id, reason },
                0x70 => Received::PubComp { id, reason },
                _ => panic!("wrong flags in {first:#04x}"),
            }
        }
        9 => Received::SubAck {
            id: reader.two(),
            codes: reader.codes(version),
        },
        11 => Received::UnsubAck {
            id: reader.two(),
            codes: reader.codes(version),
        },
        13 => Received::PingResp,
        14 => Received::Disconnect {
            reason: reader.byte_or_0(),
        },
        15 => parse_auth(reader),
        _ => panic!("a server does not send {first:#04x}"),
    }
}

fn parse_connack(version: Version, mut reader: Reader<'_>) -> Received {
    let present = reader.byte() == 1;
    let reason = reader.byte();
    let (mut method, mut data) = (None, Vec::new());
    if version == Version::V5 {
        assert_eq!(reader.variable() as usize, reader.0.len());
    }
    while !reader.0.is_empty() {
        match reader.byte() {
            property::AUTHENTICATION_METHOD => method = Some(reader.text()),
            property::AUTHENTICATION_DATA => data = reader.binary(),
            0x11 | 0x27 => _ = reader.four(),
            0x13 | 0x21 | 0x22 => _ = reader.two(),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => _ = reader.byte(),
            0x12 | 0x1a | 0x1c | 0x1f => _ = reader.text(),
            other => panic!("no test gets property {other:#04x} in CONNACK"),
        }
    }
    match method {
        Some(method) => {
            assert_eq!(reason, 0, "a refusal has an authentication method");
            Received::Authenticated { method, data }
        }
        None => Received::ConnAck { present, reason },
    }
}

/// AUTH, which has a method, perhaps data, and nothing else.
fn parse_auth(mut reader: Reader<'_>) -> Received {
    let (reason, length) = (reader.byte(), reader.variable());
    assert_eq!(length as usize, reader.0.len());
    assert_eq!(reader.byte(), property::AUTHENTICATION_METHOD);
    let method = reader.text();
    let mut data = Vec::new();
    if !reader.0.is_empty() {
        assert_eq!(reader.byte(), property::AUTHENTICATION_DATA);
        data = reader.binary();
    }
    assert!(reader.0.is_empty(), "AUTH has more: {:?}", reader.0);
    Received::Auth {
        reason,
        method,
        data,
    }
}

fn parse_publish(version: Version, first: u8, mut reader: Reader<'_>) -> Delivery {
    let qos = first >> 1 & 3;
    let mut delivery = Delivery {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic: reader.text(),
        id: if qos == 0 { 0 } else { reader.two() },
        ..Delivery::default()
    };
    assert!(
        qos == 0 || delivery.id != 0,
        "packet identifier 0 [MQTT-2.2.1-3]"
    );
    if version == Version::V5 {
        let length = reader.variable();
        let mut properties = Reader(reader.take(length as usize));
        while !properties.0.is_empty() {
            match properties.byte() {
                property::MESSAGE_EXPIRY => delivery.expiry_s = Some(properties.four()),
                property::TOPIC_ALIAS => delivery.alias = Some(properties.two()),
                property::SUBSCRIPTION_IDENTIFIER => {
                    delivery.identifiers.push(properties.variable());
                }
                other => panic!("no test sends property {other:#04x}"),
            }
        }
    }
    delivery.payload = reader.0.to_vec();
    delivery
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn byte_or_0(&mut self) -> u8 {
        if self.0.is_empty() { 0 } else { self.byte() }
    }

    fn two(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    fn four(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    fn variable(&mut self) -> u32 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn binary(&mut self) -> Vec<u8> {
        let length = self.two();
        self.take(usize::from(length)).to_vec()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.binary()).expect("UTF-8")
    }

    /// The codes of SUBACK or UNSUBACK, behind the properties.
    fn codes(&mut self, version: Version) -> Vec<u8> {
        if version == Version::V5 {
            let length = self.variable();
            self.take(length as usize);
        }
        self.0.to_vec()
    }
}
