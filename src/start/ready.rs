//! What is said when the broker is up.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;

use shards::settings::Listener;

use super::data_folder::DataFolder;
use super::placement::Placement;
use crate::config::Config;
use crate::config::cpu_list::CpuList;
use crate::host::limits;

/// What is known before the data plane starts.
pub(crate) struct Ready<'a> {
    pub(crate) config: &'a Config,
    pub(crate) placement: &'a Placement,
    /// With the ports that were found for those that asked for any.
    pub(crate) listeners: &'a [Listener],
    /// The TCP port of the HTTP API, if there is one.
    pub(crate) http: Option<SocketAddr>,
}

/// The text.
pub(crate) struct Announcement(String);

impl Ready<'_> {
    /// What to say once the shards listen.
    pub(crate) fn announcement(&self, folder: &DataFolder, open_files: u64) -> Announcement {
        let shards = self.placement.shards.len();
        let connections = limits::connections(open_files, shards, self.listeners.len());
        let mut text = String::new();
        _ = writeln!(text, "ShardMQ {} is ready", env!("CARGO_PKG_VERSION"));
        _ = writeln!(text, "  node        {}", self.config.node_name);
        for Listener { name, bind, .. } in self.listeners {
            _ = writeln!(text, "  listener    {bind} (tcp, {name})");
        }
        if let Some(http) = self.http {
            _ = writeln!(text, "  http        http://{http}/api/v5/status");
        }
        _ = writeln!(
            text,
            "  shards      {shards}, on {}",
            cpus(&self.placement.shards)
        );
        if !self.placement.control.is_empty() {
            _ = writeln!(text, "  control     on {}", cpus(&self.placement.control));
        }
        _ = writeln!(
            text,
            "  open files  {open_files}, enough for {connections} connections"
        );
        _ = writeln!(text, "  data        {}", folder.path().display());
        if self.config.allow_anonymous != Some(true) {
            _ = writeln!(text, "{}", self.how_to_open());
        }
        Announcement(text)
    }

    /// Why nobody else can connect, and how to change it.
    fn how_to_open(&self) -> String {
        let first = self.listeners.first();
        let (name, port) = first.map_or(("default", 1883), |l| (&*l.name, l.bind.port()));
        format!(
            "No authentication is configured, so only this machine can connect. To let everybody \
             in:\n  shardmq --set listeners.tcp.{name}.bind=0.0.0.0:{port} \
             --set allow_anonymous=true"
        )
    }
}

/// One CPU or several.
fn cpus(list: &CpuList) -> String {
    format!("{} {list}", if list.len() == 1 { "CPU" } else { "CPUs" })
}

impl Announcement {
    /// Says it on standard output, whether or not somebody listens.
    pub(crate) fn show(&self) {
        let mut out = io::stdout().lock();
        _ = out.write_all(self.0.as_bytes()).and_then(|()| out.flush());
    }
}
