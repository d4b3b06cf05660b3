//! PUBLISH at every QoS in both directions, with the whole exchanges.
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

use common::packet::{self, PUBACK, PUBCOMP, PUBREC, PUBREL};
use common::{Broker, Client, Publish, Setup, scenarios};

scenarios! {
    every_version: [
        a_message_arrives_with_the_lower_qos,
        qos0_needs_no_acknowledgement,
        qos1_is_acknowledged_with_puback,
        qos2_is_acknowledged_in_two_steps,
        delivery_at_qos2_is_released_after_pubrec,
        messages_arrive_in_the_order_of_publishing,
        a_message_reaches_every_subscriber,
        a_client_gets_its_own_messages,
        an_empty_payload_is_delivered,
        a_payload_is_any_bytes,
        a_large_message_passes_at_every_qos,
        many_messages_in_one_segment_pass,
        dup_is_not_passed_on,
        a_qos1_message_sent_twice_is_delivered_twice,
        a_qos2_message_sent_twice_is_delivered_once,
        an_identifier_is_free_again_after_pubcomp,
        identifiers_of_the_two_directions_are_independent,
        packet_identifiers_of_messages_in_flight_differ,
        a_release_of_an_unknown_message_is_completed,
        a_release_sent_twice_is_completed_twice,
        an_acknowledgement_of_nothing_is_ignored,
        a_message_is_not_sent_again_on_a_live_connection,
        topics_are_compared_byte_for_byte,
        a_subscription_counts_from_its_suback_on,
    ],
    mqtt5: [
        nobody_subscribed_is_told,
        a_received_message_that_is_unknown_is_answered_so,
        an_exchange_ends_when_the_receiver_refuses,
        acknowledgements_with_properties_are_understood,
    ],
}

fn a_message_arrives_with_the_lower_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for granted in 0..=2 {
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe("a", granted);
        for qos in 0..=2 {
            publisher.publish("a", "hello", qos);
            let message = subscriber.expect_message("a", "hello", qos.min(granted));
            assert!(!message.dup);
            assert!(!message.retain);
        }
        subscriber.expect_silence_until_pong();
        subscriber.disconnect();
    }
}

fn qos0_needs_no_acknowledgement(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.publish("a", "hello", 0);
    client.expect_silence_until_pong();
}

fn qos1_is_acknowledged_with_puback(setup: Setup) {
    let (_broker, _subscriber, mut publisher) = subscribed(setup);
    for id in [1, 2, 0x1234, u16::MAX] {
        publisher.send_publish(&Publish::new("a", "hello").qos(1, id));
        publisher.expect(&packet::acknowledge(PUBACK, id));
    }
}

fn qos2_is_acknowledged_in_two_steps(setup: Setup) {
    let (_broker, _subscriber, mut publisher) = subscribed(setup);
    for id in [1, 2, 0x1234, u16::MAX] {
        publisher.send_publish(&Publish::new("a", "hello").qos(2, id));
        publisher.expect(&packet::acknowledge(PUBREC, id));
        publisher.send(&packet::acknowledge(PUBREL, id));
        publisher.expect(&packet::acknowledge(PUBCOMP, id));
    }
}

fn delivery_at_qos2_is_released_after_pubrec(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish("a", "hello", 2);
    let id = subscriber.expect_publish().id;
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    subscriber.expect_silence_until_pong();
    subscriber.send(&packet::acknowledge(PUBCOMP, id));
    subscriber.expect_silence_until_pong();
}

fn messages_arrive_in_the_order_of_publishing(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for qos in 0..=2 {
        for number in 0..200 {
            let id = if qos == 0 { 0 } else { publisher.next_id() };
            publisher.send_publish(&Publish::new("a", number.to_string()).qos(qos, id));
            if number % 10 == 9 {
                finish_publishing(&mut publisher, qos, 10);
            }
        }
        for number in 0..200 {
            subscriber.expect_message("a", &number.to_string(), qos);
        }
        subscriber.expect_silence_until_pong();
    }
}

fn a_message_reaches_every_subscriber(setup: Setup) {
    let broker = setup.broker();
    let mut subscribers: Vec<_> = (0..12)
        .map(|number| {
            let mut subscriber = broker.client(&format!("subscriber {number}"));
            subscriber.subscribe("a/+", number % 3);
            subscriber
        })
        .collect();
    let mut publisher = broker.client("publisher");
    for qos in 0..=2 {
        publisher.publish("a/b", "hello", qos);
        for (subscriber, granted) in subscribers.iter_mut().zip([0, 1, 2].into_iter().cycle()) {
            subscriber.expect_message("a/b", "hello", qos.min(granted));
        }
    }
}

/// The message may come before or after any step of the publisher's exchange.
fn a_client_gets_its_own_messages(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 0);
    for (qos, answers) in [(0, &[][..]), (1, &[PUBACK]), (2, &[PUBREC, PUBCOMP])] {
        client.send_publish(&Publish::new("a", "hello").qos(qos, 9));
        let mut expected = [answers, &[0x30]].concat();
        while !expected.is_empty() {
            let first = client.expect_packet().first;
            let place = expected.iter().position(|expected| *expected == first);
            expected.remove(place.expect("an answer or the message"));
            if first == PUBREC {
                client.send(&packet::acknowledge(PUBREL, 9));
            }
        }
        client.expect_silence_until_pong();
    }
}

fn an_empty_payload_is_delivered(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for qos in 0..=2 {
        publisher.publish("a", "", qos);
        subscriber.expect_message("a", "", qos);
    }
}

fn a_payload_is_any_bytes(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    let payload: Vec<u8> = (0..=255).collect();
    publisher.publish("a", &payload, 1);
    assert_eq!(subscriber.expect_publish().payload, payload);
}

fn a_large_message_passes_at_every_qos(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    // Around the sizes at which buffers and lengths change their form.
    for size in [
        100, 127, 128, 4096, 8192, 16_383, 16_384, 65_536, 300_000, 1_000_000,
    ] {
        let payload: Vec<u8> = (0..size).map(|index: usize| (index % 251) as u8).collect();
        for qos in 0..=2 {
            publisher.publish("a", &payload, qos);
            let message = subscriber.expect_publish();
            subscriber.complete(&message);
            assert!(
                message.payload == payload,
                "{size} bytes at QoS {qos} differ"
            );
        }
    }
}

fn many_messages_in_one_segment_pass(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    let messages = (0..300).map(|number: u32| Publish::new("a", number.to_string()));
    let bytes: Vec<u8> = messages
        .flat_map(|message| message.encode(setup.version))
        .collect();
    publisher.send(&bytes);
    for number in 0..300 {
        subscriber.expect_message("a", &number.to_string(), 0);
    }
}

/// [MQTT-3.3.1-3]
fn dup_is_not_passed_on(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for qos in 1..=2 {
        publisher.publish_message(Publish::new("a", "again").dup(), qos);
        assert!(!subscriber.expect_message("a", "again", qos).dup);
    }
}

/// [MQTT-4.3.2-5]
fn a_qos1_message_sent_twice_is_delivered_twice(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for message in [Publish::new("a", "again"), Publish::new("a", "again").dup()] {
        publisher.send_publish(&message.qos(1, 5));
        publisher.expect(&packet::acknowledge(PUBACK, 5));
        subscriber.expect_message("a", "again", 1);
    }
}

/// [MQTT-4.3.3-10]
fn a_qos2_message_sent_twice_is_delivered_once(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for message in [
        Publish::new("a", "once"),
        Publish::new("a", "once").dup(),
        Publish::new("a", "with another payload"),
        Publish::new("a", "and with DUP").dup(),
    ] {
        publisher.send_publish(&message.qos(2, 5));
        publisher.expect_success(PUBREC, 5);
    }
    publisher.send(&packet::acknowledge(PUBREL, 5));
    publisher.expect(&packet::acknowledge(PUBCOMP, 5));
    let message = subscriber.expect_publish();
    subscriber.complete(&message);
    subscriber.expect_nothing_from(&mut publisher);
}

/// [MQTT-4.3.3-12]
fn an_identifier_is_free_again_after_pubcomp(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for number in 0..5 {
        publisher.send_publish(&Publish::new("a", number.to_string()).qos(2, 5));
        publisher.expect(&packet::acknowledge(PUBREC, 5));
        publisher.send(&packet::acknowledge(PUBREL, 5));
        publisher.expect(&packet::acknowledge(PUBCOMP, 5));
        subscriber.expect_message("a", &number.to_string(), 2);
    }
}

fn identifiers_of_the_two_directions_are_independent(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish("a", "to the subscriber", 2);
    let id = subscriber.expect_publish().id;
    subscriber.send_publish(&Publish::new("b", "from the subscriber").qos(2, id));
    subscriber.expect_success(PUBREC, id);
    subscriber.send(&packet::acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    subscriber.send(&packet::acknowledge(PUBREL, id));
    subscriber.expect(&packet::acknowledge(PUBCOMP, id));
    subscriber.send(&packet::acknowledge(PUBCOMP, id));
    subscriber.expect_silence_until_pong();
}

fn packet_identifiers_of_messages_in_flight_differ(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for number in 0..20 {
        publisher.publish("a", "hello", 1 + number % 2);
    }
    let mut ids: Vec<_> = (0..20).map(|_| subscriber.expect_publish().id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

fn a_release_of_an_unknown_message_is_completed(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::acknowledge(PUBREL, 5));
    expect_completed_unknown(&mut client, 5);
    client.expect_silence_until_pong();
}

fn a_release_sent_twice_is_completed_twice(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish("a", "hello", 2);
    publisher.send(&packet::acknowledge(PUBREL, 1));
    expect_completed_unknown(&mut publisher, 1);
    subscriber.expect_message("a", "hello", 2);
    subscriber.expect_nothing_from(&mut publisher);
}

/// PUBCOMP for a message that is not there, which 5.0 can say [MQTT-4.3.3-11].
fn expect_completed_unknown(client: &mut Client, id: u16) {
    let reason = if client.version() == common::Version::V5 {
        0x92
    } else {
        0
    };
    assert_eq!(client.expect_acknowledgement(PUBCOMP), (id, reason));
}

fn an_acknowledgement_of_nothing_is_ignored(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    for id in 1..=3 {
        subscriber.send(&packet::acknowledge(PUBACK, id));
        subscriber.send(&packet::acknowledge(PUBCOMP, id));
    }
    subscriber.expect_silence_until_pong();
    for qos in 0..=2 {
        publisher.publish("a", "hello", qos);
        subscriber.expect_message("a", "hello", qos);
    }
}

/// [MQTT-4.4.0-1]
fn a_message_is_not_sent_again_on_a_live_connection(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish("a", "hello", 1);
    publisher.publish("a", "hello", 2);
    subscriber.expect_publish();
    subscriber.expect_publish();
    for _ in 0..3 {
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// [MQTT-4.7.3-4], [MQTT-1.5.4-3]
fn topics_are_compared_byte_for_byte(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let topics = [
        "a",
        "A",
        "/a",
        "a/",
        "a//b",
        "a/b",
        " a",
        "a ",
        "\u{feff}a",
        "\u{e4}",
        "a\u{308}",
        " ",
    ];
    let mut subscribers: Vec<_> = topics
        .iter()
        .enumerate()
        .map(|(number, topic)| {
            let mut subscriber = broker.client(&format!("subscriber {number}"));
            subscriber.subscribe(topic, 0);
            subscriber
        })
        .collect();
    for topic in topics {
        publisher.publish(topic, topic, 0);
    }
    for (subscriber, topic) in subscribers.iter_mut().zip(topics) {
        subscriber.expect_message(topic, topic, 0);
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// Whoever has seen the SUBACK may count on every message published afterwards, on
/// whatever shard it is published.
fn a_subscription_counts_from_its_suback_on(setup: Setup) {
    let broker = setup.broker();
    let mut publishers: Vec<_> = (0..4)
        .map(|number| broker.client(&format!("publisher {number}")))
        .collect();
    for round in 0..50 {
        let mut subscriber = broker.client(&format!("subscriber {round}"));
        let filter = format!("round/{round}/+");
        let topic = format!("round/{round}/x");
        subscriber.subscribe(&filter, 1);
        for publisher in &mut publishers {
            publisher.publish(&topic, "hello", 0);
        }
        for _ in &publishers {
            subscriber.expect_message(&topic, "hello", 0);
        }
        subscriber.unsubscribe(&filter);
        publishers[0].publish(&topic, "nobody is subscribed", 1);
        subscriber.expect_silence_until_pong();
    }
}

fn nobody_subscribed_is_told(setup: Setup) {
    let (_broker, _subscriber, mut publisher) = subscribed(setup);
    publisher.send_publish(&Publish::new("nobody", "hello").qos(1, 5));
    assert_eq!(publisher.expect_acknowledgement(PUBACK), (5, 0x10));
    publisher.send_publish(&Publish::new("nobody", "hello").qos(2, 6));
    assert_eq!(publisher.expect_acknowledgement(PUBREC), (6, 0x10));
    publisher.send(&packet::acknowledge(PUBREL, 6));
    publisher.expect(&packet::acknowledge(PUBCOMP, 6));
}

fn a_received_message_that_is_unknown_is_answered_so(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::acknowledge(PUBREC, 5));
    assert_eq!(client.expect_acknowledgement(PUBREL), (5, 0x92));
    client.expect_silence_until_pong();
}

fn an_exchange_ends_when_the_receiver_refuses(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    publisher.publish("a", "refused", 2);
    let id = subscriber.expect_publish().id;
    subscriber.send(&packet::acknowledge_with(PUBREC, id, 0x97));
    subscriber.expect_silence_until_pong();
    publisher.publish("a", "refused", 1);
    let id = subscriber.expect_publish().id;
    subscriber.send(&packet::acknowledge_with(PUBACK, id, 0x80));
    subscriber.expect_silence_until_pong();
}

fn acknowledgements_with_properties_are_understood(setup: Setup) {
    let (_broker, mut subscriber, mut publisher) = subscribed(setup);
    let properties = [
        common::property::text(common::property::REASON_STRING, "well"),
        common::property::user("name", "value"),
    ]
    .concat();
    let block = packet::property_block(setup.version, &properties);
    let acknowledge = |first, id: u16| packet::packet(first, &[&id.to_be_bytes(), &[0], &block]);
    publisher.publish("a", "hello", 1);
    let id = subscriber.expect_publish().id;
    subscriber.send(&acknowledge(PUBACK, id));
    publisher.publish("a", "hello", 2);
    let id = subscriber.expect_publish().id;
    subscriber.send(&acknowledge(PUBREC, id));
    subscriber.expect(&packet::acknowledge(PUBREL, id));
    subscriber.send(&acknowledge(PUBCOMP, id));
    subscriber.expect_silence_until_pong();
}

/// A broker, a client that is subscribed to `a` with QoS 2, and another client.
fn subscribed(setup: Setup) -> (Broker, Client, Client) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 2);
    let publisher = broker.client("publisher");
    (broker, subscriber, publisher)
}

/// Goes through the rest of the exchanges of messages that have been sent.
fn finish_publishing(publisher: &mut Client, qos: u8, count: usize) {
    match qos {
        0 => {}
        1 => {
            for _ in 0..count {
                publisher.expect_acknowledgement(PUBACK);
            }
        }
        _ => {
            for _ in 0..count {
                let (id, _) = publisher.expect_acknowledgement(PUBREC);
                publisher.send(&packet::acknowledge(PUBREL, id));
            }
            for _ in 0..count {
                publisher.expect_acknowledgement(PUBCOMP);
            }
        }
    }
}
