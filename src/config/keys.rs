//! Every key of the configuration: what it takes and what it is for.
//!
//! The defaults of `[mqtt]` and of the engine's part of `[shards]` are those of
//! [`shards::settings`]; a test holds this table to the fields there.

use super::cluster_keys::CLUSTER_KEYS;
use super::cpu_list::CPU_MAX;
use super::nearest;
use super::value::{Column, Kind};

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// The dotted path; `*` stands for the name of a listener or of a share group.
    pub(crate) path: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it is for, in one line. Units are in the name or here.
    pub(crate) about: &'static str,
}

/// A row of the table.
pub(super) const fn key(path: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { path, kind, about }
}

/// The largest value of a 16-bit field.
const MAX_16: u64 = u16::MAX as u64;
/// The largest value of a 32-bit field.
const MAX_32: u64 = u32::MAX as u64;
/// The largest number that TOML can hold.
const MAX_TOML: u64 = i64::MAX as u64;
/// The largest packet of MQTT: remaining length 268,435,455, four bytes of length, one of
/// type.
const MAX_PACKET: u64 = 268_435_460;

/// What a strategy of shared subscriptions can be.
const STRATEGIES: &[&str] = &[
    "random",
    "round_robin",
    "round_robin_per_group",
    "sticky",
    "local",
    "hash_clientid",
    "hash_topic",
];
/// How the member of a sticky group can be found.
const INITIAL_PICKS: &[&str] = &[
    "random",
    "round_robin",
    "round_robin_per_group",
    "local",
    "hash_clientid",
    "hash_topic",
];

/// Bytes of the shortest cookie: whoever listens where a node connects to can try to guess it.
const COOKIE_MIN: usize = 16;

/// The fields of a topic's queue priority.
const PRIORITIES: &[Column] = &[
    Column {
        name: "topic",
        kind: Kind::Words,
        default: None,
    },
    Column {
        name: "priority",
        kind: Kind::Integer(1, 255),
        default: None,
    },
];

/// The fields of a rule of topic rewriting.
const REWRITE: &[Column] = &[
    Column {
        name: "action",
        kind: Kind::Word(&["subscribe", "publish", "all"]),
        default: None,
    },
    Column {
        name: "source_topic",
        kind: Kind::Words,
        default: None,
    },
    Column {
        name: "re",
        kind: Kind::Words,
        default: None,
    },
    Column {
        name: "dest_topic",
        kind: Kind::Words,
        default: None,
    },
];

/// A field of an automatic subscription that is 0 if nobody says anything.
const fn small(name: &'static str, max: u64) -> Column {
    Column {
        name,
        kind: Kind::Integer(0, max),
        default: Some(0),
    }
}

/// The fields of an automatic subscription.
const AUTO_SUBSCRIBE: &[Column] = &[
    Column {
        name: "topic",
        kind: Kind::Words,
        default: None,
    },
    small("qos", 2),
    small("rh", 2),
    small("rap", 1),
    small("nl", 1),
];

/// All keys but those of the cluster.
const KEYS: &[Key] = &[
    key("node.name", Kind::NodeName, "name of this node, name@host"),
    key(
        "node.cookie",
        Kind::Secret(COOKIE_MIN),
        "secret that all nodes of the cluster share; there is none by default",
    ),
    key(
        "node.db_role",
        Kind::Word(&["core", "replicant"]),
        "core: votes on who is in the cluster; replicant: serves clients, may come and go",
    ),
    key(
        "data_dir",
        Kind::Folder,
        "folder for everything that is kept",
    ),
    key(
        "durability",
        Kind::Durability,
        "when what sessions keep counts as stored, and is acknowledged",
    ),
    key(
        "allow_anonymous",
        Kind::Boolean,
        "let in clients without an identity; if not set: only through loopback",
    ),
    key(
        "rewrite",
        Kind::Tables(REWRITE),
        "topic rewriting, in order; the last rule that matches decides",
    ),
    key(
        "log.level",
        Kind::Level,
        "least important messages that are logged",
    ),
    key(
        "dashboard.listeners.http.bind",
        Kind::Bind,
        "TCP address of the HTTP API, on loopback; by default, and with 0, there is none",
    ),
    key(
        "listeners.tcp.*.enabled",
        Kind::Boolean,
        "whether this listener is opened",
    ),
    key(
        "listeners.tcp.*.bind",
        Kind::Bind,
        "address and port; a port alone follows allow_anonymous",
    ),
    key(
        "listeners.tcp.*.max_connections",
        Kind::Integer(0, MAX_32),
        "connections at most; 0: as many as there are file descriptors",
    ),
    key(
        "listeners.tcp.*.max_conn_rate",
        Kind::Rate,
        "connections accepted in how long; others wait",
    ),
    key(
        "listeners.tcp.*.max_conn_burst",
        Kind::Burst,
        "connections on top of max_conn_rate in how long",
    ),
    key(
        "listeners.tcp.*.messages_rate",
        Kind::Rate,
        "messages that each client of it may publish in how long",
    ),
    key(
        "listeners.tcp.*.messages_burst",
        Kind::Burst,
        "messages on top of messages_rate in how long",
    ),
    key(
        "listeners.tcp.*.bytes_rate",
        Kind::Rate,
        "bytes that each client of it may send in how long",
    ),
    key(
        "listeners.tcp.*.bytes_burst",
        Kind::Burst,
        "bytes on top of bytes_rate in how long",
    ),
    key(
        "listeners.tcp.*.backlog",
        Kind::Integer(1, MAX_16),
        "connections that wait in the kernel to be accepted, per shard",
    ),
    key(
        "storage.reserve_bytes",
        Kind::Integer(1 << 20, MAX_TOML),
        "free bytes of the disk below which no new messages are stored; at most 5 % of it",
    ),
    key(
        "storage.cache_bytes",
        Kind::Integer(1 << 20, MAX_TOML),
        "bytes of memory for parts of the database",
    ),
    key(
        "storage.log_bytes",
        Kind::Integer(0, MAX_TOML),
        "bytes of the log before the database, on the disk and in memory; at most 5 % of it",
    ),
    key(
        "shards.cpus",
        Kind::Cpus,
        "CPUs to pin shards to, one each; default: all but control_cpus",
    ),
    key(
        "shards.count",
        Kind::Integer(1, CPU_MAX as u64 + 1),
        "number of shards; default: one per CPU",
    ),
    key(
        "shards.control_cpus",
        Kind::CpusOrNone,
        "CPUs kept free of shards; default: none below 4 CPUs, else the last",
    ),
    key(
        "shards.ring_entries",
        Kind::Integer(64, 16_384),
        "entries of a shard's submission ring",
    ),
    key(
        "shards.receive_buffer_bytes",
        Kind::Integer(512, 1 << 20),
        "bytes of one receive buffer",
    ),
    key(
        "shards.receive_buffers",
        Kind::PowerOfTwo(16, 32_768),
        "receive buffers of a shard",
    ),
    key(
        "shards.spin_before_sleep_us",
        Kind::Integer(0, 1_000_000),
        "microseconds a shard looks for work before it sleeps",
    ),
    key(
        "shards.ring_batches",
        Kind::Integer(2, 65_536),
        "batches in the ring between two shards",
    ),
    key(
        "shards.ring_bytes",
        Kind::Integer(65_536, 1 << 30),
        "bytes of messages under way from one shard to another",
    ),
    key(
        "shards.turn_completions",
        Kind::Integer(1, 65_536),
        "completions handled before output is written",
    ),
    key(
        "mqtt.max_packet_size",
        Kind::Integer(128, MAX_PACKET),
        "bytes of the largest packet",
    ),
    key(
        "mqtt.max_connect_size",
        Kind::Integer(128, MAX_PACKET),
        "bytes of the largest CONNECT",
    ),
    key(
        "mqtt.connect_timeout_ms",
        Kind::Integer(100, 3_600_000),
        "milliseconds from accept to a complete CONNECT",
    ),
    key(
        "mqtt.max_clientid_len",
        Kind::Integer(23, MAX_16),
        "bytes of the longest client identifier",
    ),
    key(
        "mqtt.max_topic_levels",
        Kind::Integer(1, MAX_16),
        "levels of the deepest topic or filter",
    ),
    key(
        "mqtt.max_subscriptions",
        Kind::Integer(1, MAX_32),
        "subscriptions of one session",
    ),
    key(
        "mqtt.max_inflight",
        Kind::Integer(1, MAX_16),
        "QoS 1 and 2 messages sent to a client before it acknowledges",
    ),
    key(
        "mqtt.max_mqueue_len",
        Kind::Integer(0, MAX_32),
        "messages queued for a session",
    ),
    key(
        "mqtt.max_mqueue_bytes",
        Kind::Integer(0, MAX_32),
        "bytes queued for a session",
    ),
    key(
        "mqtt.mqueue_full",
        Kind::Word(&["drop_oldest", "drop_newest", "disconnect"]),
        "what is done with a QoS 1 or 2 message when the queue is full",
    ),
    key(
        "mqtt.mqueue_priorities",
        Kind::Tables(PRIORITIES),
        "topics whose messages are queued before others, higher priorities first",
    ),
    key(
        "mqtt.mqueue_default_priority",
        Kind::Word(&["lowest", "highest"]),
        "priority of topics that mqueue_priorities does not name",
    ),
    key(
        "mqtt.mqueue_store_qos0",
        Kind::Boolean,
        "queue QoS 0 messages for clients that are away",
    ),
    key(
        "mqtt.receive_maximum",
        Kind::Integer(1, MAX_16),
        "QoS 1 and 2 messages a client may send before they are acknowledged",
    ),
    key(
        "mqtt.session_expiry_max_s",
        Kind::Integer(0, MAX_32),
        "longest session expiry in seconds; that of 3.x sessions that are kept",
    ),
    key(
        "mqtt.max_keep_alive_s",
        Kind::Integer(1, MAX_16),
        "longest keep alive in seconds",
    ),
    key(
        "mqtt.topic_alias_maximum",
        Kind::Integer(0, MAX_16),
        "topic aliases a client may use",
    ),
    key(
        "mqtt.topic_alias_maximum_out",
        Kind::Integer(0, 1024),
        "topic aliases used towards a client that takes them",
    ),
    key(
        "mqtt.max_output_bytes",
        Kind::Integer(1024, MAX_32),
        "bytes that wait for a client that reads slowly",
    ),
    key(
        "mqtt.max_retained_messages",
        Kind::Integer(0, MAX_32),
        "retained messages of the node",
    ),
    key(
        "mqtt.max_retained_bytes",
        Kind::Integer(0, MAX_TOML),
        "bytes of retained messages",
    ),
    key(
        "mqtt.max_user_properties",
        Kind::Integer(0, MAX_16),
        "user properties in one packet",
    ),
    key(
        "mqtt.max_qos_allowed",
        Kind::Integer(0, 2),
        "highest QoS that clients may publish with and are granted",
    ),
    key(
        "mqtt.upgrade_qos",
        Kind::Boolean,
        "whether the higher QoS of message and subscription counts, not the lower",
    ),
    key(
        "mqtt.retain_available",
        Kind::Boolean,
        "whether clients may retain messages",
    ),
    key(
        "mqtt.wildcard_subscription",
        Kind::Boolean,
        "whether filters may have wildcards",
    ),
    key(
        "mqtt.shared_subscription",
        Kind::Boolean,
        "whether clients may share subscriptions",
    ),
    key(
        "mqtt.server_keepalive_s",
        Kind::Integer(0, MAX_16),
        "keep alive in seconds that 5.0 clients are told to use; 0: their own",
    ),
    key(
        "mqtt.keepalive_multiplier_percent",
        Kind::Integer(100, 1000),
        "silence that ends a connection, in percent of the keep alive",
    ),
    key(
        "mqtt.ignore_loop_deliver",
        Kind::Boolean,
        "whether 3.x clients are spared their own messages",
    ),
    key(
        "mqtt.max_awaiting_rel",
        Kind::Integer(1, MAX_16),
        "QoS 2 messages of a session between PUBLISH and PUBREL",
    ),
    key(
        "mqtt.message_expiry_interval_s",
        Kind::Integer(0, MAX_32),
        "seconds after which messages expire that do not say when; 0: never",
    ),
    key(
        "mqtt.check_payload_format",
        Kind::Boolean,
        "whether payloads said to be UTF-8 are checked",
    ),
    key(
        "mqtt.response_information",
        Kind::Text(1024),
        "Response Information for 5.0 clients that ask for it",
    ),
    key(
        "mqtt.server_reference",
        Kind::Text(1024),
        "Server Reference for 5.0 clients when the broker stops",
    ),
    key(
        "mqtt.redirect_to",
        Kind::Text(1024),
        "Server Reference for everybody who connects: go there instead",
    ),
    key(
        "mqtt.redirect_permanently",
        Kind::Boolean,
        "whether redirect_to is for good",
    ),
    key(
        "mqtt.messages_rate",
        Kind::Rate,
        "messages that one client may publish in how long",
    ),
    key(
        "mqtt.messages_burst",
        Kind::Burst,
        "messages on top of messages_rate in how long",
    ),
    key(
        "mqtt.takeover_rate",
        Kind::Rate,
        "takeovers of one client identifier in how long",
    ),
    key(
        "mqtt.bytes_rate",
        Kind::Rate,
        "bytes that one client may send in how long",
    ),
    key(
        "mqtt.bytes_burst",
        Kind::Burst,
        "bytes on top of bytes_rate in how long",
    ),
    key(
        "mqtt.max_conn_rate",
        Kind::Rate,
        "connections that the node accepts in how long; others wait",
    ),
    key(
        "mqtt.max_conn_burst",
        Kind::Burst,
        "connections on top of max_conn_rate in how long",
    ),
    key(
        "mqtt.shared_subscription_strategy",
        Kind::Word(STRATEGIES),
        "which member of a group gets a message",
    ),
    key(
        "mqtt.shared_subscription_initial_sticky_pick",
        Kind::Word(INITIAL_PICKS),
        "how a sticky group finds the member to stay with",
    ),
    key(
        "mqtt.exclusive_subscription",
        Kind::Boolean,
        "whether $exclusive/filter may be subscribed to, by one session at a time",
    ),
    key(
        "broker.shared_subscription_group.*.strategy",
        Kind::Word(STRATEGIES),
        "which member of this group gets a message",
    ),
    key(
        "auto_subscribe.topics",
        Kind::Tables(AUTO_SUBSCRIBE),
        "what clients subscribe to without asking, when they connect; 20 at most",
    ),
    key(
        "delayed.enable",
        Kind::Boolean,
        "delayed publish: $delayed/seconds/topic",
    ),
    key(
        "delayed.max_delayed_messages",
        Kind::Integer(0, MAX_32),
        "messages of the node that wait to be published",
    ),
    key(
        "delayed.max_delayed_bytes",
        Kind::Integer(0, MAX_TOML),
        "bytes of messages that wait to be published",
    ),
    key(
        "sys_topics.sys_msg_interval_s",
        Kind::Integer(0, MAX_32),
        "seconds between $SYS messages with version and numbers; 0: none",
    ),
    key(
        "sys_topics.sys_heartbeat_interval_s",
        Kind::Integer(0, MAX_32),
        "seconds between $SYS messages with uptime and time; 0: none",
    ),
    key(
        "sys_topics.sys_event_messages.client_connected",
        Kind::Boolean,
        "whether $SYS says that a client was let in",
    ),
    key(
        "sys_topics.sys_event_messages.client_disconnected",
        Kind::Boolean,
        "whether $SYS says that a client is gone",
    ),
    key(
        "sys_topics.sys_event_messages.client_subscribed",
        Kind::Boolean,
        "whether $SYS says that a client has subscribed",
    ),
    key(
        "sys_topics.sys_event_messages.client_unsubscribed",
        Kind::Boolean,
        "whether $SYS says that a client has unsubscribed",
    ),
    key(
        "events.client_connected",
        Kind::Boolean,
        "whether there is $events/client/connected",
    ),
    key(
        "events.client_disconnected",
        Kind::Boolean,
        "whether there is $events/client/disconnected",
    ),
    key(
        "events.client_connack",
        Kind::Boolean,
        "whether there is $events/client/connack",
    ),
    key(
        "events.client_ping",
        Kind::Boolean,
        "whether there is $events/client/ping",
    ),
    key(
        "events.session_subscribed",
        Kind::Boolean,
        "whether there is $events/session/subscribed",
    ),
    key(
        "events.session_unsubscribed",
        Kind::Boolean,
        "whether there is $events/session/unsubscribed",
    ),
    key(
        "events.message_delivered",
        Kind::Boolean,
        "whether there is $events/message/delivered",
    ),
    key(
        "events.message_acked",
        Kind::Boolean,
        "whether there is $events/message/acked",
    ),
    key(
        "events.message_dropped",
        Kind::Boolean,
        "whether there is $events/message/dropped",
    ),
    key(
        "events.message_delivery_dropped",
        Kind::Boolean,
        "whether there is $events/message/delivery_dropped",
    ),
];

/// What keys begin with.
const SECTIONS: [&str; 26] = [
    "node",
    "cluster",
    "cluster.ssl_options",
    "cluster.static",
    "cluster.dns",
    "cluster.etcd",
    "cluster.etcd.ssl_options",
    "cluster.k8s",
    "log",
    "dashboard",
    "dashboard.listeners",
    "dashboard.listeners.http",
    "listeners",
    "listeners.tcp",
    "listeners.tcp.*",
    "storage",
    "shards",
    "mqtt",
    "delayed",
    "sys_topics",
    "sys_topics.sys_event_messages",
    "events",
    "auto_subscribe",
    "broker",
    "broker.shared_subscription_group",
    "broker.shared_subscription_group.*",
];

/// All keys, in the order in which `shardmq check` prints them.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().chain(CLUSTER_KEYS)
}

/// The key that a path means. A listener's name stands where the table has `*`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    all().find(|key| matches(key.path, path))
}

/// Whether a path is that of a row.
fn matches(pattern: &str, path: &str) -> bool {
    let mut names = path.split('.');
    let same = pattern.split('.').all(|expected| match names.next() {
        Some(name) => expected == "*" || expected == name,
        None => false,
    });
    same && names.next().is_none()
}

/// Whether keys begin with this path, so that it must be a table.
pub(crate) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|section| matches(section, path))
}

/// The listener that a path belongs to.
pub(crate) fn listener_of(path: &str) -> Option<&str> {
    path.strip_prefix("listeners.tcp.")?.split('.').next()
}

/// The share group that a path belongs to.
pub(crate) fn share_group_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("broker.shared_subscription_group.")?;
    rest.split('.').next().filter(|name| !name.is_empty())
}

/// Whether a listener can be called this. Environment variables have no case, so names
/// have none either.
pub(crate) fn is_listener_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// What to say about a key that does not exist: the nearest one, and where to find all.
pub(crate) fn unknown(path: &str) -> String {
    let name = listener_of(path)
        .filter(|name| is_listener_name(name))
        .unwrap_or("default");
    let group = share_group_of(path).unwrap_or("group");
    let named = |path: &&str| match path.starts_with("broker.") {
        true => path.replace('*', group),
        false => path.replace('*', name),
    };
    let keys: Vec<String> = all().map(|key| named(&key.path)).collect();
    let sections: Vec<String> = SECTIONS.iter().map(named).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let sections: Vec<&str> = sections.iter().map(String::as_str).collect();
    let meant = nearest::meant(path, &keys).or_else(|| nearest::meant(path, &sections));
    match (meant, nearest::nearest(path, &keys)) {
        (Some(meant), _) => format!("unknown key {path}; did you mean {meant}?"),
        (None, Some(key)) => {
            format!("unknown key {path}; the nearest is {key} (`shardmq keys` lists all)")
        }
        (None, None) => format!("unknown key {path}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use shards::settings::{Delayed, Engine, Events, Mqtt, Storage, SysEventMessages, SysTopics};

    use super::*;

    /// The fields of a settings struct with their defaults.
    fn fields(settings: impl Serialize) -> toml::Table {
        toml::Table::try_from(settings).unwrap()
    }

    fn assert_rows(section: &str, settings: impl Serialize) {
        for (name, default) in fields(settings) {
            let path = format!("{section}.{name}");
            let key = find(&path).unwrap_or_else(|| panic!("{path} is no key"));
            assert!(
                key.kind.read_bare(&default.to_string()).is_ok(),
                "default of {path}"
            );
        }
    }

    #[test]
    fn every_setting_of_the_data_plane_is_a_key_and_its_default_is_allowed() {
        assert_rows("storage", Storage::default());
        assert_rows("mqtt", Mqtt::default());
        assert_rows("delayed", Delayed::default());
        assert_rows("shards", Engine::default());
        assert_rows("sys_topics", SysTopics::default());
        let section = "sys_topics.sys_event_messages";
        assert_rows(section, SysEventMessages::default());
        assert_rows("events", Events::default());
    }

    #[test]
    fn every_key_of_the_data_plane_is_one_of_its_settings_and_its_limits_fit() {
        let (mqtt, engine) = (fields(Mqtt::default()), fields(Engine::default()));
        for key in all() {
            let (Kind::Integer(min, max) | Kind::PowerOfTwo(min, max)) = key.kind else {
                continue;
            };
            let (section, name) = key.path.split_once('.').unwrap();
            for number in [min, max] {
                let number = toml::Value::Integer(i64::try_from(number).unwrap());
                let row = toml::Table::from_iter([(name.to_owned(), number)]);
                match section {
                    "mqtt" => {
                        assert!(mqtt.contains_key(name), "{}", key.path);
                        assert!(row.try_into::<Mqtt>().is_ok(), "{}", key.path);
                    }
                    "shards" if name != "count" => {
                        assert!(engine.contains_key(name), "{}", key.path);
                        assert!(row.try_into::<Engine>().is_ok(), "{}", key.path);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn the_sections_are_what_keys_begin_with() {
        for key in all() {
            if let Some((section, _)) = key.path.rsplit_once('.') {
                assert!(SECTIONS.contains(&section), "{}", key.path);
            }
        }
    }

    #[test]
    fn a_listener_may_have_any_plain_name() {
        assert!(find("listeners.tcp.inside-1.bind").is_some());
        assert!(find("listeners.tcp.bind").is_none());
        assert!(is_section("listeners.tcp.inside-1"));
        assert!(!is_section("data_dir"));
        assert!(is_listener_name("inside-1"));
        assert!(!is_listener_name("Inside"));
        assert!(!is_listener_name(""));
    }

    #[test]
    fn an_unknown_key_of_a_share_group_is_answered_with_that_group() {
        assert_eq!(
            unknown("broker.shared_subscription_group.workers.strategi"),
            "unknown key broker.shared_subscription_group.workers.strategi; did you mean \
             broker.shared_subscription_group.workers.strategy?"
        );
        assert!(find("broker.shared_subscription_group.$queue.strategy").is_some());
    }

    #[test]
    fn the_strategies_are_those_of_the_data_plane() {
        use shards::settings::SharedStrategy;
        let names = SharedStrategy::ALL.map(|(name, _)| name);
        assert_eq!(names, STRATEGIES);
        let sticky = |name: &&str| *name != "sticky";
        assert!(
            names
                .into_iter()
                .filter(sticky)
                .eq(INITIAL_PICKS.iter().copied())
        );
    }

    #[test]
    fn an_unknown_key_of_a_listener_is_answered_with_that_listener() {
        assert_eq!(
            unknown("listeners.tcp.inside.bnd"),
            "unknown key listeners.tcp.inside.bnd; did you mean listeners.tcp.inside.bind?"
        );
    }
}
