//! Who is alive, and so who keeps what.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Claim, Directory};
use crate::siphash::siphash128;
use crate::wire::{Directory as Said, Role};

/// The core that keeps a client identifier: the one with the highest hash.
pub(super) fn keeper<'c>(client: &str, cores: &'c BTreeMap<Box<str>, u64>) -> Option<&'c str> {
    let client = siphash128([0, 0], client.as_bytes());
    let key = [client as u64, (client >> 64) as u64];
    let weight = |core: &&'c str| siphash128(key, core.as_bytes());
    cores.keys().map(|core| &**core).max_by_key(weight)
}

impl Directory {
    /// A node lives, in whatever life. A connection to a former life is over.
    pub fn up(&mut self, node: &str, incarnation: u64, role: Role) {
        if *node != *self.name {
            self.disconnected(node);
        }
        self.nodes.insert(node.into(), incarnation);
        self.markers.remove(node);
        self.asked.remove(node);
        let before = self.cores.clone();
        if role == Role::Core {
            self.cores.insert(node.into(), incarnation);
        } else {
            self.cores.remove(node);
        }
        self.drop_dead_owners();
        self.change_view(&before);
    }

    /// A life of a node is over, and nothing follows it yet.
    pub fn down(&mut self, node: &str) {
        if *node == *self.name {
            return;
        }
        self.disconnected(node);
        self.nodes.remove(node);
        let before = self.cores.clone();
        self.cores.remove(node);
        self.drop_dead_owners();
        self.change_view(&before);
        self.grant_queued();
    }

    /// The connection to a node is over, and with it what was under way.
    pub fn disconnected(&mut self, node: &str) {
        self.linked.remove(node);
        self.markers.remove(node);
        self.outbox.retain(|(to, _)| **to != *node);
    }

    /// There is a connection to a node that is [`up`](Self::up): what was under way on the last
    /// one is said again.
    pub fn connected(&mut self, node: &str) {
        self.disconnected(node);
        self.linked.insert(node.into());
        if self.cores.contains_key(node) {
            self.say_what_is_here(|_, keeper| keeper == node);
            let claims = core::mem::take(&mut self.claims);
            for (client, claim) in &claims {
                if keeper(client, &self.cores) == Some(node) {
                    self.say_claim(node, client, claim);
                }
            }
            self.claims = claims;
            self.say_view(node);
        }
        self.ask(node);
        self.revoke_again(node);
    }

    /// Says what this node owns, and what it keeps for the next owners, to some of those who
    /// keep whose it is.
    fn say_what_is_here(&mut self, is_said: impl Fn(&str, &str) -> bool) {
        let kept = core::mem::take(&mut self.kept);
        for (client, epoch) in &kept {
            let keeper = keeper(client, &self.cores).filter(|core| is_said(client, core));
            if let Some(keeper) = keeper.map(str::to_owned) {
                let epoch = *epoch;
                self.say(&keeper, &Said::Revoked { client, epoch });
            }
        }
        self.kept = kept;
        let owned = core::mem::take(&mut self.owned);
        for (client, epoch) in &owned {
            let keeper = keeper(client, &self.cores).filter(|core| is_said(client, core));
            if let Some(keeper) = keeper.map(str::to_owned) {
                self.say_registered(&keeper, client, *epoch);
            }
        }
        self.owned = owned;
    }

    /// This node was given up and takes a new life: it owns nothing any more, and claims
    /// what it had. All connections are made anew.
    pub fn renew(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        self.may_act = false;
        self.doubt_kept();
        self.entries.clear();
        self.held.clear();
        self.markers.clear();
        self.queue.clear();
        self.formers.clear();
        self.outbox.clear();
        self.linked = core::iter::once(self.name.clone()).collect();
        self.disown();
        let name = self.name.clone();
        self.up(&name, incarnation, self.role);
        self.claim_again();
    }

    /// What was owned is claimed as what was had before.
    pub(super) fn disown(&mut self) {
        for (client, epoch) in core::mem::take(&mut self.owned) {
            let (ticket, again) = (0, true);
            let claim = Claim {
                ticket,
                epoch,
                again,
                is_wanted: false,
                revoked: None,
            };
            if let Entry::Vacant(vacant) = self.claims.entry(client) {
                vacant.insert(claim);
                self.unconfirmed += 1;
            }
        }
    }

    /// Tells all cores this node's view.
    pub(super) fn say_views(&mut self) {
        let cores: Vec<_> = self.cores.keys().cloned().collect();
        cores.iter().for_each(|core| self.say_view(core));
    }

    /// Tells the new keepers what they keep, and asks them what is still to be answered.
    fn change_view(&mut self, before: &BTreeMap<Box<str>, u64>) {
        if *before == self.cores {
            // Other nodes have changed: keepers are to know of them.
            return self.say_views();
        }
        let mut text = Vec::new();
        for (core, incarnation) in &self.cores {
            text.extend_from_slice(core.as_bytes());
            text.push(0);
            text.extend_from_slice(&incarnation.to_le_bytes());
        }
        self.view = (self.view.0 + 1, siphash128([0, 0], &text));
        let now = self.cores.clone();
        self.say_what_is_here(|client, core| {
            let was = keeper(client, before);
            was != Some(core) || before.get(core) != now.get(core)
        });
        self.claim_again();
        self.say_views();
        let nodes: Vec<_> = self.nodes.keys().cloned().collect();
        nodes.iter().for_each(|node| self.ask(node));
    }

    /// Asks a node for its view.
    fn ask(&mut self, node: &str) {
        if self.role == Role::Core {
            let generation = self.view.0;
            self.say(node, &Said::Ask { generation });
        }
    }

    pub(super) fn asked(&mut self, from: &str, generation: u64) {
        if self.cores.contains_key(from) {
            self.asked.insert(from.into(), generation);
            self.say_view(from);
        }
    }

    fn say_view(&mut self, to: &str) {
        if !self.is_mature {
            return;
        }
        let mut frame = Vec::new();
        let nodes = self.nodes.iter().map(|(name, life)| (&**name, *life));
        let generation = self.asked.get(to).copied().unwrap_or(0);
        Said::put_view(&mut frame, (generation, self.view.1, self.epoch), nodes);
        self.send(to, frame);
    }

    /// Whether this node may grant: see the module.
    pub(super) fn is_ready(&self) -> bool {
        let has_told = |(node, life): (&str, u64)| {
            let marker = self.markers.get(node);
            marker.is_some_and(|marker| marker.incarnation == life && marker.view == self.view)
        };
        let known = self.nodes.iter().map(|(name, life)| (&**name, *life));
        let cores = self.cores.keys().filter_map(|core| self.markers.get(core));
        let told = cores.flat_map(|marker| &marker.nodes);
        let is_news = |(name, life): &(&str, u64)| self.nodes.get(*name) < Some(life);
        let told = told.map(|(name, life)| (&**name, *life)).filter(is_news);
        self.may_act
            && self.role == Role::Core
            && self.cores.len() >= self.majority
            && known.chain(told).all(has_told)
    }
}
