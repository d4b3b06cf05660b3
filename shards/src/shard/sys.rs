//! `$SYS` topics: what the broker says about itself, under EMQX's names. The first shard
//! publishes them for the whole node.

use protocol::message::MessageRef;
use protocol::topic::TopicName;
use protocol::wire::QoS;

use super::Shard;
use super::clock::rfc3339;
use super::common::{Common, SYS_PREFIX};
use super::stats::{GAUGES, METRICS, sum};

/// How often the numbers that have a `max` are looked at.
const SAMPLE_MS: u64 = 1000;

/// What the broker calls itself.
const DESCRIPTION: &str = "ShardMQ";

/// When what is published next. Lives on the first shard.
#[derive(Debug)]
pub(super) struct SysTopics {
    /// `u64::MAX` when they are off.
    heartbeat_due_ms: u64,
    message_due_ms: u64,
    sample_due_ms: u64,
    /// The highest value seen of each of [`GAUGES`].
    highest: [u64; GAUGES.len()],
}

impl SysTopics {
    /// The topics of the first shard, `None` if all are off.
    pub(super) fn new(shard: u16, common: &Common, now_ms: u64) -> Option<Box<Self>> {
        let settings = &common.sys_topics;
        let due = |interval_s| if interval_s == 0 { u64::MAX } else { now_ms };
        let topics = Self {
            heartbeat_due_ms: due(settings.sys_heartbeat_interval_s),
            message_due_ms: due(settings.sys_msg_interval_s),
            sample_due_ms: now_ms,
            highest: [0; GAUGES.len()],
        };
        let on = topics.heartbeat_due_ms.min(topics.message_due_ms) < u64::MAX;
        (shard == 0 && on).then(|| Box::new(topics))
    }

    pub(super) fn due_ms(&self) -> u64 {
        self.heartbeat_due_ms
            .min(self.message_due_ms)
            .min(self.sample_due_ms)
    }
}

impl Shard {
    /// Publishes what is due.
    pub(super) fn tick_sys(&mut self) {
        let now_ms = self.now_ms;
        let is_due = |sys: &SysTopics| sys.due_ms() <= now_ms;
        if !self.sys.as_deref().is_some_and(is_due) {
            return;
        }
        let Some(mut sys) = self.sys.take() else {
            return;
        };
        let settings = &self.common.sys_topics;
        let next = |interval_s: u32| now_ms + u64::from(interval_s) * 1000;
        let (heartbeat, message) = (
            next(settings.sys_heartbeat_interval_s),
            next(settings.sys_msg_interval_s),
        );
        if sys.sample_due_ms <= now_ms {
            sys.sample_due_ms = now_ms + SAMPLE_MS;
            for (highest, (_, gauge)) in sys.highest.iter_mut().zip(GAUGES) {
                *highest = (*highest).max(sum(*gauge, &self.common.stats));
            }
        }
        if sys.heartbeat_due_ms <= now_ms {
            sys.heartbeat_due_ms = heartbeat;
            self.publish_heartbeat();
        }
        if sys.message_due_ms <= now_ms {
            sys.message_due_ms = message;
            self.publish_about_node();
            self.publish_numbers(&sys.highest);
        }
        self.sys = Some(sys);
    }

    fn publish_heartbeat(&mut self) {
        if self.common.interest.in_sys() {
            let datetime = rfc3339(self.unix_ms());
            self.publish_sys("uptime", &self.now_ms.to_string(), false);
            self.publish_sys("datetime", &datetime, false);
        }
    }

    /// What does not change is retained, as EMQX does.
    fn publish_about_node(&mut self) {
        self.publish_sys("version", env!("CARGO_PKG_VERSION"), true);
        self.publish_sys("sysdescr", DESCRIPTION, true);
        let nodes = self.common.node.clone();
        self.publish_own("$SYS/brokers", nodes.as_bytes(), true);
    }

    fn publish_numbers(&mut self, highest: &[u64]) {
        if !self.common.interest.in_sys() {
            return;
        }
        for ((name, gauge), highest) in GAUGES.iter().zip(highest) {
            let count = sum(*gauge, &self.common.stats);
            self.publish_sys(&format!("stats/{name}/count"), &count.to_string(), false);
            let highest = count.max(*highest);
            self.publish_sys(&format!("stats/{name}/max"), &highest.to_string(), false);
        }
        for (name, metric) in METRICS {
            let count = sum(*metric, &self.common.stats);
            self.publish_sys(&format!("metrics/{name}"), &count.to_string(), false);
        }
    }

    fn publish_sys(&mut self, name: &str, payload: &str, retain: bool) {
        let topic = format!("{SYS_PREFIX}brokers/{}/{name}", self.common.node);
        self.publish_own(&topic, payload.as_bytes(), retain);
    }

    /// Publishes a message of the broker itself.
    pub(super) fn publish_own(&mut self, topic: &str, payload: &[u8], retain: bool) {
        // A client identifier may make it one that nobody can publish to.
        let Ok(topic) = TopicName::parse(topic, u16::MAX) else {
            return;
        };
        let message = MessageRef {
            topic: topic.as_str(),
            properties: &[],
            payload,
            qos: QoS::AtMostOnce,
            retain,
            expires_ms: u64::MAX,
            publisher: u64::MAX,
        };
        self.route(topic, &message);
    }

    /// The time of day in milliseconds since 1970.
    pub(super) fn unix_ms(&self) -> u64 {
        self.epoch_ms + self.now_ms
    }

    /// Tells the time of day, in milliseconds since 1970.
    pub(crate) fn set_time_of_day(&mut self, unix_ms: u64) {
        self.epoch_ms = unix_ms.saturating_sub(self.now_ms);
    }
}
