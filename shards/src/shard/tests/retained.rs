//! Retained messages, which live on the shards that their topics hash to.

use std::collections::BTreeSet;

use super::node::{Client, Node, Setup};
use super::packet::{Connect, Publish};
use super::received::{Delivery, Received};
use crate::settings::Mqtt;

/// SUBSCRIBE option, Retain Handling: send only if the subscription is new.
const SEND_IF_NEW: u8 = 0x10;
/// SUBSCRIBE option, Retain Handling: do not send.
const DO_NOT_SEND: u8 = 0x20;

/// A node on which a client has retained messages under `t/1` … `t/count`.
fn node_with_retained(setup: Setup, count: usize) -> Node {
    let mut node = Node::with(setup);
    let publisher = node.connect(&Connect::new("retainer"));
    for number in 1..=count {
        let message = Publish::new(&format!("t/{number}"), number.to_string());
        node.publish(publisher, &message.qos(1, number as u16).retain());
        if number % 500 == 0 {
            node.settle();
        }
    }
    node.settle();
    assert_eq!(node.take(publisher).len(), count);
    assert_eq!(retained(&node), count);
    node.close(publisher);
    node.settle();
    node
}

fn retained(node: &Node) -> usize {
    node.shards.iter().map(|shard| shard.retained.len()).sum()
}

/// Subscribes, and takes SUBACK and what has come behind it.
fn subscribe(node: &mut Node, client: Client, filter: &str, options: u8) -> Vec<Delivery> {
    let version = protocol::wire::Version::V5;
    let packet = super::packet::subscribe(version, 1, 0, &[(filter, options)]);
    node.send(client, &packet);
    node.settle();
    let mut packets = node.take(client).into_iter();
    assert!(matches!(packets.next(), Some(Received::SubAck { .. })));
    packets
        .map(|packet| match packet {
            Received::Publish(delivery) => delivery,
            other => panic!("a message was expected, not {other:?}"),
        })
        .collect()
}

fn texts(messages: &[Delivery]) -> BTreeSet<String> {
    messages.iter().map(|m| m.text().to_owned()).collect()
}

#[test]
fn a_new_subscription_gets_what_is_retained_on_every_shard() {
    for home in 0..3 {
        let mut node = node_with_retained(Setup::default(), 20);
        assert!(node.shards.iter().all(|shard| !shard.retained.is_empty()));
        let subscriber = node.client_on(home, "s");
        for filter in ["t/+", "#", "t/#"] {
            let messages = subscribe(&mut node, subscriber, filter, 0);
            assert!(messages.iter().all(|message| message.retain));
            assert_eq!((messages.len(), texts(&messages).len()), (20, 20));
        }
        for number in 1..=20 {
            let messages = subscribe(&mut node, subscriber, &format!("t/{number}"), 1);
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].text(), number.to_string());
        }
    }
}

#[test]
fn a_subscriber_with_a_window_of_one_gets_a_thousand_retained_messages_one_by_one() {
    let mut node = node_with_retained(Setup::default(), 1000);
    let subscriber = node.connect(&Connect::new("slow").receive_maximum(1));
    let mut messages = subscribe(&mut node, subscriber, "t/#", 1);
    let mut seen = BTreeSet::new();
    while !messages.is_empty() {
        assert_eq!(messages.len(), 1, "the window is one");
        assert!(messages[0].retain && !messages[0].dup);
        assert!(seen.insert(messages[0].text().to_owned()), "it came twice");
        node.acknowledge(subscriber, &messages[0]);
        node.settle();
        messages = node.take_messages(subscriber);
    }
    assert_eq!(seen.len(), 1000);
    node.close(subscriber);
    node.settle();
    node.assert_empty();
}

#[test]
fn a_subscriber_that_reads_late_gets_a_thousand_retained_messages_and_others_are_served() {
    let mut node = node_with_retained(
        Setup {
            mqtt: Mqtt {
                max_output_bytes: 100_000,
                ..Mqtt::default()
            },
            ..Setup::default()
        },
        10,
    );
    let publisher = node.connect(&Connect::new("large"));
    for number in 1..=1000 {
        let topic = format!("large/{number}");
        node.publish(publisher, &Publish::new(&topic, [b'x'; 1000]).retain());
        node.settle();
    }
    assert_eq!(retained(&node), 1010);
    let late = node.connect(&Connect::new("late"));
    node.set_reading(late, false);
    let version = protocol::wire::Version::V5;
    let packet = super::packet::subscribe(version, 1, 0, &[("#", 0)]);
    node.send(late, &packet);
    node.settle();
    let held = node.shards.iter().map(|shard| shard.replays.len());
    assert_eq!(held.sum::<usize>(), 1);
    let other = node.connect(&Connect::new("other"));
    assert_eq!(subscribe(&mut node, other, "t/+", 0).len(), 10);
    node.set_reading(late, true);
    node.settle();
    assert_eq!(node.take(late).len(), 1011, "SUBACK and all messages");
    let dropped: u64 = node.shards.iter().map(|s| s.stats.dropped.get()).sum();
    assert_eq!(dropped, 0);
}

#[test]
fn the_last_retained_message_counts_and_an_empty_one_takes_it_away() {
    for topic in ["one", "two", "three", "four"] {
        let mut node = Node::new(3);
        let publisher = node.client_on(0, "p");
        let subscriber = node.client_on(1, "s");
        for text in ["old", "new"] {
            node.publish(publisher, &Publish::new(topic, text).retain());
        }
        node.settle();
        let messages = subscribe(&mut node, subscriber, topic, 0);
        assert_eq!(texts(&messages), BTreeSet::from(["new".to_owned()]));
        node.publish(publisher, &Publish::new(topic, "").retain());
        node.settle();
        assert_eq!(node.take_texts(subscriber), [""], "it is a message too");
        assert_eq!(subscribe(&mut node, subscriber, topic, 0), []);
        assert_eq!(retained(&node), 0);
        assert_eq!(node.shards[0].retained_quota.bytes(), 0);
    }
}

#[test]
fn retain_handling_says_whether_retained_messages_are_sent() {
    let mut node = node_with_retained(Setup::default(), 5);
    let subscriber = node.connect(&Connect::new("s"));
    for (options, expected) in [
        (DO_NOT_SEND, 0),
        (SEND_IF_NEW, 0),
        (0, 5),
        (SEND_IF_NEW, 0),
        (0, 5),
    ] {
        let messages = subscribe(&mut node, subscriber, "t/+", options);
        assert_eq!(messages.len(), expected, "{options:#x}");
    }
    let fresh = node.connect(&Connect::new("fresh"));
    assert_eq!(subscribe(&mut node, fresh, "t/+", SEND_IF_NEW).len(), 5);
}

#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let mut node = node_with_retained(Setup::default(), 5);
    let subscriber = node.connect(&Connect::new("s"));
    assert_eq!(subscribe(&mut node, subscriber, "$share/g/t/+", 1), []);
}

#[test]
fn the_qos_of_a_retained_message_is_the_lower_of_both() {
    let mut node = node_with_retained(Setup::default(), 1);
    let subscriber = node.connect(&Connect::new("s"));
    for qos in 0..3 {
        let messages = subscribe(&mut node, subscriber, "t/1", qos);
        assert_eq!(messages[0].qos, qos.min(1));
        node.acknowledge(subscriber, &messages[0]);
    }
}

#[test]
fn retained_messages_expire() {
    let mut node = Node::new(3);
    let publisher = node.connect(&Connect::new("p"));
    for number in 1..=9 {
        let message = Publish::new(&format!("t/{number}"), "x").retain();
        node.publish(publisher, &message.expiry(number));
    }
    node.advance(4_500);
    let subscriber = node.connect(&Connect::new("s"));
    let mut left: Vec<_> = subscribe(&mut node, subscriber, "t/+", 0)
        .iter()
        .map(|message| message.expiry_s.unwrap())
        .collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3, 4, 5]);
    assert_eq!(retained(&node), 5, "those that have expired are gone");
}

#[test]
fn expired_retained_messages_leave_their_room_though_nobody_looks_for_them() {
    let mut node = Node::with(Setup {
        shards: 2,
        mqtt: Mqtt {
            max_retained_messages: 600,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let publisher = node.connect(&Connect::new("p"));
    for number in 0..600 {
        let message = Publish::new(&format!("t/{number}"), "x").retain();
        node.publish(publisher, &message.expiry(5));
    }
    // Replaced by one that never expires, by one that does later, and deleted.
    node.publish(publisher, &Publish::new("t/0", "stays").retain());
    node.publish(publisher, &Publish::new("t/1", "later").retain().expiry(60));
    node.publish(publisher, &Publish::new("t/2", "").retain());
    node.settle();
    let expiries = |node: &Node| -> usize {
        let shards = node.shards.iter();
        shards.map(|shard| shard.retained_expiries.len()).sum()
    };
    assert_eq!((retained(&node), expiries(&node)), (599, 598));
    node.advance(5_000);
    assert_eq!((retained(&node), expiries(&node)), (2, 1));
    for id in 1..=598 {
        let message = Publish::new(&format!("u/{id}"), "x").qos(1, id);
        node.publish(publisher, &message.retain());
    }
    node.settle();
    assert_eq!((retained(&node), expiries(&node)), (600, 1));
    node.advance(60_000);
    assert_eq!((retained(&node), expiries(&node)), (599, 0));
}

#[test]
fn a_retained_message_does_not_come_after_a_newer_one_of_its_topic() {
    for seed in 0..24 {
        let setup = Setup {
            shards: 1 + (seed % 3) as u16,
            seed,
            ..Setup::default()
        };
        no_older_one_comes(setup);
    }
}

fn no_older_one_comes(setup: Setup) {
    let mut node = node_with_retained(setup, 5);
    let slow = node.connect(&Connect::new("slow").receive_maximum(1));
    let mut came: Vec<_> = subscribe(&mut node, slow, "t/+", 1);
    assert_eq!(came.len(), 1, "the others wait");
    let publisher = node.connect(&Connect::new("p"));
    for number in 1..=5 {
        // One is deleted, by a message that comes as any other.
        let text = if number == 3 { "" } else { "new" };
        node.publish(
            publisher,
            &Publish::new(&format!("t/{number}"), text).retain(),
        );
    }
    node.settle();
    let mut newest = std::collections::BTreeMap::new();
    let mut retained = 0;
    loop {
        came.extend(node.take_messages(slow));
        if came.is_empty() {
            break;
        }
        for message in core::mem::take(&mut came) {
            let older = newest.insert(message.topic.clone(), message.text().to_owned());
            let is_older = older.is_some_and(|older| older != message.text() && older.len() != 1);
            assert!(!is_older, "{} came after a newer one", message.text());
            retained += usize::from(message.retain);
            node.acknowledge(slow, &message);
        }
        node.settle();
    }
    let texts: Vec<&str> = newest.values().map(String::as_str).collect();
    assert_eq!(texts, ["new", "new", "", "new", "new"]);
    assert!(retained >= 4, "what is retained comes as such");
}

#[test]
fn a_retained_message_that_is_on_its_way_between_shards_gives_way_to_a_newer_one() {
    for newer in ["new", ""] {
        let mut node = Node::new(3);
        let topic = node.name_at(0, "t");
        let publisher = node.client_on(2, "publisher");
        node.publish(publisher, &Publish::new(&topic, "old").retain());
        node.settle();
        let subscriber = node.client_on(1, "subscriber");
        node.hold_ring(0, 1, true);
        assert!(subscribe(&mut node, subscriber, &topic, 0).is_empty());
        node.publish(publisher, &Publish::new(&topic, newer).retain());
        node.settle();
        assert_eq!(node.take_texts(subscriber), [newer]);
        node.hold_ring(0, 1, false);
        node.settle();
        let came = node.take_messages(subscriber);
        let came: Vec<_> = came.iter().map(|m| (m.text(), m.retain)).collect();
        let expected: &[_] = if newer.is_empty() {
            &[]
        } else {
            &[("new", true)]
        };
        assert_eq!(came, expected);
        // Nothing of that is left for the next subscription.
        node.publish(publisher, &Publish::new(&topic, "last").retain());
        node.settle();
        assert_eq!(node.take_texts(subscriber), ["last"]);
        let came = subscribe(&mut node, subscriber, &topic, 0);
        assert_eq!((came.len(), came[0].text()), (1, "last"));
    }
}

#[test]
fn what_is_published_while_another_shard_is_asked_comes_once() {
    for (home, other) in [(0, 1), (1, 0)] {
        let mut node = Node::new(2);
        let subscriber = node.client_on(home, "s");
        let publisher = node.client_on(home, "p");
        node.hold_ring(other, home, true);
        assert!(subscribe(&mut node, subscriber, "t/+", 0).is_empty());
        let own = node.shards[usize::from(home)].id;
        let topic = (0..)
            .map(|number| format!("t/{number}"))
            .find(|topic| node.shards[0].shard_of(topic) == own)
            .expect("a topic of each shard");
        node.publish(publisher, &Publish::new(&topic, "new").retain());
        node.settle();
        node.hold_ring(other, home, false);
        node.settle();
        let came = node.take_messages(subscriber);
        assert_eq!(came.len(), 1);
        assert!(!came[0].retain);
    }
}

#[test]
fn retained_messages_beyond_the_limit_are_refused() {
    let mut node = Node::with(Setup {
        shards: 1,
        mqtt: Mqtt {
            max_retained_messages: 2,
            ..Mqtt::default()
        },
        ..Setup::default()
    });
    let publisher = node.connect(&Connect::new("p"));
    for (topic, id) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        let message = Publish::new(topic, id.to_string()).qos(1, id);
        node.publish(publisher, &message.retain());
    }
    node.settle();
    let reasons: Vec<u8> = node
        .take(publisher)
        .iter()
        .map(|packet| match packet {
            Received::PubAck { reason, .. } => *reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [0x10, 0x10, 0x97, 0x10]);
    let subscriber = node.connect(&Connect::new("s"));
    let messages = subscribe(&mut node, subscriber, "#", 0);
    assert_eq!(texts(&messages), BTreeSet::from(["2".into(), "4".into()]));
}

#[test]
fn a_replay_ends_with_its_client() {
    for seed in 0..10 {
        let setup = Setup {
            seed,
            ..Setup::default()
        };
        let mut node = node_with_retained(setup, 300);
        let name = Connect::new("s").resume().expiry(10);
        let subscriber = node.connect(&name.receive_maximum(2));
        let messages = subscribe(&mut node, subscriber, "#", 1);
        assert_eq!(messages.len(), 2);
        node.cut(subscriber);
        node.settle();
        let replays = node.shards.iter().map(|shard| shard.replays.len());
        assert_eq!(replays.sum::<usize>(), 0, "seed {seed}");
        node.advance(10_000);
        node.assert_empty();
    }
}

#[test]
fn retained_messages_wait_for_room_however_little_output_a_client_may_have() {
    let mut node = node_with_retained(
        Setup {
            mqtt: Mqtt {
                max_output_bytes: 100,
                ..Mqtt::default()
            },
            ..Setup::default()
        },
        100,
    );
    let subscriber = node.connect(&Connect::new("s"));
    let messages = subscribe(&mut node, subscriber, "t/+", 0);
    assert_eq!(texts(&messages).len(), 100);
}

#[test]
fn a_search_that_finds_nothing_takes_several_turns() {
    let mut node = Node::new(1);
    let publisher = node.connect(&Connect::new("p"));
    for number in 0..10_000 {
        node.publish(
            publisher,
            &Publish::new(&format!("{number}/a"), "x").retain(),
        );
    }
    let last = Publish::new("last/b", "x").retain();
    node.publish(publisher, &last);
    node.settle();
    assert_eq!(retained(&node), 10_001);
    let subscriber = node.connect(&Connect::new("s"));
    let version = protocol::wire::Version::V5;
    let packet = super::packet::subscribe(version, 1, 0, &[("+/b", 0)]);
    node.send(subscriber, &packet);
    while node.take(subscriber).is_empty() {
        assert!(node.step(), "SUBACK does not come");
    }
    assert_eq!(node.shards[0].replays.len(), 1, "it goes on behind SUBACK");
    node.settle();
    assert_eq!(node.take_messages(subscriber).len(), 1);
    assert_eq!(node.shards[0].replays.len(), 0);
}

#[test]
fn a_client_that_subscribes_again_and_again_without_reading_makes_few_replays() {
    let mut node = Node::new(3);
    let publisher = node.connect(&Connect::new("p"));
    for number in 1..=200 {
        let message = Publish::new(&format!("t/{number}"), [b'x'; 1000]);
        node.publish(publisher, &message.retain());
    }
    node.close(publisher);
    let subscriber = node.connect(&Connect::new("s"));
    node.set_reading(subscriber, false);
    let version = protocol::wire::Version::V5;
    for id in 1..=100 {
        let packet = super::packet::subscribe(version, id, 0, &[("t/+", 0)]);
        node.send(subscriber, &packet);
        node.settle();
    }
    let replays = node.shards.iter().map(|shard| shard.replays.len());
    let replays = replays.sum::<usize>();
    assert!((1..=16).contains(&replays), "{replays} replays");
    node.set_reading(subscriber, true);
    node.settle();
    assert_eq!(node.take(subscriber).len(), 100 * 201);
    node.close(subscriber);
    node.settle();
    node.assert_empty();
}
