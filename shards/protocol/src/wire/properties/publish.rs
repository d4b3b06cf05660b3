//! The properties of a message.

use core::num::NonZeroU16;

use super::{Carrier, Property, Section, UserProperties, Value, id};
use crate::wire::reader::Reader;
use crate::wire::{DecodeError, ProtocolError, text};

/// The properties of a PUBLISH or of a will: the bytes, checked, and what the broker
/// acts on. The rest goes unaltered to the subscribers and is only looked up on demand.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PublishProperties<'a> {
    /// All of them.
    section: &'a [u8],
    /// Those that are forwarded, unless `scattered`.
    forwarded: &'a [u8],
    message_expiry: Option<u32>,
    user_properties: u32,
    topic_alias: Option<NonZeroU16>,
    payload_is_utf8: bool,
    /// Those that are forwarded do not stand in one piece.
    scattered: bool,
}

impl<'a> PublishProperties<'a> {
    /// Topic Alias. Whether the alias is in range is for the session to check.
    #[must_use]
    pub const fn topic_alias(&self) -> Option<NonZeroU16> {
        self.topic_alias
    }

    /// Message Expiry Interval in seconds.
    #[must_use]
    pub const fn message_expiry(&self) -> Option<u32> {
        self.message_expiry
    }

    /// Payload Format Indicator. Whether the payload is what it says is not checked.
    #[must_use]
    pub const fn payload_is_utf8(&self) -> bool {
        self.payload_is_utf8
    }

    /// Response Topic, free of wildcards.
    #[must_use]
    pub fn response_topic(&self) -> Option<&'a str> {
        self.find_text(id::RESPONSE_TOPIC)
    }

    /// Content Type.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a str> {
        self.find_text(id::CONTENT_TYPE)
    }

    /// Correlation Data.
    #[must_use]
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        match self.find(id::CORRELATION_DATA)? {
            Value::Binary(data) => Some(data),
            _ => None,
        }
    }

    /// User properties.
    #[must_use]
    pub const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties::new(self.section, self.user_properties)
    }

    /// Whether there is nothing to forward and nothing to act on.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.section.is_empty()
    }

    /// The properties that go unaltered to the subscribers, in order: without Topic
    /// Alias, Message Expiry Interval, Subscription Identifier and Will Delay Interval.
    /// `None` where they are not in one piece; see [`Self::forwarded_into`].
    #[must_use]
    pub const fn forwarded(&self) -> Option<&'a [u8]> {
        match self.scattered {
            false => Some(self.forwarded),
            true => None,
        }
    }

    /// Appends the same bytes as [`Self::forwarded`], in one piece or not.
    pub fn forwarded_into(&self, out: &mut Vec<u8>) {
        if let Some(bytes) = self.forwarded() {
            out.extend_from_slice(bytes);
            return;
        }
        for property in Section::of_checked(self.section) {
            if is_forwarded(property.id) {
                out.extend_from_slice(property.bytes);
            }
        }
    }

    /// The properties that `reader` stands before, with their length.
    #[inline]
    pub(in crate::wire) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if let [0, rest @ ..] = reader.rest() {
            *reader = Reader::new(rest);
            return Ok(Self::default());
        }
        let (properties, _) = Self::read_from(Section::open(reader, Carrier::PUBLISH)?)?;
        Ok(properties)
    }

    /// The same for a will, with its Will Delay Interval.
    pub(in crate::wire) fn read_will(reader: &mut Reader<'a>) -> Result<(Self, u32), DecodeError> {
        Self::read_from(Section::open(reader, Carrier::WILL)?)
    }

    fn read_from(mut section: Section<'a>) -> Result<(Self, u32), DecodeError> {
        let mut properties = Self {
            section: section.rest(),
            ..Self::default()
        };
        let mut will_delay = 0;
        let mut forwarded = 0..0;
        while let Some(property) = section.read()? {
            if let (id::WILL_DELAY_INTERVAL, Value::Four(delay)) = (property.id, property.value) {
                will_delay = delay;
            }
            properties.note(property)?;
            if is_forwarded(property.id) {
                let end = properties
                    .section
                    .len()
                    .saturating_sub(section.rest().len());
                let start = end.saturating_sub(property.bytes.len());
                if forwarded.is_empty() {
                    forwarded.start = start;
                }
                properties.scattered |= !forwarded.is_empty() && forwarded.end != start;
                forwarded.end = end;
            }
        }
        properties.forwarded = properties.section.get(forwarded).unwrap_or_default();
        Ok((properties, will_delay))
    }

    /// Keeps what the broker acts on.
    fn note(&mut self, property: Property<'a>) -> Result<(), DecodeError> {
        match (property.id, property.value) {
            (id::MESSAGE_EXPIRY_INTERVAL, Value::Four(seconds)) => {
                self.message_expiry = Some(seconds);
            }
            (id::PAYLOAD_FORMAT_INDICATOR, Value::Flag(utf8)) => self.payload_is_utf8 = utf8,
            (id::RESPONSE_TOPIC, Value::Text("")) => {
                return Err(ProtocolError::ResponseTopicEmpty.into());
            }
            (id::RESPONSE_TOPIC, Value::Text(topic)) if text::has_wildcard(topic) => {
                return Err(ProtocolError::ResponseTopicWildcard.into());
            }
            (id::SUBSCRIPTION_IDENTIFIER, _) => {
                return Err(ProtocolError::SubscriptionIdentifierFromClient.into());
            }
            (id::TOPIC_ALIAS, Value::Two(alias)) => self.topic_alias = NonZeroU16::new(alias),
            (id::USER_PROPERTY, _) => {
                self.user_properties = self.user_properties.saturating_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn find(&self, id: u8) -> Option<Value<'a>> {
        Section::of_checked(self.section)
            .find(|property| property.id == id)
            .map(|property| property.value)
    }

    fn find_text(&self, id: u8) -> Option<&'a str> {
        match self.find(id)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// For tests: properties as bytes.
#[cfg(test)]
impl<'a> PublishProperties<'a> {
    pub(in crate::wire) const fn section(&self) -> &'a [u8] {
        self.section
    }

    /// The properties in `section`, and the Will Delay Interval.
    pub(in crate::wire) fn parse(
        section: &'a [u8],
        carrier: Carrier,
    ) -> Result<(Self, u32), DecodeError> {
        Self::read_from(Section::new(section, carrier))
    }
}

/// Whether a server forwards the property: all but those that concern this
/// connection, or that the server computes for each receiver.
const fn is_forwarded(id: u8) -> bool {
    !matches!(
        id,
        id::MESSAGE_EXPIRY_INTERVAL
            | id::SUBSCRIPTION_IDENTIFIER
            | id::TOPIC_ALIAS
            | id::WILL_DELAY_INTERVAL
    )
}
