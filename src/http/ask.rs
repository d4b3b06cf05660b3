//! What one node asks another for its operators, and answers: JSON, so that nodes of
//! neighbouring versions understand each other.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shards::operator::{Pick, Place};

/// Entries that one answer has at most.
pub(super) const ENTRIES_MAX: u32 = 500;

/// What a node is asked.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// A part of a list.
    List(Which, Part),
    /// One client.
    Client(String),
    /// To disconnect a client and end its session.
    Kick(String),
    /// To join the cluster of a node.
    Join(String),
    /// To leave its cluster.
    Leave,
    /// To have another member removed.
    ForceLeave(String),
    /// To empty the node.
    StartDrain(Drain),
    /// To let clients in again.
    StopDrain,
    /// Whether the node is being emptied.
    DrainStatus,
    /// What the node says of itself: [`super::numbers::Numbers`].
    Numbers,
}

/// How a node is emptied; the fields are EMQX's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// Clients that are sent away in a second.
    #[serde(default = "Drain::rate")]
    pub(super) conn_evict_rate: u32,
    /// Seconds that clients have to take their sessions along before those are given to others.
    #[serde(default = "Drain::wait")]
    pub(super) wait_takeover: u32,
    /// Sessions that are given to others in a second.
    #[serde(default = "Drain::rate")]
    pub(super) sess_evict_rate: u32,
    /// Server References of other nodes, with spaces between them.
    #[serde(default)]
    pub(super) redirect_to: Option<String>,
}

/// Bytes of the longest text that clients are redirected with.
const REDIRECT_MAX: usize = 1024;

/// The rate where none is given.
pub(super) const RATE_USUAL: u32 = 500;

/// The fastest rate.
pub(super) const RATE_MAX: u32 = 100_000;

impl Drain {
    /// As in EMQX.
    fn rate() -> u32 {
        RATE_USUAL
    }

    /// As in EMQX.
    fn wait() -> u32 {
        60
    }

    /// Reads what a request says; an empty body says nothing.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let body = if body.is_empty() { b"{}" } else { body };
        // An array would do for the fields in their order.
        let fields: Map<String, Value> =
            serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let drain: Self =
            serde_json::from_value(fields.into()).map_err(|error| error.to_string())?;
        if !(1..=RATE_MAX).contains(&drain.conn_evict_rate) {
            return Err(format!("conn_evict_rate is a number from 1 to {RATE_MAX}"));
        }
        if !(1..=RATE_MAX).contains(&drain.sess_evict_rate) {
            return Err(format!("sess_evict_rate is a number from 1 to {RATE_MAX}"));
        }
        let to = drain.redirect_to.as_deref().unwrap_or_default();
        if to.len() > REDIRECT_MAX || to.chars().any(char::is_control) {
            return Err(format!(
                "redirect_to is text of at most {REDIRECT_MAX} bytes without control characters, \
                 such as \"10.0.0.2:1883 10.0.0.3:1883\""
            ));
        }
        Ok(drain)
    }
}

/// Which list.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    /// Clients.
    Clients(Picked),
    /// Subscriptions, of one client or of all.
    Subscriptions(Option<String>),
    /// Filters that somebody subscribes to.
    Topics,
}

/// Which clients.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Picked {
    pub(super) connected: Option<bool>,
    pub(super) like: Option<String>,
    pub(super) username: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Part {
    pub(super) from: Cursor,
    /// Entries to pass over first.
    pub(super) skip: u64,
    /// Entries to tell then, at most.
    pub(super) most: u32,
}

/// Where in the list of a node to go on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Cursor {
    pub(super) shard: u16,
    slot: u32,
    offset: u32,
}

/// A part of a list.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Listing {
    pub(super) entries: Vec<Value>,
    /// Entries that were passed over.
    pub(super) skipped: u64,
    /// Where the next part begins; nothing at the end.
    pub(super) next: Option<Cursor>,
}

impl Cursor {
    /// The beginning of a shard's list.
    pub(super) fn shard(shard: u16) -> Self {
        Self {
            shard,
            ..Self::default()
        }
    }

    pub(super) fn at(shard: u16, place: Place) -> Self {
        let Place { slot, offset } = place;
        Self {
            shard,
            slot,
            offset,
        }
    }

    pub(super) fn place(self) -> Place {
        Place {
            slot: self.slot,
            offset: self.offset,
        }
    }
}

impl Picked {
    /// As the shards want it.
    pub(super) fn pick(&self) -> Pick {
        Pick {
            connected: self.connected,
            like: self.like.as_deref().map(Into::into),
            username: self.username.as_deref().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_empty_a_node_is_checked() {
        let usual = Drain::parse(b"").unwrap();
        assert_eq!((usual.conn_evict_rate, usual.redirect_to), (500, None));
        let text = br#"{"conn_evict_rate": 7, "redirect_to": "a:1 b:2"}"#;
        let drain = Drain::parse(text).unwrap();
        assert_eq!(
            (drain.conn_evict_rate, &*drain.redirect_to.unwrap()),
            (7, "a:1 b:2")
        );
        for text in [
            "x",
            "[]",
            r#"{"conn_evict_rate": 0}"#,
            r#"{"conn_evict_rate": 100001}"#,
            r#"{"conn_evict_rat": 5}"#,
            r#"{"redirect_to": "a\nb"}"#,
        ] {
            assert!(Drain::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
