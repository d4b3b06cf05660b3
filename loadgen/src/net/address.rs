//! Where connections go to and come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;

/// The most source addresses an address range may name: a range of 127.0.0.0/8.
const SOURCES_MAX: u32 = 1 << 24;

/// The broker's addresses; client `n` connects to the `n`-th, in a circle.
#[derive(Debug, Clone)]
pub struct Targets {
    addresses: Vec<SocketAddr>,
}

impl Targets {
    /// Resolves a list `host[:port],…`; `port` is for hosts without one.
    pub fn resolve(hosts: &str, port: u16) -> Result<Self, String> {
        let addresses: Result<Vec<_>, _> = hosts
            .split(',')
            .map(|host| resolve(host.trim(), port))
            .collect();
        addresses.map(|addresses| Self { addresses })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// An address that is there more than once.
    pub fn repeated(&self) -> Option<SocketAddr> {
        let mut rest = &self.addresses[..];
        while let Some((first, others)) = rest.split_first() {
            if others.contains(first) {
                return Some(*first);
            }
            rest = others;
        }
        None
    }

    /// The address for a client.
    pub fn of(&self, client: usize) -> SocketAddr {
        self.addresses[client % self.addresses.len()]
    }
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if host.is_empty() {
        return Err("a host without a name: hosts are host[:port],…".to_owned());
    }
    let found = if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(address);
    } else if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port));
    } else if host.contains(':') {
        host.to_socket_addrs()
    } else {
        (host, port).to_socket_addrs()
    };
    let mut found = found.map_err(|error| format!("cannot resolve the host {host:?}: {error}"))?;
    found
        .next()
        .ok_or_else(|| format!("the host {host:?} has no address"))
}

/// The addresses that connections are made from. Each has about 28,000 ports per target.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    ranges: Vec<RangeInclusive<u32>>,
    others: Vec<IpAddr>,
}

impl Sources {
    /// Reads `127.0.0.1-127.0.0.40,10.0.0.7,…`. An empty text leaves the choice to the kernel.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut sources = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            match part.split_once('-') {
                Some((first, last)) => sources.ranges.push(range(first, last)?),
                None => match address(part)? {
                    IpAddr::V4(single) => sources.ranges.push(single.to_bits()..=single.to_bits()),
                    single => sources.others.push(single),
                },
            }
        }
        if sources.count() > SOURCES_MAX as usize {
            return Err(format!(
                "{text:?} names more than {SOURCES_MAX} source addresses"
            ));
        }
        Ok(sources)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let ranges = self
            .ranges
            .iter()
            .map(|range| (range.end() - range.start()) as usize + 1);
        ranges.sum::<usize>() + self.others.len()
    }

    /// The address for a client, `None` when the kernel chooses.
    pub fn of(&self, client: usize) -> Option<IpAddr> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut index = client % count;
        for range in &self.ranges {
            let length = (range.end() - range.start()) as usize + 1;
            if index < length {
                return Some(Ipv4Addr::from_bits(range.start() + index as u32).into());
            }
            index -= length;
        }
        self.others.get(index).copied()
    }
}

fn range(first: &str, last: &str) -> Result<RangeInclusive<u32>, String> {
    match (address(first.trim())?, address(last.trim())?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ok(first.to_bits()..=last.to_bits())
        }
        _ => Err(format!(
            "{first}-{last} is not an ascending range of IPv4 addresses"
        )),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not an IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cycled_through() {
        let sources = Sources::parse("127.0.0.1-127.0.0.3, 10.0.0.7").unwrap();
        let names: Vec<_> = (0..5).map(|n| sources.of(n).unwrap().to_string()).collect();
        assert_eq!(
            names,
            [
                "127.0.0.1",
                "127.0.0.2",
                "127.0.0.3",
                "10.0.0.7",
                "127.0.0.1"
            ]
        );
    }

    #[test]
    fn no_source_leaves_the_choice_to_the_kernel() {
        assert_eq!(Sources::parse("").unwrap().of(3), None);
    }

    #[test]
    fn bad_sources_are_named_in_the_message() {
        assert!(
            Sources::parse("127.0.0.9-127.0.0.1")
                .unwrap_err()
                .contains("ascending")
        );
        assert!(
            Sources::parse("localhost")
                .unwrap_err()
                .contains("localhost")
        );
        assert!(
            Sources::parse("0.0.0.0-255.255.255.255")
                .unwrap_err()
                .contains("more than")
        );
    }

    #[test]
    fn hosts_may_carry_their_own_port() {
        let targets = Targets::resolve("127.0.0.1,127.0.0.2:99,[::1]:7", 1883).unwrap();
        let names: Vec<_> = (0..4).map(|n| targets.of(n).to_string()).collect();
        assert_eq!(
            names,
            [
                "127.0.0.1:1883",
                "127.0.0.2:99",
                "[::1]:7",
                "127.0.0.1:1883"
            ]
        );
    }
}
