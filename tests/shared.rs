//! Shared subscriptions: each message to one member of each group, in turn. They are
//! taken from 3.1.1 clients too, as other brokers do.
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

use common::packet::{self, PUBACK};
use common::{Broker, Client, Publish, Setup, Version, property, scenarios};

scenarios! {
    mqtt311_and_5: [
        each_message_goes_to_one_member_in_turn,
        a_group_of_one_gets_everything,
        every_group_gets_a_copy,
        groups_with_different_filters_are_different,
        a_member_that_subscribes_itself_too_gets_both_copies,
        a_member_that_leaves_is_skipped,
        a_member_that_unsubscribes_is_skipped,
        a_member_that_is_away_is_skipped_while_others_are_there,
        messages_wait_for_the_only_member,
        each_member_gets_its_own_qos,
        shared_and_plain_subscriptions_are_unsubscribed_apart,
        shared_subscriptions_get_no_retained_messages,
        a_shared_filter_may_have_wildcards,
        order_is_kept_for_each_member,
        a_queue_is_shared_by_all_that_subscribe_to_it,
        a_full_window_is_passed_over,
        what_was_not_acknowledged_goes_to_another_when_the_session_ends,
        what_was_sent_with_qos_2_goes_to_nobody_else,
        what_is_queued_for_a_member_that_goes_away_goes_to_another,
        what_was_sent_waits_for_its_member,
        a_sticky_group_stays_with_one_member,
        a_topic_stays_with_its_member,
        a_publisher_stays_with_its_member,
        every_strategy_gives_each_message_to_one_member,
    ],
    mqtt5: [
        a_refused_message_is_not_given_to_another_member,
        no_local_cannot_be_asked_of_a_shared_subscription,
        a_shared_message_carries_the_identifier_of_its_member,
        members_of_different_versions_share,
    ],
}

fn each_message_goes_to_one_member_in_turn(setup: Setup) {
    let broker = setup.broker();
    // So many that with two shards some are on each.
    let mut members = members(&broker, 10, "$share/group/a", 1);
    let mut publisher = broker.client("publisher");
    for number in 0..100 {
        publisher.publish("a", number.to_string(), 1);
    }
    let mut numbers = Vec::new();
    for member in &mut members {
        for _ in 0..10 {
            let message = member.expect_publish();
            member.complete(&message);
            numbers.push(message.text().parse::<u32>().unwrap());
        }
        member.expect_silence_until_pong();
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..100));
}

fn a_group_of_one_gets_everything(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut member = broker.client("member");
    member.subscribe("$share/group/a", 2);
    for qos in 0..=2 {
        publisher.publish("a", "hello", qos);
        member.expect_message("a", "hello", qos);
    }
}

fn every_group_gets_a_copy(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut clients: Vec<_> = ["$share/one/a", "$share/two/a", "a", "$share/three/+"]
        .into_iter()
        .map(|filter| {
            let mut client = broker.client(filter);
            client.subscribe(filter, 1);
            client
        })
        .collect();
    for _ in 0..5 {
        publisher.publish("a", "hello", 1);
        for client in &mut clients {
            client.expect_message("a", "hello", 1);
            client.expect_silence_until_pong();
        }
    }
}

fn groups_with_different_filters_are_different(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut exact = broker.client("exact");
    exact.subscribe("$share/group/a/b", 1);
    let mut wild = broker.client("wild");
    wild.subscribe("$share/group/a/+", 1);
    for _ in 0..4 {
        publisher.publish("a/b", "hello", 1);
        exact.expect_message("a/b", "hello", 1);
        wild.expect_message("a/b", "hello", 1);
    }
}

fn a_member_that_subscribes_itself_too_gets_both_copies(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut client = broker.client("client");
    client.subscribe("$share/group/a", 1);
    client.subscribe("a", 1);
    publisher.publish("a", "hello", 1);
    client.expect_message("a", "hello", 1);
    client.expect_message("a", "hello", 1);
    client.expect_nothing_from(&mut publisher);
}

fn a_member_that_leaves_is_skipped(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 6, "$share/group/a", 1);
    while let Some(leaving) = members.pop() {
        leaving.disconnect();
        expect_one_round(&mut publisher, &mut members);
    }
}

fn a_member_that_unsubscribes_is_skipped(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 6, "$share/group/a", 1);
    while let Some(mut leaving) = members.pop() {
        leaving.unsubscribe("$share/group/a");
        expect_one_round(&mut publisher, &mut members);
        leaving.expect_silence_until_pong();
    }
}

fn a_member_that_is_away_is_skipped_while_others_are_there(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let connect = broker.connect("away").persistent();
    let (mut away, _) = connect.open();
    away.subscribe("$share/group/a", 1);
    let mut members = members(&broker, 3, "$share/group/a", 1);
    away.disconnect();
    // The shard that owns the group hears of it a moment later: until then the member that
    // left may still be given a message, which its session queues.
    std::thread::sleep(std::time::Duration::from_millis(200));
    for _ in 0..4 {
        expect_one_round(&mut publisher, &mut members);
    }
    let (mut back, _) = connect.open();
    back.expect_silence_until_pong();
    members.push(back);
    expect_one_round(&mut publisher, &mut members);
}

fn messages_wait_for_the_only_member(setup: Setup) {
    let broker = setup.broker();
    let connect = broker.connect("away").persistent();
    let (mut away, _) = connect.open();
    away.subscribe("$share/group/a", 1);
    away.disconnect();
    let mut publisher = broker.client("publisher");
    for number in 0..5 {
        publisher.publish("a", number.to_string(), 1);
    }
    let (mut back, _) = connect.open();
    for number in 0..5 {
        back.expect_message("a", &number.to_string(), 1);
    }
}

/// [MQTT-4.8.2-3]
fn each_member_gets_its_own_qos(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members: Vec<_> = (0..3)
        .map(|qos| {
            let mut member = broker.client(&format!("member {qos}"));
            member.subscribe("$share/group/a", qos);
            member
        })
        .collect();
    for _ in 0..3 {
        publisher.publish("a", "hello", 2);
    }
    for (member, qos) in members.iter_mut().zip(0..) {
        member.expect_message("a", "hello", qos);
        member.expect_silence_until_pong();
    }
}

fn shared_and_plain_subscriptions_are_unsubscribed_apart(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut client = broker.client("client");
    client.subscribe("$share/group/a", 1);
    client.subscribe("$share/other/a", 1);
    client.subscribe("a", 1);
    for (filter, left) in [("a", 2), ("$share/group/a", 1), ("$share/other/a", 0)] {
        client.unsubscribe(filter);
        publisher.publish("a", "hello", 1);
        for _ in 0..left {
            client.expect_message("a", "hello", 1);
        }
        client.expect_nothing_from(&mut publisher);
    }
    for filter in ["$share/group/a", "a"] {
        let id = client.next_id();
        client.send(&packet::unsubscribe(setup.version, id, &[filter]));
        client.expect_unsuback(id, &[0x11]);
    }
}

fn shared_subscriptions_get_no_retained_messages(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    publisher.publish_message(Publish::new("a", "kept").retain(), 1);
    let mut member = broker.client("member");
    member.subscribe("$share/group/a", 1);
    member.expect_silence_until_pong();
}

fn a_shared_filter_may_have_wildcards(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    for filter in [
        "$share/group/a/+/c",
        "$share/group/a/#",
        "$share/group/#",
        "$share/group/+/b/c",
    ] {
        let mut members = members(&broker, 4, filter, 1);
        for number in 0..8 {
            publisher.publish("a/b/c", number.to_string(), 1);
        }
        publisher.publish("$o/b/c", "not matched", 1);
        for member in &mut members {
            for _ in 0..2 {
                let message = member.expect_publish();
                member.complete(&message);
                assert_eq!(message.topic, "a/b/c");
            }
            member.expect_silence_until_pong();
        }
        members.into_iter().for_each(Client::disconnect);
    }
}

fn order_is_kept_for_each_member(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 5, "$share/group/a", 0);
    for number in 0..200 {
        publisher.publish("a", number.to_string(), 0);
    }
    for member in &mut members {
        let mut last = None;
        for _ in 0..40 {
            let number: u32 = member.expect_publish().text().parse().unwrap();
            assert!(last < Some(number), "{number} after {last:?}");
            last = Some(number);
        }
    }
}

/// [MQTT-4.8.2-6]
fn a_refused_message_is_not_given_to_another_member(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 4, "$share/group/a", 1);
    for _ in 0..4 {
        publisher.publish("a", "refused", 1);
    }
    for member in &mut members {
        let id = member.expect_publish().id;
        member.send(&packet::acknowledge_with(PUBACK, id, 0x80));
        member.expect_silence_until_pong();
    }
    for member in &mut members {
        member.expect_nothing_from(&mut publisher);
    }
}

/// [MQTT-3.8.3-4]
fn no_local_cannot_be_asked_of_a_shared_subscription(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::subscribe(
        setup.version,
        1,
        &[],
        &[("$share/group/a", 4)],
    ));
    client.expect_refusal(0x82);
}

fn a_shared_message_carries_the_identifier_of_its_member(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members: Vec<_> = (1..=4)
        .map(|number| {
            let mut member = broker.client(&format!("member {number}"));
            let identifier = property::variable(property::SUBSCRIPTION_IDENTIFIER, number);
            member.subscribe_with(&identifier, "$share/group/a", 1, 1);
            member
        })
        .collect();
    for _ in 0..4 {
        publisher.publish("a", "hello", 1);
    }
    for (member, number) in members.iter_mut().zip(1..) {
        let properties = member.expect_message("a", "hello", 1).properties;
        assert_eq!(
            properties.numbers(property::SUBSCRIPTION_IDENTIFIER),
            [number]
        );
    }
}

fn members_of_different_versions_share(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members: Vec<_> = [Version::V311, Version::V5]
        .into_iter()
        .map(|version| {
            let (mut member, _) = broker.connect_as(version, &format!("{version:?}")).open();
            member.subscribe("$share/group/a", 1);
            member
        })
        .collect();
    expect_one_round(&mut publisher, &mut members);
}

fn a_queue_is_shared_by_all_that_subscribe_to_it(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 4, "$queue/a", 1);
    expect_one_round(&mut publisher, &mut members);
    members[0].unsubscribe("$queue/a");
    expect_one_round(&mut publisher, &mut members[1..]);
}

fn a_full_window_is_passed_over(setup: Setup) {
    let broker = Broker::start(setup, &[("mqtt.max_inflight", "2")]);
    let mut publisher = broker.client("publisher");
    let mut members = members(&broker, 5, "$share/group/a", 1);
    for number in 0..10 {
        publisher.publish("a", number.to_string(), 1);
    }
    // All but the first acknowledge: it is left out from here on.
    for member in &mut members {
        for _ in 0..2 {
            member.expect_publish();
        }
    }
    let (slow, quick) = members.split_first_mut().unwrap();
    for member in quick.iter_mut() {
        for id in 1..=2 {
            member.send(&packet::acknowledge(PUBACK, id));
        }
        member.expect_silence_until_pong();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    expect_one_round(&mut publisher, quick);
    slow.expect_silence_until_pong();
}

fn what_was_not_acknowledged_goes_to_another_when_the_session_ends(setup: Setup) {
    let broker = Broker::start(setup, &[("mqtt.max_inflight", "3")]);
    let mut publisher = broker.client("publisher");
    let mut leaving = broker.client("leaving");
    leaving.subscribe("$share/group/a", 1);
    for number in 0..6 {
        publisher.publish("a", number.to_string(), 1);
    }
    for number in 0..3 {
        assert_eq!(leaving.expect_publish().text(), number.to_string());
    }
    let mut other = broker.client("other");
    other.subscribe("$share/group/a", 1);
    leaving.abandon();
    for number in 0..6 {
        let message = other.expect_message("a", &number.to_string(), 1);
        assert!(!message.dup, "it is new to this client");
    }
    other.expect_silence_until_pong();
}

/// [MQTT-4.8.2-4], [MQTT-4.8.2-5]
fn what_was_sent_with_qos_2_goes_to_nobody_else(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let connect = broker.connect("leaving").persistent();
    let (mut leaving, _) = connect.open();
    leaving.subscribe("$share/group/a", 2);
    publisher.publish("a", "once", 2);
    assert_eq!(leaving.expect_publish().text(), "once");
    let mut other = broker.client("other");
    other.subscribe("$share/group/a", 2);
    leaving.abandon();
    other.expect_silence_until_pong();
    // Its delivery is completed when the client comes back.
    let (mut back, _) = connect.open();
    let again = back.expect_publish();
    assert_eq!((again.text(), again.dup), ("once", true));
    back.abandon();
    let (ended, _) = broker.connect("leaving").open();
    ended.disconnect();
    std::thread::sleep(std::time::Duration::from_millis(100));
    other.expect_silence_until_pong();
    other.expect_nothing_from(&mut publisher);
}

fn what_is_queued_for_a_member_that_goes_away_goes_to_another(setup: Setup) {
    let broker = Broker::start(setup, &[("mqtt.max_inflight", "1")]);
    let mut publisher = broker.client("publisher");
    let (mut away, _) = broker.connect("away").persistent().open();
    away.subscribe("$share/group/a", 1);
    for text in ["sent", "queued", "queued too"] {
        publisher.publish("a", text, 1);
    }
    away.expect_publish();
    let mut there = broker.client("there");
    there.subscribe("$share/group/a", 1);
    away.abandon();
    there.expect_message("a", "queued", 1);
    there.expect_message("a", "queued too", 1);
    there.expect_silence_until_pong();
}

fn what_was_sent_waits_for_its_member(setup: Setup) {
    let broker = setup.broker();
    let mut publisher = broker.client("publisher");
    let connect = broker.connect("away").persistent();
    let (mut away, _) = connect.open();
    away.subscribe("$share/group/a", 1);
    publisher.publish("a", "sent", 1);
    away.expect_publish();
    let mut there = broker.client("there");
    there.subscribe("$share/group/a", 1);
    away.abandon();
    there.expect_silence_until_pong();
    let (mut back, _) = connect.open();
    let again = back.expect_publish();
    assert_eq!((again.text(), again.dup), ("sent", true));
    back.abandon();
    // The end of the session: now another member gets it.
    let (ended, _) = broker.connect("away").open();
    there.expect_message("a", "sent", 1);
    ended.disconnect();
}

fn a_sticky_group_stays_with_one_member(setup: Setup) {
    let broker = Broker::start(setup, &[("mqtt.shared_subscription_strategy", "sticky")]);
    let mut members = members(&broker, 5, "$share/group/a", 0);
    let first = only_receiver(&broker, &mut members, "a", "one");
    assert_eq!(only_receiver(&broker, &mut members, "a", "two"), first);
    members.remove(first).disconnect();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let second = only_receiver(&broker, &mut members, "a", "three");
    assert_eq!(only_receiver(&broker, &mut members, "a", "four"), second);
}

fn a_topic_stays_with_its_member(setup: Setup) {
    // By the group's own setting.
    let key = "broker.shared_subscription_group.group.strategy";
    let broker = Broker::start(setup, &[(key, "hash_topic")]);
    let mut members = members(&broker, 4, "$share/group/#", 0);
    for topic in ["a", "b", "c", "d", "e"] {
        let first = only_receiver(&broker, &mut members, topic, "one");
        assert_eq!(only_receiver(&broker, &mut members, topic, "two"), first);
    }
}

fn a_publisher_stays_with_its_member(setup: Setup) {
    let strategy = ("mqtt.shared_subscription_strategy", "hash_clientid");
    let broker = Broker::start(setup, &[strategy]);
    let mut members = members(&broker, 4, "$share/group/#", 0);
    for name in ["one", "two", "three", "four", "five"] {
        let first = only_receiver(&broker, &mut members, "a", name);
        assert_eq!(only_receiver(&broker, &mut members, "b", name), first);
    }
}

/// The member that gets all messages that a publisher sends.
fn only_receiver(broker: &Broker, members: &mut [Client], topic: &str, name: &str) -> usize {
    let mut publisher = broker.client(name);
    for _ in 0..10 {
        publisher.publish(topic, "hello", 1);
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let messages = members.iter_mut().map(Client::messages_until_pong);
    let counts = messages.map(|messages| messages.len());
    let counts: Vec<usize> = counts.collect();
    let receiver = counts.iter().position(|count| *count == 10);
    receiver.unwrap_or_else(|| panic!("not one member got all: {counts:?}"))
}

fn every_strategy_gives_each_message_to_one_member(setup: Setup) {
    for strategy in [
        "random",
        "round_robin",
        "round_robin_per_group",
        "sticky",
        "local",
        "hash_clientid",
        "hash_topic",
    ] {
        let broker = Broker::start(setup, &[("mqtt.shared_subscription_strategy", strategy)]);
        let mut members = members(&broker, 3, "$share/group/#", 1);
        let mut numbers = Vec::new();
        for name in ["one", "two", "three"] {
            let mut publisher = broker.client(name);
            for number in 0..10 {
                let text = format!("{name} {number}");
                publisher.publish(&format!("a/{number}"), &text, 1);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        for member in &mut members {
            let messages = member.messages_until_pong();
            numbers.extend(messages.iter().map(|message| message.text().to_owned()));
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 30, "{strategy}");
    }
}

/// Clients that are subscribed to the same shared filter.
fn members(broker: &Broker, count: usize, filter: &str, qos: u8) -> Vec<Client> {
    (0..count)
        .map(|number| {
            let mut member = broker.client(&format!("member {number}"));
            member.subscribe(filter, qos);
            member
        })
        .collect()
}

/// Publishes as many messages as there are members and expects each to get one.
fn expect_one_round(publisher: &mut Client, members: &mut [Client]) {
    for _ in 0..members.len() {
        publisher.publish("a", "hello", 1);
    }
    for member in members {
        member.expect_message("a", "hello", 1);
        member.expect_silence_until_pong();
    }
}
