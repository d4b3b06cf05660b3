//! Nodes that the configuration names.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _};

/// The port of the links, unless another one is named.
pub(crate) const PORT: u16 = 4370;

/// Another node, by its name: `name@host`, or `name@host:port` if its links are elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seed {
    /// Its name, `name@host`.
    pub(crate) name: String,
    /// A name or an address.
    pub(crate) host: String,
    /// The port of its links.
    pub(crate) port: u16,
}

impl Seed {
    /// Reads a seed.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not name@host or name@host:port, such as shardmq@10.0.0.2, \
                 shardmq@node2.example:{PORT} or shardmq@[2001:db8::2]:{PORT}"
            )
        };
        let (name, place) = text.split_once('@').ok_or_else(wrong)?;
        let (host, port) = split_place(place).ok_or_else(wrong)?;
        if name.is_empty()
            || host.is_empty()
            || host.contains(['@', '/', ' '])
            || text.contains(char::is_control)
        {
            return Err(wrong());
        }
        Ok(Self {
            name: format!("{name}@{host}"),
            host: host.to_owned(),
            port,
        })
    }

    /// A node at an address, `host:port`.
    pub(crate) fn at(name: &str, address: &str) -> Option<Self> {
        let (host, port) = split_place(address)?;
        Some(Self {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    /// As [`parse`](Self::parse) reads it.
    pub(crate) fn text(&self) -> String {
        let (name, _) = self.name.split_once('@').unwrap_or_default();
        format!("{name}@{}", self.address())
    }

    /// Where it is, `host:port`.
    pub(crate) fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Its addresses. Blocks while the resolver works.
    ///
    /// # Errors
    /// It does not resolve.
    pub(crate) fn addresses(&self) -> io::Result<impl Iterator<Item = SocketAddr>> {
        (self.host.as_str(), self.port).to_socket_addrs()
    }
}

/// The addresses of a host of the family of `like`, in the order in which they are to be tried.
/// Blocks while the resolver works.
///
/// # Errors
/// It does not resolve, or to addresses of the other family only.
pub(crate) fn resolve(host: &str, port: u16, like: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    let all = (host, port).to_socket_addrs()?;
    let (same, others): (Vec<_>, Vec<_>) = all.partition(|it| it.is_ipv4() == like.is_ipv4());
    match (same.is_empty(), others.first()) {
        (false, _) => Ok(same),
        (true, None) => Err(io::Error::other("the name has no address")),
        (true, Some(other)) => Err(io::Error::other(format!(
            "it is {}, which cannot be reached from {like}: see cluster.bind",
            other.ip()
        ))),
    }
}

/// Host and port of what follows the `@`.
fn split_place(place: &str) -> Option<(&str, u16)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return Some((host, port(rest)?));
    }
    if place.parse::<Ipv6Addr>().is_ok() {
        return Some((place, PORT));
    }
    let end = place.find(':').unwrap_or(place.len());
    let (host, rest) = place.split_at(end);
    Some((host, port(rest)?))
}

/// `:port` or nothing.
fn port(text: &str) -> Option<u16> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(PORT),
        Some(digits) => digits.parse().ok().filter(|port| *port > 0),
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.name)?;
        match self.port {
            PORT => Ok(()),
            port => write!(out, " (port {port})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(String, String, u16)> {
        let seed = Seed::parse(text).ok()?;
        Some((seed.name, seed.host, seed.port))
    }

    fn is(name: &str, host: &str, port: u16) -> Option<(String, String, u16)> {
        Some((name.to_owned(), host.to_owned(), port))
    }

    #[test]
    fn a_seed_has_a_name_and_may_have_a_port() {
        assert_eq!(parsed("a@10.0.0.1"), is("a@10.0.0.1", "10.0.0.1", 4370));
        assert_eq!(parsed("a@b.c:5"), is("a@b.c", "b.c", 5));
        assert_eq!(parsed("a@::1"), is("a@::1", "::1", 4370));
        assert_eq!(parsed("a@[::1]"), is("a@::1", "::1", 4370));
        assert_eq!(parsed("a@[::1]:7"), is("a@::1", "::1", 7));
        for text in ["a@b", "a@[::1]:7"] {
            let seed = Seed::parse(text).unwrap();
            assert_eq!(Seed::parse(&seed.text()).unwrap(), seed);
            assert_eq!(Seed::at(&seed.name, &seed.address()), Some(seed));
        }
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        let wrong = [
            "",
            "a",
            "@b",
            "a@",
            "a@b:",
            "a@b:0",
            "a@b:70000",
            "a@b:c",
            "a@[b]:1",
            "a@[::1]x",
            "a@b@c",
            "a@b c",
            "a\n@b",
        ];
        for text in wrong {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn only_addresses_of_the_own_family_are_tried() {
        let resolved = |like: &str| resolve("127.0.0.2", 9, like.parse().unwrap());
        let addresses = resolved("127.0.0.1:1").unwrap();
        assert_eq!(addresses, ["127.0.0.2:9".parse().unwrap()]);
        let error = resolved("[::1]:1").unwrap_err();
        assert!(error.to_string().contains("cluster.bind"), "{error}");
    }
}
