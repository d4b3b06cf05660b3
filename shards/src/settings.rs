//! Every bound and every tunable of the data plane, with its unit, its default
//! and what it can cost.
//!
//! The process reads these from `shardmq.toml`, the environment and the command
//! line; here they are plain data. A duration is in the unit that its name ends
//! with, a size in bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use protocol::rate::{Allowance, Burst, Rate};
use protocol::session::{QueueLimits, WhenFull};
use protocol::subscriptions::{Strategies, Strategy};
use serde::{Deserialize, Serialize};

/// What the data plane is started with.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The CPUs to pin shards to, one shard each.
    pub cpus: Vec<usize>,
    /// The listeners. Every shard accepts on every one of them.
    pub listeners: Vec<Listener>,
    /// The shards' input and output.
    pub engine: Engine,
    /// MQTT limits.
    pub mqtt: Mqtt,
    /// The node's name, as in `shardmq@127.0.0.1`.
    pub node_name: String,
    /// There may be other nodes: [`Running::take_nodes`](crate::Running::take_nodes) gives what
    /// their links need. Costs a route index with one shard too.
    pub cluster: bool,
    /// SUBACK waits until all nodes that are up have the routes (`cluster.suback = "acked"`).
    pub suback_acked: bool,
    /// PUBACK and PUBREC go out when this node has accepted the message, while it is under way
    /// to the others (`cluster.publish_ack = "local"`).
    pub publish_ack_local: bool,
    /// `$SYS` topics.
    pub sys_topics: SysTopics,
    /// Which `$SYS` topics say what clients do.
    pub sys_event_messages: SysEventMessages,
    /// Which events there are.
    pub events: Events,
    /// Topic rewriting, in order.
    pub rewrite: Vec<RewriteRule>,
    /// What clients subscribe to without asking.
    pub auto_subscribe: Vec<AutoSubscription>,
    /// Whether a CONNECT without an identity is let in.
    pub allow_anonymous: bool,
    /// Seed of the hashes, so that nobody outside can aim for collisions.
    pub hash_seed: u64,
}

/// An MQTT-over-TCP listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the configuration, as in `listeners.tcp.default`.
    pub name: String,
    /// Address and port.
    pub bind: SocketAddr,
    /// Connections that have not been accepted yet, in the kernel.
    pub backlog: u32,
    /// Connections at most, over all shards; 0 for no limit but the open files. Who comes
    /// then is closed.
    pub max_connections: u32,
    /// Connections accepted in how long, over all shards (`max_conn_rate` and
    /// `max_conn_burst`). Who comes then waits in the kernel.
    pub connections: Allowance,
    /// Messages that each client of it may publish in how long (`messages_rate` and
    /// `messages_burst`), beside what [`Mqtt`] allows it.
    pub messages: Allowance,
    /// Bytes that each client of it may send in how long (`bytes_rate` and `bytes_burst`).
    pub bytes: Allowance,
}

/// What is kept on the disk (`[storage]` in the configuration).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Free bytes of the file system below which no new messages are stored. What frees
    /// something still is: it needs room, too. As much again is held in a file, for what is
    /// under way when the disk becomes full. Each never more than a twentieth of the file
    /// system. Default 16 MiB.
    pub reserve_bytes: u64,
    /// Bytes of memory for parts of the database. Default 64 MiB; a backlog that is bigger
    /// is read again through the page cache.
    pub cache_bytes: u64,
    /// Bytes of the log, which keeps what is acknowledged until the database has it, and of
    /// memory for as much. Never more than a twentieth of the file system. Default 64 MiB:
    /// it takes 8 MiB of the disk at first, and grows as it is needed.
    pub log_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            reserve_bytes: 16 << 20,
            cache_bytes: 64 << 20,
            log_bytes: 64 << 20,
        }
    }
}

/// Tunables of a shard's I/O (`[shards]` in the configuration).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Engine {
    /// Entries of the submission ring. The completion ring has four times as many.
    /// Default 4,096: 0.25 MiB + 0.25 MiB a shard.
    pub ring_entries: u32,
    /// Bytes of one receive buffer. Default 8 KiB.
    pub receive_buffer_bytes: u32,
    /// Receive buffers a shard owns, a power of two. Default 512: 4 MiB a shard at the
    /// default size, touched only as far as the load needs.
    pub receive_buffers: u16,
    /// How long a shard looks for work before it sleeps, in microseconds. Default 0.
    /// A shard that spins answers sooner and burns its CPU.
    pub spin_before_sleep_us: u32,
    /// Batches that fit into the ring from one shard to another. Default 64.
    pub ring_batches: u32,
    /// Bytes of messages under way from one shard to another. Default 8 MiB, about a tenth of
    /// a second of a busy shard's messages; worst case `shards² × ring_bytes`. Beyond it,
    /// QoS 0 messages are dropped and counted, and QoS 1 and 2 publishers wait.
    pub ring_bytes: u32,
    /// Completions handled in one turn before output is flushed. Default 1,024.
    pub turn_completions: u32,
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            ring_entries: 4096,
            receive_buffer_bytes: 8 << 10,
            receive_buffers: 512,
            spin_before_sleep_us: 0,
            ring_batches: 64,
            ring_bytes: 8 << 20,
            turn_completions: 1024,
        }
    }
}

/// Limits of the protocol (`[mqtt]` in the configuration, names as in EMQX where
/// EMQX has them).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Bytes of the largest packet taken, fixed header included. Default 1 MiB, at most
    /// 268,435,455 + 5.
    pub max_packet_size: u32,
    /// Bytes of the largest CONNECT taken, if `max_packet_size` is not lower. Default 64 KiB:
    /// what somebody unknown can make the broker hold, twice that in the worst case.
    pub max_connect_size: u32,
    /// Milliseconds from accept to a complete CONNECT. Default 10,000.
    pub connect_timeout_ms: u32,
    /// Bytes of the longest client identifier. Default 1,024.
    pub max_clientid_len: u16,
    /// Levels of the deepest topic and filter. Default 128 (EMQX).
    pub max_topic_levels: u16,
    /// Subscriptions of one session. Default 100,000.
    pub max_subscriptions: u32,
    /// QoS 1 and 2 messages sent to a client and not acknowledged yet; the client's
    /// Receive Maximum lowers it. Default 128.
    pub max_inflight: u16,
    /// Messages queued for a session. Default 1,000.
    pub max_mqueue_len: u32,
    /// Bytes queued for a session. Default 10 MiB.
    pub max_mqueue_bytes: u32,
    /// What is done with a QoS 1 or 2 message when the queue is full. Default
    /// `disconnect`. EMQX has no such key and drops the oldest.
    pub mqueue_full: QueueFull,
    /// Topics whose messages are queued before others. Default none: a queue is first in,
    /// first out.
    pub mqueue_priorities: Vec<TopicPriority>,
    /// The priority of topics that `mqueue_priorities` does not name. Default `lowest`.
    pub mqueue_default_priority: DefaultPriority,
    /// Whether QoS 0 messages are queued for a client that is away. Default true, as in
    /// EMQX. They are the first to go when the queue is full.
    pub mqueue_store_qos0: bool,
    /// Receive Maximum given to clients: QoS 1 and 2 messages they may send before they
    /// are acknowledged. Default 1,024.
    pub receive_maximum: u16,
    /// Longest Session Expiry Interval in seconds. Default 7,200 (EMQX). 3.x clients
    /// without clean session get this one.
    pub session_expiry_max_s: u32,
    /// The longest keep alive in seconds, told to 5.0 clients that ask for more or for
    /// none. Default 65,535.
    pub max_keep_alive_s: u16,
    /// Topic aliases a client may use. Default 32; about 100 bytes each when used.
    pub topic_alias_maximum: u16,
    /// Topic aliases that the broker uses towards a client that takes them. Default 32; 250
    /// bytes for a connection that needs them, and 50 and the topic (at most 1 KiB) for each.
    pub topic_alias_maximum_out: u16,
    /// Bytes of output that may wait for a client that reads slowly, beside as much that the
    /// kernel is to take next. Default 8 MiB. QoS 0 messages beyond it are dropped and
    /// counted.
    pub max_output_bytes: u32,
    /// Retained messages of the node. Default 1,000,000.
    pub max_retained_messages: u32,
    /// Bytes of retained messages of the node. Default 1 GiB.
    pub max_retained_bytes: u64,
    /// User properties in one packet. Default 1,000; EMQX and Mosquitto go by the size
    /// of the packet only.
    pub max_user_properties: u16,
    /// Highest QoS that clients may publish with and are granted. Default 2.
    pub max_qos_allowed: u8,
    /// Whether a message is delivered with the higher QoS of its own and the subscription's
    /// instead of the lower one, which [MQTT-3.8.4-8] asks for. Default false. What it raises
    /// from QoS 0 is queued, stored and acknowledged by the subscriber like any other, but is
    /// not more certain to get to the broker, and dropped where the disk has no room.
    pub upgrade_qos: bool,
    /// Whether clients may retain messages. Default true.
    pub retain_available: bool,
    /// Whether filters may have wildcards. Default true.
    pub wildcard_subscription: bool,
    /// Whether clients may share subscriptions. Default true.
    pub shared_subscription: bool,
    /// Keep alive in seconds that 5.0 clients are told to use; 0 leaves it to them. Default 0.
    pub server_keepalive_s: u16,
    /// Silence after which a client is closed, in percent of its keep alive. Default 150, what
    /// the specification says.
    pub keepalive_multiplier_percent: u16,
    /// Whether 3.x clients are spared their own messages, as 5.0 clients with No Local.
    /// Default false.
    pub ignore_loop_deliver: bool,
    /// QoS 2 messages of one session between PUBLISH and PUBREL; 2 bytes each. What comes then
    /// is refused (0x97), and a 3.x client, which cannot be told, is closed. A 5.0 client is
    /// bound by `receive_maximum` as well. Default 10,000.
    pub max_awaiting_rel: u16,
    /// Seconds after which a message without an expiry expires; 0 is never. Default 0.
    pub message_expiry_interval_s: u32,
    /// Whether payloads that are said to be UTF-8 are checked, and refused (0x99) if they are
    /// not. Default false: they are forwarded as they are.
    pub check_payload_format: bool,
    /// Response Information for 5.0 clients that ask for it; empty is none. Default empty.
    pub response_information: String,
    /// Server Reference for 5.0 clients that are connected when the broker stops: they get
    /// DISCONNECT 0x9C with it, else 0x8B. Default empty.
    pub server_reference: String,
    /// Sends whoever connects to another server: CONNACK 0x9C with this Server Reference, 3
    /// before 5.0. Default empty: nobody.
    pub redirect_to: String,
    /// Whether `redirect_to` is for good: 0x9D instead of 0x9C. Default false.
    pub redirect_permanently: bool,
    /// Messages that one client may publish in how long, as `1000/s`. Whoever is faster is
    /// not read for a while; nothing is dropped. About 200 bytes for each connection. Default
    /// `infinity`, which costs nothing.
    #[serde(with = "as_text")]
    pub messages_rate: Rate,
    /// Messages that may come on top of `messages_rate` in how long, as `10000/60m`. Default
    /// `0/s`: none.
    #[serde(with = "as_text")]
    pub messages_burst: Burst,
    /// Takeovers of one client identifier in how long; who comes then gets CONNACK 0x9F (3
    /// before 5.0), and who is connected stays. Two clients with one identifier that reconnect
    /// at once would otherwise take over from each other without end. Default `100/10s`.
    #[serde(with = "as_text")]
    pub takeover_rate: Rate,
    /// Bytes that one client may send in how long, as `10MB/10s`. Default `infinity`.
    #[serde(with = "as_text")]
    pub bytes_rate: Rate,
    /// Bytes that may come on top of `bytes_rate` in how long, as `100MB/60m`. Default `0/s`:
    /// none.
    #[serde(with = "as_text")]
    pub bytes_burst: Burst,
    /// Connections that the node accepts in how long, on all listeners together. Who comes
    /// then waits in the kernel. Default `infinity`, which costs nothing; else an accept
    /// operation for each connection.
    #[serde(with = "as_text")]
    pub max_conn_rate: Rate,
    /// Connections that may come on top of `max_conn_rate` in how long. Default `0/s`: none.
    #[serde(with = "as_text")]
    pub max_conn_burst: Burst,
    /// Which member of a group gets a message of a shared subscription. Default
    /// `round_robin`. `hash_clientid` costs a hash for each message published.
    pub shared_subscription_strategy: SharedStrategy,
    /// How a group with the strategy `sticky` finds the member to stay with. Default
    /// `random`.
    pub shared_subscription_initial_sticky_pick: SharedStrategy,
    /// Delayed publish (`[delayed]`).
    #[serde(skip)]
    pub delayed: Delayed,
    /// Strategies of single groups, by name (`broker.shared_subscription_group`). Default
    /// none.
    #[serde(skip)]
    pub shared_subscription_groups: BTreeMap<String, SharedStrategy>,
    /// Whether `$exclusive/filter` may be subscribed to, by one session at a time. Default
    /// true (EMQX: false). About 100 bytes for each such subscription.
    pub exclusive_subscription: bool,
}

/// Delayed publish: `$delayed/seconds/topic` (`[delayed]` in the configuration, names as in
/// EMQX).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delayed {
    /// Whether it is there; if not, these are topics like others. Default true.
    pub enable: bool,
    /// Messages of the node that wait. Default 100,000 (EMQX: no limit). Beyond it they are
    /// refused with 0x97, and the connections of 3.x clients closed.
    pub max_delayed_messages: u32,
    /// Bytes of these messages. Default 256 MiB.
    pub max_delayed_bytes: u64,
}

impl Default for Delayed {
    fn default() -> Self {
        Self {
            enable: true,
            max_delayed_messages: 100_000,
            max_delayed_bytes: 256 << 20,
        }
    }
}

/// The queue priority of a topic.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TopicPriority {
    /// A topic, without wildcards.
    pub topic: String,
    /// From 1 to 255; higher ones are sent first.
    pub priority: u8,
}

/// The queue priority of topics that have none.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultPriority {
    /// Below all that are given: 0.
    Lowest,
    /// As high as the highest that can be given: 255.
    Highest,
}

/// What is done with a QoS 1 or 2 message for a session whose queue is full.
///
/// In all cases expired messages make room first, then QoS 0 messages, the oldest first, and
/// what is dropped is counted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFull {
    /// The oldest message makes room: the client gets the last ones, with a gap before them
    /// that it is not told of.
    DropOldest,
    /// The message is dropped: the client gets the first ones, with a gap behind them that it
    /// is not told of.
    DropNewest,
    /// The message is dropped, and a client that is connected is disconnected with 0x97: it
    /// learns that it is too slow. What was queued before is kept as long as the session,
    /// and sent when the client comes back.
    Disconnect,
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            max_packet_size: 1 << 20,
            max_connect_size: 64 << 10,
            connect_timeout_ms: 10_000,
            max_clientid_len: 1024,
            max_topic_levels: 128,
            max_subscriptions: 100_000,
            max_inflight: 128,
            max_mqueue_len: 1000,
            max_mqueue_bytes: 10 << 20,
            mqueue_full: QueueFull::Disconnect,
            mqueue_priorities: Vec::new(),
            mqueue_default_priority: DefaultPriority::Lowest,
            mqueue_store_qos0: true,
            receive_maximum: 1024,
            session_expiry_max_s: 7200,
            max_keep_alive_s: 65_535,
            topic_alias_maximum: 32,
            topic_alias_maximum_out: 32,
            max_output_bytes: 8 << 20,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 1 << 30,
            max_user_properties: 1000,
            max_qos_allowed: 2,
            upgrade_qos: false,
            retain_available: true,
            wildcard_subscription: true,
            shared_subscription: true,
            server_keepalive_s: 0,
            keepalive_multiplier_percent: 150,
            ignore_loop_deliver: false,
            max_awaiting_rel: 10_000,
            message_expiry_interval_s: 0,
            check_payload_format: false,
            response_information: String::new(),
            server_reference: String::new(),
            redirect_to: String::new(),
            redirect_permanently: false,
            messages_rate: Rate::UNLIMITED,
            messages_burst: Burst::NONE,
            takeover_rate: "100/10s".parse().unwrap_or_default(),
            bytes_rate: Rate::UNLIMITED,
            bytes_burst: Burst::NONE,
            max_conn_rate: Rate::UNLIMITED,
            max_conn_burst: Burst::NONE,
            shared_subscription_strategy: SharedStrategy::RoundRobin,
            shared_subscription_initial_sticky_pick: SharedStrategy::Random,
            delayed: Delayed::default(),
            shared_subscription_groups: BTreeMap::new(),
            exclusive_subscription: true,
        }
    }
}

/// Which member of a group gets a message, by EMQX's names.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedStrategy {
    /// Any.
    Random,
    /// One after the other, for each group and filter.
    RoundRobin,
    /// One after the other, for all filters of a group together.
    RoundRobinPerGroup,
    /// The same until it cannot.
    Sticky,
    /// One on the publisher's shard if there is one.
    Local,
    /// By the publisher's client identifier.
    #[serde(rename = "hash_clientid")]
    HashClientId,
    /// By the topic.
    HashTopic,
}

impl SharedStrategy {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("random", Self::Random),
        ("round_robin", Self::RoundRobin),
        ("round_robin_per_group", Self::RoundRobinPerGroup),
        ("sticky", Self::Sticky),
        ("local", Self::Local),
        ("hash_clientid", Self::HashClientId),
        ("hash_topic", Self::HashTopic),
    ];

    /// The strategy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(other, _)| *other == name);
        found.map(|(_, strategy)| *strategy)
    }
}

impl From<SharedStrategy> for Strategy {
    fn from(strategy: SharedStrategy) -> Self {
        match strategy {
            SharedStrategy::Random => Self::Random,
            SharedStrategy::RoundRobin => Self::RoundRobin,
            SharedStrategy::RoundRobinPerGroup => Self::RoundRobinPerGroup,
            SharedStrategy::Sticky => Self::Sticky,
            SharedStrategy::Local => Self::Local,
            SharedStrategy::HashClientId => Self::HashClientId,
            SharedStrategy::HashTopic => Self::HashTopic,
        }
    }
}

impl Mqtt {
    /// The strategies of all share groups.
    pub(crate) fn share_strategies(&self) -> Strategies {
        let groups = self.shared_subscription_groups.iter();
        let groups = groups.map(|(name, strategy)| (name.clone(), (*strategy).into()));
        Strategies {
            default: self.shared_subscription_strategy.into(),
            initial_sticky_pick: self.shared_subscription_initial_sticky_pick.into(),
            groups: groups.collect(),
        }
    }

    /// Messages that one client may publish.
    pub(crate) const fn messages(&self) -> Allowance {
        Allowance {
            rate: self.messages_rate,
            burst: self.messages_burst,
        }
    }

    /// Bytes that one client may send.
    pub(crate) const fn bytes(&self) -> Allowance {
        Allowance {
            rate: self.bytes_rate,
            burst: self.bytes_burst,
        }
    }

    /// Connections that the node accepts.
    pub(crate) const fn connections(&self) -> Allowance {
        Allowance {
            rate: self.max_conn_rate,
            burst: self.max_conn_burst,
        }
    }

    /// The bounds of one session's queue.
    pub(crate) fn queue(&self) -> QueueLimits {
        QueueLimits {
            messages: self.max_mqueue_len as usize,
            bytes: self.max_mqueue_bytes as usize,
            when_full: match self.mqueue_full {
                QueueFull::DropOldest => WhenFull::DropOldest,
                QueueFull::DropNewest => WhenFull::DropNewest,
                QueueFull::Disconnect => WhenFull::Disconnect,
            },
        }
    }
}

/// `$SYS` topics (`[sys_topics]` in the configuration, names and defaults as in EMQX).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SysTopics {
    /// Seconds between two publications of the version, the numbers and the list of nodes.
    /// Default 60; 0 turns them off. About 80 small messages, made only while somebody
    /// subscribes to `$SYS/`.
    pub sys_msg_interval_s: u32,
    /// Seconds between two publications of uptime and time. Default 30; 0 turns them off.
    pub sys_heartbeat_interval_s: u32,
}

impl Default for SysTopics {
    fn default() -> Self {
        Self {
            sys_msg_interval_s: 60,
            sys_heartbeat_interval_s: 30,
        }
    }
}

/// Which `$SYS` topics say what clients do (`[sys_topics.sys_event_messages]` in the
/// configuration, names and defaults as in EMQX). Each costs a message, and only while
/// somebody subscribes to `$SYS/`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SysEventMessages {
    /// A client was let in. Default true.
    pub client_connected: bool,
    /// A client is not connected any more. Default true.
    pub client_disconnected: bool,
    /// A client has subscribed. Default false.
    pub client_subscribed: bool,
    /// A client has unsubscribed. Default false.
    pub client_unsubscribed: bool,
}

impl Default for SysEventMessages {
    fn default() -> Self {
        Self {
            client_connected: true,
            client_disconnected: true,
            client_subscribed: false,
            client_unsubscribed: false,
        }
    }
}

/// Which events clients can subscribe to, as `$events/client/connected` (`[events]` in the
/// configuration). All are on; one costs a message, and only while somebody subscribes to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// A client was let in. Default true.
    pub client_connected: bool,
    /// A client is not connected any more. Default true.
    pub client_disconnected: bool,
    /// A CONNECT was answered. Default true.
    pub client_connack: bool,
    /// A client has sent PINGREQ. Default true.
    pub client_ping: bool,
    /// A client has subscribed. Default true.
    pub session_subscribed: bool,
    /// A client has unsubscribed. Default true.
    pub session_unsubscribed: bool,
    /// A message was sent to a client. Default true.
    pub message_delivered: bool,
    /// A client has acknowledged a message. Default true.
    pub message_acked: bool,
    /// A message was refused, or nobody subscribes to it. Default true.
    pub message_dropped: bool,
    /// A message was not delivered to a subscriber. Default true.
    pub message_delivery_dropped: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            client_connected: true,
            client_disconnected: true,
            client_connack: true,
            client_ping: true,
            session_subscribed: true,
            session_unsubscribed: true,
            message_delivered: true,
            message_acked: true,
            message_dropped: true,
            message_delivery_dropped: true,
        }
    }
}

/// A rule of topic rewriting (`[[rewrite]]` in the configuration, as in EMQX). Costs a
/// look at every topic, and a regular expression where `source_topic` matches; one of at most
/// 1 MiB each.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RewriteRule {
    /// What it is for.
    pub action: RewriteAction,
    /// Topics and filters that it is for, as a filter.
    pub source_topic: String,
    /// A regular expression; the rule does nothing where it does not match.
    pub re: String,
    /// What the topic becomes, with `$1` to `$9`, `${clientid}` and `${username}` filled in.
    pub dest_topic: String,
}

/// What a rule of topic rewriting is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RewriteAction {
    /// SUBSCRIBE and UNSUBSCRIBE.
    Subscribe,
    /// PUBLISH and wills.
    Publish,
    /// Both.
    All,
}

/// What every client subscribes to when it connects (`[[auto_subscribe.topics]]` in the
/// configuration, as in EMQX). Costs a subscription for each client.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AutoSubscription {
    /// The filter, with `${clientid}`, `${username}`, `${host}` and `${port}` filled in.
    pub topic: String,
    /// Maximum QoS. Default 0.
    pub qos: u8,
    /// Retain Handling. Default 0: retained messages are sent each time.
    pub rh: u8,
    /// Retain As Published, 0 or 1. Default 0.
    pub rap: u8,
    /// No Local, 0 or 1. Default 0.
    pub nl: u8,
}

/// Rates and bursts as text.
mod as_text {
    use core::fmt::Display;
    use core::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(rate: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(rate)
    }

    pub(super) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("not a rate"))
    }
}
