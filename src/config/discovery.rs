//! The keys about how other nodes are found.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::cluster::text;
use super::entries::Entries;
use super::value::Value;
use crate::cluster::discovery::dns::{self, Records};
use crate::cluster::discovery::etcd;
use crate::cluster::discovery::k8s::{self, AddressType};
use crate::cluster::discovery::url::Url;
use crate::cluster::discovery::{Files, Strategy};

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// The port of etcd where none is named.
pub(super) const ETCD_PORT: u16 = 2379;

/// What is wrong: the key to blame, and why.
type Complaint = (&'static str, String);

/// How this node looks for others.
///
/// # Errors
/// What does not hold.
pub(super) fn read(entries: &Entries) -> Result<Strategy, Complaint> {
    match text(entries, "cluster.discovery_strategy") {
        "dns" => dns(entries).map(Strategy::Dns),
        "etcd" => etcd(entries).map(Strategy::Etcd),
        "k8s" => k8s(entries).map(Strategy::K8s),
        _ => Ok(Strategy::None),
    }
}

fn dns(entries: &Entries) -> Result<dns::Settings, Complaint> {
    let key = "cluster.dns.name";
    let name = text(entries, key);
    let labels = || name.strip_suffix('.').unwrap_or(name).split('.');
    if labels().any(|label| label.is_empty() || label.len() > 63) || name.contains([' ', '/']) {
        let reason = format!("{key} = {name:?} is no name, such as nodes.mq.example");
        return Err((key, reason));
    }
    let server = text(entries, "cluster.dns.server");
    Ok(dns::Settings {
        name: name.to_owned(),
        records: match text(entries, "cluster.dns.record_type") {
            "aaaa" => Records::Aaaa,
            "srv" => Records::Srv,
            _ => Records::A,
        },
        server: match server {
            "" => None,
            server => Some(dns_server(server)?),
        },
    })
}

/// An address of a server, with its port if that is another one.
fn dns_server(text: &str) -> Result<SocketAddr, Complaint> {
    let with_port = text.parse().ok();
    let alone = || Some(SocketAddr::new(text.parse().ok()?, DNS_PORT));
    with_port.or_else(alone).ok_or_else(|| {
        let key = "cluster.dns.server";
        let reason = format!("{key} = {text:?} is no address, such as 10.0.0.53 or 10.0.0.53:5353");
        (key, reason)
    })
}

fn etcd(entries: &Entries) -> Result<etcd::Settings, Complaint> {
    let key = "cluster.etcd.server";
    let servers = list(entries, key).iter();
    let servers = servers.filter_map(|url| Url::parse(url, Some(ETCD_PORT)).ok());
    let servers: Vec<Url> = servers.collect();
    if servers.is_empty() {
        let reason = "cluster.discovery_strategy = etcd needs cluster.etcd.server, such as \
                      [\"http://10.0.0.1:2379\"]";
        return Err(("cluster.discovery_strategy", reason.to_owned()));
    }
    let prefix = text(entries, "cluster.etcd.prefix").trim_end_matches('/');
    Ok(etcd::Settings {
        files: etcd_files(entries, &servers)?,
        servers,
        prefix: prefix.to_owned(),
        ttl: match entries.get("cluster.etcd.node_ttl").map(|it| &it.value) {
            Some(Value::Duration(span)) => span.duration(),
            _ => Duration::from_secs(60),
        },
    })
}

/// The files for TLS with etcd.
fn etcd_files(entries: &Entries, servers: &[Url]) -> Result<Files, Complaint> {
    let names = ["cacertfile", "certfile", "keyfile"];
    let keys = names.map(|name| format!("cluster.etcd.ssl_options.{name}"));
    let [authority, certificate, secret] = keys.each_ref().map(|key| text(entries, key));
    let key = "cluster.etcd.server";
    if authority.is_empty() && servers.iter().any(|url| url.is_tls) {
        let reason = format!("{key} has https://, which needs {}", keys[0]);
        return Err((key, reason));
    }
    let own = match (certificate, secret) {
        ("", "") => None,
        ("", _) | (_, "") => {
            let reason = format!("{} and {} are only good together", keys[1], keys[2]);
            return Err((key, reason));
        }
        (certificate, secret) => Some((certificate.into(), secret.into())),
    };
    let authority = PathBuf::from(authority);
    Ok(Files { authority, own })
}

fn k8s(entries: &Entries) -> Result<k8s::Settings, Complaint> {
    let key = "cluster.k8s.apiserver";
    let apiserver = Url::parse(text(entries, key), None);
    let apiserver = apiserver.map_err(|reason| (key, format!("{key}: {reason}")))?;
    let plain = |key: &'static str| {
        let text = text(entries, key);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let reason = || format!("{key} = {text:?} is no name in Kubernetes");
        let is_name = text.bytes().all(is_plain);
        is_name.then_some(text).ok_or_else(|| (key, reason()))
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let key = "cluster.k8s.service_name";
    let service = some(plain(key)?);
    Ok(k8s::Settings {
        apiserver,
        service: service.ok_or_else(|| (key, format!("{key} is empty")))?,
        address_type: match text(entries, "cluster.k8s.address_type") {
            "dns" => AddressType::Dns,
            "hostname" => AddressType::Hostname,
            _ => AddressType::Ip,
        },
        namespace: some(plain("cluster.k8s.namespace")?),
        suffix: some(plain("cluster.k8s.suffix")?),
        account: text(entries, "cluster.k8s.service_account").into(),
    })
}

fn list<'e>(entries: &'e Entries, key: &str) -> &'e [String] {
    match entries.get(key).map(|entry| &entry.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Sources};
    use super::*;

    fn load(set: &[&str]) -> Result<Strategy, String> {
        let cookie = ["node.cookie=0123456789abcdef", "node.name=a@10.0.0.1"];
        let pairs = set.iter().chain(&cookie);
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        let sources = Sources {
            file: Some("/dev/null".into()),
            set: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..Sources::default()
        };
        let loaded = Config::load(&sources).map(|config| config.cluster);
        let loaded = loaded.map_err(|problems| problems[0].to_string())?;
        Ok(loaded.map_or(Strategy::None, |cluster| cluster.discovery))
    }

    const DNS: &str = "cluster.discovery_strategy=dns";
    const ETCD: &str = "cluster.discovery_strategy=etcd";
    const K8S: &str = "cluster.discovery_strategy=k8s";

    #[test]
    fn dns_has_a_name_records_and_perhaps_a_server() {
        let Ok(Strategy::Dns(settings)) = load(&[DNS]) else {
            panic!("no dns");
        };
        assert_eq!(
            (&*settings.name, settings.records),
            ("localhost", Records::A)
        );
        assert_eq!(settings.server, None);
        let set = [
            DNS,
            "cluster.dns.record_type=srv",
            "cluster.dns.server=10.0.0.2:5353",
        ];
        let Ok(Strategy::Dns(settings)) = load(&set) else {
            panic!("no dns");
        };
        assert_eq!(settings.records, Records::Srv);
        assert_eq!(settings.server.unwrap(), "10.0.0.2:5353".parse().unwrap());
        let server = dns_server("::1").unwrap();
        assert_eq!(server, "[::1]:53".parse().unwrap());
        for (set, said) in [
            ("cluster.dns.server=dns.example", "is no address"),
            ("cluster.dns.name=a..b", "is no name"),
            ("cluster.dns.name=", "is no name"),
            ("cluster.dns.record_type=mx", "a, aaaa, srv"),
        ] {
            let complaint = load(&[DNS, set]).unwrap_err();
            assert!(complaint.contains(said), "{complaint}");
        }
    }

    #[test]
    fn etcd_has_servers_and_files_where_they_speak_tls() {
        let set = [ETCD, "cluster.etcd.server=http://10.0.0.1:1, http://[::1]"];
        let Ok(Strategy::Etcd(settings)) = load(&set) else {
            panic!("no etcd");
        };
        let urls: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["http://10.0.0.1:1", "http://[::1]:2379"]);
        assert_eq!((&*settings.prefix, settings.ttl.as_secs()), ("shardmq", 60));
        let tls = "cluster.etcd.server=https://10.0.0.1";
        for (set, said) in [
            (&[ETCD][..], "needs cluster.etcd.server"),
            (&[ETCD, tls], "needs cluster.etcd.ssl_options.cacertfile"),
            (&[ETCD, "cluster.etcd.server=10.0.0.1"], "http://host:port"),
            (&[ETCD, "cluster.etcd.node_ttl=1s"], "from 5s to 1h"),
            (
                &[set[0], set[1], "cluster.etcd.ssl_options.certfile=c"],
                "only good together",
            ),
        ] {
            let complaint = load(set).unwrap_err();
            assert!(complaint.contains(said), "{complaint}");
        }
        let files = [
            "cluster.etcd.ssl_options.cacertfile=ca",
            "cluster.etcd.ssl_options.certfile=c",
            "cluster.etcd.ssl_options.keyfile=k",
        ];
        let Ok(Strategy::Etcd(settings)) = load(&[&[ETCD, tls], &files[..]].concat()) else {
            panic!("no etcd");
        };
        assert_eq!(settings.files.own, Some(("c".into(), "k".into())));
    }

    #[test]
    fn kubernetes_has_a_service_of_the_pods_namespace() {
        let Ok(Strategy::K8s(settings)) = load(&[K8S]) else {
            panic!("no k8s");
        };
        assert_eq!(
            settings.apiserver.to_string(),
            "https://kubernetes.default.svc:443"
        );
        assert_eq!((&*settings.service, settings.namespace), ("shardmq", None));
        assert_eq!(settings.address_type, AddressType::Ip);
        for (set, said) in [
            ("cluster.k8s.apiserver=10.0.0.1", "http://host:port"),
            ("cluster.k8s.service_name=a/b", "is no name in Kubernetes"),
            ("cluster.k8s.service_name=", "is empty"),
            ("cluster.k8s.address_type=pod", "ip, dns, hostname"),
        ] {
            let complaint = load(&[K8S, set]).unwrap_err();
            assert!(complaint.contains(said), "{complaint}");
        }
    }

    #[test]
    fn whoever_looks_for_others_needs_a_cookie() {
        let sources = Sources {
            file: Some("/dev/null".into()),
            set: vec![
                ("cluster.discovery_strategy".to_owned(), "dns".to_owned()),
                ("node.name".to_owned(), "a@10.0.0.1".to_owned()),
            ],
            ..Sources::default()
        };
        let problems = Config::load(&sources).unwrap_err();
        let complaint = problems[0].to_string();
        assert!(complaint.contains("dns needs node.cookie"), "{complaint}");
    }
}
