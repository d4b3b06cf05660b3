//! Finding the other nodes of a cluster.
//!
//! A strategy looks where the operator says that nodes are, and gives the complete set of what
//! is there each time that it has looked. It finds, and nothing else: a node that is not found
//! any more stays connected, and whether somebody belongs to the cluster is decided over the
//! link, by the cookie and the name of the cluster. So what a DNS server or etcd says needs no
//! trust, and nothing is lost while they are away.
//!
//! | module | what it holds |
//! |---|---|
//! | [`found`] | what can be found: a node by name, or a place where one may be |
//! | [`reports`] | the log: what is found, and that it does not work, each said once |
//! | [`places`] | which places are to be asked who is there |
//! | [`dns`] | A, AAAA and SRV records |
//! | [`etcd`] | keys of etcd, under a lease |
//! | [`k8s`] | the endpoints of a Kubernetes service |
//! | [`url`], [`http`] | requests to the latter two |

pub(crate) mod dns;
pub(crate) mod etcd;
mod found;
mod http;
pub(crate) mod k8s;
mod places;
mod reports;
pub(crate) mod url;

use std::time::Duration;

pub(super) use found::{Found, Place};
pub(crate) use http::Files;
pub(super) use places::{Met, Places};
use reports::Reports;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(5);

/// How a node looks for others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Strategy {
    /// It does not: others are named, or come by themselves.
    None,
    /// By the records of a name.
    Dns(dns::Settings),
    /// By what others have written to etcd.
    Etcd(etcd::Settings),
    /// By the endpoints of a service.
    K8s(k8s::Settings),
}

/// What the strategies know of this node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Own {
    /// Its cluster.
    pub(super) cluster: String,
    /// Its name.
    pub(super) name: String,
    /// Where others reach it, as a seed is written.
    pub(super) seed: String,
    /// The port of its links: that of the others too, where nothing names another one.
    pub(super) port: u16,
    /// The family of the addresses that it can reach.
    pub(super) is_ipv4: bool,
}

/// Looks for others for ever. `found` gets everything that is there, whenever that is known
/// anew.
pub(super) async fn run(strategy: Strategy, own: Own, found: impl Fn(&[Found])) {
    match strategy {
        Strategy::None => {}
        Strategy::Dns(settings) => dns::run(settings, &own, Reports::new("dns", found)).await,
        Strategy::Etcd(settings) => etcd::run(settings, &own, Reports::new("etcd", found)).await,
        Strategy::K8s(settings) => k8s::run(settings, &own, Reports::new("k8s", found)).await,
    }
}
