//! How a connection ends, and what nobody but a server may say.
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

use common::packet::{self, packet};
use common::{Publish, Setup, scenarios};

scenarios! {
    every_version: [
        disconnect_ends_the_connection,
        what_follows_disconnect_is_not_carried_out,
        packets_that_only_a_server_sends_end_the_connection,
        a_ping_is_answered,
        pings_in_one_segment_are_all_answered,
        a_half_closed_connection_still_gets_nothing_and_ends,
    ],
    mqtt3: [auth_is_not_known],
    mqtt5: [
        disconnect_may_carry_a_reason_and_properties,
        auth_without_an_authentication_method_is_a_protocol_error,
    ],
}

fn disconnect_ends_the_connection(setup: Setup) {
    let broker = setup.broker();
    broker.client("client").disconnect();
}

/// [MQTT-3.14.4-1]
fn what_follows_disconnect_is_not_carried_out(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 0);
    let mut client = broker.client("client");
    client.send(
        &[
            Publish::new("a", "before").encode(setup.version),
            packet::DISCONNECT.to_vec(),
            Publish::new("a", "after").encode(setup.version),
            packet::PINGREQ.to_vec(),
        ]
        .concat(),
    );
    client.expect_closed();
    subscriber.expect_message("a", "before", 0);
    subscriber.expect_nothing_from(&mut broker.client("publisher"));
}

fn packets_that_only_a_server_sends_end_the_connection(setup: Setup) {
    let broker = setup.broker();
    let properties = packet::property_block(setup.version, &[]);
    let connack = packet(0x20, &[&[0, 0], &properties]);
    let suback = packet(0x90, &[&[0, 1], &properties, &[0]]);
    let unsuback = packet(0xb0, &[&[0, 1], &properties]);
    for bytes in [connack, suback, unsuback, packet::PINGRESP.to_vec()] {
        let mut client = broker.client("client");
        client.send(&bytes);
        client.expect_refusal(0x82);
    }
}

fn a_ping_is_answered(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    for _ in 0..10 {
        client.expect_silence_until_pong();
    }
}

fn pings_in_one_segment_are_all_answered(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&packet::PINGREQ.repeat(1000));
    for _ in 0..1000 {
        client.expect(&packet::PINGRESP);
    }
    client.expect_silence_until_pong();
}

fn a_half_closed_connection_still_gets_nothing_and_ends(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.subscribe("a", 0);
    client.abandon();
    broker.client("publisher").publish("a", "hello", 1);
}

fn auth_is_not_known(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&[0xf0, 0]);
    client.expect_refusal(0x81);
}

fn disconnect_may_carry_a_reason_and_properties(setup: Setup) {
    let broker = setup.broker();
    let properties = [
        common::property::text(common::property::REASON_STRING, "going home"),
        common::property::user("name", "value"),
    ]
    .concat();
    for bytes in [
        vec![0xe0, 1, 0],
        packet::disconnect(0, &[]),
        packet::disconnect(0, &properties),
        packet::disconnect(0x80, &[]),
    ] {
        let mut client = broker.client("client");
        client.send(&bytes);
        client.expect_closed();
    }
}

/// [MQTT-4.12.0-7]
fn auth_without_an_authentication_method_is_a_protocol_error(setup: Setup) {
    let broker = setup.broker();
    let mut client = broker.client("client");
    client.send(&[0xf0, 0]);
    client.expect_refusal(0x82);
}
