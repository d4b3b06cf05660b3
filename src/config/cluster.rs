//! The keys about other nodes, and what must hold between them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shard_cluster::wire::Role;

use shard_cluster::members::Policy;

use super::bind::Bind;
use super::discovery;
use super::entries::Entries;
use super::origin::Problem;
use super::value::Value;
use crate::cluster::discovery::Strategy;
use crate::cluster::seed::Seed;
use crate::cluster::tls::{Files, Security};

/// The key that says how the links are made.
const PROTO_DIST: &str = "cluster.proto_dist";

/// What is said about the cluster of this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Cluster {
    /// `cluster.name`.
    pub(crate) name: String,
    /// `node.cookie`; empty if there is none, and then nobody else can reach the links.
    pub(crate) cookie: String,
    /// This node, as others name it: where its links are unless `bind` says otherwise.
    pub(crate) own: Seed,
    /// `cluster.bind`.
    pub(crate) bind: Option<Bind>,
    /// `cluster.static.seeds`.
    pub(crate) seeds: Vec<Seed>,
    /// `node.db_role`.
    pub(crate) role: Role,
    /// `cluster.autoclean`.
    pub(crate) autoclean: Duration,
    /// `cluster.handover_timeout`.
    pub(crate) handover: Duration,
    /// `cluster.partition_policy`.
    pub(crate) policy: Policy,
    /// `cluster.autoheal`.
    pub(crate) autoheal: bool,
    /// Whether `cluster.suback` is `acked`.
    pub(crate) suback_acked: bool,
    /// Whether `cluster.publish_ack` is `local`.
    pub(crate) publish_ack_local: bool,
    /// How others are looked for.
    pub(crate) discovery: Strategy,
    /// How the links are protected.
    pub(crate) security: Security,
    /// Whether they go over IPv4; `None` if it is all the same.
    pub(crate) is_ipv4: Option<bool>,
}

/// What is said, if this node is to have others. After [`check`].
pub(super) fn read(entries: &Entries) -> Option<Cluster> {
    if !has_links(entries) {
        return None;
    }
    let (mut seeds, own) = (
        seeds(entries),
        Seed::parse(text(entries, "node.name")).ok()?,
    );
    // Others connect to the port that is among the seeds.
    let named = seeds.iter().find(|seed| seed.name == own.name);
    let own = named.unwrap_or(&own).clone();
    let is_new = |core: &Seed| seeds.iter().all(|seed| seed.name != core.name);
    let cores: Vec<Seed> = core_nodes(entries).into_iter().filter(is_new).collect();
    seeds.extend(cores);
    Some(Cluster {
        name: text(entries, "cluster.name").to_owned(),
        cookie: text(entries, "node.cookie").to_owned(),
        own,
        bind: bind(entries),
        seeds,
        role: role(entries),
        autoclean: duration(entries, "cluster.autoclean")?,
        handover: duration(entries, "cluster.handover_timeout")?,
        policy: match text(entries, "cluster.partition_policy") {
            "serve_local" => Policy::ServeLocal,
            _ => Policy::Fence,
        },
        autoheal: flag(entries, "cluster.autoheal"),
        suback_acked: text(entries, "cluster.suback") == "acked",
        publish_ack_local: text(entries, "cluster.publish_ack") == "local",
        discovery: discovery::read(entries).ok()?,
        security: security(entries).ok()?,
        is_ipv4: match text(entries, PROTO_DIST) {
            "" => None,
            kind => Some(!kind.starts_with("inet6")),
        },
    })
}

fn duration(entries: &Entries, key: &str) -> Option<Duration> {
    match entries.get(key)?.value {
        Value::Duration(span) => Some(span.duration()),
        _ => None,
    }
}

/// Everything that does not hold.
pub(super) fn check(entries: &Entries) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut complain = |key: &str, text: String| {
        problems.push(Problem::new(entries.origin(key), text));
    };
    let key = "cluster.discovery_strategy";
    let strategy = text(entries, key);
    let finds = strategy != "manual" || !core_nodes(entries).is_empty();
    if role(entries) == Role::Replicant && !finds {
        let text = "node.db_role = replicant needs cores: name some in cluster.core_nodes, or \
                    say in cluster.discovery_strategy how they are found";
        complain("node.db_role", text.to_owned());
    }
    if !has_links(entries) {
        return problems;
    }
    if let Err((key, text)) = discovery::read(entries) {
        complain(key, text);
    }
    if let Err(text) = security(entries) {
        complain(PROTO_DIST, text);
    }
    if strategy == "static" && seeds(entries).is_empty() {
        complain(
            key,
            format!("{key} = static needs cluster.static.seeds: all nodes by name"),
        );
    }
    let mut names: Vec<String> = seeds(entries).into_iter().map(|seed| seed.name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!(
            "cluster.static.seeds has {} twice: each node has its own",
            twice[0]
        );
        complain("cluster.static.seeds", text);
    }
    let name = text(entries, "node.name");
    let Ok(own) = Seed::parse(name) else {
        let text = format!("node.name = {name}: other nodes cannot find this one by that host");
        complain("node.name", text);
        return problems;
    };
    if entries.get("node.cookie").is_none() && !is_private(entries, &own) {
        let text = format!(
            "{key} = {strategy} needs node.cookie: a secret that all nodes share, of at least \
             16 bytes.\n  \
             One that nobody can guess: head -c 24 /dev/urandom | base64"
        );
        complain(key, text);
    }
    problems
}

/// How the links are protected: with all files, or with none.
fn security(entries: &Entries) -> Result<Security, String> {
    let keys = ["cacertfile", "certfile", "keyfile"].map(|it| format!("cluster.ssl_options.{it}"));
    let [authority, certificate, key] = keys.each_ref().map(|key| text(entries, key));
    let kind = text(entries, PROTO_DIST);
    let files = [authority, certificate, key];
    if !kind.ends_with("_tls") {
        return match files.iter().zip(&keys).find(|(file, _)| !file.is_empty()) {
            None => Ok(Security::Keys),
            Some((_, key)) => Err(format!(
                "{key} is used with {PROTO_DIST} = inet_tls or inet6_tls only"
            )),
        };
    }
    if let Some((_, key)) = files.iter().zip(&keys).find(|(file, _)| file.is_empty()) {
        return Err(format!("{PROTO_DIST} = {kind} needs {key}"));
    }
    Ok(Security::Certificates(Files {
        authority: authority.into(),
        certificate: certificate.into(),
        key: key.into(),
    }))
}

/// Whether only this machine can reach the links, and they nobody else.
fn is_private(entries: &Entries, own: &Seed) -> bool {
    let is_own_private = match bind(entries) {
        Some(Bind::Address(_)) => bind(entries).is_some_and(Bind::is_loopback),
        Some(Bind::Port(_)) | None => is_loopback(own),
    };
    let named = seeds(entries).into_iter().chain(core_nodes(entries));
    is_own_private && named.into_iter().all(|seed| is_loopback(&seed))
}

/// Whether this node is to have links: it looks for others, or has a place where they find it.
fn has_links(entries: &Entries) -> bool {
    text(entries, "cluster.discovery_strategy") != "manual"
        || bind(entries).is_some()
        || !core_nodes(entries).is_empty()
}

fn role(entries: &Entries) -> Role {
    match text(entries, "node.db_role") {
        "replicant" => Role::Replicant,
        _ => Role::Core,
    }
}

fn is_loopback(seed: &Seed) -> bool {
    let ip = seed.host.parse::<IpAddr>();
    ip.is_ok_and(|ip| Bind::Address(SocketAddr::new(ip, 0)).is_loopback())
}

/// The text of a key; empty if there is none.
pub(super) fn text<'e>(entries: &'e Entries, key: &str) -> &'e str {
    match entries.get(key).map(|entry| &entry.value) {
        Some(Value::Text(text) | Value::Secret(text)) => text,
        _ => "",
    }
}

fn flag(entries: &Entries, key: &str) -> bool {
    matches!(
        entries.get(key).map(|entry| &entry.value),
        Some(Value::Boolean(true))
    )
}

fn bind(entries: &Entries) -> Option<Bind> {
    match entries.get("cluster.bind")?.value {
        Value::Bind(bind) => Some(bind),
        _ => None,
    }
}

/// The nodes that are named, where that is how others are found.
fn seeds(entries: &Entries) -> Vec<Seed> {
    if text(entries, "cluster.discovery_strategy") != "static" {
        return Vec::new();
    }
    named(entries, "cluster.static.seeds")
}

/// The cores that are named.
fn core_nodes(entries: &Entries) -> Vec<Seed> {
    named(entries, "cluster.core_nodes")
}

fn named(entries: &Entries, key: &str) -> Vec<Seed> {
    match entries.get(key).map(|entry| &entry.value) {
        Some(Value::List(names)) => names.iter().filter_map(|it| Seed::parse(it).ok()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(set: &[&str]) -> Result<Option<Cluster>, String> {
        let pairs = set.iter().filter_map(|pair| pair.split_once('='));
        let sources = Sources {
            file: Some("/dev/null".into()),
            set: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..Sources::default()
        };
        let loaded = Config::load(&sources).map(|config| config.cluster);
        loaded.map_err(|problems| problems[0].to_string())
    }

    const STATIC: &str = "cluster.discovery_strategy=static";
    const SEEDS: &str = "cluster.static.seeds=[\"a@10.0.0.1\", \"b@10.0.0.2:5000\"]";
    const COOKIE: &str = "node.cookie=0123456789abcdef";

    #[test]
    fn a_node_is_alone_unless_others_are_named() {
        assert_eq!(load(&[]), Ok(None));
        assert_eq!(load(&[SEEDS]), Ok(None));
        assert!(
            load(&[STATIC])
                .unwrap_err()
                .contains("needs cluster.static.seeds")
        );
        let cluster = load(&[STATIC, SEEDS, COOKIE, "node.name=a@10.0.0.1"]);
        let cluster = cluster.unwrap().unwrap();
        assert_eq!(
            (&*cluster.name, &*cluster.own.name),
            ("shardmq", "a@10.0.0.1")
        );
        assert_eq!((cluster.policy, cluster.autoheal), (Policy::Fence, true));
        assert!(!cluster.suback_acked);
        let with = |text| load(&[STATIC, SEEDS, COOKIE, "node.name=a@10.0.0.1", text]);
        let acked = with("cluster.suback=acked").unwrap().unwrap();
        assert!(acked.suback_acked);
        assert!(with("cluster.suback=all").unwrap_err().contains("acked"));
        assert!(!cluster.publish_ack_local);
        let local = with("cluster.publish_ack=local").unwrap().unwrap();
        assert!(local.publish_ack_local);
        let complaint = with("cluster.publish_ack=durable").unwrap_err();
        assert!(
            complaint.contains("local") && complaint.contains("owner"),
            "{complaint}"
        );
        assert_eq!(cluster.seeds[1], Seed::parse("b@10.0.0.2:5000").unwrap());
        let own = load(&[STATIC, SEEDS, COOKIE, "node.name=b@10.0.0.2"]);
        assert_eq!(own.unwrap().unwrap().own.port, 5000);
        let listed = "cluster.static.seeds=a@10.0.0.1, b@10.0.0.2:5000";
        let listed = load(&[STATIC, listed, COOKIE]).unwrap().unwrap();
        assert_eq!(listed.seeds, cluster.seeds);
    }

    #[test]
    fn whoever_others_can_reach_needs_a_cookie() {
        assert!(load(&[STATIC, SEEDS]).unwrap_err().contains("node.cookie"));
        let here = "cluster.static.seeds=a@127.0.0.1,b@127.0.0.2";
        assert!(load(&[STATIC, here]).is_ok());
        let open = "cluster.bind=0.0.0.0:4370";
        assert!(
            load(&[STATIC, here, open])
                .unwrap_err()
                .contains("node.cookie")
        );
        assert!(load(&[STATIC, here, open, COOKIE]).is_ok());
    }

    #[test]
    fn a_cookie_is_long_and_never_shown() {
        let complaint = load(&["node.cookie=secret"]).unwrap_err();
        assert!(complaint.contains("at least 16"), "{complaint}");
        assert!(!complaint.contains("secret\""), "{complaint}");
        let set = [("node.cookie".to_owned(), "0123456789abcdef".to_owned())];
        let sources = Sources {
            file: Some("/dev/null".into()),
            set: set.into(),
            ..Sources::default()
        };
        let shown = super::super::print::effective(&Config::load(&sources).unwrap(), &[]);
        assert!(shown.contains("node.cookie: set, and not shown"), "{shown}");
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }

    #[test]
    fn certificates_come_whole_and_where_they_are_used() {
        let (here, tls) = (
            "cluster.static.seeds=a@127.0.0.1,b@127.0.0.2",
            "cluster.proto_dist=inet6_tls",
        );
        let files = [
            "cluster.ssl_options.cacertfile=ca.crt",
            "cluster.ssl_options.certfile=node.crt",
            "cluster.ssl_options.keyfile=node.key",
        ];
        let with = |more: &[&str]| load(&[&[STATIC, here], more].concat());
        let cluster = with(&[&[tls], &files[..]].concat()).unwrap().unwrap();
        let expected = Files {
            authority: "ca.crt".into(),
            certificate: "node.crt".into(),
            key: "node.key".into(),
        };
        assert_eq!(cluster.security, Security::Certificates(expected));
        assert_eq!(cluster.is_ipv4, Some(false));
        let complaint = with(&[tls, files[0], files[1]]).unwrap_err();
        assert!(
            complaint.contains("needs cluster.ssl_options.keyfile"),
            "{complaint}"
        );
        let complaint = with(&files).unwrap_err();
        assert!(
            complaint.contains("with cluster.proto_dist = inet_tls"),
            "{complaint}"
        );
        let cluster = with(&["cluster.proto_dist=inet_tcp"]).unwrap().unwrap();
        assert_eq!(
            (cluster.security, cluster.is_ipv4),
            (Security::Keys, Some(true))
        );
        let cluster = with(&[]).unwrap().unwrap();
        assert_eq!((cluster.security, cluster.is_ipv4), (Security::Keys, None));
    }

    #[test]
    fn a_replicant_without_cores_and_seeds_that_are_none_are_refused() {
        let complaint = load(&["node.db_role=replicant"]).unwrap_err();
        assert!(complaint.contains("cluster.core_nodes"), "{complaint}");
        let complaint = load(&["cluster.static.seeds=10.0.0.1"]).unwrap_err();
        assert!(complaint.contains("is not name@host"), "{complaint}");
        let twice = "cluster.static.seeds=a@127.0.0.1:1,a@127.0.0.1:2";
        let complaint = load(&[STATIC, twice]).unwrap_err();
        assert!(complaint.contains("has a@127.0.0.1 twice"), "{complaint}");
    }

    #[test]
    fn a_replicant_finds_its_cores_by_name_or_as_others_do() {
        let cores = "cluster.core_nodes=a@127.0.0.1:1,b@127.0.0.2";
        let replicant = ["node.db_role=replicant", cores, "node.name=r@127.0.0.3"];
        let cluster = load(&replicant).unwrap().unwrap();
        assert_eq!((cluster.role, cluster.seeds.len()), (Role::Replicant, 2));
        assert_eq!(cluster.autoclean, Duration::from_secs(24 * 60 * 60));
        assert_eq!(cluster.handover, Duration::from_secs(5));
        let both = "cluster.static.seeds=b@127.0.0.2,c@127.0.0.3";
        let both = load(&[STATIC, both, cores]).unwrap().unwrap();
        assert_eq!((both.role, both.seeds.len()), (Role::Core, 3));
        let seeds = "cluster.static.seeds=a@127.0.0.1";
        assert!(load(&["node.db_role=replicant", STATIC, seeds]).is_ok());
    }

    #[test]
    fn a_manual_node_has_links_where_it_is_said() {
        let here = load(&["cluster.bind=127.0.0.1:4371"]).unwrap().unwrap();
        assert_eq!((here.seeds.len(), here.role), (0, Role::Core));
        let open = load(&["cluster.bind=0.0.0.0:4371"]).unwrap_err();
        assert!(open.contains("node.cookie"), "{open}");
    }
}
