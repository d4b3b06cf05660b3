//! What this node keeps for others.

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
    /// The owner has given it up, and keeps the state for the next.
    is_free: bool,
    /// The node that gave it up for this owner, and keeps the state until that has it.
    former: Option<Box<str>>,
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
            return self.grant(client, &waiter, "");
        };
        let is_owner = entry.node == waiter.node;
        if is_owner && entry.ticket == waiter.ticket && !entry.is_free {
            // Asked again after a disconnect: the answer is the same.
            let (ticket, epoch, former) = (waiter.ticket, entry.epoch, "");
            let said = Said::Granted {
                client,
                ticket,
                epoch,
                former,
            };
            return self.say(&waiter.node, &said);
        }
        let is_alive = self.nodes.get(&entry.node) == Some(&entry.incarnation);
        if is_owner || !is_alive {
            return self.grant(client, &waiter, "");
        }
        // A holder takes along what it has when it moves.
        let moves = waiter.epoch == 0 && self.held.get(client) == Some(&waiter.holder);
        let is_taken = waiter.is_exclusive() && !moves && !entry.is_free;
        if waiter.epoch > 0 || is_taken {
            return self.deny(client, &waiter);
        }
        if entry.is_free {
            let former = entry.node.clone();
            return self.grant(client, &waiter, &former);
        }
        let (owner, epoch) = (entry.node.clone(), entry.epoch);
        let node = waiter.node.clone();
        let former = entry.waiter.replace(Box::new(waiter));
        // One that asks again, after a disconnect, is not its own rival.
        if let Some(former) = former.filter(|former| former.node != node) {
            self.deny(client, &former);
        }
        self.say(&owner, &Said::Revoke { client, epoch });
    }

    fn grant(&mut self, client: &str, waiter: &Waiter, former: &str) {
        self.epoch += 1;
        let epoch = self.epoch;
        let entry = Entry {
            node: waiter.node.clone(),
            incarnation: waiter.incarnation,
            epoch,
            ticket: waiter.ticket,
            waiter: None,
            is_free: false,
            former: (!former.is_empty()).then(|| former.into()),
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
        let said = Said::Granted {
            client,
            ticket: waiter.ticket,
            epoch,
            former,
        };
        self.say(&waiter.node, &said);
    }

    fn deny(&mut self, client: &str, waiter: &Waiter) {
        let ticket = waiter.ticket;
        self.say(&waiter.node, &Said::Denied { client, ticket });
    }

    /// An owner has given an identifier up. If it was asked to, it keeps the state for the next.
    pub(super) fn given_up(&mut self, from: &str, client: &str, epoch: u64, asked: bool) {
        let is_it = |entry: &&mut Entry| *entry.node == *from && entry.epoch == epoch;
        let Some(entry) = self.entries.get_mut(client).filter(is_it) else {
            return;
        };
        let waiter = entry.waiter.take();
        entry.is_free = true;
        if !asked {
            self.entries.remove(client);
            self.held.remove(client);
        }
        // Granted as soon as this node may.
        if let Some(waiter) = waiter {
            self.wait_again(client, *waiter);
            self.grant_queued();
        }
    }

    pub(super) fn registered(&mut self, from: &str, client: &str, epoch: u64, holder: &str) {
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
        let other = other.map(|entry| (entry.node.clone(), entry.epoch));
        let waiter = known.and_then(|entry| entry.waiter.take());
        let entry = Entry {
            node: from.into(),
            incarnation,
            epoch,
            ticket: 0,
            waiter: None,
            is_free: false,
            former: None,
        };
        self.entries.insert(client.into(), entry);
        if !holder.is_empty() {
            self.held.insert(client.into(), holder.into());
        }
        if let Some((other, epoch)) = other {
            self.say(&other, &Said::Revoke { client, epoch });
        }
        // Who waited for the former owner waits for this one.
        if let Some(waiter) = waiter {
            self.wait_again(client, *waiter);
            self.grant_queued();
        }
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
            let is_alive = nodes.get(&entry.node) == Some(&entry.incarnation);
            let waiter = entry.waiter.take_if(|_| !is_alive);
            waiters.extend(waiter.map(|waiter| (client.clone(), waiter)));
            let former = entry.former.take_if(|_| !is_alive);
            let life = former
                .as_ref()
                .and_then(|former| nodes.get(former).copied());
            if let (Some(former), Some(life)) = (former, life) {
                (entry.node, entry.incarnation, entry.is_free) = (former, life, true);
                entry.ticket = 0;
                return true;
            }
            is_alive
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
