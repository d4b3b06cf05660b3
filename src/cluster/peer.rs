//! What a node knows of one other node, across its connections.

use std::rc::Rc;

use quinn::Connection;
use shard_cluster::link::{Incoming, Limits, Outgoing};
use shard_cluster::routes::Feed;
use shard_cluster::wire::{Hello, Role};
use tokio::sync::Notify;

use super::arrivals::Arrivals;
use super::relay::{self, Passed};

/// Bounds of what is kept for a shard's stream to a node until that has accepted it.
const LIMITS: Limits = Limits {
    batch_bytes: 64 << 10,
    full_bytes: 8 << 20,
    refuse_bytes: usize::MAX,
};

/// A connection with a node that has said hello: the node's slot and the connection's number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct LinkId {
    pub(super) slot: u16,
    pub(super) serial: u64,
}

/// Another node.
pub(super) struct Peer {
    pub(super) name: Box<str>,
    /// Messages to it, by shard.
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) incoming: Incoming,
    /// Messages from it that are with the shards, by stream.
    pub(super) arrivals: Vec<Arrivals>,
    pub(super) link: Option<Link>,
    /// The shards may route to it.
    pub(super) is_up: bool,
    /// A stream was full: the shards still have messages for it.
    pub(super) is_held: bool,
    /// What was passed on to it for others.
    pub(super) passed: Passed,
}

/// A hello that is kept.
pub(super) struct Greeting {
    versions: (u16, u16),
    lives: (u64, u64),
    role: Role,
    shards: u16,
}

impl Greeting {
    const fn of(hello: &Hello<'_>) -> Self {
        Self {
            versions: (hello.version_min, hello.version_max),
            lives: (hello.incarnation, hello.boot),
            role: hello.role,
            shards: hello.shards,
        }
    }

    /// The hello of a node of this cluster.
    pub(super) const fn hello<'h>(&self, cluster: &'h str, node: &'h str) -> Hello<'h> {
        Hello {
            version_min: self.versions.0,
            version_max: self.versions.1,
            cluster,
            node,
            incarnation: self.lives.0,
            boot: self.lives.1,
            role: self.role,
            shards: self.shards,
            address: "",
        }
    }
}

/// A connection.
pub(super) struct Link {
    pub(super) serial: u64,
    /// The life of the node that has said hello.
    pub(super) incarnation: u64,
    pub(super) connection: Connection,
    /// What it has said of itself.
    pub(super) greeting: Greeting,
    /// It is no member of the cluster, as far as is known here: it may ask, and that is all.
    pub(super) is_guest: bool,
    /// It goes over other nodes.
    pub(super) is_relayed: bool,
    /// Packets that are to go over it for others, if it is a direct one.
    pub(super) passed: relay::Queue,
    /// It is a member now.
    pub(super) admitted: Rc<Notify>,
    pub(super) feed: Feed,
    /// Frames to be sent before others.
    pub(super) urgent: Vec<u8>,
    /// Digests are to be sent.
    pub(super) digests_due: bool,
    /// There may be something for the control stream.
    pub(super) control: Rc<Notify>,
    /// There is something for the stream of a shard.
    pub(super) streams: Vec<Rc<Notify>>,
}

impl Peer {
    pub(super) fn new(name: &str, shards: u16) -> Self {
        let outgoing = (0..shards).map(|shard| Outgoing::new(shard, LIMITS));
        Self {
            name: name.into(),
            outgoing: outgoing.collect(),
            incoming: Incoming::new(),
            arrivals: Vec::new(),
            link: None,
            is_up: false,
            is_held: false,
            passed: Passed::default(),
        }
    }

    /// The connection, if it is still this one.
    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.link.as_mut().filter(|link| link.serial == id.serial)
    }

    /// There is something for the control stream.
    pub(super) fn wake_control(&self) {
        if let Some(link) = &self.link {
            link.control.notify_one();
        }
    }

    /// The arrivals of a stream.
    pub(super) fn arrivals_of(&mut self, stream: u16) -> &mut Arrivals {
        let index = usize::from(stream);
        if index >= self.arrivals.len() {
            self.arrivals.resize_with(index + 1, Arrivals::default);
        }
        &mut self.arrivals[index]
    }
}

impl Link {
    pub(super) fn new(
        serial: u64,
        hello: &Hello<'_>,
        connection: Connection,
        shards: u16,
        is_guest: bool,
    ) -> Self {
        Self {
            serial,
            incarnation: hello.incarnation,
            is_relayed: relay::is_made_up(connection.remote_address()),
            passed: relay::Queue::default(),
            connection,
            greeting: Greeting::of(hello),
            is_guest,
            admitted: Rc::new(Notify::new()),
            feed: Feed::new(),
            urgent: Vec::new(),
            digests_due: false,
            control: Rc::new(Notify::new()),
            streams: (0..shards).map(|_| Rc::new(Notify::new())).collect(),
        }
    }
}
