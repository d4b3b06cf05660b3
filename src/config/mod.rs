//! The configuration: from a file, the environment and the command line to one checked
//! value.
//!
//! | module | what it holds |
//! |---|---|
//! | [`keys`], [`cluster_keys`] | the tables of all keys |
//! | [`value`], [`bind`], [`cpu_list`], [`durability`], [`duration`] | what a key takes |
//! | [`file`], [`environment`] | the layers that are not the command line |
//! | [`entries`], [`origin`] | values by key, where they came from, what is wrong |
//! | [`rules`] | what holds between keys |
//! | [`cluster`], [`discovery`] | the keys about other nodes |
//! | [`print`] | the effective configuration as TOML |

pub(crate) mod bind;
pub(crate) mod cluster;
mod cluster_keys;
pub(crate) mod cpu_list;
mod discovery;
pub(crate) mod durability;
pub(crate) mod duration;
mod entries;
mod environment;
mod file;
pub(crate) mod keys;
mod nearest;
pub(crate) mod origin;
pub(crate) mod print;
mod rules;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use log::LevelFilter;
use shards::settings::{
    Allowance, AutoSubscription, Delayed, Engine, Events, Listener, Mqtt, RewriteRule,
    SharedStrategy, Storage, SysEventMessages, SysTopics,
};

use bind::Bind;
use cluster::Cluster;
use cpu_list::CpuList;
use durability::Durability;
use entries::Entries;
use origin::{Origin, Problem};
use value::Value;

/// Automatic subscriptions, as many as in EMQX.
const AUTO_SUBSCRIBE_MAX: usize = 20;

/// The file that is read if it is there and none was named.
const FILE: &str = "shardmq.toml";

/// Everything that a configuration is made from, lowest precedence first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// The environment of the process.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// `--set`, as key and value.
    pub(crate) set: Vec<(String, String)>,
    /// Flags with a key of their own: flag, key, value.
    pub(crate) flags: Vec<(&'static str, &'static str, String)>,
}

/// A configuration whose values are all allowed and agree with each other. Whether this
/// machine can do what it asks is another question.
#[derive(Debug)]
pub(crate) struct Config {
    /// `node.name`.
    pub(crate) node_name: String,
    /// `cluster.name`.
    pub(crate) cluster_name: String,
    /// Other nodes; nothing if this one is alone.
    pub(crate) cluster: Option<Cluster>,
    /// `data_dir`.
    pub(crate) data_dir: PathBuf,
    /// `durability`.
    pub(crate) durability: Durability,
    /// `[storage]`.
    pub(crate) storage: Storage,
    /// `allow_anonymous`; nothing means: through loopback only.
    pub(crate) allow_anonymous: Option<bool>,
    /// `dashboard.listeners.http.bind`; nothing if there is no such port.
    pub(crate) http: Option<SocketAddr>,
    /// `log.level`.
    pub(crate) log_level: LevelFilter,
    /// The listeners that are enabled, by name.
    pub(crate) listeners: Vec<Listener>,
    /// `shards.cpus`, if given.
    pub(crate) cpus: Option<CpuList>,
    /// `shards.count`, if given.
    pub(crate) shard_count: Option<usize>,
    /// `shards.control_cpus`, if given.
    pub(crate) control_cpus: Option<CpuList>,
    /// The rest of `[shards]`.
    pub(crate) engine: Engine,
    /// `[mqtt]`.
    pub(crate) mqtt: Mqtt,
    /// `[sys_topics]`.
    pub(crate) sys_topics: SysTopics,
    /// `[sys_topics.sys_event_messages]`.
    pub(crate) sys_event_messages: SysEventMessages,
    /// `[events]`.
    pub(crate) events: Events,
    /// `[[rewrite]]`.
    pub(crate) rewrite: Vec<RewriteRule>,
    /// `[[auto_subscribe.topics]]`.
    pub(crate) auto_subscribe: Vec<AutoSubscription>,
    /// Every value with its origin.
    entries: Entries,
}

impl Config {
    /// Puts the layers together. The error has everything that is wrong, not only the
    /// first thing.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Vec<Problem>> {
        let mut entries = Entries::defaults();
        if let Some(path) = file_of(sources) {
            file::read(&path, &mut entries);
        }
        environment::read(&sources.environment, &mut entries);
        for (key, value) in &sources.set {
            entries.put_bare(key, value, Origin::Set);
        }
        for (flag, key, value) in &sources.flags {
            entries.put_bare(key, value, Origin::Flag(flag));
        }
        entries.complete_listeners();
        let problems = entries.take_problems();
        if problems.is_empty() {
            Self::build(entries)
        } else {
            Err(problems)
        }
    }

    /// Turns entries into their types and holds them against the rules between keys.
    fn build(entries: Entries) -> Result<Self, Vec<Problem>> {
        let problems = rules::check(&entries);
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut reader = Reader {
            entries: &entries,
            problems: Vec::new(),
        };
        let mut config = Self {
            node_name: reader.text("node.name"),
            cluster_name: reader.text("cluster.name"),
            cluster: cluster::read(&entries),
            data_dir: reader.text("data_dir").into(),
            durability: reader.durability("durability"),
            storage: reader.section("storage", Storage::default()),
            allow_anonymous: reader.boolean("allow_anonymous"),
            http: reader.http(),
            log_level: reader.level("log.level"),
            listeners: reader.listeners(),
            cpus: reader.cpus("shards.cpus"),
            shard_count: reader
                .number("shards.count")
                .and_then(|count| usize::try_from(count).ok()),
            control_cpus: reader.cpus("shards.control_cpus"),
            engine: reader.section("shards", Engine::default()),
            mqtt: Mqtt {
                shared_subscription_groups: reader.share_groups(),
                delayed: reader.section("delayed", Delayed::default()),
                ..reader.section("mqtt", Mqtt::default())
            },
            sys_topics: reader.section("sys_topics", SysTopics::default()),
            sys_event_messages: reader
                .section("sys_topics.sys_event_messages", SysEventMessages::default()),
            events: reader.section("events", Events::default()),
            rewrite: reader.tables("rewrite", RewriteRule::check, usize::MAX),
            auto_subscribe: reader.tables(
                "auto_subscribe.topics",
                AutoSubscription::check,
                AUTO_SUBSCRIBE_MAX,
            ),
            entries: Entries::default(),
        };
        let problems = reader.problems;
        config.entries = entries;
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }

    /// Where a value came from.
    pub(crate) fn origin(&self, path: &str) -> Origin {
        self.entries.origin(path)
    }
}

/// The file to read: the one that was named, or the usual one if it is there.
fn file_of(sources: &Sources) -> Option<PathBuf> {
    let named = |(name, value): &(OsString, OsString)| {
        (name == environment::CONFIG).then(|| PathBuf::from(value))
    };
    let usual = || Path::new(FILE).exists().then(|| PathBuf::from(FILE));
    sources
        .file
        .clone()
        .or_else(|| sources.environment.iter().find_map(named))
        .or_else(usual)
}

/// Takes typed values out of entries that were checked against the key table.
struct Reader<'a> {
    entries: &'a Entries,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn value(&self, path: &str) -> Option<&Value> {
        self.entries.get(path).map(|entry| &entry.value)
    }

    fn text(&self, path: &str) -> String {
        match self.value(path) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    fn boolean(&self, path: &str) -> Option<bool> {
        match self.value(path)? {
            Value::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    fn number(&self, path: &str) -> Option<u64> {
        match self.value(path)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    fn level(&self, path: &str) -> LevelFilter {
        match self.value(path) {
            Some(Value::Level(level)) => *level,
            _ => LevelFilter::Info,
        }
    }

    fn durability(&self, path: &str) -> Durability {
        match self.value(path) {
            Some(Value::Durability(durability)) => *durability,
            _ => Durability::default(),
        }
    }

    fn cpus(&self, path: &str) -> Option<CpuList> {
        match self.value(path)? {
            Value::Cpus(cpus) => Some(cpus.clone()),
            _ => None,
        }
    }

    /// The TCP port of the HTTP API. 0 alone is none, as in EMQX.
    fn http(&self) -> Option<SocketAddr> {
        match self.value("dashboard.listeners.http.bind")? {
            Value::Bind(Bind::Port(0)) => None,
            Value::Bind(bind) => Some(bind.address(false)),
            _ => None,
        }
    }

    /// The listeners that are enabled.
    fn listeners(&self) -> Vec<Listener> {
        let anonymous = self.boolean("allow_anonymous") == Some(true);
        let names = self.entries.listeners();
        names
            .into_iter()
            .filter_map(|name| self.listener(name, anonymous))
            .collect()
    }

    /// One listener, if it is enabled.
    fn listener(&self, name: String, anonymous: bool) -> Option<Listener> {
        let path = |field| format!("listeners.tcp.{name}.{field}");
        let number = |field| u32::try_from(self.number(&path(field))?).ok();
        let bind: SocketAddr = match self.value(&path("bind"))? {
            Value::Bind(bind) => bind.address(anonymous),
            _ => return None,
        };
        let allowance = |rate, burst| self.allowance(&path(rate), &path(burst));
        let (backlog, max_connections) = (number("backlog")?, number("max_connections")?);
        let connections = allowance("max_conn_rate", "max_conn_burst");
        let messages = allowance("messages_rate", "messages_burst");
        let bytes = allowance("bytes_rate", "bytes_burst");
        let enabled = self.boolean(&path("enabled"))?;
        enabled.then_some(Listener {
            name,
            bind,
            backlog,
            max_connections,
            connections,
            messages,
            bytes,
        })
    }

    /// A rate and its burst, which are in the entries in the form in which they are written.
    fn allowance(&self, rate: &str, burst: &str) -> Allowance {
        Allowance {
            rate: self.text(rate).parse().unwrap_or_default(),
            burst: self.text(burst).parse().unwrap_or_default(),
        }
    }

    /// The strategies of single share groups.
    fn share_groups(&self) -> BTreeMap<String, SharedStrategy> {
        let strategy = |name: String| {
            let path = format!("broker.shared_subscription_group.{name}.strategy");
            Some((name, SharedStrategy::named(&self.text(&path))?))
        };
        self.entries
            .share_groups()
            .into_iter()
            .filter_map(strategy)
            .collect()
    }

    /// The tables of a key, each checked.
    fn tables<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        check: fn(&T) -> Result<(), String>,
        most: usize,
    ) -> Vec<T> {
        let Some(Value::Tables(rows)) = self.value(path) else {
            return Vec::new();
        };
        let value = toml::Value::from(&Value::Tables(rows.clone()));
        let tables = value.try_into().map_err(|error| error.to_string());
        let mut complain = |reason: String| {
            let origin = self.entries.origin(path);
            self.problems
                .push(Problem::new(origin, format!("{path}: {reason}")));
        };
        let tables: Vec<T> = tables.unwrap_or_else(|reason| {
            complain(reason);
            Vec::new()
        });
        if tables.len() > most {
            complain(format!("{} tables, but {most} at most", tables.len()));
        }
        for (index, table) in tables.iter().enumerate() {
            if let Err(reason) = check(table) {
                complain(format!("table {}: {reason}", index + 1));
            }
        }
        tables
    }

    /// A struct of the data plane, with the entries laid over its defaults.
    fn section<T>(&mut self, section: &str, default: T) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        let result = toml::Table::try_from(&default).map_err(|error| error.to_string());
        let result = result.and_then(|mut table| {
            for (name, value) in table.iter_mut() {
                if let Some(given) = self.value(&format!("{section}.{name}")) {
                    *value = given.into();
                }
            }
            table.try_into().map_err(|error| error.to_string())
        });
        result.unwrap_or_else(|reason| {
            self.problems.push(Problem::new(
                Origin::Default,
                format!("[{section}]: {reason}"),
            ));
            default
        })
    }
}

#[cfg(test)]
mod tests;
