//! CONNECT.

use core::num::{NonZeroU16, NonZeroU32};

use crate::wire::properties::{Carrier, Property, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{
    Connect, ConnectError, DecodeError, Malformed, ProtocolError, PublishProperties, QoS,
    UserProperties, Version, Will,
};

/// First byte of CONNECT.
const FIRST: u8 = 0x10;

/// Decodes the first packet of a connection. `first` and `body` are what
/// [`split`](crate::wire::split) gave.
///
/// The client identifier may be empty, and as long as a string may be: what is
/// accepted is for the session to decide.
pub fn decode_connect(first: u8, body: &[u8]) -> Result<Connect<'_>, ConnectError> {
    if first >> 4 != 1 {
        return Err(close(ProtocolError::NotConnect.into()));
    }
    let mut reader = Reader::new(body);
    let version = protocol(&mut reader)?;
    connect(version, first, reader).map_err(|error| ConnectError {
        version: Some(version),
        error,
    })
}

/// Refuses without an answer.
const fn close(error: DecodeError) -> ConnectError {
    let version = None;
    ConnectError { version, error }
}

/// Protocol name and level [MQTT-3.1.2-1], [MQTT-3.1.2-2].
fn protocol(reader: &mut Reader<'_>) -> Result<Version, ConnectError> {
    let name = reader.binary().map_err(|fault| close(fault.into()))?;
    let level = reader.byte().map_err(|fault| close(fault.into()))?;
    let answer = match (name, level) {
        (b"MQIsdp", 3) => return Ok(Version::V31),
        (b"MQTT", 4) => return Ok(Version::V311),
        (b"MQTT", 5) => return Ok(Version::V5),
        (b"MQIsdp", _) => Some(Version::V311),
        // The high bit is how a bridge asks whether the other side is a broker, too.
        // It expects the refusal in its own version, and tries again without.
        (b"MQTT", level) if level & 0x7f < 5 => Some(Version::V311),
        // A later protocol, or a client that tries what it gets: the answer is laid out as
        // its CONNECT is.
        (b"MQTT", _) if connect(Version::V311, FIRST, *reader).is_ok() => Some(Version::V311),
        (b"MQTT", _) | (_, 5) => Some(Version::V5),
        _ => None,
    };
    Err(ConnectError {
        version: answer,
        error: ProtocolError::UnsupportedVersion.into(),
    })
}

/// What follows the protocol level.
fn connect(
    version: Version,
    first: u8,
    mut reader: Reader<'_>,
) -> Result<Connect<'_>, DecodeError> {
    if first & 0x0f != 0 {
        return Err(Malformed::FixedHeaderFlags.into());
    }
    let flags = Flags::read(version, reader.byte()?)?;
    let keep_alive = reader.two()?;
    let properties = match version {
        Version::V31 | Version::V311 => Properties::absent(flags.session_expiry_before_5()),
        Version::V5 => Properties::read(&mut reader)?,
    };
    let client_id = reader.text()?;
    let will = match flags.will {
        Some(qos) => Some(will(version, qos, flags.will_retain, &mut reader)?),
        None => None,
    };
    let username = flags.username.then(|| reader.text()).transpose()?;
    let password = flags.password.then(|| reader.binary()).transpose()?;
    reader.finish()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start,
        keep_alive,
        client_id,
        will,
        username,
        password,
        session_expiry: properties.session_expiry,
        receive_maximum: properties.receive_maximum,
        maximum_packet_size: properties.maximum_packet_size,
        topic_alias_maximum: properties.topic_alias_maximum,
        request_response_information: properties.request_response_information,
        request_problem_information: properties.request_problem_information,
        authentication_method: properties.authentication_method,
        authentication_data: properties.authentication_data,
        user_properties: properties.user_properties,
    })
}

/// The fields of the will [MQTT-3.1.2-9].
fn will<'a>(
    version: Version,
    qos: QoS,
    retain: bool,
    reader: &mut Reader<'a>,
) -> Result<Will<'a>, DecodeError> {
    let (properties, delay) = match version {
        Version::V31 | Version::V311 => (PublishProperties::default(), 0),
        Version::V5 => PublishProperties::read_will(reader)?,
    };
    let topic = reader.text()?;
    if topic.is_empty() {
        return Err(ProtocolError::TopicNameEmpty.into());
    }
    Ok(Will {
        qos,
        retain,
        delay,
        topic,
        payload: reader.binary()?,
        properties,
    })
}

/// The connect flags (section 3.1.2.3).
struct Flags {
    clean_start: bool,
    /// The QoS of the will, if there is one.
    will: Option<QoS>,
    will_retain: bool,
    username: bool,
    password: bool,
}

impl Flags {
    fn read(version: Version, byte: u8) -> Result<Self, Malformed> {
        if byte & 1 != 0 {
            return Err(Malformed::ConnectFlagReserved);
        }
        let flags = Self {
            clean_start: byte & 0b10 != 0,
            will: Self::will(byte)?,
            will_retain: byte & 0b10_0000 != 0,
            password: byte & 0b100_0000 != 0,
            username: byte & 0b1000_0000 != 0,
        };
        if version != Version::V5 && flags.password && !flags.username {
            return Err(Malformed::PasswordWithoutUserName);
        }
        Ok(flags)
    }

    /// Will Flag and Will QoS; without the flag, QoS and retain are 0
    /// [MQTT-3.1.2-11], [MQTT-3.1.2-13].
    fn will(byte: u8) -> Result<Option<QoS>, Malformed> {
        match (byte & 0b100 != 0, byte >> 3 & 0b11) {
            (false, 0) if byte & 0b10_0000 == 0 => Ok(None),
            (false, _) => Err(Malformed::WillFlagsWithoutWill),
            (true, 0) => Ok(Some(QoS::AtMostOnce)),
            (true, 1) => Ok(Some(QoS::AtLeastOnce)),
            (true, 2) => Ok(Some(QoS::ExactlyOnce)),
            (true, _) => Err(Malformed::QoS3),
        }
    }

    /// A 3.x session ends with its connection if it began clean, and else never.
    const fn session_expiry_before_5(&self) -> u32 {
        match self.clean_start {
            true => 0,
            false => u32::MAX,
        }
    }
}

/// The properties of CONNECT (section 3.1.2.11).
struct Properties<'a> {
    session_expiry: u32,
    receive_maximum: NonZeroU16,
    maximum_packet_size: Option<NonZeroU32>,
    topic_alias_maximum: u16,
    request_response_information: bool,
    request_problem_information: bool,
    authentication_method: Option<&'a str>,
    authentication_data: Option<&'a [u8]>,
    user_properties: UserProperties<'a>,
}

impl<'a> Properties<'a> {
    /// What holds where a property is absent.
    fn absent(session_expiry: u32) -> Self {
        Self {
            session_expiry,
            receive_maximum: NonZeroU16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut section = Section::open(reader, Carrier::CONNECT)?;
        let bytes = section.rest();
        let mut properties = Self::absent(0);
        let mut user_properties = 0_u32;
        while let Some(property) = section.read()? {
            match property.id {
                id::USER_PROPERTY => user_properties = user_properties.saturating_add(1),
                _ => properties.note(property),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(ProtocolError::AuthenticationDataWithoutMethod.into());
        }
        properties.user_properties = UserProperties::new(bytes, user_properties);
        Ok(properties)
    }

    fn note(&mut self, property: Property<'a>) {
        match (property.id, property.value) {
            (id::AUTHENTICATION_DATA, Value::Binary(data)) => {
                self.authentication_data = Some(data);
            }
            (id::AUTHENTICATION_METHOD, Value::Text(method)) => {
                self.authentication_method = Some(method);
            }
            (id::MAXIMUM_PACKET_SIZE, Value::Four(bytes)) => {
                self.maximum_packet_size = NonZeroU32::new(bytes);
            }
            (id::RECEIVE_MAXIMUM, Value::Two(packets)) => {
                self.receive_maximum = NonZeroU16::new(packets).unwrap_or(NonZeroU16::MAX);
            }
            (id::REQUEST_PROBLEM_INFORMATION, Value::Flag(flag)) => {
                self.request_problem_information = flag;
            }
            (id::REQUEST_RESPONSE_INFORMATION, Value::Flag(flag)) => {
                self.request_response_information = flag;
            }
            (id::SESSION_EXPIRY_INTERVAL, Value::Four(seconds)) => self.session_expiry = seconds,
            (id::TOPIC_ALIAS_MAXIMUM, Value::Two(maximum)) => self.topic_alias_maximum = maximum,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
