//! What a request asks for: path, query and page, without I/O.

use std::collections::BTreeMap;

use super::reply::Reply;

/// Entries of a page unless the request says otherwise.
const LIMIT: u64 = 100;

/// Entries of the largest page, as in EMQX.
pub(super) const LIMIT_MAX: u64 = 10_000;

/// A request without its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Request {
    /// The method, as in `GET`.
    pub(super) method: String,
    /// The words of the path, decoded, without the prefix `/api/v5`.
    pub(super) path: Vec<String>,
    /// What comes after the question mark, decoded.
    pub(super) query: BTreeMap<String, String>,
    /// The body.
    pub(super) body: Vec<u8>,
}

/// A page of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Page {
    /// Its number, from 1 on.
    pub(super) page: u64,
    /// Its entries at most.
    pub(super) limit: u64,
}

impl Page {
    /// Entries before it.
    pub(super) fn skip(self) -> u64 {
        (self.page - 1).saturating_mul(self.limit)
    }
}

impl Request {
    /// Reads method and target, or says what is wrong with them.
    pub(super) fn parse(method: &str, target: &str) -> Result<Self, Reply> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let malformed = || Reply::bad_request("the address has a malformed %-sequence");
        let path = path.strip_prefix("/api/v5").unwrap_or(path);
        let words = path.split('/').filter(|word| !word.is_empty());
        let path = words.map(|word| decode(word, false));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name, true)?, decode(value, true)?))
        });
        Ok(Self {
            method: method.to_owned(),
            path: path.collect::<Option<_>>().ok_or_else(malformed)?,
            query: query.collect::<Option<_>>().ok_or_else(malformed)?,
            body: Vec::new(),
        })
    }

    /// A value of the query; empty ones are as good as none.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let value = self.query.get(name)?;
        (!value.is_empty()).then_some(value)
    }

    /// Refuses what the query of this path does not have, so that a filter that is misspelt or
    /// not there in this version does not silently select everything.
    pub(super) fn allow(&self, names: &[&str]) -> Result<(), Reply> {
        match self.query.keys().find(|name| !names.contains(&&***name)) {
            None => Ok(()),
            Some(unknown) => Err(Reply::bad_request(&format!(
                "unknown query parameter {unknown:?}; known here: {}",
                match names {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                }
            ))),
        }
    }

    /// The page that is asked for.
    pub(super) fn page(&self) -> Result<Page, Reply> {
        Ok(Page {
            page: self.number("page", 1, 1, u64::from(u32::MAX))?,
            limit: self.number("limit", LIMIT, 1, LIMIT_MAX)?,
        })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, Reply> {
        match self.value(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Reply::bad_request(&format!(
                "{name} = {other:?} is neither true nor false"
            ))),
        }
    }

    fn number(&self, name: &str, default: u64, min: u64, max: u64) -> Result<u64, Reply> {
        let Some(text) = self.value(name) else {
            return Ok(default);
        };
        let number = text.parse().ok();
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| {
                let what = format!("{name} = {text:?} is no number from {min} to {max}");
                Reply::bad_request(&what)
            })
    }
}

/// Undoes %-encoding; in queries a plus is a space. Nothing if it is malformed or no UTF-8.
fn decode(text: &str, is_query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Does %-encoding, of a word of a path or of a value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether the Host header names this machine by loopback: a page in a browser whose name was
/// made to resolve to it does not get in.
pub(super) fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let ip = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Request {
        Request::parse("GET", target).unwrap()
    }

    #[test]
    fn words_and_values_are_decoded() {
        let request = get("/api/v5/clients/a%2Fb%20c+d?like_clientid=x%26+y&empty=&flag");
        assert_eq!(request.path, ["clients", "a/b c+d"]);
        assert_eq!(request.value("like_clientid"), Some("x& y"));
        assert_eq!(
            (request.value("empty"), request.value("flag")),
            (None, None)
        );
        assert_eq!(get("/status").path, ["status"]);
        assert_eq!(get("//nodes/").path, ["nodes"]);
        for target in ["/%", "/%2", "/%zz", "/%ff", "/a?b=%f"] {
            assert!(Request::parse("GET", target).is_err(), "{target}");
        }
        for text in ["a/b c+d", "ü%&=?#", "\"\\"] {
            assert_eq!(get(&format!("/{}", encode(text))).path, [text]);
        }
    }

    #[test]
    fn pages_have_defaults_and_bounds() {
        let page = |query: &str| get(&format!("/clients?{query}")).page();
        assert_eq!(
            page("").unwrap(),
            Page {
                page: 1,
                limit: 100
            }
        );
        assert_eq!(page("page=3&limit=20").unwrap().skip(), 40);
        for query in ["page=0", "limit=0", "limit=10001", "page=-1", "page=x"] {
            assert_eq!(page(query).unwrap_err().status, 400, "{query}");
        }
        let most = page("page=4294967295&limit=10000").unwrap();
        assert_eq!(most.skip(), 42_949_672_940_000);
    }

    #[test]
    fn a_filter_that_is_not_known_is_refused() {
        let request = get("/clients?page=1&like_clientid=x");
        assert_eq!(request.allow(&["page", "like_clientid"]), Ok(()));
        let refused = request.allow(&["page"]).unwrap_err();
        assert!(refused.body.contains("like_clientid"), "{refused:?}");
    }

    #[test]
    fn only_hosts_that_are_loopback_are_local() {
        for host in [
            "127.0.0.1:18083",
            "localhost",
            "LocalHost:1",
            "[::1]:5",
            "127.9.9.9",
        ] {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example:18083",
            "10.0.0.1",
            "[::2]:1",
            "localhost.evil",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }
}
