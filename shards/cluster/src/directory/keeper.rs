//! What this node keeps for others.

use std::collections::BTreeMap;

use super::Directory;
use super::view::keeper;
use crate::wire::{Directory as Said, Lives};

/// Who has a client identifier.
#[derive(Debug)]
pub(super) struct Entry {
    node: Box<str>,
    incarnation: u64,
    epoch: u64,
    /// The number of the claim that was granted, or zero.
    ticket: u64,
    /// Who gets it next; its owner was asked to give it up.
    waiter: Option<Box<Waiter>>,
    /// The owner has given it up, and keeps the state for the next. With an epoch of zero others
    /// may have had it since.
    is_free: bool,
    /// The node that gave it up for this owner, and keeps the state until that has it.
    former: Option<Box<Former>>,
}

impl Entry {
    /// The owner has not got it: it is free again with the state that its former node keeps, if
    /// one does.
    fn goes_back(&mut self, nodes: &BTreeMap<Box<str>, u64>) -> bool {
        let former = self.former.take();
        let former = former.filter(|former| nodes.get(&former.node) == Some(&former.incarnation));
        if let Some(former) = former {
            let Former { node, incarnation } = *former;
            (self.node, self.incarnation) = (node, incarnation);
            (self.is_free, self.ticket) = (true, 0);
            return true;
        }
        false
    }
}

/// A node that keeps the state for an owner.
#[derive(Debug)]
struct Former {
    node: Box<str>,
    /// Zero as long as nothing was heard of it.
    incarnation: u64,
}

impl Former {
    fn is(&self, node: &str, incarnation: u64) -> bool {
        *self.node == *node && [0, incarnation].contains(&self.incarnation)
    }
}

/// Who claims a client identifier.
#[derive(Debug)]
pub(super) struct Waiter {
    node: Box<str>,
    incarnation: u64,
    ticket: u64,
    /// The former epoch, or zero.
    epoch: u64,
    /// For whom, if one holder has it for itself.
    holder: Box<str>,
}

impl Waiter {
    /// Whether it wants something for one holder.
    fn is_exclusive(&self) -> bool {
        !self.holder.is_empty()
    }

    /// Whether one that waits stays although another has come.
    fn goes_before(&self, later: &Self) -> bool {
        self.is_exclusive() && self.node != later.node && (self.epoch > 0 || later.epoch == 0)
    }
}

/// What a node has told.
#[derive(Debug)]
pub(super) struct Marker {
    pub(super) incarnation: u64,
    pub(super) view: (u64, u128),
    pub(super) nodes: Vec<(Box<str>, u64)>,
}

impl Directory {
    pub(super) fn claimed(
        &mut self,
        from: &str,
        client: &str,
        (ticket, epoch): (u64, u64),
        holder: &str,
    ) {
        let Some(incarnation) = self.nodes.get(from).copied() else {
            return;
        };
        let waiter = Waiter {
            node: from.into(),
            incarnation,
            ticket,
            epoch,
            holder: holder.into(),
        };
        let first = self.queue.get(client);
        if first.is_some_and(|first| first.goes_before(&waiter) && self.lives(first)) {
            return self.deny(client, &waiter);
        }
        // Whoever has the session from before comes first, so that the next one gets it.
        let queue = match epoch > 0 && !waiter.is_exclusive() {
            true => &mut self.formers,
            false => &mut self.queue,
        };
        if let Some(former) = queue.insert(client.into(), waiter)
            && *former.node != *from
        {
            self.deny(client, &former);
        }
        self.grant_queued();
    }

    /// Answers what has waited until this node may grant.
    pub(super) fn grant_queued(&mut self) {
        if self.queue.is_empty() && self.formers.is_empty() || !self.is_ready() {
            return;
        }
        let formers = core::mem::take(&mut self.formers);
        for (client, waiter) in formers.into_iter().chain(core::mem::take(&mut self.queue)) {
            // All nodes have the same view: who asks the wrong keeper has asked the right one.
            if keeper(&client, &self.cores) == Some(&*self.name) && self.lives(&waiter) {
                self.answer(&client, waiter);
            }
        }
    }

    fn lives(&self, waiter: &Waiter) -> bool {
        self.nodes.get(&waiter.node) == Some(&waiter.incarnation)
    }

    fn answer(&mut self, client: &str, waiter: Waiter) {
        let Some(entry) = self.entries.get_mut(client) else {
            return self.grant(client, &waiter, None);
        };
        let is_owner = entry.node == waiter.node;
        if is_owner && !entry.is_free {
            return self.grant_again(client, &waiter);
        }
        let is_alive = self.nodes.get(&entry.node) == Some(&entry.incarnation);
        if is_owner || !is_alive {
            return self.grant(client, &waiter, None);
        }
        // A holder takes along what it has when it moves.
        let moves = waiter.epoch == 0 && self.held.get(client) == Some(&waiter.holder);
        let is_taken = waiter.is_exclusive() && !moves && !entry.is_free;
        let is_former = waiter.epoch > 0 && !waiter.is_exclusive();
        if is_taken || waiter.epoch > 0 && !(is_former && entry.is_free) {
            return self.deny(client, &waiter);
        }
        let (owner, epoch) = (entry.node.clone(), entry.epoch);
        if entry.is_free && !is_former {
            let (node, incarnation) = (owner, entry.incarnation);
            let former = Former { node, incarnation };
            return self.grant(client, &waiter, Some(Box::new(former)));
        }
        if entry.is_free && epoch == 0 {
            // Of two from before, one that comes from a disk is the later: it was not there yet
            // when the other was given up.
            self.say(&owner, &Said::Drop { client, epoch });
            return self.grant(client, &waiter, None);
        }
        // Asked to give it up; or, if that has given it up, whether it keeps the state still.
        let node = waiter.node.clone();
        let former = entry.waiter.replace(Box::new(waiter));
        // One that asks again, after a disconnect, is not its own rival.
        if let Some(former) = former.filter(|former| former.node != node) {
            self.deny(client, &former);
        }
        self.say(&owner, &Said::Revoke { client, epoch });
    }

    /// The owner claims what it has. It has not got what it was told, or has not had its lease.
    fn grant_again(&mut self, client: &str, waiter: &Waiter) {
        let Some(entry) = self.entries.get_mut(client) else {
            return;
        };
        if entry.ticket != waiter.ticket {
            let former = entry.former.take();
            return self.grant(client, waiter, former);
        }
        let said = Said::Granted {
            client,
            ticket: waiter.ticket,
            epoch: entry.epoch,
            former: entry.former.as_ref().map_or("", |former| &former.node),
        };
        let mut frame = Vec::new();
        said.put(&mut frame);
        self.send(&waiter.node, frame);
    }

    fn grant(&mut self, client: &str, waiter: &Waiter, former: Option<Box<Former>>) {
        self.epoch += 1;
        let epoch = self.epoch;
        let said = Said::Granted {
            client,
            ticket: waiter.ticket,
            epoch,
            former: former.as_ref().map_or("", |former| &former.node),
        };
        self.say(&waiter.node, &said);
        let entry = Entry {
            node: waiter.node.clone(),
            incarnation: waiter.incarnation,
            epoch,
            ticket: waiter.ticket,
            waiter: None,
            is_free: false,
            former,
        };
        if waiter.is_exclusive() {
            self.held.insert(client.into(), waiter.holder.clone());
        }
        let before = self.entries.insert(client.into(), entry);
        // Whoever waited for the owner that asks again.
        if let Some(waiting) = before.and_then(|entry| entry.waiter)
            && waiting.node != waiter.node
        {
            self.deny(client, &waiting);
        }
    }

    fn deny(&mut self, client: &str, waiter: &Waiter) {
        let ticket = waiter.ticket;
        self.say(&waiter.node, &Said::Denied { client, ticket });
    }

    /// A node has given an identifier up, and keeps the state for the next owner.
    pub(super) fn keeps(&mut self, from: &str, client: &str, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        let Some(incarnation) = self.nodes.get(from).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(client) else {
            return self.enter_kept((from, incarnation), client, epoch);
        };
        if *entry.node == *from {
            if entry.is_free {
                let is_doubted = epoch == 0;
                entry.epoch = if is_doubted {
                    0
                } else {
                    entry.epoch.max(epoch)
                };
                // A session from a disk is an older one than what is kept.
                match entry.waiter.take() {
                    Some(waiter) if is_doubted => self.answer(client, *waiter),
                    Some(waiter) => self.deny(client, &waiter),
                    None => {}
                }
            } else if epoch >= entry.epoch {
                (entry.epoch, entry.is_free, entry.former) = (epoch, true, None);
                let waiter = entry.waiter.take();
                self.goes_on_waiting(client, waiter);
            }
            return;
        }
        let former = entry.former.as_mut();
        if let Some(former) = former.filter(|former| former.is(from, incarnation)) {
            former.incarnation = incarnation;
            return;
        }
        if epoch <= entry.epoch {
            // Somebody has had it since who does not wait for what is kept there.
            return self.say(from, &Said::Drop { client, epoch });
        }
        let (other, other_epoch, is_free) = (entry.node.clone(), entry.epoch, entry.is_free);
        let waiter = entry.waiter.take();
        self.enter_kept((from, incarnation), client, epoch);
        self.is_overtaken(&other, client, other_epoch, is_free);
        self.goes_on_waiting(client, waiter);
    }

    fn enter_kept(&mut self, (node, incarnation): (&str, u64), client: &str, epoch: u64) {
        let entry = Entry {
            node: node.into(),
            incarnation,
            epoch,
            ticket: 0,
            waiter: None,
            is_free: true,
            former: None,
        };
        self.entries.insert(client.into(), entry);
    }

    /// Another node has had it later than one that has it, or keeps its state.
    fn is_overtaken(&mut self, node: &str, client: &str, epoch: u64, is_free: bool) {
        let said = match is_free {
            true => Said::Drop { client, epoch },
            false => Said::Revoke { client, epoch },
        };
        self.say(node, &said);
    }

    /// Granted as soon as this node may.
    fn goes_on_waiting(&mut self, client: &str, waiter: Option<Box<Waiter>>) {
        if let Some(waiter) = waiter {
            self.wait_again(client, *waiter);
            self.grant_queued();
        }
    }

    /// The session of an owner has ended, or what a node has kept of it.
    pub(super) fn released(&mut self, from: &str, client: &str, epoch: u64) {
        let Some(entry) = self.entries.get_mut(client) else {
            return;
        };
        if *entry.node != *from {
            entry.former.take_if(|former| *former.node == *from);
        } else if entry.is_free || entry.epoch == epoch {
            let waiter = entry.waiter.take();
            self.entries.remove(client);
            self.held.remove(client);
            self.goes_on_waiting(client, waiter);
        }
    }

    /// One that was asked to give an identifier up has never had it, or has it no more.
    pub(super) fn is_absent(&mut self, from: &str, client: &str, epoch: u64) {
        let is_it = |entry: &&mut Entry| *entry.node == *from && entry.epoch == epoch;
        let Some(entry) = self.entries.get_mut(client).filter(is_it) else {
            return;
        };
        let waiter = entry.waiter.take();
        let is_kept = !entry.is_free && entry.goes_back(&self.nodes);
        if !is_kept {
            self.entries.remove(client);
            self.held.remove(client);
        }
        self.goes_on_waiting(client, waiter);
    }

    pub(super) fn registered(
        &mut self,
        from: &str,
        (client, epoch): (&str, u64),
        holder: &str,
        former: &str,
    ) {
        self.epoch = self.epoch.max(epoch);
        let Some(incarnation) = self.nodes.get(from).copied() else {
            return;
        };
        let known = self.entries.get_mut(client);
        if let Some(entry) = known.as_ref().filter(|entry| entry.epoch >= epoch) {
            // Two owners that did not know each other: the later one stays.
            if *entry.node != *from {
                self.say(from, &Said::Revoke { client, epoch });
            }
            return;
        }
        let other = known.as_ref().filter(|entry| *entry.node != *from);
        let other = other.map(|entry| (entry.node.clone(), entry.epoch, entry.is_free));
        let waiter = known.and_then(|entry| entry.waiter.take());
        let life = self.nodes.get(former).copied();
        let entry = Entry {
            node: from.into(),
            incarnation,
            epoch,
            ticket: 0,
            waiter: None,
            is_free: false,
            former: (!former.is_empty()).then(|| {
                let incarnation = life.unwrap_or(0);
                let node = former.into();
                Box::new(Former { node, incarnation })
            }),
        };
        self.entries.insert(client.into(), entry);
        if !holder.is_empty() {
            self.held.insert(client.into(), holder.into());
        }
        if let Some((other, epoch, is_free)) = other
            && !(is_free && *other == *former)
        {
            self.is_overtaken(&other, client, epoch, is_free);
        }
        // Who waited for the former owner waits for this one.
        self.goes_on_waiting(client, waiter);
    }

    pub(super) fn marked(&mut self, from: &str, view: (u64, u128), epoch: u64, nodes: Lives<'_>) {
        self.epoch = self.epoch.max(epoch);
        let Some(incarnation) = self.nodes.get(from).copied() else {
            return;
        };
        let nodes = nodes.map(|(name, life)| (name.into(), life)).collect();
        let marker = Marker {
            incarnation,
            view,
            nodes,
        };
        self.markers.insert(from.into(), marker);
        if self.is_ready() {
            self.forget_others();
            self.grant_queued();
        }
    }

    /// Forgets what others keep: all nodes know that they do, and would register it here
    /// again if that changed.
    fn forget_others(&mut self) {
        let (cores, name) = (&self.cores, &*self.name);
        self.entries
            .retain(|client, _| keeper(client, cores) == Some(name));
        self.forget_holders();
    }

    /// Holders of what nobody has any more.
    fn forget_holders(&mut self) {
        let entries = &self.entries;
        self.held.retain(|name, _| entries.contains_key(name));
    }

    /// Owners whose life is over own nothing; who waited for them waits no longer. What another
    /// node has kept for them it may have still. Goes through all entries, when a node has gone or
    /// has a new life.
    pub(super) fn drop_dead_owners(&mut self) {
        let nodes = &self.nodes;
        let mut waiters = Vec::new();
        self.entries.retain(|client, entry| {
            let lives = |former: &mut Former| {
                former.incarnation == 0 || nodes.get(&former.node) == Some(&former.incarnation)
            };
            entry.former.take_if(|former| !lives(former));
            if nodes.get(&entry.node) == Some(&entry.incarnation) {
                return true;
            }
            let waiter = entry.waiter.take();
            waiters.extend(waiter.map(|waiter| (client.clone(), waiter)));
            entry.goes_back(nodes)
        });
        self.forget_holders();
        for (client, waiter) in waiters {
            self.wait_again(&client, *waiter);
        }
    }

    /// Who has waited for an owner waits until this node may grant, unless another has claimed
    /// since.
    fn wait_again(&mut self, client: &str, waiter: Waiter) {
        let rival = self.queue.get(client);
        match rival.map(|rival| rival.node != waiter.node) {
            None => {
                self.queue.insert(client.into(), waiter);
            }
            Some(true) => self.deny(client, &waiter),
            Some(false) => {}
        }
    }

    /// Asks a node again for what it was asked for over a connection that has died.
    pub(super) fn revoke_again(&mut self, node: &str) {
        let entries = self.entries.iter();
        let asked = entries.filter(|(_, entry)| *entry.node == *node && entry.waiter.is_some());
        let asked: Vec<_> = asked
            .map(|(client, entry)| (client.clone(), entry.epoch))
            .collect();
        for (client, epoch) in asked {
            let client = &*client;
            self.say(node, &Said::Revoke { client, epoch });
        }
    }
}
