//! Enhanced authentication, by a mechanism made for these tests.

use std::sync::Arc;

use protocol::auth::{Answer, Exchange, Mechanism, ROUNDS_MAX};
use protocol::wire::{ReasonCode, Version};

use super::super::Common;
use super::node::{Client, Node, Setup};
use super::packet::{self, Connect, DISCONNECT, PINGREQ, Publish, Will};
use super::received::Received;
use crate::settings::{Mqtt, SysTopics};

const METHOD: &str = "countdown";

const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

/// Asks again while the client says `.`, lets `in` in, and nobody else.
#[derive(Debug)]
struct Countdown;

#[derive(Debug)]
struct Counting;

impl Mechanism for Countdown {
    fn name(&self) -> &str {
        METHOD
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Counting)
    }
}

impl Exchange for Counting {
    fn answer(&mut self, data: Option<&[u8]>) -> Answer {
        match data.unwrap_or_default() {
            b"in" => Answer::Success(Some(b"welcome".to_vec())),
            b"." => Answer::Continue(Some(b"more".to_vec())),
            b"large" => Answer::Continue(Some(vec![b'x'; 1000])),
            _ => Answer::Failure(ReasonCode::NOT_AUTHORIZED),
        }
    }
}

fn node() -> Node {
    node_with(Mqtt::default())
}

fn node_with(mqtt: Mqtt) -> Node {
    Node::with(Setup {
        shards: 2,
        mqtt,
        common: Common {
            sys_topics: SysTopics {
                sys_msg_interval_s: 0,
                sys_heartbeat_interval_s: 0,
            },
            mechanisms: vec![Arc::new(Countdown)],
            ..Common::default()
        },
        ..Setup::default()
    })
}

/// Sends CONNECT to the other shard than that of the client identifier.
fn begin(node: &mut Node, connect: &Connect) -> Client {
    let accepting = 1 - node.home(&connect.client_id);
    let client = node.open(accepting, Version::V5);
    node.send(client, &connect.encode());
    node.settle();
    client
}

/// A client that is in.
fn authenticated(node: &mut Node, prefix: &str) -> Client {
    let name = node.name_at(0, prefix);
    let connect = Connect::new(&name).authentication(METHOD, b"in");
    let client = begin(node, &connect);
    assert_eq!(node.take(client), [welcome()]);
    client
}

fn say(node: &mut Node, client: Client, reason: u8, data: &[u8]) {
    node.send(client, &packet::auth(reason, METHOD, data));
    node.settle();
}

fn welcome() -> Received {
    Received::Authenticated {
        method: METHOD.into(),
        data: b"welcome".into(),
    }
}

fn auth(reason: u8, data: &str) -> Received {
    Received::Auth {
        reason,
        method: METHOD.into(),
        data: data.into(),
    }
}

fn refused(reason: ReasonCode) -> Received {
    Received::ConnAck {
        present: false,
        reason: reason.0,
    }
}

#[track_caller]
fn assert_ended(node: &mut Node, client: Client, last: Received) {
    assert_eq!(node.take(client), [last]);
    assert!(node.is_closed(client));
}

/// [MQTT-4.12.0-2], [MQTT-4.12.0-5]
#[test]
fn a_client_is_in_when_its_mechanism_says_so() {
    let mut node = node();
    let name = node.name_at(0, "in");
    let client = begin(&mut node, &Connect::new(&name).authentication(METHOD, b"."));
    assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
    assert_eq!(node.shards[0].sessions.len(), 0);
    say(&mut node, client, CONTINUE, b".");
    assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
    say(&mut node, client, CONTINUE, b"in");
    assert_eq!(node.take(client), [welcome()]);
    node.subscribe(client, "a", 0);
    node.publish(client, &Publish::new("a", "1"));
    node.settle();
    assert_eq!(node.take_texts(client), ["1"]);
    node.send(client, &DISCONNECT);
    node.settle();
    node.close(client);
    node.settle();
    node.assert_empty();
}

#[test]
fn a_client_without_a_name_gets_one_at_the_end() {
    let mut node = node();
    let client = node.open(1, Version::V5);
    node.send(
        client,
        &Connect::new("").authentication(METHOD, b".").encode(),
    );
    say(&mut node, client, CONTINUE, b"in");
    assert_eq!(node.take(client), [auth(CONTINUE, "more"), welcome()]);
    assert_eq!(node.shards[1].sessions.len(), 1);
}

/// [MQTT-4.12.0-1]
#[test]
fn a_method_that_is_not_known_is_refused() {
    let mut node = node();
    let client = begin(&mut node, &Connect::new("x").authentication("other", b"in"));
    assert_ended(
        &mut node,
        client,
        refused(ReasonCode::BAD_AUTHENTICATION_METHOD),
    );
}

/// [MQTT-4.12.0-4]
#[test]
fn a_failure_ends_the_connection_and_touches_no_session() {
    let mut node = node();
    let victim = authenticated(&mut node, "name");
    let name = node.name_at(0, "name");
    for first in [&b"wrong"[..], b"."] {
        let connect = Connect::new(&name).authentication(METHOD, first);
        let client = begin(&mut node, &connect.will(Will::new("will", "gone")));
        if first == b"." {
            assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
            say(&mut node, client, CONTINUE, b"wrong");
        }
        assert_ended(&mut node, client, refused(ReasonCode::NOT_AUTHORIZED));
    }
    node.send(victim, &PINGREQ);
    node.settle();
    assert_eq!(node.take(victim), [Received::PingResp]);
}

/// [MQTT-3.1.2-30]
#[test]
fn only_auth_and_disconnect_come_before_connack() {
    let mut node = node();
    let subscriber = authenticated(&mut node, "subscriber");
    node.subscribe(subscriber, "#", 0);
    let name = node.name_at(1, "early");
    let connect = Connect::new(&name).authentication(METHOD, b".").encode();
    let publish = Publish::new("a", "early").encode(Version::V5);
    for early in [&publish[..], &PINGREQ, &connect] {
        let client = node.open(0, Version::V5);
        let in_one = [&connect[..], early, &packet::auth(CONTINUE, METHOD, b"in")];
        node.send(client, &in_one.concat());
        node.settle();
        let protocol_error = refused(ReasonCode::PROTOCOL_ERROR);
        assert_eq!(node.take(client), [auth(CONTINUE, "more"), protocol_error]);
        assert!(node.is_closed(client));
    }
    let client = node.open(0, Version::V5);
    node.send(client, &[&connect[..], &DISCONNECT].concat());
    node.settle();
    assert_ended(&mut node, client, auth(CONTINUE, "more"));
    assert_eq!(node.take(subscriber), []);
}

#[test]
fn auth_in_one_piece_with_connect_is_as_good_as_later() {
    let mut node = node();
    let name = node.name_at(1, "pieces");
    let connect = Connect::new(&name).authentication(METHOD, b".").encode();
    let client = node.open(0, Version::V5);
    let publish = Publish::new("a", "1").qos(1, 7).encode(Version::V5);
    let in_one = [connect, packet::auth(CONTINUE, METHOD, b"in"), publish];
    node.send(client, &in_one.concat());
    node.settle();
    let packets = node.take(client);
    assert_eq!(packets[..2], [auth(CONTINUE, "more"), welcome()]);
    assert!(matches!(packets[2..], [Received::PubAck { id: 7, .. }]));
}

#[test]
fn another_method_than_that_of_connect_is_refused() {
    let mut node = node();
    let bad = ReasonCode::BAD_AUTHENTICATION_METHOD;
    let client = begin(&mut node, &Connect::new("x").authentication(METHOD, b"."));
    assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
    node.send(client, &packet::auth(CONTINUE, "other", b"in"));
    node.settle();
    assert_ended(&mut node, client, refused(bad));
    let client = authenticated(&mut node, "y");
    node.send(client, &packet::auth(AGAIN, "other", b"in"));
    node.settle();
    assert_ended(&mut node, client, Received::Disconnect { reason: bad.0 });
}

/// [MQTT-4.12.0-7]
#[test]
fn auth_of_a_client_without_a_method_breaks_the_protocol() {
    let mut node = node();
    let client = node.client_on(0, "plain");
    say(&mut node, client, AGAIN, b"in");
    let reason = ReasonCode::PROTOCOL_ERROR.0;
    assert_ended(&mut node, client, Received::Disconnect { reason });
}

/// [MQTT-4.12.1-1]
#[test]
fn a_client_that_is_in_authenticates_again_while_messages_flow() {
    let mut node = node();
    let client = authenticated(&mut node, "again");
    node.subscribe(client, "a", 0);
    for _ in 0..2 {
        say(&mut node, client, AGAIN, b".");
        assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
        node.publish(client, &Publish::new("a", "between"));
        node.settle();
        assert_eq!(node.take_texts(client), ["between"]);
        say(&mut node, client, CONTINUE, b"in");
        assert_eq!(node.take(client), [auth(0, "welcome")]);
    }
}

/// [MQTT-4.12.1-2]
#[test]
fn a_failure_to_authenticate_again_ends_the_connection_with_its_will() {
    let mut node = node();
    let watcher = authenticated(&mut node, "watcher");
    node.subscribe(watcher, "will", 0);
    let name = node.name_at(0, "again");
    let connect = Connect::new(&name).authentication(METHOD, b"in");
    let client = begin(&mut node, &connect.will(Will::new("will", "gone")));
    assert_eq!(node.take(client), [welcome()]);
    say(&mut node, client, AGAIN, b"wrong");
    let reason = ReasonCode::NOT_AUTHORIZED.0;
    assert_ended(&mut node, client, Received::Disconnect { reason });
    assert_eq!(node.take_texts(watcher), ["gone"]);
}

#[test]
fn nobody_is_asked_for_ever() {
    let mut node = node();
    let client = begin(&mut node, &Connect::new("x").authentication(METHOD, b"."));
    for _ in 1..ROUNDS_MAX {
        say(&mut node, client, CONTINUE, b".");
    }
    assert_eq!(node.take(client).len(), usize::from(ROUNDS_MAX));
    say(&mut node, client, CONTINUE, b".");
    assert_ended(&mut node, client, refused(ReasonCode::NOT_AUTHORIZED));
}

#[test]
fn a_client_has_as_long_to_authenticate_as_to_connect() {
    let mut node = node_with(Mqtt {
        connect_timeout_ms: 5000,
        ..Mqtt::default()
    });
    let client = begin(&mut node, &Connect::new("x").authentication(METHOD, b"."));
    node.advance(4000);
    say(&mut node, client, CONTINUE, b".");
    assert!(!node.is_closed(client));
    node.advance(1000);
    assert!(node.is_closed(client));
    node.settle();
    node.assert_empty();
}

/// [MQTT-4.13.1-1]
#[test]
fn a_malformed_packet_ends_an_authentication() {
    let mut node = node();
    // A reason that AUTH does not have, and a length in more bytes than it needs.
    for packet in [&[0xf0, 1, 0x42][..], &[0xe0, 0x80, 0]] {
        let client = begin(&mut node, &Connect::new("x").authentication(METHOD, b"."));
        assert_eq!(node.take(client), [auth(CONTINUE, "more")]);
        node.send(client, packet);
        node.settle();
        assert_ended(&mut node, client, refused(ReasonCode::MALFORMED_PACKET));
    }
}

/// [MQTT-3.1.2-24]
#[test]
fn a_client_gets_no_auth_that_is_too_large_for_it() {
    let mut node = node();
    let small = Connect::new("x").maximum_packet_size(100);
    let client = begin(&mut node, &small.authentication(METHOD, b"large"));
    assert_ended(
        &mut node,
        client,
        refused(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
    );
    let small = Connect::new("y").maximum_packet_size(100);
    let client = begin(&mut node, &small.authentication(METHOD, b"in"));
    assert_eq!(node.take(client), [welcome()]);
    say(&mut node, client, AGAIN, b"large");
    let reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR.0;
    assert_ended(&mut node, client, Received::Disconnect { reason });
}

#[test]
fn a_broker_that_stops_lets_nobody_wait_for_an_answer() {
    let mut node = node();
    let client = begin(&mut node, &Connect::new("x").authentication(METHOD, b"."));
    for shard in &mut node.shards {
        shard.shut_down();
    }
    node.settle();
    assert_ended(&mut node, client, auth(CONTINUE, "more"));
}
