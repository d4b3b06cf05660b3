//! What comes back after a crash, in which order and with which flags.

use super::super::node::{Client, Node};
use super::super::packet::{self, Connect, Publish};
use super::super::received::{Delivery, Received};

/// Publishes the numbers `range` with QoS 1, each as its packet identifier and text.
fn publish(node: &mut Node, publisher: Client, range: std::ops::Range<u16>) {
    for number in range {
        let publish = Publish::new("t", number.to_string()).qos(1, number);
        node.publish(publisher, &publish);
    }
    node.settle();
    node.take(publisher);
}

/// The PUBLISH packets that have come.
fn messages(node: &mut Node, client: Client) -> Vec<Delivery> {
    let packets = node.take(client).into_iter();
    packets
        .filter_map(|packet| match packet {
            Received::Publish(message) => Some(message),
            _ => None,
        })
        .collect()
}

/// What a client has been sent, and whether that was right.
#[derive(Default)]
struct Judge {
    seen: Vec<u16>,
}

impl Judge {
    /// Takes what has come: whatever came before has DUP, and all are in order from where the
    /// connection began.
    fn take(&mut self, node: &mut Node, client: Client, last: &mut u16) -> Vec<Delivery> {
        let messages = messages(node, client);
        for message in &messages {
            let number: u16 = message.text().parse().unwrap();
            assert!(number > *last, "{number} after {last}");
            *last = number;
            if self.seen.contains(&number) {
                assert!(message.dup, "{number} again without DUP");
            }
            self.seen.push(number);
        }
        messages
    }
}

#[test]
fn what_came_before_a_crash_comes_again_in_order_and_with_dup() {
    for commits in 0..6 {
        for window in [1, 3] {
            let mut node = Node::durable(1);
            let connect = Connect::new("subscriber").resume().expiry(3600);
            let connect = connect.receive_maximum(window);
            let mut client = node.connect(&connect);
            node.subscribe(client, "t", 1);
            let mut judge = Judge::default();
            let mut published = 1;
            for round in 0..4 {
                let publisher = node.client_on(0, "publisher");
                publish(&mut node, publisher, published..published + 12);
                published += 12;
                let mut last = 0;
                // All is stored; from here on so many commits get to the disk. The window
                // moves on all the same.
                node.disk.as_mut().unwrap().held = true;
                for turn in 0..6 {
                    for message in judge.take(&mut node, client, &mut last) {
                        // One acknowledgement in four is late.
                        if (message.id + turn + round) % 4 != 0 {
                            node.send(client, &packet::puback(message.id));
                        }
                    }
                    node.settle();
                    if turn < commits {
                        node.disk.as_mut().unwrap().store(0);
                        node.settle();
                    }
                }
                judge.take(&mut node, client, &mut last);
                node = node.crash(1);
                client = node.connect(&connect);
            }
            // In the end all is there.
            let mut last = 0;
            loop {
                let messages = judge.take(&mut node, client, &mut last);
                if messages.is_empty() {
                    break;
                }
                for message in messages {
                    node.acknowledge(client, &message);
                }
                node.settle();
            }
            let mut seen = judge.seen;
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), usize::from(published) - 1);
        }
    }
}

#[test]
fn dup_is_kept_over_an_orderly_end_and_another_crash() {
    let mut node = Node::durable(1);
    let connect = Connect::new("subscriber").resume().expiry(3600);
    let connect = connect.receive_maximum(2);
    let client = node.connect(&connect);
    node.subscribe(client, "t", 1);
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 1..9);
    // The disk learns nothing of what is sent and acknowledged from here on.
    node.disk.as_mut().unwrap().held = true;
    let mut sent = Vec::new();
    for _ in 0..3 {
        for message in messages(&mut node, client) {
            sent.push(message.text().to_owned());
            node.send(client, &packet::puback(message.id));
        }
        node.settle();
    }
    assert_eq!(sent, ["1", "2", "3", "4", "5", "6"]);
    // After the crash the client gets two of them and goes in order.
    let mut node = node.crash(1);
    let client = node.connect(&connect);
    assert_eq!(messages(&mut node, client).len(), 2);
    node.send(client, &packet::disconnect(0, None));
    node.settle();
    // The next crash finds a session whose client was away.
    let mut node = node.crash(1);
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 9..10);
    let client = node.connect(&connect);
    let mut flags = Vec::new();
    for _ in 0..9 {
        for message in messages(&mut node, client) {
            flags.push((message.text().to_owned(), message.dup));
            node.acknowledge(client, &message);
        }
        node.settle();
    }
    let texts: Vec<&str> = flags.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert!(flags[..6].iter().all(|(_, dup)| *dup), "{flags:?}");
    assert!(!flags[8].1, "what came after the crash is new");
}

#[test]
fn what_waits_for_a_client_that_was_away_at_the_crash_is_new() {
    let mut node = Node::durable(1);
    let connect = Connect::new("subscriber").resume().expiry(3600);
    let client = node.connect(&connect);
    node.subscribe(client, "t", 1);
    node.send(client, &packet::disconnect(0, None));
    node.settle();
    let publisher = node.client_on(0, "publisher");
    publish(&mut node, publisher, 1..5);
    let mut node = node.crash(1).crash(1);
    let client = node.connect(&connect);
    let messages = messages(&mut node, client);
    assert_eq!(messages.len(), 4);
    assert!(messages.iter().all(|message| !message.dup));
}
