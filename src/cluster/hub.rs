//! What this node knows of all others: the pure crate put together with the shards.
//!
//! Nothing here waits. The tasks of the connections call it with what has come, and ask it for
//! what is to be sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::time::Duration;

use log::{debug, error, info, warn};
use protocol::message::MessageRef;
use quinn::Connection;
use shard_cluster::link::{LinkError, Outgoing, Transmit};
use shard_cluster::members::{self, Event, Members, Policy};
use shard_cluster::routes::{self, Routes};
use shard_cluster::wire::{Accepted, Forward, Frame, Hello, Reason, Role};
use shard_cluster::wire::{VERSION_MAX, VERSION_MIN};

use super::condemned::Condemned;
use super::ended::Ended;
use super::gather::Gathering;
use super::given::Given;
use super::incarnation::Incarnations;
use super::owners::Owners;
use super::peer::{Link, LinkId, Peer};
use super::plane::Plane;
use super::reach::Reach;
use super::status::{NodeStatus, OwnStatus, status_of};

/// Other nodes that one process can have to do with.
const NODES_MAX: u16 = 64;

/// Bytes that the control stream takes at once.
const CONTROL_BYTES: usize = 128 << 10;

/// Digests of routes are sent at every so many-th heartbeat.
const HEARTBEATS_A_DIGEST: u32 = 10;

/// This node among others.
pub(super) struct Hub {
    pub(super) plane: Box<dyn Plane>,
    pub(super) members: Members,
    pub(super) routes: Routes,
    pub(super) gathering: Gathering,
    pub(super) owners: Owners,
    reach: Reach,
    incarnations: Incarnations,
    condemned: Condemned,
    pub(super) given: Given,
    /// Whether this node goes on by itself when others had given it up.
    autoheal: bool,
    /// The life with which the process began.
    boot: u64,
    /// Where others reach this node.
    address: String,
    /// By slot.
    pub(super) peers: Vec<Peer>,
    pub(super) slots: BTreeMap<Box<str>, u16>,
    /// Slots of nodes that are no members any more, and since when.
    pub(super) free: VecDeque<(u16, u64)>,
    /// The other members of the cluster.
    pub(super) roster: BTreeSet<Box<str>>,
    /// Members with a new connection, which were not asked yet what they know of this node.
    pub(super) fresh: BTreeSet<Box<str>>,
    last_serial: u64,
    heartbeats: u32,
    was_fenced: bool,
}

/// What a hub is made of.
pub(super) struct Begin {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) address: String,
    /// What it is.
    pub(super) role: Role,
    pub(super) incarnations: Incarnations,
    pub(super) condemned: Condemned,
    /// Leases that former processes gave, and for how long they gave none.
    pub(super) given: (Given, u64),
    pub(super) policy: Policy,
    pub(super) autoheal: bool,
    pub(super) seed: u64,
}

impl Hub {
    pub(super) fn new(mut begin: Begin, mut plane: Box<dyn Plane>) -> Self {
        plane.named_self(&begin.name);
        let boot = begin.incarnations.next();
        let config = members::Config::new(&begin.cluster, &begin.name, begin.role, boot, &[]);
        let config = members::Config {
            policy: begin.policy,
            ..config
        };
        let limits = routes::Limits::default();
        let mut members = Members::new(config, begin.condemned.lives());
        let (given, rested_ms) = begin.given;
        members.set_rested_ms(rested_ms);
        let mut hub = Self {
            plane,
            owners: Owners::new(&members),
            reach: Reach::default(),
            members,
            routes: Routes::new(&begin.name, boot, begin.seed, limits),
            gathering: Gathering::default(),
            incarnations: begin.incarnations,
            condemned: begin.condemned,
            given,
            autoheal: begin.autoheal,
            boot,
            address: begin.address,
            peers: Vec::new(),
            slots: BTreeMap::new(),
            free: VecDeque::new(),
            roster: BTreeSet::new(),
            fresh: BTreeSet::new(),
            last_serial: 0,
            heartbeats: 0,
            was_fenced: true,
        };
        // Nobody knows yet whose votes count: until then this node has no lease.
        let unknown = [hub.name().to_owned(), String::new()];
        hub.set_cores(&unknown, u64::MAX);
        hub.tell_lease();
        hub
    }

    /// Tells the shards until when they may acknowledge, and the log when that changes.
    fn tell_lease(&mut self) {
        let now_ms = self.plane.now_ms();
        self.owners.set_lease(&self.members, now_ms);
        // Shards hear whose their clients are before they may act.
        let unheard = self.was_fenced && self.plane.has_owner_events();
        let until_ms = match unheard || self.owners.is_held_back(now_ms) {
            true => 0,
            false => self.acknowledges_until_ms(now_ms),
        };
        self.plane.set_lease_until(until_ms);
        let is_fenced = now_ms >= until_ms;
        match (mem::replace(&mut self.was_fenced, is_fenced), is_fenced) {
            (false, true) if self.members.has_ended() => {}
            (false, true) => warn!(
                "this node has no lease from a majority of the cores: it acknowledges no QoS 1 \
                 and 2 until it has one (cluster.partition_policy = fence)"
            ),
            (true, false) => info!("this node has a lease: it acknowledges QoS 1 and 2"),
            _ => {}
        }
    }

    /// The name of this node.
    pub(super) fn name(&self) -> &str {
        &self.members.config().name
    }

    /// The cluster of this node.
    pub(super) fn cluster(&self) -> &str {
        &self.members.config().cluster
    }

    /// The life with which this process began.
    pub(super) const fn boot(&self) -> u64 {
        self.boot
    }

    /// This node's life.
    pub(super) fn incarnation(&self) -> u64 {
        self.members.config().incarnation
    }

    /// Writes who this node is.
    pub(super) fn put_hello(&self, out: &mut Vec<u8>) {
        let config = self.members.config();
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            cluster: &config.cluster,
            node: &config.name,
            incarnation: config.incarnation,
            boot: self.boot,
            role: config.role,
            shards: self.plane.shards(),
            address: &self.address,
        }
        .put(out);
    }

    /// A node has said hello over a new connection. A former connection with it is closed:
    /// whoever connects does so only when it has none.
    pub(super) fn greet(
        &mut self,
        hello: &Hello<'_>,
        connection: &Connection,
    ) -> Result<LinkId, Ended> {
        if *hello.node == *self.name() {
            let text = format!("the name {} is that of another node too", hello.node);
            return Err(Ended::refused(Reason::Member, text));
        }
        let welcome = self.members.check(hello);
        welcome.map_err(|reason| self.refusal(reason, hello))?;
        let slot = self.slot(hello.node)?;
        let is_guest = !self.roster.contains(hello.node);
        if !is_guest {
            self.hear(slot, hello)?;
        }
        self.last_serial += 1;
        let serial = self.last_serial;
        let shards = self.plane.shards();
        let link = Link::new(serial, hello, connection.clone(), shards, is_guest);
        let peer = &mut self.peers[usize::from(slot)];
        let former = peer.link.replace(link);
        if former.is_none() && peer.is_up {
            info!("node {} is connected again", peer.name);
        }
        self.replaced(hello.node, former.as_ref());
        if !is_guest {
            self.fresh.insert(hello.node.into());
            self.begin(slot);
        }
        Ok(LinkId { slot, serial })
    }

    /// A member has said hello.
    pub(super) fn hear(&mut self, slot: u16, hello: &Hello<'_>) -> Result<(), Ended> {
        let now_ms = self.plane.now_ms();
        let welcome = self.members.hello(now_ms, hello);
        welcome.map_err(|reason| self.refusal(reason, hello))?;
        let peer = &mut self.peers[usize::from(slot)];
        let former = peer.incoming.boot();
        let heard = peer.incoming.hello(hello.boot, hello.shards);
        heard.map_err(|_| Ended::refused(Reason::Stale, self.name()))?;
        if former != 0 && former != hello.boot {
            self.plane.gone(slot, true);
        }
        self.plane.heard(slot, hello.node, hello.boot);
        Ok(())
    }

    /// Everything is exchanged over a connection from now on.
    pub(super) fn begin(&mut self, slot: u16) {
        let peer = &mut self.peers[usize::from(slot)];
        if let Some(link) = &mut peer.link {
            self.members.linked(&peer.name, !link.is_relayed);
            let plane = &mut self.plane;
            self.routes.ask(&peer.name, &mut link.urgent, &mut |order| {
                plane.route(slot, order);
            });
        }
        peer.outgoing.iter_mut().for_each(Outgoing::connected);
        self.events();
        let peer = &self.peers[usize::from(slot)];
        if peer.is_up {
            self.owners.connected(&peer.name);
        }
        self.heartbeat(slot);
        self.pump();
    }

    /// Why a hello is not answered, in words for both logs.
    fn refusal(&self, reason: Reason, hello: &Hello<'_>) -> Ended {
        let config = self.members.config();
        let text = match reason {
            Reason::Version => format!(
                "{} speaks versions {} to {} of the links, {} speaks {VERSION_MIN} to \
                 {VERSION_MAX}",
                hello.node, hello.version_min, hello.version_max, config.name
            ),
            Reason::Cluster => format!(
                "{} belongs to the cluster {}, {} to {}",
                hello.node, hello.cluster, config.name, config.cluster
            ),
            // Who says so: see `Hub::refused_as_stale`.
            _ => config.name.to_string(),
        };
        Ended::refused(reason, text)
    }

    /// The slot of a node.
    pub(super) fn slot(&mut self, name: &str) -> Result<u16, Ended> {
        if let Some(slot) = self.slots.get(name) {
            return Ok(*slot);
        }
        let peer = Peer::new(name, self.plane.shards());
        let slot = match u16::try_from(self.peers.len()) {
            Ok(slot) if slot < NODES_MAX => {
                self.peers.push(peer);
                slot
            }
            _ => {
                let slot = self.free_slot().ok_or_else(|| {
                    let text = format!("there are {NODES_MAX} other nodes, which is all");
                    Ended::refused(Reason::Member, text)
                })?;
                self.peers[usize::from(slot)] = peer;
                slot
            }
        };
        self.slots.insert(name.into(), slot);
        self.plane.named(slot, name);
        Ok(slot)
    }

    /// Whether there is a connection with a node.
    pub(super) fn is_connected(&self, name: &str) -> bool {
        let slot = self.slots.get(name).map(|slot| usize::from(*slot));
        slot.is_some_and(|slot| self.peers[slot].link.is_some())
    }

    /// The connection with a node.
    pub(super) fn connection(&self, name: &str) -> Option<Connection> {
        let slot = usize::from(*self.slots.get(name)?);
        let link = self.peers[slot].link.as_ref();
        link.map(|link| link.connection.clone())
    }

    /// Cuts all connections, to test what follows.
    #[cfg(test)]
    pub(super) fn cut(&self) {
        let links = self.peers.iter().filter_map(|peer| peer.link.as_ref());
        links.for_each(|link| link.connection.close(0_u8.into(), &[]));
    }

    /// The node at the other end of a connection, if that is still the one with it.
    pub(super) fn linked(&self, id: LinkId) -> Option<(&str, &Link)> {
        let peer = self.peers.get(usize::from(id.slot))?;
        let link = peer.link.as_ref().filter(|link| link.serial == id.serial)?;
        Some((&peer.name, link))
    }

    /// A connection has ended.
    pub(super) fn lost(&mut self, id: LinkId, why: &Ended) {
        let Some(peer) = self.peers.get_mut(usize::from(id.slot)) else {
            return;
        };
        if peer.link(id).is_none() {
            return;
        }
        self.note_parting(id, why);
        let peer = &mut self.peers[usize::from(id.slot)];
        let is_guest = peer.link.take().is_some_and(|link| link.is_guest);
        peer.outgoing.iter_mut().for_each(Outgoing::disconnected);
        self.owners.disconnected(&peer.name);
        if is_guest {
            debug!("the connection with node {} is lost: {why}", peer.name);
        } else {
            info!("the connection with node {} is lost: {why}", peer.name);
        }
    }

    /// A node refuses this one's hello because its life is over. It counts what a member says:
    /// who was removed and does not know it has given all others up.
    pub(super) fn greeted_as_stale(&mut self, by: &str, incarnation: u64) {
        if self.roster.contains(by) {
            self.refused_as_stale(incarnation);
        }
    }

    /// This life of the node was given up by another node.
    pub(super) fn refused_as_stale(&mut self, incarnation: u64) {
        self.members.refused_as_stale(incarnation);
        self.events();
    }

    /// Time goes on. To be called every 50 ms.
    pub(super) fn tick(&mut self) {
        let now_ms = self.plane.now_ms();
        let due = self.members.tick(now_ms);
        self.events();
        self.turn_owners();
        self.tell_open();
        self.plane.flush();
        // Shards do not wake this thread for QoS 0.
        self.accepted_here();
        if !due {
            return;
        }
        self.heartbeats = self.heartbeats.wrapping_add(1);
        let digests = self.heartbeats.is_multiple_of(HEARTBEATS_A_DIGEST);
        for slot in 0..self.peers.len() {
            if let Some(link) = &mut self.peers[slot].link {
                link.digests_due |= digests;
            }
            self.heartbeat(slot as u16);
        }
    }

    pub(super) fn heartbeat(&mut self, slot: u16) {
        self.given.cover();
        let now_ms = self.plane.now_ms();
        let peer = &mut self.peers[usize::from(slot)];
        if let Some(link) = &mut peer.link {
            // One that was not sent yet says nothing any more that the next one does not.
            if link.urgent.len() < CONTROL_BYTES {
                self.members
                    .put_heartbeat(now_ms, &peer.name, &mut link.urgent);
            }
            link.control.notify_one();
        }
    }

    /// A frame has come over the control stream.
    pub(super) fn control(&mut self, id: LinkId, frame: &Frame<'_>) -> Result<(), Ended> {
        let now_ms = self.plane.now_ms();
        let peer = &mut self.peers[usize::from(id.slot)];
        let Some(link) = peer.link.as_mut().filter(|link| link.serial == id.serial) else {
            return Err(Ended::replaced());
        };
        match frame {
            Frame::Heartbeat(heartbeat) => {
                let heard = self
                    .members
                    .heartbeat(now_ms, &peer.name, link.incarnation, heartbeat);
                heard.map_err(|reason| Ended::refused(reason, "this incarnation is over"))?;
                self.events();
                self.turn_owners();
            }
            Frame::Directory(said) => {
                if peer.is_up {
                    self.owners.heard(&peer.name, said);
                    self.turn_owners();
                }
            }
            Frame::Accepted(accepted) => self.node_accepted(id.slot, *accepted)?,
            Frame::Resume(resume) if *resume.owner == *self.members.config().name => {
                link.feed.resume(resume, &self.routes);
                link.control.notify_one();
            }
            _ => self.routes_frame(id.slot, frame)?,
        }
        Ok(())
    }

    fn node_accepted(&mut self, slot: u16, accepted: Accepted) -> Result<(), Ended> {
        let peer = &mut self.peers[usize::from(slot)];
        let stream = accepted.stream;
        let outgoing = peer.outgoing.get_mut(usize::from(stream));
        let outgoing = outgoing.ok_or(LinkError::UnknownStream(stream))?;
        let newly = outgoing.accepted(accepted)?;
        if newly.count > 0 {
            self.plane.node_accepted(slot, stream, newly);
        }
        if peer.is_held {
            self.forward(slot);
        }
        Ok(())
    }

    /// Something about routes. A node speaks of its own only.
    fn routes_frame(&mut self, slot: u16, frame: &Frame<'_>) -> Result<(), Ended> {
        let peer = &mut self.peers[usize::from(slot)];
        let owner = match frame {
            Frame::Changes(changes) => changes.owner,
            Frame::SnapshotBegin(begin) => begin.owner,
            Frame::SnapshotPart(part) => part.owner,
            Frame::SnapshotEnd(end) => end.owner,
            Frame::Digest(digest) => digest.owner,
            _ => "",
        };
        if *owner != *peer.name {
            let text = "a frame that does not belong on the control stream";
            return Err(Ended::refused(Reason::Malformed, text));
        }
        let plane = &mut self.plane;
        let step = self
            .routes
            .handle(frame, &mut |order| plane.route(slot, order))?;
        if let (Some(resume), Some(link)) = (step.resume(owner), &mut peer.link) {
            resume.put(&mut link.urgent);
            link.control.notify_one();
        }
        self.reach.turn(&self.routes, &self.peers, &mut *self.plane);
        Ok(())
    }

    /// A frame has come over a stream of messages. False if not all of it was taken: it is to
    /// be given again when there is room.
    pub(super) fn messages(&mut self, id: LinkId, frame: &Frame<'_>) -> Result<bool, Ended> {
        let now_ms = self.plane.now_ms();
        let peer = &mut self.peers[usize::from(id.slot)];
        if peer.link(id).is_none() {
            return Err(Ended::replaced());
        }
        match frame {
            Frame::Begin(begin) => {
                let given_up = peer.incoming.begin(*begin)?;
                if given_up > 0 {
                    debug!("node {} has given up {given_up} messages", peer.name);
                }
                Ok(true)
            }
            Frame::Messages(messages) => {
                let (boot, stream) = (peer.incoming.boot(), messages.stream);
                peer.arrivals_of(stream);
                let arrivals = &mut peer.arrivals[usize::from(stream)];
                let plane = &mut self.plane;
                let taken = peer.incoming.receive(messages, &mut |number, forward| {
                    let taken = plane.arrived(id.slot, (stream, number), &message(now_ms, forward));
                    if taken {
                        arrivals.arrived(boot, number);
                    }
                    taken
                })?;
                Ok(taken)
            }
            _ => {
                let text = "a frame that does not belong on a stream of messages";
                Err(Ended::refused(Reason::Malformed, text))
            }
        }
    }

    /// Everything that was read, to the shards.
    pub(super) fn flush(&mut self) {
        self.plane.flush();
    }

    /// Whether so many changes of routes wait that no more should be read.
    pub(super) fn has_too_many_routes(&self) -> bool {
        self.plane.has_too_many_routes()
    }

    /// Whether it did not fit: to be tried again soon.
    pub(super) fn has_backlog(&self) -> bool {
        self.plane.has_backlog()
    }

    /// The shards have something.
    pub(super) fn news(&mut self) {
        self.plane.clear_news();
        self.pump();
    }

    /// What [`Hub::news`] has taken was sent, as far as the links take it.
    pub(super) fn sent(&mut self) {
        self.reach.are_passed_on(&mut *self.plane);
    }

    /// Takes everything that the shards have.
    fn pump(&mut self) {
        let own = self.routes.own_mut();
        let before = own.position();
        let fences = self.plane.own_routes(&mut |filter, add| {
            if add {
                own.add(filter);
            } else {
                own.remove(filter);
            }
        });
        if own.position() != before {
            self.peers.iter().for_each(Peer::wake_control);
        }
        self.reach
            .fences_are_back(fences, &self.routes, &mut *self.plane);
        self.accepted_here();
        for slot in 0..self.peers.len() {
            self.forward(slot as u16);
        }
        self.turn_owners();
    }

    /// Tells each node what the shards have accepted of its messages.
    fn accepted_here(&mut self) {
        let peers = &mut self.peers;
        self.plane.accepted(&mut |slot, stream, count| {
            let Some(peer) = peers.get_mut(usize::from(slot)) else {
                return;
            };
            let boot = peer.incoming.boot();
            if let Some(up_to) = peer.arrivals_of(stream).accepted(boot, count) {
                peer.incoming.accept(boot, stream, up_to);
                peer.wake_control();
            }
        });
    }

    /// Passes on what is said and decided about client identifiers.
    pub(super) fn turn_owners(&mut self) {
        let (plane, reach) = (&mut *self.plane, &mut self.reach);
        let others = (self.peers.as_mut_slice(), &self.slots);
        self.owners.turn(&self.members, plane, reach, others);
        reach.turn(&self.routes, &self.peers, plane);
    }

    /// Takes what the shards have for a node, as far as there is room.
    fn forward(&mut self, slot: u16) {
        let peer = &mut self.peers[usize::from(slot)];
        if !peer.is_up {
            return;
        }
        let now_ms = self.plane.now_ms();
        let (outgoing, link) = (&mut peer.outgoing, &peer.link);
        let mut is_held = false;
        self.plane.forwards(slot, &mut |shard, message| {
            let Some(stream) = outgoing.get_mut(usize::from(shard)) else {
                return true;
            };
            if stream.is_full() {
                is_held = true;
                return false;
            }
            stream.push(now_ms, &forward(now_ms, message));
            if let Some(link) = link {
                link.streams[usize::from(shard)].notify_one();
            }
            true
        });
        peer.is_held = is_held;
    }

    /// Writes what is to be sent over the control stream now.
    pub(super) fn fill_control(&mut self, id: LinkId, out: &mut Vec<u8>) -> Result<(), Ended> {
        let peer = &mut self.peers[usize::from(id.slot)];
        let Some(link) = peer.link.as_mut().filter(|link| link.serial == id.serial) else {
            return Err(Ended::replaced());
        };
        out.append(&mut link.urgent);
        peer.incoming.acknowledge(out);
        let has_more = link.feed.fill(&self.routes, out, CONTROL_BYTES);
        if !has_more && mem::take(&mut link.digests_due) {
            link.feed.digests(&self.routes, out);
        }
        Ok(())
    }

    /// What is to be sent next over the stream of a shard.
    pub(super) fn transmit(&mut self, id: LinkId, shard: u16) -> Result<Option<Transmit>, Ended> {
        let now_ms = self.plane.now_ms();
        let peer = &mut self.peers[usize::from(id.slot)];
        if peer.link(id).is_none() {
            return Err(Ended::replaced());
        }
        let outgoing = peer.outgoing.get_mut(usize::from(shard));
        Ok(outgoing.and_then(|outgoing| outgoing.transmit(now_ms)))
    }

    /// Does what the members say.
    pub(super) fn events(&mut self) {
        while let Some(event) = self.members.poll() {
            match event {
                Event::Up {
                    node,
                    incarnation,
                    former,
                } => self.up(&node, incarnation, former),
                Event::Down { node, incarnation } => self.down(&node, incarnation),
                Event::Renew => self.renew(),
                Event::Removed { node } => self.removed(&node),
                Event::Condemned { node, incarnation } => self.condemned.add(&node, incarnation),
            }
        }
        self.tell_lease();
    }

    fn up(&mut self, node: &str, incarnation: u64, former: Option<u64>) {
        let Some(slot) = self.slots.get(node).copied() else {
            return;
        };
        match former {
            None => info!("node {node} is up (incarnation {incarnation})"),
            Some(_) => info!("node {node} is up again (incarnation {incarnation})"),
        }
        let peer = &mut self.peers[usize::from(slot)];
        peer.is_up = true;
        self.plane.up(slot);
        // What it says it is, which all agree on: whose votes count changes while it joins.
        let role = self.members.peer(node).and_then(|known| known.role);
        let role = role.unwrap_or(Role::Replicant);
        let is_linked = peer.link.is_some();
        self.owners.up(node, incarnation, role, is_linked);
    }

    fn down(&mut self, node: &str, incarnation: u64) {
        let Some(slot) = self.slots.get(node).copied() else {
            return;
        };
        // What is lost is not given to it again.
        self.plane.down(slot);
        self.reach.down(slot);
        let peer = &mut self.peers[usize::from(slot)];
        let mut lost = 0;
        for (shard, outgoing) in (0..).zip(&mut peer.outgoing) {
            let count = outgoing.give_up();
            lost += count;
            self.plane.lost(slot, shard, count);
        }
        peer.is_up = false;
        peer.is_held = false;
        let is_member = self.roster.contains(node);
        let has_stopped = self.members.peer(node).is_some_and(|peer| peer.is_going);
        if is_member && has_stopped {
            info!(
                "node {node} has stopped (incarnation {incarnation}); {lost} messages that it has \
                 not accepted are given up, but for those of groups"
            );
        } else if is_member {
            let lease_ms = self.members.config().lease_ms;
            warn!(
                "node {node} is down: not heard for {lease_ms} ms (incarnation {incarnation}); \
                 {lost} messages that it has not accepted are given up, but for those of groups"
            );
        } else {
            info!(
                "node {node} and this one are not in one cluster any more; {lost} messages that \
                 it has not accepted are given up"
            );
        }
        if let Some(link) = peer.link.take() {
            peer.outgoing.iter_mut().for_each(Outgoing::disconnected);
            let why = match is_member {
                true if has_stopped => Ended::refused(Reason::Stale, "it has stopped"),
                true => Ended::refused(Reason::Stale, "not heard for the lease"),
                false => Ended::replaced(),
            };
            why.close(&link.connection);
        }
        let plane = &mut self.plane;
        self.routes
            .gone(node, incarnation, &mut |order| plane.route(slot, order));
        self.owners.down(node);
    }

    /// Another node has given this one up: it goes on as a new life.
    fn renew(&mut self) {
        if !self.autoheal {
            let text = "another node had given this one up, and cluster.autoheal is false: \
                        restart it when it may take part again";
            return error!("{text}");
        }
        let incarnation = self.new_life();
        warn!("another node had given this one up: it goes on as incarnation {incarnation}");
    }

    /// This node goes on as another life, and greets everybody again.
    pub(super) fn new_life(&mut self) -> u64 {
        let incarnation = self.incarnations.next();
        self.members.renew(incarnation);
        self.routes.own_mut().renew(incarnation);
        self.owners.renew(incarnation);
        for (slot, peer) in (0..).zip(&mut self.peers) {
            self.plane.gone(slot, false);
            if let Some(link) = peer.link.take() {
                peer.outgoing.iter_mut().for_each(Outgoing::disconnected);
                Ended::replaced().close(&link.connection);
            }
        }
        incarnation
    }

    fn removed(&mut self, node: &str) {
        let slot = self.slots.get(node).copied();
        let plane = &mut self.plane;
        self.routes.forget(node, &mut |order| {
            if let Some(slot) = slot {
                plane.route(slot, order);
            }
        });
        self.condemned.forget(node);
        self.release(node);
    }

    /// What is known of each node that there has been.
    pub(super) fn status(&self) -> Vec<NodeStatus> {
        let now_ms = self.plane.now_ms();
        let peers = self.members.peers();
        let statuses = peers.map(|(name, known)| {
            let peer = self.slots.get(name);
            let peer = peer.map(|slot| &self.peers[usize::from(*slot)]);
            let via = self.via(name);
            let routes = self.routes.replica(name);
            status_of(now_ms, (name, &known), routes, peer, via)
        });
        statuses.collect()
    }

    /// What is to be seen of this node itself.
    pub(super) fn own_status(&self) -> OwnStatus {
        let left_ms = match self.members.lease_until_ms() {
            u64::MAX => None,
            until_ms => Some(until_ms.saturating_sub(self.plane.now_ms())),
        };
        OwnStatus {
            incarnation: self.incarnation(),
            lease_left: left_ms.map(Duration::from_millis),
            routes: self.routes.own().count(),
            log: self.routes.own().position(),
            identifiers: self.owners.identifiers(),
        }
    }

    /// The node stops: tells all others.
    pub(super) fn stop(&mut self) {
        for peer in &mut self.peers {
            if let Some(link) = peer.link.take() {
                Ended::refused(Reason::Stopping, "the node stops").close(&link.connection);
            }
        }
    }
}

/// A message for another node.
fn forward<'a>(now_ms: u64, message: &MessageRef<'a>) -> Forward<'a> {
    Forward {
        topic: message.topic,
        properties: message.properties,
        payload: message.payload,
        qos: message.qos,
        retain: message.retain,
        remaining_ms: match message.expires_ms {
            u64::MAX => u64::MAX,
            expires_ms => expires_ms.saturating_sub(now_ms),
        },
        publisher: message.publisher,
    }
}

/// A message from another node.
fn message<'a>(now_ms: u64, forward: &Forward<'a>) -> MessageRef<'a> {
    MessageRef {
        topic: forward.topic,
        properties: forward.properties,
        payload: forward.payload,
        qos: forward.qos,
        retain: forward.retain,
        expires_ms: now_ms.saturating_add(forward.remaining_ms),
        publisher: forward.publisher,
    }
}
