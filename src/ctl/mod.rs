//! `shardmq ctl`: a running broker and its cluster, for people and scripts.
//!
//! It speaks HTTP over the socket in the data folder; see [`crate::http`].

mod client;
mod cluster;
mod drain;
mod table;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::request::encode;
use crate::print;
use client::Broker;
use table::{fields, plain};

/// Entries of one request of a list.
const PAGE: usize = 1000;

/// What to do with a running broker.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Whether the broker runs; exit code 1 if not
    Status,
    /// The nodes of the cluster
    Cluster {
        /// What to do
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Clients that are connected, or whose sessions are kept
    Clients {
        /// What to do
        #[command(subcommand)]
        command: Clients,
    },
    /// Subscriptions of clients
    Subscriptions {
        /// What to do
        #[command(subcommand)]
        command: Subscriptions,
    },
    /// Filters that somebody subscribes to
    Topics {
        /// What to do
        #[command(subcommand)]
        command: Topics,
    },
    /// Empty a node for maintenance: send its clients to other nodes and let none in
    Drain {
        /// What to do
        #[command(subcommand)]
        command: drain::Command,
    },
    /// Everything that is counted, over all nodes
    Metrics {
        /// As text for Prometheus, of this node
        #[arg(long)]
        prometheus: bool,
    },
}

/// How a list is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shown {
    /// At most so many
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    limit: usize,
    /// Only those of one node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// What to do with clients.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Clients {
    /// List them
    List {
        /// How
        #[command(flatten)]
        shown: Shown,
        /// Only those with this text in their client identifier
        #[arg(long, value_name = "TEXT")]
        like: Option<String>,
        /// Only those that are connected
        #[arg(long)]
        connected: bool,
    },
    /// Show all that is known of one
    Show {
        /// Its client identifier
        client_id: String,
    },
    /// Disconnect one and end its session
    Kick {
        /// Its client identifier
        client_id: String,
    },
}

/// What to do with subscriptions.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Subscriptions {
    /// List those of all clients
    List {
        /// How
        #[command(flatten)]
        shown: Shown,
    },
    /// List those of one client
    Show {
        /// Its client identifier
        client_id: String,
        /// How
        #[command(flatten)]
        shown: Shown,
    },
}

/// What to do with filters.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Topics {
    /// List them, with the nodes that have subscribers
    List {
        /// How
        #[command(flatten)]
        shown: Shown,
    },
}

/// Does it.
pub(crate) fn run(command: &Command, config: &Config) -> Result<ExitCode, Failure> {
    let broker = Broker::of(&config.data_dir);
    match command {
        Command::Status => Ok(print(&broker.text("/status")?)),
        Command::Cluster { command } => cluster::run(command, &broker),
        Command::Clients { command } => clients(command, &broker),
        Command::Subscriptions { command } => subscriptions(command, &broker),
        Command::Topics {
            command: Topics::List { shown },
        } => list(&broker, "/topics", &[], shown, &["topic", "node"]),
        Command::Drain { command } => drain::run(command, &broker),
        Command::Metrics { prometheus: true } => Ok(print(&broker.text("/prometheus/stats")?)),
        Command::Metrics { prometheus: false } => {
            let stats = broker.get("/stats?aggregate=true")?;
            let metrics = broker.get("/metrics?aggregate=true")?;
            Ok(print(&format!("{}{}", fields(&stats), fields(&metrics))))
        }
    }
}

fn clients(command: &Clients, broker: &Broker<'_>) -> Result<ExitCode, Failure> {
    match command {
        Clients::List {
            shown,
            like,
            connected,
        } => {
            let mut query = Vec::new();
            if let Some(text) = like {
                query.push(("like_clientid", text.as_str()));
            }
            if *connected {
                query.push(("conn_state", "connected"));
            }
            let columns = ["clientid", "connected", "node", "ip_address", "username"];
            list(broker, "/clients", &query, shown, &columns)
        }
        Clients::Show { client_id } => {
            let client = broker.get(&format!("/clients/{}", encode(client_id)))?;
            Ok(print(&fields(&client)))
        }
        Clients::Kick { client_id } => {
            broker.request("DELETE", &format!("/clients/{}", encode(client_id)), "")?;
            Ok(print("ok\n"))
        }
    }
}

fn subscriptions(command: &Subscriptions, broker: &Broker<'_>) -> Result<ExitCode, Failure> {
    let columns = ["clientid", "topic", "qos", "node"];
    match command {
        Subscriptions::List { shown } => list(broker, "/subscriptions", &[], shown, &columns),
        Subscriptions::Show { client_id, shown } => {
            broker.get(&format!("/clients/{}", encode(client_id)))?;
            let query = [("clientid", client_id.as_str())];
            list(broker, "/subscriptions", &query, shown, &columns)
        }
    }
}

/// Lists what is at a path, page by page.
fn list(
    broker: &Broker<'_>,
    path: &str,
    query: &[(&str, &str)],
    shown: &Shown,
    columns: &[&str],
) -> Result<ExitCode, Failure> {
    let mut target = format!("{path}?limit={PAGE}");
    let node = shown.node.iter().map(|name| ("node", name.as_str()));
    for (name, value) in query.iter().copied().chain(node) {
        target.push_str(&format!("&{name}={}", encode(value)));
    }
    let mut entries = Vec::new();
    let (mut number, mut has_next) = (1, true);
    while has_next && entries.len() < shown.limit {
        let page = broker.get(&format!("{target}&page={number}"))?;
        if let Value::Array(data) = &page["data"] {
            entries.extend(data.iter().cloned());
        }
        warn_of_missing(&page["meta"]["missing"]);
        has_next = page["meta"]["hasnext"] == true;
        number += 1;
    }
    has_next |= entries.len() > shown.limit;
    entries.truncate(shown.limit);
    let out = if shown.json {
        entries.iter().map(|entry| format!("{entry}\n")).collect()
    } else {
        let cells = |entry: &Value| columns.iter().map(|it| plain(&entry[*it])).collect();
        let rows: Vec<Vec<String>> = entries.iter().map(cells).collect();
        let heading: Vec<String> = columns.iter().map(|it| it.to_uppercase()).collect();
        let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
        table::table(&heading, &rows)
    };
    if has_next {
        let text = format!("there are more than these {}: --limit COUNT", shown.limit);
        Failure::new(text).warn();
    }
    Ok(print(&out))
}

/// Nodes that have not answered are not silently left out.
fn warn_of_missing(missing: &Value) {
    for node in missing.as_array().into_iter().flatten() {
        let (name, reason) = (plain(&node["node"]), plain(&node["reason"]));
        Failure::new(format!("node {name} has not answered: {reason}")).warn();
    }
}
