//! What operators are told, and what they do.

use std::collections::BTreeSet;

use protocol::wire::{QoS, Version};

use super::super::operator::ENTRIES_MAX;
use super::node::{Node, Setup};
use super::packet::{Connect, Will};
use super::received::Received;
use crate::operator::{
    Answer, Client, Held, Listed, MemberOf, Part, Patience, Pick, Place, Question,
};
use crate::settings::Mqtt;

fn part(from: Place, skip: u64, most: u32) -> Part {
    Part { from, skip, most }
}

fn clients(node: &mut Node, part: Part, pick: &Pick) -> Listed<Client> {
    match node.shards[0].tell_operator(&Question::Clients(part, pick.clone())) {
        Answer::Clients(listed) => listed,
        other => panic!("{other:?}"),
    }
}

/// All parts of a list of clients, each with at most `most`.
fn all_clients(node: &mut Node, most: u32, pick: &Pick) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), Some(Place::default()));
    while let Some(at) = from {
        let listed = clients(node, part(at, 0, most), pick);
        assert!(listed.entries.len() <= most.min(ENTRIES_MAX) as usize);
        found.extend(listed.entries.iter().map(|it| it.client_id.to_string()));
        from = listed.next;
    }
    found
}

fn subscriptions(node: &mut Node, question: &Question) -> Option<Listed<Held>> {
    match node.shards[0].tell_operator(question) {
        Answer::Subscriptions(listed) => listed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn clients_are_told_part_by_part_each_once_and_no_part_is_large() {
    let mut node = Node::new(1);
    let names: BTreeSet<String> = (0..700).map(|n| format!("client-{n}")).collect();
    for (name, number) in names.iter().zip(0_u32..) {
        let client = node.connect(&Connect::new(name).expiry(number % 2 * 60));
        if number % 4 == 1 {
            node.cut(client);
        }
    }
    node.settle();
    for most in [1, 100, u32::MAX] {
        let found = all_clients(&mut node, most, &Pick::default());
        assert_eq!(found.len(), names.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names);
    }
    let away = Pick {
        connected: Some(false),
        ..Pick::default()
    };
    assert_eq!(all_clients(&mut node, 50, &away).len(), 175);
    let named = Pick {
        like: Some("-69".into()),
        ..Pick::default()
    };
    assert_eq!(all_clients(&mut node, 50, &named).len(), 11);
    // What is passed over is counted, over several parts.
    let first = clients(&mut node, part(Place::default(), 600, 5), &Pick::default());
    assert_eq!((first.entries.len(), first.skipped), (0, 512));
    let rest = 600 - first.skipped;
    let second = clients(
        &mut node,
        part(first.next.unwrap(), rest, 5),
        &Pick::default(),
    );
    assert_eq!((second.entries.len(), second.skipped), (5, 88));
}

#[test]
fn long_names_make_short_parts() {
    let mqtt = Mqtt {
        max_clientid_len: u16::MAX,
        ..Mqtt::default()
    };
    let mut node = Node::with(Setup {
        shards: 1,
        mqtt,
        ..Setup::default()
    });
    for number in 0..12 {
        let name = format!("{number}{}", "x".repeat(30_000));
        node.connect(&Connect::new(&name));
    }
    let listed = clients(&mut node, part(Place::default(), 0, 100), &Pick::default());
    assert_eq!(listed.entries.len(), 3);
    assert_eq!(all_clients(&mut node, 100, &Pick::default()).len(), 12);
}

#[test]
fn a_kicked_client_is_told_why_and_its_session_ends_with_its_will() {
    let mut node = Node::new(2);
    let watcher = node.client_on(0, "watcher");
    node.subscribe(watcher, "will", 0);
    let name = node.name_at(0, "client");
    let connect = Connect::new(&name).expiry(600);
    let client = node.connect(&connect.will(Will::new("will", "gone").delay(300)));
    let kick = Question::Kick(name.as_str().into());
    assert_eq!(node.shards[1].tell_operator(&kick), Answer::Kick(false));
    assert_eq!(node.shards[0].tell_operator(&kick), Answer::Kick(true));
    node.turn_all();
    assert_eq!(node.take(client), [Received::Disconnect { reason: 0x98 }]);
    assert!(node.is_closed(client));
    assert_eq!(node.take_texts(watcher), ["gone"]);
    assert_eq!(node.shards[0].tell_operator(&kick), Answer::Kick(false));
    // One that is away, too.
    let client = node.connect(&Connect::new(&name).expiry(600));
    node.cut(client);
    node.settle();
    assert_eq!(node.shards[0].tell_operator(&kick), Answer::Kick(true));
    let look = Question::Client(name.as_str().into());
    assert_eq!(node.shards[0].tell_operator(&look), Answer::Client(None));
}

#[test]
fn a_client_is_described_while_it_is_there_and_when_it_is_away() {
    let mut node = Node::new(1);
    node.shards[0].set_time_of_day(1_000_000);
    let client = node.connect(&Connect::new("client").expiry(60).keep_alive(30));
    node.subscribe(client, "a/+", 1);
    let look = Question::Client("client".into());
    let Answer::Client(Some(found)) = node.shards[0].tell_operator(&look) else {
        panic!("it is there");
    };
    let connected = found.connection.unwrap();
    assert_eq!(
        (&*connected.ip_address, connected.keep_alive_s),
        ("192.0.2.1", 30)
    );
    assert_eq!(connected.connected_at_ms, 1_000_000);
    assert_eq!((found.expiry_s, found.subscriptions), (60, 1));
    assert_eq!(found.disconnected_at_ms, None);
    node.now_ms += 5_000;
    node.cut(client);
    node.settle();
    let Answer::Client(Some(found)) = node.shards[0].tell_operator(&look) else {
        panic!("its session is there");
    };
    assert_eq!(found.connection, None);
    assert_eq!(found.disconnected_at_ms, Some(1_005_000));
}

#[test]
fn a_node_that_is_emptied_sends_clients_away_and_keeps_their_sessions() {
    let mut node = Node::new(1);
    let clients: Vec<_> = (0..600)
        .map(|n| node.connect(&Connect::new(&format!("c{n}")).expiry(600)))
        .collect();
    let away = node.connect(&Connect::new("away").expiry(600));
    node.cut(away);
    node.settle();
    node.shards[0].common.drain.start("other:1883");
    let refused = node.open(0, Version::V311);
    let connect = Connect::new("new").version(Version::V311);
    node.send(refused, &connect.encode());
    node.settle();
    let refusal = Received::ConnAck {
        present: false,
        reason: 3,
    };
    assert_eq!(node.take(refused), [refusal]);
    let (mut sent, mut from) = (0, Some(Place::default()));
    while let Some(at) = from {
        let send = Question::SendAway(part(at, 0, 100), Patience::Some);
        let Answer::SendAway(step) = node.shards[0].tell_operator(&send) else {
            panic!("clients were to be sent away");
        };
        assert!(step.done <= 100 && step.left == 0);
        (sent, from) = (sent + step.done, step.next);
        node.turn_all();
    }
    assert_eq!(sent, 600);
    for client in clients {
        assert_eq!(node.take(client), [Received::Disconnect { reason: 0x9c }]);
    }
    assert_eq!(node.shards[0].sessions.len(), 601);
    node.shards[0].common.drain.stop();
    let (_, present) = node.connect_at(0, &Connect::new("c0").resume().expiry(600));
    assert!(present);
}

#[test]
fn subscriptions_are_told_part_by_part_with_their_options() {
    let mut node = Node::new(1);
    let client = node.connect(&Connect::new("many"));
    for number in 0..300 {
        node.subscribe(client, &format!("many/{number}"), number as u8 % 3);
    }
    node.subscribe(client, "$share/group/many/+", 1);
    let other = node.connect(&Connect::new("few"));
    node.subscribe(other, "few/#", 2);

    let (mut found, mut from) = (Vec::new(), Some(Place::default()));
    while let Some(at) = from {
        let question = Question::Subscriptions(part(at, 0, 100));
        let listed = subscriptions(&mut node, &question).unwrap();
        assert!(listed.entries.len() <= 100);
        found.extend(listed.entries);
        from = listed.next;
    }
    let filters: BTreeSet<&str> = found.iter().map(|held| &*held.filter).collect();
    assert_eq!((found.len(), filters.len()), (302, 302));
    let few = found.iter().find(|held| held.filter == "few/#").unwrap();
    assert_eq!(few.options.unwrap().qos, QoS::ExactlyOnce);
    let shared = found.iter().find(|held| held.group.is_some()).unwrap();
    assert_eq!((&*shared.filter, shared.options), ("many/+", None));
    let members = Question::Members(vec![MemberOf {
        shard: 0,
        session: shared.session,
        group: "group".into(),
        filter: shared.filter.clone(),
    }]);
    let Answer::Members(options) = node.shards[0].tell_operator(&members) else {
        panic!("options were asked for");
    };
    assert_eq!(options[0].unwrap().qos, QoS::AtLeastOnce);

    let question = Question::SubscriptionsOf(
        "few".into(),
        Part {
            most: 10,
            ..Part::default()
        },
    );
    assert_eq!(
        subscriptions(&mut node, &question).unwrap().entries.len(),
        1
    );
    let question = Question::SubscriptionsOf("none".into(), Part::default());
    assert_eq!(subscriptions(&mut node, &question), None);
}

#[test]
fn filters_are_told_part_by_part() {
    let mut node = Node::new(1);
    let client = node.connect(&Connect::new("client"));
    for number in 0..600 {
        node.subscribe(client, &format!("a/{number}"), 0);
    }
    node.subscribe(client, "+/b", 0);
    let (mut found, mut from, mut skip) = (Vec::new(), Some(Place::default()), 1);
    while let Some(at) = from {
        let Answer::Filters(listed) =
            node.shards[0].tell_operator(&Question::Filters(part(at, skip, 70)))
        else {
            panic!("filters were asked for");
        };
        skip -= listed.skipped;
        found.extend(listed.entries);
        from = listed.next;
    }
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 600);
    assert_eq!(found.len(), 600);
    let has = Question::HasFilters(["+/b", "+/c", "#/not/a/filter"].map(Into::into).into());
    let expected = Answer::HasFilters(vec![true, false, false]);
    assert_eq!(node.shards[0].tell_operator(&has), expected);
}
