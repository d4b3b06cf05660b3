//! `shardmq ctl cluster`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::client::Broker;
use super::table::{plain, table};
use crate::failure::Failure;
use crate::http::request::encode;
use crate::print;

/// What to do with the cluster.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the nodes and the links between them
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have this node join the cluster of another one
    Join {
        /// That node: name@host, or name@host:port
        node: String,
    },
    /// Have this node leave its cluster; it keeps its clients and goes on alone
    Leave,
    /// Remove another node, which may be gone for good
    ForceLeave {
        /// Its name
        node: String,
    },
}

/// Does it.
pub(super) fn run(command: &Command, broker: &Broker<'_>) -> Result<ExitCode, Failure> {
    match command {
        Command::Join { node } => change(broker, "PUT", &format!("/cluster/{}/join", encode(node))),
        Command::Leave => change(broker, "DELETE", "/cluster/leave"),
        Command::ForceLeave { node } => {
            let path = format!("/cluster/{}/force_leave", encode(node));
            change(broker, "DELETE", &path)
        }
        Command::Status { json: true } => {
            let topology = broker.get("/cluster/topology")?;
            let pretty = serde_json::to_string_pretty(&topology).unwrap_or_default();
            Ok(print(&format!("{pretty}\n")))
        }
        Command::Status { json: false } => {
            let (cluster, nodes) = (broker.get("/cluster")?, broker.get("/nodes")?);
            let topology = broker.get("/cluster/topology")?;
            Ok(print(&status(&cluster, &nodes, &topology)))
        }
    }
}

fn change(broker: &Broker<'_>, method: &str, path: &str) -> Result<ExitCode, Failure> {
    broker.request(method, path, "")?;
    Ok(print("ok\n"))
}

/// The nodes, then the links as each node sees them.
fn status(cluster: &Value, nodes: &Value, topology: &Value) -> String {
    let own = &cluster["self"];
    let mut out = format!("cluster {}\n", plain(&cluster["name"]));
    let topologies = list(topology);
    let of_own = topologies.iter().find(|node| node["node"] == *own);
    if let Some(node) = of_own {
        out.push_str(&consensus(&node["membership"]));
    }
    out.push_str(&each_node(&list(nodes), own));
    out.push_str(&standing(&topologies));
    out.push_str(&links(&topologies));
    for node in list(nodes).iter().filter(|node| node["reason"].is_string()) {
        let (name, reason) = (plain(&node["node"]), plain(&node["reason"]));
        out.push_str(&format!("\nnode {name} has not answered: {reason}\n"));
    }
    out
}

/// The nodes as a load balancer sees them.
fn each_node(nodes: &[Value], own: &Value) -> String {
    let row = |node: &Value| {
        let is_own = node["node"] == *own;
        let mark = if is_own { " (this one)" } else { "" };
        let uptime = node["uptime"].as_u64();
        vec![
            format!("{}{mark}", plain(&node["node"])),
            plain(&node["role"]),
            plain(&node["node_status"]),
            plain(&node["version"]),
            or_dash(uptime.map(duration)),
            plain(&node["live_connections"]),
            plain(&node["cluster_sessions"]),
        ]
    };
    let rows: Vec<Vec<String>> = nodes.iter().map(row).collect();
    let heading = [
        "NODE",
        "ROLE",
        "STATUS",
        "VERSION",
        "UPTIME",
        "CONNECTED",
        "SESSIONS",
    ];
    format!("\n{}", table(&heading, &rows))
}

/// What the nodes are to each other, as each knows of itself; nothing where there are no links.
fn standing(topology: &[Value]) -> String {
    let row = |node: &Value| {
        let standing = node["standing"].as_object()?;
        let lease = match (&standing["has_lease"], standing["lease_left_ms"].as_u64()) {
            (Value::Bool(false), _) => "none".to_owned(),
            (_, None) => "for ever".to_owned(),
            (_, Some(left_ms)) => format!("{left_ms} ms"),
        };
        Some(vec![
            plain(&node["node"]),
            plain(&standing["incarnation"]),
            lease,
            plain(&standing["routes"]),
            plain(&standing["log_sequence"]),
            plain(&standing["identifiers_owned"]),
            plain(&standing["identifiers_kept"]),
            plain(&standing["claims_queued"]),
            plain(&node["moving"]["sessions_arriving"]),
            plain(&node["moving"]["sessions_leaving"]),
        ])
    };
    let rows: Vec<Vec<String>> = topology.iter().filter_map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let heading = [
        "NODE",
        "INCARNATION",
        "LEASE",
        "ROUTES",
        "LOG",
        "CLIENT IDS",
        "KEEPS",
        "CLAIMS",
        "ARRIVING",
        "LEAVING",
    ];
    format!("\n{}", table(&heading, &rows))
}

/// Who leads the cores, as this node knows; nothing where there is no cluster.
fn consensus(membership: &Value) -> String {
    if !membership["term"].is_u64() {
        return String::new();
    }
    let [term, leader, applied, last] =
        ["term", "leader", "applied_index", "last_index"].map(|it| plain(&membership[it]));
    let mut text = format!("term {term}, led by {leader}, {applied} of {last} entries done\n");
    if membership["failure"].is_string() {
        let failure = plain(&membership["failure"]);
        text.push_str(&format!("the consensus has stopped here: {failure}\n"));
    }
    if membership["stays_alone"] == true {
        text.push_str("this node has left its cluster and joins none before it is told to\n");
    }
    text
}

/// The links as each node sees them; nothing where there are none.
fn links(topology: &[Value]) -> String {
    let mut rows = Vec::new();
    let milliseconds = |ms: u64| format!("{ms} ms");
    for node in topology {
        for link in list(&node["links"]) {
            let ms = link["round_trip_us"].as_u64().map(|us| us as f64 / 1000.0);
            let owner = topology.iter().find(|owner| owner["node"] == link["node"]);
            rows.push(vec![
                plain(&node["node"]),
                plain(&link["node"]),
                plain(&link["state"]),
                way(&link),
                or_dash(link["silent_ms"].as_u64().map(milliseconds)),
                or_dash(ms.map(|ms| format!("{ms:.2} ms"))),
                plain(&link["routes"]),
                or_dash(owner.and_then(|owner| lag(owner, &link))),
                plain(&link["unacknowledged"]),
                plain(&link["queued_bytes"]),
                plain(&link["sent_bytes"]),
                plain(&link["received_bytes"]),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let heading = [
        "FROM",
        "TO",
        "STATE",
        "WAY",
        "SILENT",
        "ROUND TRIP",
        "ROUTES",
        "LAG",
        "UNACKED",
        "QUEUED",
        "SENT",
        "RECEIVED",
    ];
    format!("\n{}", table(&heading, &rows))
}

/// Over which node a link goes, if not over none.
fn way(link: &Value) -> String {
    match (&link["relayed"], &link["via"]) {
        (Value::Bool(true), Value::String(via)) => format!("over {via}"),
        (Value::Bool(true), _) => "lost".to_owned(),
        _ if link["connected"] == true => "direct".to_owned(),
        _ => "-".to_owned(),
    }
}

/// How many changes of the owner's routes are not known yet where the link is seen from. The
/// two numbers are not of the same moment: up to half a second of changes is no lag.
fn lag(owner: &Value, link: &Value) -> Option<String> {
    let standing = &owner["standing"];
    if standing["incarnation"].as_u64()? != link["log_incarnation"].as_u64()? {
        return Some("all".to_owned());
    }
    let there = standing["log_sequence"].as_u64()?;
    let here = link["log_sequence"].as_u64()?;
    Some(there.saturating_sub(here).to_string())
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A time in the two largest units that it has.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_status_names_nodes_links_and_who_has_not_answered() {
        let cluster = json!({"name": "c", "self": "a@h"});
        let nodes = json!([
            {"node": "a@h", "role": "core", "node_status": "running", "version": "1",
             "uptime": 90_000, "live_connections": 3, "cluster_sessions": 5},
            {"node": "b@h", "node_status": "stopped", "reason": "it does not answer in time"},
        ]);
        let link = json!({"node": "b@h", "state": "alive", "round_trip_us": 1234, "routes": 7,
                          "silent_ms": 80, "log_incarnation": 6, "log_sequence": 90,
                          "unacknowledged": 0, "queued_bytes": 5, "sent_bytes": 10,
                          "received_bytes": 20, "connected": true});
        let mut relayed = link.clone();
        (relayed["relayed"], relayed["via"]) = (json!(true), json!("c@h"));
        let standing = |incarnation: u64, lease: Option<u64>| {
            json!({"incarnation": incarnation, "has_lease": lease != Some(0),
                   "lease_left_ms": lease, "routes": 7, "log_sequence": 93,
                   "identifiers_owned": 11, "identifiers_kept": 12, "claims_queued": 13})
        };
        let moving = json!({"sessions_arriving": 14, "sessions_leaving": 15});
        let other = json!({"node": "b@h", "standing": standing(6, Some(0)), "links": []});
        let topology = json!([{"node": "a@h", "links": [link, relayed], "moving": moving,
             "standing": standing(5, Some(2900)),
             "membership": {"term": 5, "leader": "b@h", "applied_index": 9,
                            "last_index": 9}}, other]);
        let text = status(&cluster, &nodes, &topology);
        for part in [
            "cluster c",
            "term 5, led by b@h, 9 of 9 entries done",
            "a@h (this one)  core  running  1        1m 30s  3          5",
            "a@h   5            2900 ms  7       93   11          12     13      14        15",
            "b@h   6            none     7       93   11          12     13      -         -",
            "  direct    80 ms   1.23 ms     7       3    0        5       10    20",
            "a@h   b@h  alive  over c@h  80 ms   1.23 ms",
            "node b@h has not answered: it does not answer in time",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn times_have_two_units() {
        let texts = [59_999, 61_000, 7_260_000, 90_000_000].map(duration);
        assert_eq!(texts, ["59s", "1m 1s", "2h 1m", "1d 1h"]);
    }
}
