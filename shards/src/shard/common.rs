//! What all shards of a node know.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::auth::Mechanism;
use protocol::hash::Seed;

use crate::settings::{Allowance, Events, Listener, Settings, SysEventMessages, SysTopics};

use super::auto_subscribe::Automatic;
use super::connection::Remote;
use super::nodes::NODES_MAX;
use super::replicate::Arrivals;
use super::rewrite::Rewrites;
use super::stats::Stats;

/// Topics that only the broker publishes to.
pub(crate) const SYS_PREFIX: &str = "$SYS/";
const EVENTS_PREFIX: &str = "$events/";
/// What nodes say to each other. It goes to no subscriber.
pub(crate) const CLUSTER_PREFIX: &str = "$cluster/";

/// Whether only the broker publishes to this topic.
#[inline]
pub(crate) fn is_brokers_own(topic: &str) -> bool {
    topic.starts_with('$')
        && [SYS_PREFIX, EVENTS_PREFIX, CLUSTER_PREFIX]
            .iter()
            .any(|prefix| topic.starts_with(prefix))
}

/// What all shards of a node share. Nobody writes to it while messages flow.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// The node's name, as in `shardmq@127.0.0.1`.
    pub(crate) node: Box<str>,
    pub(crate) sys_topics: SysTopics,
    pub(crate) sys_event_messages: SysEventMessages,
    pub(crate) events: Events,
    /// `None` if there are none.
    pub(super) rewrites: Option<Box<Rewrites>>,
    /// What clients subscribe to without asking.
    pub(super) auto_subscribe: Vec<Automatic>,
    /// SUBACK waits until all nodes that are up have the routes.
    pub(crate) suback_acked: bool,
    /// PUBACK and PUBREC do not wait until other nodes have accepted the message.
    pub(crate) publish_ack_local: bool,
    /// How clients may authenticate beyond name and password. No setting names one yet.
    pub(super) mechanisms: Vec<Arc<dyn Mechanism>>,
    /// What the clients of a listener may send.
    pub(super) listeners: ListenerLimits,
    pub(crate) interest: Interest,
    /// Whether the node is being emptied.
    pub(crate) drain: Drain,
    /// The nodes of the cluster that are up, a bit each. Written by the thread with the links.
    pub(crate) nodes_up: AtomicU64,
    /// Numbers that all nodes know the nodes by. Written when one is first heard of.
    pub(crate) node_tags: Tags,
    /// How often each has come up.
    pub(crate) arrivals: Arrivals,
    /// Those that there have been.
    pub(crate) nodes_known: AtomicU64,
    /// Nodes that are up and stay, a bit each: they may be given sessions.
    pub(crate) nodes_open: AtomicU64,
    /// Nodes that go, a bit each: they get messages of groups only if nobody else can take them.
    pub(crate) nodes_going: AtomicU64,
    /// This node goes: it takes no sessions that others give away.
    pub(crate) goes: AtomicBool,
    /// Until when, by the shards' clock, this node may acknowledge QoS 1 and 2. Written by the
    /// thread with the links; of no meaning where there are no other nodes.
    pub(crate) lease_until_ms: AtomicU64,
    /// The counters of every shard.
    pub(crate) stats: Vec<Arc<Stats>>,
}

impl Common {
    /// What the settings say, with counters at zero.
    pub(crate) fn new(settings: &Settings) -> Self {
        let stats = settings.cpus.iter().map(|_| Arc::new(Stats::default()));
        Self {
            node: settings.node_name.as_str().into(),
            sys_topics: settings.sys_topics.clone(),
            sys_event_messages: settings.sys_event_messages.clone(),
            events: settings.events.clone(),
            rewrites: Rewrites::new(&settings.rewrite),
            auto_subscribe: settings.auto_subscribe.iter().map(Automatic::new).collect(),
            suback_acked: settings.suback_acked,
            publish_ack_local: settings.publish_ack_local,
            mechanisms: Vec::new(),
            listeners: ListenerLimits::new(&settings.listeners),
            interest: Interest::default(),
            drain: Drain::default(),
            nodes_up: AtomicU64::default(),
            node_tags: Tags::default(),
            arrivals: Arrivals::default(),
            nodes_known: AtomicU64::default(),
            nodes_open: AtomicU64::default(),
            nodes_going: AtomicU64::default(),
            goes: AtomicBool::default(),
            lease_until_ms: AtomicU64::default(),
            stats: stats.collect(),
        }
    }

    /// What a shard alone on its node, with default settings, needs.
    pub(crate) fn of_one(stats: Arc<Stats>) -> Self {
        Self {
            stats: vec![stats],
            ..Self::default()
        }
    }

    /// A number for the node, the same in each of its lives.
    pub(super) fn node_tag(&self) -> u64 {
        tag(&self.node)
    }

    /// What all nodes know another node by; this one too, as `NODES_MAX`.
    pub(super) fn tag_of(&self, node: u16) -> u64 {
        let tag = self.node_tags.0.get(usize::from(node));
        tag.map_or(0, |tag| tag.load(Ordering::Relaxed))
    }

    /// The mechanism behind an Authentication Method.
    pub(super) fn mechanism(&self, method: &str) -> Option<&Arc<dyn Mechanism>> {
        let mut mechanisms = self.mechanisms.iter();
        mechanisms.find(|mechanism| mechanism.name() == method)
    }
}

/// Whether clients are sent to another node, because this one is being emptied, and where to.
/// Written by the thread that serves operators.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    on: AtomicBool,
    reference: Mutex<String>,
}

impl Drain {
    /// Begins; the text is a Server Reference, or empty.
    pub(crate) fn start(&self, reference: &str) {
        let mut kept = self
            .reference
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        reference.clone_into(&mut kept);
        self.on.store(true, Ordering::Relaxed);
    }

    /// Ends.
    pub(crate) fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn reference(&self) -> String {
        let kept = self
            .reference
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }
}

/// A number for a node, by its name.
fn tag(name: &str) -> u64 {
    Seed::new(0).hash(name)
}

/// What all nodes know the other nodes by, and at the end this one.
#[derive(Debug)]
pub(crate) struct Tags([AtomicU64; NODES_MAX as usize + 1]);

impl Default for Tags {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

impl Tags {
    /// A node has this name.
    pub(crate) fn set(&self, node: u16, name: &str) {
        if let Some(place) = self.0.get(usize::from(node)) {
            place.store(tag(name), Ordering::Relaxed);
        }
    }
}

/// What each client may send, by the listener it comes through.
#[derive(Debug, Default)]
pub(crate) struct ListenerLimits(Vec<ListenerLimit>);

/// What each client of one listener may send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListenerLimit {
    pub(crate) messages: Allowance,
    pub(crate) bytes: Allowance,
}

impl ListenerLimits {
    pub(crate) fn new(listeners: &[Listener]) -> Self {
        let limits = listeners.iter().map(|listener| ListenerLimit {
            messages: listener.messages,
            bytes: listener.bytes,
        });
        Self(limits.collect())
    }

    /// What a client from there may send.
    pub(super) fn get(&self, remote: &Remote) -> ListenerLimit {
        let limit = self.0.get(usize::from(remote.listener));
        limit.copied().unwrap_or_default()
    }
}

/// How many filters, over all shards, can match the broker's own topics: those whose first
/// word is `$SYS` or `$events`, since a wildcard there does not match a `$` [MQTT-4.7.2-1].
/// Where it is zero, nothing is made of what happens.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    sys: AtomicU32,
    events: AtomicU32,
    /// Of `events`, those that name an event in the old way.
    old_events: AtomicU32,
}

impl Interest {
    /// A shard has the first subscription to a filter.
    pub(crate) fn add(&self, filter: &str) {
        for count in self.counts(filter) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A shard has lost the last subscription to a filter.
    pub(crate) fn remove(&self, filter: &str) {
        for count in self.counts(filter) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether anybody could get a `$SYS` message.
    pub(crate) fn in_sys(&self) -> bool {
        self.sys.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody could get an event.
    #[inline]
    pub(crate) fn in_events(&self) -> bool {
        self.events.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody asks for an event by its old name.
    pub(crate) fn in_old_events(&self) -> bool {
        self.old_events.load(Ordering::Relaxed) > 0
    }

    /// Whether a filter is one that counts.
    pub(crate) fn counts_in(filter: &str) -> bool {
        filter.starts_with(SYS_PREFIX) || filter.starts_with(EVENTS_PREFIX)
    }

    fn counts(&self, filter: &str) -> impl Iterator<Item = &AtomicU32> {
        let counted = if filter.starts_with(SYS_PREFIX) {
            [Some(&self.sys), None]
        } else if let Some(rest) = filter.strip_prefix(EVENTS_PREFIX) {
            let is_old = !rest.contains(['/', '#', '+']);
            [Some(&self.events), is_old.then_some(&self.old_events)]
        } else {
            [None, None]
        };
        counted.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_filters_that_can_match_count() {
        let interest = Interest::default();
        for filter in [
            "#",
            "+/brokers",
            "$SYS",
            "$SYSTEM/a",
            "$eventsx/a",
            "a/$SYS/b",
        ] {
            interest.add(filter);
        }
        assert!(!interest.in_sys() && !interest.in_events());
        interest.add("$SYS/#");
        interest.add("$events/client_connected");
        assert!(interest.in_sys() && interest.in_events() && interest.in_old_events());
        interest.add("$events/#");
        interest.remove("$events/client_connected");
        assert!(interest.in_events() && !interest.in_old_events());
        interest.remove("$events/#");
        interest.remove("$SYS/#");
        assert!(!interest.in_sys() && !interest.in_events());
    }
}
