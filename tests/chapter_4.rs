//! Statements of chapter 4, operational behaviour, that no other file shows:
//! `tests/conformance/` says which test shows which statement.
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
use common::{Broker, Client, Publish, Setup, property, scenarios};

scenarios! {
    every_version: [
        a_session_lasts_as_long_as_its_connection,
        an_identifier_is_free_again_after_puback,
        messages_sent_again_keep_their_kind_until_they_are_complete,
        releases_come_in_the_order_of_the_receipts,
        releases_are_sent_again_in_order_after_the_messages,
        acknowledgements_come_in_the_order_of_the_messages,
        a_protocol_error_of_one_client_disturbs_no_other,
        a_release_after_pubcomp_is_not_sent_again,
    ],
    mqtt311_and_5: [
        messages_keep_their_order_for_each_publisher_across_shards,
        a_qos2_message_of_a_group_is_completed_when_its_member_comes_back,
        a_qos2_message_of_a_group_ends_with_the_session_of_its_member,
    ],
    mqtt5: [
        a_message_that_was_sent_does_not_expire,
        an_exchange_goes_on_when_the_message_has_expired,
        a_qos2_message_that_was_refused_leaves_its_identifier_free,
        a_window_of_one_lets_every_message_through,
        qos0_messages_do_not_wait_for_the_window,
    ],
}

/// [MQTT-4.1.0-1], 3.1.1: [MQTT-4.1.0-2]: its expiry counts from the end of the connection.
fn a_session_lasts_as_long_as_its_connection(setup: Setup) {
    let broker = setup.broker();
    let expiry = property::four_bytes(property::SESSION_EXPIRY, 1);
    let connect = broker.connect("client").unclean().property(expiry);
    let (mut client, _) = connect.open();
    client.subscribe("a", 1);
    sleep(Duration::from_millis(2500));
    broker.client("publisher").publish("a", "hello", 1);
    client.expect_message("a", "hello", 1);
    client.abandon();
    connect.open().1.expect_session();
}

/// [MQTT-4.3.2-5]
fn an_identifier_is_free_again_after_puback(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup, 1);
    for number in 0..5 {
        publisher.send_publish(&Publish::new("a", number.to_string()).qos(1, 5));
        publisher.expect(&packet::acknowledge(PUBACK, 5));
        subscriber.expect_message("a", &number.to_string(), 1);
    }
}

/// [MQTT-4.3.3-3], [MQTT-4.3.3-5], [MQTT-4.3.3-6], [MQTT-4.4.0-1]: PUBLISH until PUBREC,
/// PUBREL until PUBCOMP, over any number of connections.
fn messages_sent_again_keep_their_kind_until_they_are_complete(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    broker.client("publisher").publish("a", "hello", 2);
    let id = subscriber.expect_publish().id;
    for _ in 0..3 {
        subscriber.abandon();
        subscriber = connect.open().0;
        let again = subscriber.expect_publish();
        assert_eq!((again.id, again.dup, again.text()), (id, true, "hello"));
        subscriber.expect_silence_until_pong();
    }
    subscriber.send(&packet::acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    for _ in 0..3 {
        subscriber.abandon();
        subscriber = connect.open().0;
        subscriber.expect(&packet::acknowledge(PUBREL, id));
        subscriber.expect_silence_until_pong();
    }
    subscriber.send(&packet::acknowledge(PUBCOMP, id));
    subscriber.expect_silence_until_pong();
    subscriber.abandon();
    connect.open().0.expect_silence_until_pong();
}

/// 3.1.1: [MQTT-4.6.0-4], [MQTT-4.6.0-6]
fn releases_come_in_the_order_of_the_receipts(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup, 2);
    for _ in 0..6 {
        publisher.publish("a", "hello", 2);
    }
    let ids: Vec<_> = (0..6).map(|_| subscriber.expect_publish().id).collect();
    let order = [3, 0, 5, 1, 4, 2].map(|index| ids[index]);
    let receipts = order.map(|id| packet::acknowledge(PUBREC, id));
    subscriber.send(&receipts.concat());
    for id in order {
        subscriber.expect(&packet::acknowledge(PUBREL, id));
    }
    for id in order {
        subscriber.send(&packet::acknowledge(PUBCOMP, id));
    }
    subscriber.expect_silence_until_pong();
}

/// 3.1.1: [MQTT-4.6.0-1]: those received first are the first to be released again, too.
fn releases_are_sent_again_in_order_after_the_messages(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for number in 0..4 {
        publisher.publish("a", number.to_string(), 2);
    }
    let ids: Vec<_> = (0..4).map(|_| subscriber.expect_publish().id).collect();
    for id in &ids[..2] {
        subscriber.send(&packet::acknowledge(PUBREC, *id));
        subscriber.expect(&packet::acknowledge(PUBREL, *id));
    }
    subscriber.abandon();

    let (mut subscriber, _) = connect.open();
    let (mut released, mut sent) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let packet = subscriber.expect_packet();
        if packet.first == PUBREL {
            released.push(u16::from_be_bytes([packet.body[0], packet.body[1]]));
        } else {
            sent.push(common::received::Delivery::parse(setup.version, &packet).id);
        }
    }
    assert_eq!((&released[..], &sent[..]), (&ids[..2], &ids[2..]));
    subscriber.expect_silence_until_pong();
}

/// [MQTT-4.6.0-2], [MQTT-4.6.0-3] where the broker is the receiver: also when some messages
/// have to reach another shard first and others nobody.
fn acknowledgements_come_in_the_order_of_the_messages(setup: Setup) {
    let broker = setup.broker();
    let mut subscribers: Vec<_> = (0..6)
        .map(|number| {
            let mut subscriber = broker.client(&format!("subscriber {number}"));
            subscriber.subscribe(&format!("a/{number}"), 0);
            subscriber
        })
        .collect();
    let mut publisher = broker.client("publisher");
    for (qos, first) in [(1, PUBACK), (2, PUBREC)] {
        let ids: Vec<u16> = (0..200).map(|number| number * 317 % 60_000 + 1).collect();
        let messages: Vec<u8> = ids
            .iter()
            .enumerate()
            .flat_map(|(number, id)| {
                let topic = format!("a/{}", number * 5 % 9);
                Publish::new(&topic, "x")
                    .qos(qos, *id)
                    .encode(setup.version)
            })
            .collect();
        publisher.send(&messages);
        for id in &ids {
            publisher.expect_success(first, *id);
        }
        if qos == 2 {
            for id in &ids {
                publisher.send(&packet::acknowledge(PUBREL, *id));
            }
            for id in &ids {
                publisher.expect(&packet::acknowledge(PUBCOMP, *id));
            }
        }
    }
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        let count = 2 * (0..200).filter(|sent| sent * 5 % 9 == number).count();
        for _ in 0..count {
            subscriber.expect_publish();
        }
        subscriber.expect_silence_until_pong();
    }
}

/// 3.1.1: [MQTT-4.8.0-1]
fn a_protocol_error_of_one_client_disturbs_no_other(setup: Setup) {
    let (broker, mut subscriber, mut publisher) = subscribed(setup, 1);
    for _ in 0..10 {
        let mut wrong = broker.client("wrong");
        wrong.subscribe("a", 1);
        wrong.send(&packet::PINGRESP);
        wrong.expect_refusal(0x82);
        publisher.publish("a", "hello", 1);
        subscriber.expect_message("a", "hello", 1);
    }
}

/// [MQTT-4.3.3-11], [MQTT-4.3.3-12]
fn a_release_after_pubcomp_is_not_sent_again(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for number in 0..3 {
        publisher.publish("a", number.to_string(), 2);
        subscriber.expect_message("a", &number.to_string(), 2);
    }
    subscriber.expect_silence_until_pong();
    subscriber.abandon();
    connect.open().0.expect_silence_until_pong();
}

/// [MQTT-4.6.0-5], [MQTT-4.6.0-6]: several publishers at once, subscribers with exact and
/// wildcard filters, each on whatever shard it is.
fn messages_keep_their_order_for_each_publisher_across_shards(setup: Setup) {
    const MESSAGES: usize = 150;
    let broker = setup.broker();
    let mut subscribers: Vec<_> = ["a/b", "a/+", "#", "a/b"]
        .iter()
        .enumerate()
        .map(|(number, filter)| {
            let mut subscriber = broker.client(&format!("subscriber {number}"));
            subscriber.subscribe(filter, 1);
            subscriber
        })
        .collect();
    let mut publishers: Vec<_> = (0..4)
        .map(|number| broker.client(&format!("publisher {number}")))
        .collect();
    for number in 0..MESSAGES {
        for (name, publisher) in publishers.iter_mut().enumerate() {
            let id = u16::try_from(number + 1).unwrap();
            let text = format!("{name} {number}");
            publisher.send_publish(&Publish::new("a/b", text).qos(1, id));
        }
        if number % 50 == 49 {
            for publisher in &mut publishers {
                for _ in 0..50 {
                    publisher.expect_acknowledgement(PUBACK);
                }
            }
        }
    }
    for subscriber in &mut subscribers {
        let mut next = [0; 4];
        for _ in 0..4 * MESSAGES {
            let message = subscriber.expect_publish();
            subscriber.complete(&message);
            let (name, number) = message.text().split_once(' ').expect("two numbers");
            let name: usize = name.parse().unwrap();
            assert_eq!(number, next[name].to_string(), "of publisher {name}");
            next[name] += 1;
        }
    }
}

/// [MQTT-4.8.2-4]
fn a_qos2_message_of_a_group_is_completed_when_its_member_comes_back(setup: Setup) {
    let broker = setup.broker();
    let (mut chosen, mut other, mut publisher) = chosen_of_two(&broker);
    let id = chosen.expect_publish().id;
    chosen.abandon();
    other.expect_nothing_from(&mut publisher);
    let (mut chosen, answer) = broker.connect("chosen").persistent().open();
    answer.expect_session();
    let again = chosen.expect_message("a", "hello", 2);
    assert_eq!((again.id, again.dup), (id, true));
    chosen.expect_silence_until_pong();
    other.expect_nothing_from(&mut publisher);
}

/// [MQTT-4.8.2-5]
fn a_qos2_message_of_a_group_ends_with_the_session_of_its_member(setup: Setup) {
    let broker = setup.broker();
    let (mut chosen, mut other, mut publisher) = chosen_of_two(&broker);
    chosen.expect_publish();
    chosen.abandon();
    broker.client("chosen").expect_silence_until_pong();
    other.expect_nothing_from(&mut publisher);
}

/// Two members of a group of which the first is to get a QoS 2 message, and who sends it.
fn chosen_of_two(broker: &Broker) -> (Client, Client, Client) {
    let (mut chosen, _) = broker.connect("chosen").persistent().open();
    chosen.subscribe("$share/group/a", 2);
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "hello", 2);
    let mut other = broker.client("other");
    other.subscribe("$share/group/a", 2);
    (chosen, other, publisher)
}

/// [MQTT-4.3.3-7]: nor one of QoS 1.
fn a_message_that_was_sent_does_not_expire(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    publisher.publish_message(expiring("first", 1), 2);
    publisher.publish_message(expiring("second", 1), 1);
    subscriber.expect_publish();
    subscriber.expect_publish();
    subscriber.abandon();
    sleep(Duration::from_millis(2500));
    let (mut subscriber, _) = connect.open();
    assert!(subscriber.expect_message("a", "first", 2).dup);
    assert!(subscriber.expect_message("a", "second", 1).dup);
    subscriber.expect_silence_until_pong();
}

/// [MQTT-4.3.3-13]
fn an_exchange_goes_on_when_the_message_has_expired(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup, 2);
    publisher.send_publish(&expiring("hello", 1).qos(2, 5));
    publisher.expect_success(PUBREC, 5);
    let id = subscriber.expect_publish().id;
    sleep(Duration::from_millis(2500));
    publisher.send_publish(&expiring("hello", 1).qos(2, 5).dup());
    publisher.expect_success(PUBREC, 5);
    publisher.send(&packet::acknowledge(PUBREL, 5));
    publisher.expect(&packet::acknowledge(PUBCOMP, 5));
    subscriber.send(&packet::acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    subscriber.send(&packet::acknowledge(PUBCOMP, id));
    subscriber.expect_silence_until_pong();
}

/// [MQTT-4.3.3-9]
fn a_qos2_message_that_was_refused_leaves_its_identifier_free(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup, 2);
    let too_deep = "/".repeat(1000);
    for _ in 0..3 {
        publisher.send_publish(&Publish::new(&too_deep, "refused").qos(2, 5));
        assert_eq!(publisher.expect_acknowledgement(PUBREC), (5, 0x90));
    }
    publisher.send_publish(&Publish::new("a", "taken").qos(2, 5));
    publisher.expect_success(PUBREC, 5);
    publisher.send(&packet::acknowledge(PUBREL, 5));
    publisher.expect(&packet::acknowledge(PUBCOMP, 5));
    subscriber.expect_message("a", "taken", 2);
}

/// [MQTT-4.9.0-1], [MQTT-4.9.0-2]
fn a_window_of_one_lets_every_message_through(setup: Setup) {
    let broker = setup.broker();
    let one = property::two_bytes(property::RECEIVE_MAXIMUM, 1);
    let (mut subscriber, _) = broker.connect("subscriber").property(one).open();
    subscriber.subscribe("a", 2);
    let mut publisher = broker.client("publisher");
    for number in 0..40 {
        publisher.publish("a", number.to_string(), 1 + number % 2);
    }
    for number in 0..40 {
        let message = subscriber.expect_publish();
        assert_eq!(message.text(), number.to_string());
        subscriber.expect_silence_until_pong();
        subscriber.complete(&message);
    }
    subscriber.expect_silence_until_pong();
}

/// 4.9: QoS 0 is not counted.
fn qos0_messages_do_not_wait_for_the_window(setup: Setup) {
    let broker = setup.broker();
    let one = property::two_bytes(property::RECEIVE_MAXIMUM, 1);
    let (mut subscriber, _) = broker.connect("subscriber").property(one).open();
    subscriber.subscribe("a", 2);
    subscriber.subscribe("b", 0);
    let mut publisher = broker.client("publisher");
    publisher.publish("a", "in flight", 1);
    publisher.publish("a", "waits", 1);
    publisher.publish("b", "passes", 0);
    let first = subscriber.expect_publish();
    subscriber.expect_message("b", "passes", 0);
    subscriber.complete(&first);
    subscriber.expect_message("a", "waits", 1);
}

/// A broker, a client that is subscribed to `a`, and another client.
fn subscribed(setup: Setup, qos: u8) -> (Broker, Client, Client) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", qos);
    let publisher = broker.client("publisher");
    (broker, subscriber, publisher)
}

fn expiring(payload: &str, seconds: u32) -> Publish {
    Publish::new("a", payload).property(property::four_bytes(property::MESSAGE_EXPIRY, seconds))
}
