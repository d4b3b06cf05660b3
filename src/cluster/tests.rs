//! Whole links on 127.0.0.0/8, between planes without shards.

mod fake;
mod membership;
pub(super) mod network;
mod relay;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use shard_cluster::members::State;
use shards::{OwnerEvent, OwnerRequest, RoutesAt};

use super::rpc::CallError;
use super::seed::Seed;
use super::*;
use fake::{FakePlane, Seen};

/// A node under test.
struct Node {
    running: Running,
    plane: FakePlane,
}

/// What a node under test is started with.
#[derive(Clone)]
struct Start {
    settings: Settings,
    bind: SocketAddr,
}

fn settings(name: &str, port: u16, others: &[String]) -> Start {
    let own = Seed::parse(name).unwrap();
    let bind = SocketAddr::new(name.split_once('@').unwrap().1.parse().unwrap(), port);
    let settings = Settings {
        cluster: "test".to_owned(),
        name: own.name.clone(),
        own,
        role: Role::Core,
        autoclean: Duration::from_secs(86_400),
        discovery: Strategy::None,
        security: Security::Keys,
        cookie: "a cookie of the tests".to_owned(),
        seeds: others
            .iter()
            .map(|seed| Seed::parse(seed).unwrap())
            .collect(),
        policy: Policy::ServeLocal,
        autoheal: true,
        data_dir: None,
        hash_seed: 7,
    };
    Start { settings, bind }
}

impl Node {
    fn start(with: Start) -> Self {
        let plane = FakePlane::new(2);
        let socket = bind(with.bind).unwrap();
        let running = start(with.settings, socket, Box::new(plane.clone())).unwrap();
        Self { running, plane }
    }

    /// Its links end without a word.
    fn dies(self) {
        let Running { thread, stop, .. } = self.running;
        drop(stop);
        thread.unwrap().join().unwrap();
    }

    fn is_connected(&self) -> bool {
        let status = self.running.status();
        !status.is_empty() && status.iter().all(|node| node.is_connected)
    }
}

/// A free UDP port of 127.0.0.1.
fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !is() {
        assert!(Instant::now() < end, "{what}: did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Nodes a, b, … of one cluster, each with its own address and port.
fn cluster(count: u8) -> Vec<Node> {
    all_settings(count).into_iter().map(Node::start).collect()
}

fn all_settings(count: u8) -> Vec<Start> {
    let names: Vec<(String, u16)> = (0..count)
        .map(|n| {
            (
                format!("{}@127.0.0.{}", char::from(b'a' + n), n + 1),
                free_port(),
            )
        })
        .collect();
    let seeds: Vec<String> = names
        .iter()
        .map(|(name, port)| format!("{name}:{port}"))
        .collect();
    let all = names
        .iter()
        .map(|(name, port)| settings(name, *port, &seeds));
    all.collect()
}

#[test]
fn messages_cross_in_order_and_are_accepted() {
    let nodes = cluster(2);
    wait_for("the connection", || nodes.iter().all(Node::is_connected));
    for n in 0..1000_u32 {
        nodes[0].plane.forward(0, (n % 2) as u16, n);
    }
    wait_for("the messages", || nodes[1].plane.arrived().len() == 1000);
    let arrived = nodes[1].plane.arrived();
    for shard in 0..2 {
        let of_shard = arrived.iter().filter(|seen| seen.stream == shard);
        let numbers: Vec<u32> = of_shard.map(|seen| seen.number).collect();
        let sent: Vec<u32> = (0..1000).filter(|n| n % 2 == u32::from(shard)).collect();
        assert_eq!(numbers, sent);
    }
    assert_eq!(nodes[0].plane.accepted_by_nodes(), [0, 0]);
    nodes[1].plane.accept_all();
    wait_for("the acknowledgements", || {
        nodes[0].plane.accepted_by_nodes() == [500, 500]
    });
    wait_for("an empty stream", || {
        nodes[0].running.status()[0].unacknowledged == 0
    });
    let status = &nodes[1].running.status()[0];
    assert_eq!(
        (status.name.as_str(), status.state),
        ("a@127.0.0.1", State::Alive)
    );
    assert!(status.received_bytes > 1000 && status.incarnation > 0);
}

#[test]
fn routes_follow_the_subscriptions_of_each_node() {
    let nodes = cluster(3);
    nodes[0].plane.subscribe("a/+", true);
    wait_for("the connections", || nodes.iter().all(Node::is_connected));
    wait_for("the route", || {
        let has = |node: &Node| node.plane.routes() == [("a/+".to_owned(), 1)];
        nodes[1..].iter().all(has)
    });
    nodes[0].plane.subscribe("b", true);
    nodes[0].plane.subscribe("a/+", false);
    wait_for("the change", || {
        let has = |node: &Node| node.plane.routes() == [("b".to_owned(), 1)];
        nodes[1..].iter().all(has)
    });
    assert_eq!(nodes[0].plane.routes(), []);
}

#[test]
fn a_node_that_is_silent_for_the_lease_is_down_and_its_routes_are_gone() {
    let mut nodes = cluster(2);
    nodes[1].plane.subscribe("x", true);
    wait_for("the route", || nodes[0].plane.routes().len() == 1);
    nodes.pop().unwrap().dies();
    wait_for("the end", || {
        nodes[0].plane.ups() == [(0, true), (0, false)]
    });
    assert_eq!(nodes[0].plane.routes(), []);
    wait_for("what is shown", || {
        nodes[0].running.status()[0].state == State::Gone
    });
}

#[test]
fn a_node_that_stops_passes_on_what_it_has_and_is_down_without_the_lease() {
    let mut nodes = cluster(2);
    // Nobody would miss it: it is the goodbye that says so.
    let last = nodes.pop().unwrap();
    wait_for("the connection", || {
        nodes[0].is_connected() && last.is_connected()
    });
    for n in 0..1000 {
        last.plane.forward(0, 0, n);
    }
    let plane = nodes[0].plane.clone();
    let sessions = thread::spawn(move || {
        wait_for("the messages", || {
            plane.accept_all();
            plane.arrived().len() == 1000
        });
        plane.accept_all();
    });
    last.running.stop();
    sessions.join().unwrap();
    assert_eq!(last.plane.accepted_by_nodes(), [1000, 0]);
    wait_for("the end", || {
        nodes[0].plane.ups() == [(0, true), (0, false)]
    });
    // Not heard for the lease would be another state on the way there.
    let states = nodes[0].running.status()[0].state;
    assert!(matches!(states, State::Alive | State::Gone), "{states:?}");
}

#[test]
fn what_was_not_accepted_comes_again_over_the_next_connection_and_once() {
    let settings = all_settings(2);
    let a = Node::start(settings[0].clone());
    let b = Node::start(settings[1].clone());
    wait_for("the connection", || a.is_connected() && b.is_connected());
    for round in 0..5_u32 {
        for n in 0..2000 {
            a.plane.forward(0, 0, round * 2000 + n);
        }
        // Some are under way, some have come, some of them are accepted.
        wait_for("some", || b.plane.arrived().len() as u32 > round * 2000);
        b.plane.accept_all();
        a.running.board.cut.store(true, Ordering::Relaxed);
    }
    wait_for("all", || b.plane.arrived().len() == 10_000);
    b.plane.accept_all();
    wait_for("their acknowledgement", || {
        a.plane.accepted_by_nodes() == [10_000, 0]
    });
    let numbers: Vec<u32> = b.plane.arrived().iter().map(|seen| seen.number).collect();
    assert!(numbers.iter().copied().eq(0..10_000));
}

#[test]
fn shards_without_room_keep_the_other_node_waiting_and_nothing_is_lost() {
    let nodes = cluster(2);
    wait_for("the connection", || nodes.iter().all(Node::is_connected));
    nodes[1].plane.set_room(100);
    for n in 0..500 {
        nodes[0].plane.forward(0, 0, n);
    }
    wait_for("what has room", || nodes[1].plane.arrived().len() == 100);
    thread::sleep(Duration::from_millis(100));
    assert_eq!(nodes[1].plane.arrived().len(), 100);
    nodes[1].plane.set_room(usize::MAX);
    wait_for("the rest", || nodes[1].plane.arrived().len() == 500);
    let numbers = nodes[1]
        .plane
        .arrived()
        .into_iter()
        .map(|Seen { number, .. }| number);
    assert!(numbers.eq(0..500));
}

/// What was granted, revoked or denied.
fn decided(node: &Node) -> OwnerEvent {
    let mut events = Vec::new();
    wait_for("a decision", || {
        events = node.plane.take_events();
        !events.is_empty()
    });
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[test]
fn a_client_identifier_has_one_owner_and_goes_to_who_claims_it_next() {
    let nodes = cluster(3);
    wait_for("the connections", || nodes.iter().all(Node::is_connected));
    for (round, name) in ["x", "another", "one more"].into_iter().enumerate() {
        let (first, second) = (&nodes[round % 3], &nodes[(round + 1) % 3]);
        first.plane.claim(name);
        let OwnerEvent::Granted { epoch, former, .. } = decided(first) else {
            panic!("it was not granted");
        };
        assert_eq!(former, None);
        second.plane.claim(name);
        let client: Box<str> = name.into();
        assert_eq!(decided(first), OwnerEvent::Revoke { client, epoch });
        assert_eq!(second.plane.take_events(), []);
        first.plane.revoked(name, epoch);
        let OwnerEvent::Granted {
            epoch: later,
            former,
            ..
        } = decided(second)
        else {
            panic!("it was not granted");
        };
        assert!(later > epoch && former.is_some());
        // Who has it needs nobody.
        second.plane.claim(name);
        let again = OwnerEvent::Granted {
            client: name.into(),
            epoch: later,
            former: None,
        };
        assert_eq!(decided(second), again);
    }
}

#[test]
fn what_waits_for_routes_of_another_node_waits_until_they_are_there() {
    let nodes = cluster(2);
    wait_for("the connections", || nodes.iter().all(Node::is_connected));
    nodes[0].plane.subscribe("a/+", true);
    nodes[0].plane.ask(OwnerRequest::AskRoutesAt { shard: 0 });
    let OwnerEvent::RoutesAt { shard: 0, at } = decided(&nodes[0]) else {
        panic!("something else was asked");
    };
    let next = RoutesAt {
        sequence: at.sequence + 1,
        ..at
    };
    let wait = |at| OwnerRequest::AwaitRoutes {
        shard: 0,
        node: 0,
        at,
        payload: Box::default(),
        all: false,
    };
    nodes[0].plane.ask(OwnerRequest::AskPassedOn { shard: 0 });
    assert_eq!(decided(&nodes[0]), OwnerEvent::PassedOn { shard: 0 });
    nodes[1].plane.ask(wait(next));
    nodes[1].plane.ask(wait(at));
    let known = OwnerEvent::RoutesKnown {
        shard: 0,
        node: 0,
        payload: Box::default(),
    };
    assert_eq!(decided(&nodes[1]), known);
    assert_eq!(nodes[1].plane.routes().len(), 1);
    nodes[0].plane.subscribe("b", true);
    assert_eq!(decided(&nodes[1]), known);
    assert_eq!(nodes[1].plane.routes().len(), 2);
}

#[test]
fn a_node_that_is_alone_grants_what_its_clients_ask_for() {
    let node = Node::start(all_settings(3).remove(0));
    node.plane.claim("x");
    let mut events = Vec::new();
    wait_for("a decision", || {
        events = node.plane.take_events();
        !events.is_empty()
    });
    // Once more, if its first lease has begun meanwhile.
    let is_granted = |event: &OwnerEvent| matches!(event, OwnerEvent::Granted { former: None, .. });
    assert!(events.iter().all(is_granted), "{events:?}");
}

#[test]
fn who_has_another_cookie_or_cluster_is_refused() {
    let settings = all_settings(3);
    let mut wrong_cookie = settings[1].clone();
    wrong_cookie.settings.cookie = "another cookie of theirs".to_owned();
    let mut wrong_cluster = settings[2].clone();
    wrong_cluster.settings.cluster = "other".to_owned();
    let nodes = [settings[0].clone(), wrong_cookie, wrong_cluster].map(Node::start);
    nodes[0].plane.subscribe("secret", true);
    thread::sleep(Duration::from_secs(2));
    for node in &nodes {
        assert!(
            node.running
                .status()
                .iter()
                .all(|other| !other.is_connected)
        );
        assert_eq!(node.plane.routes(), []);
        assert_eq!(node.plane.ups(), []);
    }
}

#[test]
fn an_address_that_is_taken_or_not_here_is_said() {
    let taken = all_settings(1).remove(0);
    let _node = Node::start(taken.clone());
    let error = bind(taken.bind).unwrap_err();
    assert!(error.what.contains("is taken"), "{error}");
    let error = bind("192.0.2.1:4370".parse().unwrap()).unwrap_err();
    assert!(error.what.contains("does not have 192.0.2.1"), "{error}");
}

#[test]
fn a_node_answers_what_another_one_asks_and_says_why_it_does_not() {
    const ECHO: u8 = 200;
    const NEVER: u8 = 201;
    let nodes = cluster(2);
    wait_for("the connection", || nodes.iter().all(Node::is_connected));
    let [a, b] = [&nodes[0], &nodes[1]].map(|node| node.running.handle());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        b.answer(ECHO, |from, body| async move {
            match body.first() {
                Some(b'!') => Err(format!("{from} asks too much")),
                Some(b'+') => Ok(vec![0; rpc::BODY_MAX + 1]),
                _ => Ok(body),
            }
        })
        .await;
        b.answer(NEVER, |_, _| core::future::pending()).await;
        let ask = |kind, body: &[u8]| {
            let (a, body, patience) = (a.clone(), body.to_vec(), Duration::from_secs(20));
            async move { a.call("b@127.0.0.2", kind, body, patience).await }
        };
        let long: Vec<u8> = (0..rpc::BODY_MAX).map(|n| n as u8).collect();
        assert_eq!(ask(ECHO, &long).await, Ok(long.clone()));
        assert_eq!(ask(ECHO, &[]).await, Ok(Vec::new()));
        assert_eq!(
            ask(ECHO, b"!").await,
            Err(CallError::Refused("a@127.0.0.1 asks too much".to_owned()))
        );
        let refused = ask(ECHO, b"+").await.unwrap_err().to_string();
        assert!(refused.contains("longer than 4 MiB"), "{refused}");
        assert_eq!(ask(202, &[]).await, Err(CallError::UnknownKind));
        let too_long = [&*long, &[0]].concat();
        assert_eq!(ask(ECHO, &too_long).await, Err(CallError::TooLong));
        let patience = Duration::from_millis(50);
        let never = a.call("b@127.0.0.2", NEVER, Vec::new(), patience).await;
        assert_eq!(never, Err(CallError::TimedOut));
        let nobody = a.call("c@127.0.0.3", ECHO, Vec::new(), patience).await;
        assert_eq!(nobody, Err(CallError::NotConnected));
        // More than may be under way at once, none of them in the way of another.
        let mut calls = tokio::task::JoinSet::new();
        for n in 1000..1300_u32 {
            let call = ask(ECHO, &n.to_be_bytes());
            calls.spawn(async move { (n, call.await) });
        }
        for (n, answer) in calls.join_all().await {
            assert_eq!(answer, Ok(n.to_be_bytes().to_vec()), "{n}");
        }
    });
}

#[test]
fn a_node_may_acknowledge_while_it_sees_a_majority() {
    let mut settings = all_settings(3);
    for start in &mut settings {
        start.settings.policy = Policy::Fence;
        start.settings.data_dir = Some(membership::folder());
    }
    let mut nodes: Vec<Node> = settings.iter().cloned().map(Node::start).collect();
    wait_for("the cluster", || {
        let all = |node: &Node| node.running.cluster().consensus.voters.len() == 3;
        nodes.iter().all(all)
    });
    wait_for("the leases", || nodes.iter().all(|n| n.plane.has_lease()));
    nodes.drain(1..).for_each(|node| node.running.stop());
    wait_for("the end of the lease", || !nodes[0].plane.has_lease());
    nodes.push(Node::start(settings.remove(1)));
    wait_for("new leases", || nodes.iter().all(|n| n.plane.has_lease()));
}
