//! SUBSCRIBE and UNSUBSCRIBE. Their filters are checked once, and read again, without
//! an error to expect, by whoever walks them.

use core::num::NonZeroU32;

use crate::topic::Subscription;
use crate::wire::properties::{Carrier, Section, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{
    DecodeError, Malformed, ProtocolError, QoS, RetainHandling, Subscribe, SubscriptionOptions,
    Unsubscribe, UserProperties, Version,
};

/// SUBSCRIBE.
pub(super) fn subscribe(version: Version, body: &[u8]) -> Result<Subscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V31 | Version::V311 => Properties::default(),
        Version::V5 => properties(&mut reader, Carrier::SUBSCRIBE)?,
    };
    let payload = reader.rest();
    let mut count = 0_usize;
    while !reader.is_empty() {
        subscription(version, &mut reader)?;
        count = count.saturating_add(1);
    }
    if count == 0 {
        return Err(ProtocolError::NoTopicFilter.into());
    }
    Ok(Subscribe {
        packet_id,
        identifier: properties.identifier,
        user_properties: properties.user,
        version,
        payload,
        count,
    })
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe(version: Version, body: &[u8]) -> Result<Unsubscribe<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V31 | Version::V311 => Properties::default(),
        Version::V5 => properties(&mut reader, Carrier::UNSUBSCRIBE)?,
    };
    let payload = reader.rest();
    let mut count = 0_usize;
    while !reader.is_empty() {
        filter(&mut reader)?;
        count = count.saturating_add(1);
    }
    if count == 0 {
        return Err(ProtocolError::NoTopicFilter.into());
    }
    Ok(Unsubscribe {
        packet_id,
        user_properties: properties.user,
        payload,
        count,
    })
}

#[expect(
    clippy::len_without_is_empty,
    reason = "there is always a filter [MQTT-3.8.3-2]"
)]
impl<'a> Subscribe<'a> {
    /// The filters and their options, in the order sent. Not empty, free of U+0000;
    /// the wildcards are not checked.
    #[must_use]
    pub const fn filters(&self) -> SubscribeFilters<'a> {
        SubscribeFilters {
            version: self.version,
            reader: Reader::new(self.payload),
        }
    }

    /// How many filters there are, at least 1.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }
}

#[expect(
    clippy::len_without_is_empty,
    reason = "there is always a filter [MQTT-3.10.3-2]"
)]
impl<'a> Unsubscribe<'a> {
    /// The filters, in the order sent. Not empty, free of U+0000; the wildcards are
    /// not checked.
    #[must_use]
    pub const fn filters(&self) -> UnsubscribeFilters<'a> {
        UnsubscribeFilters {
            reader: Reader::new(self.payload),
        }
    }

    /// How many filters there are, at least 1.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }
}

/// The filters of a SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct SubscribeFilters<'a> {
    version: Version,
    reader: Reader<'a>,
}

impl<'a> Iterator for SubscribeFilters<'a> {
    type Item = (&'a str, SubscriptionOptions);

    fn next(&mut self) -> Option<Self::Item> {
        subscription(self.version, &mut self.reader).ok()
    }
}

/// The filters of an UNSUBSCRIBE.
#[derive(Clone, Debug)]
pub struct UnsubscribeFilters<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        filter(&mut self.reader).ok()
    }
}

fn subscription<'a>(
    version: Version,
    reader: &mut Reader<'a>,
) -> Result<(&'a str, SubscriptionOptions), DecodeError> {
    let filter = filter(reader)?;
    let options = options(version, reader.byte()?)?;
    if options.no_local && Subscription::is_shared(filter) {
        return Err(ProtocolError::NoLocalOnShared.into());
    }
    Ok((filter, options))
}

/// A Topic Filter has at least one character [MQTT-4.7.3-1].
fn filter<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    match reader.text()? {
        "" => Err(ProtocolError::TopicFilterEmpty.into()),
        filter => Ok(filter),
    }
}

/// The options byte (section 3.8.3.1); 3.x has QoS alone [3.1.1 MQTT-3.8.3-4].
fn options(version: Version, byte: u8) -> Result<SubscriptionOptions, DecodeError> {
    let reserved = match version {
        Version::V31 | Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if byte & reserved != 0 {
        return Err(Malformed::SubscriptionOptionReserved.into());
    }
    Ok(SubscriptionOptions {
        qos: match byte & 0b11 {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return Err(ProtocolError::SubscriptionQoS3.into()),
        },
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DontSend,
            _ => return Err(ProtocolError::RetainHandling3.into()),
        },
    })
}

#[derive(Default)]
struct Properties<'a> {
    identifier: Option<NonZeroU32>,
    user: UserProperties<'a>,
}

fn properties<'a>(
    reader: &mut Reader<'a>,
    carrier: Carrier,
) -> Result<Properties<'a>, DecodeError> {
    let mut section = Section::open(reader, carrier)?;
    let bytes = section.rest();
    let mut identifier = None;
    let mut user_properties = 0_u32;
    while let Some(property) = section.read()? {
        match (property.id, property.value) {
            (id::SUBSCRIPTION_IDENTIFIER, Value::Variable(value)) => {
                identifier = NonZeroU32::new(value);
            }
            (id::USER_PROPERTY, _) => user_properties = user_properties.saturating_add(1),
            _ => {}
        }
    }
    let user = UserProperties::new(bytes, user_properties);
    Ok(Properties { identifier, user })
}

#[cfg(test)]
mod tests;
