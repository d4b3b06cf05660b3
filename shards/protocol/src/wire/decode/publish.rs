//! PUBLISH.

use crate::wire::reader::Reader;
use crate::wire::{
    DecodeError, Malformed, ProtocolError, Publish, PublishProperties, QoS, Version,
};

/// Decodes a PUBLISH: [`super::decode`] for a `first` byte of type 3, which is not
/// looked at again.
#[inline]
pub fn decode_publish(
    version: Version,
    first: u8,
    body: &[u8],
) -> Result<Publish<'_>, DecodeError> {
    let (dup, qos) = delivery(first)?;
    let mut reader = Reader::new(body);
    let topic = reader.topic_name()?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let properties = match version {
        Version::V31 | Version::V311 => PublishProperties::default(),
        Version::V5 => PublishProperties::read(&mut reader)?,
    };
    if topic.is_empty() && properties.topic_alias().is_none() {
        return Err(ProtocolError::TopicNameEmpty.into());
    }
    Ok(Publish {
        dup,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

/// DUP and QoS: DUP is 0 at QoS 0 [MQTT-3.3.1-2], QoS is not 3 [MQTT-3.3.1-4].
#[inline]
const fn delivery(first: u8) -> Result<(bool, QoS), DecodeError> {
    Ok(match first & 0b1110 {
        0b0000 => (false, QoS::AtMostOnce),
        0b0010 => (false, QoS::AtLeastOnce),
        0b0100 => (false, QoS::ExactlyOnce),
        0b1010 => (true, QoS::AtLeastOnce),
        0b1100 => (true, QoS::ExactlyOnce),
        0b1000 => return Err(DecodeError::Malformed(Malformed::DupAtQoS0)),
        _ => return Err(DecodeError::Malformed(Malformed::QoS3)),
    })
}

#[cfg(test)]
mod tests;
