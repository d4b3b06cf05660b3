//! What one node asks another for its operators, and answers: JSON, so that nodes of
//! neighbouring versions understand each other.

use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// What the node says of itself: [`super::numbers::Numbers`].
    Numbers,
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
