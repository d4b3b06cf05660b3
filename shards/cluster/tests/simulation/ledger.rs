//! All messages, and what became of them.

use std::collections::{BTreeMap, BTreeSet};

/// A message.
pub(crate) struct Published {
    /// The nodes it was routed to, and with which process each ran.
    pub(crate) to: Vec<(usize, u64)>,
    pub(crate) acknowledged: bool,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) messages: Vec<Published>,
    /// Messages that were given up because a node was known dead.
    pub(crate) lost_with: BTreeSet<(u64, usize)>,
    /// Lives that somebody has given up.
    pub(crate) down: BTreeSet<(usize, u64)>,
    /// How often a client identifier was granted.
    pub(crate) grants: u64,
    /// How often a filter was granted to one client for itself.
    pub(crate) exclusive_grants: u64,
    /// How many sessions there have been, each one anew where it has moved.
    pub(crate) sessions: u64,
    /// The last session of a client that has ended.
    ends: BTreeMap<Box<str>, u64>,
    /// How often a session was found by its client on another node.
    pub(crate) found: u64,
    /// By client identifier that was given up for another node: what it has for itself.
    pub(crate) moving: BTreeMap<Box<str>, Vec<Box<str>>>,
}

/// What the sessions of one node hold.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    pub(crate) held: BTreeSet<u64>,
    /// The last message of each process and shard of each node.
    last: BTreeMap<(usize, u64, u16), u64>,
}

impl Sessions {
    pub(crate) fn take(&mut self, stream: (usize, u64, u16), message: u64) {
        let last = self.last.insert(stream, message);
        assert!(
            last < Some(message),
            "{message} behind {last:?} of {stream:?}"
        );
        assert!(self.held.insert(message), "{message} came twice");
    }
}

impl Ledger {
    /// The session of a client has ended.
    pub(crate) fn ended(&mut self, client: &str, number: u64) {
        let last = self.ends.entry(client.into()).or_default();
        *last = number.max(*last);
    }

    pub(crate) fn last_ended(&self, client: &str) -> Option<u64> {
        self.ends.get(client).copied()
    }

    pub(crate) fn publish(&mut self, to: Vec<(usize, u64)>) -> u64 {
        self.messages.push(Published {
            to,
            acknowledged: false,
        });
        self.messages.len() as u64 - 1
    }

    /// What was acknowledged is with a node that has lived since, or stores what it accepts.
    pub(crate) fn check(&self, node: usize, process: u64, stores: bool, sessions: &Sessions) {
        for (id, message) in self.messages.iter().enumerate() {
            let id = id as u64;
            let lives = |(to, boot): &(usize, u64)| *to == node && (stores || *boot == process);
            let is_lost = self.lost_with.contains(&(id, node));
            if message.acknowledged && !is_lost && message.to.iter().any(lives) {
                assert!(
                    sessions.held.contains(&id),
                    "{id} was acknowledged and is not on node {node}"
                );
            }
        }
    }
}
