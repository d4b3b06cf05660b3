//! Addresses of HTTP servers: `http://host:port`, `https://host`.

use std::fmt;
use std::net::Ipv6Addr;

/// Where a server is. It has no path: the strategies have their own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Url {
    /// Whether TLS is spoken.
    pub(crate) is_tls: bool,
    /// A name or an address.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
}

impl Url {
    /// Reads `http://host:port` or `https://host:port`. The port may be left out: it is
    /// `port` then, or that of the scheme.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn parse(text: &str, port: Option<u16>) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not http://host:port or https://host:port");
        let (is_tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, digits) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (
                    host,
                    rest.strip_prefix(':')
                        .or_else(|| rest.is_empty().then_some("")),
                )
            }
            None => match rest.split_once(':') {
                Some((host, digits)) => (host, Some(digits)),
                None => (rest, Some("")),
            },
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_plain) {
            return Err(wrong());
        }
        let of_scheme = if is_tls { 443 } else { 80 };
        let port = match digits.ok_or_else(wrong)? {
            "" => port.unwrap_or(of_scheme),
            digits => digits
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?,
        };
        let host = host.to_owned();
        Ok(Self { is_tls, host, port })
    }

    /// Host and port, as the header `Host` has them.
    pub(crate) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(out, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Some(Url::parse(text, Some(2379)).ok()?.to_string())
    }

    #[test]
    fn a_url_has_a_scheme_a_host_and_perhaps_a_port() {
        for (text, url) in [
            ("http://10.0.0.1:1", "http://10.0.0.1:1"),
            ("https://etcd.example", "https://etcd.example:2379"),
            ("https://etcd.example/", "https://etcd.example:2379"),
            ("http://[::1]:7", "http://[::1]:7"),
            ("http://[::1]", "http://[::1]:2379"),
        ] {
            assert_eq!(shown(text).unwrap(), url);
        }
        let url = Url::parse("https://kubernetes.default.svc", None).unwrap();
        assert_eq!(url.port, 443);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "etcd:2379",
            "ftp://a",
            "http://",
            "http://a:b",
            "http://a:0",
            "http://a:70000",
            "http://a/b",
            "http://a b",
            "http://[a]:1",
            "http://[::1]x",
            "http://u@a",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
