//! Nodes by the records of a name: A and AAAA name their addresses, SRV their hosts and ports.
//!
//! Answers are good for as long as they say; then the name is looked up again.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::sleep;

use super::reports::Reports;
use super::{Found, Own, PAUSE, Place};
use crate::cluster::seed::PORT;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// That there are no records is believed for so long at most: they come when nodes start.
const NOTHING_MAX: Duration = Duration::from_secs(5);

/// Which records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Records {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Hosts and ports.
    Srv,
}

/// `cluster.dns`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Settings {
    /// `name`.
    pub(crate) name: String,
    /// `record_type`.
    pub(crate) records: Records,
    /// `server`; if there is none, those of `/etc/resolv.conf`.
    pub(crate) server: Option<SocketAddr>,
}

/// Looks up the name for ever.
pub(super) async fn run(settings: Settings, own: &Own, mut reports: Reports<impl Fn(&[Found])>) {
    let mut resolver = None;
    loop {
        match look(&settings, own, &mut resolver).await {
            Ok(found) => reports.found(found),
            Err(error) => {
                reports.failed(&error);
                // The system's settings may be others by now.
                resolver = None;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Looks up the name once.
async fn look(
    settings: &Settings,
    own: &Own,
    kept: &mut Option<TokioResolver>,
) -> Result<Vec<Found>, String> {
    let resolver = match kept.take() {
        Some(resolver) => resolver,
        None => resolver_of(settings.server).map_err(|error| error.to_string())?,
    };
    let resolver = kept.insert(resolver);
    let places = match settings.records {
        Records::A => addresses(resolver, &settings.name, true, own.port).await,
        Records::Aaaa => addresses(resolver, &settings.name, false, own.port).await,
        Records::Srv => services(resolver, settings, own).await,
    };
    let places = places.map_err(|error| explain(settings, &error))?;
    Ok(places.into_iter().map(Found::Place).collect())
}

/// A resolver that asks a server, or those of the system.
fn resolver_of(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let mut named = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut named.connections {
                connection.port = server.port();
            }
            let config = ResolverConfig::from_name_servers(vec![named]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = PATIENCE;
    options.negative_max_ttl = Some(NOTHING_MAX);
    builder.build()
}

/// The addresses of a name.
async fn addresses(
    resolver: &TokioResolver,
    name: &str,
    is_ipv4: bool,
    port: u16,
) -> Result<Vec<Place>, NetError> {
    let records = if is_ipv4 {
        RecordType::A
    } else {
        RecordType::AAAA
    };
    let answer = resolver.lookup(name, records).await?;
    let hosts = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0.to_string()),
            RData::AAAA(address) => Some(address.0.to_string()),
            _ => None,
        });
    Ok(hosts.map(|host| Place { host, port }).collect())
}

/// The hosts and ports that provide a service. Where a server is named that the system does not
/// ask, that one says their addresses, too.
async fn services(
    resolver: &TokioResolver,
    settings: &Settings,
    own: &Own,
) -> Result<Vec<Place>, NetError> {
    let answer = resolver
        .lookup(settings.name.as_str(), RecordType::SRV)
        .await?;
    let mut places = Vec::new();
    for record in answer.answers() {
        let RData::SRV(service) = &record.data else {
            continue;
        };
        let Some(place) = place_of(&service.target.to_utf8(), service.port) else {
            continue;
        };
        if settings.server.is_none() {
            places.push(place);
        } else {
            let (host, port) = (place.host.as_str(), place.port);
            places.extend(addresses(resolver, host, own.is_ipv4, port).await?);
        }
    }
    Ok(places)
}

/// The place of a service. The target `.` says that there is none.
fn place_of(target: &str, port: u16) -> Option<Place> {
    let host = target.strip_suffix('.').unwrap_or(target).to_owned();
    let port = if port == 0 { PORT } else { port };
    (!host.is_empty()).then_some(Place { host, port })
}

/// What is wrong, and what is to be looked at.
fn explain(settings: &Settings, error: &NetError) -> String {
    let Settings { name, records, .. } = settings;
    let records = match records {
        Records::A => "A",
        Records::Aaaa => "AAAA",
        Records::Srv => "SRV",
    };
    if error.is_nx_domain() {
        format!("there is no name {name}: see cluster.dns.name")
    } else if error.is_no_records_found() {
        format!("{name} has no {records} records: see cluster.dns.name and record_type")
    } else {
        format!("the {records} records of {name} cannot be looked up: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_a_host_with_a_port() {
        let place = place_of("node1.example.", 4371).unwrap();
        assert_eq!((&*place.host, place.port), ("node1.example", 4371));
        assert_eq!(place_of("node1.example.", 0).unwrap().port, PORT);
        assert_eq!(place_of(".", 4370), None);
    }
}
