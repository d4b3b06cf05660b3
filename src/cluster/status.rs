//! What is to be seen of the other nodes.

use std::time::Duration;

use shard_cluster::link::Outgoing;
use shard_cluster::members::{PeerStatus, State};
use shard_cluster::routes::{Position, Replica};

use shard_cluster::registry::{self, Member};
use shard_cluster::wire::Role;

use super::consensus::View;
use super::peer::Peer;
use super::relay::Passed;

/// The cluster that this node is in, as it knows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClusterStatus {
    /// A number that the first node of this cluster has drawn; zero if this node is in none.
    pub(crate) id: u64,
    /// How many commands have changed the members.
    pub(crate) version: u64,
    /// The members, this node among them. Empty while this node is joining or looks for a core.
    pub(crate) members: Vec<MemberStatus>,
    /// Term, leader, voters and learners of the consensus.
    pub(crate) consensus: View,
    /// It has left its cluster, and joins none before it is told to.
    pub(crate) stays_alone: bool,
}

/// This node among the others, as its thread of the links knows it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct OwnStatus {
    /// Its life.
    pub(crate) incarnation: u64,
    /// How long it may acknowledge QoS 1 and 2 if it hears nothing more; nothing if for ever.
    pub(crate) lease_left: Option<Duration>,
    /// Filters that others route to it.
    pub(crate) routes: u64,
    /// The end of the log of them.
    pub(crate) log: Position,
    /// Client identifiers.
    pub(crate) identifiers: Identifiers,
}

/// How many client identifiers a node has to do with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Identifiers {
    /// They are its own.
    pub(crate) owned: u64,
    /// It has claimed them, and waits.
    pub(crate) claimed: u64,
    /// It keeps whose they are.
    pub(crate) kept: u64,
    /// Claims of any node that it does not grant yet.
    pub(crate) queued: u64,
}

/// A member of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MemberStatus {
    /// Its name.
    pub(crate) name: String,
    /// Where its links are, `host:port`.
    pub(crate) address: String,
    /// What it is.
    pub(crate) role: Role,
    /// Whether it is getting what the others have, or takes part.
    pub(crate) state: registry::State,
    /// Whether its vote counts.
    pub(crate) is_voter: bool,
}

impl MemberStatus {
    pub(super) fn of((name, member): (&str, &Member), view: &View) -> Self {
        Self {
            name: name.to_owned(),
            address: member.address.to_string(),
            role: member.role,
            state: member.state,
            is_voter: view.voters.iter().any(|voter| *voter == *name),
        }
    }
}

/// Another node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeStatus {
    /// Its name.
    pub(crate) name: String,
    /// What it is thought to be.
    pub(crate) state: State,
    /// Whether there is a connection with it now.
    pub(crate) is_connected: bool,
    /// The node that passes on what goes to it, if the connection is not a direct one and there
    /// is a way.
    pub(crate) via: Option<String>,
    /// Whether the connection goes over other nodes.
    pub(crate) is_relayed: bool,
    /// What was passed on to it for other nodes.
    pub(crate) passed: Passed,
    /// Its life; zero if it was never heard.
    pub(crate) incarnation: u64,
    /// The way there and back.
    pub(crate) round_trip: Option<Duration>,
    /// Since when nothing was heard of it; nothing if it never was heard.
    pub(crate) silence: Option<Duration>,
    /// How much is left of the lease that it, a core, has given this node.
    pub(crate) lease_left: Duration,
    /// Filters that are routed to it.
    pub(crate) routes: u64,
    /// How far this node has followed the log of them.
    pub(crate) log: Position,
    /// How far this node's own log was sent to it over this connection.
    pub(crate) own_log_sent: Position,
    /// Bytes of messages for it that wait, or that it has not accepted yet.
    pub(crate) queued_bytes: u64,
    /// Bytes that were sent to it over this connection, with all that QUIC adds.
    pub(crate) sent_bytes: u64,
    /// Bytes that came from it.
    pub(crate) received_bytes: u64,
    /// Messages that it has not accepted yet.
    pub(crate) unacknowledged: u64,
}

pub(super) fn status_of(
    now_ms: u64,
    (name, known): (&str, &PeerStatus),
    routes: Option<&Replica>,
    peer: Option<&Peer>,
    via: Option<&str>,
) -> NodeStatus {
    let link = peer.and_then(|peer| peer.link.as_ref());
    let connection = link.map(|link| &link.connection);
    let stats = connection.map(quinn::Connection::stats);
    let outgoing = || peer.into_iter().flat_map(|peer| &peer.outgoing);
    let silent_ms = now_ms.saturating_sub(known.heard_ms);
    let lease_ms = known.lease_until_ms.saturating_sub(now_ms);
    NodeStatus {
        name: name.to_owned(),
        state: known.state,
        is_connected: connection.is_some(),
        via: via.map(str::to_owned),
        is_relayed: link.is_some_and(|link| link.is_relayed),
        passed: peer.map(|peer| peer.passed).unwrap_or_default(),
        incarnation: known.incarnation,
        round_trip: connection.map(quinn::Connection::rtt),
        silence: (known.incarnation > 0).then_some(Duration::from_millis(silent_ms)),
        lease_left: Duration::from_millis(lease_ms),
        routes: routes.map_or(0, Replica::count),
        log: routes.map(Replica::position).unwrap_or_default(),
        own_log_sent: link.and_then(|link| link.feed.sent()).unwrap_or_default(),
        queued_bytes: outgoing().map(|it| it.bytes() as u64).sum(),
        sent_bytes: stats.map_or(0, |stats| stats.udp_tx.bytes),
        received_bytes: stats.map_or(0, |stats| stats.udp_rx.bytes),
        unacknowledged: outgoing().map(Outgoing::unsettled).sum(),
    }
}
