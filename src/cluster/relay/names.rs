//! Addresses that stand for nodes where QUIC wants addresses. They never appear on a network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// They are of the prefix that is for discarding (RFC 6666): whoever sends something there by
/// mistake reaches nobody.
const PREFIX: u16 = 0x0100;

/// QUIC refuses port zero.
const PORT: u16 = 1;

/// The node itself.
pub(super) const OWN: SocketAddr = address(0);

/// Names and addresses.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: BTreeMap<Box<str>, u64>,
    names: BTreeMap<u64, Box<str>>,
    last: u64,
}

const fn address(number: u64) -> SocketAddr {
    let number = number as u128 | (PREFIX as u128) << 112;
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from_bits(number)), PORT)
}

/// The number in an address that stands for a node.
const fn number(address: SocketAddr) -> Option<u64> {
    match address.ip() {
        IpAddr::V6(ip) if ip.to_bits() >> 64 == (PREFIX as u128) << 48 => Some(ip.to_bits() as u64),
        _ => None,
    }
}

/// Whether an address stands for a node.
pub(in crate::cluster) const fn is_made_up(address: SocketAddr) -> bool {
    number(address).is_some()
}

impl Names {
    /// The address of a member. Those of nodes that are no members any more are forgotten when a
    /// new one comes.
    pub(super) fn address(&mut self, name: &str, members: &BTreeSet<Box<str>>) -> SocketAddr {
        if let Some(number) = self.numbers.get(name) {
            return address(*number);
        }
        self.numbers.retain(|name, _| members.contains(name));
        self.names.retain(|_, name| members.contains(name));
        self.last += 1;
        self.numbers.insert(name.into(), self.last);
        self.names.insert(self.last, name.into());
        address(self.last)
    }

    /// The node that an address stands for.
    pub(super) fn name(&self, address: SocketAddr) -> Option<&str> {
        self.names.get(&number(address)?).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_one_node_as_long_as_that_is_a_member() {
        let mut names = Names::default();
        let members = ["a", "b"].map(Box::from).into();
        let [a, b] = ["a", "b"].map(|name| names.address(name, &members));
        assert_ne!(a, b);
        assert_eq!(names.address("a", &members), a);
        assert_eq!((names.name(a), names.name(b)), (Some("a"), Some("b")));
        assert_eq!(names.name(OWN), None);
        let members = ["b", "c"].map(Box::from).into();
        let c = names.address("c", &members);
        assert_eq!((names.name(a), names.name(c)), (None, Some("c")));
        let members = ["a", "b"].map(Box::from).into();
        assert!(![a, b, c].contains(&names.address("a", &members)));
    }

    #[test]
    fn an_address_of_a_network_stands_for_nobody() {
        for text in [
            "10.0.0.1:1",
            "[::1]:1",
            "[100:0:0:1::1]:1",
            "[2001:db8::1]:1",
        ] {
            assert!(!is_made_up(text.parse().unwrap()), "{text}");
        }
        assert!(is_made_up("[100::7]:1".parse().unwrap()));
    }
}
