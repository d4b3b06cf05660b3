//! All messages of a run and all share groups, and what must have become of them.

use std::collections::BTreeMap;

/// A message, by number: the number is its payload.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) publisher: usize,
    pub(super) topic: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) will: bool,
    /// When it was sent first, on the clock of events.
    pub(super) sent_at: u64,
    /// PUBACK or PUBREC has come.
    pub(super) acknowledged: bool,
    /// How often it was sent again with QoS 1, so that it may arrive more than once.
    pub(super) repeats: usize,
    /// A will whose client has said good-bye.
    pub(super) forbidden: bool,
}

/// A share group, by its `$share/name/filter`.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// When somebody last joined or left or may have, on the clock of events.
    pub(super) changed_at: u64,
    /// When it last may have had no member at all.
    pub(super) alone_at: u64,
    /// Somebody was a member with QoS 0.
    pub(super) lossy: bool,
    /// By message: how many members got it.
    pub(super) deliveries: BTreeMap<usize, usize>,
    /// By message: how many members that may not have acknowledged it are gone.
    pub(super) returns: BTreeMap<usize, usize>,
}

/// All there is to know.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) entries: Vec<Entry>,
    pub(super) groups: BTreeMap<&'static str, Group>,
    /// Counts events.
    now: u64,
}

impl Ledger {
    /// The time of an event of its own.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// A message that is about to be sent; returns its number.
    pub(super) fn enter(&mut self, publisher: usize, topic: &str, qos: u8) -> usize {
        let sent_at = self.tick();
        self.entries.push(Entry {
            publisher,
            topic: topic.to_owned(),
            qos,
            retain: false,
            will: false,
            sent_at,
            acknowledged: false,
            repeats: 0,
            forbidden: false,
        });
        self.entries.len() - 1
    }

    /// The members of a group are, or may be, others from here on.
    pub(super) fn change_group(&mut self, name: &'static str, was_alone: bool) {
        let changed_at = self.tick();
        let group = self.groups.entry(name).or_default();
        group.changed_at = changed_at;
        if was_alone {
            group.alone_at = changed_at;
        }
    }

    /// A member that was sent a message with QoS 1 is gone: another may get it.
    pub(super) fn return_to_group(&mut self, name: &'static str, number: usize) {
        let group = self.groups.entry(name).or_default();
        *group.returns.entry(number).or_default() += 1;
    }

    /// A member of a group got a message that it had not got before.
    pub(super) fn deliver_to_group(&mut self, name: &'static str, number: usize) {
        let entry = &self.entries[number];
        let group = self.groups.entry(name).or_default();
        let count = group.deliveries.entry(number).or_default();
        *count += 1;
        let returns = group.returns.get(&number).copied().unwrap_or(0);
        assert!(
            *count <= 1 + entry.repeats + returns,
            "message {number} came to {name} {count} times: {entry:?}"
        );
    }

    /// The messages that were acknowledged with QoS 1 or 2, with their numbers.
    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, entry)| entry.acknowledged)
    }
}
