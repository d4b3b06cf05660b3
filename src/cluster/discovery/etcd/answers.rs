//! What the JSON gateway of etcd (v3) takes and says.
//!
//! Keys and values are base64, numbers of 64 bits are strings, and what is zero is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// Keys with the same beginning.
pub(super) struct Prefix {
    pub(super) first: String,
    /// The first key that is behind them.
    end: Vec<u8>,
}

/// What is there.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Range {
    /// Keys and values.
    pub(super) pairs: Vec<(String, String)>,
    /// How often the store had changed by then.
    pub(super) revision: u64,
}

/// One thing that has happened to a key.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It has this value now.
    Put(String, String),
    /// It is gone.
    Delete(String),
}

#[derive(Deserialize)]
struct RangeAnswer {
    header: Header,
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    revision: String,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "TTL", default)]
    ttl: String,
}

/// A line of an answer that goes on.
#[derive(Deserialize)]
struct Line<T> {
    result: Option<T>,
    error: Option<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    message: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Watched {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    compact_revision: String,
    #[serde(default)]
    cancel_reason: String,
    #[serde(default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    kv: Pair,
}

impl Prefix {
    pub(super) fn new(first: &str) -> Self {
        let mut end = first.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            // Text is no byte 0xff.
            *last = last.wrapping_add(1);
        }
        Self {
            first: first.to_owned(),
            end,
        }
    }

    pub(super) fn range(&self) -> String {
        let (key, end) = (STANDARD.encode(&self.first), STANDARD.encode(&self.end));
        json!({"key": key, "range_end": end}).to_string()
    }

    /// What happens from a revision on.
    pub(super) fn watch(&self, from: u64) -> String {
        let (key, end) = (STANDARD.encode(&self.first), STANDARD.encode(&self.end));
        let create = json!({
            "key": key, "range_end": end, "start_revision": from.to_string()
        });
        json!({"create_request": create}).to_string()
    }
}

pub(super) fn grant(seconds: u64) -> String {
    json!({"TTL": seconds.to_string(), "ID": "0"}).to_string()
}

pub(super) fn keep_alive(lease: &str) -> String {
    json!({"ID": lease}).to_string()
}

pub(super) fn put(key: &str, value: &str, lease: &str) -> String {
    let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
    json!({"key": key, "value": value, "lease": lease}).to_string()
}

/// Reads what is there.
pub(super) fn read_range(body: &[u8]) -> Result<Range, String> {
    let answer: RangeAnswer = read(body)?;
    Ok(Range {
        pairs: answer.kvs.iter().map(decode).collect::<Result<_, _>>()?,
        revision: answer.header.revision.parse().unwrap_or_default(),
    })
}

/// Reads the number of a lease that was granted.
pub(super) fn read_grant(body: &[u8]) -> Result<String, String> {
    let lease: Lease = read(body)?;
    if lease.id.is_empty() {
        return Err("it grants no lease".to_owned());
    }
    Ok(lease.id)
}

/// Whether the lease still runs.
pub(super) fn read_keep_alive(body: &[u8]) -> Result<bool, String> {
    let line: Line<Lease> = read(body)?;
    let lease = line.result()?;
    Ok(!matches!(lease.ttl.as_str(), "" | "0"))
}

/// Reads a line of a watch.
pub(super) fn read_watch(line: &[u8]) -> Result<Vec<Change>, String> {
    let line: Line<Watched> = read(line)?;
    let watched = line.result()?;
    if watched.canceled {
        return Err(match watched.compact_revision.as_str() {
            "" | "0" => format!("it ends the watch: {}", watched.cancel_reason),
            _ => "it does not know any more what has happened since".to_owned(),
        });
    }
    let changes = watched.events.iter().map(|event| {
        let (key, value) = decode(&event.kv)?;
        Ok(match event.kind.as_str() {
            "DELETE" => Change::Delete(key),
            _ => Change::Put(key, value),
        })
    });
    changes.collect()
}

/// What a failure says.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = value.get("message").or_else(|| value.get("error"))?;
    text.as_str().map(str::to_owned)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    let read = serde_json::from_slice(body);
    read.map_err(|error| format!("its answer cannot be read: {error}"))
}

fn decode(pair: &Pair) -> Result<(String, String), String> {
    Ok((text_of(&pair.key)?, text_of(&pair.value)?))
}

fn text_of(base64: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(base64).map_err(|error| error.to_string());
    let bytes = bytes.map_err(|error| format!("its answer is not base64: {error}"))?;
    // What is no text names no node.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl<T> Line<T> {
    fn result(self) -> Result<T, String> {
        match (self.result, self.error) {
            (Some(result), None) => Ok(result),
            (_, Some(error)) => {
                let text = error.message.or(error.error).unwrap_or_default();
                Err(format!("it answers: {text}"))
            }
            (None, None) => Err("its answer says nothing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        let prefix = Prefix::new("a/");
        assert_eq!(prefix.range(), r#"{"key":"YS8=","range_end":"YTA="}"#);
        let watch = prefix.watch(7);
        assert!(watch.contains(r#""start_revision":"7""#), "{watch}");
        assert_eq!(
            put("k", "v", "42"),
            r#"{"key":"aw==","lease":"42","value":"dg=="}"#
        );
    }

    #[test]
    fn a_range_has_pairs_in_base64_and_may_be_empty() {
        let body = br#"{"header":{"cluster_id":"14841639068965178418","revision":"5",
            "raft_term":"2"},"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"5",
            "version":"4","value":"Yg==","lease":"7587"},{"key":"Yw=="}],"count":"2"}"#;
        let range = read_range(body).unwrap();
        assert_eq!(range.pairs, [pair("a", "b"), pair("c", "")]);
        assert_eq!(range.revision, 5);
        let range = read_range(br#"{"header":{"revision":"1"}}"#).unwrap();
        assert_eq!(
            range,
            Range {
                pairs: Vec::new(),
                revision: 1
            }
        );
        let bad = read_range(br#"{"header":{},"kvs":[{"key":"%"}]}"#).unwrap_err();
        assert!(bad.contains("base64"), "{bad}");
        assert!(read_range(b"<html>").is_err());
    }

    #[test]
    fn a_lease_runs_while_it_has_time_left() {
        let body = br#"{"header":{"revision":"1"},"ID":"7587848390000","TTL":"60"}"#;
        assert_eq!(read_grant(body).unwrap(), "7587848390000");
        assert!(read_grant(b"{}").is_err());
        let runs = br#"{"result":{"header":{},"ID":"7587","TTL":"60"}}"#;
        assert_eq!(read_keep_alive(runs), Ok(true));
        let is_over = br#"{"result":{"header":{},"ID":"7587"}}"#;
        assert_eq!(read_keep_alive(is_over), Ok(false));
        let failed = br#"{"error":{"grpc_code":14,"message":"no leader"}}"#;
        assert!(read_keep_alive(failed).unwrap_err().contains("no leader"));
    }

    #[test]
    fn a_watch_has_lines_with_events() {
        let created = br#"{"result":{"header":{"revision":"5"},"created":true}}"#;
        assert_eq!(read_watch(created), Ok(Vec::new()));
        let events = br#"{"result":{"header":{"revision":"6"},"events":[
            {"kv":{"key":"YQ==","mod_revision":"6","value":"Yg=="}},
            {"type":"DELETE","kv":{"key":"Yw==","mod_revision":"6"}}]}}"#;
        let put = Change::Put("a".to_owned(), "b".to_owned());
        assert_eq!(
            read_watch(events).unwrap(),
            [put, Change::Delete("c".to_owned())]
        );
        let compacted = br#"{"result":{"header":{},"canceled":true,"compact_revision":"9"}}"#;
        let said = read_watch(compacted).unwrap_err();
        assert!(said.contains("any more"), "{said}");
        let ended = br#"{"result":{"canceled":true,"cancel_reason":"no permission"}}"#;
        assert!(read_watch(ended).unwrap_err().contains("no permission"));
    }

    #[test]
    fn a_failure_says_what_is_wrong() {
        let body = br#"{"error":"etcdserver: user name is empty","code":3,
            "message":"etcdserver: user name is empty"}"#;
        assert_eq!(message(body).unwrap(), "etcdserver: user name is empty");
        assert_eq!(message(b"404 page not found"), None);
    }
}
