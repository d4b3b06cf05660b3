//! `shardmq ctl drain`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Broker;
use super::table::{fields, plain, table};
use super::warn_of_missing;
use crate::failure::Failure;
use crate::http::request::encode;
use crate::print;

/// What to do about emptying a node.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin, or change how
    Start {
        /// Clients that are sent away in a second
        #[arg(long, default_value_t = 500, value_name = "CLIENTS")]
        rate: u32,
        /// Seconds that clients have to take their sessions along
        #[arg(long, default_value_t = 60, value_name = "SECONDS")]
        wait_takeover: u32,
        /// Sessions that are given to other nodes in a second then
        #[arg(long, default_value_t = 500, value_name = "SESSIONS")]
        sess_rate: u32,
        /// Where clients go: host:port, several with spaces between [mqtt.server_reference]
        #[arg(long, value_name = "SERVERS")]
        redirect_to: Option<String>,
        /// The node [default: that of the data folder]
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Let clients in again
    Stop {
        /// The node [default: that of the data folder]
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },
    /// Show which nodes are being emptied
    Status,
}

/// Does it.
pub(super) fn run(command: &Command, broker: &Broker<'_>) -> Result<ExitCode, Failure> {
    match command {
        Command::Start {
            rate,
            wait_takeover,
            sess_rate,
            redirect_to,
            node,
        } => {
            let body = json!({
                "conn_evict_rate": rate,
                "wait_takeover": wait_takeover,
                "sess_evict_rate": sess_rate,
                "redirect_to": redirect_to,
            });
            let body = body.to_string();
            let answer = broker.request("POST", &path(broker, node.as_deref(), "start")?, &body)?;
            let status: Value = serde_json::from_str(&answer).unwrap_or_default();
            Ok(print(&fields(&status)))
        }
        Command::Stop { node } => {
            broker.request("POST", &path(broker, node.as_deref(), "stop")?, "")?;
            Ok(print("ok\n"))
        }
        Command::Status => {
            let status = broker.get("/load_rebalance/global_status")?;
            warn_of_missing(&status["missing"]);
            let row = |it: &Value| {
                let stats = &it["stats"];
                let cells = [&it["node"], &it["state"], &it["connection_eviction_rate"]];
                let counts = [&stats["initial_connected"], &stats["current_connected"]];
                cells.into_iter().chain(counts).map(plain).collect()
            };
            let draining = status["evacuations"].as_array();
            let rows: Vec<Vec<String>> = draining.into_iter().flatten().map(row).collect();
            Ok(print(&match rows.is_empty() {
                true => "no node is being emptied\n".to_owned(),
                false => table(&["NODE", "STATE", "RATE", "AT FIRST", "NOW"], &rows),
            }))
        }
    }
}

/// The path that begins or ends it for a node.
fn path(broker: &Broker<'_>, node: Option<&str>, what: &str) -> Result<String, Failure> {
    let node = match node {
        Some(node) => node.to_owned(),
        None => plain(&broker.get("/cluster")?["self"]),
    };
    let node = encode(&node);
    Ok(format!("/load_rebalance/{node}/evacuation/{what}"))
}
