//! A shard without sockets, threads and time, for counting what its work costs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::settings::Mqtt;
use crate::shard::{Common, Journal, Remote, RetainedQuota, Shard, ShardSetup, Stats};

/// The only shard of a node, driven by calls: bytes in, bytes out. Sessions with an expiry
/// would be stored, but there is no store behind it: only clean sessions are of use here.
pub struct Alone {
    shard: Shard,
    dirty: Vec<u32>,
}

impl Alone {
    /// A shard with default settings.
    #[must_use]
    pub fn new() -> Self {
        let stats = Arc::new(Stats::default());
        let common = Common::of_one(Arc::clone(&stats));
        let setup = ShardSetup {
            id: 0,
            count: 1,
            limits: Arc::new(Mqtt::default()),
            hash_seed: 1,
            id_secret: [1, 2],
            retained_quota: Arc::new(RetainedQuota::default()),
            peer_bytes_max: 1 << 20,
            routes: None,
            journal: Some(Box::new(Journal::new(Arc::new(AtomicU64::new(1))))),
            stats,
            common: Arc::new(common),
            now_ms: 0,
        };
        Self {
            shard: Shard::new(setup),
            dirty: Vec::new(),
        }
    }

    /// Opens a connection; returns its key.
    pub fn open(&mut self) -> u32 {
        let remote = ([192, 0, 2, 1], 10_000).into();
        self.shard.opened(Remote::new(remote, 1883, 0))
    }

    /// Bytes that came on a connection.
    pub fn received(&mut self, key: u32, bytes: &[u8]) {
        self.shard.received(key, bytes);
    }

    /// Ends a turn.
    pub fn turn(&mut self) {
        self.shard.tick();
        self.shard.finish_turn();
        self.dirty.clear();
        self.shard.take_dirty(&mut self.dirty);
    }

    /// Moves what a connection has to send to the end of `bytes`.
    pub fn sent(&mut self, key: u32, bytes: &mut Vec<u8>) {
        let Some(flush) = self.shard.flush(key) else {
            return;
        };
        for part in flush.output.parts() {
            bytes.extend_from_slice(part);
        }
        flush.output.clear();
    }
}

impl Default for Alone {
    fn default() -> Self {
        Self::new()
    }
}
