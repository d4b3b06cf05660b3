//! One node: what the program around the package does with it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::wire::QoS;
use shard_cluster::directory::{self, Directory};
use shard_cluster::link::{self, Incoming, LinkError, Outgoing, Pushed, StreamPosition, Transmit};
use shard_cluster::members::{Config, Event, Members};
use shard_cluster::routes::{Feed, Limits, Order, Routes};
use shard_cluster::wire::{
    Change, FRAME_MAX, Forward, Frame, Hello, Reason, VERSION_MAX, VERSION_MIN, WireError, decode,
    split,
};

use crate::ledger::{Ledger, Sessions};
use crate::random::Random;
use crate::sessions::{Clients, Copies, Letter};

pub(crate) const CONTROL: u16 = 0;
const ROUTES: u16 = 1;
const MESSAGES: u16 = 2;
const DIRECTORY: u16 = 50;
const ACCEPTED: u16 = 100;

pub(crate) const SHARDS: u16 = 2;

const LINK: link::Limits = link::Limits {
    batch_bytes: 100,
    full_bytes: 2000,
    refuse_bytes: 4000,
};

/// A frame for a peer, on a channel.
pub(crate) type Out = (usize, u16, Vec<u8>);

/// What survives a crash.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) incarnation: u64,
    condemned: BTreeMap<Box<str>, u64>,
    /// Of a node that stores what it accepts.
    streams: BTreeMap<usize, (u64, Vec<StreamPosition>)>,
    pub(crate) sessions: Sessions,
    filters: BTreeSet<String>,
    /// Sessions of client identifiers, of a node that stores.
    copies: Copies,
    /// When it last could have given a lease, by its clock; nothing if all who had one are known
    /// to count on none.
    gave_ms: Option<u64>,
}

/// One side of a connection.
struct Side {
    /// The life of the peer; zero until it has said hello.
    incarnation: u64,
    feed: Feed,
}

/// Somebody who waits for an acknowledgement.
struct Wait {
    message: u64,
    shard: u16,
    needs: Vec<(usize, u64)>,
}

/// What a peer is to this node.
struct Peer {
    side: Option<Side>,
    out: Vec<Outgoing>,
    incoming: Incoming,
    index: BTreeSet<(u8, String)>,
    /// Messages that came and are not accepted yet: process, stream, number, message.
    came: Vec<(u64, u16, u64, u64)>,
}

pub(crate) struct Node {
    name: String,
    names: Vec<String>,
    pub(crate) members: Members,
    pub(crate) routes: Routes,
    pub(crate) boot: u64,
    peers: BTreeMap<usize, Peer>,
    waits: Vec<Wait>,
    pub(crate) sessions: Sessions,
    pub(crate) filters: BTreeSet<String>,
    /// Whether it stores what it accepts.
    pub(crate) stores: bool,
    pub(crate) directory: Directory,
    /// Peers that have said hello and whom the directory has not been told of.
    greeted: Vec<usize>,
    /// The sessions of its clients.
    pub(crate) clients: Clients,
    /// It has said goodbye.
    pub(crate) is_ending: bool,
    /// What clients that have left this node had for themselves, and is not released yet.
    left_behind: Vec<Box<str>>,
}

/// What the names of filters begin with that one client has for itself.
const EXCLUSIVE: char = '\0';

impl Node {
    pub(crate) fn start(
        now_ms: u64,
        config: Config,
        names: &[String],
        stores: bool,
        disk: &mut Disk,
    ) -> Self {
        let small = Limits {
            tail_bytes: 400,
            routes: 1000,
            owners: 10,
        };
        let name = config.name.to_string();
        let boot = config.incarnation;
        let mut routes = Routes::new(&name, boot, 7, small);
        if !stores {
            disk.sessions = Sessions::default();
            disk.streams.clear();
            disk.filters.clear();
        }
        let mut directory = Directory::new(&name, boot, config.role, config.cores.len());
        let clients = Clients::start(stores, &mut disk.copies, &mut directory);
        let filters = disk.filters.clone();
        filters.iter().for_each(|filter| {
            routes.own_mut().add(filter);
        });
        let others = names
            .iter()
            .enumerate()
            .filter(|(_, other)| **other != name);
        let peers = others.map(|(index, _)| {
            let stored = disk.streams.get(&index).cloned();
            let incoming = stored.map(|(boot, stored)| Incoming::restore(boot, stored));
            let peer = Peer {
                side: None,
                out: (0..SHARDS)
                    .map(|shard| Outgoing::new(shard, LINK))
                    .collect(),
                incoming: incoming.unwrap_or_default(),
                index: BTreeSet::new(),
                came: Vec::new(),
            };
            (index, peer)
        });
        let mut members = Members::new(config, disk.condemned.clone());
        let rested_ms = disk.gave_ms.map_or(u64::MAX, |gave_ms| now_ms - gave_ms);
        members.set_rested_ms(rested_ms);
        Self {
            peers: peers.collect(),
            members,
            name,
            names: names.to_vec(),
            routes,
            boot,
            waits: Vec::new(),
            sessions: disk.sessions.clone(),
            filters,
            stores,
            directory,
            greeted: Vec::new(),
            clients,
            is_ending: false,
            left_behind: Vec::new(),
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.members.config().incarnation
    }

    pub(crate) fn has_greeted(&self, from: usize) -> bool {
        let side = self.peers.get(&from).and_then(|peer| peer.side.as_ref());
        side.is_some_and(|side| side.incarnation > 0)
    }

    /// This life is over, and its process soon. Says so to all.
    pub(crate) fn say_goodbye(&mut self, now_ms: u64, disk: &mut Disk) -> Vec<Out> {
        self.members.end(now_ms);
        self.is_ending = true;
        self.heartbeats(now_ms, disk)
    }

    /// A node answers this life no more.
    pub(crate) fn refused_by(&mut self, by: usize) {
        if self.is_ending {
            self.members.parted(&self.names[by]);
        } else {
            self.members.refused_as_stale(self.incarnation());
        }
    }

    /// The process ends.
    pub(crate) fn ends(&self, now_ms: u64, disk: &mut Disk) {
        if self.is_ending && self.members.has_parted(now_ms) {
            disk.gave_ms = None;
        }
    }

    /// There is a connection. Says hello.
    pub(crate) fn connected(&mut self, to: usize) -> Vec<u8> {
        let config = self.members.config();
        let mut out = Vec::new();
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            cluster: &config.cluster,
            node: &config.name,
            incarnation: config.incarnation,
            boot: self.boot,
            role: config.role,
            shards: SHARDS,
            address: "",
        }
        .put(&mut out);
        let feed = Feed::new();
        let peer = self.peers.get_mut(&to).unwrap();
        let incarnation = 0;
        peer.side = Some(Side { incarnation, feed });
        out
    }

    pub(crate) fn disconnected(&mut self, from: usize) {
        let peer = self.peers.get_mut(&from).unwrap();
        peer.side = None;
        self.directory.disconnected(&self.names[from]);
        self.greeted.retain(|greeted| *greeted != from);
        peer.out.iter_mut().for_each(Outgoing::disconnected);
    }

    pub(crate) fn subscribe(&mut self, filter: &str, disk: &mut Disk) {
        if self.filters.insert(filter.to_owned()) {
            assert!(self.routes.own_mut().add(filter));
        }
        disk.filters.clone_from(&self.filters);
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str, disk: &mut Disk) {
        if self.filters.remove(filter) {
            assert!(self.routes.own_mut().remove(filter));
        }
        disk.filters.clone_from(&self.filters);
    }

    /// Publishes to whom the index names, unless a link is full. `boots` are the processes of
    /// all nodes.
    pub(crate) fn publish(
        &mut self,
        now_ms: u64,
        (shard, topic, qos): (u16, &str, QoS),
        boots: &[u64],
        ledger: &mut Ledger,
    ) {
        let to = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.index.iter().any(|(_, filter)| filter == topic));
        let to: Vec<usize> = to.map(|(index, _)| *index).collect();
        let is_full = |index: &usize| self.peers[index].out[usize::from(shard)].is_full();
        if qos != QoS::AtMostOnce && to.iter().any(is_full) {
            return;
        }
        let id = ledger.publish(to.iter().map(|index| (*index, boots[*index])).collect());
        let message = Forward {
            topic,
            properties: &[],
            payload: &id.to_le_bytes(),
            qos,
            retain: false,
            remaining_ms: u64::MAX,
            publisher: u64::from(shard),
        };
        let mut needs = Vec::new();
        for index in to {
            let out = &mut self.peers.get_mut(&index).unwrap().out[usize::from(shard)];
            if let Pushed::Queued(number) = out.push(now_ms, &message) {
                needs.push((index, number));
            }
        }
        if qos != QoS::AtMostOnce {
            self.waits.push(Wait {
                message: id,
                shard,
                needs,
            });
        }
    }

    /// Acknowledges what every destination has accepted, if it may.
    pub(crate) fn acknowledge(&mut self, now_ms: u64, ledger: &mut Ledger) {
        if !self.members.may_acknowledge(now_ms) {
            return;
        }
        let peers = &self.peers;
        self.waits.retain(|wait| {
            let settled = |(peer, number): &(usize, u64)| {
                peers[peer].out[usize::from(wait.shard)].settled() >= *number
            };
            let is_settled = wait.needs.iter().all(settled);
            ledger.messages[wait.message as usize].acknowledged |= is_settled;
            !is_settled
        });
    }

    pub(crate) fn waits(&self) -> usize {
        self.waits.len()
    }

    /// Handles what the members say. True if all connections are to be closed.
    pub(crate) fn events(&mut self, disk: &mut Disk, ledger: &mut Ledger) -> bool {
        let mut renewed = false;
        while let Some(event) = self.members.poll() {
            match event {
                Event::Removed { .. } => {}
                Event::Up {
                    node, incarnation, ..
                } => {
                    let role = self.members.peer(&node).unwrap().role.unwrap();
                    self.directory.up(&node, incarnation, role);
                    let index = self.names.iter().position(|name| **name == *node);
                    self.clients.is_up(index.unwrap());
                }
                Event::Condemned { node, incarnation } => {
                    disk.condemned.insert(node, incarnation);
                }
                Event::Renew => {
                    disk.incarnation += 1;
                    self.members.renew(disk.incarnation);
                    self.routes.own_mut().renew(disk.incarnation);
                    self.directory.renew(disk.incarnation);
                    self.clients.doubt();
                    renewed = true;
                }
                Event::Down { node, incarnation } => self.down(&node, incarnation, ledger),
            }
        }
        renewed
    }

    fn down(&mut self, node: &str, incarnation: u64, ledger: &mut Ledger) {
        let index = self.names.iter().position(|name| *name == *node).unwrap();
        ledger.down.insert((index, incarnation));
        self.directory.down(node);
        self.clients.is_down(index);
        let peer = self.peers.get_mut(&index).unwrap();
        for wait in &self.waits {
            let out = &peer.out[usize::from(wait.shard)];
            let lost = |need: &(usize, u64)| need.0 == index && need.1 > out.settled();
            if wait.needs.iter().any(lost) {
                ledger.lost_with.insert((wait.message, index));
            }
        }
        peer.out.iter_mut().for_each(|out| {
            out.give_up();
        });
        self.routes.gone(node, incarnation, &mut |order| {
            obey(&mut peer.index, order);
        });
    }

    /// A frame has come.
    pub(crate) fn handle(
        &mut self,
        now_ms: u64,
        (from, channel): (usize, u16),
        bytes: &[u8],
    ) -> Result<Vec<Out>, Reason> {
        let mut rest = bytes;
        let mut out = Vec::new();
        while let Some((kind, body, size)) = split(rest, FRAME_MAX).map_err(malformed)? {
            let frame = decode(kind, body).map_err(malformed)?;
            match channel {
                CONTROL => self.control(now_ms, from, &frame, &mut out)?,
                ROUTES => self.route(from, &frame, &mut out)?,
                DIRECTORY => {
                    let Frame::Directory(said) = &frame else {
                        panic!("{frame:?}");
                    };
                    self.directory.handle(&self.names[from], said);
                }
                _ => self.message(from, &frame).map_err(|error| match error {
                    LinkError::Gap { .. } => panic!("{error}"),
                    other => panic!("{other}"),
                })?,
            }
            rest = &rest[size..];
        }
        assert!(rest.is_empty());
        Ok(out)
    }

    fn control(
        &mut self,
        now_ms: u64,
        from: usize,
        frame: &Frame<'_>,
        out: &mut Vec<Out>,
    ) -> Result<(), Reason> {
        let peer = self.peers.get_mut(&from).unwrap();
        let side = peer.side.as_mut().unwrap();
        match frame {
            Frame::Hello(hello) => {
                self.members.hello(now_ms, hello)?;
                side.incarnation = hello.incarnation;
                let heard = peer.incoming.hello(hello.boot, hello.shards);
                heard.map_err(|_| Reason::Stale)?;
                peer.out.iter_mut().for_each(Outgoing::connected);
                self.greeted.push(from);
                let mut asked = Vec::new();
                self.routes.ask(hello.node, &mut asked, &mut |order| {
                    obey(&mut peer.index, order);
                });
                out.push((from, ROUTES, asked));
                Ok(())
            }
            Frame::Heartbeat(heartbeat) => {
                let name = &self.names[from];
                self.members
                    .heartbeat(now_ms, name, side.incarnation, heartbeat)
            }
            other => panic!("{other:?}"),
        }
    }

    fn route(&mut self, from: usize, frame: &Frame<'_>, out: &mut Vec<Out>) -> Result<(), Reason> {
        if let Frame::Resume(resume) = frame {
            let side = self.peers.get_mut(&from).unwrap().side.as_mut().unwrap();
            side.feed.resume(resume, &self.routes);
            return Ok(());
        }
        let owner = match frame {
            Frame::Changes(changes) => changes.owner,
            Frame::SnapshotBegin(begin) => begin.owner,
            Frame::SnapshotPart(part) => part.owner,
            Frame::SnapshotEnd(end) => end.owner,
            Frame::Digest(digest) => digest.owner,
            other => panic!("{other:?}"),
        };
        let index = self.names.iter().position(|name| name == owner).unwrap();
        let Some(peer) = self.peers.get_mut(&index) else {
            return Ok(());
        };
        let step = self.routes.handle(frame, &mut |order| {
            obey(&mut peer.index, order);
        });
        if let Some(resume) = step.map_err(malformed)?.resume(owner) {
            let mut asked = Vec::new();
            resume.put(&mut asked);
            out.push((from, ROUTES, asked));
        }
        Ok(())
    }

    fn message(&mut self, from: usize, frame: &Frame<'_>) -> Result<(), LinkError> {
        let peer = self.peers.get_mut(&from).unwrap();
        match frame {
            Frame::Begin(begin) => peer.incoming.begin(*begin).map(|_| ()),
            Frame::Messages(messages) => {
                let boot = peer.incoming.boot();
                let (came, sessions) = (&mut peer.came, &mut self.sessions);
                peer.incoming.receive(messages, &mut |number, message| {
                    let id = u64::from_le_bytes(message.payload.try_into().unwrap());
                    sessions.take((from, boot, messages.stream), id);
                    came.push((boot, messages.stream, number, id));
                    true
                })?;
                Ok(())
            }
            Frame::Accepted(accepted) => {
                peer.out[usize::from(accepted.stream)].accepted(*accepted)?;
                Ok(())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Accepts the first messages that came from a peer; a node that stores does so with how
    /// far it is.
    pub(crate) fn accept(&mut self, from: usize, count: usize, disk: &mut Disk) {
        let peer = self.peers.get_mut(&from).unwrap();
        let count = count.min(peer.came.len());
        for (boot, stream, number, id) in peer.came.drain(..count) {
            peer.incoming.accept(boot, stream, number);
            disk.sessions.take((from, boot, stream), id);
        }
        let positions = peer.incoming.positions().collect();
        disk.streams.insert(from, (peer.incoming.boot(), positions));
    }

    pub(crate) fn heartbeats(&mut self, now_ms: u64, disk: &mut Disk) -> Vec<Out> {
        disk.gave_ms = Some(now_ms);
        let peers = self.peers.keys().copied();
        let greeted: Vec<usize> = peers.filter(|to| self.has_greeted(*to)).collect();
        let beats = greeted.into_iter().map(|to| {
            let mut out = Vec::new();
            self.members
                .put_heartbeat(now_ms, &self.names[to], &mut out);
            (to, CONTROL, out)
        });
        beats.collect()
    }

    /// What becomes of client identifiers. `revokes` says whether sessions that are to be
    /// given up are so now.
    pub(crate) fn clients(
        &mut self,
        now_ms: u64,
        revokes: bool,
        disk: &mut Disk,
        ledger: &mut Ledger,
        random: &mut Random,
    ) -> Vec<Out> {
        let lease = self.members.lease(now_ms);
        if lease.is_none() {
            self.clients.doubt();
        }
        self.directory
            .set_lease(lease, self.members.is_mature(now_ms));
        for from in core::mem::take(&mut self.greeted) {
            self.directory.connected(&self.names[from]);
        }
        let mut out = Vec::new();
        while let Some((to, frame)) = self.directory.transmit() {
            let to = self.names.iter().position(|name| **name == *to).unwrap();
            out.push((to, DIRECTORY, frame));
        }
        while let Some(event) = self.directory.poll() {
            self.decided(now_ms, event, ledger);
        }
        if revokes {
            for filter in core::mem::take(&mut self.left_behind) {
                self.directory.release(&filter);
            }
            for client in self.clients.revoked() {
                let filters = self.filters_of(&client);
                self.left_behind.extend(filters.iter().cloned());
                ledger.moving.insert(client, filters);
            }
            self.clients.give_up_revoked(&mut self.directory);
        }
        let directory = &mut self.directory;
        self.clients
            .tick(now_ms, &mut disk.copies, directory, random);
        out
    }

    fn decided(&mut self, now_ms: u64, event: directory::Event, ledger: &mut Ledger) {
        match event {
            directory::Event::Granted { client, .. } if client.starts_with(EXCLUSIVE) => {
                ledger.exclusive_grants += 1;
                // It may have been released since.
                let holder = self.directory.holder(&client);
                if holder.is_some_and(|holder| self.directory.owns(holder).is_none()) {
                    self.left_behind.push(client);
                }
                return;
            }
            directory::Event::Revoke { client, epoch } if client.starts_with(EXCLUSIVE) => {
                return self.directory.revoked(&client, epoch, false);
            }
            directory::Event::Granted { ref client, .. } => {
                ledger.grants += 1;
                // Its session has come, with what it has for itself.
                for filter in ledger.moving.remove(client).unwrap_or_default() {
                    self.directory.claim_exclusive(&filter, client, false);
                }
            }
            _ => {}
        }
        let names = &self.names;
        let index = |node: &str| names.iter().position(|name| name == node).unwrap();
        let both = (&mut self.directory, ledger);
        self.clients.decided(now_ms, event, both, index);
    }

    /// Another node has said something of a session.
    pub(crate) fn hear(&mut self, from: usize, letter: Letter, ledger: &mut Ledger) {
        self.clients
            .hear(from, letter, (&mut self.directory, ledger));
    }

    /// What a client has for itself.
    fn filters_of(&self, client: &str) -> Vec<Box<str>> {
        let owned = self.directory.owned().map(|(name, _)| name);
        let filters = owned.filter(|name| self.directory.holder(name) == Some(client));
        filters.map(Box::from).collect()
    }

    /// The filters that clients of this node have for themselves, and may use.
    pub(crate) fn exclusive(&self) -> impl Iterator<Item = &str> {
        let owned = self.directory.owned().map(|(name, _)| name);
        owned.filter(|name| {
            let holder = self.directory.holder(name);
            holder.is_some_and(|holder| self.directory.owns(holder).is_some())
        })
    }

    /// A client of this node wants a filter for itself, or does not want it any more.
    pub(crate) fn want(&mut self, filter: u64, wants: bool, random: &mut Random) {
        let name = format!("{EXCLUSIVE}{filter}");
        let owned: Vec<Box<str>> = self
            .directory
            .owned()
            .map(|(name, _)| name.into())
            .collect();
        let is_owned = owned.iter().any(|owned| **owned == *name);
        let clients = owned.iter().filter(|name| !name.starts_with(EXCLUSIVE));
        let clients: Vec<_> = clients.collect();
        if !wants && is_owned && !self.left_behind.contains(&name.clone().into()) {
            self.directory.release(&name);
        } else if wants && self.directory.holder(&name).is_none() && !clients.is_empty() {
            let client = clients[random.index(clients.len())];
            self.directory.claim_exclusive(&name, client, false);
        }
    }

    /// A client connects.
    pub(crate) fn connect(&mut self, now_ms: u64, client: &str, begins_anew: bool) {
        self.clients.connect(now_ms, client, begins_anew);
        self.directory.claim(client);
    }

    /// A session ends.
    pub(crate) fn release(&mut self, client: &str, ledger: &mut Ledger) {
        if self.directory.owns(client).is_some() {
            for filter in self.filters_of(client) {
                self.directory.release(&filter);
            }
        }
        self.clients.end(client, &mut self.directory, ledger);
    }

    /// Everything that there is to send.
    pub(crate) fn pump(&mut self, now_ms: u64, digests: bool) -> Vec<Out> {
        let mut all = Vec::new();
        for (to, peer) in &mut self.peers {
            let Some(side) = peer.side.as_mut().filter(|side| side.incarnation > 0) else {
                continue;
            };
            let mut out = Vec::new();
            if !side.feed.fill(&self.routes, &mut out, 300) && digests {
                side.feed.digests(&self.routes, &mut out);
            }
            all.push((*to, ROUTES, out));
            for (shard, stream) in peer.out.iter_mut().enumerate() {
                while let Some(transmit) = stream.transmit(now_ms) {
                    all.push((*to, MESSAGES + shard as u16, bytes(&transmit)));
                }
            }
            let mut out = Vec::new();
            peer.incoming.acknowledge(&mut out);
            all.push((*to, ACCEPTED, out));
        }
        all.retain(|(_, _, frame)| !frame.is_empty());
        all
    }

    /// What the index says of a node.
    pub(crate) fn index_of(&self, node: usize) -> BTreeSet<String> {
        let index = &self.peers[&node].index;
        let copies: BTreeSet<u8> = index.iter().map(|(copy, _)| *copy).collect();
        assert!(copies.len() <= 1, "{copies:?}");
        index.iter().map(|(_, filter)| filter.clone()).collect()
    }

    pub(crate) fn unsettled(&self) -> u64 {
        let streams = self.peers.values().flat_map(|peer| &peer.out);
        streams.map(Outgoing::unsettled).sum()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

fn obey(index: &mut BTreeSet<(u8, String)>, order: Order<'_>) {
    match order {
        Order::Change { copy, change } => {
            let key = (copy, change.filter().to_owned());
            match change {
                Change::Add(_) => assert!(index.insert(key), "added twice"),
                Change::Remove(_) => assert!(index.remove(&key), "removed twice"),
            }
        }
        Order::Forget { copy } => index.retain(|(number, _)| *number != copy),
        Order::Share(change) => panic!("no groups here: {change:?}"),
    }
}

fn malformed(error: WireError) -> Reason {
    panic!("{error}")
}

fn bytes(transmit: &Transmit) -> Vec<u8> {
    match transmit {
        Transmit::Begin(begin) => {
            let mut out = Vec::new();
            begin.put(&mut out);
            out
        }
        Transmit::Messages { head, entries } => [&head[..], entries].concat(),
    }
}
