//! Technically allowed and still abusive: what a broker bounds.

use super::common::packet::{self, PUBACK, PUBREC};
use super::common::{Publish, Setup, Version, Will, property, scenarios};

scenarios! {
    every_version: [
        more_subscriptions_than_allowed_are_refused_one_by_one,
        more_retained_messages_than_allowed_are_not_kept,
        nobody_publishes_below_sys,
        an_explosion_of_matches_gives_one_message,
        a_topic_deeper_than_allowed_does_no_harm,
    ],
    mqtt5: [
        a_packet_identifier_in_use_is_refused_to_subscribe,
        the_wrong_acknowledgement_is_a_protocol_error,
        the_longest_will_delay_ends_with_the_session,
        the_longest_session_expiry_is_cut_to_the_configured,
        a_message_that_expires_at_once_is_not_queued,
        a_client_that_takes_no_packets_gets_none,
        all_packet_identifiers_in_use_make_messages_wait,
    ],
}

fn more_subscriptions_than_allowed_are_refused_one_by_one(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_subscriptions", "10")]);
    let mut client = broker.client("client");
    let filters: Vec<_> = (0..12).map(|number| format!("a/{number}")).collect();
    let options: Vec<_> = filters.iter().map(|filter| (&filter[..], 0)).collect();
    let refused = if setup.version == Version::V5 {
        0x97
    } else {
        0x80
    };
    client.send(&packet::subscribe(setup.version, 1, &[], &options));
    client.expect_suback(1, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, refused, refused]);
    // One that exists already can be changed.
    client.subscribe("a/3", 1);
    client.unsubscribe("a/3");
    client.subscribe("b", 0);
    client.subscribe_with(&[], "c", 0, refused);
}

fn more_retained_messages_than_allowed_are_not_kept(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.max_retained_messages", "5")]);
    let mut publisher = broker.client("publisher");
    for number in 0..8 {
        let message = Publish::new(&format!("a/{number}"), "kept")
            .retain()
            .qos(1, 1 + number);
        publisher.send_publish(&message);
        let (_, reason) = publisher.expect_acknowledgement(PUBACK);
        match (setup.version, number) {
            (Version::V5, 5..) => assert_eq!(reason, 0x97, "message {number}"),
            _ => assert!(matches!(reason, 0 | 0x10), "message {number}"),
        }
    }
    publisher.publish_message(Publish::new("a/0", "replaced").retain(), 1);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a/#", 0);
    let mut topics: Vec<_> = (0..5).map(|_| subscriber.expect_publish().topic).collect();
    subscriber.expect_silence_until_pong();
    topics.sort_unstable();
    assert_eq!(topics, ["a/0", "a/1", "a/2", "a/3", "a/4"]);
}

/// Whether the publisher is told, or disconnected, is left open here.
fn nobody_publishes_below_sys(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    let id = subscriber.next_id();
    subscriber.send(&packet::subscribe(
        setup.version,
        id,
        &[],
        &[("$SYS/hostile", 0)],
    ));
    subscriber.expect_packet();
    for qos in 0..=2 {
        let mut publisher = broker.client("publisher");
        publisher.send_publish(&Publish::new("$SYS/hostile", "x").retain().qos(qos, 1));
        publisher.abandon();
    }
    broker
        .connect("will")
        .will(Will::new("$SYS/hostile", "x"))
        .send()
        .abandon();
    subscriber.expect_nothing_from(&mut broker.client("other"));
}

fn an_explosion_of_matches_gives_one_message(setup: Setup) {
    const LEVELS: u32 = 11;
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    let filters: Vec<String> = (0..1_u32 << LEVELS)
        .map(|bits| {
            let words = (0..LEVELS).map(|level| if bits >> level & 1 == 0 { "a" } else { "+" });
            words.collect::<Vec<_>>().join("/")
        })
        .collect();
    for part in filters.chunks(512) {
        let options: Vec<_> = part.iter().map(|filter| (&filter[..], 1)).collect();
        subscriber.send(&packet::subscribe(setup.version, 1, &[], &options));
        subscriber.expect_suback(1, &[1; 512]);
    }
    let topic = ["a"; LEVELS as usize].join("/");
    let mut publisher = broker.client("publisher");
    publisher.publish(&topic, "once", 1);
    subscriber.expect_message(&topic, "once", 1);
    subscriber.expect_nothing_from(&mut publisher);
}

fn a_topic_deeper_than_allowed_does_no_harm(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("#", 0);
    let deep = ["a"; 129].join("/");
    broker.connect("publisher").open().0.abandon();
    let mut publisher = broker.client("publisher");
    publisher.send_publish(&Publish::new(&deep, "deep").qos(0, 0));
    publisher.abandon();
    let mut publisher = broker.client("publisher");
    publisher.send(&packet::subscribe(setup.version, 1, &[], &[(&deep, 0)]));
    publisher.abandon();
    broker.client("publisher").publish("a", "still here", 1);
    let message = subscriber.expect_publish();
    let message = if message.topic == deep {
        subscriber.expect_publish()
    } else {
        message
    };
    assert_eq!(message.text(), "still here");
}

/// 2.2.1 and 3.9.3: Packet Identifier in use.
fn a_packet_identifier_in_use_is_refused_to_subscribe(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send_publish(&Publish::new("a", "unfinished").qos(2, 5));
    client.expect_success(PUBREC, 5);
    client.send(&packet::subscribe(
        setup.version,
        5,
        &[],
        &[("a", 0), ("b", 1)],
    ));
    client.expect_suback(5, &[0x91, 0x91]);
    client.send(&packet::unsubscribe(setup.version, 5, &["a"]));
    client.expect_unsuback(5, &[0x91]);
    client.expect_silence_until_pong();
}

fn the_wrong_acknowledgement_is_a_protocol_error(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for (qos, wrong) in [(1, PUBREC), (2, PUBACK)] {
        let mut subscriber = broker.client("subscriber");
        subscriber.subscribe("a", 2);
        publisher.publish("a", "hello", qos);
        let id = subscriber.expect_publish().id;
        subscriber.send(&packet::acknowledge(wrong, id));
        subscriber.expect_refusal(0x82);
    }
}

/// [MQTT-3.1.2-8]
fn the_longest_will_delay_ends_with_the_session(setup: Setup) {
    let broker = setup.broker();
    let mut watcher = broker.client("watcher");
    watcher.subscribe("will", 0);
    let will = Will::new("will", "gone").delay(u32::MAX);
    broker.connect("client").will(will).open().0.abandon();
    watcher.expect_message("will", "gone", 0);
}

fn the_longest_session_expiry_is_cut_to_the_configured(setup: Setup) {
    let broker = setup.broker_with(&[("mqtt.session_expiry_max_s", "100")]);
    for (asked, told) in [
        (u32::MAX, Some(100)),
        (101, Some(100)),
        (100, None),
        (1, None),
    ] {
        let expiry = property::four_bytes(property::SESSION_EXPIRY, asked);
        let (client, answer) = broker.connect("client").property(expiry).open();
        let found = answer.properties.number(property::SESSION_EXPIRY);
        assert!(
            found == told || found == Some(asked.min(100)),
            "{asked}: {found:?}"
        );
        client.disconnect();
    }
}

fn a_message_that_expires_at_once_is_not_queued(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("subscriber").persistent();
    let (mut subscriber, _) = connect.open();
    subscriber.subscribe("a", 1);
    subscriber.disconnect();
    let mut publisher = broker.client("publisher");
    let expiry = |seconds| property::four_bytes(property::MESSAGE_EXPIRY, seconds);
    publisher.publish_message(Publish::new("a", "at once").property(expiry(0)), 1);
    publisher.publish_message(Publish::new("a", "never").property(expiry(u32::MAX)), 1);
    let (mut subscriber, _) = connect.open();
    subscriber.expect_message("a", "never", 1);
    subscriber.expect_silence_until_pong();
}

/// [MQTT-3.1.2-24]
fn a_client_that_takes_no_packets_gets_none(setup: Setup) {
    let broker = setup.broker();
    for maximum in [1, 2, 4, 5, 10, 20] {
        let size = property::four_bytes(property::MAXIMUM_PACKET_SIZE, maximum);
        let mut client = broker.connect("client").property(size).send();
        client.send(&packet::subscribe(setup.version, 1, &[], &[("a", 0); 20]));
        client.send(&packet::DISCONNECT);
        let mut rest = &client.rest()[..];
        while let [_, length, after @ ..] = rest {
            assert!(
                usize::from(*length) + 2 <= maximum as usize,
                "above {maximum}: {rest:02x?}"
            );
            rest = &after[usize::from(*length)..];
        }
    }
    broker.client("client").expect_silence_until_pong();
}

/// [MQTT-2.2.1-4]
fn all_packet_identifiers_in_use_make_messages_wait(setup: Setup) {
    const ALL: usize = u16::MAX as usize;
    let broker = setup.broker_with(&[
        ("mqtt.max_inflight", "65535"),
        ("mqtt.max_mqueue_len", "100000"),
        ("mqtt.max_output_bytes", "100000000"),
    ]);
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    let mut publisher = broker.client("publisher");
    let mut seen = vec![false; ALL + 1];
    let mut first = None;
    for _ in 0..ALL / 255 {
        for id in 1..=255 {
            publisher.send_publish(&Publish::new("a", "x").qos(1, id));
        }
        for _ in 1..=255 {
            publisher.expect_acknowledgement(PUBACK);
            let id = subscriber.expect_publish().id;
            assert!(!seen[usize::from(id)], "identifier {id} is given twice");
            seen[usize::from(id)] = true;
            first.get_or_insert(id);
        }
    }
    publisher.publish("a", "has to wait", 1);
    subscriber.expect_silence_until_pong();
    let first = first.expect("a first identifier");
    subscriber.send(&packet::acknowledge(PUBACK, first));
    let message = subscriber.expect_publish();
    assert_eq!((message.text(), message.id), ("has to wait", first));
}
