//! Meaning to the bytes of a packet: one file for each kind of packet.

mod acknowledge;
mod auth;
mod connect;
mod disconnect;
mod publish;
mod subscribe;

pub use connect::decode_connect;
pub use publish::decode_publish;
pub use subscribe::{SubscribeFilters, UnsubscribeFilters};

use super::{Ack, DecodeError, Malformed, Packet, ProtocolError, Version};

/// Decodes a packet that follows CONNECT. `first` and `body` are [`split`](crate::wire::split)'s.
pub fn decode(version: Version, first: u8, body: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let kind = first >> 4;
    if matches!(kind, 4..=7) {
        let ack = decode_ack(version, first, body)?;
        return Ok(match kind {
            4 => Packet::PubAck(ack),
            5 => Packet::PubRec(ack),
            6 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        });
    }
    check_flags(version, first)?;
    Ok(match kind {
        1 => return Err(ProtocolError::SecondConnect.into()),
        3 => Packet::Publish(decode_publish(version, first, body)?),
        8 => Packet::Subscribe(subscribe::subscribe(version, body)?),
        10 => Packet::Unsubscribe(subscribe::unsubscribe(version, body)?),
        12 if body.is_empty() => Packet::PingReq,
        12 => return Err(Malformed::TrailingBytes.into()),
        14 => Packet::Disconnect(disconnect::disconnect(version, body)?),
        15 if version == Version::V5 => Packet::Auth(auth::auth(body)?),
        2 | 9 | 11 | 13 => return Err(ProtocolError::ServerPacket.into()),
        _ => return Err(Malformed::PacketType.into()),
    })
}

/// Decodes a PUBACK, PUBREC, PUBREL or PUBCOMP, the packet types 4 to 7, as [`decode`] does and
/// without the other kinds of packets.
#[inline]
pub fn decode_ack(version: Version, first: u8, body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    check_flags(version, first)?;
    match first >> 4 {
        4 | 5 => acknowledge::publish_answer(version, body),
        6 | 7 => acknowledge::release(version, body),
        _ => Err(Malformed::PacketType.into()),
    }
}

/// The flags of a fixed header are 0010 in PUBREL, SUBSCRIBE and UNSUBSCRIBE,
/// whatever they mean in PUBLISH, and else 0 [MQTT-2.1.3-1].
///
/// 3.1 has DUP in the three, too, and clients set it when they send again.
#[inline]
fn check_flags(version: Version, first: u8) -> Result<(), Malformed> {
    const DUP: u8 = 0b1000;
    let flags = first & 0x0f;
    let right = match first >> 4 {
        3 => true,
        6 | 8 | 10 if version == Version::V31 => flags & !DUP == 0b0010,
        6 | 8 | 10 => flags == 0b0010,
        _ => flags == 0,
    };
    if right {
        Ok(())
    } else {
        Err(Malformed::FixedHeaderFlags)
    }
}

#[cfg(test)]
mod tests;
