//! Exclusive subscriptions over several brokers: one session in the cluster has a filter for
//! itself.
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

use std::thread;
use std::time::{Duration, Instant};

use common::nodes::{cluster, wait_for_output};
use common::packet;
use common::{Broker, Client, Setup, Version, scenarios};

scenarios! {
    mqtt311_and_5: [
        one_session_in_the_cluster_has_a_filter_for_itself,
        a_session_that_moves_takes_its_filter_along,
        a_holder_whose_node_is_given_up_loses_its_filter,
    ],
}

/// So many filters that each node and shard has to do with some.
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

/// What SUBACK says. It may also come behind messages.
fn subscribe(client: &mut Client, topic: &str) -> u8 {
    let id = client.next_id();
    let filter = format!("$exclusive/{topic}");
    client.send(&packet::subscribe(
        client.version(),
        id,
        &[],
        &[(&filter, 1)],
    ));
    client.expect_suback_to(id)[0]
}

fn refused(setup: Setup) -> u8 {
    match setup.version {
        Version::V5 => 0x97,
        _ => 0x80,
    }
}

/// A filter is free a moment after its holder has heard so.
fn expect_free(setup: Setup, client: &mut Client, topic: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match subscribe(client, topic) {
            1 => return,
            code => assert_eq!(code, refused(setup)),
        }
        assert!(Instant::now() < end, "{topic} is not free");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Publishes until the message reaches the subscriber.
fn expect_reached(publisher: &mut Client, subscriber: &mut Client, topic: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        publisher.publish(topic, "hello", 1);
        let came = subscriber.messages_until_pong();
        came.iter().for_each(|message| subscriber.complete(message));
        if came.iter().any(|message| message.topic == topic) {
            return;
        }
        assert!(Instant::now() < end, "nothing comes");
        thread::sleep(Duration::from_millis(20));
    }
}

fn one_session_in_the_cluster_has_a_filter_for_itself(setup: Setup) {
    let brokers = cluster(setup, 3);
    let mut clients: Vec<Client> = brokers
        .iter()
        .enumerate()
        .map(|(number, broker)| broker.client(&format!("client {number}")))
        .collect();
    for topic in TOPICS {
        assert_eq!(subscribe(&mut clients[0], topic), 1);
        assert_eq!(subscribe(&mut clients[0], topic), 1);
        assert_eq!(subscribe(&mut clients[1], topic), refused(setup));
        assert_eq!(subscribe(&mut clients[2], topic), refused(setup));
        clients[0].unsubscribe(&format!("$exclusive/{topic}"));
        expect_free(setup, &mut clients[1], topic);
        assert_eq!(subscribe(&mut clients[0], topic), refused(setup));
    }
    let mut publisher = brokers[2].client("publisher");
    expect_reached(&mut publisher, &mut clients[1], "a");
    // The end of the session ends it.
    clients.remove(1).abandon();
    for topic in TOPICS {
        expect_free(setup, &mut clients[1], topic);
    }
    // Of many that ask at once one gets it.
    let asked = brokers.iter().flat_map(|broker| [broker; 4]).enumerate();
    let mut asked: Vec<Client> = asked
        .map(|(number, broker)| broker.client(&format!("asks {number}")))
        .collect();
    for client in &mut asked {
        let filters = [("$exclusive/new", 1)];
        client.send(&packet::subscribe(setup.version, 1, &[], &filters));
    }
    let codes = asked.iter_mut().map(|client| client.expect_suback_to(1)[0]);
    assert_eq!(codes.filter(|code| *code == 1).count(), 1);
}

fn persistent(broker: &Broker, name: &str) -> Client {
    broker.connect(name).persistent().open().0
}

fn a_session_that_moves_takes_its_filter_along(setup: Setup) {
    let brokers = cluster(setup, 3);
    let mut other = brokers[2].client("other");
    let mut publisher = brokers[0].client("publisher");
    let mut holder = persistent(&brokers[0], "holder");
    for topic in TOPICS {
        assert_eq!(subscribe(&mut holder, topic), 1);
    }
    for number in [1, 2, 0, 1] {
        holder = persistent(&brokers[number], "holder");
        for topic in TOPICS {
            assert_eq!(subscribe(&mut other, topic), refused(setup));
        }
        for topic in TOPICS {
            expect_reached(&mut publisher, &mut holder, topic);
            assert_eq!(subscribe(&mut other, topic), refused(setup));
        }
    }
    holder.disconnect();
    assert_eq!(subscribe(&mut other, "a"), refused(setup));
    // A new session of the client, elsewhere, has nothing.
    let new = brokers[2].client("holder");
    for topic in TOPICS {
        expect_free(setup, &mut other, topic);
    }
    new.disconnect();
}

fn a_holder_whose_node_is_given_up_loses_its_filter(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let mut holder = persistent(&brokers[0], "holder");
    for topic in TOPICS {
        assert_eq!(subscribe(&mut holder, topic), 1);
    }
    let mut other = brokers[1].client("other");
    assert_eq!(subscribe(&mut other, "a"), refused(setup));
    // A node that is back soon keeps it.
    brokers[0].kill();
    brokers[0].start_again();
    let mut holder = persistent(&brokers[0], "holder");
    assert_eq!(subscribe(&mut other, "b"), refused(setup));
    let mut publisher = brokers[2].client("publisher");
    expect_reached(&mut publisher, &mut holder, "a");
    brokers[0].kill();
    for topic in TOPICS {
        expect_free(setup, &mut other, topic);
    }
    brokers[0].start_again();
    for topic in TOPICS {
        let text = format!("holder has lost its exclusive subscription to {topic}");
        wait_for_output(&brokers[0], &text);
    }
    // Its session goes on without the subscriptions.
    let (mut holder, connack) = brokers[0].connect("holder").persistent().open();
    assert_eq!(connack.session_present, Some(true));
    expect_reached(&mut publisher, &mut other, "a");
    let came = holder.messages_until_pong();
    came.iter().for_each(|message| holder.complete(message));
    publisher.publish("a", "again", 1);
    other.expect_message("a", "again", 1);
    holder.expect_silence_until_pong();
    for topic in TOPICS {
        assert_eq!(subscribe(&mut holder, topic), refused(setup));
    }
}
