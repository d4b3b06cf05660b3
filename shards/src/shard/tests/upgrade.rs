//! Messages that are delivered with a higher QoS than they were published with.

use protocol::wire::Version;

use super::disk::Disk;
use super::node::{Node, Setup};
use super::packet::{self, Connect, PINGREQ, Publish};
use super::received::Received;
use crate::settings::Mqtt;

fn node(shards: u16) -> Node {
    Node::with(Setup {
        shards,
        mqtt: Mqtt {
            upgrade_qos: true,
            ..Mqtt::default()
        },
        disk: Some(Disk::new(usize::from(shards))),
        ..Setup::default()
    })
}

/// The publisher of a QoS 0 message waits for nothing, and so nothing may wait for it.
#[test]
fn a_raised_message_is_stored_on_every_shard_and_nothing_is_left_waiting() {
    for shards in [1, 3] {
        let mut node = node(shards);
        let mut sessions = Vec::new();
        for shard in 0..shards {
            for (prefix, filter) in [("direct", "a"), ("member", "$share/group/a")] {
                let name = node.name_at(shard, prefix);
                let connect = Connect::new(&name).resume().expiry(3600);
                let client = node.connect(&connect);
                node.subscribe(client, filter, 2);
                node.cut(client);
                sessions.push((prefix, connect));
            }
        }
        node.settle();
        for shard in 0..shards {
            let publisher = node.client_on(shard, "publisher");
            node.publish(publisher, &Publish::new("a", "raised"));
        }
        node.settle();
        assert!(node.shards.iter().all(|shard| shard.is_settled()));
        let mut node = node.crash(shards);
        let mut shared = 0;
        for (prefix, connect) in &sessions {
            let client = node.connect(connect);
            let messages = node.take_messages(client);
            assert!(messages.iter().all(|message| message.qos == 2));
            if *prefix == "direct" {
                assert_eq!(messages.len(), usize::from(shards));
            } else {
                shared += messages.len();
            }
        }
        assert_eq!(shared, usize::from(shards));
    }
}

#[test]
fn a_raised_message_that_cannot_be_stored_goes_to_those_who_need_no_disk() {
    for shards in [1, 2] {
        let mut node = node(shards);
        let name = node.name_at(shards - 1, "lasting");
        let lasting = node.connect(&Connect::new(&name).resume().expiry(3600));
        let passing = node.client_on(0, "passing");
        for client in [lasting, passing] {
            node.subscribe(client, "a", 1);
        }
        let publisher = node.client_on(0, "publisher");
        node.disk.as_mut().unwrap().full = true;
        node.turn_all();
        node.publish(publisher, &Publish::new("a", "x"));
        node.send(publisher, &PINGREQ);
        node.settle();
        assert_eq!(node.take(publisher), [Received::PingResp]);
        assert_eq!(node.take_texts(passing), ["x"]);
        assert!(node.take_texts(lasting).is_empty());
        node.disk.as_mut().unwrap().full = false;
        node.turn_all();
        node.publish(publisher, &Publish::new("a", "y"));
        node.settle();
        assert_eq!(node.take_texts(lasting), ["y"]);
    }
}

/// Retained messages wait for the window as their raised QoS asks, also for a subscription
/// with QoS 0.
#[test]
fn retained_messages_are_raised_at_the_subscribers_pace() {
    let mut node = node(2);
    let publisher = node.client_on(0, "publisher");
    for number in 0..20 {
        let topic = format!("a/{number}");
        node.publish(publisher, &Publish::new(&topic, "x").retain().qos(1, 1));
        node.settle();
    }
    let name = node.name_at(1, "subscriber");
    let subscriber = node.connect(&Connect::new(&name).receive_maximum(3));
    let subscribe = packet::subscribe(Version::V5, 1, 0, &[("a/#", 0)]);
    node.send(subscriber, &subscribe);
    node.settle();
    let mut packets = node.take(subscriber);
    packets.retain(|packet| !matches!(packet, Received::SubAck { .. }));
    let mut count = 0;
    while !packets.is_empty() {
        assert!(packets.len() <= 3, "{packets:?}");
        for packet in packets {
            let Received::Publish(message) = packet else {
                panic!("only messages were to come, not {packet:?}");
            };
            assert_eq!(message.qos, 1);
            count += 1;
            node.acknowledge(subscriber, &message);
        }
        node.settle();
        packets = node.take(subscriber);
    }
    assert_eq!(count, 20);
}
