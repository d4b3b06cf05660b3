//! Settings by key, each with its origin; later layers replace earlier ones.

use std::collections::BTreeMap;

use serde::Serialize;
use shards::settings::{Delayed, Engine, Events, Mqtt, Storage, SysEventMessages, SysTopics};

use super::keys;
use super::origin::{Origin, Problem};
use super::value::{Raw, Value};

/// What is used if nobody says anything, beside the defaults of [`shards::settings`].
const DEFAULTS: &[(&str, &str)] = &[
    ("node.name", "shardmq@127.0.0.1"),
    ("node.db_role", "core"),
    ("cluster.name", "shardmq"),
    ("cluster.partition_policy", "fence"),
    ("cluster.autoheal", "true"),
    ("cluster.suback", "local"),
    ("cluster.publish_ack", "owner"),
    ("cluster.discovery_strategy", "manual"),
    ("cluster.static.seeds", "[]"),
    ("cluster.core_nodes", "[]"),
    ("cluster.autoclean", "24h"),
    ("cluster.handover_timeout", "5s"),
    ("cluster.dns.name", "localhost"),
    ("cluster.dns.record_type", "a"),
    ("cluster.etcd.server", "[]"),
    ("cluster.etcd.prefix", "shardmq"),
    ("cluster.etcd.node_ttl", "1m"),
    (
        "cluster.k8s.apiserver",
        "https://kubernetes.default.svc:443",
    ),
    ("cluster.k8s.service_name", "shardmq"),
    ("cluster.k8s.address_type", "ip"),
    (
        "cluster.k8s.service_account",
        "/var/run/secrets/kubernetes.io/serviceaccount",
    ),
    ("data_dir", "data"),
    ("rewrite", "[]"),
    ("auto_subscribe.topics", "[]"),
    ("durability", "synced"),
    ("log.level", "info"),
    ("listeners.tcp.default.bind", "127.0.0.1:1883"),
];

/// What a listener has if nobody says anything. Its address must be said.
pub(super) const LISTENER_DEFAULTS: &[(&str, &str)] = &[
    ("enabled", "true"),
    ("max_connections", "0"),
    ("backlog", "4096"),
    ("max_conn_rate", "infinity"),
    ("max_conn_burst", "0/s"),
    ("messages_rate", "infinity"),
    ("messages_burst", "0/s"),
    ("bytes_rate", "infinity"),
    ("bytes_burst", "0/s"),
];

/// A value and where it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    /// The value.
    pub(crate) value: Value,
    /// The layer that won.
    pub(crate) origin: Origin,
}

/// All settings by dotted path, and what was wrong on the way.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    entries: BTreeMap<String, Entry>,
    problems: Vec<Problem>,
}

impl Entries {
    /// The lowest layer.
    pub(crate) fn defaults() -> Self {
        let mut entries = Self::default();
        for (path, text) in DEFAULTS {
            entries.put_bare(path, text, Origin::Default);
        }
        entries.put_fields("storage", &Storage::default());
        entries.put_fields("mqtt", &Mqtt::default());
        entries.put_fields("shards", &Engine::default());
        entries.put_fields("delayed", &Delayed::default());
        entries.put_fields("sys_topics", &SysTopics::default());
        let section = "sys_topics.sys_event_messages";
        entries.put_fields(section, &SysEventMessages::default());
        entries.put_fields("events", &Events::default());
        entries
    }

    /// The defaults that the data plane has for its own settings.
    fn put_fields(&mut self, section: &str, settings: &impl Serialize) {
        for (name, value) in toml::Table::try_from(settings).unwrap_or_default() {
            self.put_bare(
                &format!("{section}.{name}"),
                &value.to_string(),
                Origin::Default,
            );
        }
    }

    /// Fills in what the listeners that were named do not say.
    pub(crate) fn complete_listeners(&mut self) {
        for name in self.listeners() {
            for (field, text) in LISTENER_DEFAULTS {
                let path = format!("listeners.tcp.{name}.{field}");
                if self.get(&path).is_none() {
                    self.put_bare(&path, text, Origin::Default);
                }
            }
        }
    }

    /// Takes a value as a TOML document has it.
    pub(crate) fn put(&mut self, path: &str, raw: &Raw, origin: Origin) {
        self.put_read(path, origin, |key| key.kind.read(raw));
    }

    /// Takes a value as the environment or the command line has it.
    pub(crate) fn put_bare(&mut self, path: &str, text: &str, origin: Origin) {
        self.put_read(path, origin, |key| key.kind.read_bare(text));
    }

    /// Takes a value, or a problem if there is no such key or it does not take this.
    fn put_read(
        &mut self,
        path: &str,
        origin: Origin,
        read: impl FnOnce(&keys::Key) -> Result<Value, String>,
    ) {
        if keys::is_section(path) {
            return self.complain(origin, format!("{path} is a section, not a key"));
        }
        let Some(key) = keys::find(path) else {
            return self.complain(origin, keys::unknown(path));
        };
        if let Some(name) = keys::listener_of(path).filter(|name| !keys::is_listener_name(name)) {
            return self.complain(origin, bad_listener_name(name));
        }
        match read(key) {
            Ok(value) => drop(
                self.entries
                    .insert(path.to_owned(), Entry { value, origin }),
            ),
            Err(reason) => self.complain(origin, format!("{path} = {reason}")),
        }
    }

    /// Remembers something that is wrong.
    pub(crate) fn complain(&mut self, at: Origin, text: impl Into<String>) {
        self.problems.push(Problem::new(at, text));
    }

    /// What was wrong so far.
    pub(crate) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// The entry of a key.
    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The place to blame for a key's value.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        self.get(path)
            .map_or(Origin::Default, |entry| entry.origin.clone())
    }

    /// The names of the listeners, in alphabetical order.
    pub(crate) fn listeners(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .entries
            .keys()
            .filter_map(|path| keys::listener_of(path))
            .map(str::to_owned)
            .collect();
        names.dedup();
        names
    }

    /// The names of the share groups with a strategy of their own, in alphabetical order.
    pub(crate) fn share_groups(&self) -> Vec<String> {
        let paths = self.entries.keys();
        let names = paths.filter_map(|path| keys::share_group_of(path));
        names.map(str::to_owned).collect()
    }

    /// Every entry in the order of the key table, listeners one after the other.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = (String, Option<&Entry>)> {
        let of_listeners = |pattern: &&str| keys::listener_of(pattern).is_some();
        let rows = || keys::all().map(|key| key.path);
        let mut paths: Vec<String> = Vec::new();
        for path in rows() {
            if keys::share_group_of(path).is_some() {
                let groups = self.share_groups().into_iter();
                paths.extend(groups.map(|name| path.replace('*', &name)));
            } else if !of_listeners(&path) {
                paths.push(path.to_owned());
            } else if rows().find(of_listeners) == Some(path) {
                for name in self.listeners() {
                    let own = rows().filter(of_listeners);
                    paths.extend(own.map(|path| path.replace('*', &name)));
                }
            }
        }
        paths.into_iter().map(|path| {
            let entry = self.get(&path);
            (path, entry)
        })
    }
}

/// What to say about a listener that cannot be called so.
pub(crate) fn bad_listener_name(name: &str) -> String {
    format!(
        "a listener cannot be called {name:?}; allowed: 1 to 64 lower-case letters, digits, - and _"
    )
}
