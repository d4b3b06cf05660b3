//! What all shards of a node may retain together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::settings::Mqtt;

use super::delayed::DelayedQuota;

/// Bits of a version that count within a millisecond, and those that come from its node.
const COUNT_BITS: u32 = 10;
const NODE_BITS: u32 = 12;

/// Counts the retained messages of a node. One for all shards: touched only when a message
/// is retained or forgotten, so that the limits are exact on any number of shards.
#[derive(Debug, Default)]
pub(crate) struct RetainedQuota {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// The newest version of a retained message that is known here.
    newest: AtomicU64,
    /// What may wait to be published later.
    pub(super) delayed: DelayedQuota,
}

impl RetainedQuota {
    /// A version for a message that is to be retained, larger than all that are known here: from
    /// the top the milliseconds since 1970, a count within them, and bits of `node`, which tell
    /// apart what two nodes retain in the same instant. Should the clock go back, or another
    /// node's be ahead, it is the count that grows.
    pub(super) fn next_version(&self, unix_ms: u64, node: u64) -> u64 {
        let now = unix_ms << COUNT_BITS;
        let node = node & ((1 << NODE_BITS) - 1);
        let next = |newest: u64| {
            let instant = now
                .max((newest >> NODE_BITS) + 1)
                .min(u64::MAX >> NODE_BITS);
            instant << NODE_BITS | node
        };
        // Whoever has a version knows what was known where it was given.
        let newest = self
            .newest
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |newest| {
                Some(next(newest))
            });
        next(newest.unwrap_or_else(|newest| newest))
    }

    /// The newest version that is known; see [`RetainedQuota::next_version`].
    pub(super) fn newest(&self) -> u64 {
        self.newest.fetch_add(0, Ordering::AcqRel)
    }

    /// A version has come from another node, or from the disk.
    pub(super) fn saw(&self, version: u64) {
        self.newest.fetch_max(version, Ordering::AcqRel);
    }

    /// Takes room for a message of `bytes` bytes, in place of one of `replaced` bytes if
    /// there is one. False, and nothing taken, when a limit stands against it.
    pub(crate) fn take(&self, bytes: usize, replaced: Option<usize>, limits: &Mqtt) -> bool {
        let messages = u64::from(replaced.is_none());
        let old = replaced.unwrap_or(0) as u64;
        let all = self.messages.fetch_add(messages, Ordering::Relaxed) + messages;
        let all_bytes = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let many = messages > 0 && all > u64::from(limits.max_retained_messages);
        if many || all_bytes.saturating_sub(old) > limits.max_retained_bytes {
            self.messages.fetch_sub(messages, Ordering::Relaxed);
            self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_sub(old, Ordering::Relaxed);
        true
    }

    /// Takes room for a message that was stored, whatever the limits are now.
    pub(crate) fn restore(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that are taken.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gives back the room of a message that is forgotten.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_newer_than_all_that_are_known_whatever_the_clock_says() {
        let quota = RetainedQuota::default();
        let first = quota.next_version(1_700_000_000_000, 5);
        assert_eq!(first >> 22, 1_700_000_000_000);
        let second = quota.next_version(1_600_000_000_000, 5);
        assert!(second > first);
        quota.saw(second + (9 << 22));
        let third = quota.next_version(1_700_000_000_001, u64::MAX);
        assert!(third > second + (9 << 22));
        assert_eq!(quota.newest(), third);
        // Nodes do not give the same one.
        let other = RetainedQuota::default();
        assert_ne!(other.next_version(1_700_000_000_000, 6), first);
        quota.saw(u64::MAX);
        assert_eq!(quota.next_version(0, 0xFFF), u64::MAX);
    }

    #[test]
    fn replacing_needs_no_room_for_another_message() {
        let limits = Mqtt {
            max_retained_messages: 1,
            max_retained_bytes: 100,
            ..Mqtt::default()
        };
        let quota = RetainedQuota::default();
        assert!(quota.take(60, None, &limits));
        assert!(!quota.take(10, None, &limits));
        assert!(quota.take(100, Some(60), &limits));
        assert!(!quota.take(101, Some(100), &limits));
        quota.give_back(100);
        assert!(quota.take(100, None, &limits));
    }
}
