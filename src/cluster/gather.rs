//! A process that has just started and does not know all routes of the others yet: what it took
//! and acknowledged now would not reach them.

use shard_cluster::routes::Replica;

use super::hub::Hub;

/// Whoever has not sent its routes so long after the first lease is waited for no more.
const GATHER_MS: u64 = 3_000;

/// Whether a process has what it needs to take messages.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    is_over: bool,
    /// Since when it has had a lease.
    since_ms: Option<u64>,
}

impl Hub {
    /// Until when this node may acknowledge, by its leases and by what it knows of others.
    pub(super) fn acknowledges_until_ms(&mut self, now_ms: u64) -> u64 {
        let until_ms = self.members.lease_until_ms();
        if self.gathering.is_over || until_ms <= now_ms {
            return until_ms;
        }
        let knows = |name: &str| {
            let replica = self.routes.replica(name);
            replica.is_some_and(Replica::is_known)
        };
        let since_ms = *self.gathering.since_ms.get_or_insert(now_ms);
        self.gathering.is_over =
            now_ms >= since_ms + GATHER_MS || self.roster.iter().all(|name| knows(name));
        match self.gathering.is_over {
            true => until_ms,
            false => 0,
        }
    }
}
