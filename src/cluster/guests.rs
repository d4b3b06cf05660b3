//! Nodes with a connection are members of the cluster or guests. Both sides may ask each other
//! things over a connection with a guest; heartbeats, routes and messages wait until both take
//! each other for members, in the windows of the streams.

use std::mem;
use std::time::Duration;

use log::info;
use shard_cluster::registry::Registry;

use super::ended::Ended;
use super::hub::Hub;

/// After this time a slot may be that of another node: what its former node has sent is with the
/// sessions, and accounted for.
const SLOT_REST_MS: u64 = 60_000;

impl Hub {
    /// The names of nodes that are connected and no members.
    pub(super) fn guests(&self) -> Vec<String> {
        let guests = self.peers.iter().filter(|peer| {
            let link = peer.link.as_ref();
            link.is_some_and(|link| link.is_guest)
        });
        guests.map(|peer| peer.name.to_string()).collect()
    }

    /// The names of members that are connected anew, or were not heard for that time.
    pub(super) fn members_to_ask(&mut self, silent: Duration) -> Vec<String> {
        let silent_ms = silent.as_millis() as u64;
        let fresh = mem::take(&mut self.fresh);
        let members = self.roster.iter().filter(|name| {
            let is_silent = self.silent_ms(name) > silent_ms || fresh.contains(*name);
            is_silent && self.is_connected(name)
        });
        members.map(ToString::to_string).collect()
    }

    /// For how long a node was not heard.
    pub(super) fn silent_ms(&self, node: &str) -> u64 {
        self.members.silent_ms(self.plane.now_ms(), node)
    }

    /// Whose votes count, see [`set_cores`](shard_cluster::members::Members::set_cores).
    pub(super) fn set_cores(&mut self, cores: &[String], version: u64) {
        let cores: Vec<&str> = cores.iter().map(String::as_str).collect();
        let now_ms = self.plane.now_ms();
        self.members.set_cores(now_ms, &cores, version);
        self.owners.set_cores(cores.len());
        self.events();
    }

    /// The members are others, or this node (whose log is `own`) is none any more. Returns who
    /// was one and is not.
    pub(super) fn set_roster(&mut self, registry: &Registry, own: u64) -> Vec<String> {
        let name = self.name().to_owned();
        let is_member = registry.by_id(own).is_some();
        let members = registry
            .members()
            .filter(|(member, _)| is_member && *member != name);
        let roster = members.map(|(member, _)| member.into()).collect();
        let former = mem::replace(&mut self.roster, roster);
        let gone = former.difference(&self.roster).map(|name| name.to_string());
        let gone: Vec<String> = gone.collect();
        gone.iter().for_each(|name| self.members.forget(name));
        self.roster
            .iter()
            .for_each(|name| self.members.expect(name));
        for name in self.roster.clone() {
            // A session may have to come from a node that this one has not met yet. One for which
            // there is no room hears so when it connects.
            _ = self.slot(&name);
        }
        self.events();
        for slot in 0..self.peers.len() {
            let peer = &self.peers[slot];
            if self.roster.contains(&peer.name) {
                self.admit(slot as u16);
            }
        }
        gone
    }

    /// A node is a member from now on.
    fn admit(&mut self, slot: u16) {
        let peer = &mut self.peers[usize::from(slot)];
        let Some(link) = peer.link.as_mut().filter(|link| link.is_guest) else {
            return;
        };
        link.is_guest = false;
        link.admitted.notify_one();
        let (cluster, node) = (self.members.config().cluster.clone(), peer.name.clone());
        let hello = link.greeting.hello(&cluster, &node);
        match self.hear(slot, &hello) {
            Ok(()) => self.begin(slot),
            Err(why) => self.close(slot, &why),
        }
    }

    fn close(&mut self, slot: u16, why: &Ended) {
        let peer = &mut self.peers[usize::from(slot)];
        if let Some(link) = peer.link.take() {
            why.close(&link.connection);
        }
    }

    /// A node is forgotten: its connection, if there is one, is made again as that of a guest.
    pub(super) fn release(&mut self, node: &str) {
        if let Some(slot) = self.slots.remove(node) {
            self.close(slot, &Ended::replaced());
            self.free.push_back((slot, self.plane.now_ms()));
        }
        info!("node {node} is forgotten");
    }

    /// A slot that has rested for long enough.
    pub(super) fn free_slot(&mut self) -> Option<u16> {
        let (slot, since_ms) = self.free.front().copied()?;
        let has_rested = self.plane.now_ms().saturating_sub(since_ms) > SLOT_REST_MS;
        has_rested.then(|| self.free.pop_front()).flatten()?;
        Some(slot)
    }
}
