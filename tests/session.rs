//! Sessions: what is kept when a connection ends, for how long, and who takes a
//! session over.
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

use std::thread::sleep;
use std::time::Duration;

use common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::{Broker, Client, Publish, Setup, Version, property, scenarios};

scenarios! {
    every_version: [
        a_kept_session_is_present_and_still_subscribed,
        messages_for_an_absent_client_wait_in_order,
        a_clean_session_ends_with_its_connection,
        a_clean_start_discards_the_kept_session,
        an_abandoned_connection_keeps_the_session,
        a_second_connection_takes_the_client_identifier_over,
        a_takeover_carries_the_session_along,
        a_clean_takeover_ends_the_session,
        takeovers_in_a_row_leave_one_connection,
        unacknowledged_qos1_messages_are_sent_again_in_order,
        unacknowledged_qos2_messages_are_sent_again_in_order,
        a_release_that_was_not_completed_is_sent_again,
        an_acknowledged_message_is_not_sent_again,
        messages_that_waited_follow_those_sent_again,
        a_qos2_message_received_before_the_connection_broke_is_not_delivered_twice,
        a_session_can_be_taken_up_in_another_protocol_version,
    ],
    mqtt5: [
        an_absent_session_expiry_ends_the_session_with_the_connection,
        a_session_expires,
        disconnect_can_prolong_the_session,
        disconnect_can_end_the_session,
        disconnect_cannot_give_an_expiry_to_a_session_without_one,
        a_refused_message_is_not_sent_again,
    ],
}

fn a_kept_session_is_present_and_still_subscribed(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
    client.subscribe("a/+", 2);
    client.disconnect();

    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
    for qos in 0..=2 {
        publisher.publish("a/b", "hello", qos);
        client.expect_message("a/b", "hello", qos);
    }
}

fn messages_for_an_absent_client_wait_in_order(setup: Setup) {
    let broker = setup.broker();
    kept_subscription(&broker, "a/#").disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..20 {
        publisher.publish("a/b", number.to_string(), 1 + number % 2);
    }
    let mut client = resumed(&broker);
    for number in 0..20 {
        let message = client.expect_message("a/b", &number.to_string(), 1 + number % 2);
        assert!(!message.dup, "the first delivery of {message:?}");
    }
    client.expect_silence_until_pong();
}

fn a_clean_session_ends_with_its_connection(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 1);
    client.disconnect();
    broker.client("publisher").publish("a", "lost", 1);
    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
    client.expect_silence_until_pong();
}

fn a_clean_start_discards_the_kept_session(setup: Setup) {
    let broker = setup.broker();
    kept_subscription(&broker, "a").disconnect();
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "lost", 1);
    let (mut client, answer) = broker.connect("client").open();
    answer.expect_no_session();
    client.expect_nothing_from(&mut publisher);
    publisher.publish("a", "lost too", 1);
    client.expect_nothing_from(&mut publisher);
    client.disconnect();
    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
    client.expect_silence_until_pong();
}

fn an_abandoned_connection_keeps_the_session(setup: Setup) {
    let broker = setup.broker();
    kept_subscription(&broker, "a").abandon();
    broker.client("publisher").publish("a", "waits", 1);
    resumed(&broker).expect_message("a", "waits", 1);
}

fn a_second_connection_takes_the_client_identifier_over(setup: Setup) {
    let broker = setup.broker();
    let mut first = broker.client("client");
    let mut second = broker.client("client");
    first.expect_refusal(0x8e);
    second.expect_silence_until_pong();
}

fn a_takeover_carries_the_session_along(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut first = kept_subscription(&broker, "a");
    publisher.publish("a", "not acknowledged", 1);
    let sent = first.expect_publish();
    let mut second = resumed(&broker);
    first.expect_refusal(0x8e);
    let again = second.expect_message("a", "not acknowledged", 1);
    assert!(again.dup);
    assert_eq!(again.id, sent.id);
    publisher.publish("a", "next", 1);
    second.expect_message("a", "next", 1);
}

fn a_clean_takeover_ends_the_session(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut first = kept_subscription(&broker, "a");
    let (mut second, answer) = broker.connect("client").open();
    answer.expect_no_session();
    first.expect_refusal(0x8e);
    publisher.publish("a", "nobody is subscribed", 1);
    second.expect_nothing_from(&mut publisher);
}

fn takeovers_in_a_row_leave_one_connection(setup: Setup) {
    let broker = setup.broker();
    let mut clients: Vec<_> = (0..10).map(|_| broker.client("client")).collect();
    let mut last = clients.pop().unwrap();
    for client in &mut clients {
        client.expect_refusal(0x8e);
    }
    last.expect_silence_until_pong();
}

fn unacknowledged_qos1_messages_are_sent_again_in_order(setup: Setup) {
    unacknowledged_messages_are_sent_again_in_order(setup, 1);
}

fn unacknowledged_qos2_messages_are_sent_again_in_order(setup: Setup) {
    unacknowledged_messages_are_sent_again_in_order(setup, 2);
}

fn unacknowledged_messages_are_sent_again_in_order(setup: Setup, qos: u8) {
    let broker = setup.broker();
    let mut client = kept_subscription(&broker, "a");
    let mut publisher = broker.client("publisher");
    for number in 0..5 {
        publisher.publish("a", number.to_string(), qos);
    }
    let mut sent: Vec<_> = (0..5).map(|_| client.expect_publish()).collect();
    assert!(sent.iter().all(|message| !message.dup));
    client.abandon();
    for message in &mut sent {
        message.dup = true;
    }
    for _ in 0..2 {
        let mut client = resumed(&broker);
        let again: Vec<_> = (0..5).map(|_| client.expect_publish()).collect();
        assert_eq!(again, sent);
        client.expect_silence_until_pong();
        client.abandon();
    }
}

fn a_release_that_was_not_completed_is_sent_again(setup: Setup) {
    let broker = setup.broker();
    let mut client = kept_subscription(&broker, "a");
    broker.client("publisher").publish("a", "hello", 2);
    let id = client.expect_publish().id;
    client.send(&packet::acknowledge(PUBREC, id));
    client.expect(&packet::acknowledge(PUBREL, id));
    client.abandon();

    let mut client = resumed(&broker);
    client.expect(&packet::acknowledge(PUBREL, id));
    client.send(&packet::acknowledge(PUBCOMP, id));
    client.expect_silence_until_pong();
    client.disconnect();
    resumed(&broker).expect_silence_until_pong();
}

fn an_acknowledged_message_is_not_sent_again(setup: Setup) {
    let broker = setup.broker();
    let mut client = kept_subscription(&broker, "a");
    let mut publisher = broker.client("publisher");
    for number in 0..4 {
        publisher.publish("a", number.to_string(), 1);
    }
    let ids: Vec<_> = (0..4).map(|_| client.expect_publish().id).collect();
    client.send(&packet::acknowledge(PUBACK, ids[0]));
    client.send(&packet::acknowledge(PUBACK, ids[2]));
    client.expect_silence_until_pong();
    client.abandon();

    let mut client = resumed(&broker);
    for number in [1, 3] {
        let message = client.expect_message("a", &number.to_string(), 1);
        assert_eq!(message.id, ids[number]);
    }
    client.expect_silence_until_pong();
}

fn messages_that_waited_follow_those_sent_again(setup: Setup) {
    let broker = setup.broker();
    let mut client = kept_subscription(&broker, "a");
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "sent", 1);
    let id = client.expect_publish().id;
    client.abandon();
    publisher.publish("a", "waited", 1);
    publisher.publish("a", "waited too", 2);

    let mut client = resumed(&broker);
    publisher.publish("a", "live", 1);
    let again = client.expect_publish();
    assert_eq!((again.text(), again.dup, again.id), ("sent", true, id));
    let waited = client.expect_publish();
    assert_eq!((waited.text(), waited.dup), ("waited", false));
    assert_eq!(client.expect_publish().text(), "waited too");
    assert_eq!(client.expect_publish().text(), "live");
}

fn a_qos2_message_received_before_the_connection_broke_is_not_delivered_twice(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 2);
    let (mut publisher, _) = broker.connect("publisher").persistent().open();
    let message = Publish::new("a", "once").qos(2, 77);
    publisher.send_publish(&message);
    publisher.expect_success(PUBREC, 77);
    publisher.abandon();

    let (mut publisher, answer) = broker.connect("publisher").persistent().open();
    answer.expect_session();
    publisher.send_publish(&message.dup());
    publisher.expect_success(PUBREC, 77);
    publisher.send(&packet::acknowledge(PUBREL, 77));
    publisher.expect(&packet::acknowledge(PUBCOMP, 77));
    subscriber.expect_message("a", "once", 2);
    subscriber.expect_nothing_from(&mut publisher);
}

fn a_session_can_be_taken_up_in_another_protocol_version(setup: Setup) {
    let broker = setup.broker();
    for version in Version::ALL {
        let mut client = kept_subscription(&broker, "a");
        let mut publisher = broker.client("publisher");
        publisher.publish("a", "sent", 2);
        client.expect_publish();
        client.abandon();
        publisher.publish("a", "waited", 1);

        let (mut client, answer) = broker.connect_as(version, "client").persistent().open();
        answer.expect_session();
        assert!(client.expect_message("a", "sent", 2).dup);
        client.expect_message("a", "waited", 1);
        client.disconnect();
        broker.client("client").disconnect();
    }
}

fn an_absent_session_expiry_ends_the_session_with_the_connection(setup: Setup) {
    let broker = setup.broker();
    broker.connect("client").unclean().open().0.disconnect();
    let (client, answer) = broker.connect("client").unclean().open();
    answer.expect_no_session();
    client.abandon();
    let (_, answer) = broker.connect("client").unclean().open();
    answer.expect_no_session();
}

fn a_session_expires(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").property(expiry(1)).open();
    client.subscribe("a", 1);
    client.abandon();
    let (client, answer) = broker
        .connect("client")
        .unclean()
        .property(expiry(1))
        .open();
    answer.expect_session();
    client.abandon();
    sleep(Duration::from_millis(2500));
    let (_, answer) = broker
        .connect("client")
        .unclean()
        .property(expiry(1))
        .open();
    answer.expect_no_session();
}

fn disconnect_can_prolong_the_session(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").property(expiry(1)).open();
    client.send(&packet::disconnect(0, &expiry(3600)));
    client.expect_closed();
    sleep(Duration::from_millis(2500));
    let (_, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
}

fn disconnect_can_end_the_session(setup: Setup) {
    let broker = setup.broker();
    let (mut client, _) = broker.connect("client").persistent().open();
    client.send(&packet::disconnect(0, &expiry(0)));
    client.expect_closed();
    let (_, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
}

fn disconnect_cannot_give_an_expiry_to_a_session_without_one(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::disconnect(0, &expiry(10)));
    client.expect_refusal(0x82);
    let (_, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
}

/// PUBACK and PUBREC with an error end the delivery [MQTT-4.4.0-2].
fn a_refused_message_is_not_sent_again(setup: Setup) {
    let broker = setup.broker();
    let mut client = kept_subscription(&broker, "a");
    let mut publisher = broker.client("publisher");
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        publisher.publish("a", "refused", qos);
        let message = client.expect_publish();
        client.send(&packet::acknowledge_with(first, message.id, 0x83));
    }
    client.expect_silence_until_pong();
    client.abandon();
    let mut client = resumed(&broker);
    client.expect_silence_until_pong();
    publisher.publish("a", "next", 2);
    client.expect_message("a", "next", 2);
}

/// A client with a session that is kept, subscribed with QoS 2.
fn kept_subscription(broker: &Broker, filter: &str) -> Client {
    let (mut client, answer) = broker.connect("client").persistent().open();
    answer.expect_no_session();
    client.subscribe(filter, 2);
    client
}

/// The client of [`kept_subscription`] when it comes back.
fn resumed(broker: &Broker) -> Client {
    let (client, answer) = broker.connect("client").persistent().open();
    answer.expect_session();
    client
}

fn expiry(seconds: u32) -> Vec<u8> {
    property::four_bytes(property::SESSION_EXPIRY, seconds)
}
