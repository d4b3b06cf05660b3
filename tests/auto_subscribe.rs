//! Subscriptions that clients get without asking.
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

use common::{Broker, Publish, Setup, Version, scenarios};

scenarios! {
    every_version: [
        every_client_is_subscribed_and_no_suback_is_sent,
        what_names_the_user_is_for_those_who_have_a_name,
    ],
    mqtt5: [
        retained_messages_come_at_each_connect,
        options_are_those_of_the_setting,
        a_client_cannot_widen_its_filter_by_its_name,
        the_address_is_filled_in,
    ],
}

fn broker(setup: Setup, topics: &str) -> Broker {
    setup.broker_with(&[("auto_subscribe.topics", topics)])
}

fn every_client_is_subscribed_and_no_suback_is_sent(setup: Setup) {
    let broker = broker(
        setup,
        r#"[{ topic = "c/${clientid}/#", qos = 1 }, { topic = "$share/g/all" }]"#,
    );
    let mut publisher = broker.client("publisher");
    publisher.expect_silence_until_pong();
    for number in 0..4 {
        let name = format!("c{number}");
        let mut client = broker.client(&name);
        client.expect_silence_until_pong();
        let id = publisher.next_id();
        let topic = format!("c/{name}/x");
        publisher.send_publish(&Publish::new(&topic, "for one").qos(1, id));
        publisher.expect_acknowledgement(0x40);
        let message = client.expect_publish();
        assert_eq!((&*message.topic, message.qos), (&*topic, 1));
        client.disconnect();
    }
    // It is in the group alone.
    publisher.send_publish(&Publish::new("all", "for the group"));
    assert_eq!(publisher.expect_publish().payload, b"for the group");
    publisher.unsubscribe("c/publisher/#");
}

fn what_names_the_user_is_for_those_who_have_a_name(setup: Setup) {
    let broker = broker(setup, r#"[{ topic = "u/${username}" }, { topic = "all" }]"#);
    let mut nobody = broker.client("nobody");
    let mut user = broker.connect("user").login("u1", b"").open().0;
    user.expect_silence_until_pong();
    nobody.send_publish(&Publish::new("u/u1", "1"));
    nobody.send_publish(&Publish::new("u/", "2"));
    nobody.send_publish(&Publish::new("all", "3"));
    assert_eq!(user.expect_publish().payload, b"1");
    assert_eq!(user.expect_publish().payload, b"3");
    assert_eq!(nobody.expect_publish().payload, b"3");
}

fn retained_messages_come_at_each_connect(setup: Setup) {
    let broker = broker(
        setup,
        r#"[{ topic = "always" }, { topic = "new", rh = 1 }]"#,
    );
    let mut publisher = broker.client("publisher");
    for topic in ["always", "new"] {
        let id = publisher.next_id();
        publisher.send_publish(&Publish::new(topic, topic).retain().qos(1, id));
    }
    for _ in 0..2 {
        let packets = [publisher.expect_packet(), publisher.expect_packet()];
        assert_eq!(packets.len(), 2);
    }
    let connect = broker.connect("client").persistent();
    let (mut client, _) = connect.open();
    let mut topics = [client.expect_publish().topic, client.expect_publish().topic];
    topics.sort();
    assert_eq!(topics, ["always", "new"]);
    client.expect_silence_until_pong();
    client.disconnect();
    let (mut client, answer) = connect.open();
    assert_eq!(answer.session_present, Some(true));
    assert_eq!(client.expect_publish().topic, "always");
    client.expect_silence_until_pong();
}

fn options_are_those_of_the_setting(setup: Setup) {
    let broker = broker(
        setup,
        r#"[{ topic = "a", nl = 1, rap = 1, rh = 2, qos = 2 }]"#,
    );
    let mut client = broker.client("client");
    let mut other = broker.client("other");
    other.expect_silence_until_pong();
    client.send_publish(&Publish::new("a", "own").retain());
    let message = other.expect_publish();
    assert!(message.retain);
    client.expect_silence_until_pong();
    let mut late = broker.client("late");
    late.expect_silence_until_pong();
}

fn a_client_cannot_widen_its_filter_by_its_name(setup: Setup) {
    let broker = broker(setup, r#"[{ topic = "private/${clientid}" }]"#);
    let mut spy = broker.client("#");
    let mut other = broker.client("other");
    other.send_publish(&Publish::new("private/other", "x"));
    assert_eq!(other.expect_publish().payload, b"x");
    spy.expect_silence_until_pong();
}

fn the_address_is_filled_in(setup: Setup) {
    let broker = broker(setup, r#"[{ topic = "from/${host}/${port}" }]"#);
    let mut client = broker.connect_as(Version::V5, "client").open().0;
    client.expect_silence_until_pong();
    let address = client.socket().local_addr().unwrap();
    let topic = format!("from/{}/{}", address.ip(), address.port());
    client.send_publish(&Publish::new(&topic, "x"));
    assert_eq!(client.expect_publish().topic, topic);
}
