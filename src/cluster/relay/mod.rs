//! Links between two nodes whose direct one is cut, over nodes that both reach.
//!
//! ```text
//!      a                              c                              b
//!   QUIC a–b ─> socket ─┐                                 ┌─> socket ─> QUIC a–b
//!                       └─ pass ══ stream of a–c ══> pass ══ stream of c–b ══┘
//! ```
//!
//! A relayed link is a QUIC connection like every other, whose packets travel as frames over a
//! stream of direct links. Each node has a second endpoint for them, on a [`socket`] without a
//! network, where made-up addresses ([`names`]) stand for nodes. So proof, hello, heartbeats and
//! messages go from end to end, and who passes packets on can neither read nor change them.
//!
//! Each packet finds its own way: a node gives it to the neighbour that is next
//! ([`Members::next_hop`](shard_cluster::members::Members::next_hop)), as a router would, or
//! drops it. It goes over direct links alone, and not over more than a few, so it cannot go round
//! and round. What waits for a link is bounded; the connection whose packets are dropped slows
//! down, as over a network.
//!
//! The node that has the smaller name of two dials over others when the direct link does not
//! work ([`needs`]). The direct dial goes on all the while, and what it makes takes the place of
//! the relayed link.

mod names;
mod needs;
mod pass;
mod queue;
mod socket;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use quinn::{Connection, Endpoint, EndpointConfig, SendStream, ServerConfig, TokioRuntime};
use shard_cluster::members::LINKS_MAX;
use shard_cluster::wire::{Reason, Relayed};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::names::Names;
use self::needs::Needs;
use self::socket::Socket;
use super::Shared;
use super::connection::{meet, write};
use super::dial::connect;
use super::ended::Ended;
use super::peer::LinkId;
pub(super) use names::is_made_up;
pub(super) use pass::Passed;
pub(super) use queue::Queue;

/// Bytes of the longest packet. They travel in streams, so it may be long.
pub(super) const PACKET_BYTES: u16 = 8 << 10;

/// Between two looks whether somebody is to be dialed over others.
const LOOK: Duration = Duration::from_millis(100);

/// How long the last words of this node may take over others.
const GOODBYE: Duration = Duration::from_millis(50);

/// Bytes of an empty buffer that is kept.
const KEPT_BYTES: usize = 64 << 10;

/// What this node has for relayed links.
pub(super) struct Relay {
    pub(super) endpoint: Endpoint,
    socket: Arc<Socket>,
    names: RefCell<Names>,
}

impl Relay {
    pub(super) fn new(
        runtime: &Runtime,
        mut config: EndpointConfig,
        server: ServerConfig,
    ) -> Result<Self, Box<dyn Error>> {
        config.max_udp_payload_size(PACKET_BYTES)?;
        let socket = Arc::<Socket>::default();
        let _context = runtime.enter();
        let (shown, runtime) = (Arc::clone(&socket), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), shown, runtime)?;
        Ok(Self {
            endpoint,
            socket,
            names: RefCell::default(),
        })
    }

    /// Who or what is at an address, for the log.
    pub(super) fn place(&self, address: SocketAddr) -> String {
        match self.names.borrow().name(address) {
            Some(name) => format!("{name}, over other nodes,"),
            None => address.to_string(),
        }
    }

    /// Whether a node that says hello is the one that its packets come from.
    pub(super) fn check(&self, address: SocketAddr, node: &str) -> Result<(), Ended> {
        let names = self.names.borrow();
        if !is_made_up(address) || names.name(address) == Some(node) {
            return Ok(());
        }
        let text = format!("{node} says hello in the name of another node");
        Err(Ended::refused(Reason::Member, text))
    }
}

/// Passes on what this node itself sends over others, for ever.
pub(super) async fn send(shared: Rc<Shared>) {
    let relay = &shared.relay;
    loop {
        let packets = relay.socket.take();
        if packets.is_empty() {
            relay.socket.notify.notified().await;
            continue;
        }
        let mut hub = shared.hub.borrow_mut();
        let (names, own) = (relay.names.borrow(), hub.name().to_owned());
        for (address, packet) in &packets {
            if let Some(to) = names.name(*address) {
                let packet = Relayed {
                    links: LINKS_MAX,
                    from: &own,
                    to,
                    packet,
                };
                hub.pass(None, &packet);
            }
        }
    }
}

/// A packet has come over the link with a neighbour: for this node, or to be passed on.
pub(super) fn come(shared: &Shared, id: LinkId, packet: &Relayed<'_>) -> Result<(), Ended> {
    let mut hub = shared.hub.borrow_mut();
    hub.linked(id).ok_or_else(Ended::replaced)?;
    if hub.pass(Some(id), packet) {
        let mut names = shared.relay.names.borrow_mut();
        let from = names.address(packet.from, &hub.roster);
        shared.relay.socket.come(from, packet.packet);
    }
    Ok(())
}

/// Sends what others have for a neighbour.
pub(super) async fn passed_out(
    shared: Rc<Shared>,
    id: LinkId,
    connection: Connection,
    notify: Rc<Notify>,
) -> Result<(), Ended> {
    let mut stream: Option<SendStream> = None;
    let mut frames = Vec::new();
    loop {
        frames.clear();
        shared.hub.borrow_mut().take_passed(id, &mut frames)?;
        if frames.is_empty() {
            if frames.capacity() > KEPT_BYTES {
                frames = Vec::new();
            }
            notify.notified().await;
            continue;
        }
        let stream = match &mut stream {
            Some(stream) => stream,
            None => stream.insert(connection.open_uni().await?),
        };
        write(stream, &frames).await?;
    }
}

/// Dials over others whom this node is to dial and does not reach, for ever.
pub(super) async fn keep(shared: Rc<Shared>) {
    let mut needs = Needs::default();
    let mut attempts = JoinSet::new();
    let mut busy = BTreeSet::new();
    let mut clock = interval(LOOK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {
                let (now_ms, mut nodes) = shared.hub.borrow().without_a_way();
                nodes.retain(|(name, _)| !busy.contains(name));
                for name in needs.look(now_ms, nodes) {
                    busy.insert(name.clone());
                    attempts.spawn_local(attempt(Rc::clone(&shared), name));
                }
            }
            Some(ended) = attempts.join_next() => {
                let Ok(name) = ended else { continue };
                busy.remove(&name);
                needs.ended(shared.hub.borrow().plane.now_ms(), name);
            }
        }
    }
}

/// Connects with a node over others, and serves the connection until it is lost or not needed
/// any more. Returns the node's name.
async fn attempt(shared: Rc<Shared>, name: String) -> String {
    let address = {
        let hub = shared.hub.borrow();
        shared.relay.names.borrow_mut().address(&name, &hub.roster)
    };
    let (endpoint, client) = (&shared.relay.endpoint, shared.guard.relayed_client());
    let met = match connect(&shared, (endpoint, client), address).await {
        Ok(connection) => meet(&shared, connection, Some(&name)).await,
        Err(why) => Err(why),
    };
    match met {
        Ok(met) => met.serve(&shared).await,
        Err(why) => debug!("node {name} cannot be reached over others: {why}"),
    }
    name
}

/// Tells the nodes that are linked over others that this one stops, while the direct links are
/// still there.
pub(super) async fn stop(shared: &Shared) {
    if shared.hub.borrow_mut().stop_relayed() {
        sleep(GOODBYE).await;
    }
}
