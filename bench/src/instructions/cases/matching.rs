//! Topics against 100,000 filters: 70 % exact, 20 % with `+`, 10 % with `#`.

use std::hint::black_box;

use protocol::subscriptions::{GroupId, Subscriber, SubscriptionTree, Visitor};
use protocol::topic::{Filter, TopicName};
use protocol::wire::{QoS, RetainHandling, SubscriptionOptions};
use shard_sync::routes::{Destination, DestinationSet, RouteReader, RouteWriter, route_index};

use super::Operation;

const FILTERS: u32 = 100_000;
const LEVELS_MAX: u16 = 64;
const SEED: u64 = 0x5eed;

/// Matched by one filter of the kind, and by none of the others.
const EXACT: &str = "plant/4200/line/0/state";
const SINGLE_LEVEL: &str = "fleet/4208/any/telemetry";
const MULTI_LEVEL: &str = "site/4209/building/2/room";
const NOTHING: &str = "plant/4200/line/0/other";

pub(super) fn exact() -> Operation {
    matching(EXACT, 1)
}

pub(super) fn single_level() -> Operation {
    matching(SINGLE_LEVEL, 1)
}

pub(super) fn multi_level() -> Operation {
    matching(MULTI_LEVEL, 1)
}

pub(super) fn nothing() -> Operation {
    matching(NOTHING, 0)
}

pub(super) fn route_exact() -> Operation {
    routing(EXACT, true)
}

pub(super) fn route_single_level() -> Operation {
    routing(SINGLE_LEVEL, true)
}

pub(super) fn route_nothing() -> Operation {
    routing(NOTHING, false)
}

pub(super) fn subscribe_and_unsubscribe() -> Operation {
    let mut tree = tree();
    let filter = filter("fleet/one-more/+/telemetry");
    Box::new(move || {
        black_box(tree.insert(filter, subscriber(FILTERS)));
        black_box(tree.remove(filter, FILTERS));
    })
}

/// The filter with a number.
fn text(number: u32) -> String {
    match number % 10 {
        0..=6 => format!("plant/{number}/line/{}/state", number % 10),
        7 | 8 => format!("fleet/{number}/+/telemetry"),
        _ => format!("site/{number}/building/#"),
    }
}

fn filter(text: &str) -> Filter<'_> {
    Filter::parse(text, LEVELS_MAX).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn subscriber(session: u32) -> Subscriber {
    Subscriber {
        session,
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        },
        identifier: 0,
    }
}

fn tree() -> SubscriptionTree {
    let mut tree = SubscriptionTree::new(SEED);
    for number in 0..FILTERS {
        tree.insert(filter(&text(number)), subscriber(number));
    }
    tree
}

fn matching(topic: &'static str, expected: usize) -> Operation {
    let tree = tree();
    Box::new(move || {
        let mut found = Found(0);
        if let Ok(topic) = TopicName::parse(black_box(topic), LEVELS_MAX) {
            tree.matches(topic, &mut found);
        }
        assert_eq!(found.0, expected, "matches of {topic}");
    })
}

struct Found(usize);

impl Visitor for Found {
    fn subscribers(&mut self, subscribers: &[Subscriber]) {
        self.0 += subscribers.len();
    }

    fn group(&mut self, _group: GroupId) {}
}

fn routing(topic: &'static str, is_routed: bool) -> Operation {
    let (_writer, mut reader) = routes();
    let mut found = DestinationSet::new();
    Box::new(move || {
        found.clear();
        reader.matches(black_box(topic), &mut found);
        assert_eq!(!found.is_empty(), is_routed, "routes of {topic}");
    })
}

fn routes() -> (RouteWriter, RouteReader) {
    let (mut writer, reader) = route_index(SEED);
    for number in 0..FILTERS {
        let text = text(number);
        let added = writer.add(&text, Destination::Shard((number % 4) as u8));
        added.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
    (writer, reader)
}
