//! The numbers of a node: as JSON under EMQX's names, and as text for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a node says of itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Numbers {
    /// Its name.
    pub(super) node: String,
    /// Its version.
    pub(super) version: String,
    /// Milliseconds since its start.
    pub(super) uptime_ms: u64,
    /// What there is now, under EMQX's names, with the highest value that was seen.
    pub(super) stats: BTreeMap<String, Gauge>,
    /// What is counted from its start on, under EMQX's names.
    pub(super) metrics: BTreeMap<String, u64>,
    /// What is counted of the cluster, and EMQX has no name for.
    #[serde(default)]
    pub(super) cluster: BTreeMap<String, u64>,
    /// What there is now of the cluster, and EMQX has no name for.
    #[serde(default)]
    pub(super) cluster_gauges: BTreeMap<String, u64>,
    /// About the process.
    pub(super) process: Process,
    /// What others have to do with it; nothing where it has no links.
    #[serde(default)]
    pub(super) standing: Option<Standing>,
    /// The cluster that it is in, as it knows it; nothing where it has no links.
    #[serde(default)]
    pub(super) membership: Option<Membership>,
    /// The other nodes, as it sees them.
    pub(super) links: Vec<Link>,
}

/// A number that goes up and down.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Gauge {
    pub(super) count: u64,
    pub(super) max: u64,
}

/// About the process and its machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct Process {
    /// Resident memory in bytes.
    pub(super) memory_bytes: u64,
    /// Descriptors that it may have open.
    pub(super) open_files_max: u64,
    /// Load averages of the machine.
    pub(super) load: [f64; 3],
}

/// A node among the others, as it knows itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Standing {
    /// Its life.
    pub(super) incarnation: u64,
    /// Whether it may acknowledge QoS 1 and 2.
    pub(super) has_lease: bool,
    /// For how many milliseconds if it hears nothing more; nothing if for ever.
    pub(super) lease_left_ms: Option<u64>,
    /// Filters that others route to it.
    pub(super) routes: u64,
    /// The last change in the log of them.
    pub(super) log_sequence: u64,
    /// Client identifiers that are its own.
    pub(super) identifiers_owned: u64,
    /// Client identifiers that it has claimed and waits for.
    pub(super) identifiers_claimed: u64,
    /// Client identifiers of which it keeps whose they are.
    pub(super) identifiers_kept: u64,
    /// Claims that wait for this node to grant them.
    pub(super) claims_queued: u64,
}

/// The members of a cluster, and their consensus, as one node knows them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Membership {
    /// How many commands have changed the members.
    pub(super) version: u64,
    /// The members.
    pub(super) members: Vec<Member>,
    /// The number of the leadership.
    pub(super) term: u64,
    /// Who leads.
    pub(super) leader: Option<String>,
    /// The last entry of the log, and the last one that is agreed on and done.
    pub(super) last_index: u64,
    /// See `last_index`.
    pub(super) applied_index: u64,
    /// Why the consensus has stopped here, if it has.
    pub(super) failure: Option<String>,
    /// It has left its cluster, and joins none before it is told to.
    pub(super) stays_alone: bool,
}

/// A member of a cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Member {
    /// Its name.
    pub(super) node: String,
    /// Where its links are.
    pub(super) address: String,
    /// `core` or `replicant`.
    pub(super) role: String,
    /// `joining` or `active`.
    pub(super) state: String,
    /// Whether its vote counts.
    pub(super) voter: bool,
}

/// A number of a link, and its name.
type Column = (&'static str, fn(&Link) -> u64);

/// Another node, as one sees it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Link {
    /// Its name.
    pub(super) node: String,
    /// What it is thought to be.
    pub(super) state: String,
    /// Whether there is a connection with it.
    pub(super) connected: bool,
    /// Whether that goes over other nodes, since the direct one does not work.
    #[serde(default)]
    pub(super) relayed: bool,
    /// The next node on the way, if it is relayed and there is a way.
    #[serde(default)]
    pub(super) via: Option<String>,
    /// Its life; 0 if it was never heard.
    pub(super) incarnation: u64,
    /// The way there and back, in microseconds.
    pub(super) round_trip_us: Option<u64>,
    /// For how long nothing was heard of it; nothing if it never was heard.
    #[serde(default)]
    pub(super) silent_ms: Option<u64>,
    /// What is left of the lease that it, a core, has given.
    #[serde(default)]
    pub(super) lease_left_ms: u64,
    /// Filters that are routed to it.
    pub(super) routes: u64,
    /// The life of it whose log of routes is followed here; 0 if none is.
    #[serde(default)]
    pub(super) log_incarnation: u64,
    /// The last change in that log that is known here.
    #[serde(default)]
    pub(super) log_sequence: u64,
    /// Changes of this node's log that were not sent to it yet.
    #[serde(default)]
    pub(super) log_unsent: u64,
    /// Bytes of messages that it has not accepted yet.
    #[serde(default)]
    pub(super) queued_bytes: u64,
    /// Bytes that went to it over this connection.
    pub(super) sent_bytes: u64,
    /// Bytes that came from it over this connection.
    pub(super) received_bytes: u64,
    /// Messages that it has not accepted yet.
    pub(super) unacknowledged: u64,
    /// Packets that this node has passed on to it for others.
    #[serde(default)]
    pub(super) relayed_packets: u64,
    /// Packets that it was to pass on and had no room for.
    #[serde(default)]
    pub(super) relayed_packets_dropped: u64,
}

impl Numbers {
    /// As `/nodes` shows it.
    pub(super) fn node(&self) -> Value {
        json!({
            "node": self.node,
            "node_status": "running",
            "version": self.version,
            "edition": "ShardMQ",
            "role": self.role(),
            "uptime": self.uptime_ms,
            "connections": self.count("channels"),
            "live_connections": self.count("live_connections"),
            "cluster_sessions": self.count("sessions"),
            "memory_used": self.process.memory_bytes,
            "max_fds": self.process.open_files_max,
            "load1": self.process.load[0],
            "load5": self.process.load[1],
            "load15": self.process.load[2],
        })
    }

    /// `core` or `replicant`, as the cluster has it.
    pub(super) fn role(&self) -> &str {
        let members = self.membership.iter().flat_map(|it| &it.members);
        let mut own = members.filter(|member| member.node == self.node);
        own.next().map_or("core", |member| &member.role)
    }

    fn count(&self, name: &str) -> u64 {
        self.stats.get(name).map_or(0, |gauge| gauge.count)
    }

    /// As `/stats` shows it.
    pub(super) fn stats(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for (name, gauge) in &self.stats {
            let name = name.replace('/', ".");
            out.insert(format!("{name}.count"), gauge.count.into());
            out.insert(format!("{name}.max"), gauge.max.into());
        }
        out
    }

    /// As `/metrics` shows it.
    pub(super) fn metrics(&self) -> Map<String, Value> {
        let named = |(name, count): (&String, &u64)| (name.replace('/', "."), (*count).into());
        let cluster = self.cluster.iter();
        let cluster = cluster.map(|(name, count)| (format!("cluster.{name}"), (*count).into()));
        self.metrics.iter().map(named).chain(cluster).collect()
    }

    /// Adds those of another node.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, gauge) in &other.stats {
            let sum = self.stats.entry(name.clone()).or_default();
            sum.count += gauge.count;
            sum.max += gauge.max;
        }
        for (name, count) in &other.metrics {
            *self.metrics.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.cluster {
            *self.cluster.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.cluster_gauges {
            *self.cluster_gauges.entry(name.clone()).or_default() += count;
        }
    }

    /// In the text format of Prometheus. Names that EMQX has are its names; `shardmq_` is ours.
    pub(super) fn prometheus(&self) -> String {
        let mut out = String::new();
        for (name, gauge) in &self.stats {
            let name = name.replace('/', "_");
            plain(
                &mut out,
                &format!("emqx_{name}_count"),
                "gauge",
                gauge.count,
            );
            plain(&mut out, &format!("emqx_{name}_max"), "gauge", gauge.max);
        }
        for (name, count) in &self.metrics {
            let name = format!("emqx_{}", name.replace('/', "_"));
            plain(&mut out, &name, "counter", *count);
        }
        for (name, count) in &self.cluster {
            plain(
                &mut out,
                &format!("shardmq_cluster_{name}"),
                "counter",
                *count,
            );
        }
        for (name, count) in &self.cluster_gauges {
            let name = format!("shardmq_cluster_{name}");
            plain(&mut out, &name, "gauge", *count);
        }
        self.standing_of_prometheus(&mut out);
        let up = self.links.iter().filter(|link| link.connected).count() as u64;
        let others = self.links.len() as u64;
        plain(&mut out, "emqx_cluster_nodes_running", "gauge", up + 1);
        plain(&mut out, "emqx_cluster_nodes_stopped", "gauge", others - up);
        plain(&mut out, "emqx_vm_uptime_ms", "gauge", self.uptime_ms);
        let files = self.process.open_files_max;
        plain(&mut out, "emqx_vm_max_fds", "gauge", files);
        let memory = self.process.memory_bytes;
        plain(&mut out, "process_resident_memory_bytes", "gauge", memory);
        self.links_of_prometheus(&mut out);
        out
    }

    fn standing_of_prometheus(&self, out: &mut String) {
        if let Some(standing) = &self.standing {
            for (name, value) in [
                ("has_lease", u64::from(standing.has_lease)),
                ("routes", standing.routes),
                ("log_sequence", standing.log_sequence),
                ("identifiers_owned", standing.identifiers_owned),
                ("identifiers_claimed", standing.identifiers_claimed),
                ("identifiers_kept", standing.identifiers_kept),
                ("claims_queued", standing.claims_queued),
            ] {
                plain(out, &format!("shardmq_cluster_{name}"), "gauge", value);
            }
            if let Some(left_ms) = standing.lease_left_ms {
                plain(out, "shardmq_cluster_lease_left_ms", "gauge", left_ms);
            }
        }
        if let Some(membership) = &self.membership {
            let leads = membership.leader.as_ref() == Some(&self.node);
            for (name, value) in [
                ("term", membership.term),
                ("leads", u64::from(leads)),
                ("last_index", membership.last_index),
                ("applied_index", membership.applied_index),
                ("failed", u64::from(membership.failure.is_some())),
                ("members", membership.members.len() as u64),
            ] {
                plain(out, &format!("shardmq_raft_{name}"), "gauge", value);
            }
        }
    }

    fn links_of_prometheus(&self, out: &mut String) {
        if self.links.is_empty() {
            return;
        }
        let columns: [Column; 12] = [
            ("connected", |link| link.connected.into()),
            ("relayed_packets", |link| link.relayed_packets),
            ("relayed_packets_dropped", |link| {
                link.relayed_packets_dropped
            }),
            ("silent_ms", |link| link.silent_ms.unwrap_or(0)),
            ("lease_left_ms", |link| link.lease_left_ms),
            ("routes", |link| link.routes),
            ("log_sequence", |link| link.log_sequence),
            ("log_unsent", |link| link.log_unsent),
            ("queued_bytes", |link| link.queued_bytes),
            ("unacknowledged", |link| link.unacknowledged),
            ("sent_bytes", |link| link.sent_bytes),
            ("received_bytes", |link| link.received_bytes),
        ];
        for (name, value) in columns {
            let name = format!("shardmq_link_{name}");
            _ = writeln!(out, "# TYPE {name} gauge");
            for link in &self.links {
                let node = label(&link.node);
                _ = writeln!(out, "{name}{{node=\"{node}\"}} {}", value(link));
            }
        }
        let name = "shardmq_link_relayed";
        _ = writeln!(out, "# TYPE {name} gauge");
        for link in &self.links {
            let (node, via) = (label(&link.node), link.via.as_deref().map(label));
            let (via, relayed) = (via.unwrap_or_default(), u8::from(link.relayed));
            _ = writeln!(out, "{name}{{node=\"{node}\",via=\"{via}\"}} {relayed}");
        }
        let name = "shardmq_link_round_trip_seconds";
        _ = writeln!(out, "# TYPE {name} gauge");
        for link in &self.links {
            if let Some(us) = link.round_trip_us {
                let (node, seconds) = (label(&link.node), us as f64 / 1e6);
                _ = writeln!(out, "{name}{{node=\"{node}\"}} {seconds}");
            }
        }
    }
}

fn plain(out: &mut String, name: &str, kind: &str, value: u64) {
    _ = writeln!(out, "# TYPE {name} {kind}\n{name} {value}");
}

/// The value of a label, with what Prometheus wants escaped.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Numbers {
        Numbers {
            node: "a@h".to_owned(),
            stats: BTreeMap::from([(
                "subscriptions/shared".to_owned(),
                Gauge { count: 2, max: 5 },
            )]),
            metrics: BTreeMap::from([("packets/publish/sent".to_owned(), 7)]),
            links: vec![Link {
                node: "b\"\\@h".to_owned(),
                connected: true,
                relayed: true,
                via: Some("c@h".to_owned()),
                round_trip_us: Some(1500),
                routes: 3,
                ..Link::default()
            }],
            ..Numbers::default()
        }
    }

    #[test]
    fn names_are_emqx_s_in_each_of_the_forms() {
        let numbers = numbers();
        let stats = Value::from(numbers.stats());
        let expected = json!({"subscriptions.shared.count": 2, "subscriptions.shared.max": 5});
        assert_eq!(stats, expected);
        let metrics = Value::from(numbers.metrics());
        assert_eq!(metrics, json!({"packets.publish.sent": 7}));
        let text = numbers.prometheus();
        for line in [
            "# TYPE emqx_subscriptions_shared_count gauge",
            "emqx_subscriptions_shared_max 5",
            "# TYPE emqx_packets_publish_sent counter",
            "emqx_packets_publish_sent 7",
            "emqx_cluster_nodes_running 2",
            "emqx_cluster_nodes_stopped 0",
            "shardmq_link_relayed{node=\"b\\\"\\\\@h\",via=\"c@h\"} 1",
            "shardmq_link_routes{node=\"b\\\"\\\\@h\"} 3",
            "shardmq_link_round_trip_seconds{node=\"b\\\"\\\\@h\"} 0.0015",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_name_is_typed_once_and_well_formed() {
        let mut all = numbers();
        all.standing = Some(Standing {
            lease_left_ms: Some(2500),
            ..Standing::default()
        });
        all.membership = Some(Membership::default());
        let gauges = shards::CLUSTER_GAUGES.iter();
        all.cluster_gauges = gauges.map(|(name, _)| ((*name).to_owned(), 1)).collect();
        let metrics = shards::CLUSTER_METRICS.iter();
        all.cluster = metrics.map(|(name, _)| ((*name).to_owned(), 1)).collect();
        let names = shards::METRICS.iter().map(|(name, _)| (*name).to_owned());
        all.metrics = names.map(|name| (name, 1)).collect();
        for (name, _) in shards::GAUGES {
            all.stats.insert((*name).to_owned(), Gauge::default());
        }
        let text = all.prometheus();
        let mut typed = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(typed.insert(name.to_owned()), "{name} twice");
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(typed.contains(name), "{name} without a type");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(
                name.chars().all(is_plain) && value.parse::<f64>().is_ok(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_lease_that_never_ends_has_no_time_left() {
        let mut numbers = numbers();
        let has = |numbers: &Numbers, line: &str| numbers.prometheus().contains(line);
        assert!(!has(&numbers, "shardmq_cluster_has_lease"), "no links");
        numbers.standing = Some(Standing {
            has_lease: true,
            lease_left_ms: None,
            ..Standing::default()
        });
        assert!(has(&numbers, "\nshardmq_cluster_has_lease 1\n"));
        assert!(!has(&numbers, "shardmq_cluster_lease_left_ms"));
    }

    #[test]
    fn the_numbers_of_nodes_add_up() {
        let mut sum = Numbers::default();
        sum.add(&numbers());
        sum.add(&numbers());
        assert_eq!(
            sum.stats["subscriptions/shared"],
            Gauge { count: 4, max: 10 }
        );
        assert_eq!(sum.metrics["packets/publish/sent"], 14);
    }

    #[test]
    fn what_a_newer_node_adds_does_not_matter() {
        let mut value = serde_json::to_value(numbers()).unwrap();
        value["something"] = json!({"new": true});
        let read: Numbers = serde_json::from_value(value).unwrap();
        assert_eq!(read.links, numbers().links);
    }
}
