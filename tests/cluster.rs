//! Brokers that know each other: what is published on one reaches subscribers on all, and is
//! acknowledged when it has.
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

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::nodes::{cluster, cluster_with, names, node, signal, wait_for_output, wait_for_route};
use common::packet::{self, PUBACK};
use common::{Broker, Client, Publish, Setup, scenarios};

scenarios! {
    mqtt311_and_5: [
        what_is_published_on_one_node_reaches_subscribers_on_all,
        retained_messages_are_on_all_nodes,
        a_node_that_was_away_gets_the_retained_messages_of_the_others,
        a_node_that_dies_keeps_nobody_waiting_and_comes_back,
        a_node_that_was_away_for_longer_than_the_lease_takes_part_again,
        a_node_that_sees_no_majority_acknowledges_nothing_until_it_does,
    ],
    mqtt5: [
        what_was_under_way_when_a_node_was_stopped_for_a_moment_comes_once_and_in_order,
        more_than_the_links_hold_slows_the_publisher_down_and_nothing_is_lost,
        a_kept_session_gets_what_was_published_while_its_node_restarted,
        a_node_with_another_cookie_is_refused,
        without_autoheal_a_node_that_was_given_up_waits_for_its_restart,
        nodes_that_do_not_belong_together_say_why,
        what_is_published_anywhere_after_an_acked_suback_arrives,
        an_acked_suback_waits_for_no_node_that_is_down,
        a_puback_waits_for_a_node_that_stands_still_unless_it_is_local,
        what_was_acknowledged_ahead_of_a_node_is_passed_on_when_the_publishers_node_stops,
    ],
}

fn what_is_published_on_one_node_reaches_subscribers_on_all(setup: Setup) {
    let brokers = cluster(setup, 3);
    let clients = brokers.iter().zip(0..).map(|(broker, number)| {
        let mut client = broker.client(&format!("client-{number}"));
        client.subscribe(&format!("all/{number}/#"), 2);
        client
    });
    let mut clients: Vec<Client> = clients.collect();
    for (from, broker) in brokers.iter().enumerate() {
        let mut publisher = broker.client("publisher");
        for (to, client) in clients.iter_mut().enumerate() {
            let topic = format!("all/{to}/{from}");
            wait_for_route(&mut publisher, client, &topic);
            for number in 0..30 {
                publisher.publish(&topic, number.to_string(), number % 3);
            }
            for number in 0..30 {
                client.expect_message(&topic, &number.to_string(), number % 3);
            }
        }
    }
    clients
        .iter_mut()
        .for_each(Client::expect_silence_until_pong);
}

fn what_is_published_anywhere_after_an_acked_suback_arrives(setup: Setup) {
    let brokers = cluster_with(setup, 3, &[("cluster.suback", "acked")]);
    let mut clients: Vec<Client> = brokers
        .iter()
        .zip(0..)
        .map(|(broker, number)| broker.client(&format!("client-{number}")))
        .collect();
    wait_for_nodes(&brokers);
    for round in 0..102 {
        let (from, to) = (round % 3, (round + 1 + round / 51) % 3);
        // Every third one is of a group.
        let topic = format!("acked/{round}");
        let filter = match round / 3 % 3 {
            0 => format!("$share/group/{topic}"),
            _ => topic.clone(),
        };
        clients[to].subscribe(&filter, 1);
        clients[from].publish(&topic, "x", 1);
        clients[to].expect_message(&topic, "x", 1);
    }
}

fn an_acked_suback_waits_for_no_node_that_is_down(setup: Setup) {
    let mut brokers = cluster_with(setup, 3, &[("cluster.suback", "acked")]);
    let mut client = brokers[0].client("client");
    wait_for_nodes(&brokers);
    brokers[2].kill();
    // At once, or when it is known to be down.
    client.subscribe("a", 1);
    brokers[1].client("publisher").publish("a", "x", 1);
    client.expect_message("a", "x", 1);
    wait_for_output(&brokers[0], "is down");
    client.subscribe("b", 1);
    brokers[1].client("publisher").publish("b", "x", 1);
    client.expect_message("b", "x", 1);
}

/// How often something is tried that tells nothing when a machine stands still for so long that
/// a node is given up.
const TRIES: usize = 10;

fn a_puback_waits_for_a_node_that_stands_still_unless_it_is_local(setup: Setup) {
    let names = names(3);
    let settings = ["local", "owner", "owner"].iter().zip(&names);
    let brokers: Vec<Broker> = settings
        .map(|(ack, name)| node(setup, name, &names, &[("cluster.publish_ack", ack)]))
        .collect();
    wait_for_nodes(&brokers);
    let is_seen = (0..TRIES).any(|number| stands_still_for_a_moment(&brokers, number));
    assert!(is_seen, "the node is given up each time");
}

/// Waits until what is published to a topic reaches the subscriber, and until nothing is under way:
/// a publisher that is ahead is acknowledged before that.
fn wait_for_route_ahead(publisher: &mut Client, subscriber: &mut Client, topic: &str) {
    wait_for_route(publisher, subscriber, topic);
    publisher.publish(topic, "last", 1);
    let mut is_last = false;
    while !is_last {
        let message = subscriber.expect_publish();
        subscriber.complete(&message);
        is_last = message.text() == "last";
    }
}

/// Publishes to the third broker while that stands still. False if it was given up meanwhile.
fn stands_still_for_a_moment(brokers: &[Broker], number: usize) -> bool {
    let [mut ahead, mut waits, mut subscriber] =
        [0, 1, 2].map(|node| brokers[node].client(&format!("{node} {number}")));
    let topics = ["ahead", "waits"].map(|topic| format!("{topic}/{number}"));
    for (topic, publisher) in topics.iter().zip([&mut ahead, &mut waits]) {
        subscriber.subscribe(topic, 2);
        wait_for_route_ahead(publisher, &mut subscriber, topic);
    }
    let given_up = || {
        let outputs = brokers[..2].iter().map(|broker| broker.output());
        outputs.map(|text| text.matches("is down").count()).sum()
    };
    let before: usize = given_up();
    signal(&brokers[2], "-STOP");
    for qos in 0..3 {
        ahead.publish(&topics[0], qos.to_string(), qos);
    }
    let id = waits.next_id();
    waits.send_publish(&Publish::new(&topics[1], "waits").qos(1, id));
    waits.send(&packet::PINGREQ);
    let first = waits.expect_packet();
    if first.first == PUBACK {
        // The log says why after that.
        thread::sleep(Duration::from_secs(1));
    }
    let is_given_up = given_up() > before;
    signal(&brokers[2], "-CONT");
    if is_given_up {
        return false;
    }
    assert_eq!(first.first, packet::PINGRESP[0], "PUBACK does not wait");
    let mut came = BTreeMap::<String, Vec<String>>::new();
    while came.values().map(Vec::len).sum::<usize>() < 4 {
        if given_up() > before {
            return false;
        }
        for message in subscriber.messages_until_pong() {
            subscriber.complete(&message);
            let texts = came.entry(message.topic.clone()).or_default();
            texts.push(message.text().to_owned());
        }
    }
    waits.expect_success(PUBACK, id);
    assert_eq!(came[&topics[0]], ["0", "1", "2"]);
    assert_eq!(came[&topics[1]], ["waits"]);
    true
}

fn what_was_acknowledged_ahead_of_a_node_is_passed_on_when_the_publishers_node_stops(setup: Setup) {
    let settings = [
        ("cluster.partition_policy", "serve_local"),
        ("cluster.publish_ack", "local"),
    ];
    let mut brokers = cluster_with(setup, 2, &settings);
    let is_seen = (0..TRIES).any(|number| {
        let topic = format!("t/{number}");
        let mut subscriber = brokers[1].client(&format!("subscriber {number}"));
        subscriber.subscribe(&topic, 1);
        let mut publisher = brokers[0].client("publisher");
        wait_for_route_ahead(&mut publisher, &mut subscriber, &topic);
        let said = brokers[0].output().len();
        signal(&brokers[1], "-STOP");
        for number in 0..200 {
            publisher.publish(&topic, number.to_string(), 1);
        }
        brokers[0].terminate("TERM");
        // It has disconnected its clients, and waits for the other node.
        publisher.rest();
        signal(&brokers[1], "-CONT");
        brokers[0].wait_for_end(Duration::from_secs(60));
        let said = brokers[0].output().split_off(said);
        if said.contains("is down") || said.contains("are lost") {
            brokers[0].start_again();
            return false;
        }
        for number in 0..200 {
            subscriber.expect_message(&topic, &number.to_string(), 1);
        }
        true
    });
    assert!(is_seen, "the node is given up each time");
}

/// Waits until each of three brokers has said that both others are up.
fn wait_for_nodes(brokers: &[Broker]) {
    let end = Instant::now() + Duration::from_secs(60);
    let ups = |broker: &Broker| broker.output().matches(" is up (in").count();
    while !brokers.iter().all(|broker| ups(broker) >= 2) {
        assert!(Instant::now() < end, "the nodes do not find each other");
        thread::sleep(Duration::from_millis(50));
    }
}

fn retained_messages_are_on_all_nodes(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("probe", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "probe");
    publisher.publish_message(Publish::new("kept", "value").retain(), 1);
    subscriber.subscribe("kept", 1);
    subscriber.expect_message("kept", "value", 1);
    publisher.publish_message(Publish::new("kept", "").retain(), 1);
    subscriber.expect_message("kept", "", 1);
    let mut late = brokers[1].client("late");
    late.subscribe("kept", 1);
    late.expect_silence_until_pong();
}

fn a_node_that_was_away_gets_the_retained_messages_of_the_others(setup: Setup) {
    let mut brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("probe", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "probe");
    for topic in ["kept", "replaced", "removed"] {
        publisher.publish_message(Publish::new(topic, "old").retain(), 1);
    }
    brokers[1].kill();
    wait_for_output(&brokers[0], "is down");
    publisher.publish_message(Publish::new("replaced", "new").retain(), 1);
    publisher.publish_message(Publish::new("removed", "").retain(), 1);
    publisher.publish_message(Publish::new("$own/topic", "new").retain(), 1);
    brokers[1].start_again();
    // The values come one after the other, to whoever subscribes before and after.
    let expected = [("$own/topic", "new"), ("kept", "old"), ("replaced", "new")];
    let end = Instant::now() + Duration::from_secs(20);
    for round in 0.. {
        let mut late = brokers[1].client(&format!("late-{round}"));
        late.subscribe("#", 1);
        late.subscribe("$own/#", 1);
        let came = late.messages_until_pong();
        let came: BTreeMap<String, String> = came
            .iter()
            .map(|message| {
                let text = String::from_utf8_lossy(&message.payload).into_owned();
                (message.topic.clone(), text)
            })
            .collect();
        let came: Vec<_> = came
            .iter()
            .map(|(topic, text)| (&**topic, &**text))
            .collect();
        if came == expected {
            break;
        }
        assert!(Instant::now() < end, "{came:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn a_node_that_dies_keeps_nobody_waiting_and_comes_back(setup: Setup) {
    let mut brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    brokers[1].kill();
    // Acknowledged once the other node is known to be dead.
    publisher.publish("t", "lost with the node", 1);
    wait_for_output(&brokers[0], "is down");
    brokers[1].start_again();
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("t", 1);
    wait_for_route(&mut publisher, &mut subscriber, "t");
    publisher.publish("t", "again", 1);
    subscriber.expect_message("t", "again", 1);
}

fn a_node_that_was_away_for_longer_than_the_lease_takes_part_again(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    signal(&brokers[1], "-STOP");
    wait_for_output(&brokers[0], "is down");
    signal(&brokers[1], "-CONT");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    publisher.publish("t", "again", 1);
    subscriber.expect_message("t", "again", 1);
    let mut back = brokers[0].client("back");
    back.subscribe("back", 1);
    wait_for_route(&mut subscriber, &mut back, "back");
}

fn a_node_that_sees_no_majority_acknowledges_nothing_until_it_does(setup: Setup) {
    let brokers = cluster(setup, 3);
    let mut here = brokers[0].client("here");
    here.subscribe("t", 1);
    let mut there = brokers[1].client("there");
    there.subscribe("there", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut there, "there");
    let mut other = brokers[0].client("other");
    // Both others are members: then the lease can end.
    for name in [&brokers[1], &brokers[2]] {
        wait_for_output(name, "is up");
    }
    thread::sleep(Duration::from_secs(2));
    // It may have had none for a moment when it went from its own cluster to theirs.
    let text = "acknowledges no QoS 1 and 2";
    let before = brokers[0].output().matches(text).count();
    brokers[1..].iter().for_each(|node| signal(node, "-STOP"));
    let end = Instant::now() + Duration::from_secs(20);
    while brokers[0].output().matches(text).count() == before {
        assert!(Instant::now() < end, "{}", brokers[0].output());
        thread::sleep(Duration::from_millis(20));
    }
    let id = publisher.next_id();
    publisher.send_publish(&Publish::new("t", "waits").qos(1, id));
    other.publish("t", "QoS 0", 0);
    here.expect_message("t", "QoS 0", 0);
    here.expect_silence_until_pong();
    brokers[1..].iter().for_each(|node| signal(node, "-CONT"));
    publisher.expect_success(PUBACK, id);
    here.expect_message("t", "waits", 1);
    wait_for_output(&brokers[0], "has a lease");
    // Nobody was given up: there was no majority that could have.
    wait_for_route(&mut publisher, &mut there, "there");
    let output = brokers[0].output();
    assert!(!output.contains("is down"), "{output}");
}

fn without_autoheal_a_node_that_was_given_up_waits_for_its_restart(setup: Setup) {
    let mut brokers = cluster_with(setup, 3, &[("cluster.autoheal", "false")]);
    let mut subscriber = brokers[2].client("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    signal(&brokers[2], "-STOP");
    wait_for_output(&brokers[0], "is down");
    signal(&brokers[2], "-CONT");
    wait_for_output(&brokers[2], "restart it when it may take part again");
    brokers[2].kill();
    brokers[2].start_again();
    let mut subscriber = brokers[2].client("subscriber");
    subscriber.subscribe("t", 1);
    wait_for_route(&mut publisher, &mut subscriber, "t");
}

fn what_was_under_way_when_a_node_was_stopped_for_a_moment_comes_once_and_in_order(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    signal(&brokers[1], "-STOP");
    let ids: Vec<u16> = (0..500).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        publisher.send_publish(&Publish::new("t", number.to_string()).qos(1, *id));
    }
    thread::sleep(Duration::from_secs(1));
    signal(&brokers[1], "-CONT");
    for number in 0..500 {
        subscriber.expect_message("t", &number.to_string(), 1);
    }
    for id in ids {
        publisher.expect_success(PUBACK, id);
    }
    subscriber.expect_silence_until_pong();
}

fn a_node_with_another_cookie_is_refused(setup: Setup) {
    let names = names(2);
    let cookies = ["the cookie of one", "that of the other"];
    let brokers: Vec<Broker> = names
        .iter()
        .zip(cookies)
        .map(|(name, cookie)| node(setup, name, &names, &[("node.cookie", cookie)]))
        .collect();
    for broker in &brokers {
        wait_for_output(broker, "its node.cookie is another one");
        assert!(!broker.output().contains("is up"), "{}", broker.output());
    }
}

fn more_than_the_links_hold_slows_the_publisher_down_and_nothing_is_lost(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut subscriber = brokers[1].client("subscriber");
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    signal(&brokers[1], "-STOP");
    let goes_on = format!("sleep 1.5; kill -CONT {}", brokers[1].pid());
    let mut goes_on = Command::new("sh").args(["-c", &goes_on]).spawn().unwrap();
    // 60 MB, of which the links take 8 MiB.
    let payload = "x".repeat(100_000);
    let reader = thread::spawn(move || {
        for number in 0..600 {
            let message = subscriber.expect_publish();
            let expected = format!("{number} ");
            assert!(message.payload.starts_with(expected.as_bytes()), "{number}");
            subscriber.complete(&message);
        }
        subscriber.expect_silence_until_pong();
    });
    let ids: Vec<u16> = (0..600).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        let payload = format!("{number} {payload}");
        publisher.send_publish(&Publish::new("t", payload).qos(1, *id));
    }
    for id in ids {
        publisher.expect_success(PUBACK, id);
    }
    reader.join().unwrap();
    goes_on.wait().unwrap();
}

fn a_kept_session_gets_what_was_published_while_its_node_restarted(setup: Setup) {
    let mut brokers = cluster(setup, 2);
    let (mut subscriber, _) = brokers[1].connect("subscriber").persistent().open();
    subscriber.subscribe("t", 1);
    let mut publisher = brokers[0].client("publisher");
    wait_for_route(&mut publisher, &mut subscriber, "t");
    subscriber.disconnect();
    brokers[1].kill();
    let ids: Vec<u16> = (0..10).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        publisher.send_publish(&Publish::new("t", number.to_string()).qos(1, *id));
    }
    brokers[1].start_again();
    for id in ids {
        publisher.expect_success(PUBACK, id);
    }
    let (mut subscriber, _) = brokers[1].connect("subscriber").persistent().open();
    let mut next = 0;
    while next < 10 {
        let message = subscriber.expect_publish();
        subscriber.complete(&message);
        // Its acknowledgement may not have been stored.
        if message.payload != b"probe" {
            assert_eq!(message.payload, next.to_string().as_bytes());
            next += 1;
        }
    }
    let lost = brokers[0].output().contains("is down");
    assert!(!lost, "{}", brokers[0].output());
    subscriber.expect_silence_until_pong();
}

fn nodes_that_do_not_belong_together_say_why(setup: Setup) {
    let names = names(3);
    let other = node(setup, &names[0], &names, &[("cluster.name", "other")]);
    let one = node(setup, &names[1], &names, &[]);
    wait_for_output(&one, "belongs to the cluster other");
    wait_for_output(&other, "belongs to the cluster other");
    drop(other);
    // Nobody names it: it names one of them.
    let stranger = node(setup, &names[2], &names[1..], &[]);
    wait_for_output(&one, &format!("{} has joined", name_of(&names[2])));
    wait_for_output(&stranger, "is up");
}

/// A node's name without the port of its links.
fn name_of(seed: &str) -> &str {
    seed.rsplit_once(':').unwrap().0
}
