//! What the broker has sent, taken apart.

use super::Version;

/// A packet as it came.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Packet {
    /// First byte: type and flags.
    pub(crate) first: u8,
    /// What follows the remaining length.
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.body[..self.body.len().min(80)];
        write!(
            formatter,
            "{:02x} [{} bytes] {start:02x?} \"{}\"",
            self.first,
            self.body.len(),
            start.escape_ascii()
        )
    }
}

/// CONNACK.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConnAck {
    /// Session Present; `None` in 3.1, which cannot say.
    pub(crate) session_present: Option<bool>,
    /// Reason code or return code.
    pub(crate) code: u8,
    /// Properties (5.0).
    pub(crate) properties: Properties,
}

impl ConnAck {
    pub(crate) fn parse(version: Version, packet: &Packet) -> Self {
        assert_eq!(packet.first, 0x20, "expected CONNACK, got {packet:?}");
        let mut reader = Reader::new(packet);
        let flags = reader.byte();
        let flags_max = u8::from(version != Version::V31);
        assert!(
            flags <= flags_max,
            "reserved CONNACK flags are set: {packet:?}"
        );
        let code = reader.byte();
        let properties = reader.properties(version);
        reader.expect_end();
        assert!(
            code == 0 || flags == 0,
            "session present in a refusal [MQTT-3.2.2-6]"
        );
        Self {
            session_present: (version != Version::V31).then_some(flags == 1),
            code,
            properties,
        }
    }

    /// A session was there, as far as the version can say.
    pub(crate) fn expect_session(&self) {
        assert_ne!(self.session_present, Some(false), "no session is present");
    }

    /// No session was there, as far as the version can say.
    pub(crate) fn expect_no_session(&self) {
        assert_ne!(self.session_present, Some(true), "a session is present");
    }
}

/// PUBLISH from the broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Delivery {
    /// DUP flag.
    pub(crate) dup: bool,
    /// QoS.
    pub(crate) qos: u8,
    /// RETAIN flag.
    pub(crate) retain: bool,
    /// Topic Name.
    pub(crate) topic: String,
    /// Packet Identifier; 0 with QoS 0.
    pub(crate) id: u16,
    /// Properties (5.0).
    pub(crate) properties: Properties,
    /// Payload.
    pub(crate) payload: Vec<u8>,
}

impl Delivery {
    pub(crate) fn parse(version: Version, packet: &Packet) -> Self {
        assert_eq!(
            packet.first & 0xf0,
            0x30,
            "expected PUBLISH, got {packet:?}"
        );
        let mut reader = Reader::new(packet);
        let qos = packet.first >> 1 & 3;
        let topic = reader.text();
        let id = if qos == 0 { 0 } else { reader.two_bytes() };
        assert!(
            qos == 0 || id != 0,
            "packet identifier 0 [MQTT-2.2.1-3]: {packet:?}"
        );
        let dup = packet.first & 8 != 0;
        assert!(qos > 0 || !dup, "DUP with QoS 0 [MQTT-3.3.1-2]: {packet:?}");
        let properties = reader.properties(version);
        Self {
            dup,
            qos,
            retain: packet.first & 1 != 0,
            topic,
            id,
            properties,
            payload: reader.rest().to_owned(),
        }
    }

    /// The payload as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("a payload of text")
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP from the broker: packet identifier and reason.
pub(crate) fn parse_acknowledgement(version: Version, packet: &Packet) -> (u16, u8) {
    let mut reader = Reader::new(packet);
    let id = reader.two_bytes();
    let reason = if version == Version::V5 && !reader.is_empty() {
        reader.byte()
    } else {
        0
    };
    if !reader.is_empty() {
        reader.properties(version);
    }
    reader.expect_end();
    (id, reason)
}

/// SUBACK, or UNSUBACK in 5.0: packet identifier and codes.
pub(crate) fn parse_codes(version: Version, packet: &Packet) -> (u16, Vec<u8>) {
    let mut reader = Reader::new(packet);
    let id = reader.two_bytes();
    reader.properties(version);
    (id, reader.rest().to_owned())
}

/// DISCONNECT from the broker: reason and properties.
pub(crate) fn parse_disconnect(packet: &Packet) -> (u8, Properties) {
    assert_eq!(packet.first, 0xe0, "expected DISCONNECT, got {packet:?}");
    let mut reader = Reader::new(packet);
    let reason = if reader.is_empty() { 0 } else { reader.byte() };
    let properties = if reader.is_empty() {
        Properties::default()
    } else {
        reader.properties(Version::V5)
    };
    reader.expect_end();
    (reason, properties)
}

/// The value of a property.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value {
    /// An integer of any width.
    Number(u32),
    /// A string or binary data.
    Bytes(Vec<u8>),
    /// A name and a value.
    Pair(String, String),
}

/// Properties in the order in which they came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Value)>);

impl Properties {
    /// All integer values of a property.
    pub(crate) fn numbers(&self, identifier: u8) -> Vec<u32> {
        self.values(identifier)
            .filter_map(|value| match value {
                Value::Number(number) => Some(*number),
                _ => None,
            })
            .collect()
    }

    /// The integer value of a property that may come once.
    pub(crate) fn number(&self, identifier: u8) -> Option<u32> {
        let numbers = self.numbers(identifier);
        assert!(numbers.len() <= 1, "property {identifier:#04x} came twice");
        numbers.first().copied()
    }

    /// The bytes of a property that may come once.
    pub(crate) fn bytes(&self, identifier: u8) -> Option<&[u8]> {
        self.values(identifier).find_map(|value| match value {
            Value::Bytes(bytes) => Some(&bytes[..]),
            _ => None,
        })
    }

    /// The user properties.
    pub(crate) fn user(&self) -> Vec<(&str, &str)> {
        self.0
            .iter()
            .filter_map(|(_, value)| match value {
                Value::Pair(name, value) => Some((&name[..], &value[..])),
                _ => None,
            })
            .collect()
    }

    /// Whether a property is there.
    pub(crate) fn has(&self, identifier: u8) -> bool {
        self.values(identifier).next().is_some()
    }

    fn values(&self, identifier: u8) -> impl Iterator<Item = &Value> {
        self.0
            .iter()
            .filter(move |(found, _)| *found == identifier)
            .map(|(_, value)| value)
    }
}

/// Reads the fields of a packet; what is missing fails the test.
pub(crate) struct Reader<'a> {
    packet: &'a Packet,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(packet: &'a Packet) -> Self {
        Self {
            packet,
            rest: &packet.body,
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        assert!(
            self.rest.len() >= count,
            "the packet is too short: {:?}",
            self.packet
        );
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub(crate) fn two_bytes(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    pub(crate) fn number(&mut self, width: usize) -> u32 {
        self.take(width)
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    pub(crate) fn variable(&mut self) -> u32 {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte();
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
        }
        panic!("a Variable Byte Integer of five bytes: {:?}", self.packet);
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let length = self.two_bytes();
        self.take(usize::from(length)).to_owned()
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8(self.bytes()).expect("a string of UTF-8")
    }

    pub(crate) fn properties(&mut self, version: Version) -> Properties {
        let mut properties = Properties::default();
        if version != Version::V5 {
            return properties;
        }
        let length = self.variable() as usize;
        let after = self
            .rest
            .len()
            .checked_sub(length)
            .expect("properties within the packet");
        while self.rest.len() > after {
            let identifier = self.byte();
            let value = self.property_value(identifier);
            properties.0.push((identifier, value));
        }
        assert_eq!(
            self.rest.len(),
            after,
            "properties run over: {:?}",
            self.packet
        );
        properties
    }

    pub(crate) fn property_value(&mut self, identifier: u8) -> Value {
        match identifier {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Value::Number(self.number(1)),
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(self.number(2)),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(self.number(4)),
            0x0b => Value::Number(self.variable()),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f | 0x09 | 0x16 => {
                Value::Bytes(self.bytes())
            }
            0x26 => Value::Pair(self.text(), self.text()),
            _ => panic!("unknown property {identifier:#04x} in {:?}", self.packet),
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn expect_end(&self) {
        assert!(
            self.is_empty(),
            "bytes after the last field: {:?}",
            self.packet
        );
    }
}
