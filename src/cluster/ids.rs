//! Identifiers of connections.
//!
//! They are random and nothing else: those that quinn makes by default tell a process by a key of
//! its own, and so packets for a connection of a former process are dropped without a word. A node
//! that has restarted is to say that it knows nothing of it, see
//! [`reset_key`](super::proof::Cookie::reset_key).

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Bytes of an identifier.
const BYTES: usize = 8;

/// Makes identifiers.
pub(super) struct RandomIds(SystemRandom);

impl RandomIds {
    pub(super) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; BYTES];
        // A system that has none would not have made the key of this process either.
        _ = self.0.fill(&mut bytes);
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
