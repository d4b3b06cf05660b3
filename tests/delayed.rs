//! Delayed publish: `$delayed/seconds/topic`.
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

use std::time::{Duration, Instant};

use common::{Setup, scenarios};

scenarios! {
    every_version: [
        a_delayed_message_comes_when_it_is_due,
    ],
    mqtt5: [],
}

fn a_delayed_message_comes_when_it_is_due(setup: Setup) {
    let broker = setup.broker();
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("a", 1);
    let mut publisher = broker.client("publisher");
    let begin = Instant::now();
    for text in ["first", "second"] {
        publisher.publish("$delayed/1/a", text, 1);
    }
    subscriber.expect_silence_until_pong();
    for text in ["first", "second"] {
        subscriber.expect_message("a", text, 1);
    }
    assert!(begin.elapsed() >= Duration::from_millis(990));
}
