//! What all shards of a node may retain together.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::settings::Mqtt;

use super::delayed::DelayedQuota;

/// Counts the retained messages of a node. One for all shards: touched only when a message
/// is retained or forgotten, so that the limits are exact on any number of shards.
#[derive(Debug, Default)]
pub(crate) struct RetainedQuota {
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Messages that were to be retained since the start.
    numbered: AtomicU64,
    /// What may wait to be published later.
    pub(super) delayed: DelayedQuota,
}

impl RetainedQuota {
    /// A number for a message that is to be retained, larger than those before.
    pub(super) fn next_number(&self) -> u64 {
        self.numbered.fetch_add(1, Ordering::Relaxed) + 1
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
