//! A node that is killed under load and is back before it is given up: its kept sessions get each
//! message of the others once.
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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::nodes::{cluster_with, wait_for_route};
use common::packet::{self, PUBCOMP, PUBREC, PUBREL};
use common::received::{Delivery, parse_acknowledgement};
use common::{Broker, Client, Publish, Setup, scenarios};

scenarios! {
    mqtt311_and_5: [
        each_message_of_qos_2_comes_once_although_its_receiver_is_killed_again_and_again,
    ],
}

/// How often the node is killed.
const KILLS: usize = 5;

/// Publishes with QoS 2 until it is told to stop, some messages at a time. Returns how many.
fn publish_until(mut publisher: Client, is_over: &AtomicBool) -> usize {
    let mut published = 0;
    while !is_over.load(Ordering::Relaxed) {
        for number in published..published + 20 {
            let id = publisher.next_id();
            let message = Publish::new(&format!("t/{}", number % 3), number.to_string());
            publisher.send_publish(&message.qos(2, id));
        }
        let mut completed = 0;
        while completed < 20 {
            let packet = publisher.expect_packet();
            let (id, _) = parse_acknowledgement(publisher.version(), &packet);
            match packet.first {
                PUBREC => publisher.send(&packet::acknowledge(PUBREL, id)),
                PUBCOMP => completed += 1,
                other => panic!("{other:02x}"),
            }
        }
        published += 20;
    }
    published
}

/// A subscriber with a session that stays, as a client has to keep it.
#[derive(Default)]
struct Kept {
    /// Messages of QoS 2 that were taken and not released.
    taken: BTreeSet<u16>,
    came: BTreeMap<String, usize>,
}

impl Kept {
    /// Takes what there is, until the broker has nothing more.
    fn take(&mut self, client: &mut Client) {
        client.send(&packet::PINGREQ);
        loop {
            let packet = client.expect_packet();
            match packet.first {
                first if first == packet::PINGRESP[0] => return,
                PUBREL => {
                    let (id, _) = parse_acknowledgement(client.version(), &packet);
                    self.taken.remove(&id);
                    client.send(&packet::acknowledge(PUBCOMP, id));
                }
                _ => {
                    let message = Delivery::parse(client.version(), &packet);
                    assert_eq!(message.qos, 2);
                    if self.taken.insert(message.id) {
                        let text = String::from_utf8(message.payload).unwrap();
                        *self.came.entry(text).or_default() += 1;
                    }
                    client.send(&packet::acknowledge(PUBREC, message.id));
                }
            }
        }
    }

    /// Until so many different messages have come.
    fn take_all(&mut self, client: &mut Client, count: usize) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.came.len() < count || !self.taken.is_empty() {
            assert!(Instant::now() < end, "{} of {count}", self.came.len());
            self.take(client);
        }
        self.take(client);
    }
}

fn subscriber(broker: &Broker, name: &str) -> Client {
    let (mut client, _) = broker.connect(name).persistent().open();
    client.subscribe("t/#", 2);
    client
}

fn each_message_of_qos_2_comes_once_although_its_receiver_is_killed_again_and_again(setup: Setup) {
    let settings = [
        ("cluster.partition_policy", "serve_local"),
        ("mqtt.max_mqueue_len", "1000000"),
    ];
    let mut brokers = cluster_with(setup, 2, &settings);
    let mut publisher = brokers[0].client("publisher");
    let mut back = subscriber(&brokers[1], "back");
    wait_for_route(&mut publisher, &mut back, "t/0");
    // With two shards some of them are on each.
    let away: Vec<String> = (0..4).map(|number| format!("away {number}")).collect();
    for name in &away {
        subscriber(&brokers[1], name).disconnect();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    let publisher = thread::spawn(move || publish_until(publisher, &told));
    let mut kept = Kept::default();
    for round in 0..KILLS {
        let end = Instant::now() + Duration::from_millis(200 + 70 * round as u64);
        while Instant::now() < end {
            kept.take(&mut back);
        }
        brokers[1].kill();
        brokers[1].start_again();
        (back, _) = brokers[1].connect("back").persistent().open();
    }
    is_over.store(true, Ordering::Relaxed);
    let count = publisher.join().unwrap();
    // A machine that was too slow has had the node given up, and messages with it.
    let is_whole = !brokers[0].output().contains("is down");
    let sessions = away.into_iter().map(|name| {
        let (client, _) = brokers[1].connect(&name).persistent().open();
        (Kept::default(), client)
    });
    for (mut kept, mut client) in std::iter::once((kept, back)).chain(sessions) {
        if is_whole {
            kept.came.remove("probe");
            kept.take_all(&mut client, count);
        } else {
            kept.take(&mut client);
        }
        let twice: Vec<_> = kept.came.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}
