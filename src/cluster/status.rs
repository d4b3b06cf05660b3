//! What is to be seen of the other nodes.

use std::time::Duration;

use shard_cluster::link::Outgoing;
use shard_cluster::members::{PeerStatus, State};
use shard_cluster::routes::Replica;

use super::peer::Peer;

/// Another node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeStatus {
    /// Its name.
    pub(crate) name: String,
    /// What it is thought to be.
    pub(crate) state: State,
    /// Whether there is a connection with it now.
    pub(crate) is_connected: bool,
    /// Its life; zero if it was never heard.
    pub(crate) incarnation: u64,
    /// The way there and back.
    pub(crate) round_trip: Option<Duration>,
    /// Filters that are routed to it.
    pub(crate) routes: u64,
    /// Bytes that were sent to it over this connection, with all that QUIC adds.
    pub(crate) sent_bytes: u64,
    /// Bytes that came from it.
    pub(crate) received_bytes: u64,
    /// Messages that it has not accepted yet.
    pub(crate) unacknowledged: u64,
}

pub(super) fn status_of(
    name: &str,
    known: &PeerStatus,
    routes: Option<&Replica>,
    peer: Option<&Peer>,
) -> NodeStatus {
    let connection = peer.and_then(|peer| peer.link.as_ref());
    let connection = connection.map(|link| &link.connection);
    let stats = connection.map(quinn::Connection::stats);
    let outgoing = peer.into_iter().flat_map(|peer| &peer.outgoing);
    NodeStatus {
        name: name.to_owned(),
        state: known.state,
        is_connected: connection.is_some(),
        incarnation: known.incarnation,
        round_trip: connection.map(quinn::Connection::rtt),
        routes: routes.map_or(0, Replica::count),
        sent_bytes: stats.map_or(0, |stats| stats.udp_tx.bytes),
        received_bytes: stats.map_or(0, |stats| stats.udp_rx.bytes),
        unacknowledged: outgoing.map(Outgoing::unsettled).sum(),
    }
}
