//! Client identifiers between the shards and the thread with the links, which knows what the
//! cluster has decided about them, and how far routes are known. Small lists, a ring in each
//! direction for each shard.

use shard_sync::{Consumer, Producer, ring};

/// Lists in a ring: one a turn.
const RING_LISTS: usize = 64;

/// A place in the log of a node's routes.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct RoutesAt {
    /// The life of the node.
    pub incarnation: u64,
    /// The last change.
    pub sequence: u64,
}

/// Whom something is for.
pub(crate) enum Place<'a> {
    Client(&'a str),
    Shard(u16),
}

/// What a shard says about a client identifier of its own, or asks about routes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnerRequest {
    /// Its client has connected. Answered by [`OwnerEvent::Granted`] or [`OwnerEvent::Denied`].
    Claim {
        /// The client identifier.
        client: Box<str>,
    },
    /// There is a session of a former process: it is wanted unless another node has the
    /// identifier by now. Answered in the same way.
    ClaimFormer {
        /// The client identifier.
        client: Box<str>,
    },
    /// A client is to have a filter for itself. Answered in the same way.
    ClaimFilter {
        /// A name for the filter, which no client has.
        client: Box<str>,
        /// The client.
        holder: Box<str>,
        /// It has had it on this node: it is wanted unless another client has it by now.
        is_former: bool,
    },
    /// What [`OwnerEvent::Revoke`] asked for is done.
    Revoked {
        /// The client identifier.
        client: Box<str>,
        /// The epoch.
        epoch: u64,
        /// There is a session, which is kept for the next owner.
        keeps: bool,
    },
    /// What was kept for the next owner is not needed any more, or has ended.
    Dropped {
        /// The client identifier.
        client: Box<str>,
    },
    /// The session that was to come from the former owner is stored here, or does not come.
    Settled {
        /// The client identifier.
        client: Box<str>,
    },
    /// Its session has ended here.
    Release {
        /// The client identifier.
        client: Box<str>,
    },
    /// Up to which place the log of this node's routes has what the shard knows to be in force.
    /// Answered by [`OwnerEvent::RoutesAt`].
    AskRoutesAt {
        /// The shard.
        shard: u16,
    },
    /// When the routes that the shard knows to be in force have been passed on, as far as the
    /// links take them: no other node is waited for. Answered by [`OwnerEvent::PassedOn`].
    AskPassedOn {
        /// The shard.
        shard: u16,
    },
    /// Something of another node waits until its routes up to a place are in force here, or it
    /// is down. Answered by [`OwnerEvent::RoutesKnown`].
    AwaitRoutes {
        /// The shard.
        shard: u16,
        /// The other node.
        node: u16,
        /// The place.
        at: RoutesAt,
        /// What waits.
        payload: Box<[u8]>,
        /// Whether all shards are to be told.
        all: bool,
    },
}

/// What the name of a filter begins with that one client has for itself. No client identifier has
/// U+0000 [MQTT-1.5.4-2].
const EXCLUSIVE: char = '\0';

/// The name of a filter among client identifiers.
pub(crate) fn exclusive_name(filter: &str) -> Box<str> {
    format!("{EXCLUSIVE}{filter}").into()
}

/// The filter that a name means, if it is not a client identifier.
pub(crate) fn exclusive_filter(name: &str) -> Option<&str> {
    name.strip_prefix(EXCLUSIVE)
}

/// What the cluster has decided about a client identifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnerEvent {
    /// It is this node's.
    Granted {
        /// The client identifier.
        client: Box<str>,
        /// The epoch.
        epoch: u64,
        /// The node that had it and keeps its session for this one.
        former: Option<u16>,
    },
    /// It is not: another node has claimed it later, or has it.
    Denied {
        /// The client identifier.
        client: Box<str>,
    },
    /// Another node gets it.
    Revoke {
        /// The client identifier.
        client: Box<str>,
        /// The epoch.
        epoch: u64,
    },
    /// Others have had it since it was this node's: what is here of its session goes. Who waits
    /// for it waits on.
    Drop {
        /// The client identifier.
        client: Box<str>,
    },
    /// So far is the log of this node's routes.
    RoutesAt {
        /// The shard that has asked.
        shard: u16,
        /// The place.
        at: RoutesAt,
    },
    /// The routes of the shard are on their way to the other nodes.
    PassedOn {
        /// The shard that has asked.
        shard: u16,
    },
    /// The routes of another node are in force on all shards up to the place.
    RoutesKnown {
        /// The shard that is told.
        shard: u16,
        /// The other node.
        node: u16,
        /// What has waited.
        payload: Box<[u8]>,
    },
}

impl OwnerEvent {
    /// The client identifier, or the name of a filter among them.
    pub(crate) fn client(&self) -> Option<&str> {
        match self.place() {
            Place::Client(client) => Some(client),
            Place::Shard(_) => None,
        }
    }

    /// Whom it is for.
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::Granted { client, .. }
            | Self::Denied { client }
            | Self::Revoke { client, .. }
            | Self::Drop { client } => Place::Client(client),
            Self::RoutesAt { shard, .. }
            | Self::PassedOn { shard }
            | Self::RoutesKnown { shard, .. } => Place::Shard(*shard),
        }
    }
}

/// The end of a shard.
pub(crate) struct OwnersEnd {
    pub(crate) from: Consumer<Vec<OwnerEvent>>,
    pub(crate) to: Producer<Vec<OwnerRequest>>,
}

impl OwnersEnd {
    /// Whether there is room for a list.
    pub(crate) fn has_room(&self) -> bool {
        self.to.len() < self.to.capacity()
    }
}

/// The end of the thread with the links.
pub(super) struct OwnersLink {
    from: Consumer<Vec<OwnerRequest>>,
    to: Producer<Vec<OwnerEvent>>,
    waiting: Vec<OwnerEvent>,
}

impl OwnersLink {
    pub(super) fn connect() -> (Self, OwnersEnd) {
        let (to_shard, from_links) = ring(RING_LISTS);
        let (to_links, from_shard) = ring(RING_LISTS);
        let ours = Self {
            from: from_shard,
            to: to_shard,
            waiting: Vec::new(),
        };
        let theirs = OwnersEnd {
            from: from_links,
            to: to_links,
        };
        (ours, theirs)
    }

    /// What the shard has said.
    pub(super) fn take(&mut self) -> Option<Vec<OwnerRequest>> {
        self.from.pop()
    }

    /// Something for the shard, which gets it with the next [`OwnersLink::flush`].
    pub(super) fn push(&mut self, event: OwnerEvent) {
        self.waiting.push(event);
    }

    /// Whether something was handed over, so that the shard is to be woken.
    pub(super) fn flush(&mut self) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        match self.to.push(core::mem::take(&mut self.waiting)) {
            Ok(()) => true,
            Err(waiting) => {
                self.waiting = waiting;
                false
            }
        }
    }

    /// Whether the shard has not taken all.
    pub(super) fn is_unheard(&self) -> bool {
        !self.waiting.is_empty() || !self.to.is_empty()
    }

    /// Whether something found no room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.waiting.is_empty()
    }
}
