//! What the settings switch off or change: QoS, retained messages, wildcards, shared
//! subscriptions.
//!
//! A 5.0 client has been told in CONNACK, so asking for it nevertheless is a protocol error.
//! A 3.x client cannot be told: its connection is closed for a PUBLISH, its subscription
//! refused with 0x80.

use protocol::topic::Subscription;
use protocol::wire::{Connect, Publish, QoS, ReasonCode, Subscribe, SubscriptionOptions, Version};

use crate::settings::Mqtt;

use super::Shard;

impl Mqtt {
    /// Maximum QoS.
    pub(super) const fn maximum_qos(&self) -> QoS {
        match self.max_qos_allowed {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        }
    }

    /// The QoS of a delivery: the lower one of message and subscription, or the higher one if
    /// that is configured.
    #[inline]
    pub(super) fn delivered_qos(&self, subscription: QoS, message: QoS) -> QoS {
        if self.upgrade_qos {
            subscription.max(message)
        } else {
            subscription.min(message)
        }
    }

    /// Why there is no such message [MQTT-3.2.2-11], [MQTT-3.2.2-14].
    #[inline]
    fn unavailable(&self, qos: QoS, retain: bool) -> Option<ReasonCode> {
        if qos as u8 > self.max_qos_allowed {
            Some(ReasonCode::QOS_NOT_SUPPORTED)
        } else if retain && !self.retain_available {
            Some(ReasonCode::RETAIN_NOT_SUPPORTED)
        } else {
            None
        }
    }

    /// Why there is no such subscription.
    fn unavailable_subscription(&self, subscription: &Subscription<'_>) -> Option<ReasonCode> {
        if subscription.group.is_some() && !self.shared_subscription {
            Some(ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED)
        } else if subscription.filter.has_wildcard() && !self.wildcard_subscription {
            Some(ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED)
        } else {
            None
        }
    }
}

impl Shard {
    /// Why a PUBLISH cannot be taken, which its client knew.
    #[inline]
    pub(super) fn is_unavailable(&self, publish: &Publish<'_>) -> Option<ReasonCode> {
        self.limits.unavailable(publish.qos, publish.retain)
    }

    /// Whether the payload is not the UTF-8 that it is said to be, if that is checked
    /// (5.0 section 3.3.2.3.2).
    #[inline]
    pub(super) fn has_wrong_payload(&self, is_utf8: bool, payload: &[u8]) -> bool {
        is_utf8 && self.limits.check_payload_format && str::from_utf8(payload).is_err()
    }

    /// Why a will cannot be taken [MQTT-3.2.2-12], [MQTT-3.2.2-13].
    pub(super) fn is_will_unavailable(&self, connect: &Connect<'_>) -> Option<ReasonCode> {
        let will = connect.will.as_ref()?;
        if self.has_wrong_payload(will.properties.payload_is_utf8(), will.payload) {
            return Some(ReasonCode::PAYLOAD_FORMAT_INVALID);
        }
        self.limits.unavailable(will.qos, will.retain)
    }

    /// The first subscription that there cannot be and whose 5.0 client knew (5.0 sections
    /// 3.2.2.3.11 and 3.2.2.3.13).
    pub(super) fn is_subscribe_unavailable(
        &self,
        version: Version,
        subscribe: &Subscribe<'_>,
    ) -> Option<ReasonCode> {
        if version != Version::V5
            || self.limits.wildcard_subscription && self.limits.shared_subscription
        {
            return None;
        }
        subscribe.filters().find_map(|(text, _)| {
            let parsed = Subscription::parse(text, self.limits.max_topic_levels);
            self.limits.unavailable_subscription(&parsed.ok()?)
        })
    }

    /// The options that a subscription gets, or why there is none.
    pub(super) fn granted(
        &self,
        version: Version,
        subscription: &Subscription<'_>,
        mut options: SubscriptionOptions,
    ) -> Result<SubscriptionOptions, ReasonCode> {
        if let Some(reason) = self.limits.unavailable_subscription(subscription) {
            return Err(reason);
        }
        // [MQTT-3.2.2-9], [MQTT-3.2.2-10]
        options.qos = options.qos.min(self.limits.maximum_qos());
        if self.limits.ignore_loop_deliver && version != Version::V5 {
            options.no_local = subscription.group.is_none();
        }
        Ok(options)
    }
}
