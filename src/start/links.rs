//! The links to other nodes, if there are to be any.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use crate::cluster::{self, Running, tls};
use crate::config::Config;
use crate::config::bind::Bind;
use crate::config::cluster::Cluster;
use crate::failure::Failure;
use crate::plane;

/// What is needed to start them, with their address bound.
pub(super) struct Links {
    settings: cluster::Settings,
    socket: UdpSocket,
}

/// Binds the address of the links; nothing if this node is alone.
pub(super) fn prepare(config: &Config, data_dir: &Path) -> Result<Option<Links>, Failure> {
    let Some(cluster) = &config.cluster else {
        return Ok(None);
    };
    tls::check(&cluster.security, &cluster.own.host)?;
    let socket = cluster::bind(address(cluster)?)?;
    let settings = cluster::Settings {
        cluster: cluster.name.clone(),
        name: cluster.own.name.clone(),
        cookie: cluster.cookie.clone(),
        own: cluster.own.clone(),
        seeds: cluster.seeds.clone(),
        role: cluster.role,
        autoclean: cluster.autoclean,
        discovery: cluster.discovery.clone(),
        policy: cluster.policy,
        autoheal: cluster.autoheal,
        security: cluster.security.clone(),
        data_dir: Some(data_dir.to_owned()),
        hash_seed: super::random(),
    };
    Ok(Some(Links { settings, socket }))
}

/// Where the links are: at the host in the node's name, unless something else is said.
fn address(cluster: &Cluster) -> Result<SocketAddr, Failure> {
    let is_wanted = |address: &SocketAddr| cluster.is_ipv4.is_none_or(|it| it == address.is_ipv4());
    let port = match cluster.bind {
        Some(Bind::Address(address)) if !is_wanted(&address) => {
            return Err(Failure::new(format!(
                "cluster.bind: {address} is of the other family than cluster.proto_dist"
            ))
            .advise("inet_tcp and inet_tls are IPv4; inet6_tcp and inet6_tls are IPv6"));
        }
        Some(Bind::Address(address)) => return Ok(address),
        Some(Bind::Port(port)) => port,
        None => cluster.own.port,
    };
    let own = &cluster.own;
    let mut addresses = own.addresses().map_err(|error| {
        Failure::new(format!("node.name: {} does not resolve: {error}", own.host))
            .advise("Other nodes find this one by that host; or say where it is with cluster.bind")
    })?;
    let address = addresses.find(is_wanted).ok_or_else(|| {
        Failure::new(format!(
            "node.name: {} has no address of the family in cluster.proto_dist",
            own.host
        ))
        .advise("inet_tcp and inet_tls are IPv4; inet6_tcp and inet6_tls are IPv6")
    })?;
    Ok(SocketAddr::new(address.ip(), port))
}

impl Links {
    /// Starts the thread that has the links.
    pub(super) fn start(self, running: &mut plane::Running) -> Result<Running, Failure> {
        let nodes = running.take_nodes();
        let nodes = nodes.ok_or_else(|| Failure::new("the shards do not know other nodes"))?;
        cluster::start(self.settings, self.socket, Box::new(nodes))
    }
}
