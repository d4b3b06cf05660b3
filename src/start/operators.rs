//! The HTTP API for operators.

use std::net::SocketAddr;
use std::path::Path;

use shards::settings::Listener;

use crate::config::Config;
use crate::failure::Failure;
use crate::http::{self, Links, Listeners, Running, Settings};
use crate::{cluster, plane};

/// What is needed to start it, with its listeners open.
pub(super) struct Operators {
    settings: Settings,
    listeners: Listeners,
}

/// Opens the listeners of the HTTP API.
pub(super) fn prepare(
    config: &Config,
    data_dir: &Path,
    listeners: &[Listener],
    open_files: u64,
) -> Result<Operators, Failure> {
    // As other nodes know it: without a port.
    let own = config.cluster.as_ref().map(|cluster| &cluster.own.name);
    let settings = Settings {
        node: own.unwrap_or(&config.node_name).clone(),
        cluster: config.cluster_name.clone(),
        listeners: listeners.iter().map(|it| it.name.clone()).collect(),
        handover: config.cluster.as_ref().map(|cluster| cluster.handover),
        server_reference: config.mqtt.server_reference.clone(),
        open_files,
        data_dir: data_dir.to_owned(),
    };
    let listeners = http::listen(data_dir, config.http)?;
    Ok(Operators {
        settings,
        listeners,
    })
}

impl Operators {
    /// Where its TCP port is, if there is one.
    pub(super) fn tcp(&self) -> Option<SocketAddr> {
        self.listeners.tcp()
    }

    /// Starts the thread that serves them.
    pub(super) fn start(
        self,
        running: &mut plane::Running,
        links: Option<&cluster::Running>,
    ) -> Result<Running, Failure> {
        let operator = running.take_operator();
        let operator =
            operator.ok_or_else(|| Failure::new("the shards do not know the HTTP API"))?;
        let links = links.map(|links| Links {
            handle: links.handle(),
            board: links.board(),
        });
        self.listeners.start(self.settings, operator, links)
    }
}
