//! What is wrong with a packet, by whose rule it breaks.
//!
//! MQTT 5.0 answers with the reason code and closes [MQTT-4.13.1-1]; 3.x closes.

use core::fmt;

use super::{ReasonCode, Version};

macro_rules! faults {
    (
        $(#[$meta:meta])*
        enum $fault:ident: $($variant:ident $code:ident $text:literal)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $fault {
            $(#[doc = concat!("The packet has ", $text, ".")] $variant,)*
        }

        impl $fault {
            /// The reason code to close with.
            #[must_use]
            pub const fn reason_code(self) -> ReasonCode {
                match self {
                    $(Self::$variant => ReasonCode::$code,)*
                }
            }
        }

        impl fmt::Display for $fault {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self {
                    $(Self::$variant => $text,)*
                })
            }
        }

        impl core::error::Error for $fault {}

        impl From<$fault> for DecodeError {
            #[inline]
            fn from(fault: $fault) -> Self {
                Self::$fault(fault)
            }
        }
    };
}

faults! {
    /// The packet cannot be decoded.
    enum Malformed:
    ConnectFlagReserved MALFORMED_PACKET "the reserved connect flag set [MQTT-3.1.2-3]"
    DupAtQoS0 MALFORMED_PACKET "DUP set at QoS 0 [MQTT-3.3.1-2]"
    FixedHeaderFlags MALFORMED_PACKET "wrong flags in its fixed header [MQTT-2.1.3-1]"
    LengthNotMinimal MALFORMED_PACKET "a length in more bytes than needed [MQTT-1.5.5-1]"
    LengthTooLong MALFORMED_PACKET "a length of more than four bytes"
    NotUtf8 MALFORMED_PACKET "a string that is not UTF-8 [MQTT-1.5.4-1]"
    NullCharacter MALFORMED_PACKET "U+0000 in a string [MQTT-1.5.4-2]"
    PacketType MALFORMED_PACKET "a type that its version does not know"
    PasswordWithoutUserName MALFORMED_PACKET "a password but no user name [3.1.1 MQTT-3.1.2-22]"
    PropertyNotAllowed MALFORMED_PACKET "a property that belongs to other packets"
    PropertyUnknown MALFORMED_PACKET "an unknown property"
    QoS3 MALFORMED_PACKET "QoS 3 [MQTT-3.3.1-4]"
    SubscriptionOptionReserved MALFORMED_PACKET "a reserved subscription option set [MQTT-3.8.3-5]"
    TrailingBytes MALFORMED_PACKET "bytes behind its last field"
    Truncated MALFORMED_PACKET "a field that runs past its end"
    WillFlagsWithoutWill MALFORMED_PACKET "will flags but no will [MQTT-3.1.2-11]"
}

faults! {
    /// The packet can be decoded and breaks a rule.
    enum ProtocolError:
    AuthenticationDataWithoutMethod PROTOCOL_ERROR "authentication data but no method"
    AuthenticationMethodMissing PROTOCOL_ERROR "no authentication method"
    FlagPropertyRange PROTOCOL_ERROR "a property that is neither 0 nor 1 but should be"
    MaximumPacketSizeZero PROTOCOL_ERROR "a Maximum Packet Size of 0"
    NoLocalOnShared PROTOCOL_ERROR "No Local on a shared subscription [MQTT-3.8.3-4]"
    NotConnect PROTOCOL_ERROR "another type than CONNECT but is the first [MQTT-3.1.0-1]"
    NoTopicFilter PROTOCOL_ERROR "no topic filter [MQTT-3.8.3-2], [MQTT-3.10.3-2]"
    PacketIdZero PROTOCOL_ERROR "packet identifier 0 [MQTT-2.2.1-3]"
    PacketTooLarge PACKET_TOO_LARGE "more bytes than are allowed [MQTT-3.2.2-15]"
    PropertyTwice PROTOCOL_ERROR "a property twice that may stand once"
    ReasonCodeNotAllowed PROTOCOL_ERROR "a reason code that belongs to others"
    ReceiveMaximumZero PROTOCOL_ERROR "a Receive Maximum of 0"
    ResponseTopicEmpty PROTOCOL_ERROR "an empty response topic [MQTT-4.7.3-1]"
    ResponseTopicWildcard PROTOCOL_ERROR "a wildcard in its response topic [MQTT-3.3.2-14]"
    RetainHandling3 PROTOCOL_ERROR "Retain Handling 3"
    SecondConnect PROTOCOL_ERROR "type CONNECT but is not the first [MQTT-3.1.0-2]"
    ServerPacket PROTOCOL_ERROR "a type that only a server sends"
    SubscriptionIdentifierFromClient PROTOCOL_ERROR "a subscription identifier [MQTT-3.3.4-6]"
    SubscriptionIdentifierZero PROTOCOL_ERROR "subscription identifier 0"
    SubscriptionQoS3 PROTOCOL_ERROR "QoS 3 asked for [3.1.1 MQTT-3.8.3-4]"
    TopicAliasZero TOPIC_ALIAS_INVALID "topic alias 0 [MQTT-3.3.2-8]"
    TopicFilterEmpty PROTOCOL_ERROR "an empty topic filter [MQTT-4.7.3-1]"
    TopicNameEmpty PROTOCOL_ERROR "an empty topic name and no alias [MQTT-4.7.3-1]"
    TopicNameWildcard PROTOCOL_ERROR "a wildcard in its topic name [MQTT-3.3.2-2]"
    UnsupportedVersion UNSUPPORTED_PROTOCOL_VERSION "an unknown protocol [MQTT-3.1.2-1]"
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DecodeError {
    /// It cannot be decoded.
    Malformed(Malformed),
    /// It breaks a rule.
    ProtocolError(ProtocolError),
}

impl DecodeError {
    /// The reason code to close with.
    #[must_use]
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Malformed(fault) => fault.reason_code(),
            Self::ProtocolError(fault) => fault.reason_code(),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => fault.fmt(formatter),
            Self::ProtocolError(fault) => fault.fmt(formatter),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a CONNECT is refused, and how to say so.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ConnectError {
    /// The version in which the client would understand an answer, where known.
    pub version: Option<Version>,
    /// What is wrong.
    pub error: DecodeError,
}

impl ConnectError {
    /// The CONNACK to send before closing; `None` is to close without a word.
    ///
    /// 3.x has a return code for the wrong protocol level only [3.1.1 MQTT-3.1.2-2].
    #[must_use]
    pub fn answer(&self) -> Option<(Version, ReasonCode)> {
        let unsupported = ProtocolError::UnsupportedVersion.into();
        self.version
            .filter(|version| *version == Version::V5 || self.error == unsupported)
            .map(|version| (version, self.error.reason_code()))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl core::error::Error for ConnectError {}

#[cfg(test)]
mod tests;
