//! How connections between nodes are protected: TLS 1.3 with keys that the nodes make
//! themselves, or with certificates of the operator. Both sides show that they know the cookie in
//! either case, by a [proof](super::proof) that is bound to the connection and to both of its
//! sides.
//!
//! The two ways have names of their own in the handshake (ALPN), so that nodes with different
//! settings can say what is the matter.

mod certificates;
mod keys;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, IdleTimeout, ServerConfig, TransportConfig, VarInt,
};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use self::certificates::Contents;
use super::ended::Ended;
use super::{Shared, relay, rpc};
use crate::failure::Failure;
pub(crate) use certificates::Files;

/// A connection over which nothing came for so long is dead.
const IDLE: Duration = Duration::from_secs(3);

/// Something is sent at least so often.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// The time there and back that is assumed until it is known: what is lost meanwhile, as when a
/// node is dialed that is just starting, is sent again after three times as long.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Bytes of a stream that may be under way: so much for each shard of the other node.
const STREAM_WINDOW: u32 = 4 << 20;

/// Bytes of a connection that may be under way.
const WINDOW: u32 = 32 << 20;

/// Bytes of a connection over other nodes that may be under way: so many may lie in their queues,
/// and heartbeats behind them.
const RELAYED_WINDOW: u64 = 1 << 20;

/// Streams that the other node may open for messages: one for each shard.
const STREAMS: u32 = 1024;

/// Between two looks at the files with certificates.
const LOOK: Duration = Duration::from_secs(10);

/// TLS has an alert for a peer that speaks something else.
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// How this node protects its links.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Security {
    /// With a key that it makes.
    #[default]
    Keys,
    /// With certificates.
    Certificates(Files),
}

/// Both sides' configuration.
pub(super) struct Protection {
    pub(super) client: ClientConfig,
    pub(super) server: ServerConfig,
}

/// What protects the connections that are made from now on.
pub(super) struct Guard {
    security: Security,
    client: RefCell<ClientConfig>,
    /// For connections that go over other nodes.
    relayed: Arc<TransportConfig>,
    contents: RefCell<Option<Contents>>,
}

/// Whether the links of the node at a host can be protected so.
pub(crate) fn check(security: &Security, host: &str) -> Result<(), Failure> {
    let guarded = Guard::new(security.clone(), host);
    guarded.map(drop).map_err(|error| {
        Failure::new(format!("cluster.ssl_options: {error}"))
            .advise("Other nodes would not accept this one: see docs/cluster.md, Certificates")
    })
}

impl Protection {
    /// Configurations of QUIC with these of TLS.
    fn new(
        alpn: &[u8],
        mut server: rustls::ServerConfig,
        mut client: rustls::ClientConfig,
    ) -> Result<Self, Box<dyn core::error::Error>> {
        let transport = Arc::new(transport()?);
        server.alpn_protocols = vec![alpn.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let server = Arc::new(QuicServerConfig::try_from(server)?);
        let mut server = ServerConfig::with_crypto(server);
        server.transport_config(Arc::clone(&transport));

        client.alpn_protocols = vec![alpn.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?));
        client.transport_config(transport);
        Ok(Self { client, server })
    }
}

impl Guard {
    /// Makes a key, or reads the certificates of the node at a host.
    pub(super) fn new(security: Security, host: &str) -> Result<(Self, ServerConfig), String> {
        let (protection, contents) = match &security {
            Security::Keys => (keys::protection().map_err(|error| error.to_string())?, None),
            Security::Certificates(files) => {
                let contents = certificates::read(files)?;
                (
                    certificates::protection(files, &contents, host)?,
                    Some(contents),
                )
            }
        };
        let guard = Self {
            security,
            client: RefCell::new(protection.client),
            relayed: Arc::new(relayed().map_err(|error| error.to_string())?),
            contents: RefCell::new(contents),
        };
        Ok((guard, protection.server))
    }

    /// What the next connection is made with.
    pub(super) fn client(&self) -> ClientConfig {
        self.client.borrow().clone()
    }

    /// What the next connection that goes over other nodes is made with.
    pub(super) fn relayed_client(&self) -> ClientConfig {
        let mut client = self.client();
        client.transport_config(Arc::clone(&self.relayed));
        client
    }

    /// The same for connections that others make.
    pub(super) fn relayed_server(&self, server: &ServerConfig) -> ServerConfig {
        let mut server = server.clone();
        server.transport_config(Arc::clone(&self.relayed));
        server
    }

    /// Whether the certificate at the other end of a connection is that of a node.
    pub(super) fn check(&self, connection: &Connection, node: &str) -> Result<(), String> {
        match self.security {
            Security::Keys => Ok(()),
            Security::Certificates(_) => certificates::is_of(connection.peer_identity(), node),
        }
    }

    /// Why there is no connection.
    pub(super) fn explain(&self, error: &ConnectionError) -> Ended {
        let code = match error {
            ConnectionError::TransportError(error) => u64::from(error.code),
            ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
            _ => 0,
        };
        if code != NO_APPLICATION_PROTOCOL {
            return Ended::of(error);
        }
        let keys = "a key that it has made itself (inet_tcp, inet6_tcp)";
        let certificates = "a certificate (inet_tls, inet6_tls)";
        let (here, there) = match self.security {
            Security::Keys => (keys, certificates),
            Security::Certificates(_) => (certificates, keys),
        };
        Ended::Lost(format!(
            "this node protects its links with {here}, that one with {there}: set the same \
             cluster.proto_dist on both"
        ))
    }
}

/// Looks for new certificates in the files, for ever. Connections that are made from then on have
/// them. Files that do not fit are left alone: the former ones stay.
pub(super) async fn renew(shared: Rc<Shared>, host: String) {
    let Security::Certificates(files) = &shared.guard.security else {
        return;
    };
    // One after the other is replaced: what does not fit is looked at twice before it is said.
    let mut refused: Option<(String, u32)> = None;
    loop {
        sleep(LOOK).await;
        let known = shared.guard.contents.borrow().clone();
        let (files, host) = (files.clone(), host.clone());
        let looked = spawn_blocking(move || {
            let contents = certificates::read(&files)?;
            if known.as_ref() == Some(&contents) {
                return Ok(None);
            }
            let protection = certificates::protection(&files, &contents, &host)?;
            Ok::<_, String>(Some((protection, contents)))
        });
        match looked.await {
            Ok(Ok(None)) => refused = None,
            Ok(Ok(Some((protection, contents)))) => {
                refused = None;
                let relayed = shared.guard.relayed_server(&protection.server);
                shared.relay.endpoint.set_server_config(Some(relayed));
                let endpoint = &shared.dials.endpoint;
                endpoint.set_server_config(Some(protection.server));
                *shared.guard.client.borrow_mut() = protection.client;
                *shared.guard.contents.borrow_mut() = Some(contents);
                info!("the links to other nodes have a new certificate; new connections show it");
            }
            Ok(Err(error)) => {
                let former = refused.take().filter(|(former, _)| *former == error);
                let times = former.map_or(1, |(_, times)| times.saturating_add(1));
                if times == 2 {
                    warn!("the new certificate is not used, the former one stays: {error}");
                }
                refused = Some((error, times));
            }
            Err(_) => {}
        }
    }
}

fn transport() -> Result<TransportConfig, Box<dyn core::error::Error>> {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE)?))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(ROUND_TRIP)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(1 + rpc::UNDER_WAY_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .datagram_receive_buffer_size(None);
    Ok(transport)
}

/// For connections over other nodes. Their packets travel in streams: how long they may be is
/// known, and nothing is gained by trying.
fn relayed() -> Result<TransportConfig, Box<dyn core::error::Error>> {
    let mut transport = transport()?;
    transport
        .initial_mtu(relay::PACKET_BYTES)
        .min_mtu(relay::PACKET_BYTES)
        .mtu_discovery_config(None)
        .send_window(RELAYED_WINDOW);
    Ok(transport)
}
