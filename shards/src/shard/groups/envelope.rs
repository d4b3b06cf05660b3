//! A message of a group on its way to another node.

use protocol::message::MessageRef;
use protocol::topic::TopicName;
use protocol::wire::QoS;

use std::sync::Arc;

use super::super::held::SharedName;
use super::super::items::ForGroup;

/// A message for one member of a group: what [`wrap`] makes. Properties, expiry and publisher
/// are those of the envelope.
pub(in super::super) const GROUP: &str = "$cluster/group";

const RETAIN: u8 = 1 << 2;
const LAST: u8 = 1 << 3;

/// The head: flags, number, how many nodes were visited, lengths of group, filter and topic.
const HEAD: usize = 1 + 8 + 1 + 3 * 2;

/// What a node calls a message that it has sent for a group and keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(super) node: u16,
    pub(super) number: u64,
}

/// How a message of a group has come here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Journey {
    /// No member whose client is there can take it: one whose client is away is to queue it.
    pub(super) last: bool,
    /// The nodes none of whose members could, by number.
    pub(super) visited: Vec<u64>,
    pub(crate) origin: Option<Origin>,
}

/// The payload of an envelope. `number`: what the sender calls the message, 0 if it does not
/// keep it.
pub(super) fn wrap(
    name: &SharedName,
    message: &MessageRef<'_>,
    journey: &Journey,
    number: u64,
) -> Vec<u8> {
    let texts = [&*name.group, &*name.filter, message.topic];
    let texts_len: usize = texts.iter().map(|text| text.len()).sum();
    let visited_len = 8 * journey.visited.len();
    let mut out = Vec::with_capacity(HEAD + visited_len + texts_len + message.payload.len());
    let retain = if message.retain { RETAIN } else { 0 };
    let last = if journey.last { LAST } else { 0 };
    out.push(message.qos as u8 | retain | last);
    out.extend_from_slice(&number.to_le_bytes());
    out.push(journey.visited.len() as u8);
    for text in texts {
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    }
    for node in &journey.visited {
        out.extend_from_slice(&node.to_le_bytes());
    }
    for text in texts {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(message.payload);
    out
}

/// What a node has sent.
pub(super) fn open(node: u16, outer: &MessageRef<'_>) -> Option<ForGroup> {
    let (flags, rest) = outer.payload.split_first()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (count, mut rest) = rest.split_first()?;
    let mut lengths = [0; 3];
    for length in &mut lengths {
        let (bytes, behind) = rest.split_first_chunk()?;
        (*length, rest) = (usize::from(u16::from_le_bytes(*bytes)), behind);
    }
    let (visited, mut rest) = rest.split_at_checked(8 * usize::from(*count))?;
    let (visited, _) = visited.as_chunks();
    let mut texts = [""; 3];
    for (text, length) in texts.iter_mut().zip(lengths) {
        let (bytes, behind) = rest.split_at_checked(length)?;
        (*text, rest) = (core::str::from_utf8(bytes).ok()?, behind);
    }
    let [group, filter, topic] = texts;
    TopicName::parse(topic, u16::MAX).ok()?;
    let message = MessageRef {
        topic,
        payload: rest,
        qos: match flags & 3 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return None,
        },
        retain: flags & RETAIN != 0,
        ..*outer
    };
    let number = u64::from_le_bytes(*number);
    Some(ForGroup {
        name: SharedName {
            group: group.into(),
            filter: filter.into(),
        },
        message: message.to_message(),
        journey: Arc::new(Journey {
            last: flags & LAST != 0,
            visited: visited.iter().map(|tag| u64::from_le_bytes(*tag)).collect(),
            origin: (number != 0).then_some(Origin { node, number }),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_opened_and_what_is_cut_is_not() {
        let message = MessageRef {
            topic: "a/b",
            properties: &[1, 1],
            payload: b"payload",
            qos: QoS::ExactlyOnce,
            retain: true,
            expires_ms: 77,
            publisher: 5 << 48,
        };
        let name = SharedName {
            group: "g".into(),
            filter: "a/#".into(),
        };
        let journey = Journey {
            last: true,
            visited: vec![3, u64::MAX],
            origin: None,
        };
        let payload = wrap(&name, &message, &journey, 9);
        let outer = MessageRef {
            topic: GROUP,
            payload: &payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            ..message
        };
        let opened = open(4, &outer).unwrap();
        assert_eq!(*opened.message, *message.to_message());
        assert_eq!(opened.name, name);
        let origin = Some(Origin { node: 4, number: 9 });
        assert_eq!(*opened.journey, Journey { origin, ..journey });
        let shortest = payload.len() - message.payload.len();
        for len in 0..shortest {
            let outer = MessageRef {
                payload: &payload[..len],
                ..outer
            };
            assert!(open(4, &outer).is_none(), "{len} bytes");
        }
    }
}
