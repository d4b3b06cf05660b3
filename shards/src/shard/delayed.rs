//! Delayed publish: `$delayed/seconds/topic`.
//!
//! A message waits on the shard of its publisher and is then published as if it had just
//! arrived: its Message Expiry Interval begins when it is published.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::message::{Message, MessageRef};
use protocol::topic::TopicName;
use protocol::wire::{Publish, QoS, ReasonCode, Version};
use shard_store::{Change, StoredDelayed};

use super::Shard;
use super::input::Flow;
use super::publish::Routed;
use super::transaction::Touched;
use crate::settings::Delayed as Settings;

/// What the topic of a message begins with if it is to be published later.
const PREFIX: &str = "$delayed/";

/// The longest delay in seconds, as in EMQX.
const DELAY_MAX_S: u64 = 42_949_670;

/// Delayed messages published in one turn.
const DUE_PER_TURN: usize = 1024;

/// A message that is to be published later.
#[derive(Debug)]
struct Waiting {
    message: Arc<Message>,
    /// The serial of the publisher's session, whose key may be another's by then.
    publisher_serial: u32,
    /// Under which it is stored; 0 if it is not.
    number: u64,
}

/// The delayed messages of one shard, by when they are due and the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    waiting: BTreeMap<(u64, u64), Waiting>,
    /// How many have come so far.
    arrived: u64,
    /// Not all who subscribe are there yet: nothing is published.
    pub(super) held: bool,
}

impl Delayed {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.waiting.keys().next().map(|(due_ms, _)| *due_ms)
    }
}

/// Counts the delayed messages of a node: one for all shards.
#[derive(Debug, Default)]
pub(crate) struct DelayedQuota {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl DelayedQuota {
    /// Takes room for a message. False, and nothing taken, when a limit stands against it.
    fn take(&self, bytes: usize, limits: &Settings) -> bool {
        let messages = self.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let fits =
            messages <= u64::from(limits.max_delayed_messages) && all <= limits.max_delayed_bytes;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn restore(&self, bytes: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// Whether a topic asks for a delay.
#[inline]
fn asks_for_delay(topic: &str) -> bool {
    topic.starts_with('$') && topic.starts_with(PREFIX)
}

/// The delay in seconds and the topic behind it; `None` if they are malformed.
fn parse(topic: &str) -> Option<(u64, &str)> {
    let (seconds, topic) = topic.strip_prefix(PREFIX)?.split_once('/')?;
    let digits = seconds.bytes().all(|byte| byte.is_ascii_digit());
    let delay_s = seconds.parse().ok().filter(|_| digits)?;
    let is_nested = asks_for_delay(topic);
    (delay_s <= DELAY_MAX_S && !topic.is_empty() && !is_nested).then_some((delay_s, topic))
}

impl Shard {
    /// The delay in seconds that a topic asks for, if it asks for one, and the topic to
    /// publish to.
    #[inline]
    pub(super) fn delay_of<'a>(
        &self,
        topic: &'a str,
    ) -> Result<(Option<u64>, &'a str), ReasonCode> {
        if !asks_for_delay(topic) || !self.limits.delayed.enable {
            return Ok((None, topic));
        }
        let (delay_s, topic) = parse(topic).ok_or(ReasonCode::TOPIC_NAME_INVALID)?;
        Ok((Some(delay_s), topic))
    }

    /// A delayed message is not taken: a 5.0 client is told, the connection of others is
    /// closed.
    pub(super) fn refuse_delayed(
        &mut self,
        key: u32,
        version: Version,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Flow {
        if version == Version::V5 || publish.qos == QoS::AtMostOnce {
            return self.refuse_publish(key, publish, reason);
        }
        self.stats.dropped.add(1);
        self.disconnect(key, reason);
        Flow::Stop
    }

    /// Takes a message that is to be published later, or refuses it.
    pub(super) fn take_delayed(
        &mut self,
        key: u32,
        version: Version,
        publish: &Publish<'_>,
        delay_s: u64,
        message: &MessageRef<'_>,
    ) -> Flow {
        if publish.qos != QoS::AtMostOnce && self.store_is_full() {
            return self.refuse_unstored(key, publish);
        }
        match self.delay(delay_s, message) {
            Some(routed) => self.acknowledge(key, message.publisher as u32, publish, routed),
            None => self.refuse_delayed(key, version, publish, ReasonCode::QUOTA_EXCEEDED),
        }
    }

    /// Keeps a message to publish it later. Nothing when there is no room for it.
    fn delay(&mut self, delay_s: u64, message: &MessageRef<'_>) -> Option<Routed> {
        let delay_ms = delay_s * 1000;
        // What expires does so that long after it was published.
        let expires_ms = message.expires_ms.saturating_add(delay_ms);
        let message = MessageRef {
            expires_ms,
            ..*message
        };
        let message = message.to_message();
        let quota = &self.retained_quota.delayed;
        if !quota.take(message.size(), &self.limits.delayed) {
            return None;
        }
        self.stats.messages_delayed.add(1);
        let publisher = self.sessions.get(message.publisher as u32);
        let publisher_serial = publisher.map_or(0, |session| session.serial);
        let due_ms = self.now_ms + delay_ms;
        let number = self.record_delayed(due_ms, &message);
        let touched = Touched {
            stored: number > 0 && message.qos != QoS::AtMostOnce,
            ..Touched::default()
        };
        let waiting = Waiting {
            message,
            publisher_serial,
            number,
        };
        self.keep_delayed(due_ms, waiting);
        Some(Routed {
            matched: true,
            touched,
            ..Routed::default()
        })
    }

    fn keep_delayed(&mut self, due_ms: u64, waiting: Waiting) {
        self.delayed.arrived += 1;
        let key = (due_ms, self.delayed.arrived);
        self.delayed.waiting.insert(key, waiting);
        self.count_delayed();
    }

    /// Stores a delayed message; returns its number.
    fn record_delayed(&mut self, due_ms: u64, message: &Arc<Message>) -> u64 {
        let Some(journal) = &mut self.journal else {
            return 0;
        };
        let number = journal.number();
        let message = Arc::clone(message);
        journal.push(Change::PutDelayed {
            number,
            due_ms,
            message,
        });
        number
    }

    /// Keeps a message that was stored, whatever the limits are now.
    pub(super) fn restore_delayed(&mut self, stored: StoredDelayed) {
        self.retained_quota.delayed.restore(stored.message.size());
        let waiting = Waiting {
            message: stored.message,
            publisher_serial: 0,
            number: stored.number,
        };
        self.keep_delayed(stored.due_ms, waiting);
    }

    /// Publishes what is due, in the order in which it is due and came, as long as there is
    /// room on the way to the other shards.
    pub(super) fn publish_delayed(&mut self) {
        for _ in 0..DUE_PER_TURN {
            let next = self.next_delayed_ms();
            if next.is_none_or(|due_ms| due_ms > self.now_ms) {
                return;
            }
            let Some((_, waiting)) = self.delayed.waiting.pop_first() else {
                return;
            };
            self.count_delayed();
            let message = waiting.message;
            self.retained_quota.delayed.give_back(message.size());
            let publisher = self.sessions.get(message.publisher as u32);
            let is_same = publisher.is_some_and(|s| s.serial == waiting.publisher_serial);
            let publisher = if is_same { message.publisher } else { u64::MAX };
            let message = MessageRef {
                publisher,
                ..Message::by_ref(&message)
            };
            if let Ok(topic) = TopicName::parse(message.topic, u16::MAX) {
                let number = waiting.number;
                let stored = (number > 0).then_some(Change::DropDelayed { number });
                self.route_with(topic, &message, stored.into_iter().collect());
            }
        }
    }

    /// When the next delayed message can be published.
    pub(super) fn next_delayed_ms(&self) -> Option<u64> {
        let next = self.delayed.next_due_ms()?;
        let full = next <= self.now_ms && self.is_ring_full();
        // Without a lease this node may not know who is to get it.
        let waits = full || self.delayed.held || self.is_fenced();
        (!waits).then_some(next)
    }

    /// Whether a delayed message is due and waits for room on the way to other shards.
    pub(super) fn delayed_waits_for_rings(&self) -> bool {
        let next = self.delayed.next_due_ms();
        next.is_some_and(|due_ms| due_ms <= self.now_ms) && self.is_ring_full()
    }

    fn count_delayed(&self) {
        self.stats.delayed.set(self.delayed.waiting.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_delayed_topic_has_whole_seconds_and_a_topic() {
        assert_eq!(parse("$delayed/5/a/b"), Some((5, "a/b")));
        assert_eq!(parse("$delayed/0//a"), Some((0, "/a")));
        assert_eq!(parse("$delayed/42949670/a"), Some((42_949_670, "a")));
        for bad in [
            "$delayed/x/a",
            "$delayed/5",
            "$delayed/5/",
            "$delayed//a",
            "$delayed/-1/a",
            "$delayed/+1/a",
            "$delayed/42949671/a",
            "$delayed/99999999999999999999999/a",
            "$delayed/1/$delayed/1/a",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
