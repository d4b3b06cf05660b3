//! Subscriptions that clients get without asking, each time they connect, as in EMQX.

use protocol::topic::Subscription;
use protocol::wire::{QoS, RetainHandling, SubscriptionOptions};

use crate::settings::AutoSubscription;

use super::template::{Facts, Template};
use super::{NONE, Shard};

/// One of them.
#[derive(Debug)]
pub(super) struct Automatic {
    topic: Template,
    options: SubscriptionOptions,
}

impl AutoSubscription {
    /// Whether a client can subscribe to this, or why not.
    pub fn check(&self) -> Result<(), String> {
        let facts = Facts {
            client_id: "clientid".into(),
            username: Some("username".into()),
            host: "127.0.0.1".to_owned(),
            port: 1883,
        };
        let template = Template::new(&self.topic);
        if template.groups() > 0 {
            let places = "${clientid}, ${username}, ${host} and ${port}";
            return Err(format!(
                "topic = {:?}: only {places} are filled in",
                self.topic
            ));
        }
        let sample = template.fill(&facts, |_| "").unwrap_or_default();
        let parsed = Subscription::parse(&sample, u16::MAX)
            .map_err(|error| format!("topic = {:?}: {error}", self.topic))?;
        // [MQTT-3.8.3-4]
        if parsed.group.is_some() && self.nl == 1 {
            return Err(format!(
                "topic = {:?}: a shared subscription cannot have nl = 1",
                self.topic
            ));
        }
        Ok(())
    }
}

impl Automatic {
    pub(super) fn new(settings: &AutoSubscription) -> Self {
        let qos = match settings.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let retain_handling = match settings.rh {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DontSend,
        };
        Self {
            topic: Template::new(&settings.topic),
            options: SubscriptionOptions {
                qos,
                no_local: settings.nl == 1,
                retain_as_published: settings.rap == 1,
                retain_handling,
            },
        }
    }
}

impl Shard {
    /// Subscribes a client that was let in to what all clients get. What cannot be filled in
    /// for it, for want of a user name, is left out.
    pub(super) fn auto_subscribe(&mut self, key: u32) {
        if self.common.auto_subscribe.is_empty() || self.session_of(key) == NONE {
            return;
        }
        let facts = self.facts(key);
        let filled = self.common.auto_subscribe.iter().filter_map(|automatic| {
            let topic = automatic.topic.fill(&facts, |_| "");
            topic.ok().map(|topic| (topic, automatic.options))
        });
        let filled: Vec<_> = filled.collect();
        let missing = self.common.auto_subscribe.len() - filled.len();
        self.stats.subscribe_errors.add(missing as u64);
        let filters = filled.iter().map(|(topic, options)| (&**topic, *options));
        let begun = self.subscribe_all(key, filters, 0, None);
        self.answer_subscribed(key, Vec::new(), begun);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, nl: u8) -> Result<(), String> {
        let settings = AutoSubscription {
            topic: topic.to_owned(),
            qos: 0,
            rh: 0,
            rap: 0,
            nl,
        };
        settings.check()
    }

    #[test]
    fn what_nobody_could_subscribe_to_is_complained_about() {
        assert_eq!(check("c/${clientid}/#", 1), Ok(()));
        assert_eq!(check("$share/g/${username}", 0), Ok(()));
        for (topic, nl, complaint) in [
            ("a/#/b", 0, "topic = \"a/#/b\": # is not alone"),
            (
                "$share/g",
                0,
                "topic = \"$share/g\": $share/ is not followed",
            ),
            (
                "$share/g/a",
                1,
                "topic = \"$share/g/a\": a shared subscription",
            ),
            ("a/$1", 0, "topic = \"a/$1\": only"),
        ] {
            let found = check(topic, nl).unwrap_err();
            assert!(found.starts_with(complaint), "{found}");
        }
    }
}
