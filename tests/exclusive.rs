//! Exclusive subscriptions: a filter that one session on the node has for itself.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test stops at what it did not expect"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
mod common;

use common::packet;
use common::{Broker, Client, Publish, Setup, Version, scenarios};

scenarios! {
    mqtt311_and_5: [
        the_second_that_asks_is_refused,
        messages_reach_the_holder_and_plain_subscribers,
        a_filter_is_free_after_unsubscribe,
        a_filter_is_free_after_the_session,
        a_filter_stays_with_a_client_that_is_away,
        retained_messages_are_sent_to_the_holder,
        a_filter_may_have_wildcards,
        it_can_be_switched_off,
        of_many_that_ask_at_once_one_gets_it,
    ],
}

/// What a client of this version gets in SUBACK instead of a 5.0 reason code.
fn code(setup: Setup, reason: u8) -> u8 {
    match setup.version {
        Version::V5 => reason,
        _ if reason >= 0x80 => 0x80,
        _ => reason,
    }
}

fn subscribe(setup: Setup, client: &mut Client, filter: &str, expected: u8) {
    let id = client.next_id();
    client.send(&packet::subscribe(setup.version, id, &[], &[(filter, 1)]));
    client.expect_suback(id, &[code(setup, expected)]);
}

fn the_second_that_asks_is_refused(setup: Setup) {
    let broker = setup.broker();
    // So many filters that with two shards some belong to each.
    for topic in ["a", "b", "c", "d", "e", "f"] {
        let filter = format!("$exclusive/{topic}");
        let (mut first, mut second) = (broker.client("first"), broker.client("second"));
        subscribe(setup, &mut first, &filter, 1);
        subscribe(setup, &mut first, &filter, 1);
        subscribe(setup, &mut second, &filter, 0x97);
    }
}

fn messages_reach_the_holder_and_plain_subscribers(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let (mut holder, mut plain) = (broker.client("holder"), broker.client("plain"));
    subscribe(setup, &mut holder, "$exclusive/a/b", 1);
    subscribe(setup, &mut plain, "a/b", 1);
    publisher.publish("a/b", "hello", 1);
    holder.expect_message("a/b", "hello", 1);
    plain.expect_message("a/b", "hello", 1);
    publisher.publish("$exclusive/a/b", "to nobody", 1);
    holder.expect_silence_until_pong();
}

fn a_filter_is_free_after_unsubscribe(setup: Setup) {
    let broker = setup.broker();
    let (mut first, mut second) = (broker.client("first"), broker.client("second"));
    for topic in ["a", "b", "c", "d"] {
        let filter = format!("$exclusive/{topic}");
        subscribe(setup, &mut first, &filter, 1);
        subscribe(setup, &mut second, &filter, 0x97);
        first.unsubscribe(&filter);
        expect_free(setup, &mut second, &filter);
        let id = first.next_id();
        first.send(&packet::unsubscribe(setup.version, id, &[&filter]));
        first.expect_unsuback(id, &[0x11]);
    }
}

/// A filter is free a moment after its holder has heard so: the shard that knows may be
/// another.
fn expect_free(setup: Setup, client: &mut Client, filter: &str) {
    for _ in 0..100 {
        let id = client.next_id();
        client.send(&packet::subscribe(setup.version, id, &[], &[(filter, 1)]));
        if client.expect_suback_to(id) == [1] {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{filter} is not free");
}

fn a_filter_is_free_after_the_session(setup: Setup) {
    let broker = setup.broker();
    let mut second = broker.client("second");
    for topic in ["a", "b", "c", "d"] {
        let filter = format!("$exclusive/{topic}");
        let mut first = broker.client(topic);
        subscribe(setup, &mut first, &filter, 1);
        first.abandon();
        expect_free(setup, &mut second, &filter);
    }
}

fn a_filter_stays_with_a_client_that_is_away(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("away").persistent();
    let (mut away, _) = connect.open();
    subscribe(setup, &mut away, "$exclusive/a", 1);
    away.disconnect();
    let mut other = broker.client("other");
    subscribe(setup, &mut other, "$exclusive/a", 0x97);
    other.publish("a", "hello", 1);
    let (mut back, _) = connect.open();
    back.expect_message("a", "hello", 1);
}

fn retained_messages_are_sent_to_the_holder(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    publisher.publish_message(Publish::new("a", "kept").retain(), 1);
    let mut holder = broker.client("holder");
    subscribe(setup, &mut holder, "$exclusive/a", 1);
    holder.expect_message("a", "kept", 1);
}

fn a_filter_may_have_wildcards(setup: Setup) {
    let broker = setup.broker();
    let (mut first, mut second) = (broker.client("first"), broker.client("second"));
    subscribe(setup, &mut first, "$exclusive/a/+", 1);
    subscribe(setup, &mut second, "$exclusive/a/+", 0x97);
    // Another filter, although it matches the same.
    subscribe(setup, &mut second, "$exclusive/a/b", 1);
    let mut publisher = broker.client("publisher");
    publisher.publish("a/b", "hello", 1);
    first.expect_message("a/b", "hello", 1);
    second.expect_message("a/b", "hello", 1);
}

fn it_can_be_switched_off(setup: Setup) {
    let broker = Broker::start(setup, &[("mqtt.exclusive_subscription", "false")]);
    let mut client = broker.client("client");
    subscribe(setup, &mut client, "$exclusive/a", 0x8F);
}

fn of_many_that_ask_at_once_one_gets_it(setup: Setup) {
    let broker = setup.broker();
    let mut clients: Vec<Client> = (0..20)
        .map(|number| broker.client(&format!("client {number}")))
        .collect();
    for client in &mut clients {
        let filters = [("$exclusive/a", 1)];
        client.send(&packet::subscribe(setup.version, 1, &[], &filters));
    }
    let mut granted = 0;
    for client in &mut clients {
        let codes = client.expect_suback_to(1);
        if codes == [1] {
            granted += 1;
        } else {
            assert_eq!(codes, [code(setup, 0x97)]);
        }
    }
    assert_eq!(granted, 1);
}
