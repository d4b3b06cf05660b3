//! Topic rewriting by the real broker.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test ends where its surroundings fail"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use common::{Broker, Publish, Setup, Will, scenarios};

scenarios! {
    every_version: [
        topics_and_filters_are_rewritten,
        wills_are_rewritten,
    ],
    mqtt5: [
        aliases_are_resolved_first,
        what_cannot_be_made_is_refused,
        shared_and_retained_follow,
    ],
}

const RULES: &str = r#"[
    { action = "all", source_topic = "y/+/z/#", re = "^y/(.+)/z/(.+)$", dest_topic = "y/z/$2" },
    { action = "publish", source_topic = "up/#", re = "^up/(.+)$",
      dest_topic = "c/${clientid}/$1" },
    { action = "subscribe", source_topic = "mine/#", re = "^mine/(.+)$",
      dest_topic = "c/${clientid}/$1" },
    { action = "publish", source_topic = "bad", re = "^bad$", dest_topic = "a/+" },
    { action = "publish", source_topic = "sys", re = "^sys$", dest_topic = "$SYS/x" },
]"#;

fn broker(setup: Setup) -> Broker {
    setup.broker_with(&[("rewrite", RULES)])
}

fn topics_and_filters_are_rewritten(setup: Setup) {
    let broker = broker(setup);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("y/+/z/b", 1);
    subscriber.subscribe("c/#", 1);
    let mut publisher = broker.client("publisher");
    publisher.send_publish(&Publish::new("y/a/z/b", "1"));
    assert_eq!(subscriber.expect_publish().topic, "y/z/b");
    publisher.send_publish(&Publish::new("up/t", "2"));
    assert_eq!(subscriber.expect_publish().topic, "c/publisher/t");
    publisher.send_publish(&Publish::new("mine/t", "no rule for PUBLISH"));
    publisher.send_publish(&Publish::new("c/x", "3"));
    assert_eq!(subscriber.expect_publish().payload, b"3");
    // UNSUBSCRIBE finds what SUBSCRIBE has made.
    subscriber.unsubscribe("y/other/z/b");
    publisher.send_publish(&Publish::new("y/a/z/b", "gone"));
    publisher.send_publish(&Publish::new("c/x", "4"));
    assert_eq!(subscriber.expect_publish().payload, b"4");
    let mut owner = broker.client("owner");
    owner.subscribe("mine/+", 0);
    publisher.send_publish(&Publish::new("c/owner/t", "5"));
    assert_eq!(owner.expect_publish().payload, b"5");
}

fn wills_are_rewritten(setup: Setup) {
    let broker = broker(setup);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("c/#", 0);
    let connect = broker.connect("mortal").will(Will::new("up/will", "gone"));
    connect.open().0.abandon();
    let will = subscriber.expect_publish();
    assert_eq!(will.topic, "c/mortal/will");
}

fn aliases_are_resolved_first(setup: Setup) {
    let broker = broker(setup);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("c/#", 0);
    let mut publisher = broker.client("publisher");
    let alias = [0x23, 0, 1];
    publisher.send_publish(&Publish::new("up/t", "1").property(alias.to_vec()));
    publisher.send_publish(&Publish::new("", "2").property(alias.to_vec()));
    for payload in [b"1", b"2"] {
        let message = subscriber.expect_publish();
        assert_eq!(
            (&*message.topic, &*message.payload),
            ("c/publisher/t", &payload[..])
        );
    }
}

fn what_cannot_be_made_is_refused(setup: Setup) {
    let broker = broker(setup);
    let mut client = broker.client("a+b");
    for (topic, reason) in [("bad", 0x90), ("sys", 0x87), ("up/t", 0x90)] {
        let id = client.next_id();
        client.send_publish(&Publish::new(topic, "x").qos(1, id));
        assert_eq!(client.expect_acknowledgement(0x40), (id, reason), "{topic}");
    }
    // A client cannot widen its filter by its name.
    client.subscribe_with(&[], "mine/x", 0, 0x8f);
    let mut refused = broker.connect("w").will(Will::new("bad", "x")).send();
    assert_eq!(refused.expect_connack().code, 0x90);
}

fn shared_and_retained_follow(setup: Setup) {
    let broker = broker(setup);
    let mut publisher = broker.client("publisher");
    let id = publisher.next_id();
    publisher.send_publish(&Publish::new("y/a/z/kept", "kept").retain().qos(1, id));
    publisher.expect_acknowledgement(0x40);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("y/b/z/kept", 0);
    let message = subscriber.expect_publish();
    assert_eq!((&*message.topic, message.retain), ("y/z/kept", true));
    let mut member = broker.client("member");
    member.subscribe("$share/g/y/c/z/shared", 0);
    publisher.send_publish(&Publish::new("y/z/shared", "shared"));
    assert_eq!(member.expect_publish().payload, b"shared");
}
