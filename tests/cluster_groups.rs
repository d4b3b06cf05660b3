//! Shared subscriptions whose members are clients of several brokers: each message goes to one
//! of them, whatever happens to the others.
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
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::nodes::{cluster, names, node, signal, wait_for_output, wait_for_route};
use common::packet::{PUBACK, PUBREC};
use common::received::Delivery;
use common::{Broker, Client, Publish, Setup, packet, scenarios};

scenarios! {
    mqtt311_and_5: [
        members_take_turns_over_all_nodes,
        members_on_another_node_only_beside_other_groups_and_plain_subscribers,
    ],
    mqtt5: [
        each_strategy_gives_each_message_to_one_member,
        what_the_members_of_a_killed_node_have_not_acknowledged_goes_to_others,
        what_was_under_way_to_a_killed_node_goes_to_others,
        a_node_that_restarts_at_once_loses_nothing_of_its_members,
        what_the_members_of_a_node_that_stops_have_not_acknowledged_goes_to_others,
        a_node_that_stands_still_for_a_moment_delays_and_doubles_nothing,
        a_node_that_was_away_for_longer_than_the_lease_has_members_again,
        members_that_are_away_are_the_last_resort,
        nothing_is_lost_while_members_come_and_go,
    ],
}

/// As long as a node may take to be known as dead, and much more.
const PATIENCE: Duration = Duration::from_secs(30);

fn member(broker: &Broker, name: &str, filter: &str) -> Client {
    let mut member = broker.client(name);
    member.subscribe(filter, 2);
    member
}

/// Takes what has come, but for probes, which may come twice when a node dies.
fn take(client: &mut Client) -> Vec<String> {
    let mut texts = take_all(client);
    texts.retain(|text| text != "probe");
    texts
}

/// Takes what has come and goes through with it.
fn take_all(client: &mut Client) -> Vec<String> {
    let messages = client.messages_until_pong();
    complete(client, &messages)
}

fn complete(client: &mut Client, messages: &[Delivery]) -> Vec<String> {
    messages.iter().for_each(|message| client.complete(message));
    let texts = messages.iter();
    texts
        .map(|m| String::from_utf8(m.payload.clone()).unwrap())
        .collect()
}

/// Publishes, with a new text each time, until `done` says yes to who has got probes.
fn probe(
    publisher: &mut Client,
    topic: &str,
    members: &mut [Client],
    done: impl Fn(&BTreeSet<usize>) -> bool,
) {
    let end = Instant::now() + PATIENCE;
    let mut got = BTreeSet::new();
    for number in 0.. {
        publisher.publish(&format!("{topic}/{number}"), "probe", 1);
        for (index, member) in members.iter_mut().enumerate() {
            if !take_all(member).is_empty() {
                got.insert(index);
            }
        }
        if done(&got) {
            return;
        }
        assert!(Instant::now() < end, "{topic} reaches only {got:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn probe_all(publishers: &mut [Client], topic: &str, members: &mut [Client]) {
    for publisher in publishers {
        let count = members.len();
        probe(publisher, topic, members, |got| got.len() == count);
    }
}

fn publishers(brokers: &[Broker]) -> Vec<Client> {
    let numbered = brokers.iter().enumerate();
    let clients = numbered.map(|(n, broker)| broker.client(&format!("publisher-{n}")));
    clients.collect()
}

/// What all members have got, in order, and how much each has.
fn collect(members: &mut [Client]) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut counts) = (Vec::new(), Vec::new());
    for member in members {
        let texts = take(member);
        counts.push(texts.len());
        all.extend(texts);
    }
    all.sort();
    (all, counts)
}

/// Collects until as many have come.
fn collect_all(members: &mut [Client], count: usize) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(collect(members).0);
        assert!(Instant::now() < end, "only {all:?}");
        thread::sleep(Duration::from_millis(20));
    }
    all.sort();
    all
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("{number:04}")).collect()
}

fn members_take_turns_over_all_nodes(setup: Setup) {
    let brokers = cluster(setup, 3);
    let placed = [0, 1, 1, 2, 2, 2].iter().enumerate();
    let members = placed
        .map(|(number, at)| member(&brokers[*at], &format!("member-{number}"), "$share/g/t/#"));
    let mut members: Vec<Client> = members.collect();
    let mut publishers = publishers(&brokers);
    probe_all(&mut publishers, "t", &mut members);
    for (from, publisher) in publishers.iter_mut().enumerate() {
        for number in 0..60 {
            publisher.publish(
                "t/a",
                format!("{:04}", 60 * from + number),
                number as u8 % 3,
            );
        }
    }
    // QoS 0 comes when it comes.
    let mut counts = vec![0; members.len()];
    let mut all = Vec::new();
    let end = Instant::now() + PATIENCE;
    while all.len() < 180 {
        let (more, each) = collect(&mut members);
        all.extend(more);
        counts.iter_mut().zip(each).for_each(|(sum, n)| *sum += n);
        assert!(Instant::now() < end, "{} of 180", all.len());
    }
    all.sort();
    assert_eq!(all, numbered(0..180));
    assert!(counts.iter().all(|n| (27..=33).contains(n)), "{counts:?}");
    // A member that leaves is not missed.
    members.remove(0).disconnect();
    members[0].unsubscribe("$share/g/t/#");
    take(&mut members[0]);
    for number in 0..30 {
        publishers[number % 3].publish("t/a", format!("{number:04}"), 2);
    }
    assert_eq!(take(&mut members[0]), [""; 0]);
    assert_eq!(collect_all(&mut members, 30), numbered(0..30));
}

fn members_on_another_node_only_beside_other_groups_and_plain_subscribers(setup: Setup) {
    let brokers = cluster(setup, 3);
    let one = [member(&brokers[1], "one", "$share/one/t/#")];
    let two = [1, 2].map(|n| member(&brokers[n], &format!("two-{n}"), "$share/two/t/#"));
    let queue = [0, 2].map(|n| member(&brokers[n], &format!("queue-{n}"), "$queue/t/+"));
    let mut groups: [Vec<Client>; 3] = [one.into(), two.into(), queue.into()];
    let mut plain = [1, 2].map(|n| member(&brokers[n], &format!("plain-{n}"), "t/#"));
    let mut publishers = publishers(&brokers);
    for publisher in &mut publishers {
        for members in &mut groups {
            let count = members.len();
            probe(publisher, "t", members, |got| got.len() == count);
        }
        plain
            .iter_mut()
            .for_each(|plain| wait_for_route(publisher, plain, "t/a"));
    }
    groups
        .iter_mut()
        .flatten()
        .for_each(|client| drop(take(client)));
    plain.iter_mut().for_each(|client| drop(take(client)));
    for number in 0..30 {
        let qos = 1 + number as u8 % 2;
        publishers[number % 3].publish("t/a", format!("{number:04}"), qos);
    }
    for members in &mut groups {
        assert_eq!(collect(members).0, numbered(0..30));
    }
    for plain in &mut plain {
        // Those of three publishers come in any order.
        let mut came = take(plain);
        came.sort();
        assert_eq!(came, numbered(0..30));
    }
}

const GROUPS: [&str; 7] = [
    "random",
    "round_robin",
    "round_robin_per_group",
    "sticky",
    "local",
    "hash_clientid",
    "hash_topic",
];

fn each_strategy_gives_each_message_to_one_member(setup: Setup) {
    let keys = GROUPS.map(|name| format!("broker.shared_subscription_group.{name}.strategy"));
    let settings: Vec<(&str, &str)> = keys.iter().map(String::as_str).zip(GROUPS).collect();
    let names = names(3);
    let brokers = names
        .iter()
        .map(|name| node(setup, name, &names, &settings));
    let brokers: Vec<Broker> = brokers.collect();
    let mut publishers = publishers(&brokers);
    for group in GROUPS {
        let filter = format!("$share/{group}/{group}/#");
        let members = brokers
            .iter()
            .zip(0..)
            .map(|(broker, number)| member(broker, &format!("{group}-{number}"), &filter));
        let mut members: Vec<Client> = members.collect();
        match group {
            // They do not reach all.
            "sticky" | "local" | "hash_clientid" => {
                for publisher in &mut publishers {
                    probe(publisher, group, &mut members, |got| !got.is_empty());
                }
            }
            _ => probe_all(&mut publishers, group, &mut members),
        }
        let mut by_topic: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let mut by_publisher = [(); 3].map(|()| BTreeSet::new());
        let mut all = Vec::new();
        for number in 0..60 {
            let (from, text) = (number % 3, format!("{number:04}"));
            let topic = format!("{group}/{}", number / 3);
            publishers[from].publish(&topic, &text, 1 + number as u8 % 2);
            for (index, member) in members.iter_mut().enumerate() {
                for came in take(member) {
                    assert_eq!(came, text, "{group}");
                    all.push(came);
                    by_topic.entry(topic.clone()).or_default().insert(index);
                    by_publisher[from].insert(index);
                }
            }
        }
        assert_eq!(all, numbered(0..60), "{group}");
        match group {
            "hash_topic" => assert!(by_topic.values().all(|got| got.len() == 1)),
            "sticky" | "hash_clientid" => assert!(by_publisher.iter().all(|got| got.len() == 1)),
            "local" => {
                let own = (0..3).map(|number| BTreeSet::from([number]));
                assert!(by_publisher.iter().cloned().eq(own), "{by_publisher:?}");
            }
            _ => assert!(by_publisher.iter().all(|got| got.len() == 3), "{group}"),
        }
    }
}

fn what_the_members_of_a_killed_node_have_not_acknowledged_goes_to_others(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let mut members = vec![
        member(&brokers[2], "dying", "$share/g/t/#"),
        member(&brokers[1], "staying", "$share/g/t/#"),
    ];
    let mut publisher = brokers[0].client("publisher");
    probe_all(std::slice::from_mut(&mut publisher), "t", &mut members);
    for number in 0..40 {
        publisher.publish("t/a", format!("{number:04}"), 1);
    }
    // Half of them are with the one, which acknowledges none.
    let dying = members[0].messages_until_pong();
    assert!((15..=25).contains(&dying.len()), "{}", dying.len());
    brokers[2].kill();
    assert_eq!(collect_all(&mut members[1..], 40), numbered(0..40));
    // Nor does it come again.
    wait_for_output(&brokers[0], "is down");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(take(&mut members[1]), [""; 0]);
}

fn what_was_under_way_to_a_killed_node_goes_to_others(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let mut members = vec![
        member(&brokers[2], "dying", "$share/g/t/#"),
        member(&brokers[1], "staying", "$share/g/t/#"),
    ];
    let mut publisher = brokers[0].client("publisher");
    probe_all(std::slice::from_mut(&mut publisher), "t", &mut members);
    brokers[2].kill();
    let ids: Vec<u16> = (0..100).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        let qos = 1 + number as u8 % 2;
        publisher.send_publish(&Publish::new("t/a", format!("{number:04}")).qos(qos, *id));
    }
    assert_eq!(collect_all(&mut members[1..], 100), numbered(0..100));
    for (number, id) in ids.iter().enumerate() {
        publisher.expect_success([PUBACK, PUBREC][number % 2], *id);
    }
    assert_eq!(take(&mut members[1]), [""; 0]);
}

fn a_node_that_restarts_at_once_loses_nothing_of_its_members(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let kept = |broker: &Broker| broker.connect("kept").persistent().open().0;
    let mut members = vec![
        kept(&brokers[2]),
        member(&brokers[2], "dying", "$share/g/t/#"),
        member(&brokers[1], "staying", "$share/g/t/#"),
    ];
    members[0].subscribe("$share/g/t/#", 2);
    let mut publisher = brokers[0].client("publisher");
    probe_all(std::slice::from_mut(&mut publisher), "t", &mut members);
    for number in 0..60 {
        publisher.publish("t/a", format!("{number:04}"), 1);
    }
    brokers[2].kill();
    let ids: Vec<u16> = (0..60).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        let text = format!("{:04}", 60 + number);
        publisher.send_publish(&Publish::new("t/a", text).qos(1, *id));
    }
    brokers[2].start_again();
    for id in ids {
        publisher.expect_success(PUBACK, id);
    }
    let mut left = [kept(&brokers[2]), members.remove(2)];
    let end = Instant::now() + PATIENCE;
    let mut all = BTreeSet::new();
    while all.len() < 120 {
        // What was stored comes again, and what may have been taken.
        all.extend(collect(&mut left).0);
        assert!(Instant::now() < end, "only {all:?}");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(all.into_iter().eq(numbered(0..120)));
}

fn what_the_members_of_a_node_that_stops_have_not_acknowledged_goes_to_others(setup: Setup) {
    let mut brokers = cluster(setup, 3);
    let mut members = vec![
        member(&brokers[2], "leaving", "$share/g/t/#"),
        member(&brokers[1], "staying", "$share/g/t/#"),
    ];
    let mut publisher = brokers[0].client("publisher");
    probe_all(std::slice::from_mut(&mut publisher), "t", &mut members);
    for number in 0..40 {
        publisher.publish("t/a", format!("{number:04}"), 1);
    }
    members[0].messages_until_pong();
    brokers[2].terminate("TERM");
    assert!(brokers[2].wait_for_end(PATIENCE).success());
    let end = Instant::now() + PATIENCE;
    let mut all = BTreeSet::new();
    while all.len() < 40 {
        all.extend(take(&mut members[1]));
        assert!(Instant::now() < end, "only {all:?}");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(all.into_iter().eq(numbered(0..40)));
}

fn a_node_that_stands_still_for_a_moment_delays_and_doubles_nothing(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut members = vec![
        member(&brokers[1], "still", "$share/g/t/#"),
        member(&brokers[0], "here", "$share/g/t/#"),
    ];
    let mut publisher = brokers[0].client("publisher");
    probe_all(std::slice::from_mut(&mut publisher), "t", &mut members);
    signal(&brokers[1], "-STOP");
    let ids: Vec<u16> = (0..200).map(|_| publisher.next_id()).collect();
    for (number, id) in ids.iter().enumerate() {
        publisher.send_publish(&Publish::new("t/a", format!("{number:04}")).qos(2, *id));
    }
    thread::sleep(Duration::from_secs(1));
    signal(&brokers[1], "-CONT");
    for id in ids {
        publisher.expect_success(PUBREC, id);
    }
    assert_eq!(collect_all(&mut members, 200), numbered(0..200));
    let came = collect(&mut members).0;
    let down = brokers[0].output().contains("is down");
    assert!(came.is_empty() || down, "{came:?}");
}

fn a_node_that_was_away_for_longer_than_the_lease_has_members_again(setup: Setup) {
    let brokers = cluster(setup, 2);
    let mut members = vec![
        member(&brokers[1], "away", "$share/g/t/#"),
        member(&brokers[0], "here", "$share/g/t/#"),
    ];
    let mut publishers = publishers(&brokers);
    probe_all(&mut publishers[..1], "t", &mut members);
    signal(&brokers[1], "-STOP");
    wait_for_output(&brokers[0], "is down");
    for number in 0..20 {
        publishers[0].publish("t/a", format!("{number:04}"), 1);
    }
    assert_eq!(take(&mut members[1]), numbered(0..20));
    signal(&brokers[1], "-CONT");
    probe_all(&mut publishers, "t", &mut members);
    for number in 0..20 {
        publishers[number % 2].publish("t/a", format!("{number:04}"), 1);
    }
    assert_eq!(collect_all(&mut members, 20), numbered(0..20));
}

fn members_that_are_away_are_the_last_resort(setup: Setup) {
    let brokers = cluster(setup, 2);
    let away = |number: usize| {
        let connect = brokers[number]
            .connect(&format!("away-{number}"))
            .persistent();
        connect.open().0
    };
    let mut sessions: Vec<Client> = (0..2).map(away).collect();
    for session in &mut sessions {
        session.subscribe("$share/g/t/#", 2);
    }
    let mut publishers = publishers(&brokers);
    probe_all(&mut publishers, "t", &mut sessions);
    sessions.into_iter().for_each(Client::disconnect);
    let mut online = [member(&brokers[1], "online", "$share/g/t/#")];
    // It is known where it is the only one that gets anything.
    for publisher in &mut publishers {
        probe(publisher, "t", &mut online, |got| got.len() == 1);
    }
    for number in 0..20 {
        publishers[number % 2].publish("t/a", format!("{number:04}"), 2);
    }
    assert_eq!(collect_all(&mut online, 20), numbered(0..20));
    online.into_iter().for_each(Client::disconnect);
    for number in 20..40 {
        publishers[number % 2].publish("t/a", format!("{number:04}"), 1 + number as u8 % 2);
    }
    let mut sessions: Vec<Client> = (0..2).map(away).collect();
    let mut all = Vec::new();
    let end = Instant::now() + PATIENCE;
    while all.len() < 20 {
        all.extend(collect(&mut sessions).0);
        assert!(Instant::now() < end, "only {all:?}");
    }
    all.sort();
    assert_eq!(all, numbered(20..40));
}

fn nothing_is_lost_while_members_come_and_go(setup: Setup) {
    let brokers = cluster(setup, 3);
    let filter = "$share/g/t/#";
    let mut first = [member(&brokers[0], "first", filter)];
    let mut publishers = publishers(&brokers);
    probe_all(&mut publishers, "t", &mut first);
    let publishing = publishers
        .into_iter()
        .enumerate()
        .map(|(from, mut publisher)| {
            thread::spawn(move || {
                for number in 0..PUBLISHED {
                    let text = format!("{:04}", PUBLISHED * from as u32 + number);
                    publisher.publish("t/a", text, 1 + number as u8 % 2);
                }
            })
        });
    let publishing: Vec<_> = publishing.collect();
    let over = AtomicBool::new(false);
    let mut all = thread::scope(|scope| {
        let taking = scope.spawn(|| roll(setup, &brokers, first, filter, &over));
        let ends: Vec<_> = publishing.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        let all = taking.join().unwrap();
        ends.into_iter().for_each(|end| end.unwrap());
        all
    });
    all.sort();
    assert_eq!(all, numbered(0..900));
}

/// Messages of each publisher.
const PUBLISHED: u32 = 300;

/// One member after the other, each on the next node, joins before the former leaves. Gives
/// what they have got until it is `over`.
fn roll(
    setup: Setup,
    brokers: &[Broker],
    first: [Client; 1],
    filter: &str,
    over: &AtomicBool,
) -> Vec<String> {
    let [mut current] = first;
    let mut all = Vec::new();
    for number in 1.. {
        let last = over.load(Ordering::Relaxed);
        let broker = &brokers[number % brokers.len()];
        let mut next = broker.client(&format!("member-{number}"));
        let id = next.next_id();
        next.send(&packet::subscribe(setup.version, id, &[], &[(filter, 2)]));
        let early = next.messages_until(0x90);
        all.extend(complete(&mut next, &early));
        // All nodes know it when it has got something of each publisher.
        let mut from = BTreeSet::new();
        while from.len() < 3 && !over.load(Ordering::Relaxed) {
            all.extend(take(&mut current));
            let came = take(&mut next);
            from.extend(
                came.iter()
                    .map(|text| text.parse::<u32>().unwrap() / PUBLISHED),
            );
            all.extend(came);
        }
        let id = current.next_id();
        current.send(&packet::unsubscribe(setup.version, id, &[filter]));
        let late = current.messages_until(0xb0);
        // It completes what it has got before.
        let mut late = complete(&mut current, &late);
        late.retain(|text| text != "probe");
        all.extend(late);
        // What is queued comes when what is in flight is acknowledged.
        loop {
            let came = take_all(&mut current);
            if came.is_empty() {
                break;
            }
            all.extend(came.into_iter().filter(|text| text != "probe"));
        }
        current.disconnect();
        current = next;
        if last {
            break;
        }
    }
    // What was passed on comes with the last ones.
    let end = Instant::now() + PATIENCE;
    let mut quiet = 0;
    while quiet < 20 && Instant::now() < end {
        let came = take(&mut current);
        quiet = if came.is_empty() { quiet + 1 } else { 0 };
        all.extend(came);
        thread::sleep(Duration::from_millis(20));
    }
    all
}
