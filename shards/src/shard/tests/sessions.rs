//! Sessions that outlive their connections.

use protocol::wire::Version;

use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, Publish};
use super::received::Received;
use crate::settings::Mqtt;

/// A client on shard 1 that takes up its session and keeps it.
fn durable(node: &Node, expiry_s: u32) -> Connect {
    let name = node.name_at(1, "durable");
    Connect::new(&name).resume().expiry(expiry_s)
}

/// Publishes numbered messages from shard 0.
fn publish(node: &mut Node, topic: &str, qos: u8, ids: std::ops::RangeInclusive<u16>) {
    let publisher = node.client_on(0, "publisher");
    for id in ids {
        node.publish(publisher, &Publish::new(topic, id.to_string()).qos(qos, id));
        if id % 100 == 0 {
            node.settle();
        }
    }
    node.settle();
    node.close(publisher);
    node.settle();
}

/// A node with a session that is subscribed to `a` with QoS 2 and whose client is away.
fn away(mqtt: Mqtt, expiry_s: u32) -> (Node, Connect) {
    let mut node = Node::with(Setup {
        mqtt,
        ..Setup::default()
    });
    let connect = durable(&node, expiry_s);
    let client = node.connect(&connect);
    node.subscribe(client, "a", 2);
    node.cut(client);
    node.settle();
    (node, connect)
}

#[test]
fn a_session_is_there_until_it_expires() {
    for (wait_ms, expected) in [(0, true), (9_999, true), (10_000, false)] {
        let (mut node, connect) = away(Mqtt::default(), 10);
        node.advance(wait_ms);
        let (_, present) = node.connect_at(2, &connect);
        assert_eq!(present, expected, "after {wait_ms} ms");
    }
}

#[test]
fn an_expired_session_leaves_no_subscription_behind() {
    let (mut node, _) = away(Mqtt::default(), 10);
    publish(&mut node, "a", 1, 1..=5);
    node.advance(10_000);
    node.assert_empty();
}

#[test]
fn the_expiry_runs_again_from_each_end_of_a_connection() {
    let (mut node, connect) = away(Mqtt::default(), 10);
    for _ in 0..3 {
        node.advance(9_000);
        let (client, present) = node.connect_at(0, &connect);
        assert!(present);
        node.advance(60_000);
        node.cut(client);
        node.settle();
    }
}

#[test]
fn a_disconnect_can_change_the_expiry() {
    let (mut node, connect) = away(Mqtt::default(), 10);
    let client = node.connect(&connect);
    node.send(client, &packet::disconnect(0, Some(100)));
    node.advance(99_999);
    let (client, present) = node.connect_at(0, &connect);
    assert!(present);
    node.send(client, &packet::disconnect(0, Some(0)));
    node.settle();
    node.assert_empty();
}

#[test]
fn a_session_that_ends_with_the_connection_cannot_be_prolonged() {
    let mut node = Node::new(2);
    let client = node.connect(&Connect::new("client"));
    node.send(client, &packet::disconnect(0, Some(100)));
    node.settle();
    assert_eq!(node.take(client), [Received::Disconnect { reason: 0x82 }]);
    node.assert_empty();
}

#[test]
fn no_session_outlives_the_limit_but_one_that_never_ends_without_a_limit() {
    for (limit_s, ends) in [(100, true), (u32::MAX, false)] {
        let mqtt = Mqtt {
            session_expiry_max_s: limit_s,
            ..Mqtt::default()
        };
        let (mut node, connect) = away(mqtt, u32::MAX);
        node.advance(100_000);
        let (_, present) = node.connect_at(0, &connect);
        assert_eq!(present, !ends);
    }
}

#[test]
fn messages_wait_for_a_client_that_is_away_in_order() {
    let (mut node, connect) = away(Mqtt::default(), 1000);
    publish(&mut node, "a", 1, 1..=50);
    publish(&mut node, "a", 0, 51..=100);
    let client = node.connect(&connect);
    let expected: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
    assert_eq!(node.take_texts(client), expected);
}

#[test]
fn a_queue_holds_no_more_messages_than_its_limit() {
    let mqtt = Mqtt {
        max_mqueue_len: 10,
        ..Mqtt::default()
    };
    let (mut node, connect) = away(mqtt, 1000);
    publish(&mut node, "a", 1, 1..=25);
    let dropped: u64 = node.shards.iter().map(|s| s.stats.dropped.get()).sum();
    assert_eq!(dropped, 15);
    let client = node.connect(&connect);
    let expected: Vec<String> = (1..=10).map(|n| n.to_string()).collect();
    assert_eq!(node.take_texts(client), expected);
}

#[test]
fn a_queue_holds_no_more_bytes_than_its_limit() {
    let mqtt = Mqtt {
        max_mqueue_bytes: 10_000,
        ..Mqtt::default()
    };
    let (mut node, connect) = away(mqtt, 1000);
    let publisher = node.client_on(0, "publisher");
    for id in 1..=25 {
        node.publish(publisher, &Publish::new("a", [b'x'; 1000]).qos(1, id));
    }
    node.settle();
    let client = node.connect(&connect);
    assert_eq!(node.take_messages(client).len(), 9);
}

#[test]
fn messages_expire_in_the_queue() {
    let (mut node, connect) = away(Mqtt::default(), 1000);
    let publisher = node.client_on(0, "publisher");
    for (id, expiry) in [(1, 10), (2, 11), (3, 9)] {
        let message = Publish::new("a", id.to_string()).qos(1, id);
        node.publish(publisher, &message.expiry(expiry));
    }
    node.advance(10_000);
    let client = node.connect(&connect);
    let messages = node.take_messages(client);
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].text(), messages[0].expiry_s), ("2", Some(1)));
}

#[test]
fn a_session_goes_on_where_its_client_was_cut_off() {
    let mut node = Node::new(3);
    let connect = durable(&node, 1000);
    let client = node.connect(&connect.clone().receive_maximum(4));
    node.subscribe(client, "a", 2);
    publish(&mut node, "a", 2, 1..=6);
    // 1 is complete, 2 is released, 3 and 4 are not acknowledged, 5 and 6 wait; 1 makes
    // room for 5.
    let messages = node.take_messages(client);
    assert_eq!(messages.len(), 4);
    node.acknowledge(client, &messages[0]);
    node.send(client, &packet::pubrec(messages[1].id));
    node.settle();
    assert_eq!(node.take(client).len(), 2, "5, and PUBREL for 2");
    node.cut(client);
    node.settle();
    let client = node.connect(&connect);
    let packets = node.take(client);
    assert_eq!(
        packets[0],
        Received::PubRel {
            id: messages[1].id,
            reason: 0
        }
    );
    let again: Vec<(String, bool)> = packets[1..]
        .iter()
        .map(|packet| match packet {
            Received::Publish(message) => (message.text().to_owned(), message.dup),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("3", true), ("4", true), ("5", true), ("6", false)];
    let expected = expected.map(|(text, dup)| (text.to_owned(), dup));
    assert_eq!(again, expected);
}

#[test]
fn a_client_gets_no_more_than_its_window_at_once() {
    let (mut node, connect) = away(Mqtt::default(), 1000);
    publish(&mut node, "a", 1, 1..=20);
    let client = node.connect(&connect.receive_maximum(3));
    let mut texts = Vec::new();
    let mut messages = node.take_messages(client);
    while !messages.is_empty() {
        assert!(messages.len() <= 3);
        for message in &messages {
            texts.push(message.text().to_owned());
            node.acknowledge(client, message);
        }
        node.settle();
        messages = node.take_messages(client);
    }
    let expected: Vec<String> = (1..=20).map(|n| n.to_string()).collect();
    assert_eq!(texts, expected);
}

#[test]
fn a_clean_start_forgets_everything() {
    let (mut node, connect) = away(Mqtt::default(), 1000);
    publish(&mut node, "a", 1, 1..=5);
    let name = connect.client_id.clone();
    let (client, present) = node.connect_at(0, &Connect::new(&name).expiry(1000));
    assert!(!present);
    publish(&mut node, "a", 1, 1..=5);
    assert_eq!(node.take(client), []);
    node.cut(client);
    node.settle();
    let (client, present) = node.connect_at(0, &connect);
    assert!(present);
    assert_eq!(node.take(client), []);
}

#[test]
fn a_client_of_3_1_1_without_clean_session_keeps_its_session() {
    let mut node = Node::new(2);
    let connect = Connect::new("old").version(Version::V311).resume();
    let client = node.connect(&connect);
    node.subscribe(client, "a", 1);
    node.cut(client);
    node.settle();
    publish(&mut node, "a", 1, 1..=2);
    let (client, present) = node.connect_at(1, &connect);
    assert!(present);
    assert_eq!(node.take_texts(client), ["1", "2"]);
    node.cut(client);
    node.advance(7_200_000);
    node.assert_empty();
}

#[test]
fn thousands_of_sessions_may_end_at_the_same_moment() {
    let mut node = Node::new(1);
    for number in 0..3000 {
        let connect = Connect::new(&format!("client-{number}")).expiry(10);
        let client = node.open(0, Version::V5);
        node.send(client, &connect.encode());
        node.close(client);
    }
    node.settle();
    assert_eq!(node.shards[0].sessions.len(), 3000);
    node.advance(10_000);
    node.assert_empty();
}

#[test]
fn nothing_is_left_of_clients_that_have_gone() {
    for seed in 0..3 {
        let mut node = Node::with(Setup {
            seed,
            ..Setup::default()
        });
        let clients: Vec<Client> = (0..300)
            .map(|number| busy_client(&mut node, number))
            .collect();
        for (number, client) in clients.into_iter().enumerate() {
            if number % 3 == 0 {
                node.send(client, &packet::DISCONNECT);
            }
            node.close(client);
        }
        node.settle();
        node.advance(100_000);
        node.assert_empty();
    }
}

/// A client that subscribes, publishes and does not acknowledge.
fn busy_client(node: &mut Node, number: u32) -> Client {
    let connect = Connect::new(&format!("client-{number}"))
        .resume()
        .expiry(number % 4 * 20)
        .will(packet::Will::new("a/will", "gone").delay(number % 5 * 10));
    let client = node.connect(&connect);
    let shared = format!("$share/{}/a/#", number % 7);
    let filters: [(&str, u8); 3] = [("a/+", 1), (&shared, 2), ("b", 0)];
    node.send(
        client,
        &packet::subscribe(Version::V5, 1, number + 1, &filters),
    );
    let topic = format!("a/{}", number % 50);
    for (id, qos) in [(1, 0), (1, 1), (2, 2)] {
        let message = Publish::new(&topic, "x").qos(qos, id);
        let message = if number.is_multiple_of(2) {
            message.retain()
        } else {
            message
        };
        node.publish(client, &message);
    }
    node.step();
    client
}

#[test]
fn a_message_that_is_too_large_for_a_client_is_left_out_and_takes_no_room() {
    let mut node = Node::new(2);
    let connect = durable(&node, 1000)
        .maximum_packet_size(50)
        .receive_maximum(1);
    let client = node.connect(&connect);
    node.subscribe(client, "a", 2);
    let publisher = node.client_on(0, "publisher");
    let send_all = |node: &mut Node| {
        for id in 1..=9 {
            let payload = if id % 2 == 0 {
                "small"
            } else {
                &"x".repeat(50)
            };
            node.publish(publisher, &Publish::new("a", payload).qos(id as u8 % 3, id));
        }
        node.settle();
        assert_eq!(node.take(publisher).len(), 6);
        for id in [2, 5, 8] {
            node.send(publisher, &packet::pubrel(id));
        }
        node.settle();
        assert_eq!(node.take(publisher).len(), 3);
    };
    send_all(&mut node);
    let mut got = 0;
    loop {
        let messages = node.take_messages(client);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            assert_eq!(message.text(), "small");
            got += 1;
            node.acknowledge(client, &message);
        }
        node.settle();
    }
    assert_eq!(got, 4, "2, 4, 6 and 8");
    node.cut(client);
    node.settle();
    send_all(&mut node);
    let client = node.connect(&connect);
    let message = node.take_messages(client).remove(0);
    assert_eq!(message.text(), "small");
}
