//! The address of a listener as it is written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// What a listener binds to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bind {
    /// `127.0.0.1:1883`, `0.0.0.0:1883`, `[::]:1883`.
    Address(SocketAddr),
    /// `1883` or `:1883`. Which address that means depends on whether strangers are let
    /// in: see [`Bind::address`].
    Port(u16),
}

impl Bind {
    /// The address to listen on. A port alone means every IPv4 address where anonymous
    /// clients were allowed in so many words, and loopback otherwise.
    pub(crate) fn address(self, anonymous_allowed: bool) -> SocketAddr {
        match self {
            Self::Address(address) => address,
            Self::Port(port) if anonymous_allowed => (Ipv4Addr::UNSPECIFIED, port).into(),
            Self::Port(port) => (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Whether only this machine can reach it.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Address(address) => is_loopback(address.ip()),
            Self::Port(_) => true,
        }
    }
}

/// Whether an address is reachable from this machine alone, IPv4 in IPv6 included.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

impl FromStr for Bind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let port = text.strip_prefix(':').unwrap_or(text);
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(());
        }
        port.parse().map(Self::Port).map_err(|_| ())
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Port(port) => port.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(text: &str) -> Bind {
        text.parse().unwrap()
    }

    #[test]
    fn every_documented_form_is_read() {
        assert_eq!(bind("1883"), Bind::Port(1883));
        assert_eq!(bind(":1883"), Bind::Port(1883));
        assert_eq!(bind("0.0.0.0:1883").to_string(), "0.0.0.0:1883");
        assert_eq!(bind("[::]:1883").to_string(), "[::]:1883");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            ":",
            "65536",
            "+1",
            "localhost:1883",
            "1.2.3.4",
            "::1:x",
            "[::]",
            "-1",
        ] {
            assert_eq!(text.parse::<Bind>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_port_alone_is_open_to_others_only_when_strangers_are_welcome() {
        assert_eq!(bind("1883").address(false).to_string(), "127.0.0.1:1883");
        assert_eq!(bind("1883").address(true).to_string(), "0.0.0.0:1883");
    }

    #[test]
    fn loopback_is_recognised_in_every_notation() {
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "1883",
        ] {
            assert!(bind(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"] {
            assert!(!bind(text).is_loopback(), "{text}");
        }
    }
}
