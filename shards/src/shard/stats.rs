//! What one shard counts, and the names that EMQX has for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::wire::QoS;

/// Packet types, as in the fixed header.
pub(crate) mod packet {
    pub(crate) const CONNECT: usize = 1;
    pub(crate) const CONNACK: usize = 2;
    pub(crate) const PUBACK: usize = 4;
    pub(crate) const PUBREC: usize = 5;
    pub(crate) const PUBREL: usize = 6;
    pub(crate) const PUBCOMP: usize = 7;
    pub(crate) const SUBSCRIBE: usize = 8;
    pub(crate) const SUBACK: usize = 9;
    pub(crate) const UNSUBSCRIBE: usize = 10;
    pub(crate) const UNSUBACK: usize = 11;
    pub(crate) const PINGREQ: usize = 12;
    pub(crate) const PINGRESP: usize = 13;
    pub(crate) const DISCONNECT: usize = 14;
    pub(crate) const AUTH: usize = 15;
}

/// Counters of one shard: written by the shard, read by anybody.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stats {
    /// PUBLISH packets taken from clients, by QoS.
    pub received: [Counter; 3],
    /// PUBLISH packets given to clients, by QoS.
    pub sent: [Counter; 3],
    /// Bytes read from clients.
    pub bytes_received: Counter,
    /// Bytes given to the kernel for clients.
    pub bytes_sent: Counter,
    /// Other packets from clients, by type.
    pub(crate) packets_received: [Counter; 16],
    /// Other packets to clients, by type.
    pub(crate) packets_sent: [Counter; 16],

    /// Clients that are connected.
    pub connections: Counter,
    /// Sessions, connected or not.
    pub sessions: Counter,
    /// Subscriptions of sessions, without shared ones.
    pub subscriptions: Counter,
    /// Members of shared subscriptions whose group is here.
    pub shared_subscriptions: Counter,
    /// Filters with subscribers here.
    pub filters: Counter,
    /// Retained messages here.
    pub retained: Counter,
    /// Messages here that wait to be published.
    pub delayed: Counter,
    /// Messages that were taken to be published later.
    pub(crate) messages_delayed: Counter,

    /// Messages dropped: a queue, an output buffer or a ring was full, or the message was
    /// refused.
    pub dropped: Counter,
    /// Messages handed to other nodes, once for each.
    pub(crate) forwarded: Counter,
    /// Messages that came from other nodes.
    pub(crate) from_nodes: Counter,
    /// QoS 0 messages for a node that takes too little.
    pub(crate) node_full: Counter,
    /// Sessions that are on their way from other nodes.
    pub(crate) sessions_arriving: Counter,
    /// Sessions that are kept for other nodes, or on their way to them.
    pub(crate) sessions_leaving: Counter,
    /// Retained messages of other nodes that were not retained here: a limit was reached, or the
    /// store was full.
    pub retained_refused: Counter,
    /// Messages of clients that nobody subscribes to.
    pub(crate) no_subscribers: Counter,
    /// Messages of clients that were refused with a reason code.
    pub(crate) refused: Counter,
    /// Messages not given to their own publisher.
    pub(crate) no_local: Counter,
    /// Messages larger than the packets that the subscriber takes.
    pub(crate) too_large: Counter,
    /// QoS 0 messages for a subscriber that does not read.
    pub(crate) qos0_dropped: Counter,
    /// Messages for which a session's queue had no room.
    pub(crate) queue_full: Counter,
    /// Clients disconnected because their session's queue was full.
    pub(crate) overflowed: Counter,
    /// Messages that expired in a queue.
    pub(crate) expired: Counter,

    /// Connections closed because the client broke the protocol.
    pub protocol_errors: Counter,
    /// CONNECT packets refused.
    pub(crate) connect_errors: Counter,
    /// Acknowledgements of clients for what is not in flight, by packet type.
    pub(crate) missed: [Counter; 8],
    /// Filters refused in a SUBSCRIBE.
    pub(crate) subscribe_errors: Counter,
    /// Filters in an UNSUBSCRIBE that the session had not.
    pub(crate) unsubscribe_errors: Counter,
    /// Clients that were let in.
    pub(crate) connected: Counter,
    /// Clients that were in and are not any more.
    pub(crate) disconnected: Counter,
    /// Sessions that began.
    pub(crate) session_created: Counter,
    /// Sessions that a client came back to.
    pub(crate) session_resumed: Counter,
    /// Sessions taken over from another connection.
    pub(crate) session_takenover: Counter,
    /// Sessions ended by a clean start.
    pub(crate) session_discarded: Counter,
    /// Sessions that ended in another way.
    pub(crate) session_terminated: Counter,
}

/// A number that a shard reports, under EMQX's name for it.
pub type Metric = (&'static str, fn(&Stats) -> u64);

/// What is counted up from the start of the broker, as under `metrics` of EMQX's `$SYS`
/// topics. Only what is really counted is here.
pub const METRICS: &[Metric] = &[
    ("bytes/received", |s| s.bytes_received.get()),
    ("bytes/sent", |s| s.bytes_sent.get()),
    ("packets/received", |s| {
        total(&s.received) + total(&s.packets_received)
    }),
    ("packets/sent", |s| total(&s.sent) + total(&s.packets_sent)),
    ("packets/connect/received", |s| {
        s.packets_received[packet::CONNECT].get()
    }),
    ("packets/connack/sent", |s| {
        s.packets_sent[packet::CONNACK].get()
    }),
    ("packets/connack/error", |s| s.connect_errors.get()),
    ("packets/publish/received", |s| total(&s.received)),
    ("packets/publish/sent", |s| total(&s.sent)),
    ("packets/publish/error", |s| s.refused.get()),
    ("packets/puback/received", |s| {
        s.packets_received[packet::PUBACK].get()
    }),
    ("packets/puback/sent", |s| {
        s.packets_sent[packet::PUBACK].get()
    }),
    ("packets/puback/missed", |s| s.missed[packet::PUBACK].get()),
    ("packets/pubrec/received", |s| {
        s.packets_received[packet::PUBREC].get()
    }),
    ("packets/pubrec/sent", |s| {
        s.packets_sent[packet::PUBREC].get()
    }),
    ("packets/pubrec/missed", |s| s.missed[packet::PUBREC].get()),
    ("packets/pubrel/received", |s| {
        s.packets_received[packet::PUBREL].get()
    }),
    ("packets/pubrel/sent", |s| {
        s.packets_sent[packet::PUBREL].get()
    }),
    ("packets/pubrel/missed", |s| s.missed[packet::PUBREL].get()),
    ("packets/pubcomp/received", |s| {
        s.packets_received[packet::PUBCOMP].get()
    }),
    ("packets/pubcomp/sent", |s| {
        s.packets_sent[packet::PUBCOMP].get()
    }),
    ("packets/pubcomp/missed", |s| {
        s.missed[packet::PUBCOMP].get()
    }),
    ("packets/subscribe/received", |s| {
        s.packets_received[packet::SUBSCRIBE].get()
    }),
    ("packets/subscribe/error", |s| s.subscribe_errors.get()),
    ("packets/suback/sent", |s| {
        s.packets_sent[packet::SUBACK].get()
    }),
    ("packets/unsubscribe/received", |s| {
        s.packets_received[packet::UNSUBSCRIBE].get()
    }),
    ("packets/unsubscribe/error", |s| s.unsubscribe_errors.get()),
    ("packets/unsuback/sent", |s| {
        s.packets_sent[packet::UNSUBACK].get()
    }),
    ("packets/pingreq/received", |s| {
        s.packets_received[packet::PINGREQ].get()
    }),
    ("packets/pingresp/sent", |s| {
        s.packets_sent[packet::PINGRESP].get()
    }),
    ("packets/disconnect/received", |s| {
        s.packets_received[packet::DISCONNECT].get()
    }),
    ("packets/disconnect/sent", |s| {
        s.packets_sent[packet::DISCONNECT].get()
    }),
    ("packets/auth/received", |s| {
        s.packets_received[packet::AUTH].get()
    }),
    ("messages/received", |s| total(&s.received)),
    ("messages/sent", |s| total(&s.sent)),
    ("messages/qos0/received", |s| s.received[0].get()),
    ("messages/qos0/sent", |s| s.sent[0].get()),
    ("messages/qos1/received", |s| s.received[1].get()),
    ("messages/qos1/sent", |s| s.sent[1].get()),
    ("messages/qos2/received", |s| s.received[2].get()),
    ("messages/qos2/sent", |s| s.sent[2].get()),
    ("messages/acked", acknowledged),
    ("messages/forward", |s| s.forwarded.get()),
    ("messages/delayed", |s| s.messages_delayed.get()),
    ("messages/dropped", |s| {
        s.no_subscribers.get() + s.refused.get()
    }),
    ("messages/dropped/no_subscribers", |s| {
        s.no_subscribers.get()
    }),
    ("delivery/dropped", |s| {
        s.no_local.get()
            + s.too_large.get()
            + s.qos0_dropped.get()
            + s.queue_full.get()
            + s.expired.get()
    }),
    ("delivery/dropped/no_local", |s| s.no_local.get()),
    ("delivery/dropped/too_large", |s| s.too_large.get()),
    ("delivery/dropped/qos0_msg", |s| s.qos0_dropped.get()),
    ("delivery/dropped/queue_full", |s| s.queue_full.get()),
    ("delivery/dropped/expired", |s| s.expired.get()),
    ("client/connect", |s| {
        s.packets_received[packet::CONNECT].get()
    }),
    ("client/connack", |s| s.packets_sent[packet::CONNACK].get()),
    ("client/connected", |s| s.connected.get()),
    ("client/disconnected", |s| s.disconnected.get()),
    ("client/subscribe", |s| {
        s.packets_received[packet::SUBSCRIBE].get()
    }),
    ("client/unsubscribe", |s| {
        s.packets_received[packet::UNSUBSCRIBE].get()
    }),
    ("session/created", |s| s.session_created.get()),
    ("session/resumed", |s| s.session_resumed.get()),
    ("session/takenover", |s| s.session_takenover.get()),
    ("session/discarded", |s| s.session_discarded.get()),
    ("session/terminated", |s| s.session_terminated.get()),
];

/// What is counted of the cluster and EMQX has no name for.
pub const CLUSTER_METRICS: &[Metric] = &[
    ("messages_received", |s| s.from_nodes.get()),
    ("messages_dropped", |s| s.node_full.get()),
    ("retained_refused", |s| s.retained_refused.get()),
];

/// What there is now of the cluster and EMQX has no name for.
pub const CLUSTER_GAUGES: &[Metric] = &[
    ("sessions_arriving", |s| s.sessions_arriving.get()),
    ("sessions_leaving", |s| s.sessions_leaving.get()),
];

/// What there is now, as under `stats` of EMQX's `$SYS` topics: each has a `count` and a
/// `max`.
pub const GAUGES: &[Metric] = &[
    ("connections", |s| s.connections.get()),
    ("live_connections", |s| s.connections.get()),
    ("channels", |s| s.sessions.get()),
    ("sessions", |s| s.sessions.get()),
    ("topics", |s| s.filters.get()),
    ("subscriptions", |s| s.subscriptions.get()),
    ("subscriptions/shared", |s| s.shared_subscriptions.get()),
    ("retained", |s| s.retained.get()),
    ("delayed", |s| s.delayed.get()),
];

/// The sum of a number over the shards of a node.
#[must_use]
pub fn sum(metric: fn(&Stats) -> u64, shards: &[Arc<Stats>]) -> u64 {
    shards.iter().map(|stats| metric(stats)).sum()
}

/// Messages that their subscriber has acknowledged.
fn acknowledged(stats: &Stats) -> u64 {
    let done = |kind: usize| {
        let received = stats.packets_received[kind].get();
        received.saturating_sub(stats.missed[kind].get())
    };
    done(packet::PUBACK) + done(packet::PUBREC)
}

fn total(counters: &[Counter]) -> u64 {
    counters.iter().map(Counter::get).sum()
}

impl Stats {
    /// A PUBLISH goes to a client.
    #[inline]
    pub(crate) fn count_sent(&self, qos: QoS) {
        self.sent[qos as usize].add(1);
    }

    /// PUBLISH packets taken from clients.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        total(&self.received)
    }

    /// PUBLISH packets given to clients.
    #[must_use]
    pub fn sent_total(&self) -> u64 {
        total(&self.sent)
    }

    /// A packet of this type goes to a client.
    #[inline]
    pub(crate) fn count_packet_sent(&self, kind: usize) {
        self.packets_sent[kind].add(1);
    }

    /// A packet that is no PUBLISH came from a client; `first` is its first byte.
    #[inline]
    pub(crate) fn count_packet_received(&self, first: u8) {
        self.packets_received[usize::from(first >> 4)].add(1);
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owner calls this: no read-modify-write on shared memory.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Sets the value.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads the value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
