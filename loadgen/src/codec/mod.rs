//! The packets of MQTT 3.1.1 and 5.0 as a client sees them.
//!
//! This codec is the load generator's own. It shares no code with the broker, so that a mistake
//! in one of them is found by the other. It reads only what a server may send and writes only
//! what a client may send; everything else is [`Malformed`].

mod decode;
mod encode;
mod length;
mod properties;

pub use decode::{Acknowledgement, Connack, Malformed, Packet, Publish, decode};
pub use encode::{
    Connect, Will, acknowledgement, connect, disconnect, ping_request, publish_head,
    publish_middle, subscribe, unsubscribe,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The protocol version of a run. All clients of a run speak the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.0, protocol level 5.
    #[value(name = "5")]
    V5,
}

impl Version {
    /// The protocol level byte of CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// What a person calls this version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// The quality of service of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Qos {
    /// QoS 0: sent once, not acknowledged.
    AtMostOnce = 0,
    /// QoS 1: acknowledged by PUBACK.
    AtLeastOnce = 1,
    /// QoS 2: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl Qos {
    /// The level for its number, `None` above 2.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The four packets that acknowledge a PUBLISH or one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// Ends a QoS 1 exchange.
    Puback,
    /// First answer to a QoS 2 PUBLISH.
    Pubrec,
    /// Answer to PUBREC.
    Pubrel,
    /// Ends a QoS 2 exchange.
    Pubcomp,
}

impl AckKind {
    /// The first byte of the packet, with the flags that the standard prescribes
    /// (`[MQTT-3.6.1-1]` for PUBREL).
    const fn first_byte(self) -> u8 {
        match self {
            Self::Puback => 0x40,
            Self::Pubrec => 0x50,
            Self::Pubrel => 0x62,
            Self::Pubcomp => 0x70,
        }
    }
}

#[cfg(test)]
mod tests;
