//! The keys about other nodes, and what must hold between them.

use std::net::{IpAddr, SocketAddr};

use super::bind::Bind;
use super::discovery;
use super::entries::Entries;
use super::origin::Problem;
use super::value::Value;
use crate::cluster::discovery::Strategy;
use crate::cluster::seed::Seed;

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
    /// How others are looked for.
    pub(crate) discovery: Strategy,
}

/// What is said, if this node is to have others. After [`check`].
pub(super) fn read(entries: &Entries) -> Option<Cluster> {
    if text(entries, "cluster.discovery_strategy") == "manual" {
        return None;
    }
    let (seeds, own) = (
        seeds(entries),
        Seed::parse(text(entries, "node.name")).ok()?,
    );
    // Others connect to the port that is among the seeds.
    let named = seeds.iter().find(|seed| seed.name == own.name);
    Some(Cluster {
        name: text(entries, "cluster.name").to_owned(),
        cookie: text(entries, "node.cookie").to_owned(),
        own: named.unwrap_or(&own).clone(),
        bind: bind(entries),
        seeds,
        discovery: discovery::read(entries).ok()?,
    })
}

/// Everything that does not hold.
pub(super) fn check(entries: &Entries) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut complain = |key: &str, text: String| {
        problems.push(Problem::new(entries.origin(key), text));
    };
    if text(entries, "node.db_role") == "replicant" {
        let key = "node.db_role";
        complain(
            key,
            format!("{key} = replicant: this version has cores only"),
        );
    }
    let key = "cluster.discovery_strategy";
    let strategy = text(entries, key);
    if strategy == "manual" {
        return problems;
    }
    if let Err((key, text)) = discovery::read(entries) {
        complain(key, text);
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
            "{key} = {strategy} needs node.cookie: a secret that all nodes share, of at least 16 \
             bytes.\n  \
             One that nobody can guess: head -c 24 /dev/urandom | base64"
        );
        complain(key, text);
    }
    problems
}

/// Whether only this machine can reach the links, and they nobody else.
fn is_private(entries: &Entries, own: &Seed) -> bool {
    let is_own_private = match bind(entries) {
        Some(Bind::Address(_)) => bind(entries).is_some_and(Bind::is_loopback),
        Some(Bind::Port(_)) | None => is_loopback(own),
    };
    is_own_private && seeds(entries).iter().all(is_loopback)
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
    match entries
        .get("cluster.static.seeds")
        .map(|entry| &entry.value)
    {
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
    fn roles_and_seeds_that_are_not_there_yet_are_refused() {
        let complaint = load(&["node.db_role=replicant"]).unwrap_err();
        assert!(complaint.contains("cores only"), "{complaint}");
        let complaint = load(&["cluster.static.seeds=10.0.0.1"]).unwrap_err();
        assert!(complaint.contains("is not name@host"), "{complaint}");
        let twice = "cluster.static.seeds=a@127.0.0.1:1,a@127.0.0.1:2";
        let complaint = load(&[STATIC, twice]).unwrap_err();
        assert!(complaint.contains("has a@127.0.0.1 twice"), "{complaint}");
    }
}
